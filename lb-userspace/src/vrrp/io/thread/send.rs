//! Advertisements and announcements.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use tracing::warn;

use super::super::addresses;
use super::Work;
use crate::model::{Instance, VirtualAddress};
use crate::vrrp::Advertisement;
use crate::vrrp::wire::{GROUP_IPV4, GROUP_IPV6, announcement, multicast, virtual_mac};

impl Work {
    /// Sends an advertisement on every path of an instance.
    pub(super) fn send(&mut self, index: usize, priority: u8) {
        let shared = self.routers.members().get(index).map(|member| Arc::clone(&member.instance));
        let Some(instance) = shared else { return };
        let advertisement = Advertisement {
            vrid: instance.router.vrid,
            priority,
            interval: instance.router.interval,
            addresses: instance.addresses.iter().map(|own| own.address).collect(),
        };
        let main = (&instance.interface, &instance.peers);
        let others = instance.heartbeats.iter().map(|heartbeat| (&heartbeat.interface, &heartbeat.peers));
        for (interface, peers) in std::iter::once(main).chain(others) {
            let to: Vec<Option<IpAddr>> =
                if peers.is_empty() { vec![None] } else { peers.iter().copied().map(Some).collect() };
            for peer in to {
                let sent = self.send_one(index, &instance, &advertisement, interface, peer);
                self.routers.note_sent(index, sent.is_ok());
            }
        }
    }

    fn send_one(
        &mut self,
        index: usize,
        instance: &Instance,
        advertisement: &Advertisement,
        interface: &str,
        peer: Option<IpAddr>,
    ) -> io::Result<()> {
        let source = self.routers.own_address(index, interface).ok_or(io::ErrorKind::AddrNotAvailable)?;
        let group = if source.is_ipv4() { IpAddr::V4(GROUP_IPV4) } else { IpAddr::V6(GROUP_IPV6) };
        let destination = peer.unwrap_or(group);
        let message = advertisement.encode(
            instance.router.version,
            instance.authentication,
            instance.checksum,
            source,
            destination,
        );
        let message = self.routers.seal(index, message, source, destination, SystemTime::now());
        let key = (interface.to_owned(), source.is_ipv4());
        let socket = self.sockets.get(&key).ok_or(io::ErrorKind::NotConnected)?;
        if instance.virtual_mac && peer.is_none() {
            // Switches learn from it where the virtual MAC address is.
            let mac = virtual_mac(instance.router.vrid, source.is_ipv4());
            return self.frames.send(socket.ifindex(), &multicast(source, mac, &message));
        }
        socket.send(source, peer, &message)
    }

    /// Tells the link of each address where it is.
    pub(super) fn announce(&self, instance: &Instance, count: u32) {
        let frames: Vec<(&VirtualAddress, u32, Vec<u8>)> = instance
            .all_addresses()
            .filter_map(|address| {
                let (ifindex, mac) = addresses::announced(instance, address, &self.inventory)?;
                let interface = address.interface.as_ref().unwrap_or(&instance.interface);
                let router = address.address.is_ipv6() && forwards(interface);
                Some((address, ifindex, announcement(address.address, mac, router)))
            })
            .collect();
        for (address, ifindex, frame) in (0..count).flat_map(|_| &frames) {
            if let Err(error) = self.frames.send(*ifindex, frame) {
                warn!(instance = instance.name, %address, %error, "virtual address not announced");
            }
        }
    }
}

/// Whether the host is a router for IPv6 on an interface.
fn forwards(interface: &str) -> bool {
    let setting = format!("/proc/sys/net/ipv6/conf/{interface}/forwarding");
    std::fs::read_to_string(setting).is_ok_and(|value| value.trim() != "0")
}
