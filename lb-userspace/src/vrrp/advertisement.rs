//! The advertisement: the only message of VRRP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::wire::internet_checksum;
use super::{Centiseconds, PROTOCOL, Reject, TTL};

/// Version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// RFC 3768: IPv4, seconds, a password.
    V2,
    /// RFC 9568 (before it 5798): IPv4 and IPv6, hundredths of a second.
    V3,
}

impl Version {
    /// The number that stands in messages.
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::V2 => 2,
            Self::V3 => 3,
        }
    }
}

/// Authentication of version 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Authentication {
    /// Type 0.
    #[default]
    None,
    /// Type 1: eight bytes in clear, padded with zeros (RFC 2338, 5.3.6.2).
    Password([u8; 8]),
}

/// What the checksum of version 3 over IPv4 covers. Implementations differ; over IPv6 it is always the pseudo header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Checksum {
    /// Pseudo header and message: keepalived, FRR, RFC 5798 as most read it.
    #[default]
    PseudoHeader,
    /// The message alone: RFC 9568, 5.2.8, and several vendors.
    MessageOnly,
}

/// An advertisement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertisement {
    /// Virtual router.
    pub vrid: u8,
    /// Priority; 0 gives the addresses up, 255 is their owner.
    pub priority: u8,
    /// Interval of the sender.
    pub interval: Centiseconds,
    /// Virtual addresses, all of one family.
    pub addresses: Vec<IpAddr>,
}

/// A message as it arrived.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Behind the IP header.
    pub message: &'a [u8],
}

/// What a virtual router takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Version.
    pub version: Version,
    /// Virtual router.
    pub vrid: u8,
    /// Own interval, which version 2 requires of everybody.
    pub interval: Centiseconds,
    /// Authentication of version 2.
    pub authentication: Authentication,
    /// Checksum of version 3 over IPv4; none takes both.
    pub checksum: Option<Checksum>,
    /// Peers of a unicast configuration; none is multicast.
    pub peers: Option<Vec<IpAddr>>,
}

const TYPE_ADVERTISEMENT: u8 = 1;
const HEADER_LENGTH: usize = 8;
const AUTHENTICATION_LENGTH: usize = 8;

impl Advertisement {
    /// The message from `source` to `destination`. Version 2 sends the interval in whole seconds, rounded up.
    #[must_use]
    pub fn encode(
        &self,
        version: Version,
        authentication: Authentication,
        checksum: Checksum,
        source: IpAddr,
        destination: IpAddr,
    ) -> Vec<u8> {
        let count = u8::try_from(self.addresses.len()).unwrap_or(u8::MAX);
        let mut message = vec![version.number() << 4 | TYPE_ADVERTISEMENT, self.vrid, self.priority, count];
        match version {
            Version::V2 => {
                let kind = u8::from(authentication != Authentication::None);
                let seconds = u8::try_from(self.interval.get().div_ceil(100)).unwrap_or(u8::MAX);
                message.extend([kind, seconds]);
            }
            Version::V3 => message.extend(self.interval.get().to_be_bytes()),
        }
        message.extend([0, 0]);
        for address in self.addresses.iter().take(usize::from(count)) {
            match address {
                IpAddr::V4(address) => message.extend(address.octets()),
                IpAddr::V6(address) => message.extend(address.octets()),
            }
        }
        if version == Version::V2 {
            message.extend(match authentication {
                Authentication::None => [0; AUTHENTICATION_LENGTH],
                Authentication::Password(password) => password,
            });
        }
        let sum = checksum_of(version, checksum, source, destination, &message).to_be_bytes();
        if let Some(place) = message.get_mut(6..8) {
            place.copy_from_slice(&sum);
        }
        message
    }

    /// Reads a message; bytes behind it that fill a short Ethernet frame up are no part of `received.message`.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it, in the order of [`Reject`].
    pub fn decode(received: &Received<'_>, expected: &Expected) -> Result<Self, Reject> {
        let version = expected.version;
        let header = check_header(received, version, expected.vrid)?;
        let [_, vrid, priority, count, interval @ .., _, _] = header;
        let multicast = received.destination.is_multicast();
        let width = address_width(received.source);
        let addresses_end = HEADER_LENGTH + usize::from(*count) * width;
        let end = length(header, version, received.source);
        if received.message.len() < end {
            return Err(Reject::Short);
        }
        if received.message.len() > end || *count == 0 {
            return Err(Reject::Length);
        }
        let interval = match version {
            Version::V2 => {
                authenticate(interval[0], &received.message[addresses_end..], expected.authentication)?;
                let interval = Centiseconds::from_seconds(interval[1]).ok_or(Reject::Interval)?;
                // RFC 3768, 7.1: the interval has to be the own one.
                if interval != expected.interval {
                    return Err(Reject::Interval);
                }
                interval
            }
            Version::V3 => {
                let hundredths = u16::from_be_bytes([interval[0] & 0x0f, interval[1]]);
                Centiseconds::new(hundredths).ok_or(Reject::Interval)?
            }
        };
        let matches = |checksum| {
            checksum_of(version, checksum, received.source, received.destination, received.message) == 0
        };
        let good = match expected.checksum {
            Some(checksum) => matches(checksum),
            None => matches(Checksum::PseudoHeader) || matches(Checksum::MessageOnly),
        };
        if !good {
            return Err(Reject::Checksum);
        }
        match &expected.peers {
            Some(_) if multicast => return Err(Reject::Destination),
            Some(peers) if !peers.contains(&received.source) => return Err(Reject::Peer),
            None if !multicast => return Err(Reject::Destination),
            _ => {}
        }
        let addresses =
            received.message[HEADER_LENGTH..addresses_end].chunks_exact(width).filter_map(address).collect();
        Ok(Self { vrid: *vrid, priority: *priority, interval, addresses })
    }
}

/// The first eight bytes of a message of this version for this virtual router.
///
/// All of it costs less than a digest, so that it is looked at before any HMAC.
pub(super) fn check_header<'a>(
    received: &Received<'a>,
    version: Version,
    vrid: u8,
) -> Result<&'a [u8; HEADER_LENGTH], Reject> {
    let header = received.message.first_chunk().ok_or(Reject::Short)?;
    // Unicast peers may be behind routers.
    if received.ttl != TTL && received.destination.is_multicast() {
        return Err(Reject::Ttl);
    }
    if header[0] >> 4 != version.number() || (version == Version::V2 && received.source.is_ipv6()) {
        return Err(Reject::Version);
    }
    if header[0] & 0x0f != TYPE_ADVERTISEMENT {
        return Err(Reject::Type);
    }
    if header[1] != vrid {
        return Err(Reject::Vrid);
    }
    Ok(header)
}

/// The length that a header says its message has, in bytes.
pub(super) fn length(header: &[u8; HEADER_LENGTH], version: Version, source: IpAddr) -> usize {
    let authentication = if version == Version::V2 { AUTHENTICATION_LENGTH } else { 0 };
    HEADER_LENGTH + usize::from(header[3]) * address_width(source) + authentication
}

fn address_width(source: IpAddr) -> usize {
    if source.is_ipv4() { 4 } else { 16 }
}

fn authenticate(kind: u8, data: &[u8], expected: Authentication) -> Result<(), Reject> {
    match expected {
        Authentication::None if kind == 0 => Ok(()),
        Authentication::Password(password) if kind == 1 => {
            // Every byte is looked at, so that the time says nothing of how many were right.
            let difference = password.iter().zip(data).fold(0, |sum, (own, other)| sum | (own ^ other));
            if difference == 0 { Ok(()) } else { Err(Reject::Password) }
        }
        _ => Err(Reject::AuthenticationType),
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => bytes.try_into().ok().map(|bytes: [u8; 4]| IpAddr::from(Ipv4Addr::from(bytes))),
        16 => bytes.try_into().ok().map(|bytes: [u8; 16]| IpAddr::from(Ipv6Addr::from(bytes))),
        _ => None,
    }
}

/// The Internet checksum (RFC 1071); 0 over a message with a right one in it.
pub(super) fn checksum_of(
    version: Version,
    checksum: Checksum,
    source: IpAddr,
    destination: IpAddr,
    message: &[u8],
) -> u16 {
    let mut pseudo = Vec::new();
    let length = message.len() as u32;
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination))
            if version == Version::V3 && checksum == Checksum::PseudoHeader =>
        {
            pseudo.extend(source.octets());
            pseudo.extend(destination.octets());
            pseudo.extend([0, PROTOCOL]);
            pseudo.extend((length as u16).to_be_bytes());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            pseudo.extend(source.octets());
            pseudo.extend(destination.octets());
            pseudo.extend(length.to_be_bytes());
            pseudo.extend([0, 0, 0, PROTOCOL]);
        }
        _ => {}
    }
    internet_checksum(&[&pseudo, message])
}
