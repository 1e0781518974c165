//! Rows about tunnels: the outer header, the MTU, room in front of the frame.

use std::net::SocketAddr;

use lb_common::layout::DropReason;

use super::fixture::{INGRESS, KINDS, Kind, MTU, Purpose, SMALL_MTU, own_mac, server_mac};
use super::frames::{ACK, CUSTOMER, PROVIDER, Packet};
use super::row::{Row, opened};

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for kind in KINDS {
        for purpose in [Purpose::Tunnel, Purpose::TunnelAcross] {
            rows.extend(tunnel(kind, purpose));
        }
        rows.extend(too_large(kind));
    }
    rows
}

/// The packet in the tunnel to the real server of a purpose.
fn in_tunnel(kind: Kind, purpose: Purpose, packet: &Packet) -> Packet {
    let server: SocketAddr = kind.server(purpose);
    let outer = Kind { ipv4: server.is_ipv4(), ..kind };
    packet
        .clone()
        .routed(own_mac(INGRESS), server_mac(kind.slot(purpose)))
        .tunnelled(outer.director(), server.ip())
}

fn tunnel(kind: Kind, purpose: Purpose) -> Vec<Row> {
    let (packet, slot) = (kind.request(kind.service(purpose)), kind.slot(purpose));
    let mut variants = vec![
        ("as it is", packet.clone()),
        ("type of service and TTL", packet.clone().tos(0xb9).ttl(17)),
        ("TTL 2", packet.clone().ttl(2)),
        ("a tag", packet.clone().tag(CUSTOMER, 100)),
        ("two tags", packet.clone().tag(PROVIDER, 100).tag(CUSTOMER, 200)),
        ("padding", packet.clone().payload(0).padding(6)),
        ("an odd payload", packet.clone().payload(31)),
    ];
    if kind.ipv4 {
        variants.push(("may be fragmented inside", packet.clone().may_fragment()));
        variants.push(("options inside", packet.clone().options(3).tos(0x10)));
    } else {
        variants.push(("extension headers inside", packet.clone().extension(0, 1).extension(60, 0)));
    }
    let mut rows = Vec::new();
    for (name, packet) in variants {
        let output = in_tunnel(kind, purpose, &packet);
        let row = Row::transmits(format!("{kind} {purpose:?}: {name}"), &packet, &output);
        rows.push(row.begins(slot, &packet, &[opened(kind, &packet, slot)]));
    }
    let second = packet.clone().later(ACK);
    let output = in_tunnel(kind, purpose, &second);
    let row = Row::transmits(format!("{kind} {purpose:?}: third packet"), &second, &output);
    rows.push(row.after(&[&packet, &second]).inward(slot, &second));
    let outer = if kind.server(purpose).is_ipv4() { 20 } else { 40 };
    let row = Row::drops(format!("{kind} {purpose:?}: no headroom"), &packet, DropReason::NoHeadroom);
    let begun = [opened(kind, &packet, slot)];
    rows.push(row.headroom(outer - 1).begins(slot, &packet, &begun));
    let output = in_tunnel(kind, purpose, &packet);
    let row = Row::transmits(format!("{kind} {purpose:?}: just enough headroom"), &packet, &output);
    rows.push(row.headroom(outer).begins(slot, &packet, &begun));
    rows
}

/// The MTU counts from the outer header on.
fn too_large(kind: Kind) -> Vec<Row> {
    let mut rows = Vec::new();
    for (purpose, mtu) in
        [(Purpose::SmallTunnel, SMALL_MTU), (Purpose::Tunnel, MTU), (Purpose::TunnelAcross, MTU)]
    {
        let (packet, slot) = (kind.request(kind.service(purpose)), kind.slot(purpose));
        let outer = if kind.server(purpose).is_ipv4() { 20 } else { 40 };
        let headers = packet.clone().payload(0).length() as usize;
        let largest = usize::from(mtu) - outer - headers;
        let fits = packet.clone().payload(largest);
        let begun = [opened(kind, &packet, slot)];
        let output = in_tunnel(kind, purpose, &fits);
        let row = Row::transmits(format!("{kind} {purpose:?}: fits the MTU exactly"), &fits, &output);
        rows.push(row.begins(slot, &fits, &begun));
        let large = packet.clone().payload(largest + 1);
        let name = format!("{kind} {purpose:?}: one byte too large");
        rows.push(Row::drops(name, &large, DropReason::TooLarge).begins(slot, &large, &begun));
        // Padding is no part of the packet.
        let padded = fits.padding(8);
        let output = in_tunnel(kind, purpose, &padded);
        let name = format!("{kind} {purpose:?}: fits the MTU, padding does not count");
        rows.push(Row::transmits(name, &padded, &output).begins(slot, &padded, &begun));
    }
    rows
}
