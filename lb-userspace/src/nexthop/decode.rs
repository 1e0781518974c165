//! From rtnetlink(7) messages to the table's events and answers.
//!
//! Only what the table needs is looked at; anything else in a message is ignored.

use std::io;
use std::net::IpAddr;

use netlink_packet_core::{DecodeError, NetlinkBuffer, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState as Nud,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::kernel::{
    Address, Event, Link, LinkKind, Neighbour, NeighbourKey, NeighbourState, Prefix, RouteAnswer, RouteError,
};

/// ETH_P_8021Q of if_ether.h, the tag of a VLAN device that names none.
const DOT1Q: u16 = 0x8100;

/// RTM_NEWNEXTHOP of rtnetlink.h.
const RTM_NEWNEXTHOP: u16 = 104;

/// RTM_DELNEXTHOP of rtnetlink.h.
const RTM_DELNEXTHOP: u16 = 105;

/// The messages of one datagram; stops at the first whose length is wrong.
pub(crate) fn messages(datagram: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = NetlinkBuffer::new_checked(rest).ok()?.length() as usize;
        let message = rest.get(..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// The event a message announces; None where it does not concern next hops.
pub(crate) fn event(message: &[u8]) -> Result<Option<Event>, DecodeError> {
    let kind = NetlinkBuffer::new_checked(message)?.message_type();
    if let libc::RTM_NEWRULE | libc::RTM_DELRULE | RTM_NEWNEXTHOP | RTM_DELNEXTHOP = kind {
        return Ok(Some(Event::Routes(None)));
    }
    match NetlinkMessage::<RouteNetlinkMessage>::deserialize(message) {
        Ok(NetlinkMessage { payload: NetlinkPayload::InnerMessage(inner), .. }) => Ok(inner_event(inner)),
        Ok(_) => Ok(None),
        // Routes can carry attributes of any tunnel; the table asks for what it needs anyway.
        Err(_) if kind == libc::RTM_NEWROUTE || kind == libc::RTM_DELROUTE => Ok(Some(Event::Routes(None))),
        Err(error) => Err(error),
    }
}

/// As [`event`], of a message already taken apart.
pub(crate) fn inner_event(message: RouteNetlinkMessage) -> Option<Event> {
    match message {
        RouteNetlinkMessage::NewLink(message) => link(message).map(Event::Link),
        // Of AF_BRIDGE: a port has left its bridge.
        RouteNetlinkMessage::DelLink(message) => (message.header.interface_family == AddressFamily::Unspec)
            .then_some(Event::LinkRemoved(message.header.index)),
        RouteNetlinkMessage::NewAddress(message) => address(&message).map(Event::Address),
        RouteNetlinkMessage::DelAddress(message) => address(&message).map(Event::AddressRemoved),
        RouteNetlinkMessage::NewNeighbour(message) => neighbour(&message).map(Event::Neighbour),
        RouteNetlinkMessage::DelNeighbour(message) => {
            neighbour(&message).map(|neighbour| Event::NeighbourRemoved(neighbour.key))
        }
        RouteNetlinkMessage::NewRoute(message) | RouteNetlinkMessage::DelRoute(message) => {
            Some(Event::Routes(prefix(&message)))
        }
        _ => None,
    }
}

fn link(message: LinkMessage) -> Option<Link> {
    if message.header.interface_family != AddressFamily::Unspec {
        return None;
    }
    let flags = message.header.flags;
    let ethernet = message.header.link_layer_type == LinkLayerType::Ether;
    let mut link = Link {
        ifindex: message.header.index,
        name: String::new(),
        mac: None,
        up: flags.contains(LinkFlags::Up | LinkFlags::Running),
        mtu: 0,
        kind: LinkKind::Physical,
    };
    let mut lower = None;
    let mut info = Vec::new();
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Link(index) => lower = Some(index),
            LinkAttribute::Address(mac) if ethernet => link.mac = mac.try_into().ok(),
            LinkAttribute::LinkInfo(items) => info = items,
            _ => {}
        }
    }
    link.kind = link_kind(&info, lower);
    Some(link)
}

fn link_kind(info: &[LinkInfo], lower: Option<u32>) -> LinkKind {
    let mut kind = LinkKind::Physical;
    for item in info {
        match item {
            LinkInfo::Kind(InfoKind::Vlan) => {}
            LinkInfo::Kind(name) => kind = LinkKind::Other(name.to_string()),
            LinkInfo::Data(InfoData::Vlan(data)) => {
                let (mut id, mut protocol) = (0, DOT1Q);
                for attribute in data {
                    match attribute {
                        InfoVlan::Id(value) => id = *value,
                        InfoVlan::Protocol(value) => protocol = u16::from(*value),
                        _ => {}
                    }
                }
                // A lower device in another namespace (IFLA_LINK_NETNSID) has an index of no use here.
                kind = LinkKind::Vlan { id, protocol, lower: lower.unwrap_or(0) };
            }
            _ => {}
        }
    }
    kind
}

fn address(message: &AddressMessage) -> Option<Address> {
    let (mut own, mut peer, mut flags) = (None, None, None);
    for attribute in &message.attributes {
        match attribute {
            // On point-to-point links IFA_ADDRESS is the other end and IFA_LOCAL this one (if_addr.h).
            AddressAttribute::Local(address) => own = Some(*address),
            AddressAttribute::Address(address) => peer = Some(*address),
            AddressAttribute::Flags(value) => flags = Some(*value),
            _ => {}
        }
    }
    let flags =
        flags.unwrap_or_else(|| AddressFlags::from_bits_retain(u32::from(message.header.flags.bits())));
    let untested = flags.contains(AddressFlags::Tentative) && !flags.contains(AddressFlags::Optimistic);
    Some(Address {
        ifindex: message.header.index,
        address: own.or(peer)?,
        prefix_length: message.header.prefix_len,
        usable: !untested && !flags.contains(AddressFlags::Dadfailed),
    })
}

fn neighbour(message: &NeighbourMessage) -> Option<Neighbour> {
    if message.header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let (mut address, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => address = Some(IpAddr::V4(*v4)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => address = Some(IpAddr::V6(*v6)),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.as_slice().try_into().ok(),
            _ => {}
        }
    }
    let state = match message.header.state {
        Nud::Incomplete => NeighbourState::Incomplete,
        Nud::Reachable => NeighbourState::Reachable,
        Nud::Stale => NeighbourState::Stale,
        Nud::Delay => NeighbourState::Delay,
        Nud::Probe => NeighbourState::Probe,
        Nud::Failed => NeighbourState::Failed,
        Nud::Noarp => NeighbourState::NoArp,
        Nud::Permanent => NeighbourState::Permanent,
        _ => NeighbourState::None,
    };
    Some(Neighbour { key: NeighbourKey { ifindex: message.header.ifindex, address: address? }, mac, state })
}

fn prefix(message: &RouteMessage) -> Option<Prefix> {
    let length = message.header.destination_prefix_length;
    let everything = match message.header.address_family {
        AddressFamily::Inet => IpAddr::from([0; 4]),
        AddressFamily::Inet6 => IpAddr::from([0; 16]),
        _ => return None,
    };
    let destination = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(address) => ip(address),
        _ => None,
    });
    Some(Prefix { address: destination.unwrap_or(everything), length })
}

/// The kernel's answer to RTM_GETROUTE.
pub(super) fn route(message: &RouteMessage) -> Result<RouteAnswer, RouteError> {
    match message.header.kind {
        RouteType::Local | RouteType::Anycast => return Ok(RouteAnswer::Local),
        RouteType::Unicast => {}
        RouteType::Broadcast | RouteType::Multicast => return Err(RouteError::NotUnicast),
        RouteType::BlackHole | RouteType::Prohibit => return Err(RouteError::Refused),
        _ => return Err(RouteError::NoRoute),
    }
    let (mut oif, mut gateway, mut source, mut mtu) = (None, None, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => oif = Some(*index),
            RouteAttribute::Gateway(address) => gateway = ip(address),
            RouteAttribute::Via(RouteVia::Inet(v4)) => gateway = Some(IpAddr::V4(*v4)),
            RouteAttribute::Via(RouteVia::Inet6(v6)) => gateway = Some(IpAddr::V6(*v6)),
            RouteAttribute::PrefSource(address) => source = ip(address),
            RouteAttribute::Metrics(metrics) => {
                mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(value) => Some(*value),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    let ifindex = oif.ok_or(RouteError::NoRoute)?;
    let source = source.filter(|source| !source.is_unspecified());
    Ok(RouteAnswer::Unicast { ifindex, gateway, source, mtu })
}

/// The meaning of the kernel's refusal of RTM_GETROUTE (fib_props in fib_semantics.c gives the route types' errors).
pub(super) fn route_error(error: &io::Error) -> RouteError {
    match error.raw_os_error() {
        Some(libc::EACCES | libc::EINVAL) => RouteError::Refused,
        Some(libc::ENOBUFS | libc::ENOMEM | libc::EBUSY | libc::EAGAIN | libc::EINTR) => RouteError::Lost,
        _ => RouteError::NoRoute,
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_core::NetlinkHeader;
    use netlink_packet_route::link::VlanProtocol;

    fn bytes(message: RouteNetlinkMessage) -> Vec<u8> {
        let mut message =
            NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::InnerMessage(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    }

    fn ethernet(attributes: Vec<LinkAttribute>) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = 7;
        message.header.link_layer_type = LinkLayerType::Ether;
        message.header.flags = LinkFlags::Up | LinkFlags::Running;
        message.attributes = attributes;
        message
    }

    fn seen(message: RouteNetlinkMessage) -> Option<Event> {
        event(&bytes(message)).unwrap()
    }

    #[test]
    fn a_vlan_link_tells_tag_and_lower_device() {
        let vlan = vec![InfoVlan::Id(42), InfoVlan::Protocol(VlanProtocol::Ieee8021Ad)];
        let message = ethernet(vec![
            LinkAttribute::IfName("eth0.42".to_owned()),
            LinkAttribute::Mtu(1496),
            LinkAttribute::Link(3),
            LinkAttribute::Address(vec![2, 0, 0, 0, 0, 9]),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Vlan),
                LinkInfo::Data(InfoData::Vlan(vlan)),
            ]),
        ]);
        let expected = Link {
            ifindex: 7,
            name: "eth0.42".to_owned(),
            mac: Some([2, 0, 0, 0, 0, 9]),
            up: true,
            mtu: 1496,
            kind: LinkKind::Vlan { id: 42, protocol: 0x88a8, lower: 3 },
        };
        assert_eq!(seen(RouteNetlinkMessage::NewLink(message)), Some(Event::Link(expected)));
    }

    #[test]
    fn only_ethernet_links_have_a_mac_and_only_running_ones_are_up() {
        let mut message = ethernet(vec![LinkAttribute::Address(vec![0; 6])]);
        message.header.link_layer_type = LinkLayerType::Loopback;
        message.header.flags = LinkFlags::Up;
        let Some(Event::Link(link)) = seen(RouteNetlinkMessage::NewLink(message)) else { panic!() };
        assert_eq!((link.mac, link.up), (None, false));
    }

    #[test]
    fn a_port_that_leaves_its_bridge_is_no_removed_link() {
        let mut message = ethernet(vec![]);
        assert_eq!(seen(RouteNetlinkMessage::DelLink(message.clone())), Some(Event::LinkRemoved(7)));
        message.header.interface_family = AddressFamily::Bridge;
        assert_eq!(seen(RouteNetlinkMessage::DelLink(message.clone())), None);
        assert_eq!(seen(RouteNetlinkMessage::NewLink(message)), None);
    }

    #[test]
    fn a_proxied_address_is_no_neighbour() {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.ifindex = 7;
        message.header.state = Nud::Stale;
        message.attributes = vec![
            NeighbourAttribute::Destination(NeighbourAddress::Inet([192, 0, 2, 1].into())),
            NeighbourAttribute::LinkLayerAddress(vec![2; 6]),
        ];
        let key = NeighbourKey { ifindex: 7, address: IpAddr::from([192, 0, 2, 1]) };
        let expected = Neighbour { key, mac: Some([2; 6]), state: NeighbourState::Stale };
        assert_eq!(
            seen(RouteNetlinkMessage::NewNeighbour(message.clone())),
            Some(Event::Neighbour(expected))
        );
        message.header.flags = NeighbourFlags::Proxy;
        assert_eq!(seen(RouteNetlinkMessage::NewNeighbour(message)), None);
    }

    #[test]
    fn an_address_under_test_is_not_usable_yet() {
        for (flags, usable) in [
            (AddressFlags::Permanent, true),
            (AddressFlags::Tentative, false),
            (AddressFlags::Tentative | AddressFlags::Optimistic, true),
            (AddressFlags::Tentative | AddressFlags::Dadfailed, false),
        ] {
            let mut message = AddressMessage::default();
            message.header.family = AddressFamily::Inet6;
            message.header.index = 7;
            message.header.prefix_len = 64;
            let own: IpAddr = "2001:db8::1".parse().unwrap();
            message.attributes = vec![AddressAttribute::Address(own), AddressAttribute::Flags(flags)];
            let expected = Address { ifindex: 7, address: own, prefix_length: 64, usable };
            assert_eq!(seen(RouteNetlinkMessage::NewAddress(message)), Some(Event::Address(expected)));
        }
    }

    #[test]
    fn a_default_route_concerns_its_whole_family() {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet6;
        let prefix = Prefix { address: IpAddr::from([0; 16]), length: 0 };
        assert_eq!(seen(RouteNetlinkMessage::DelRoute(message)), Some(Event::Routes(Some(prefix))));
    }

    #[test]
    fn rules_and_next_hop_objects_concern_every_route() {
        let mut message = bytes(RouteNetlinkMessage::NewLink(LinkMessage::default()));
        for kind in [libc::RTM_NEWRULE, libc::RTM_DELRULE, RTM_NEWNEXTHOP, RTM_DELNEXTHOP] {
            message[4..6].copy_from_slice(&kind.to_ne_bytes());
            assert_eq!(event(&message).unwrap(), Some(Event::Routes(None)));
        }
    }

    #[test]
    fn datagrams_are_split_and_bad_lengths_end_them() {
        let one = bytes(RouteNetlinkMessage::DelLink(ethernet(vec![])));
        let two = [one.clone(), one.clone()].concat();
        assert_eq!(messages(&two).count(), 2);
        for length in [0u32, 1, 15, one.len() as u32 + 1, u32::MAX] {
            let mut bad = two.clone();
            bad[one.len()..one.len() + 4].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(messages(&bad).count(), 1, "length {length}");
        }
        for cut in 0..one.len() {
            assert_eq!(messages(&one[..cut]).count(), 0, "{cut} bytes");
        }
    }

    #[test]
    fn refusals_of_the_kernel_have_their_meaning() {
        for (errno, expected) in [
            (libc::ENETUNREACH, RouteError::NoRoute),
            (libc::EHOSTUNREACH, RouteError::NoRoute),
            (libc::EACCES, RouteError::Refused),
            (libc::EINVAL, RouteError::Refused),
            (libc::ENOBUFS, RouteError::Lost),
        ] {
            assert_eq!(route_error(&io::Error::from_raw_os_error(errno)), expected, "errno {errno}");
        }
    }
}
