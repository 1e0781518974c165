//! HMAC authentication of advertisements, as keepalived 2.4.2 and later (draft-cassen-vrrp-auth-hmac): a trailer of 28
//! bytes behind the message.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------+---------------+-------------------------------+
//! |   type = 1    |    key id     |         reserved = 0          |
//! +---------------+---------------+-------------------------------+
//! |                seconds since 1970, modulo 2^32                |
//! +-------------------------------+-------------------------------+
//! |       1/65536 of a second     |            counter            |
//! +-------------------------------+-------------------------------+
//! |          HMAC-SHA256, the first 16 of its 32 bytes            |
//! ```
//!
//! All numbers are in network byte order. The HMAC covers a pseudo header of 20 bytes (4 or 6, version, virtual router, 0,
//! the source address padded with zeros to 16 bytes), the message with zeros for its checksum, and the trailer with zeros
//! for its HMAC. Nothing in the message says that there is a trailer, only its length does.
//!
//! The checksum of the message leaves the trailer out, except over IPv6, where the kernel of the sender computes it over
//! everything behind the IP header.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::advertisement::{check_header, checksum_of, length};
use super::stamp::Stamp;
use super::{Centiseconds, Checksum, Received, Reject, Version};

/// Length of the trailer, in bytes.
pub const TRAILER_LENGTH: usize = 28;

const TYPE_HMAC_SHA256: u8 = 1;
/// Where the HMAC begins in the trailer.
const HMAC_OFFSET: usize = 12;
const HMAC_LENGTH: usize = TRAILER_LENGTH - HMAC_OFFSET;
/// Senders whose last stamp is remembered. Only who knows a key gets into the list, and there are never so many routers.
const MOST_SENDERS: usize = 32;

/// A secret that routers share, and the number by which a trailer names it.
#[derive(Clone)]
pub struct HmacKey {
    id: u8,
    secret: Box<[u8]>,
    keyed: Hmac<Sha256>,
}

impl HmacKey {
    /// Lengths of secrets that keepalived takes, in bytes.
    pub const SECRET_LENGTH: RangeInclusive<usize> = 32..=64;

    /// None for a secret of another length than [`Self::SECRET_LENGTH`].
    #[must_use]
    pub fn new(id: u8, secret: &[u8]) -> Option<Self> {
        if !Self::SECRET_LENGTH.contains(&secret.len()) {
            return None;
        }
        Some(Self { id, secret: secret.into(), keyed: Hmac::new_from_slice(secret).ok()? })
    }

    /// The number in the trailer.
    #[must_use]
    pub fn id(&self) -> u8 {
        self.id
    }
}

impl PartialEq for HmacKey {
    fn eq(&self, other: &Self) -> bool {
        (self.id, &self.secret) == (other.id, &other.secret)
    }
}

impl Eq for HmacKey {}

impl fmt::Debug for HmacKey {
    /// Without the secret: configurations get into logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HmacKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// How far the routers of a network have got with their trailers; each of them goes through all three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HmacMode {
    /// Sends none, because others would take them for a wrong length; verifies those that come.
    ReceiveOnly,
    /// Sends trailers, and takes messages without one as well.
    Permissive,
    /// Takes nothing without a trailer.
    #[default]
    Enforce,
}

/// Settings of the authentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HmacConfig {
    /// What is sent and what is required.
    pub mode: HmacMode,
    /// The key that signs; it verifies as well.
    pub key: HmacKey,
    /// Further keys that verify, so that routers can change theirs one after the other. Ids are all different.
    pub accepted: Vec<HmacKey>,
    /// How far a stamp may be from this host's clock either way, counted in whole seconds.
    pub window: Duration,
}

impl HmacConfig {
    /// The window of routers with this interval: three intervals, but at least five seconds.
    #[must_use]
    pub fn window_of(interval: Centiseconds) -> Duration {
        (interval.duration() * 3).max(Duration::from_secs(5))
    }

    fn verifying(&self, id: u8) -> Option<&HmacKey> {
        std::iter::once(&self.key).chain(&self.accepted).find(|key| key.id == id)
    }
}

/// Puts trailers behind the messages of a virtual router.
#[derive(Debug, Clone)]
pub struct Sealer {
    version: Version,
    vrid: u8,
    config: HmacConfig,
    last: Option<Stamp>,
}

impl Sealer {
    /// Of a virtual router that has not sent anything yet.
    #[must_use]
    pub fn new(version: Version, vrid: u8, config: HmacConfig) -> Self {
        Self { version, vrid, config, last: None }
    }

    /// Takes on other settings; stamps go on, so that nobody takes the next message for a copy.
    pub fn reconfigure(&mut self, config: HmacConfig) {
        self.config = config;
    }

    /// The message with its trailer, or as it is where the mode says so. The stamp is greater than the one before, whatever
    /// the clock does; only a clock that was set back by more than the window starts anew, since nobody would believe
    /// stamps so far ahead of the time.
    #[must_use]
    pub fn sign(
        &mut self,
        pdu: &[u8],
        source: IpAddr,
        destination: IpAddr,
        wall_clock: SystemTime,
    ) -> Vec<u8> {
        let mut message = pdu.to_vec();
        if self.config.mode == HmacMode::ReceiveOnly {
            return message;
        }
        let stamp = Stamp::next(self.last, wall_clock, self.config.window);
        self.last = Some(stamp);
        message.extend([TYPE_HMAC_SHA256, self.config.key.id, 0, 0]);
        message.extend(stamp.to_be_bytes());
        let mac = digest(&self.config.key, self.version, self.vrid, source, &message).finalize();
        message.extend(&mac.into_bytes()[..HMAC_LENGTH]);
        if source.is_ipv6() {
            write_checksum(&mut message, self.version, source, destination);
        }
        message
    }
}

/// Verifies the trailers that a virtual router receives, and takes them off.
#[derive(Debug, Clone)]
pub struct Verifier {
    version: Version,
    vrid: u8,
    config: HmacConfig,
    /// The last stamp of each sender.
    senders: Vec<(IpAddr, Stamp)>,
}

impl Verifier {
    /// Of a virtual router that has not received anything yet. A copy of what was sent within the window before is taken
    /// once.
    #[must_use]
    pub fn new(version: Version, vrid: u8, config: HmacConfig) -> Self {
        Self { version, vrid, config, senders: Vec::new() }
    }

    /// Takes on other settings; what was received stays known.
    pub fn reconfigure(&mut self, config: HmacConfig) {
        self.config = config;
    }

    /// The message without its trailer, for [`super::Advertisement::decode`].
    ///
    /// It is a copy only over IPv6, with the checksum that the message would have had without the trailer.
    ///
    /// # Errors
    ///
    /// - What [`super::Advertisement::decode`] says of TTL, version, type and virtual router.
    /// - [`Reject::Hmac`] without a trailer where one is required; in every mode for a malformed one, an unknown key, or a
    ///   wrong HMAC.
    /// - [`Reject::Replay`] for a stamp outside of the window, or not greater than the last one of this sender.
    /// - [`Reject::Checksum`] for an authentic message with a wrong one, which the HMAC does not cover.
    pub fn open<'a>(
        &mut self,
        received: &Received<'a>,
        wall_clock: SystemTime,
    ) -> Result<Cow<'a, [u8]>, Reject> {
        let header = check_header(received, self.version, self.vrid)?;
        let end = length(header, self.version, received.source);
        let Some((pdu, trailer)) = split(received.message, end) else {
            let required = self.config.mode == HmacMode::Enforce;
            return if required { Err(Reject::Hmac) } else { Ok(Cow::Borrowed(received.message)) };
        };
        let [kind, id, 0, 0, stamp @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = *trailer else {
            return Err(Reject::Hmac);
        };
        if kind != TYPE_HMAC_SHA256 {
            return Err(Reject::Hmac);
        }
        let (stamp, now) = (Stamp::from_be_bytes(stamp), Stamp::at(wall_clock));
        // Ahead of the HMAC, so that a flood of old copies costs no digests.
        if !stamp.is_near(now, self.config.window) {
            return Err(Reject::Replay);
        }
        let key = self.config.verifying(id).ok_or(Reject::Hmac)?;
        let covered = &received.message[..end + HMAC_OFFSET];
        digest(key, self.version, self.vrid, received.source, covered)
            .verify_truncated_left(&trailer[HMAC_OFFSET..])
            .map_err(|_| Reject::Hmac)?;
        // Ahead of the sender's stamp: whoever spoils the checksum of a copy must not get the original refused.
        let pdu = self.checked(received, pdu)?;
        self.advance(received.source, stamp, now)?;
        Ok(pdu)
    }

    /// The message, if one of its checksums is right.
    fn checked<'a>(&self, received: &Received<'a>, pdu: &'a [u8]) -> Result<Cow<'a, [u8]>, Reject> {
        let (source, destination) = (received.source, received.destination);
        let right = |kind, message: &[u8]| checksum_of(self.version, kind, source, destination, message) == 0;
        if right(Checksum::PseudoHeader, pdu) || right(Checksum::MessageOnly, pdu) {
            return Ok(Cow::Borrowed(pdu));
        }
        if source.is_ipv6() && right(Checksum::PseudoHeader, received.message) {
            let mut pdu = pdu.to_vec();
            write_checksum(&mut pdu, self.version, source, destination);
            return Ok(Cow::Owned(pdu));
        }
        Err(Reject::Checksum)
    }

    /// Remembers the stamp of a sender that is authentic.
    fn advance(&mut self, source: IpAddr, stamp: Stamp, now: Stamp) -> Result<(), Reject> {
        // Copies of messages with those stamps are refused for their age.
        self.senders.retain(|(_, last)| last.is_near(now, self.config.window));
        if let Some((_, last)) = self.senders.iter_mut().find(|(sender, _)| *sender == source) {
            if !stamp.is_after(*last) {
                return Err(Reject::Replay);
            }
            *last = stamp;
        } else if self.senders.len() < MOST_SENDERS {
            self.senders.push((source, stamp));
        } else {
            // Forgetting another sender would let copies of its messages through.
            return Err(Reject::Replay);
        }
        Ok(())
    }
}

/// Message and trailer, if there is one behind the `end` of the message.
fn split(message: &[u8], end: usize) -> Option<(&[u8], &[u8; TRAILER_LENGTH])> {
    let (pdu, trailer) = message.split_at_checked(end)?;
    Some((pdu, trailer.try_into().ok()?))
}

/// The HMAC over message and trailer up to the HMAC.
fn digest(key: &HmacKey, version: Version, vrid: u8, source: IpAddr, covered: &[u8]) -> Hmac<Sha256> {
    let mut pseudo = [0; 20];
    pseudo[0] = if source.is_ipv4() { 4 } else { 6 };
    pseudo[1] = version.number();
    pseudo[2] = vrid;
    match source {
        IpAddr::V4(source) => pseudo[4..8].copy_from_slice(&source.octets()),
        IpAddr::V6(source) => pseudo[4..].copy_from_slice(&source.octets()),
    }
    let (before, after) = covered.split_at_checked(6).unwrap_or((covered, &[]));
    key.keyed
        .clone()
        .chain_update(pseudo)
        .chain_update(before)
        .chain_update([0; 2])
        .chain_update(after.get(2..).unwrap_or_default())
        .chain_update([0; HMAC_LENGTH])
}

/// Computes the checksum over all of a message, with the pseudo header.
fn write_checksum(message: &mut [u8], version: Version, source: IpAddr, destination: IpAddr) {
    let place = 6..8;
    if let Some(checksum) = message.get_mut(place.clone()) {
        checksum.fill(0);
    }
    let sum = checksum_of(version, Checksum::PseudoHeader, source, destination, message);
    if let Some(checksum) = message.get_mut(place) {
        checksum.copy_from_slice(&sum.to_be_bytes());
    }
}
