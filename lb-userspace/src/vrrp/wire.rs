//! Ethernet frames that VRRP sends by itself: announcements, and advertisements from a virtual MAC address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{PROTOCOL, TTL};

/// MAC address.
pub type Mac = [u8; 6];

const BROADCAST: Mac = [0xff; 6];
/// Of 224.0.0.18 (RFC 1112, 6.4) and ff02::12 (RFC 2464, 7).
const ROUTERS_IPV4: Mac = [0x01, 0x00, 0x5e, 0x00, 0x00, 0x12];
/// As before.
const ROUTERS_IPV6: Mac = [0x33, 0x33, 0x00, 0x00, 0x00, 0x12];
/// Of ff02::1.
const ALL_NODES: Mac = [0x33, 0x33, 0x00, 0x00, 0x00, 0x01];

/// Where advertisements go by multicast (RFC 9568, 5.1.1.2).
pub const GROUP_IPV4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// As before, IPv6 (5.1.2.2).
pub const GROUP_IPV6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);

/// Internetwork control (RFC 791): what keepalived sends with.
pub const TRAFFIC_CLASS: u8 = 0xc0;

const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const FLAG_ROUTER: u8 = 0x80;
const FLAG_OVERRIDE: u8 = 0x20;
const TARGET_LINK_LAYER_ADDRESS: u8 = 2;
const ICMPV6: u8 = 58;

/// The MAC address of a virtual router (RFC 9568, 7.3).
#[must_use]
pub fn virtual_mac(vrid: u8, ipv4: bool) -> Mac {
    [0x00, 0x00, 0x5e, 0x00, if ipv4 { 1 } else { 2 }, vrid]
}

/// A frame that tells the link that `address` is at `mac`: a gratuitous ARP request, or an unsolicited neighbour
/// advertisement (RFC 9568, 6.4.1; RFC 4861, 7.2.6), with the router flag where the host forwards.
#[must_use]
pub fn announcement(address: IpAddr, mac: Mac, router: bool) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => gratuitous_arp(address, mac),
        IpAddr::V6(address) => neighbour_advertisement(address, mac, router),
    }
}

fn gratuitous_arp(address: Ipv4Addr, mac: Mac) -> Vec<u8> {
    let mut frame = ethernet(BROADCAST, mac, 0x0806);
    // Ethernet, IPv4, their lengths, request.
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(mac);
    frame.extend(address.octets());
    frame.extend(BROADCAST);
    frame.extend(address.octets());
    frame
}

fn neighbour_advertisement(address: Ipv6Addr, mac: Mac, router: bool) -> Vec<u8> {
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let flags = FLAG_OVERRIDE | if router { FLAG_ROUTER } else { 0 };
    let mut message = vec![NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0];
    message.extend(address.octets());
    message.extend([TARGET_LINK_LAYER_ADDRESS, 1]);
    message.extend(mac);
    let mut pseudo = address.octets().to_vec();
    pseudo.extend(all_nodes.octets());
    pseudo.extend((message.len() as u32).to_be_bytes());
    pseudo.extend([0, 0, 0, ICMPV6]);
    let sum = internet_checksum(&[&pseudo, &message]);
    message.splice(2..4, sum.to_be_bytes());
    let mut frame = ethernet(ALL_NODES, mac, 0x86dd);
    frame.extend(ipv6(address, all_nodes, ICMPV6, message.len()));
    frame.extend(message);
    frame
}

/// An advertisement by multicast from a virtual MAC address.
#[must_use]
pub fn multicast(source: IpAddr, mac: Mac, message: &[u8]) -> Vec<u8> {
    match source {
        IpAddr::V4(source) => {
            let mut frame = ethernet(ROUTERS_IPV4, mac, 0x0800);
            let mut header = vec![0x45, TRAFFIC_CLASS];
            header.extend((20 + message.len() as u16).to_be_bytes());
            // No identification, no fragments.
            header.extend([0, 0, 0x40, 0, TTL, PROTOCOL, 0, 0]);
            header.extend(source.octets());
            header.extend(GROUP_IPV4.octets());
            let sum = internet_checksum(&[&header]);
            header.splice(10..12, sum.to_be_bytes());
            frame.extend(header);
            frame.extend(message);
            frame
        }
        IpAddr::V6(source) => {
            let mut frame = ethernet(ROUTERS_IPV6, mac, 0x86dd);
            frame.extend(ipv6(source, GROUP_IPV6, PROTOCOL, message.len()));
            frame.extend(message);
            frame
        }
    }
}

fn ethernet(destination: Mac, source: Mac, kind: u16) -> Vec<u8> {
    let mut frame = destination.to_vec();
    frame.extend(source);
    frame.extend(kind.to_be_bytes());
    frame
}

fn ipv6(source: Ipv6Addr, destination: Ipv6Addr, next: u8, length: usize) -> Vec<u8> {
    let first = 6 << 28 | u32::from(TRAFFIC_CLASS) << 20;
    let mut header = first.to_be_bytes().to_vec();
    header.extend((length as u16).to_be_bytes());
    header.extend([next, TTL]);
    header.extend(source.octets());
    header.extend(destination.octets());
    header
}

/// The Internet checksum (RFC 1071) over several pieces, all but the last of even length.
#[must_use]
pub(super) fn internet_checksum(pieces: &[&[u8]]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low));
    let mut sum: u32 = pieces.iter().flat_map(|piece| piece.chunks(2)).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use etherparse::{Icmpv6Type, NetSlice, SlicedPacket, TransportSlice};

    use super::*;

    const MAC: Mac = [0x02, 0, 0, 0, 0, 7];

    #[test]
    fn a_gratuitous_arp_is_a_request_for_the_own_address() {
        let frame = announcement(IpAddr::from([192, 0, 2, 100]), MAC, false);
        let expected = [
            &[0xff; 6][..],
            &MAC,
            &[0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1],
            &MAC,
            &[192, 0, 2, 100],
            &[0xff; 6],
            &[192, 0, 2, 100],
        ]
        .concat();
        assert_eq!(frame, expected);
    }

    #[test]
    fn a_neighbour_advertisement_overrides() {
        let address: Ipv6Addr = "2001:db8::100".parse().unwrap();
        for router in [false, true] {
            let frame = announcement(IpAddr::V6(address), MAC, router);
            let packet = SlicedPacket::from_ethernet(&frame).unwrap();
            let Some(NetSlice::Ipv6(ip)) = packet.net else { panic!("no IPv6") };
            assert_eq!((ip.header().hop_limit(), ip.header().source_addr()), (255, address));
            let Some(TransportSlice::Icmpv6(icmp)) = packet.transport else { panic!("no ICMPv6") };
            assert!(icmp.is_checksum_valid(ip.header().source(), ip.header().destination()));
            assert!(matches!(icmp.icmp_type(), Icmpv6Type::NeighborAdvertisement(flags)
                if flags.r#override && !flags.solicited && flags.router == router));
            assert_eq!(icmp.payload(), [&address.octets()[..], &[2, 1], &MAC].concat());
        }
    }

    #[test]
    fn multicast_frames_have_the_virtual_mac() {
        let frame = multicast(IpAddr::from([192, 0, 2, 2]), virtual_mac(51, true), &[1, 2, 3, 4]);
        let packet = SlicedPacket::from_ethernet(&frame).unwrap();
        let Some(NetSlice::Ipv4(ip)) = &packet.net else { panic!("no IPv4") };
        assert_eq!(ip.header().header_checksum(), ip.header().to_header().calc_header_checksum());
        assert_eq!(
            (ip.header().ttl(), ip.header().protocol().0, ip.header().dcp().value()),
            (255, 112, 0x30)
        );
        assert_eq!(frame[6..12], [0, 0, 0x5e, 0, 1, 51]);
        assert_eq!(ip.payload().payload, [1, 2, 3, 4]);
        let source: IpAddr = "fe80::2".parse().unwrap();
        let frame = multicast(source, virtual_mac(51, false), &[1, 2, 3, 4]);
        let packet = SlicedPacket::from_ethernet(&frame).unwrap();
        let Some(NetSlice::Ipv6(ip)) = &packet.net else { panic!("no IPv6") };
        assert_eq!((ip.header().hop_limit(), ip.header().next_header().0), (255, 112));
        assert_eq!(frame[..12], [0x33, 0x33, 0, 0, 0, 0x12, 0, 0, 0x5e, 0, 2, 51]);
    }
}
