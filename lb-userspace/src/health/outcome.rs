//! What a run of a check found.

use std::fmt;
use std::io;

/// The result of one run.
pub type Outcome = Result<Pass, Failure>;

/// The real server answered as it should.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pass {
    /// What the check says about the weight.
    pub weight: Option<WeightChange>,
    /// Something an operator should know all the same, such as a certificate that soon expires.
    pub warning: Option<String>,
}

/// What a check says about the weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightChange {
    /// The weight is this one; 0 quiesces.
    Set(u32),
    /// The weight is the configured one plus this; below zero in sum is down.
    Add(i32),
}

/// Why a run failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The kind of failure, a label of metrics.
    pub reason: FailureReason,
    /// What exactly happened, in lower case and on one line, such as `status 503, expected 200-299`. What the server
    /// sent is quoted and cut short.
    pub detail: String,
}

impl Failure {
    /// A failure with its detail.
    pub fn new(reason: FailureReason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }

    /// The failure that an error of the system stands for; `what` was being done, such as `connect`.
    #[must_use]
    pub fn from_io(what: &str, error: &io::Error) -> Self {
        use io::ErrorKind as Kind;
        let reason = match error.kind() {
            Kind::ConnectionRefused => FailureReason::Refused,
            Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe | Kind::UnexpectedEof => {
                FailureReason::Closed
            }
            Kind::TimedOut => FailureReason::Timeout,
            Kind::HostUnreachable | Kind::NetworkUnreachable => FailureReason::Unreachable,
            _ => FailureReason::Local,
        };
        Self::new(reason, format!("{what}: {error}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.name(), self.detail)
    }
}

/// The kind of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FailureReason {
    /// The connection or datagram was refused.
    Refused,
    /// No route to the server, or ICMP said that it is unreachable.
    Unreachable,
    /// No complete answer in time.
    Timeout,
    /// The server closed or reset the connection before its answer was complete.
    Closed,
    /// TLS failed: handshake, or the certificate.
    Tls,
    /// The answer is none of the protocol.
    Protocol,
    /// The server answered with an error of its protocol, such as an HTTP status that was not expected.
    Status,
    /// The body's digest is another one.
    Digest,
    /// The pattern does not match, or matches where it must not.
    Pattern,
    /// The answer is longer than allowed.
    TooLong,
    /// Too many redirections, or one to another server.
    Redirect,
    /// The name or password was refused.
    Login,
    /// The script said so by its exit code, or a signal ended it.
    Script,
    /// The script is not to be run: missing, not executable, or writable by others.
    Unsafe,
    /// The file says so.
    File,
    /// Connections of clients failed (`passive_fall`).
    Passive,
    /// The operator said so (`type = "off"`).
    Off,
    /// Something of the director itself, such as a missing address to connect from.
    Local,
}

impl FailureReason {
    /// Every reason, for metrics that show zeros.
    pub const ALL: [Self; 18] = [
        Self::Refused,
        Self::Unreachable,
        Self::Timeout,
        Self::Closed,
        Self::Tls,
        Self::Protocol,
        Self::Status,
        Self::Digest,
        Self::Pattern,
        Self::TooLong,
        Self::Redirect,
        Self::Login,
        Self::Script,
        Self::Unsafe,
        Self::File,
        Self::Passive,
        Self::Off,
        Self::Local,
    ];

    /// The name in metrics and listings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Tls => "tls",
            Self::Protocol => "protocol",
            Self::Status => "status",
            Self::Digest => "digest",
            Self::Pattern => "pattern",
            Self::TooLong => "too_long",
            Self::Redirect => "redirect",
            Self::Login => "login",
            Self::Script => "script",
            Self::Unsafe => "unsafe",
            Self::File => "file",
            Self::Passive => "passive",
            Self::Off => "off",
            Self::Local => "local",
        }
    }
}
