//! What the operator asked for, validated: virtual services, their real servers, interfaces, sizes.
//!
//! No I/O and no map layout here: [`crate::config`] produces these values, `crate::maps::plan` turns them into map
//! operations.

mod service;
mod settings;

pub use service::{
    ForwardingMethod, Protocol, RealServer, Scheduler, ServiceKey, SourceHashFlags, VirtualService,
};
pub use settings::{AttachMode, Interface, Limits, Settings, Timeouts};

/// Everything a configuration file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// Process-wide settings; a change needs a restart where its documentation says so.
    pub settings: Settings,
    /// Network interfaces whose packets LVX sees.
    pub interfaces: Vec<Interface>,
    /// Virtual services in file order; keys are unique.
    pub services: Vec<VirtualService>,
}
