//! Reading advertisements: any bytes, under any settings.

use lb_userspace::vrrp::{
    Advertisement, Authentication, Centiseconds, Checksum, Expected, Received, Reject, TTL, Version,
};

use crate::input::{Input, checksum, group, host, pseudo_header};
use crate::trail::Trail;

/// Bits of the first byte of an input.
const VERSION_2: u8 = 1;
const IPV6: u8 = 2;
const UNICAST: u8 = 4;
const PASSWORD: u8 = 8;
const STRICT: u8 = 16;
const MESSAGE_ONLY: u8 = 32;
/// Puts the right checksum into the message, which chance never does.
const REPAIR: u8 = 64;
const OTHER_TTL: u8 = 128;

/// Settings, the interval that is expected, then the message.
///
/// # Panics
///
/// Where what was read is not what the message says, or does not come out of it again when it is written and read.
pub fn run(data: &[u8]) -> Trail {
    let mut input = Input::new(data);
    let flags = input.byte();
    let interval = Centiseconds::new(input.word()).unwrap_or(Centiseconds::SECOND);
    let ttl = if flags & OTHER_TTL > 0 { input.byte() } else { TTL };
    let mut message = input.rest().to_vec();

    let ipv4 = flags & IPV6 == 0;
    let version = if flags & VERSION_2 > 0 { Version::V2 } else { Version::V3 };
    let kind = if flags & MESSAGE_ONLY > 0 { Checksum::MessageOnly } else { Checksum::PseudoHeader };
    let (source, own) = (host(ipv4, 9), host(ipv4, 5));
    let unicast = flags & UNICAST > 0;
    let destination = if unicast { own } else { group(ipv4) };
    if flags & REPAIR > 0
        && let Some(place) = message.get_mut(6..8)
    {
        place.fill(0);
        let pseudo = match (version, kind) {
            (Version::V3, Checksum::MessageOnly) if ipv4 => Vec::new(),
            (Version::V2, _) if ipv4 => Vec::new(),
            _ => pseudo_header(source, destination, message.len()),
        };
        let sum = checksum(&[&pseudo, &message]);
        message[6..8].copy_from_slice(&sum.to_be_bytes());
    }

    let password = *b"password";
    let authentication =
        if flags & PASSWORD > 0 { Authentication::Password(password) } else { Authentication::None };
    let expected = Expected {
        version,
        vrid: message.get(1).copied().unwrap_or(1),
        interval,
        authentication,
        checksum: (flags & STRICT > 0).then_some(kind),
        peers: unicast.then(|| vec![source]),
    };
    let received = Received { source, destination, ttl, message: &message };
    let mut trail = Trail::default();
    trail.note(flags & (VERSION_2 | IPV6 | UNICAST | PASSWORD));
    match Advertisement::decode(&received, &expected) {
        Ok(advertisement) => {
            judge(&advertisement, &received, &expected, kind);
            trail.note(200);
            trail.note(advertisement.addresses.len().min(4) as u8);
        }
        Err(reject) => {
            assert!(!matches!(reject, Reject::Vrid | Reject::Peer), "{reject:?} of what was expected");
            trail.note(reject as u8);
        }
    }
    trail
}

fn judge(advertisement: &Advertisement, received: &Received<'_>, expected: &Expected, kind: Checksum) {
    let message = received.message;
    assert_eq!(
        (message[1], message[2], usize::from(message[3])),
        (advertisement.vrid, advertisement.priority, advertisement.addresses.len())
    );
    assert!(!advertisement.addresses.is_empty());
    assert!(received.ttl == TTL || expected.peers.is_some());
    assert!(advertisement.addresses.iter().all(|address| address.is_ipv4() == received.source.is_ipv4()));
    assert!(expected.version == Version::V3 || advertisement.interval == expected.interval);
    let again = advertisement.encode(
        expected.version,
        expected.authentication,
        kind,
        received.source,
        received.destination,
    );
    // What nobody reads is sent as zeros: reserved bits and, in version 2, a password of type 0. So the checksum differs.
    assert_eq!(again.len(), message.len());
    let read = 8..message.len() - if expected.version == Version::V2 { 8 } else { 0 };
    assert_eq!((&again[..4], &again[read.clone()]), (&message[..4], &message[read]));
    let received = Received { message: &again, ..*received };
    assert_eq!(Advertisement::decode(&received, expected).as_ref(), Ok(advertisement));
}

/// One good message of each kind.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for flags in 0..=OTHER_TTL | (OTHER_TTL - 1) {
        let ipv4 = flags & IPV6 == 0;
        let v2 = flags & VERSION_2 > 0;
        if v2 && !ipv4 {
            continue;
        }
        let version = if v2 { Version::V2 } else { Version::V3 };
        let kind = if flags & MESSAGE_ONLY > 0 { Checksum::MessageOnly } else { Checksum::PseudoHeader };
        let destination = if flags & UNICAST > 0 { host(ipv4, 5) } else { group(ipv4) };
        let authentication =
            if flags & PASSWORD > 0 { Authentication::Password(*b"password") } else { Authentication::None };
        let count = 1 + flags / 64;
        let advertisement = Advertisement {
            vrid: 51,
            priority: 150,
            interval: Centiseconds::SECOND,
            addresses: (0..count).map(|last| host(ipv4, 100 + last)).collect(),
        };
        let message = advertisement.encode(version, authentication, kind, host(ipv4, 9), destination);
        let ttl: &[u8] = if flags & OTHER_TTL > 0 { &[TTL] } else { &[] };
        seeds.push([&[flags, 0, 100], ttl, &message].concat());
    }
    seeds
}
