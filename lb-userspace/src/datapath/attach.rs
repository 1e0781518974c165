//! Attaching the XDP program to interfaces.

use aya::programs::xdp::{XdpLinkId, XdpMode};
use tracing::{info, warn};

use super::{Datapath, LoadError};
use crate::model::{AttachMode, Interface};

/// Why an interface could not be taken over.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The interface does not exist.
    #[error("interface {interface}: there is no such interface")]
    NoInterface {
        /// Name of the configuration.
        interface: String,
    },
    /// The kernel refused.
    #[error("interface {interface}: the XDP program cannot be attached in {mode} mode: {reason}")]
    Refused {
        /// Name of the configuration.
        interface: String,
        /// `native` or `generic`.
        mode: &'static str,
        /// The kernel's reason.
        reason: String,
    },
    /// The object is damaged.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// An interface with the program attached; detaches when the datapath is dropped.
#[derive(Debug)]
pub struct Attachment {
    /// Name of the interface.
    pub interface: String,
    /// Its index.
    pub ifindex: u32,
    /// `native` or `generic`.
    pub mode: &'static str,
    link: XdpLinkId,
}

impl Datapath {
    /// Attaches the director to an interface and makes the interface a possible way out.
    ///
    /// # Errors
    ///
    /// [`AttachError`]; with [`AttachMode::Auto`] only after generic mode was tried as well.
    pub fn attach(&mut self, interface: &Interface) -> Result<Attachment, AttachError> {
        let ifindex = index(&interface.name)?;
        let modes: &[(XdpMode, &'static str)] = match interface.mode {
            AttachMode::Native => &[(XdpMode::Driver, "native")],
            AttachMode::Generic => &[(XdpMode::Skb, "generic")],
            AttachMode::Auto => &[(XdpMode::Driver, "native"), (XdpMode::Skb, "generic")],
        };
        let mut refusal = None;
        for (mode, name) in modes {
            match self.program()?.attach_to_if_index(ifindex, *mode) {
                Ok(link) => {
                    info!(interface = interface.name, mode = name, "attached");
                    self.devices()?.insert(ifindex, ifindex, None, 0).map_err(LoadError::from)?;
                    return Ok(Attachment { interface: interface.name.clone(), ifindex, mode: name, link });
                }
                Err(error) => {
                    let reason = with_sources(&error);
                    if modes.len() > 1 && *name == "native" {
                        warn!(
                            interface = interface.name,
                            reason, "no native XDP here; falling back to the slower generic mode"
                        );
                    }
                    refusal =
                        Some(AttachError::Refused { interface: interface.name.clone(), mode: name, reason });
                }
            }
        }
        Err(refusal.unwrap_or_else(|| AttachError::NoInterface { interface: interface.name.clone() }))
    }

    /// Detaches from an interface.
    ///
    /// # Errors
    ///
    /// The kernel's refusal.
    pub fn detach(&mut self, attachment: Attachment) -> Result<(), AttachError> {
        let Attachment { interface, ifindex, mode, link } = attachment;
        // A missing entry means that the interface is gone already.
        let _ = self.devices()?.remove(ifindex);
        self.program()?.detach(link).map_err(|error| AttachError::Refused {
            interface,
            mode,
            reason: with_sources(&error),
        })
    }
}

fn index(name: &str) -> Result<u32, AttachError> {
    let none = || AttachError::NoInterface { interface: name.to_owned() };
    let c_name = std::ffi::CString::new(name).map_err(|_| none())?;
    // SAFETY: the argument is a NUL-terminated string.
    match unsafe { libc::if_nametoindex(c_name.as_ptr()) } {
        0 => Err(none()),
        index => Ok(index),
    }
}

/// The error with everything below it, in one line.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}
