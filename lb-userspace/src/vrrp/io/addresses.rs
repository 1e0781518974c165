//! Virtual addresses on interfaces, and the device of a virtual MAC address.

use std::fs;
use std::io;

use tracing::{debug, error, warn};

use super::guard::Guard;
use crate::model::{Instance, VirtualAddress};
use crate::netlink::{self, Inventory};
use crate::vrrp::wire::{Mac, virtual_mac};

/// Name of the device of a virtual MAC address.
pub(super) fn device(instance: &Instance, lower: u32) -> String {
    let family = if instance.is_ipv4() { 4 } else { 6 };
    format!("lvx{family}.{lower}.{}", instance.router.vrid)
}

/// The interface that gets an address: index and name.
fn home(instance: &Instance, address: &VirtualAddress, inventory: &Inventory) -> Option<(u32, String)> {
    let own = address.interface.as_ref().unwrap_or(&instance.interface);
    let link = inventory.link(own)?;
    if instance.virtual_mac && address.interface.is_none() {
        let name = device(instance, link.ifindex);
        let index = inventory.link(&name)?.ifindex;
        return Some((index, name));
    }
    Some((link.ifindex, own.clone()))
}

/// Where announcements of an address leave, and with which MAC address.
pub(super) fn announced(
    instance: &Instance,
    address: &VirtualAddress,
    inventory: &Inventory,
) -> Option<(u32, Mac)> {
    let own = address.interface.as_ref().unwrap_or(&instance.interface);
    let link = inventory.link(own)?;
    if instance.virtual_mac && address.interface.is_none() {
        return Some((link.ifindex, virtual_mac(instance.router.vrid, instance.is_ipv4())));
    }
    Some((link.ifindex, link.mac?))
}

/// Adds the addresses that are not there; true where there was one to add.
pub(super) fn take(instance: &Instance, inventory: &Inventory, guard: &mut Guard) -> bool {
    bring(instance, inventory, true);
    let mut added = false;
    for address in instance.all_addresses() {
        let Some((index, interface)) = home(instance, address, inventory) else {
            error!(instance = instance.name, %address, "no interface for this virtual address");
            continue;
        };
        if has(inventory, index, address) {
            continue;
        }
        added = true;
        // Before the address is there: a crash in between must not leave it behind.
        guard.add(index, address.address, address.prefix_length);
        match netlink::add_address(index, address.address, address.prefix_length) {
            Ok(()) => debug!(instance = instance.name, %address, interface, "virtual address added"),
            Err(error) => {
                error!(instance = instance.name, %address, interface, %error, "virtual address not added");
            }
        }
    }
    added
}

fn has(inventory: &Inventory, index: u32, address: &VirtualAddress) -> bool {
    inventory.addresses.iter().any(|known| (known.ifindex, known.address) == (index, address.address))
}

/// Removes the addresses that are there.
pub(super) fn release<'a>(
    instance: &Instance,
    addresses: impl Iterator<Item = &'a VirtualAddress>,
    inventory: &Inventory,
    guard: &mut Guard,
) {
    for address in addresses {
        let Some((index, interface)) = home(instance, address, inventory) else { continue };
        let removed = netlink::remove_address(index, address.address, address.prefix_length);
        guard.remove(index, address.address, address.prefix_length);
        match removed {
            Ok(()) => debug!(instance = instance.name, %address, interface, "virtual address removed"),
            Err(error) if gone(&error) => {}
            Err(error) => {
                error!(instance = instance.name, %address, interface, %error, "virtual address not removed");
            }
        }
    }
}

fn gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL | libc::ENODEV))
}

/// Brings the device of a virtual MAC address up or down: a backup takes no frames for it.
pub(super) fn bring(instance: &Instance, inventory: &Inventory, up: bool) {
    if !instance.virtual_mac {
        return;
    }
    let Some(lower) = inventory.link(&instance.interface) else { return };
    let name = device(instance, lower.ifindex);
    let Some(link) = inventory.link(&name) else { return };
    if let Err(error) = netlink::set_up(link.ifindex, up) {
        error!(instance = instance.name, interface = name, %error, "device of the virtual MAC address");
    }
}

/// Makes the device of a virtual MAC address, down.
pub(super) fn make_device(instance: &Instance, inventory: &Inventory) {
    if !instance.virtual_mac {
        return;
    }
    let Some(lower) = inventory.link(&instance.interface) else { return };
    let name = device(instance, lower.ifindex);
    if inventory.link(&name).is_some() {
        return;
    }
    let mac = virtual_mac(instance.router.vrid, instance.is_ipv4());
    if let Err(error) = netlink::make_macvlan(&name, lower.ifindex, mac) {
        error!(instance = instance.name, interface = name, %error, "device of the virtual MAC address not made");
        return;
    }
    // Only the device itself answers for its addresses; it sends nothing that nobody asked for.
    for (setting, value) in [
        (format!("ipv4/conf/{name}/arp_ignore"), "1"),
        (format!("ipv4/conf/{name}/rp_filter"), "0"),
        (format!("ipv4/conf/{}/arp_ignore", lower.name), "1"),
        // Its own questions must not teach others that the virtual address is at its own MAC address.
        (format!("ipv4/conf/{}/arp_announce", lower.name), "2"),
        (format!("ipv6/conf/{name}/addr_gen_mode"), "1"),
        (format!("ipv6/conf/{name}/accept_ra"), "0"),
        (format!("ipv6/conf/{name}/router_solicitations"), "0"),
    ] {
        // A kernel without IPv6 has no such files.
        if let Err(error) = fs::write(format!("/proc/sys/net/{setting}"), value) {
            warn!(instance = instance.name, setting, %error, "not set");
        }
    }
}

/// Removes the device of a virtual MAC address.
pub(super) fn remove_device(instance: &Instance, inventory: &Inventory) {
    if !instance.virtual_mac {
        return;
    }
    let lower = inventory.link(&instance.interface);
    let link = lower.and_then(|lower| inventory.link(&device(instance, lower.ifindex)));
    if let Some(link) = link
        && let Err(error) = netlink::remove_link(link.ifindex)
    {
        error!(instance = instance.name, %error, "device of the virtual MAC address not removed");
    }
}
