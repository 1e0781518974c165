//! Rows about headers: what the pipeline reads, what it looks through, and what it leaves to the host.

use lb_common::layout::PassReason;

use super::fixture::{INGRESS, KINDS, Kind, Purpose, TCP4, TCP6, UDP4, UDP6, own_mac, server_mac};
use super::frames::{
    CUSTOMER, DESTINATION_OPTIONS, ETHERNET, FRAGMENT, HOP_BY_HOP, PROVIDER, Packet, ROUTING, Transport, cut,
    patched,
};
use super::row::{Row, opened};

const SHORT: &str = "BPF_PROG_TEST_RUN refuses frames shorter than an Ethernet header";

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = ethernet();
    rows.extend(ipv4());
    rows.extend(ipv6());
    rows.extend(transport());
    rows.extend(addresses());
    rows
}

fn direct(kind: Kind) -> Packet {
    kind.request(kind.service(Purpose::Direct))
}

/// The packet goes to the direct routing server and makes a connection.
fn forwarded(name: impl Into<String>, kind: Kind, packet: &Packet) -> Row {
    let slot = kind.slot(Purpose::Direct);
    let output = packet.clone().routed(own_mac(INGRESS), server_mac(slot));
    Row::transmits(name, packet, &output).begins(slot, packet, &[opened(kind, packet, slot)])
}

fn ethernet() -> Vec<Row> {
    let packet = direct(TCP4);
    let frame = packet.bytes();
    let of_type = |ethertype: u16| patched(direct(TCP4).bytes(), 12, &ethertype.to_be_bytes());
    let mut rows = vec![
        Row::passes("empty frame", vec![], PassReason::Malformed).host_only(SHORT),
        Row::passes("half an Ethernet header", cut(frame.clone(), 6), PassReason::Malformed).host_only(SHORT),
        Row::passes("half an ethertype", cut(frame.clone(), 13), PassReason::Malformed).host_only(SHORT),
        Row::passes("nothing behind Ethernet, IPv4", cut(frame, 14), PassReason::Malformed),
        Row::passes("nothing behind Ethernet, IPv6", cut(direct(TCP6).bytes(), 14), PassReason::Malformed),
        Row::passes("nothing behind Ethernet, ARP", cut(of_type(0x0806), 14), PassReason::NotIp),
    ];
    for (name, ethertype) in [
        ("ARP", 0x0806),
        ("an 802.3 length", 46),
        ("LLDP", 0x88cc),
        ("MPLS", 0x8847),
        ("PPPoE", 0x8864),
        ("ethertype 0", 0),
        ("the IPv4 ethertype in the wrong order", 0x0008),
        ("the old QinQ ethertype 0x9100", 0x9100),
    ] {
        rows.push(Row::passes(name, of_type(ethertype), PassReason::NotIp));
    }
    for kind in [TCP4, UDP6] {
        let tagged = |tags: &[(u16, u16)]| {
            tags.iter().fold(direct(kind), |packet, (ethertype, vlan)| packet.tag(*ethertype, *vlan))
        };
        for (name, tags) in [
            ("one VLAN tag", &[(CUSTOMER, 7)][..]),
            ("a priority tag, VLAN 0", &[(CUSTOMER, 0)]),
            ("the last VLAN", &[(CUSTOMER, 4095)]),
            ("a provider's tag alone", &[(PROVIDER, 9)]),
            ("QinQ", &[(PROVIDER, 9), (CUSTOMER, 7)]),
            ("two customer tags", &[(CUSTOMER, 9), (CUSTOMER, 7)]),
        ] {
            rows.push(forwarded(format!("{kind}: {name}"), kind, &tagged(tags)));
        }
        let three = tagged(&[(PROVIDER, 9), (CUSTOMER, 7), (CUSTOMER, 8)]);
        rows.push(Row::passes(format!("{kind}: three tags"), three.bytes(), PassReason::NotIp));
        let one = tagged(&[(CUSTOMER, 7)]).bytes();
        for length in [14, 16, 17] {
            let name = format!("{kind}: a VLAN tag cut at byte {length}");
            rows.push(Row::passes(name, cut(one.clone(), length), PassReason::Malformed));
        }
        let two = tagged(&[(PROVIDER, 9), (CUSTOMER, 7)]).bytes();
        let name = format!("{kind}: the second tag cut");
        rows.push(Row::passes(name, cut(two.clone(), 20), PassReason::Malformed));
        let name = format!("{kind}: nothing behind two tags");
        rows.push(Row::passes(name, cut(two, 22), PassReason::Malformed));
        let name = format!("{kind}: ARP behind a tag");
        rows.push(Row::passes(name, patched(one, 16, &[8, 6]), PassReason::NotIp));
    }
    for kind in KINDS {
        let padded = direct(kind).payload(0).padding(6);
        rows.push(forwarded(format!("{kind}: Ethernet padding stays"), kind, &padded));
        let large = direct(kind).payload(1500 - 60);
        rows.push(forwarded(format!("{kind}: a large frame"), kind, &large));
        rows.push(forwarded(format!("{kind}: no payload"), kind, &direct(kind).payload(0)));
        rows.push(forwarded(format!("{kind}: an odd payload"), kind, &direct(kind).payload(37)));
    }
    rows
}

fn ipv4() -> Vec<Row> {
    let frame = || direct(TCP4).bytes();
    let malformed = |name: &str, frame: Vec<u8>| Row::passes(name, frame, PassReason::Malformed);
    let fragment = |name: &str, packet: Packet| Row::passes(name, packet.bytes(), PassReason::Fragment);
    let header = |first: u8| patched(direct(TCP4).bytes(), ETHERNET, &[first]);
    let length = |length: u16| patched(direct(TCP4).bytes(), ETHERNET + 2, &length.to_be_bytes());
    let mut rows = vec![
        malformed("IPv4: one byte", cut(frame(), 15)),
        malformed("IPv4: header one byte short", cut(frame(), 33)),
        malformed("IPv4: header and nothing else", cut(frame(), 34)),
        malformed("IPv4: header length 0", header(0x40)),
        malformed("IPv4: header length 16", header(0x44)),
        malformed("IPv4: header beyond the packet", header(0x4f)),
        malformed("IPv4: options where the transport header should fit", header(0x49)),
        malformed("IPv4: version 6", header(0x65)),
        malformed("IPv4: version 5", header(0x55)),
        malformed("IPv4: version 0", header(0x05)),
        malformed("IPv4: total length 0", length(0)),
        malformed("IPv4: total length of the header only", length(20)),
        malformed("IPv4: total length one byte short of a TCP header", length(39)),
        malformed("IPv4: total length one byte beyond the frame", length(53)),
        malformed("IPv4: total length 65535", length(65_535)),
        fragment("IPv4: first fragment", direct(TCP4).fragment(0, true)),
        fragment("IPv4: middle fragment", direct(TCP4).fragment(185, true)),
        fragment("IPv4: last fragment", direct(TCP4).fragment(185, false)),
        fragment("IPv4: last possible fragment", direct(UDP4).fragment(8191, false)),
        fragment("IPv4: fragment at offset 1", direct(UDP4).fragment(1, false)),
        fragment("IPv4: first fragment for nobody", {
            direct(UDP4).to("203.0.113.1:1".parse().expect("an address")).fragment(0, true)
        }),
        forwarded("IPv4: may be fragmented, is not", TCP4, &direct(TCP4).may_fragment()),
    ];
    for words in [1, 2, 10] {
        let name = format!("IPv4: {} bytes of options", words * 4);
        rows.push(forwarded(name, TCP4, &direct(TCP4).options(words)));
        let name = format!("IPv4: {} bytes of options before UDP, tagged", words * 4);
        rows.push(forwarded(name, UDP4, &direct(UDP4).options(words).tag(PROVIDER, 1).tag(CUSTOMER, 2)));
    }
    // 60 bytes of header in a packet whose TCP header has 19 left.
    let packet = direct(TCP4).options(10).payload(0);
    let frame = patched(packet.bytes(), ETHERNET + 2, &79u16.to_be_bytes());
    rows.push(malformed("IPv4: options and a short TCP header", frame));
    rows
}

fn ipv6() -> Vec<Row> {
    let frame = || direct(TCP6).bytes();
    let malformed = |name: &str, frame: Vec<u8>| Row::passes(name, frame, PassReason::Malformed);
    let passed = |name: &str, packet: Packet, reason| Row::passes(name, packet.bytes(), reason);
    let payload = |length: u16| patched(direct(TCP6).bytes(), ETHERNET + 4, &length.to_be_bytes());
    let with =
        |numbers: &[u8]| numbers.iter().fold(direct(TCP6), |packet, number| packet.extension(*number, 0));
    let protocol =
        |number| Packet::new(Transport::Other(number), TCP6.client(1), TCP6.service(Purpose::Direct));
    let mut rows = vec![
        malformed("IPv6: seven bytes", cut(frame(), ETHERNET + 7)),
        malformed("IPv6: header one byte short", cut(frame(), ETHERNET + 39)),
        malformed("IPv6: header and nothing else", cut(frame(), ETHERNET + 40)),
        malformed("IPv6: version 4", patched(frame(), ETHERNET, &[0x40])),
        malformed("IPv6: version 7", patched(frame(), ETHERNET, &[0x70])),
        malformed("IPv6: payload length 0, as of a jumbogram", payload(0)),
        malformed("IPv6: payload length one byte short of a TCP header", payload(19)),
        malformed("IPv6: payload one byte beyond the frame", payload(33)),
        malformed("IPv6: payload length 65535", payload(65_535)),
        malformed("IPv6: payload length 65495", payload(65_495)),
        passed("IPv6: first fragment", direct(UDP6).fragment(0, true), PassReason::Fragment),
        passed("IPv6: middle fragment", direct(UDP6).fragment(100, true), PassReason::Fragment),
        passed("IPv6: last fragment", direct(UDP6).fragment(100, false), PassReason::Fragment),
        passed("IPv6: atomic fragment", direct(UDP6).fragment(0, false), PassReason::Fragment),
        passed(
            "IPv6: fragment behind hop-by-hop options",
            direct(UDP6).extension(HOP_BY_HOP, 1).fragment(0, true),
            PassReason::Fragment,
        ),
        forwarded("IPv6: hop-by-hop options", TCP6, &with(&[HOP_BY_HOP])),
        forwarded("IPv6: destination options", TCP6, &with(&[DESTINATION_OPTIONS])),
        forwarded("IPv6: routing header, no segments left", TCP6, &with(&[ROUTING])),
        forwarded("IPv6: two extension headers", TCP6, &with(&[HOP_BY_HOP, DESTINATION_OPTIONS])),
        forwarded("IPv6: three extension headers", TCP6, &with(&[HOP_BY_HOP, ROUTING, DESTINATION_OPTIONS])),
        forwarded(
            "IPv6: four extension headers",
            TCP6,
            &with(&[HOP_BY_HOP, DESTINATION_OPTIONS, ROUTING, DESTINATION_OPTIONS]),
        ),
        forwarded("IPv6: a long extension header", UDP6, &direct(UDP6).extension(HOP_BY_HOP, 12)),
        forwarded(
            "IPv6: extension headers behind two tags",
            UDP6,
            &direct(UDP6).extension(HOP_BY_HOP, 2).tag(PROVIDER, 1).tag(CUSTOMER, 2),
        ),
        passed("IPv6: five extension headers", with(&[DESTINATION_OPTIONS; 5]), PassReason::ExtensionHeaders),
        passed(
            "IPv6: a fragment behind four extension headers",
            with(&[DESTINATION_OPTIONS; 4]).fragment(0, true),
            PassReason::ExtensionHeaders,
        ),
        passed(
            "IPv6: an extension header beyond where is looked",
            direct(UDP6).extension(HOP_BY_HOP, 14),
            PassReason::ExtensionHeaders,
        ),
        passed(
            "IPv6: the longest extension header",
            direct(UDP6).extension(DESTINATION_OPTIONS, 255),
            PassReason::ExtensionHeaders,
        ),
        malformed(
            "IPv6: an extension header cut after one byte",
            cut(with(&[HOP_BY_HOP]).bytes(), ETHERNET + 41),
        ),
        malformed(
            "IPv6: nothing behind an extension header",
            cut(with(&[HOP_BY_HOP]).bytes(), ETHERNET + 48),
        ),
        malformed(
            "IPv6: an extension header that leads beyond the payload",
            patched(with(&[HOP_BY_HOP]).bytes(), ETHERNET + 41, &[4]),
        ),
    ];
    for (name, number) in [
        ("ICMPv6", 58),
        ("no next header", 59),
        ("ESP", 50),
        ("AH", 51),
        ("SCTP", 132),
        ("DCCP", 33),
        ("IPv6 in IPv6", 41),
        ("IPv4 in IPv6", 4),
        ("mobility header", 135),
        ("protocol 255", 255),
    ] {
        rows.push(passed(&format!("IPv6: {name}"), protocol(number), PassReason::NotTcpUdp));
    }
    let echo = protocol(58).extension(HOP_BY_HOP, 0);
    rows.push(passed("IPv6: ICMPv6 behind an extension header", echo, PassReason::NotTcpUdp));
    let fragment = protocol(6).extension(FRAGMENT, 0);
    rows.push(passed("IPv6: an empty fragment header", fragment, PassReason::Fragment));
    rows
}

fn transport() -> Vec<Row> {
    let mut rows = Vec::new();
    for kind in KINDS {
        let packet = direct(kind).payload(0);
        let (frame, header) = (packet.bytes(), if kind.tcp { 20 } else { 8 });
        for missing in [1, header - 1, header] {
            let length = packet.transport_offset() + header - missing;
            let name = format!("{kind}: frame cut {missing} bytes before the end of its header");
            rows.push(Row::passes(name, cut(frame.clone(), length), PassReason::Malformed));
        }
        // Lengths agree, but the packet ends inside its transport header.
        let (at, rest) = if kind.ipv4 { (2, 20) } else { (4, 0) };
        let short = (rest + header - 1) as u16;
        let name = format!("{kind}: packet one byte shorter than its header");
        let inside = patched(frame.clone(), ETHERNET + at, &short.to_be_bytes());
        rows.push(Row::passes(name, inside.clone(), PassReason::Malformed));
        let name = format!("{kind}: frame and packet one byte shorter than the header");
        let length = inside.len() - 1;
        rows.push(Row::passes(name, cut(inside, length), PassReason::Malformed));
    }
    for (name, number) in [
        ("ICMP", 1),
        ("IGMP", 2),
        ("IPv4 in IPv4", 4),
        ("GRE", 47),
        ("ESP", 50),
        ("SCTP", 132),
        ("UDP-Lite", 136),
    ] {
        let packet = Packet::new(Transport::Other(number), TCP4.client(1), TCP4.service(Purpose::Direct));
        rows.push(Row::passes(format!("IPv4: {name}"), packet.bytes(), PassReason::NotTcpUdp));
        let name = format!("IPv4: {name}, cut behind the header");
        rows.push(Row::passes(name, packet.payload(0).bytes(), PassReason::NotTcpUdp));
    }
    rows
}

fn addresses() -> Vec<Row> {
    let mut rows = Vec::new();
    for kind in KINDS {
        let stranger = |text: &str| direct(kind).to(text.parse().expect("an address")).bytes();
        let mut nobody = |name: &str, frame| {
            rows.push(Row::passes(format!("{kind}: {name}"), frame, PassReason::NoService));
        };
        let v = |v4: &'static str, v6: &'static str| if kind.ipv4 { v4 } else { v6 };
        nobody("an address of nobody", stranger(v("203.0.113.1:8000", "[2001:db8:ffff::1]:8000")));
        nobody("the address next to a virtual one", stranger(v("192.0.2.9:8000", "[2001:db8:1::9]:8000")));
        nobody("a broadcast", stranger(v("255.255.255.255:8000", "[ff02::1]:8000")));
        nobody("the unspecified address", stranger(v("0.0.0.0:8000", "[::]:8000")));
        nobody("a port without a service", stranger(v("192.0.2.10:22", "[2001:db8:1::a]:22")));
        nobody("port 0", stranger(v("192.0.2.10:0", "[2001:db8:1::a]:0")));
        let low = stranger(v("192.0.2.10:16415", "[2001:db8:1::a]:16415"));
        nobody("a service's port with its bytes exchanged", low);
        nobody("a packet between hosts", {
            let backwards = Packet::new(kind.transport(0x10), kind.service(Purpose::Direct), kind.client(1));
            backwards.bytes()
        });
        let mut any = |name: &str, packet: Packet| {
            let slot = kind.any_port_slot();
            let output = packet.clone().routed(own_mac(INGRESS), server_mac(slot));
            let row = Row::transmits(format!("{kind}: {name}"), &packet, &output);
            rows.push(row.begins(slot, &packet, &[opened(kind, &packet, slot)]));
        };
        for port in [0, 1, 8000, 65_535] {
            let to = std::net::SocketAddr::new(kind.any_port_vip(), port);
            any(&format!("a service for all ports, port {port}"), kind.request(to));
        }
        let mut source = kind.client(1);
        source.set_port(0);
        rows.push(forwarded(format!("{kind}: source port 0"), kind, &direct(kind).from(source)));
        source.set_port(65_535);
        rows.push(forwarded(format!("{kind}: source port 65535"), kind, &direct(kind).from(source)));
    }
    // On the wire an IPv4-mapped address (RFC 4291, 2.5.5.2) is nobody's: the tables keep IPv4 addresses in this form,
    // and a packet must not find an IPv4 service by it.
    for kind in [TCP6, UDP6] {
        let mapped = |v4: std::net::SocketAddr| match v4 {
            std::net::SocketAddr::V4(v4) => {
                std::net::SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port())
            }
            std::net::SocketAddr::V6(_) => panic!("{v4} is not IPv4"),
        };
        let (client, service) = (mapped(TCP4.client(1)), mapped(TCP4.service(Purpose::Direct)));
        let both = direct(kind).from(client).to(service).bytes();
        let name = format!("{kind}: the mapped form of IPv4 addresses");
        rows.push(Row::passes(name, both, PassReason::Malformed));
        let to = direct(kind).to(service).bytes();
        rows.push(Row::passes(format!("{kind}: to the mapped form of a service"), to, PassReason::Malformed));
        let from = direct(kind).from(client).bytes();
        rows.push(Row::passes(format!("{kind}: from a mapped address"), from, PassReason::Malformed));
    }
    rows
}
