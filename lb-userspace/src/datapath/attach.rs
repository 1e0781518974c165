//! Attaching the XDP program to interfaces.

use aya::programs::Xdp;
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
        let (link, mode) = attach_program(self.program()?, interface, ifindex)?;
        self.devices()?.insert(ifindex, ifindex, None, 0).map_err(LoadError::from)?;
        Ok(Attachment { interface: interface.name.clone(), ifindex, mode, link })
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

/// Attaches a program in the first of the interface's modes that the kernel accepts; returns it by name.
pub(super) fn attach_program(
    program: &mut Xdp,
    interface: &Interface,
    ifindex: u32,
) -> Result<(XdpLinkId, &'static str), AttachError> {
    let modes: &[(XdpMode, &'static str)] = match interface.mode {
        AttachMode::Native => &[(XdpMode::Driver, "native")],
        AttachMode::Generic => &[(XdpMode::Skb, "generic")],
        AttachMode::Auto => &[(XdpMode::Driver, "native"), (XdpMode::Skb, "generic")],
    };
    let mut refusal = AttachError::NoInterface { interface: interface.name.clone() };
    for (mode, name) in modes {
        match program.attach_to_if_index(ifindex, *mode) {
            Ok(link) => {
                info!(interface = interface.name, mode = name, "attached");
                return Ok((link, name));
            }
            Err(error) => {
                let reason = with_sources(&error);
                if modes.len() > 1 && *name == "native" {
                    warn!(
                        interface = interface.name,
                        reason, "no native XDP here; falling back to the slower generic mode"
                    );
                }
                refusal = AttachError::Refused { interface: interface.name.clone(), mode: name, reason };
            }
        }
    }
    Err(refusal)
}

pub(super) fn index(name: &str) -> Result<u32, AttachError> {
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
