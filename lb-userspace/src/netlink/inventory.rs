//! Links and addresses of a network namespace, kept true by events.

use std::collections::BTreeMap;
use std::io;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;

use super::dump;
use crate::nexthop::{Address, Event, Link};

/// What there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Links by index.
    pub links: BTreeMap<u32, Link>,
    /// Addresses, in the order in which the kernel tells them.
    pub addresses: Vec<Address>,
}

impl Inventory {
    /// Reads everything.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn read() -> io::Result<Self> {
        let mut inventory = Self::default();
        for question in [
            RouteNetlinkMessage::GetLink(LinkMessage::default()),
            RouteNetlinkMessage::GetAddress(AddressMessage::default()),
        ] {
            for event in dump(&question)? {
                inventory.apply(event);
            }
        }
        Ok(inventory)
    }

    /// Takes over a change; one that changes nothing is harmless.
    pub fn apply(&mut self, event: Event) {
        match event {
            Event::Link(link) => {
                self.links.insert(link.ifindex, link);
            }
            Event::LinkRemoved(index) => {
                self.links.remove(&index);
                self.addresses.retain(|address| address.ifindex != index);
            }
            Event::Address(address) => {
                let same = |known: &&mut Address| {
                    (known.ifindex, known.address) == (address.ifindex, address.address)
                };
                match self.addresses.iter_mut().find(same) {
                    Some(known) => *known = address,
                    None => self.addresses.push(address),
                }
            }
            Event::AddressRemoved(gone) => {
                self.addresses.retain(|known| (known.ifindex, known.address) != (gone.ifindex, gone.address));
            }
            Event::Neighbour(_) | Event::NeighbourRemoved(_) | Event::Routes(_) => {}
        }
    }

    /// The link of a name.
    #[must_use]
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.values().find(|link| link.name == name)
    }
}
