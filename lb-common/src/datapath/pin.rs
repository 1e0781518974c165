//! Entries that the controller makes itself: flows whose real server is decided beforehand.

use super::connection::{NOWHERE, NewEntry, count, find, insert, remove, uncount};
use super::packet::TCP;
use super::{ConnectionTables, flow_hash, tcp_state};
use crate::layout::ConnectionKey;

/// Makes the packets of `key` go to the real server in `slot`. False where the table has no room. A flow that has an
/// entry already is moved.
pub fn pin<T: ConnectionTables + ?Sized>(tables: &T, key: &ConnectionKey, slot: u32, now: u32) -> bool {
    unpin(tables, key);
    let state = if key.protocol == TCP { tcp_state::ESTABLISHED } else { tcp_state::UDP_FLOW };
    let hash = flow_hash(key, tables.geometry().seed);
    let new = NewEntry { key: *key, hash, slot, now, state, reverse: 0, padding: [0; 6] };
    count(tables, slot, state);
    let made = insert(tables, &new) as u32 != NOWHERE;
    if !made {
        uncount(tables, slot, state);
    }
    made
}

/// Ends the entry of `key`. False where there is none.
pub fn unpin<T: ConnectionTables + ?Sized>(tables: &T, key: &ConnectionKey) -> bool {
    let found = find(tables, flow_hash(key, tables.geometry().seed));
    found.is_some()
        && tables.entry(found.position()).is_some_and(|entry| entry.holds(key))
        && remove(tables, found.position())
}
