//! What holds for any frame, and for any sequence of packets, on the host.

use std::net::IpAddr;

use etherparse::{LaxNetSlice, LaxSlicedPacket};
use lb_common::layout::{Counter, DropReason, PassReason};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::checksums::check_checksums;
use super::director::{Action, Director, Tally};
use super::fixture::{
    EAST, Fixture, INGRESS, KINDS, Kind, Purpose, SIZES, TCP4, gateway_mac, own_mac, server_mac,
};
use super::frames::{ACK, CUSTOMER, ETHERNET, PROVIDER, Packet};
use super::host::{HEADROOM, Host};
use super::row::loads_of;

/// The purposes whose real server gets what it is sent.
const REACHABLE: [Purpose; 7] = [
    Purpose::Direct,
    Purpose::Tunnel,
    Purpose::TunnelAcross,
    Purpose::Nat,
    Purpose::NatSamePort,
    Purpose::KernelRoute,
    Purpose::East,
];

const EVERYWHERE: [Purpose; 12] = [
    Purpose::Direct,
    Purpose::Tunnel,
    Purpose::TunnelAcross,
    Purpose::SmallTunnel,
    Purpose::Nat,
    Purpose::NatSamePort,
    Purpose::NatEast,
    Purpose::Local,
    Purpose::Empty,
    Purpose::NatNoRoute,
    Purpose::KernelRoute,
    Purpose::West,
];

fn host() -> Host {
    let mut host = Host::new(SIZES, Fixture::standard());
    host.attach(&[INGRESS, EAST]);
    host
}

/// A correct packet from a client to the service of one of these purposes.
fn packet(purposes: &'static [Purpose]) -> impl Strategy<Value = (Kind, Purpose, Packet)> {
    let tags = select(vec![0usize, 0, 0, 1, 2]);
    let client = (0u8..4, 0u8..4, any::<u16>());
    let header = (
        any::<u8>(),
        2u8..,
        any::<u8>(),
        0usize..=10,
        (proptest::option::of(0usize..3), vec((select(vec![43u8, 60]), 0usize..3), 0..4)),
    );
    let payload = (vec(any::<u8>(), 0..600), 0usize..10);
    (select(&KINDS[..]), select(purposes), client, tags, header, payload).prop_map(
        |(
            kind,
            purpose,
            (net, host, port),
            tags,
            (flags, ttl, tos, options, (hop_by_hop, extensions)),
            (payload, padding),
        )| {
            let mut from = kind.client_in(net, host);
            from.set_port(port);
            let mut packet = kind.request(kind.service(purpose)).from(from).later(flags);
            packet = packet.ttl(ttl).tos(tos).payload_of(&payload).padding(padding);
            if kind.ipv4 {
                packet = packet.options(options);
            } else {
                // Hop-by-hop options come first or not at all (RFC 8200, 4.1), and four headers are looked through.
                let first = hop_by_hop.map(|units| (0, units));
                for (number, units) in first.into_iter().chain(extensions) {
                    packet = packet.extension(number, units);
                }
            }
            for ethertype in [PROVIDER, CUSTOMER].into_iter().take(tags) {
                packet = packet.tag(ethertype, 9);
            }
            (kind, purpose, packet)
        },
    )
}

/// What the real server of a reachable purpose is sent, and through which interface.
fn delivered(kind: Kind, purpose: Purpose, packet: &Packet) -> (u32, Packet) {
    let ifindex = if purpose == Purpose::East { EAST } else { INGRESS };
    let mac = match purpose {
        Purpose::KernelRoute => gateway_mac(ifindex),
        _ => server_mac(kind.slot(purpose)),
    };
    let routed = packet.clone().routed(own_mac(ifindex), mac);
    let server = kind.server(purpose);
    let packet = match purpose {
        Purpose::Tunnel | Purpose::TunnelAcross => {
            let outer = Kind { ipv4: server.is_ipv4(), ..kind };
            routed.tunnelled(outer.director(), server.ip())
        }
        Purpose::Nat | Purpose::NatSamePort => routed.to(server),
        _ => routed,
    };
    (ifindex, packet)
}

/// Sends a frame and checks what holds for every one of them.
fn send(host: &mut Host, frame: &[u8]) -> Result<(Action, Vec<u8>), TestCaseError> {
    let before = Tally::read(host, SIZES.real_servers);
    let (action, output) = host.run(INGRESS, HEADROOM, frame);
    let after = Tally::read(host, SIZES.real_servers);
    let grown = |counter: Counter| {
        let index = counter.index() as usize;
        after.counters[index] - before.counters[index]
    };
    let passed: u64 = PassReason::ALL.iter().map(|reason| grown((*reason).into())).sum();
    let dropped: u64 = DropReason::ALL.iter().map(|reason| grown((*reason).into())).sum();
    let packets = |tally: &Tally| tally.traffic.values().map(|counts| counts[1] + counts[3]).sum::<u64>();
    let counted = packets(&after) - packets(&before);
    let forwarded = matches!(action, Action::Transmit | Action::Redirect(_));
    // Under one reason, or as a real server's traffic.
    prop_assert_eq!(passed, u64::from(action == Action::Pass));
    prop_assert_eq!(dropped, u64::from(action == Action::Drop));
    if forwarded {
        prop_assert_eq!(counted, 1);
        prop_assert!(meant_for_us(frame), "forwarded a stranger's frame");
        if check_checksums(frame).is_ok() {
            prop_assert_eq!(check_checksums(&output), Ok(()));
        }
    } else {
        prop_assert!(counted <= 1);
        // A reply is passed translated; whether an interface is attached is known after all was written.
        let rewritten =
            grown(PassReason::ReplyUnrouted.into()) + grown(DropReason::InterfaceNotAttached.into());
        prop_assert!(rewritten == 1 || output == frame, "{:?} and changed", action);
    }
    prop_assert_eq!(grown(DropReason::Internal.into()), 0);
    prop_assert_eq!(&after.loads, &loads_of(&after.sorted()));
    Ok((action, output))
}

/// Whether a frame goes to a virtual address, or comes from a real server with NAT; by `etherparse`'s reading.
fn meant_for_us(frame: &[u8]) -> bool {
    let Ok(parsed) = LaxSlicedPacket::from_ethernet(frame) else { return false };
    let (source, destination): (IpAddr, IpAddr) = match parsed.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        _ => return false,
    };
    let nat = |kind: &Kind, purpose: Purpose| purpose.is_nat() && kind.server(purpose).ip() == source;
    KINDS.iter().any(|kind| {
        [kind.vip(), kind.any_port_vip(), kind.closed_vip(), kind.half_closed_vip()].contains(&destination)
            || EVERYWHERE.iter().any(|purpose| nat(kind, *purpose))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_do_no_harm(frames in vec(vec(any::<u8>(), 0..200), 1..8)) {
        let mut host = host();
        for frame in frames {
            send(&mut host, &frame)?;
        }
    }

    /// Correct packets and their replies, then the same with a few bytes changed or missing.
    #[test]
    fn spoilt_packets_do_no_harm(
        (kind, purpose, packet) in packet(&EVERYWHERE),
        reply: bool,
        opened: bool,
        spoilt in vec((any::<Index>(), any::<u8>()), 0..6),
        near_the_front: bool,
        cut in proptest::option::of(any::<Index>()),
    ) {
        let mut host = host();
        if opened {
            let request = kind.request(packet.to).from(packet.from);
            send(&mut host, &request.bytes())?;
            send(&mut host, &request.later(ACK).bytes())?;
        }
        let mut frame = packet.bytes();
        if reply {
            let server = kind.server(purpose);
            if server.is_ipv4() == kind.ipv4 {
                frame = packet.clone().from(server).to(packet.from).bytes();
            }
        }
        let reach = if near_the_front { frame.len().min(60) } else { frame.len() };
        for (index, byte) in spoilt {
            frame[index.index(reach)] = byte;
        }
        if let Some(index) = cut {
            frame.truncate(index.index(frame.len()));
        }
        send(&mut host, &frame)?;
    }

    /// Whatever a packet looks like, its real server gets it unchanged but for what the method changes; and the answer
    /// comes back as if the director had sent it.
    #[test]
    fn packets_arrive_as_they_should((kind, purpose, packet) in packet(&REACHABLE), data in vec(any::<u8>(), 0..600)) {
        let mut host = host();
        let request = kind.request(packet.to).from(packet.from);
        let begin = if purpose == Purpose::East { Action::Redirect(EAST) } else { Action::Transmit };
        prop_assert_eq!(send(&mut host, &request.bytes())?.0, begin);
        prop_assert_eq!(send(&mut host, &request.clone().later(ACK).bytes())?.0, begin);
        let (action, output) = send(&mut host, &packet.bytes())?;
        let (ifindex, expected) = delivered(kind, purpose, &packet);
        // Tagged frames only go back to the trunk that they came from.
        if purpose == Purpose::East && packet.network() != ETHERNET {
            prop_assert_eq!(action, Action::Drop);
            return Ok(());
        }
        prop_assert_eq!(action, if ifindex == INGRESS { Action::Transmit } else { Action::Redirect(ifindex) });
        prop_assert_eq!(&output, &expected.bytes());
        prop_assert_eq!(check_checksums(&output), Ok(()));
        if purpose.is_nat() {
            let answer = request.clone().later(ACK).payload_of(&data).from(kind.server(purpose)).to(packet.from);
            let (action, output) = send(&mut host, &answer.bytes())?;
            let through = match super::fixture::route(packet.from.ip()) {
                Some(hop) => hop.ifindex,
                None => 0,
            };
            let translated = answer.clone().from(kind.service(purpose));
            match through {
                0 => {
                    prop_assert_eq!(action, Action::Pass);
                    prop_assert_eq!(output, translated.bytes());
                }
                INGRESS | EAST => {
                    prop_assert!(matches!(action, Action::Transmit | Action::Redirect(EAST)));
                    let sent = translated.routed(own_mac(through), gateway_mac(through));
                    prop_assert_eq!(output, sent.bytes());
                }
                _ => prop_assert_eq!(action, Action::Drop),
            }
        }
    }
}

#[test]
fn the_check_of_checksums_finds_every_wrong_one() {
    for (kind, purpose) in [(TCP4, Purpose::Direct), (TCP4, Purpose::TunnelAcross), (KINDS[3], Purpose::Nat)]
    {
        let frame = delivered(kind, purpose, &kind.request(kind.service(purpose))).1.bytes();
        assert_eq!(check_checksums(&frame), Ok(()));
        for at in frame.len() - 12..frame.len() {
            let mut wrong = frame.clone();
            wrong[at] ^= 0x10;
            assert!(check_checksums(&wrong).is_err(), "{kind} {purpose:?}, byte {at}");
        }
    }
}
