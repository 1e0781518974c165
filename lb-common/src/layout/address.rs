//! IP addresses of both families in one shape.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address as 16 bytes in wire order; IPv4 is kept IPv4-mapped (RFC 4291, 2.5.5.2), so that every table has one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
#[repr(C)]
pub struct Address {
    /// Bytes 0 to 7 as they stand in memory.
    pub hi: u64,
    /// Bytes 8 to 15 as they stand in memory; for IPv4 the last four are the address.
    pub lo: u64,
}

impl Address {
    const MAPPED: u64 = 0x0000_0000_ffff_0000;

    /// From the four bytes of an IPv4 address as loaded from a header.
    #[inline(always)]
    #[must_use]
    pub const fn from_ipv4(raw: u32) -> Self {
        Self { hi: 0, lo: ((raw as u64) << 32) | Self::MAPPED }
    }

    /// The four bytes of an IPv4 address as they stand in a header; meaningless for IPv6.
    #[inline(always)]
    #[must_use]
    pub const fn ipv4(self) -> u32 {
        (self.lo >> 32) as u32
    }

    /// Whether this is an IPv4 address.
    #[inline(always)]
    #[must_use]
    pub const fn is_ipv4(self) -> bool {
        self.hi == 0 && (self.lo & 0xffff_ffff) == Self::MAPPED
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        let octets = match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = octets;
        Self {
            hi: u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
            lo: u64::from_ne_bytes([i, j, k, l, m, n, o, p]),
        }
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        if address.is_ipv4() {
            return Self::V4(Ipv4Addr::from(address.ipv4().to_ne_bytes()));
        }
        let [a, b, c, d, e, f, g, h] = address.hi.to_ne_bytes();
        let [i, j, k, l, m, n, o, p] = address.lo.to_ne_bytes();
        Self::V6(Ipv6Addr::from([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_survive_the_round_trip() {
        for text in ["192.0.2.1", "0.0.0.0", "255.255.255.255", "2001:db8::1", "::", "::1", "fe80::ffff:0:1"]
        {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(IpAddr::from(Address::from(address)), address);
            assert_eq!(Address::from(address).is_ipv4(), address.is_ipv4());
        }
    }

    #[test]
    fn ipv4_is_taken_as_loaded_from_a_header() {
        let raw = u32::from_ne_bytes([192, 0, 2, 1]);
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        assert_eq!(Address::from_ipv4(raw), Address::from(address));
        assert_eq!(Address::from(address).ipv4(), raw);
    }
}
