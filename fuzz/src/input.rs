//! Bytes as a source of decisions, and what most targets need of messages.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What is left of an input. Behind its end everything is 0.
pub(crate) struct Input<'a> {
    bytes: &'a [u8],
}

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        *first
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    pub(crate) fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// At most `length` bytes.
    pub(crate) fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.bytes.split_at(length.min(self.bytes.len()));
        self.bytes = rest;
        taken
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }
}

/// The addresses of a link: hosts by number, the group, the virtual one.
pub(crate) fn host(ipv4: bool, number: u8) -> IpAddr {
    if ipv4 {
        Ipv4Addr::new(192, 0, 2, number).into()
    } else {
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, number.into()).into()
    }
}

pub(crate) fn group(ipv4: bool) -> IpAddr {
    if ipv4 {
        Ipv4Addr::new(224, 0, 0, 18).into()
    } else {
        Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12).into()
    }
}

/// The Internet checksum (RFC 1071).
pub(crate) fn checksum(pieces: &[&[u8]]) -> u16 {
    let word = |pair: &[u8]| u64::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u64::from(*low));
    let mut sum: u64 = pieces.iter().flat_map(|piece| piece.chunks(2)).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The pseudo header of a message of this length.
pub(crate) fn pseudo_header(source: IpAddr, destination: IpAddr, length: usize) -> Vec<u8> {
    let [.., high, low] = length.to_be_bytes();
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            [&source.octets()[..], &destination.octets(), &[0, 112, high, low]].concat()
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            [&source.octets()[..], &destination.octets(), &[0, 0, high, low, 0, 0, 0, 112]].concat()
        }
        _ => Vec::new(),
    }
}
