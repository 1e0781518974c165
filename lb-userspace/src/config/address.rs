//! Addresses with ports as operators write them, and which addresses a director can serve or reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;

/// Why a text is no address with a port.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum AddressError {
    #[error("not an address; expected {0}")]
    NotAnAddress(&'static str),
    #[error("host names are not resolved, since their addresses change unseen; expected {0}")]
    HostName(&'static str),
    #[error("an IPv6 address stands in brackets; write \"[{0}]\" and the port behind it")]
    Brackets(Ipv6Addr),
    #[error(
        "an IPv6 address stands in brackets; write \"[{address}]:{port}\", or \"[{address}:{port}]\" if {port} is no port"
    )]
    BracketsAndPort { address: Ipv6Addr, port: u16 },
    #[error("an address with a prefix length is a network; expected {0}")]
    Network(&'static str),
    #[error(
        "zone identifiers (after \"%\") belong to link-local addresses, which cannot be used; expected {0}"
    )]
    Zone(&'static str),
    #[error("{0:?} is no port; expected 0 to 65535")]
    Port(String),
    #[error("the port is missing; write \"{0}:80\", or \"{0}:0\" for all ports")]
    NoPort(String),
}

/// Reads `ADDRESS` or `ADDRESS:PORT`, IPv6 in brackets. The expectation goes into errors.
pub(super) fn parse_address(
    text: &str,
    expected: &'static str,
) -> Result<(IpAddr, Option<u16>), AddressError> {
    if text.contains('%') {
        return Err(AddressError::Zone(expected));
    }
    if text.contains('/') {
        return Err(AddressError::Network(expected));
    }
    let (address, port) = if let Some(rest) = text.strip_prefix('[') {
        let (address, after) = rest.split_once(']').ok_or(AddressError::NotAnAddress(expected))?;
        let address: Ipv6Addr = address.parse().map_err(|_| AddressError::NotAnAddress(expected))?;
        let port = match after.strip_prefix(':') {
            Some(port) => Some(port),
            None if after.is_empty() => None,
            None => return Err(AddressError::NotAnAddress(expected)),
        };
        (IpAddr::V6(address), port)
    } else if let Ok(address) = text.parse::<Ipv6Addr>() {
        let with_port = text.rsplit_once(':').and_then(|(address, port)| {
            Some(AddressError::BracketsAndPort { address: address.parse().ok()?, port: port.parse().ok()? })
        });
        return Err(with_port.unwrap_or(AddressError::Brackets(address)));
    } else {
        let (address, port) = match text.split_once(':') {
            Some((address, port)) => (address, Some(port)),
            None => (text, None),
        };
        let parsed = address.parse::<Ipv4Addr>().map_err(|_| {
            let name = !text.contains("::") && address.contains(|c: char| c.is_ascii_alphabetic());
            if name { AddressError::HostName(expected) } else { AddressError::NotAnAddress(expected) }
        })?;
        (IpAddr::V4(parsed), port)
    };
    // `u16::from_str` would take a leading plus sign.
    let digits = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port
        .map(|port| {
            port.parse().ok().filter(|_| digits(port)).ok_or_else(|| AddressError::Port(port.to_owned()))
        })
        .transpose()?;
    Ok((address, port))
}

/// Like [`parse_address`], but the port has to be there.
pub(super) fn parse_endpoint(text: &str, expected: &'static str) -> Result<(IpAddr, u16), AddressError> {
    match parse_address(text, expected)? {
        (address, Some(port)) => Ok((address, port)),
        (_, None) => Err(AddressError::NoPort(text.to_owned())),
    }
}

/// Why an address is neither a virtual address nor that of a real server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum Unusable {
    #[error("the unspecified address and 0.0.0.0/8 name no host; write the address itself")]
    Unspecified,
    #[error(
        "a loopback address never leaves its host, so that no client and no director can send to it; write an address of an interface"
    )]
    Loopback,
    #[error("a multicast address names a group, not a host; only unicast addresses are balanced")]
    Multicast,
    #[error("the broadcast address names every host; only unicast addresses are balanced")]
    Broadcast,
    #[error(
        "an IPv6 link-local address is valid on one link only and is never routed; write a global or unique local address"
    )]
    LinkLocal,
    #[error("an IPv4-mapped IPv6 address never appears in a packet; write \"{0}\"")]
    Mapped(Ipv4Addr),
}

/// Refuses addresses that cannot be those of a virtual service or of a real server.
pub(super) fn usable(address: IpAddr) -> Result<(), Unusable> {
    match address {
        IpAddr::V4(v4) if v4.octets()[0] == 0 => Err(Unusable::Unspecified),
        IpAddr::V4(v4) if v4.is_broadcast() => Err(Unusable::Broadcast),
        IpAddr::V6(v6) if v6.is_unspecified() => Err(Unusable::Unspecified),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Err(Unusable::LinkLocal),
        _ if address.is_loopback() => Err(Unusable::Loopback),
        _ if address.is_multicast() => Err(Unusable::Multicast),
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(Ok(()), |v4| Err(Unusable::Mapped(v4))),
        IpAddr::V4(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("test address")
    }

    #[test]
    fn addresses_read_as_written() {
        for (text, address, port) in [
            ("192.0.2.1", "192.0.2.1", None),
            ("192.0.2.1:80", "192.0.2.1", Some(80)),
            ("192.0.2.1:0", "192.0.2.1", Some(0)),
            ("[2001:db8::1]", "2001:db8::1", None),
            ("[2001:db8::1]:65535", "2001:db8::1", Some(65535)),
        ] {
            assert_eq!(parse_address(text, "x"), Ok((ip(address), port)), "{text}");
        }
    }

    #[test]
    fn near_misses_are_named() {
        let v6 = Ipv6Addr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]);
        for (text, error) in [
            ("", AddressError::NotAnAddress("x")),
            (":80", AddressError::NotAnAddress("x")),
            ("192.0.2.256:80", AddressError::NotAnAddress("x")),
            ("192.0.2.01:80", AddressError::NotAnAddress("x")),
            ("[192.0.2.1]:80", AddressError::NotAnAddress("x")),
            ("[2001:db8::1", AddressError::NotAnAddress("x")),
            ("[2001:db8::1]80", AddressError::NotAnAddress("x")),
            ("www.example.org:80", AddressError::HostName("x")),
            ("2001:db8::1", AddressError::Brackets(v6)),
            ("2001:db8::1:443", AddressError::BracketsAndPort { address: v6, port: 443 }),
            ("192.0.2.0/24", AddressError::Network("x")),
            ("[fe80::1%2]:80", AddressError::Zone("x")),
            ("192.0.2.1:http", AddressError::Port("http".to_owned())),
            ("192.0.2.1:+80", AddressError::Port("+80".to_owned())),
            ("192.0.2.1:65536", AddressError::Port("65536".to_owned())),
            ("192.0.2.1:", AddressError::Port(String::new())),
        ] {
            assert_eq!(parse_address(text, "x"), Err(error), "{text}");
        }
        assert!(matches!(parse_endpoint("192.0.2.1", "x"), Err(AddressError::NoPort(_))));
    }

    #[test]
    fn only_unicast_addresses_are_usable() {
        for text in ["192.0.2.1", "10.0.0.1", "169.254.1.1", "2001:db8::1", "fd00::1"] {
            assert_eq!(usable(ip(text)), Ok(()), "{text}");
        }
        for (text, why) in [
            ("0.0.0.0", Unusable::Unspecified),
            ("0.1.2.3", Unusable::Unspecified),
            ("::", Unusable::Unspecified),
            ("127.0.0.1", Unusable::Loopback),
            ("127.8.0.1", Unusable::Loopback),
            ("::1", Unusable::Loopback),
            ("224.0.0.1", Unusable::Multicast),
            ("ff02::1", Unusable::Multicast),
            ("255.255.255.255", Unusable::Broadcast),
            ("fe80::1", Unusable::LinkLocal),
            ("::ffff:192.0.2.1", Unusable::Mapped(Ipv4Addr::new(192, 0, 2, 1))),
        ] {
            assert_eq!(usable(ip(text)), Err(why), "{text}");
        }
    }

    proptest! {
        #[test]
        fn printed_socket_addresses_are_read_back(bits: u128, v6: bool, port: u16) {
            let address = if v6 {
                IpAddr::V6(Ipv6Addr::from_bits(bits))
            } else {
                IpAddr::V4(Ipv4Addr::from_bits((bits & 0xffff_ffff) as u32))
            };
            let text = std::net::SocketAddr::new(address, port).to_string();
            prop_assert_eq!(parse_endpoint(&text, "x"), Ok((address, port)));
        }

        #[test]
        fn any_text_is_answered(text in "[\\[\\]0-9a-f:.%/]{0,40}") {
            let _ = parse_address(&text, "x");
        }
    }
}
