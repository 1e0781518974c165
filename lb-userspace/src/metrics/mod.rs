//! The Prometheus endpoint: every metric declared once, computed from a snapshot when somebody scrapes.
//!
//! Nothing is counted here. A scrape takes one [`crate::control::snapshot::Snapshot`] and writes one metric family
//! after the other, so the memory of a scrape is that of the largest family, not of all of them.

mod declared;
mod family;
mod health;
mod http;
mod ipvs;
mod reference;
mod vrrp;

pub use family::{Kind, Metric, Samples, write_all};
pub use http::{CONTENT_TYPE, serve};
pub use reference::reference;

/// All metrics in the order in which they are exported and documented.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    declared::METRICS.iter().chain(health::METRICS).chain(vrrp::METRICS).chain(ipvs::METRICS)
}
