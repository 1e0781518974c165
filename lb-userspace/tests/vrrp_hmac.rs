//! HMAC trailers: the vectors of the draft, every reason to refuse, stamps and senders.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lb_userspace::vrrp::{
    Advertisement, Authentication, Centiseconds, Checksum, Expected, HmacConfig, HmacKey, HmacMode, Received,
    Reject, Sealer, TRAILER_LENGTH, Verifier, Version,
};
use proptest::prelude::*;

const VRID: u8 = 51;
const WINDOW: Duration = Duration::from_secs(5);
/// The stamp of the vectors, whose counter is 0.
const VECTORS_TIME: Duration = Duration::new(0x6800_0000, 500_000_000);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn key(id: u8, first: u8) -> HmacKey {
    HmacKey::new(id, &(0..32).map(|byte| first.wrapping_add(byte)).collect::<Vec<u8>>()).unwrap()
}

fn config(mode: HmacMode) -> HmacConfig {
    HmacConfig { mode, key: key(1, 0), accepted: vec![], window: WINDOW }
}

fn at(since_1970: Duration) -> SystemTime {
    UNIX_EPOCH + since_1970
}

fn now() -> SystemTime {
    at(VECTORS_TIME)
}

fn hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

fn verifier(mode: HmacMode) -> Verifier {
    Verifier::new(Version::V3, VRID, config(mode))
}

/// A way that messages take: who sends, where to, what of.
#[derive(Debug, Clone, Copy)]
struct Way {
    version: Version,
    source: &'static str,
    destination: &'static str,
    address: &'static str,
}

const WAYS: [Way; 4] = [
    Way { version: Version::V3, source: "198.51.100.10", destination: "224.0.0.18", address: "192.0.2.100" },
    Way { version: Version::V2, source: "198.51.100.10", destination: "224.0.0.18", address: "192.0.2.100" },
    Way { version: Version::V3, source: "fe80::10", destination: "ff02::12", address: "fe80::100" },
    Way { version: Version::V3, source: "fe80::10", destination: "fe80::20", address: "fe80::100" },
];

impl Way {
    fn received<'a>(&self, message: &'a [u8]) -> Received<'a> {
        Received { source: ip(self.source), destination: ip(self.destination), ttl: 255, message }
    }

    fn advertisement(&self, priority: u8) -> Advertisement {
        let addresses = vec![ip(self.address)];
        Advertisement { vrid: VRID, priority, interval: Centiseconds::SECOND, addresses }
    }

    fn pdu(&self, priority: u8) -> Vec<u8> {
        let (source, destination) = (ip(self.source), ip(self.destination));
        let checksum = Checksum::PseudoHeader;
        self.advertisement(priority).encode(self.version, Authentication::None, checksum, source, destination)
    }

    fn sealed(&self, sealer: &mut Sealer, priority: u8, time: SystemTime) -> Vec<u8> {
        sealer.sign(&self.pdu(priority), ip(self.source), ip(self.destination), time)
    }

    fn sealer(&self) -> Sealer {
        Sealer::new(self.version, VRID, config(HmacMode::Enforce))
    }

    fn verifier(&self) -> Verifier {
        Verifier::new(self.version, VRID, config(HmacMode::Enforce))
    }

    fn expected(&self) -> Expected {
        let peers = (!ip(self.destination).is_multicast()).then(|| vec![ip(self.source)]);
        Expected {
            version: self.version,
            vrid: VRID,
            interval: Centiseconds::SECOND,
            authentication: Authentication::None,
            checksum: None,
            peers,
        }
    }
}

/// Key 00 to 1f, virtual router 51, priority 200: IPv4 with the checksum over the message alone, IPv6 by unicast.
const VECTORS: [(Way, &str); 2] = [
    (
        WAYS[0],
        "3133c80100644402c0000264010100006800000080000000\
               1b84bc4e8e43892dc6d98448f8ee2265",
    ),
    (
        WAYS[3],
        "3133c8010064a2e9fe800000000000000000000000000100010100006800000080000000\
               c8c56146ebfd66ee10ec4d8186461b78",
    ),
];

#[test]
fn vectors_of_the_draft() {
    for (way, vector) in VECTORS {
        let message = hex(vector);
        let received = way.received(&message);
        let pdu = way.verifier().open(&received, now()).unwrap();
        let inner = Received { message: &pdu, ..received };
        assert_eq!(Advertisement::decode(&inner, &way.expected()), Ok(way.advertisement(200)), "{way:?}");
        let signed = way.sealer().sign(
            &message[..message.len() - TRAILER_LENGTH],
            inner.source,
            inner.destination,
            now(),
        );
        assert_eq!(signed, message, "{way:?}");
    }
}

#[test]
fn every_reason_to_refuse() {
    let (way, vector) = VECTORS[0];
    let good = hex(vector);
    // What is changed, where, and what is said of it.
    let table = [
        ("version", 0, Reject::Version),
        ("vrid", 1, Reject::Vrid),
        ("priority", 2, Reject::Hmac),
        ("interval", 5, Reject::Hmac),
        ("checksum", 6, Reject::Checksum),
        ("address", 11, Reject::Hmac),
        ("type of the trailer", 12, Reject::Hmac),
        ("key id", 13, Reject::Hmac),
        ("reserved", 14, Reject::Hmac),
        ("reserved, low byte", 15, Reject::Hmac),
        ("seconds, high byte", 16, Reject::Replay),
        ("seconds, low byte", 19, Reject::Hmac),
        ("fraction", 20, Reject::Hmac),
        ("counter", 23, Reject::Hmac),
        ("HMAC, first byte", 24, Reject::Hmac),
        ("HMAC, last byte", 39, Reject::Hmac),
    ];
    for (what, offset, reject) in table {
        for mode in [HmacMode::ReceiveOnly, HmacMode::Permissive, HmacMode::Enforce] {
            let mut message = good.clone();
            message[offset] ^= if offset == 0 { 0x10 } else { 1 };
            let said = verifier(mode).open(&way.received(&message), now());
            assert_eq!(said, Err(reject), "{what}, {mode:?}");
        }
    }
    let refuse = |received: Received<'_>| verifier(HmacMode::Enforce).open(&received, now()).unwrap_err();
    let received = way.received(&good);
    assert_eq!(refuse(Received { source: ip("198.51.100.11"), ..received }), Reject::Hmac, "another source");
    assert_eq!(refuse(Received { ttl: 254, ..received }), Reject::Ttl);
    assert_eq!(refuse(Received { message: &good[..7], ..received }), Reject::Short);
    assert_eq!(
        refuse(Received { message: &good[..39], ..received }),
        Reject::Hmac,
        "a byte short of a trailer"
    );
    let mut other_vrid = Verifier::new(Version::V3, 52, config(HmacMode::Enforce));
    assert_eq!(other_vrid.open(&received, now()), Err(Reject::Vrid));
}

#[test]
fn modes() {
    let way = WAYS[0];
    let plain = way.pdu(100);
    for (mode, sends, takes_plain) in [
        (HmacMode::ReceiveOnly, false, true),
        (HmacMode::Permissive, true, true),
        (HmacMode::Enforce, true, false),
    ] {
        let sent = way.sealed(&mut Sealer::new(Version::V3, VRID, config(mode)), 100, now());
        let trailer = if sends { TRAILER_LENGTH } else { 0 };
        assert_eq!((sent.len(), &sent[..plain.len()]), (plain.len() + trailer, &plain[..]), "{mode:?}");
        let taken = verifier(mode).open(&way.received(&plain), now()).map(Cow::into_owned);
        assert_eq!(taken, if takes_plain { Ok(plain.clone()) } else { Err(Reject::Hmac) }, "{mode:?}");
        let sealed = way.sealed(&mut way.sealer(), 100, now());
        assert!(
            verifier(mode).open(&way.received(&sealed), now()).is_ok(),
            "{mode:?} verifies what has a trailer"
        );
    }
    // Lengths that are nobody's are left to the decoder.
    let long = [&plain[..], &[0; 27]].concat();
    let opened = verifier(HmacMode::Permissive).open(&way.received(&long), now()).unwrap();
    assert_eq!(
        Advertisement::decode(&Received { message: &opened, ..way.received(&long) }, &way.expected()),
        Err(Reject::Length)
    );
}

/// The eight bytes of the stamp.
fn stamp(message: &[u8]) -> u64 {
    let trailer = message.len() - TRAILER_LENGTH;
    u64::from_be_bytes(message[trailer + 4..trailer + 12].try_into().unwrap())
}

#[test]
fn stamps_grow_whatever_the_clock_does() {
    let way = WAYS[0];
    let second = Duration::from_secs(1);
    // Clock of a message after one at VECTORS_TIME, and what it gets on top of 0x6800_0000_8000_0000.
    let table = [
        ("the same instant", VECTORS_TIME, 1),
        ("a clock that stands for 10 us", VECTORS_TIME + Duration::from_micros(10), 1),
        ("1/65536 of a second later", VECTORS_TIME + Duration::from_nanos(15_259), 1 << 16),
        ("a second later", VECTORS_TIME + second, 1 << 32),
        ("set back by a second", VECTORS_TIME - second, 1),
        ("set back by the window", VECTORS_TIME - WINDOW, 1),
        ("set back by more", VECTORS_TIME - WINDOW - second, -(6i64 << 32)),
        ("never set", Duration::ZERO, -0x6800_0000_8000_0000),
    ];
    for (what, clock, difference) in table {
        let mut sealer = way.sealer();
        assert_eq!(stamp(&way.sealed(&mut sealer, 100, now())), 0x6800_0000_8000_0000);
        let next = stamp(&way.sealed(&mut sealer, 100, at(clock)));
        assert_eq!(next, 0x6800_0000_8000_0000u64.wrapping_add_signed(difference), "{what}");
    }
    let mut sealer = way.sealer();
    let many: Vec<u64> = (0..70_000).map(|_| stamp(&way.sealed(&mut sealer, 100, now()))).collect();
    assert!(many.is_sorted_by(|earlier, later| earlier < later));
    assert_eq!(many[65_536], 0x6800_0000_8001_0000, "the counter carries");
    sealer.reconfigure(config(HmacMode::Enforce));
    assert!(stamp(&way.sealed(&mut sealer, 100, now())) > many[69_999], "a reload is no new beginning");
    // The end of the 32 bits, in 2106.
    let last = Duration::from_secs(u64::from(u32::MAX));
    let (mut sealer, mut verifier) = (way.sealer(), way.verifier());
    for seconds in 0..3 {
        let time = at(last + second * seconds);
        let message = way.sealed(&mut sealer, 100, time);
        assert!(verifier.open(&way.received(&message), time).is_ok(), "{seconds} s after {last:?}");
        assert_eq!(verifier.open(&way.received(&message), time), Err(Reject::Replay));
    }
}

#[test]
fn window() {
    let way = WAYS[0];
    let message = way.sealed(&mut way.sealer(), 100, now());
    let hour = Duration::from_secs(3600);
    for (clock, taken) in [
        (VECTORS_TIME, true),
        (VECTORS_TIME + WINDOW, true),
        (VECTORS_TIME - WINDOW, true),
        (VECTORS_TIME + WINDOW + Duration::from_secs(1), false),
        (VECTORS_TIME - WINDOW - Duration::from_secs(1), false),
        (VECTORS_TIME + hour, false),
        (VECTORS_TIME - hour, false),
        (Duration::ZERO, false),
    ] {
        let said = way.verifier().open(&way.received(&message), at(clock)).map(drop);
        assert_eq!(said, if taken { Ok(()) } else { Err(Reject::Replay) }, "{clock:?}");
    }
    let of = |hundredths| HmacConfig::window_of(Centiseconds::new(hundredths).unwrap());
    assert_eq!((of(1), of(100), of(166)), (WINDOW, WINDOW, WINDOW));
    assert_eq!((of(167), of(4095)), (Duration::from_millis(5010), Duration::from_millis(122_850)));
}

#[test]
fn copies_are_refused_per_sender() {
    let way = WAYS[0];
    let mut verifier = way.verifier();
    let mut sealer = way.sealer();
    let first = way.sealed(&mut sealer, 100, now());
    let second = way.sealed(&mut sealer, 100, now());
    let open =
        |verifier: &mut Verifier, message: &[u8]| verifier.open(&way.received(message), now()).map(drop);
    // Somebody spoils the checksum of a copy and is faster: the original is taken all the same.
    let mut spoilt = first.clone();
    spoilt[6] ^= 1;
    assert_eq!(open(&mut verifier, &spoilt), Err(Reject::Checksum));
    assert_eq!(open(&mut verifier, &second), Ok(()));
    assert_eq!(open(&mut verifier, &second), Err(Reject::Replay));
    assert_eq!(open(&mut verifier, &first), Err(Reject::Replay), "overtaken");
    verifier.reconfigure(config(HmacMode::Enforce));
    assert_eq!(open(&mut verifier, &second), Err(Reject::Replay), "a reload forgets nothing");
    // The other routers have stamps of their own.
    let from = |verifier: &mut Verifier, sender: u8, time| {
        let source = IpAddr::from([198, 51, 100, sender]);
        let pdu = way.advertisement(100).encode(
            Version::V3,
            Authentication::None,
            Checksum::MessageOnly,
            source,
            ip(way.destination),
        );
        let message = way.sealer().sign(&pdu, source, ip(way.destination), time);
        verifier.open(&Received { source, ..way.received(&message) }, time).map(drop)
    };
    for sender in 100..131 {
        assert_eq!(from(&mut verifier, sender, now()), Ok(()), "{sender}");
        assert_eq!(from(&mut verifier, sender, now()), Err(Reject::Replay), "{sender}");
    }
    // The list is full, and nobody is thrown out of it before the window does so.
    assert_eq!(from(&mut verifier, 131, now()), Err(Reject::Replay));
    assert_eq!(open(&mut verifier, &second), Err(Reject::Replay));
    assert_eq!(from(&mut verifier, 131, now() + WINDOW + Duration::from_secs(1)), Ok(()));
}

#[test]
fn a_sender_whose_clock_was_set_back_is_heard_again() {
    let way = WAYS[0];
    let (mut sealer, mut verifier) = (way.sealer(), way.verifier());
    let early = now() + Duration::from_secs(4);
    let message = way.sealed(&mut sealer, 100, early);
    assert!(verifier.open(&way.received(&message), now()).is_ok(), "its clock is four seconds ahead");
    let hour_back = now() - Duration::from_secs(3600);
    let message = way.sealed(&mut sealer, 100, hour_back);
    assert_eq!(verifier.open(&way.received(&message), now()), Err(Reject::Replay), "ours is not");
    assert!(verifier.open(&way.received(&message), hour_back).is_ok());
}

#[test]
fn keys_are_exchanged_one_router_after_the_other() {
    let way = WAYS[0];
    let with = |own: HmacKey, accepted: &[HmacKey]| HmacConfig {
        key: own,
        accepted: accepted.to_vec(),
        ..config(HmacMode::Enforce)
    };
    let (old, new) = (key(1, 0), key(2, 100));
    let table = [
        (with(old.clone(), &[]), with(old.clone(), std::slice::from_ref(&new)), true),
        (with(new.clone(), std::slice::from_ref(&old)), with(old.clone(), std::slice::from_ref(&new)), true),
        (with(new.clone(), &[]), with(new.clone(), std::slice::from_ref(&old)), true),
        (with(new.clone(), &[]), with(old.clone(), &[]), false),
        // The same id with another secret.
        (with(key(1, 7), &[]), with(old, &[]), false),
    ];
    for (sender, receiver, taken) in table {
        let message = way.sealed(&mut Sealer::new(Version::V3, VRID, sender.clone()), 100, now());
        let said = Verifier::new(Version::V3, VRID, receiver).open(&way.received(&message), now()).map(drop);
        assert_eq!(said, if taken { Ok(()) } else { Err(Reject::Hmac) }, "{sender:?}");
    }
}

#[test]
fn secrets_have_a_length_and_are_not_shown() {
    for (length, good) in [(0, false), (31, false), (32, true), (64, true), (65, false)] {
        assert_eq!(HmacKey::new(3, &vec![7; length]).is_some(), good, "{length}");
    }
    let shown = format!("{:?}", config(HmacMode::Enforce));
    assert!(shown.contains("HmacKey { id: 1, .. }"), "{shown}");
}

proptest! {
    #[test]
    fn what_is_sealed_is_opened(way in prop::sample::select(&WAYS[..]), priorities in prop::collection::vec(any::<u8>(), 1..20)) {
        let (mut sealer, mut verifier) = (way.sealer(), way.verifier());
        for priority in priorities {
            let message = way.sealed(&mut sealer, priority, now());
            let received = way.received(&message);
            let pdu = verifier.open(&received, now());
            prop_assert!(pdu.is_ok(), "{:?}", pdu);
            let inner = Received { message: &pdu.unwrap(), ..received };
            prop_assert_eq!(Advertisement::decode(&inner, &way.expected()), Ok(way.advertisement(priority)));
        }
    }

    #[test]
    fn any_flipped_bit_is_refused(way in prop::sample::select(&WAYS[..]), priority: u8, bit: prop::sample::Index) {
        let mut message = way.sealed(&mut way.sealer(), priority, now());
        let bit = bit.index(message.len() * 8);
        message[bit / 8] ^= 1 << (bit % 8);
        let said = way.verifier().open(&way.received(&message), now());
        // Over IPv6 two checksums are right, with and without the trailer; a bit may lead from one to the other.
        let checksum = said.is_ok() && matches!(bit / 8, 6 | 7) && ip(way.source).is_ipv6();
        prop_assert!(said.is_err() || checksum, "bit {bit} of {message:?}");
    }

    #[test]
    fn any_bytes_are_opened_or_refused(
        way in prop::sample::select(&WAYS[..]), message in prop::collection::vec(any::<u8>(), 0..120), count in 0u8..4,
    ) {
        let mut message = message;
        let version = if way.version == Version::V2 { 0x21 } else { 0x31 };
        message.iter_mut().zip([version, VRID, 100, count]).for_each(|(byte, good)| *byte = good);
        let said = way.verifier().open(&way.received(&message), now());
        prop_assert!(said.is_err(), "{said:?} without the key");
    }
}
