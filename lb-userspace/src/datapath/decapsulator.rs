//! The decapsulating program on a tunnel real server.

use std::net::IpAddr;

use aya::maps::HashMap;
use aya::{Ebpf, EbpfLoader};
use lb_common::layout::Address;

use super::attach::{AttachError, attach_program, index};
use super::object::{LoadError, OBJECT, load_program, program};
use crate::model::Interface;

/// The running program; detaches when dropped.
#[derive(Debug)]
pub struct Decapsulator {
    _ebpf: Ebpf,
    mode: &'static str,
}

impl Decapsulator {
    /// Attaches the program to an interface; it takes the outer header off packets for the given addresses.
    ///
    /// # Errors
    ///
    /// [`AttachError`].
    pub fn start(interface: &Interface, addresses: &[IpAddr]) -> Result<Self, AttachError> {
        let ifindex = index(&interface.name)?;
        let mut ebpf = EbpfLoader::new().load(OBJECT).map_err(LoadError::from)?;
        let map = ebpf.map_mut("tunnel_targets").ok_or(LoadError::Missing("map tunnel_targets"))?;
        let mut targets: HashMap<_, [u64; 2], u32> = HashMap::try_from(map).map_err(LoadError::from)?;
        for address in addresses {
            let address = Address::from(*address);
            targets.insert([address.hi, address.lo], 1, 0).map_err(LoadError::from)?;
        }
        load_program(&mut ebpf, "lvx_decap")?;
        let (_, mode) = attach_program(program(&mut ebpf, "lvx_decap")?, interface, ifindex)?;
        Ok(Self { _ebpf: ebpf, mode })
    }

    /// `native` or `generic`.
    #[must_use]
    pub fn mode(&self) -> &'static str {
        self.mode
    }
}
