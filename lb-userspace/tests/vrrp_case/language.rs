//! The language of cases: settings, then lines that begin with a time.

use std::net::IpAddr;
use std::time::Duration;

use lb_userspace::vrrp::{
    Authentication, Centiseconds, Checksum, HmacConfig, HmacKey, HmacMode, RouterConfig, Version,
};

use super::Wrong;

/// A case.
#[derive(Debug)]
pub(crate) struct Case {
    /// Several of them are a sync group.
    pub(crate) routers: Vec<Settings>,
    pub(crate) lines: Vec<Line>,
}

/// Settings of a virtual router, and of the host that it is on.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) config: RouterConfig,
    /// Own address on the path.
    pub(crate) address: IpAddr,
    /// Virtual addresses.
    pub(crate) carries: Vec<IpAddr>,
    pub(crate) authentication: Authentication,
    /// What sent messages have; received ones may have either.
    pub(crate) checksum: Checksum,
    /// Takes only messages with the checksum that it sends.
    pub(crate) strict: bool,
    pub(crate) peers: Option<Vec<IpAddr>>,
    pub(crate) hmac: Option<HmacConfig>,
    /// Whether sent messages are shown byte by byte.
    pub(crate) bytes: bool,
}

/// A line with a time.
#[derive(Debug)]
pub(crate) struct Line {
    /// Counted from 1.
    pub(crate) number: usize,
    pub(crate) time: Duration,
    /// An input, or what is expected.
    pub(crate) input: bool,
    /// Without its time, one space between words.
    pub(crate) text: String,
}

impl Case {
    pub(crate) fn parse(text: &str) -> Result<Self, Wrong> {
        let mut routers = Vec::new();
        let mut lines: Vec<Line> = Vec::new();
        for (line, number) in text.lines().zip(1..) {
            let line = line.split('#').next().unwrap_or_default();
            let words: Vec<&str> = line.split_whitespace().collect();
            let Some((first, rest)) = words.split_first() else { continue };
            let wrong = |what: String| (number, what);
            if !first.starts_with(|first: char| first.is_ascii_digit()) {
                set(&mut routers, first, rest).map_err(wrong)?;
                continue;
            }
            let time = seconds(first).map_err(wrong)?;
            if let Some(before) = lines.last()
                && time < before.time
            {
                return Err(wrong(format!("{} is before {}", show(time), show(before.time))));
            }
            let input = rest.first() == Some(&"in");
            let text = if input { &rest[1..] } else { rest };
            lines.push(Line { number, time, input, text: text.join(" ") });
        }
        if routers.is_empty() {
            routers.push(Settings::new(String::new()));
        }
        let grouped = routers.len() > 1;
        for router in &mut routers {
            router.config.grouped = grouped;
        }
        Ok(Self { routers, lines })
    }
}

impl Settings {
    fn new(name: String) -> Self {
        let config = RouterConfig {
            version: Version::V3,
            vrid: 1,
            priority: 100,
            interval: Centiseconds::SECOND,
            preempt: true,
            preempt_delay: Duration::ZERO,
            down_intervals: 3,
            start_active: false,
            start_delay: Duration::ZERO,
            answer_lower: true,
            grouped: false,
        };
        Self {
            name,
            config,
            address: IpAddr::from([192, 0, 2, 5]),
            carries: vec![IpAddr::from([192, 0, 2, 100])],
            authentication: Authentication::None,
            checksum: Checksum::PseudoHeader,
            strict: false,
            peers: None,
            hmac: None,
            bytes: false,
        }
    }
}

/// Carries out a line of settings.
fn set(routers: &mut Vec<Settings>, key: &str, values: &[&str]) -> Result<(), String> {
    let value = values.first().copied().unwrap_or_default();
    if key == "router" {
        routers.push(Settings::new(value.to_owned()));
        return Ok(());
    }
    if routers.is_empty() {
        routers.push(Settings::new(String::new()));
    }
    let Some(settings) = routers.last_mut() else { return Ok(()) };
    let config = &mut settings.config;
    match key {
        "version" => config.version = version(value)?,
        "vrid" => config.vrid = number(value)?,
        "priority" => config.priority = number(value)?,
        "interval" => config.interval = interval(value)?,
        "preempt" => config.preempt = yes(value)?,
        "preempt-delay" => config.preempt_delay = seconds(value)?,
        "down-intervals" => config.down_intervals = number(value)?,
        "start-active" => config.start_active = yes(value)?,
        "start-delay" => config.start_delay = seconds(value)?,
        "answer-lower" => config.answer_lower = yes(value)?,
        "address" => settings.address = address(value)?,
        "carries" => {
            settings.carries = values.iter().map(|value| address(value)).collect::<Result<_, _>>()?;
        }
        "password" => settings.authentication = Authentication::Password(password(value)),
        "checksum" => {
            (settings.checksum, settings.strict) = (checksum(value)?, values.get(1) == Some(&"only"));
        }
        "peers" => {
            settings.peers = Some(values.iter().map(|value| address(value)).collect::<Result<_, _>>()?);
        }
        "hmac" => settings.hmac = Some(hmac(values)?),
        "bytes" => settings.bytes = yes(value)?,
        _ => return Err(format!("no such setting: {key}")),
    }
    Ok(())
}

/// `MODE KEY [KEY...]`; the first key signs.
fn hmac(values: &[&str]) -> Result<HmacConfig, String> {
    let (mode, keys) = values.split_first().ok_or("a mode")?;
    let mode = match *mode {
        "receive-only" => HmacMode::ReceiveOnly,
        "permissive" => HmacMode::Permissive,
        "enforce" => HmacMode::Enforce,
        other => return Err(format!("no such mode: {other}")),
    };
    let keys: Vec<HmacKey> = keys.iter().map(|id| number(id).and_then(key)).collect::<Result<_, _>>()?;
    let (first, accepted) = keys.split_first().ok_or("a key")?;
    let window = HmacConfig::window_of(Centiseconds::SECOND);
    Ok(HmacConfig { mode, key: first.clone(), accepted: accepted.to_vec(), window })
}

/// The key with this id: 32 times the id.
pub(crate) fn key(id: u8) -> Result<HmacKey, String> {
    HmacKey::new(id, &[id; 32]).ok_or_else(|| "a secret".to_owned())
}

pub(crate) fn version(text: &str) -> Result<Version, String> {
    match text {
        "2" => Ok(Version::V2),
        "3" => Ok(Version::V3),
        _ => Err(format!("no version: {text}")),
    }
}

pub(crate) fn checksum(text: &str) -> Result<Checksum, String> {
    match text {
        "pseudo-header" => Ok(Checksum::PseudoHeader),
        "message" => Ok(Checksum::MessageOnly),
        _ => Err(format!("no checksum: {text}")),
    }
}

pub(crate) fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("no number: {text}"))
}

pub(crate) fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| format!("no address: {text}"))
}

/// Up to eight bytes, padded with zeros.
pub(crate) fn password(text: &str) -> [u8; 8] {
    let mut password = [0; 8];
    password.iter_mut().zip(text.bytes()).for_each(|(byte, given)| *byte = given);
    password
}

fn yes(text: &str) -> Result<bool, String> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(format!("neither yes nor no: {text}")),
    }
}

fn interval(text: &str) -> Result<Centiseconds, String> {
    let hundredths = seconds(text)?.as_millis() / 10;
    u16::try_from(hundredths).ok().and_then(Centiseconds::new).ok_or_else(|| format!("no interval: {text}"))
}

/// Seconds with up to nine digits behind the point.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let nanoseconds = format!("{fraction:0<9}");
    if nanoseconds.len() != 9 {
        return Err(format!("no time: {text}"));
    }
    Ok(Duration::new(number(whole)?, number(&nanoseconds)?))
}

/// The shortest text that [`seconds`] reads as this.
pub(crate) fn show(time: Duration) -> String {
    let text = format!("{}.{:09}", time.as_secs(), time.subsec_nanos());
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
