//! Advertisements: bytes as recorded, and every reason to refuse them.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::net::IpAddr;

use lb_userspace::vrrp::{
    Advertisement, Authentication, Centiseconds, Checksum, Expected, Received, Reject, Version,
};
use proptest::prelude::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn advertisement(addresses: &[&str]) -> Advertisement {
    Advertisement {
        vrid: 51,
        priority: 150,
        interval: Centiseconds::new(100).unwrap(),
        addresses: addresses.iter().map(|address| ip(address)).collect(),
    }
}

fn expected(version: Version) -> Expected {
    Expected {
        version,
        vrid: 51,
        interval: Centiseconds::SECOND,
        authentication: Authentication::None,
        checksum: None,
        peers: None,
    }
}

fn received<'a>(source: &str, destination: &str, message: &'a [u8]) -> Received<'a> {
    Received { source: ip(source), destination: ip(destination), ttl: 255, message }
}

const V4: (&str, &str) = ("192.168.201.1", "224.0.0.18");
const V6: (&str, &str) = ("fe80::1", "ff02::12");

fn encode(
    version: Version,
    checksum: Checksum,
    (source, destination): (&str, &str),
    addresses: &[&str],
) -> Vec<u8> {
    advertisement(addresses).encode(version, Authentication::None, checksum, ip(source), ip(destination))
}

#[test]
fn bytes_of_both_versions() {
    let v2 = encode(Version::V2, Checksum::default(), V4, &["192.168.201.100"]);
    // Version and type, vrid, priority, count, authentication type, seconds, checksum, the address, eight zeros; the sum of
    // all 16-bit words with the checksum is 0xffff.
    assert_eq!(v2[..6], [0x21, 51, 150, 1, 0, 1]);
    assert_eq!(v2[8..], [192, 168, 201, 100, 0, 0, 0, 0, 0, 0, 0, 0]);
    let v3 = encode(Version::V3, Checksum::PseudoHeader, V4, &["192.168.201.100"]);
    assert_eq!((&v3[..6], v3.len()), (&[0x31, 51, 150, 1, 0, 100][..], 12));
    let v6 = encode(Version::V3, Checksum::PseudoHeader, V6, &["fe80::100", "2001:db8::1"]);
    assert_eq!((&v6[..6], v6.len()), (&[0x31, 51, 150, 2, 0, 100][..], 40));
    let sum = |message: &[u8]| {
        let mut sum: u32 = message.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum
    };
    assert_eq!(sum(&v2), 0xffff);
    assert_eq!(sum(&encode(Version::V3, Checksum::MessageOnly, V4, &["192.168.201.100"])), 0xffff);
    assert_ne!(sum(&v3), 0xffff);
}

#[test]
fn what_is_sent_is_received() {
    for (version, way, addresses) in [
        (Version::V2, V4, &["10.0.0.1", "10.0.0.2"][..]),
        (Version::V3, V4, &["10.0.0.1"]),
        (Version::V3, V6, &["fe80::9", "2001:db8::9"]),
    ] {
        for checksum in [Checksum::PseudoHeader, Checksum::MessageOnly] {
            let message = encode(version, checksum, way, addresses);
            let decoded = Advertisement::decode(&received(way.0, way.1, &message), &expected(version));
            assert_eq!(decoded, Ok(advertisement(addresses)), "{version:?} {checksum:?} {way:?}");
            // Where one kind of checksum is configured, the other is refused; over IPv6 and in version 2 there is only one.
            let strict = Expected { checksum: Some(Checksum::PseudoHeader), ..expected(version) };
            let refused = version == Version::V3 && way == V4 && checksum == Checksum::MessageOnly;
            let decoded = Advertisement::decode(&received(way.0, way.1, &message), &strict);
            assert_eq!(decoded.is_err(), refused, "{version:?} {checksum:?} {way:?}");
        }
    }
}

/// HMAC, replay, own address, duplicate owner: these take more than the message to find out.
const BEYOND_THE_MESSAGE: usize = 4;

#[test]
fn every_reason_to_refuse() {
    let good = encode(Version::V3, Checksum::PseudoHeader, V4, &["10.0.0.1"]);
    let change = |offset: usize, byte: u8| {
        let mut message = good.clone();
        message[offset] = byte;
        message
    };
    let refuse =
        |received: Received<'_>, expected: &Expected| Advertisement::decode(&received, expected).unwrap_err();
    let v3 = expected(Version::V3);
    fn from(message: &[u8]) -> Received<'_> {
        received(V4.0, V4.1, message)
    }
    assert_eq!(refuse(from(&good[..7]), &v3), Reject::Short);
    assert_eq!(refuse(from(&good[..11]), &v3), Reject::Short);
    assert_eq!(refuse(Received { ttl: 254, ..from(&good) }, &v3), Reject::Ttl);
    assert_eq!(refuse(from(&change(0, 0x21)), &v3), Reject::Version);
    assert_eq!(refuse(from(&change(0, 0x41)), &v3), Reject::Version);
    assert_eq!(refuse(from(&change(0, 0x32)), &v3), Reject::Type);
    assert_eq!(refuse(from(&change(1, 52)), &v3), Reject::Vrid);
    assert_eq!(refuse(from(&change(3, 2)), &v3), Reject::Short);
    assert_eq!(refuse(from(&change(3, 0)), &v3), Reject::Length);
    let none = encode(Version::V3, Checksum::PseudoHeader, V4, &[]);
    assert_eq!(refuse(from(&none), &v3), Reject::Length);
    assert_eq!(refuse(from(&change(5, 0)), &v3), Reject::Interval);
    assert_eq!(refuse(from(&change(7, good[7] ^ 1)), &v3), Reject::Checksum);
    assert_eq!(refuse(from(&change(2, 151)), &v3), Reject::Checksum);
    let unicast = Expected { peers: Some(vec![ip("192.168.201.1")]), ..v3.clone() };
    assert_eq!(refuse(from(&good), &unicast), Reject::Destination);
    let to_us =
        encode(Version::V3, Checksum::PseudoHeader, ("192.168.201.1", "192.168.201.2"), &["10.0.0.1"]);
    let direct = received("192.168.201.1", "192.168.201.2", &to_us);
    assert_eq!(refuse(direct, &v3), Reject::Destination);
    assert!(
        Advertisement::decode(&Received { ttl: 3, ..direct }, &unicast).is_ok(),
        "unicast peers may be behind routers"
    );
    let strangers = Expected { peers: Some(vec![ip("192.168.201.9")]), ..v3.clone() };
    assert_eq!(refuse(direct, &strangers), Reject::Peer);

    let password = Authentication::Password(*b"secret\0\0");
    let v2 = Expected { authentication: password, ..expected(Version::V2) };
    let message = |authentication, interval: u16| {
        let interval = Centiseconds::new(interval).unwrap();
        let advertisement = Advertisement { interval, ..advertisement(&["10.0.0.1"]) };
        advertisement.encode(Version::V2, authentication, Checksum::default(), ip(V4.0), ip(V4.1))
    };
    assert!(Advertisement::decode(&from(&message(password, 100)), &v2).is_ok());
    let other = Authentication::Password(*b"secret\0x");
    assert_eq!(refuse(from(&message(other, 100)), &v2), Reject::Password);
    assert_eq!(refuse(from(&message(Authentication::None, 100)), &v2), Reject::AuthenticationType);
    assert_eq!(refuse(from(&message(password, 100)), &expected(Version::V2)), Reject::AuthenticationType);
    assert_eq!(refuse(from(&message(password, 200)), &v2), Reject::Interval);
    assert_eq!(Reject::ALL.len() - BEYOND_THE_MESSAGE, 12);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(
        message in prop::collection::vec(any::<u8>(), 0..120), ttl: u8, multicast: bool, v6: bool, version: bool,
    ) {
        let (source, destination) = match (v6, multicast) {
            (false, true) => V4,
            (false, false) => ("192.0.2.1", "192.0.2.2"),
            (true, true) => V6,
            (true, false) => ("2001:db8::1", "2001:db8::2"),
        };
        let version = if version { Version::V2 } else { Version::V3 };
        let received = Received { ttl, ..received(source, destination, &message) };
        // Nothing that was not made by a router of this vrid gets through by chance but a right checksum.
        if let Ok(advertisement) = Advertisement::decode(&received, &expected(version)) {
            prop_assert_eq!(advertisement.vrid, 51);
            prop_assert_eq!(ttl, 255);
        }
    }
}
