//! Packets as their fields, and the frames that `etherparse` makes of them.
//!
//! Nothing here shares code with the pipeline: lengths and checksums are those of the library.

use std::net::{IpAddr, SocketAddr};

use etherparse::{
    EtherType, Ethernet2Header, IpFragOffset, IpNumber, Ipv4Header, Ipv4Options, Ipv6FlowLabel, Ipv6Header,
    SingleVlanHeader, TcpHeader, UdpHeader, VlanId,
};

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;

/// Ethertypes of a customer's and a provider's VLAN tag.
pub(crate) const CUSTOMER: u16 = 0x8100;
pub(crate) const PROVIDER: u16 = 0x88a8;

pub(crate) const HOP_BY_HOP: u8 = 0;
pub(crate) const ROUTING: u8 = 43;
pub(crate) const FRAGMENT: u8 = 44;
pub(crate) const DESTINATION_OPTIONS: u8 = 60;

/// Length of an Ethernet header.
pub(crate) const ETHERNET: usize = 14;

/// What follows the IP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// TCP with these flags.
    Tcp(u8),
    Udp,
    /// UDP whose sender left the checksum out.
    UdpWithoutChecksum,
    /// Another protocol, by number: the payload follows at once.
    Other(u8),
}

impl Transport {
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Tcp(_) => 6,
            Self::Udp | Self::UdpWithoutChecksum => 17,
            Self::Other(number) => number,
        }
    }
}

/// A packet. Two are compared as bytes.
#[derive(Debug, Clone)]
pub(crate) struct Packet {
    destination_mac: [u8; 6],
    source_mac: [u8; 6],
    tags: Vec<(u16, u16)>,
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) transport: Transport,
    ttl: u8,
    tos: u8,
    dont_fragment: bool,
    /// Offset in units of eight bytes, and whether more fragments follow (IPv4).
    fragment: (u16, bool),
    /// IPv4 options.
    options: Vec<u8>,
    /// IPv6 extension headers: protocol number and bytes after the first two.
    extensions: Vec<(u8, Vec<u8>)>,
    payload: Vec<u8>,
    /// Ethernet padding behind the packet.
    padding: usize,
    /// Outer addresses of the tunnel that the packet is in.
    outer: Option<(IpAddr, IpAddr)>,
}

impl Packet {
    /// A packet from a client to the director, TTL 64.
    pub(crate) fn new(transport: Transport, from: SocketAddr, to: SocketAddr) -> Self {
        assert_eq!(from.is_ipv4(), to.is_ipv4(), "addresses of one family");
        Self {
            destination_mac: [2, 0, 0, 0, 0, 0x10],
            source_mac: [2, 0, 0, 0, 0, 0x99],
            tags: Vec::new(),
            from,
            to,
            transport,
            ttl: 64,
            tos: 0,
            dont_fragment: true,
            fragment: (0, false),
            options: Vec::new(),
            extensions: Vec::new(),
            payload: b"some payload".to_vec(),
            padding: 0,
            outer: None,
        }
    }

    pub(crate) fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    pub(crate) fn tos(mut self, tos: u8) -> Self {
        self.tos = tos;
        self
    }

    pub(crate) fn flags(mut self, flags: u8) -> Self {
        self.transport = Transport::Tcp(flags);
        self
    }

    /// UDP whose sender left the checksum out.
    pub(crate) fn without_checksum(mut self) -> Self {
        self.transport = Transport::UdpWithoutChecksum;
        self
    }

    /// A later packet of the same flow: TCP with these flags, or another datagram.
    pub(crate) fn later(self, flags: u8) -> Self {
        if matches!(self.transport, Transport::Tcp(_)) { self.flags(flags) } else { self }
    }

    /// A VLAN tag, behind those that are there.
    pub(crate) fn tag(mut self, ethertype: u16, vlan: u16) -> Self {
        self.tags.push((ethertype, vlan));
        self
    }

    /// IPv4 options: `words` times four bytes that say nothing ("no operation").
    pub(crate) fn options(mut self, words: usize) -> Self {
        self.options = vec![1; words * 4];
        self
    }

    /// An IPv6 extension header of `(units + 1) * 8` bytes, behind those that are there.
    pub(crate) fn extension(mut self, number: u8, units: usize) -> Self {
        self.extensions.push((number, vec![0; units * 8 + 6]));
        self
    }

    /// An IPv4 fragment, or an IPv6 fragment header.
    pub(crate) fn fragment(mut self, offset: u16, more: bool) -> Self {
        if self.from.is_ipv4() {
            self.dont_fragment = false;
            self.fragment = (offset, more);
        } else {
            let [high, low] = ((offset << 3) | u16::from(more)).to_be_bytes();
            self.extensions.push((FRAGMENT, vec![high, low, 0, 0, 0, 7]));
        }
        self
    }

    pub(crate) fn may_fragment(mut self) -> Self {
        self.dont_fragment = false;
        self
    }

    /// A payload of this length.
    pub(crate) fn payload(mut self, length: usize) -> Self {
        self.payload = (0..length).map(|index| index as u8).collect();
        self
    }

    /// A payload of these bytes.
    pub(crate) fn payload_of(mut self, bytes: &[u8]) -> Self {
        self.payload = bytes.to_vec();
        self
    }

    pub(crate) fn padding(mut self, bytes: usize) -> Self {
        self.padding = bytes;
        self
    }

    pub(crate) fn from(mut self, from: SocketAddr) -> Self {
        self.from = from;
        self
    }

    pub(crate) fn to(mut self, to: SocketAddr) -> Self {
        self.to = to;
        self
    }

    /// The same packet one router further: new Ethernet addresses, one off the TTL.
    pub(crate) fn routed(mut self, source_mac: [u8; 6], destination_mac: [u8; 6]) -> Self {
        self.source_mac = source_mac;
        self.destination_mac = destination_mac;
        self.ttl -= 1;
        self
    }

    /// The same packet in a tunnel.
    pub(crate) fn tunnelled(mut self, from: IpAddr, to: IpAddr) -> Self {
        self.outer = Some((from, to));
        self
    }

    /// Length of the packet in bytes, the outermost IP header included, Ethernet and its padding not.
    pub(crate) fn length(&self) -> u64 {
        (self.bytes().len() - ETHERNET - 4 * self.tags.len() - self.padding) as u64
    }

    /// Offset of the outermost IP header in the frame.
    pub(crate) fn network(&self) -> usize {
        ETHERNET + 4 * self.tags.len()
    }

    /// Offset of the transport header of a packet that is in no tunnel.
    pub(crate) fn transport_offset(&self) -> usize {
        let extensions: usize = self.extensions.iter().map(|(_, rest)| rest.len() + 2).sum();
        self.network() + if self.from.is_ipv4() { 20 + self.options.len() } else { 40 + extensions }
    }

    /// The frame.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let inner = self.inner();
        let (packet, ipv4) = match self.outer {
            None => (inner, self.from.is_ipv4()),
            Some((from, to)) => {
                let number = if self.from.is_ipv4() { 4 } else { 41 };
                let header = ip_header(from, to, number, self.ttl, self.tos, inner.len());
                ([header, inner].concat(), from.is_ipv4())
            }
        };
        let ethertype = if ipv4 { 0x0800 } else { 0x86dd };
        let first = self.tags.first().map_or(ethertype, |tag| tag.0);
        let ethernet = Ethernet2Header {
            source: self.source_mac,
            destination: self.destination_mac,
            ether_type: EtherType(first),
        };
        let mut frame = ethernet.to_bytes().to_vec();
        for (index, (_, vlan)) in self.tags.iter().enumerate() {
            let next = self.tags.get(index + 1).map_or(ethertype, |tag| tag.0);
            let tag = SingleVlanHeader {
                vlan_id: VlanId::try_new(*vlan).expect("a VLAN number"),
                ether_type: EtherType(next),
                ..SingleVlanHeader::default()
            };
            frame.extend(tag.to_bytes());
        }
        frame.extend(packet);
        frame.extend(std::iter::repeat_n(0, self.padding));
        frame
    }

    /// From the client's IP header on.
    fn inner(&self) -> Vec<u8> {
        let segment = self.segment();
        let (source, destination) = (self.from.ip(), self.to.ip());
        let IpAddr::V4(_) = source else {
            let mut next = self.transport.number();
            let mut chain = Vec::new();
            for (number, rest) in self.extensions.iter().rev() {
                // The second byte of a fragment header is reserved, that of the others their length.
                let units = if *number == FRAGMENT { 0 } else { (rest.len() + 2) / 8 - 1 };
                chain = [vec![next, units as u8], rest.clone(), chain].concat();
                next = *number;
            }
            let length = chain.len() + segment.len();
            return [ip_header(source, destination, next, self.ttl, self.tos, length), chain, segment]
                .concat();
        };
        let (mut header, number) = (ipv4_header(source, destination), self.transport.number());
        header.dscp = (self.tos >> 2).try_into().expect("six bits");
        header.ecn = (self.tos & 3).try_into().expect("two bits");
        header.options = Ipv4Options::try_from(&self.options[..]).expect("at most 40 bytes of options");
        header.total_len = (header.header_len() + segment.len()) as u16;
        header.identification = 0x4c56;
        header.dont_fragment = self.dont_fragment;
        header.fragment_offset = IpFragOffset::try_new(self.fragment.0).expect("13 bits");
        header.more_fragments = self.fragment.1;
        header.time_to_live = self.ttl;
        header.protocol = IpNumber(number);
        header.header_checksum = header.calc_header_checksum();
        [header.to_bytes().to_vec(), segment].concat()
    }

    /// From the transport header on.
    fn segment(&self) -> Vec<u8> {
        let ports = (self.from.port(), self.to.port());
        let header = match self.transport {
            Transport::Tcp(flags) => {
                let mut header = TcpHeader::new(ports.0, ports.1, 0x0102_0304, 4096);
                header.fin = flags & FIN != 0;
                header.syn = flags & SYN != 0;
                header.rst = flags & RST != 0;
                header.psh = flags & PSH != 0;
                header.ack = flags & ACK != 0;
                header.checksum = match (self.from.ip(), self.to.ip()) {
                    (IpAddr::V4(from), IpAddr::V4(to)) => {
                        header.calc_checksum_ipv4_raw(from.octets(), to.octets(), &self.payload)
                    }
                    (from, to) => header.calc_checksum_ipv6_raw(sixteen(from), sixteen(to), &self.payload),
                }
                .expect("a payload that fits");
                header.to_bytes().to_vec()
            }
            Transport::Udp | Transport::UdpWithoutChecksum => {
                let mut header = UdpHeader {
                    source_port: ports.0,
                    destination_port: ports.1,
                    length: (8 + self.payload.len()) as u16,
                    checksum: 0,
                };
                if self.transport == Transport::Udp {
                    header.checksum = match (self.from.ip(), self.to.ip()) {
                        (IpAddr::V4(from), IpAddr::V4(to)) => {
                            header.calc_checksum_ipv4_raw(from.octets(), to.octets(), &self.payload)
                        }
                        (from, to) => {
                            header.calc_checksum_ipv6_raw(sixteen(from), sixteen(to), &self.payload)
                        }
                    }
                    .expect("a payload that fits");
                }
                header.to_bytes().to_vec()
            }
            Transport::Other(_) => Vec::new(),
        };
        [header, self.payload.clone()].concat()
    }
}

fn ipv4_header(from: IpAddr, to: IpAddr) -> Ipv4Header {
    let (IpAddr::V4(from), IpAddr::V4(to)) = (from, to) else { panic!("{from} and {to} are not IPv4") };
    Ipv4Header { source: from.octets(), destination: to.octets(), ..Ipv4Header::default() }
}

fn sixteen(address: IpAddr) -> [u8; 16] {
    let IpAddr::V6(address) = address else { panic!("{address} is not IPv6") };
    address.octets()
}

/// A header without options or extension headers, never to be fragmented.
fn ip_header(from: IpAddr, to: IpAddr, next: u8, ttl: u8, tos: u8, payload: usize) -> Vec<u8> {
    if from.is_ipv4() {
        let mut header = ipv4_header(from, to);
        header.dscp = (tos >> 2).try_into().expect("six bits");
        header.ecn = (tos & 3).try_into().expect("two bits");
        header.total_len = (20 + payload) as u16;
        header.dont_fragment = true;
        header.time_to_live = ttl;
        header.protocol = IpNumber(next);
        header.header_checksum = header.calc_header_checksum();
        return header.to_bytes().to_vec();
    }
    let header = Ipv6Header {
        traffic_class: tos,
        flow_label: Ipv6FlowLabel::default(),
        payload_length: payload as u16,
        next_header: IpNumber(next),
        hop_limit: ttl,
        source: sixteen(from),
        destination: sixteen(to),
    };
    header.to_bytes().to_vec()
}

/// The same bytes with others at an offset.
pub(crate) fn patched(mut frame: Vec<u8>, offset: usize, bytes: &[u8]) -> Vec<u8> {
    frame[offset..offset + bytes.len()].copy_from_slice(bytes);
    frame
}

/// The same bytes, cut off at a length.
pub(crate) fn cut(mut frame: Vec<u8>, length: usize) -> Vec<u8> {
    assert!(length < frame.len());
    frame.truncate(length);
    frame
}
