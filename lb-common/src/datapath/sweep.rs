//! Expiry: the controller walks the table, notes what was used and ends what was idle for too long.
//!
//! The table is memory-mapped; a free or used bucket costs one cache line here and no system call (5 ns an entry
//! against 250 to 1,400 ns for the kernel's hash maps, measured).

use super::connection::{flow_key_of_reply, reply_key_of_flow};
use super::track::end;
use super::{ConnectionTables, flow_hash, tcp_state};
use crate::atomic::{compare_exchange, load};
use crate::layout::{BUCKET_WAYS, ConnectionKey, ConnectionMeta, HotWord, Method, RealServer};

/// Idle times by state, in units of [`crate::layout::Geometry::STAMP_SHIFT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeoutTable([u32; 16]);

impl TimeoutTable {
    /// IPVS's defaults for the states that `ipvsadm --set` does not reach, in seconds
    /// (net/netfilter/ipvs/ip_vs_proto_tcp.c), and the three that it does.
    #[must_use]
    pub fn new(tcp_seconds: u64, tcp_fin_seconds: u64, udp_seconds: u64) -> Self {
        let mut table = [0; 16];
        for (state, slot) in table.iter_mut().enumerate() {
            let seconds = match state as tcp_state::State {
                tcp_state::ESTABLISHED => tcp_seconds,
                tcp_state::FIN_WAIT => tcp_fin_seconds,
                tcp_state::UDP_FLOW => udp_seconds,
                tcp_state::SYN_RECV | tcp_state::CLOSE_WAIT => 60,
                tcp_state::CLOSE => 10,
                tcp_state::LAST_ACK => 30,
                _ => 120,
            };
            *slot = stamp_units(seconds);
        }
        Self(table)
    }

    /// Idle time of a state.
    #[must_use]
    pub fn of(&self, state: tcp_state::State) -> u32 {
        self.0.get(state as usize).copied().unwrap_or(0)
    }
}

/// Seconds in units of stamps, rounded up.
fn stamp_units(seconds: u64) -> u32 {
    let nanoseconds = seconds.saturating_mul(1_000_000_000);
    u32::try_from((nanoseconds >> crate::layout::Geometry::STAMP_SHIFT) + 1).unwrap_or(u32::MAX)
}

/// What a sweep found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SweepOutcome {
    /// Entries that stay, those of NAT replies included.
    pub live: u64,
    /// Entries that expired.
    pub expired: u64,
    /// Entries that ended because their real server was removed.
    pub stale: u64,
}

/// Sweeps one bucket at time `now`.
pub fn sweep_bucket<T: ConnectionTables>(
    tables: &T,
    index: u32,
    now: u32,
    timeouts: &TimeoutTable,
    outcome: &mut SweepOutcome,
) {
    let Some(bucket) = tables.bucket(index) else { return };
    for (way, cell) in (0..BUCKET_WAYS).zip(&bucket.0) {
        let word = HotWord(load(cell));
        if word.slot() == 0 {
            continue;
        }
        let position = index * BUCKET_WAYS + way;
        let (Some(entry), Some(server)) = (tables.entry(position), tables.real_server(word.slot())) else {
            continue;
        };
        if server.method() == Method::Removed {
            outcome.stale += 1;
            tables.remove(position);
            continue;
        }
        let reverse = word.has(HotWord::REVERSE);
        let partner = if reverse {
            let flow = flow_key_of_reply(server, &entry.key());
            let found = tables.find(flow_hash(&flow, tables.geometry().seed));
            tables.entry(found.position()).filter(|entry| found.is_some() && entry.holds(&flow))
        } else {
            None
        };
        if word.has(HotWord::TOUCHED) {
            compare_exchange(cell, word.0, word.0 & !HotWord::TOUCHED);
            entry.seen(now);
            if let Some(partner) = partner {
                partner.seen(now);
            }
            outcome.live += 1;
            continue;
        }
        let state = ConnectionMeta(load(entry.meta())).state();
        let expired = if reverse {
            // Replies live as long as their connection does.
            partner.is_none() && idle(entry.last_seen(), now) > REPLY_GRACE
        } else {
            idle(entry.last_seen(), now) >= timeouts.of(state)
        };
        if expired {
            outcome.expired += 1;
            if reverse {
                tables.remove(position);
            } else {
                // Where another director has the address by now, the answer went through that one.
                if state == tcp_state::SYN_RECV
                    && !server.is_standby()
                    && !was_answered(tables, server, &entry.key())
                {
                    tables.unanswered(word.slot());
                }
                end(tables, server, &entry.key(), position);
            }
        } else {
            outcome.live += 1;
        }
    }
}

/// Whether a half-open connection's real server has answered, as far as its answers pass here.
fn was_answered<T: ConnectionTables>(tables: &T, server: &RealServer, key: &ConnectionKey) -> bool {
    if server.method() != Method::Nat {
        return false;
    }
    let reply = reply_key_of_flow(server, key);
    let found = tables.find(flow_hash(&reply, tables.geometry().seed));
    let entry = tables.entry(found.position()).filter(|entry| found.is_some() && entry.holds(&reply));
    entry.is_some_and(|entry| ConnectionMeta(load(entry.meta())).state() != tcp_state::SYN_RECV)
}

/// A reply's entry is made after its connection's and moved after it; for so long it may stand alone.
const REPLY_GRACE: u32 = 16;

/// Stamps since `then`; 0 where another CPU's clock was ahead.
fn idle(then: u32, now: u32) -> u32 {
    let elapsed = now.wrapping_sub(then);
    if elapsed > u32::MAX / 2 { 0 } else { elapsed }
}
