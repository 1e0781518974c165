//! HMAC trailers: what was sealed, changed, repeated and made up, under a clock that goes on.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lb_userspace::vrrp::{
    Advertisement, Authentication, Centiseconds, Checksum, Expected, HmacConfig, HmacKey, HmacMode, Received,
    Reject, Sealer, TRAILER_LENGTH, Verifier, Version,
};

use crate::input::{Input, group, host};
use crate::trail::Trail;

const MOST_STEPS: usize = 24;
const VRID: u8 = 51;

/// A message that was sealed by somebody with a key.
struct Sealed {
    source: IpAddr,
    message: Vec<u8>,
    accepted: bool,
}

/// Settings, then steps.
///
/// # Panics
///
/// Where anything is taken that nobody with a key has sent, or what has been taken before; or where something good is not
/// taken.
pub fn run(data: &[u8]) -> Trail {
    let mut input = Input::new(data);
    let flags = input.byte();
    let ipv4 = flags & 1 == 0;
    let version = if flags & 2 > 0 && ipv4 { Version::V2 } else { Version::V3 };
    let enforce = flags & 4 == 0;
    let mode = if enforce { HmacMode::Enforce } else { HmacMode::Permissive };
    let key = |id: u8| HmacKey::new(id, &[id; 32]);
    let (Some(own), Some(second), Some(foreign)) = (key(1), key(2), key(3)) else { return Trail::default() };
    let window = HmacConfig::window_of(Centiseconds::SECOND);
    let config =
        |mode, key: &HmacKey, accepted: Vec<HmacKey>| HmacConfig { mode, key: key.clone(), accepted, window };
    let mut verifier = Verifier::new(version, VRID, config(mode, &own, vec![second.clone()]));
    let mut sealers: Vec<Sealer> = [&own, &second, &foreign]
        .map(|key| Sealer::new(version, VRID, config(HmacMode::Enforce, key, vec![])))
        .into();
    let destination = group(ipv4);
    let expected = Expected {
        version,
        vrid: VRID,
        interval: Centiseconds::SECOND,
        authentication: Authentication::None,
        checksum: None,
        peers: None,
    };
    let mut clock = UNIX_EPOCH + Duration::from_secs(u64::from(input.word()) << 17);
    let mut sealed: Vec<Sealed> = Vec::new();
    let mut trail = Trail::default();
    for _ in 0..MOST_STEPS {
        if input.is_empty() {
            break;
        }
        let code = input.byte();
        let number = usize::from(code >> 4);
        match code & 7 {
            0 => clock += Duration::from_millis(input.word().into()),
            // Each sender has its own key: only the last of them has none that counts.
            1 | 2 => {
                let sender = number % sealers.len();
                let source = host(ipv4, 10 + sender as u8);
                let advertisement = Advertisement {
                    vrid: VRID,
                    priority: input.byte(),
                    interval: Centiseconds::SECOND,
                    addresses: vec![host(ipv4, 100)],
                };
                let (authentication, kind) = (Authentication::None, Checksum::PseudoHeader);
                let pdu = advertisement.encode(version, authentication, kind, source, destination);
                let message = sealers[sender].sign(&pdu, source, destination, clock);
                assert_eq!(message.len(), pdu.len() + TRAILER_LENGTH);
                let received = Received { source, destination, ttl: 255, message: &message };
                let good = sender < 2;
                if code & 7 == 1 {
                    let opened = verifier.open(&received, clock);
                    assert_eq!(opened.is_ok(), good, "{opened:?}");
                    if let Ok(opened) = opened {
                        let inner = Received { message: &opened, ..received };
                        assert_eq!(Advertisement::decode(&inner, &expected), Ok(advertisement));
                    }
                }
                if good {
                    sealed.push(Sealed { source, message, accepted: code & 7 == 1 });
                }
                trail.note(code & 7);
            }
            // A message is held up, or repeated, and may be changed on the way.
            3 | 4 if !sealed.is_empty() => {
                let place = number % sealed.len();
                let Sealed { source, message, accepted } = &sealed[place];
                let (source, mut message) = (*source, message.clone());
                let bit = usize::from(input.byte()) % (message.len() * 8);
                if code & 7 == 4 {
                    message[bit / 8] ^= 1 << (bit % 8);
                }
                let received = Received { source, destination, ttl: 255, message: &message };
                let opened = verifier.open(&received, clock);
                trail.note(opened.as_ref().map_or_else(|reject| *reject as u8, |_| 60));
                if code & 7 == 4 && !matches!(bit / 8, 6 | 7) {
                    // Its count may have become one that leaves no room for a trailer.
                    let plain = matches!(&opened, Ok(pdu) if **pdu == message[..]);
                    assert!(opened.is_err() || (!enforce && plain), "{opened:?}");
                } else if opened.is_ok() {
                    // One bit may turn a right checksum into one of another kind that is right too; nothing else differs.
                    assert!(!accepted, "taken twice");
                    let newer = sealed[place + 1..].iter().filter(|other| other.source == source);
                    assert!(newer.into_iter().all(|other| !other.accepted), "taken after a newer one");
                    sealed[place].accepted = true;
                }
            }
            5 => verifier.reconfigure(config(mode, &own, vec![second.clone()])),
            _ => {
                let length = usize::from(input.byte()) % 80;
                let message = input.take(length);
                let source = host(ipv4, 10 + (code >> 4) % 3);
                let received = Received { source, destination, ttl: 255, message };
                made_up(&mut verifier, &received, enforce, clock, &mut trail);
            }
        }
    }
    trail
}

fn made_up(
    verifier: &mut Verifier,
    received: &Received<'_>,
    enforce: bool,
    clock: SystemTime,
    trail: &mut Trail,
) {
    match verifier.open(received, clock) {
        Ok(pdu) => {
            assert!(!enforce, "{received:?} without a key");
            assert_eq!(&*pdu, received.message);
            trail.note(70);
        }
        Err(reject) => {
            assert!(enforce || reject != Reject::Hmac || received.message.len() > TRAILER_LENGTH);
            trail.note(80 + reject as u8);
        }
    }
}

/// Sealed, repeated, late, changed and made up ones, for each setting.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for flags in 0..8 {
        let header = [flags, 0x68, 0];
        let first = if flags & 2 > 0 { 0x21 } else { 0x31 };
        let made_up =
            [&[6, 40, first, VRID, 100, 1, 0, 100, 0, 0, 192, 0, 2, 100, 1, 1, 0, 0], &[0; 24][..]].concat();
        let steps: [&[u8]; 5] = [
            &[1, 100, 3, 3, 0, 4, 0, 1, 150, 3, 0x13],
            &[2, 100, 0x12, 100, 2, 101, 0x23, 3, 0x13, 0x23],
            &[1, 100, 4, 48, 4, 200, 0x11, 7, 0x14, 17],
            &[2, 100, 0, 0x13, 0x88, 0, 0x13, 0x88, 3, 0x21, 9, 5, 1, 3],
            &made_up,
        ];
        seeds.extend(steps.iter().map(|steps| [&header, *steps].concat()));
    }
    seeds
}
