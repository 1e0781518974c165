//! Checks that are a dialogue: send and expect, or one of the protocols that ldirectord negotiates.

use super::{CheckTls, Pattern};

/// A dialogue with a real server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialogue {
    /// Which dialogue.
    pub protocol: DialogueProtocol,
    /// TLS from the start; `imaps` is `imap` with this.
    pub tls: Option<CheckTls>,
}

/// A step of a send/expect dialogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DialogueStep {
    /// Bytes to send.
    Send(Vec<u8>),
    /// What has to arrive before anything else happens; searched in everything since the last match, 64 KiB at most.
    Expect(Pattern),
}

/// Name and password.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// Name.
    pub user: String,
    /// Password; never printed.
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Which dialogue, and with what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DialogueProtocol {
    /// Steps of the operator.
    Expect(Vec<DialogueStep>),
    /// FTP (RFC 959): greeting 220, and a login where one is given.
    Ftp(Option<Login>),
    /// IMAP4 (RFC 9051): greeting, and LOGIN where one is given.
    Imap(Option<Login>),
    /// POP3 (RFC 1939): greeting, and USER and PASS where a login is given.
    Pop(Option<Login>),
    /// NNTP (RFC 3977): greeting 200 or 201.
    Nntp,
    /// LDAP (RFC 4511): simple bind (anonymous without login), and a base search where one is given.
    Ldap {
        /// Distinguished name and password.
        login: Option<Login>,
        /// Entry that has to exist.
        base: Option<String>,
    },
    /// MySQL and MariaDB: the server's greeting; with a login authentication, the database and a query as well.
    Mysql {
        /// User and password.
        login: Option<Login>,
        /// Database to select.
        database: Option<String>,
        /// Query that has to succeed.
        query: Option<String>,
    },
    /// PostgreSQL (protocol 3.0): the server answers a start-up message; with a login authentication and a query as well.
    Pgsql {
        /// User and password.
        login: Option<Login>,
        /// Database; the user's name where there is none.
        database: Option<String>,
        /// Query that has to succeed.
        query: Option<String>,
    },
    /// Redis: AUTH where a login is given (an empty user is the default one), PING answered with PONG.
    Redis(Option<Login>),
    /// SIP (RFC 3261): OPTIONS over UDP or TCP answered with 200.
    Sip {
        /// Over UDP instead of TCP.
        udp: bool,
        /// User part of the address that is asked for.
        user: Option<String>,
    },
    /// RADIUS (RFC 2865): an Access-Request is answered with a valid authenticator (Accept), or Reject where no login is
    /// given.
    Radius {
        /// User and password.
        login: Option<Login>,
        /// Shared secret.
        secret: String,
    },
}

impl DialogueProtocol {
    /// The name in configuration files.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Expect(_) => "expect",
            Self::Ftp(_) => "ftp",
            Self::Imap(_) => "imap",
            Self::Pop(_) => "pop",
            Self::Nntp => "nntp",
            Self::Ldap { .. } => "ldap",
            Self::Mysql { .. } => "mysql",
            Self::Pgsql { .. } => "pgsql",
            Self::Redis(_) => "redis",
            Self::Sip { .. } => "sip",
            Self::Radius { .. } => "radius",
        }
    }
}
