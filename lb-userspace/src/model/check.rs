//! Health checks of real servers, as the operator describes them.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::Dialogue;

/// A health check: what is asked, where, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What is asked.
    pub kind: CheckKind,
    /// Where, and from where.
    pub target: CheckTarget,
    /// When, and what a result means.
    pub policy: CheckPolicy,
}

/// When a check runs and how many results change the verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckPolicy {
    /// From the start of one run to the start of the next (keepalived's `delay_loop`). A run that takes longer delays
    /// the next one; there are never two at once.
    pub interval: Duration,
    /// Longest duration of a run, all of its parts together.
    pub timeout: Duration,
    /// From a failed run to the next as long as the verdict is still "up" (keepalived's `delay_before_retry`).
    pub retry_delay: Duration,
    /// Consecutive good results after which a failed check passes; at least 1.
    pub rise: u32,
    /// Consecutive bad results after which a passing check fails; at least 1 (keepalived's `retry` plus 1).
    pub fall: u32,
    /// The first run waits a random time up to this, so that checks do not all run at once (keepalived's `warmup`).
    pub warmup: Duration,
}

/// Where a check connects to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckTarget {
    /// Address instead of the real server's.
    pub address: Option<IpAddr>,
    /// Port in host byte order instead of the real server's.
    pub port: Option<u16>,
    /// Address to connect from.
    pub source: Option<IpAddr>,
    /// Interface to connect through (`SO_BINDTODEVICE`).
    pub interface: Option<String>,
    /// Mark of the packets for policy routing (`SO_MARK`).
    pub mark: Option<u32>,
    /// Whether the check goes to the virtual address on this real server, by the forwarding method itself.
    pub through_datapath: bool,
}

/// What a check asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckKind {
    /// A TCP connection is accepted.
    Tcp,
    /// HTTP requests are answered as expected.
    Http(Box<HttpCheck>),
    /// An SMTP server greets and accepts HELO.
    Smtp(SmtpCheck),
    /// A DNS server answers a query.
    Dns(DnsCheck),
    /// An ICMP or ICMPv6 echo is answered.
    Ping,
    /// A UDP datagram is answered, or at least not refused.
    Udp(UdpCheck),
    /// A program says so by its exit code.
    Script(ScriptCheck),
    /// A file says so by its presence or content.
    File(FileCheck),
    /// A dialogue over TCP (or UDP) goes as expected: send/expect, or a named protocol.
    Dialogue(Box<Dialogue>),
    /// Always up.
    On,
    /// Always down.
    Off,
}

impl CheckKind {
    /// The name in configuration files, metrics and listings.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Http(check) if check.tls.is_some() => "https",
            Self::Http(_) => "http",
            Self::Smtp(_) => "smtp",
            Self::Dns(_) => "dns",
            Self::Ping => "ping",
            Self::Udp(_) => "udp",
            Self::Script(check) if check.ldirectord_arguments => "external",
            Self::Script(_) => "script",
            Self::File(_) => "file",
            Self::Dialogue(dialogue) => dialogue.protocol.name(),
            Self::On => "on",
            Self::Off => "off",
        }
    }
}

/// TLS of a check.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckTls {
    /// Whether the server's certificate has to be valid for `server_name` (or the address), signed by `authorities` or
    /// by those of the system.
    pub verify: bool,
    /// PEM file of certificate authorities, instead of those of the system.
    pub authorities: Option<PathBuf>,
    /// Name for SNI and verification; none sends no SNI.
    pub server_name: Option<String>,
    /// PEM files of the client's certificate chain and key.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// Warn when the certificate expires within this time.
    pub expiry_warning: Option<Duration>,
}

/// HTTP version of a check's requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HttpVersion {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1, one connection for all requests of a run.
    #[default]
    Http11,
    /// HTTP/2, with prior knowledge where there is no TLS (RFC 9113, 3.3).
    H2,
}

/// An HTTP check: all its requests, in sequence, have to be answered as expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpCheck {
    /// TLS; none is plain HTTP.
    pub tls: Option<CheckTls>,
    /// Version.
    pub version: HttpVersion,
    /// Requests, at least one.
    pub requests: Vec<HttpRequest>,
    /// Most bytes of a body that are read; a longer one is a failure where the body matters, and is cut off elsewhere.
    pub max_body: u32,
}

/// One request and what its answer has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// Method, a token of RFC 9110.
    pub method: String,
    /// Path and query, beginning with `/`.
    pub path: String,
    /// `Host` field or `:authority` instead of the address (keepalived's `virtualhost`).
    pub host: Option<String>,
    /// Further header fields.
    pub headers: Vec<(String, String)>,
    /// Status codes that are good.
    pub status: StatusSet,
    /// Digest that the body has to have.
    pub digest: Option<BodyDigest>,
    /// Pattern that the body has to match.
    pub pattern: Option<Pattern>,
    /// Redirections (3xx with Location on the same server) that are followed.
    pub max_redirects: u32,
}

/// Status codes, as ranges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusSet(pub Vec<RangeInclusive<u16>>);

impl StatusSet {
    /// Whether a status is among them.
    #[must_use]
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }
}

impl Default for StatusSet {
    /// 200 to 299, as in keepalived.
    fn default() -> Self {
        Self(vec![200..=299])
    }
}

impl fmt::Display for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            if range.start() == range.end() {
                write!(f, "{}", range.start())?;
            } else {
                write!(f, "{}-{}", range.start(), range.end())?;
            }
        }
        Ok(())
    }
}

/// Digest of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyDigest {
    /// As `genhash` of keepalived prints it.
    Md5([u8; 16]),
    /// SHA-256.
    Sha256([u8; 32]),
}

/// A regular expression in the syntax of the `regex` crate, valid when it is here, over bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// The expression.
    pub expression: String,
    /// Whether it must *not* match (keepalived's `regex_no_match`).
    pub absent: bool,
}

/// An SMTP check (RFC 5321): greeting 220, HELO answered with 250, QUIT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmtpCheck {
    /// Name in HELO; the host's own where there is none.
    pub helo: Option<String>,
    /// TLS from the start (port 465).
    pub tls: Option<CheckTls>,
}

/// A DNS check over UDP, again over TCP where the answer is truncated: any answer with NOERROR or NXDOMAIN is good, as
/// in keepalived, and where `answer` is set one record of the answer has to contain it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsCheck {
    /// Name to ask for, absolute.
    pub name: String,
    /// Record type, such as `SOA`.
    pub record_type: String,
    /// Text that one record of the answer section has to contain, in presentation format.
    pub answer: Option<String>,
}

/// A UDP check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UdpCheck {
    /// Bytes to send.
    pub payload: Vec<u8>,
    /// Whether an answer has to come; without, the check only fails when ICMP says that nobody listens.
    pub require_reply: bool,
    /// Pattern that the answer has to match.
    pub reply: Option<Pattern>,
}

/// A program as check. No shell is involved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptCheck {
    /// Program (absolute path) and arguments.
    pub command: Vec<String>,
    /// User to run as; the daemon's own where there is none.
    pub user: Option<String>,
    /// Exit codes 2 to 255 set the weight to the code less 2, as keepalived's `misc_dynamic`.
    pub dynamic: bool,
    /// Append virtual address, virtual port, real address, real port, as ldirectord's `external` does.
    pub ldirectord_arguments: bool,
}

/// What a file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileMeaning {
    /// While it exists, the real server is quiesced.
    Drain,
    /// While it exists, the real server is down (ldirectord's `maintenancedir`).
    Down,
    /// Its content is an integer that is added to the weight; below zero in sum is down (keepalived's `FILE_CHECK`).
    Weight,
}

/// A file as check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileCheck {
    /// Absolute path.
    pub path: PathBuf,
    /// What it says.
    pub meaning: FileMeaning,
}
