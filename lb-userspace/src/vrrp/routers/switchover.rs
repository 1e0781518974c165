//! Handing over on purpose, and taking back.

use std::time::{Instant, SystemTime};

use super::{Routers, State};

/// What came of an order to hand over or to take back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Switchover {
    /// It is under way.
    Begun {
        /// These instances.
        instances: Vec<String>,
        /// To another director, not to this one.
        to_backup: bool,
    },
    /// Nothing is to be done.
    Nothing(String),
    /// It cannot be done, and why.
    Refused(String),
}

impl Routers {
    /// Hands an instance (none: all of them) over, or takes it back.
    pub fn switchover(
        &mut self,
        name: Option<&str>,
        to_backup: Option<bool>,
        now: Instant,
        clock: SystemTime,
    ) -> Switchover {
        let chosen: Vec<usize> = (0..self.members.len())
            .filter(|index| name.is_none_or(|name| self.members[*index].instance.name == name))
            .collect();
        let Some(first) = chosen.first() else {
            let names: Vec<&str> = self.members.iter().map(|member| member.instance.name.as_str()).collect();
            return Switchover::Refused(match names[..] {
                [] => "there is no [[vrrp]] instance".to_owned(),
                _ => format!("there is no instance of this name; there are {}", names.join(", ")),
            });
        };
        let to_backup = to_backup.unwrap_or(self.members[*first].router.state() == State::Active);
        // A sync group moves as one.
        let mut all = chosen;
        for group in &self.groups {
            if group.members.iter().any(|index| all.contains(index)) {
                all.extend(&group.members);
            }
        }
        all.sort_unstable();
        all.dedup();
        if to_backup { self.hand_over(&all, now, clock) } else { self.reclaim(&all, now, clock) }
    }

    fn hand_over(&mut self, chosen: &[usize], now: Instant, clock: SystemTime) -> Switchover {
        let mut begun = Vec::new();
        for index in chosen.iter().copied() {
            let member = &self.members[index];
            // A backup is silent: whether there is one is seen only when it takes over.
            if member.router.state() == State::Active {
                begun.push(member.instance.name.clone());
            }
            self.with(index, now, clock, |router, _| router.handle_resign(now));
        }
        if begun.is_empty() {
            return Switchover::Nothing("not active here; it stays a backup that preempts nobody".to_owned());
        }
        Switchover::Begun { instances: begun, to_backup: true }
    }

    fn reclaim(&mut self, chosen: &[usize], now: Instant, clock: SystemTime) -> Switchover {
        for index in chosen {
            let member = &self.members[*index];
            let name = &member.instance.name;
            if member.router.state() == State::Fault {
                let why = member.missing.as_ref().map(ToString::to_string).unwrap_or_default();
                return Switchover::Refused(format!("{name} is in fault: {why}"));
            }
            let interface = member.instance.interface.clone();
            if let Some(own) = self.own_address(*index, &interface)
                && let Some(peer) = member.stronger_peer(own, now)
            {
                return Switchover::Refused(format!(
                    "{} is active for {name} with priority {}, and {} is the priority here: it would take the addresses \
                     back at once; hand over there",
                    peer.address,
                    peer.priority,
                    member.router.priority()
                ));
            }
        }
        let mut begun = Vec::new();
        for index in chosen.iter().copied() {
            if self.members[index].router.state() != State::Active {
                begun.push(self.members[index].instance.name.clone());
            }
            self.with(index, now, clock, |router, _| router.handle_reclaim(true, now));
        }
        if begun.is_empty() {
            return Switchover::Nothing("active here already".to_owned());
        }
        Switchover::Begun { instances: begun, to_backup: false }
    }
}
