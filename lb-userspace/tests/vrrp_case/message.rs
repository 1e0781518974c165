//! Messages of inputs, built byte by byte: not by the code that they test.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use lb_userspace::vrrp::{Authentication, Checksum, HmacConfig, HmacMode, Sealer, Version};

use super::language::{self, Settings, address, number, password, seconds};

/// A message that arrives.
#[derive(Debug, Clone)]
pub(crate) struct Incoming {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) ttl: u8,
    pub(crate) message: Vec<u8>,
}

/// The fields of an advertisement, first as the virtual router would like them.
struct Fields {
    version: u8,
    kind: u8,
    vrid: u8,
    priority: u8,
    count: Option<u8>,
    addresses: Vec<IpAddr>,
    /// Version 3: reserved bits and hundredths of a second. Version 2: type of authentication and seconds.
    interval: Interval,
    authentication: [u8; 8],
    checksum: Option<Checksum>,
    /// Bytes more or less than there should be.
    extra: i32,
    hmac: Option<String>,
}

struct Interval {
    high: u8,
    hundredths: u16,
}

impl Incoming {
    /// `KEY=VALUE...`, what is left out being as the virtual router would like it.
    pub(crate) fn advertisement(
        words: &[&str],
        settings: &Settings,
        sealers: &mut Sealers,
        clock: SystemTime,
    ) -> Result<Self, String> {
        let mut incoming = Self::to(settings, Vec::new())?;
        let config = &settings.config;
        let (kind, authentication) = match settings.authentication {
            Authentication::None => (0, [0; 8]),
            Authentication::Password(password) => (1, password),
        };
        let v2 = config.version == Version::V2;
        let mut fields = Fields {
            version: if v2 { 2 } else { 3 },
            kind: 1,
            vrid: config.vrid,
            priority: 100,
            count: None,
            addresses: settings.carries.clone(),
            interval: Interval { high: if v2 { kind } else { 0 }, hundredths: config.interval.get() },
            authentication,
            checksum: Some(settings.checksum),
            extra: 0,
            hmac: None,
        };
        for word in words {
            let (key, value) = word.split_once('=').ok_or_else(|| format!("no field: {word}"))?;
            if !incoming.set(key, value)? {
                fields.set(key, value)?;
            }
        }
        incoming.message = fields.encode(incoming.source, incoming.destination);
        if let Some(how) = &fields.hmac {
            sealers.seal(&mut incoming, how, settings, clock)?;
        }
        Ok(incoming)
    }

    /// `HEX [KEY=VALUE...]`.
    pub(crate) fn hex(words: &[&str], settings: &Settings) -> Result<Self, String> {
        let (hex, fields) = words.split_first().ok_or("no message")?;
        let mut incoming = Self::to(settings, bytes(hex)?)?;
        for word in fields {
            let (key, value) = word.split_once('=').ok_or_else(|| format!("no field: {word}"))?;
            if !incoming.set(key, value)? {
                return Err(format!("no such field: {key}"));
            }
        }
        Ok(incoming)
    }

    fn to(settings: &Settings, message: Vec<u8>) -> Result<Self, String> {
        let ipv4 = settings.address.is_ipv4();
        let source = address(if ipv4 { "192.0.2.9" } else { "fe80::9" })?;
        let destination = match (&settings.peers, ipv4) {
            (Some(_), _) => settings.address,
            (None, true) => address("224.0.0.18")?,
            (None, false) => address("ff02::12")?,
        };
        Ok(Self { source, destination, ttl: 255, message })
    }

    fn set(&mut self, key: &str, value: &str) -> Result<bool, String> {
        match key {
            "source" => self.source = address(value)?,
            "destination" => self.destination = address(value)?,
            "ttl" => self.ttl = number(value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl Fields {
    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "version" => self.version = number(value)?,
            "type" => self.kind = number(value)?,
            "vrid" => self.vrid = number(value)?,
            "priority" => self.priority = number(value)?,
            "count" => self.count = Some(number(value)?),
            "addresses" => {
                self.addresses = value
                    .split(',')
                    .filter(|text| !text.is_empty())
                    .map(address)
                    .collect::<Result<_, _>>()?;
            }
            "many" => {
                self.addresses =
                    (0..number(value)?).map(|last: u8| IpAddr::from([192, 0, 2, last])).collect();
            }
            "interval" => {
                let hundredths = seconds(value)?.as_millis() / 10;
                self.interval.hundredths =
                    hundredths.try_into().map_err(|_| format!("no interval: {value}"))?;
            }
            "reserved" | "auth" => self.interval.high = number(value)?,
            "password" => self.authentication = password(value),
            "checksum" => {
                self.checksum = if value == "bad" { None } else { Some(language::checksum(value)?) }
            }
            "extra" => self.extra = number(value)?,
            "hmac" => self.hmac = Some(value.to_owned()),
            _ => return Err(format!("no such field: {key}")),
        }
        Ok(())
    }

    fn encode(&self, source: IpAddr, destination: IpAddr) -> Vec<u8> {
        let count = self.count.unwrap_or(self.addresses.len() as u8);
        let interval = if self.version == 2 {
            [self.interval.high, (self.interval.hundredths / 100) as u8]
        } else {
            (u16::from(self.interval.high) << 12 | self.interval.hundredths).to_be_bytes()
        };
        let mut message = vec![self.version << 4 | self.kind, self.vrid, self.priority, count];
        message.extend(interval);
        message.extend([0, 0]);
        for address in &self.addresses {
            match address {
                IpAddr::V4(address) => message.extend(address.octets()),
                IpAddr::V6(address) => message.extend(address.octets()),
            }
        }
        if self.version == 2 {
            message.extend(self.authentication);
        }
        message.resize(message.len().saturating_add_signed(self.extra as isize), 0);
        let pseudo = match self.checksum {
            Some(Checksum::PseudoHeader) | None if self.version == 3 || source.is_ipv6() => {
                pseudo_header(source, destination, message.len())
            }
            _ => Vec::new(),
        };
        let sum = internet_checksum(&[pseudo, message.clone()].concat());
        let sum = if self.checksum.is_none() { sum ^ 0x0100 } else { sum };
        message.get_mut(6..8).into_iter().for_each(|place| place.copy_from_slice(&sum.to_be_bytes()));
        message
    }
}

fn pseudo_header(source: IpAddr, destination: IpAddr, length: usize) -> Vec<u8> {
    let [high, low] = (length as u16).to_be_bytes();
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

fn internet_checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn bytes(hex: &str) -> Result<Vec<u8>, String> {
    let pairs = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap_or_default());
    pairs.map(|pair| u8::from_str_radix(pair, 16).map_err(|_| format!("not hexadecimal: {hex}"))).collect()
}

/// What the senders of a case have sealed.
#[derive(Debug, Default)]
pub(crate) struct Sealers {
    senders: Vec<(IpAddr, u8, Sealer)>,
    last: Option<Vec<u8>>,
}

impl Sealers {
    /// `KEY`, `KEY:bad` with a wrong HMAC, `KEY:SECONDS` sealed so long ago, or `again` for the message before.
    fn seal(
        &mut self,
        incoming: &mut Incoming,
        how: &str,
        settings: &Settings,
        clock: SystemTime,
    ) -> Result<(), String> {
        if how == "again" {
            incoming.message = self.last.clone().ok_or("there is no message before")?;
            return Ok(());
        }
        let (id, change) = how.split_once(':').unwrap_or((how, ""));
        let id: u8 = number(id)?;
        let age = if matches!(change, "" | "bad") { Duration::ZERO } else { seconds(change)? };
        let place = self.senders.iter().position(|(source, key, _)| (*source, *key) == (incoming.source, id));
        let place = match place {
            Some(place) => place,
            None => {
                let window = HmacConfig::window_of(settings.config.interval);
                let key = language::key(id)?;
                let config = HmacConfig { mode: HmacMode::Enforce, key, accepted: vec![], window };
                let sealer = Sealer::new(settings.config.version, settings.config.vrid, config);
                self.senders.push((incoming.source, id, sealer));
                self.senders.len() - 1
            }
        };
        let sealer = &mut self.senders[place].2;
        incoming.message = sealer.sign(&incoming.message, incoming.source, incoming.destination, clock - age);
        if change == "bad" {
            incoming.message.last_mut().into_iter().for_each(|byte| *byte ^= 1);
        }
        self.last = Some(incoming.message.clone());
        Ok(())
    }
}
