//! The daemon's control plane as seen from outside.
//!
//! The daemon hands a [`StatusSource`] to [`server::serve`] (the Unix socket behind `lvx list`) and to
//! [`crate::metrics::serve`] (Prometheus). Both call it on blocking threads, never on the event loop.

pub mod client;
pub mod health;
pub mod protocol;
pub mod rates;
pub mod server;
pub mod snapshot;
mod socket;
pub mod stream;
pub mod vrrp;

use std::ops::ControlFlow;

use snapshot::{ConnectionStatus, Snapshot};

use crate::vrrp::routers::Switchover;
pub use socket::BindError;

/// What the daemon can tell about itself.
///
/// The methods run on blocking threads, several at a time, while packets flow: an implementation copies what it needs
/// under its locks and does not hold them between two calls of `visit`, for `visit` waits for a slow reader.
pub trait StatusSource: Send + Sync {
    /// Everything but the connection entries.
    fn snapshot(&self) -> Snapshot;

    /// Hands a virtual router (none: all of them) over to another director, or takes it back; without `to_backup`
    /// whichever it is not.
    fn switchover(&self, instance: Option<String>, to_backup: Option<bool>) -> Switchover;

    /// Calls `visit` once per connection entry, in any order, until the entries are exhausted or `visit` breaks.
    ///
    /// There may be millions of entries, so none of them is kept.
    fn connections(&self, visit: &mut dyn FnMut(ConnectionStatus) -> ControlFlow<()>);
}
