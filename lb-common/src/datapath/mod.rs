//! The forwarding pipeline: from the bytes of a frame to a verdict.
//!
//! [`process`] is the whole of it: parse, look up the connection, schedule if there is none, rewrite. It is generic
//! over [`Frame`] (the packet) and [`Tables`] (everything else), so that the same code runs in the XDP program and in
//! host tests.

mod connection;
mod decapsulate;
mod direct;
mod forward;
mod frame;
mod hash;
mod nat;
mod packet;
mod pin;
mod schedule;
mod sweep;
mod tables;
pub mod tcp_state;
mod track;
mod tunnel;
mod unbalanced;
mod verdict;

pub use connection::{Found, NewEntry, find, flow_key_of_reply, insert, remove};
pub use decapsulate::{Decapsulation, decapsulate};
pub use frame::{Frame, Plain};
pub use hash::flow_hash;
pub use packet::{Packet, parse};
pub use pin::{pin, unpin};
pub use schedule::{MAX_LOAD_SCHEDULED, least_active, least_loaded};
pub use sweep::{SweepOutcome, TimeoutTable, sweep_bucket};
pub use tables::{ConnectionTables, Route, SchedulerTables, Tables};
pub use verdict::{Verdict, VerdictKind};

use crate::layout::{DropReason, Event, HotWord};
use track::{Decision, track};

/// Runs a frame through the pipeline. The frame is changed only if the verdict is to forward it or to pass it as a
/// translated reply.
#[inline(always)]
pub fn process<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Verdict {
    let packet = match parse(frame) {
        Ok(packet) => packet,
        Err(reason) => return unbalanced::left(frame, tables, reason),
    };
    let hash = flow_hash(&packet.key, tables.geometry().seed);
    let word = connection::established(tables, hash);
    if word.0 != 0
        && !packet.changes_state()
        && let Some(server) = tables.real_server(word.slot())
        && server.serves()
    {
        return forward::forward(frame, tables, &packet, server, word.slot(), word.has(HotWord::REVERSE));
    }
    match track(tables, &packet, hash) {
        Decision::Forward { slot, reverse } => match tables.real_server(slot) {
            Some(server) => forward::forward(frame, tables, &packet, server, slot, reverse),
            None => verdict::drop(tables, DropReason::Internal),
        },
        Decision::Pass(reason) => verdict::pass(tables, reason),
        Decision::Drop(reason) => verdict::drop(tables, reason),
    }
}

/// Counts an event.
#[inline(always)]
fn event<T: Tables>(tables: &T, event: Event) {
    tables.count(event.into());
}
