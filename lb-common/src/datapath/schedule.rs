//! Choosing a real server for a new connection.

use super::Tables;
use crate::atomic::{fetch_add, load};
use crate::layout::{ConnectionKey, SchedulerKind, Service};

/// Real servers that a load scheduler scans at most; the controller refuses services with more.
pub const MAX_LOAD_SCHEDULED: u32 = 1024;

/// Slot of the real server for a new connection; 0 where the service takes none.
#[inline(always)]
pub(super) fn schedule<T: Tables>(tables: &T, service: &Service, _key: &ConnectionKey) -> u32 {
    let (offset, length) = service.table();
    if length == 0 {
        return 0;
    }
    let index = match service.scheduler() {
        _ => (fetch_add(service.cursor(), 1) % u64::from(length)) as u32,
    };
    tables.table_slot(offset.wrapping_add(index)).unwrap_or(0)
}
