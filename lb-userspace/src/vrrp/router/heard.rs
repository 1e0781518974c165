//! What a backup and an active router do when they hear another one.

use std::net::IpAddr;
use std::time::Instant;

use super::VirtualRouter;
use crate::vrrp::{Action, Advertisement, Reason, Version};

/// Lower priorities that are answered within an interval at most: each answer is an advertisement and an announcement of every
/// address, and who sends many must not get many times as many.
const ANSWERS_PER_INTERVAL: u32 = 10;

impl VirtualRouter {
    /// RFC 9568, 6.4.2, (420) to (480).
    pub(super) fn heard_in_backup(&mut self, advertisement: &Advertisement, now: Instant) {
        if advertisement.priority == 0 {
            // (425)
            self.aside = None;
            self.wait_for_skew(now);
            return;
        }
        let lower = advertisement.priority < self.priority;
        let mut earliest = None;
        if lower && self.config.preempt && !self.held {
            let since = *self.enduring.get_or_insert(now);
            if now.duration_since(since) >= self.config.preempt_delay {
                // (470): the timer goes on; at its end the addresses are taken.
                return;
            }
            // Where two are active because they do not hear each other, the short interval of the lower one must not
            // have the higher one preempted once the delay is over.
            earliest = self.unskewed;
        } else {
            self.enduring = None;
        }
        // (445) to (460)
        self.wants_active = false;
        self.learn(advertisement);
        let silent = now + self.silence();
        self.wait_for_skew(earliest.map_or(silent, |earliest| earliest.max(silent)));
    }

    /// RFC 9568, 6.4.3, (700) to (775).
    pub(super) fn heard_when_active(
        &mut self,
        advertisement: &Advertisement,
        source: IpAddr,
        own: IpAddr,
        now: Instant,
    ) {
        if advertisement.priority == 0 {
            // (705) to (715)
            if !self.resigning {
                self.advertise(now);
            }
            return;
        }
        let reason = if self.resigning {
            Reason::Manual
        } else if advertisement.priority > self.priority {
            Reason::HigherPriority { priority: advertisement.priority, source }
        } else if advertisement.priority == self.priority && source > own {
            Reason::HigherAddress { source }
        } else {
            // (770)
            let lately = self.config.interval.duration() / ANSWERS_PER_INTERVAL;
            if self.config.answer_lower && self.answered.is_none_or(|last| now - last >= lately) {
                self.answered = Some(now);
                self.advertise(now);
                self.actions.push_back(Action::Announce);
            }
            return;
        };
        // (740) to (765)
        self.learn(advertisement);
        self.step_back(reason, now);
    }

    fn learn(&mut self, advertisement: &Advertisement) {
        if self.config.version == Version::V3 {
            self.active_interval = advertisement.interval;
        }
    }
}
