//! Why a received message changes nothing.

/// The reason, in the order in which it is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reject {
    /// Shorter than a header, or than it says itself.
    Short,
    /// TTL or hop limit other than 255 (RFC 9568, 7.1).
    Ttl,
    /// Another version than the configured one.
    Version,
    /// No advertisement; there is no other type.
    Type,
    /// Another virtual router.
    Vrid,
    /// Longer than its addresses (and, in version 2, its authentication) make it, or without any address (RFC 9568, 5.2.5,
    /// erratum 8299).
    Length,
    /// Another type of authentication than the configured one.
    AuthenticationType,
    /// Another password.
    Password,
    /// Another interval than the configured one (version 2), or 0 (erratum 8301 of RFC 9568).
    Interval,
    /// The checksum is wrong.
    Checksum,
    /// Multicast where unicast is configured, or the other way round.
    Destination,
    /// Not from a configured peer.
    Peer,
    /// No HMAC where one is required, one of an unknown key, or a wrong one.
    Hmac,
    /// Authenticated, but a copy of an earlier message, or too old.
    Replay,
    /// From an address of this host: its own message, sent back.
    OwnAddress,
    /// Another router claims to own (priority 255) the addresses that this one owns.
    DuplicateOwner,
}

impl Reject {
    /// Every reason.
    pub const ALL: [Self; 16] = [
        Self::Short,
        Self::Ttl,
        Self::Version,
        Self::Type,
        Self::Vrid,
        Self::Length,
        Self::AuthenticationType,
        Self::Password,
        Self::Interval,
        Self::Checksum,
        Self::Destination,
        Self::Peer,
        Self::Hmac,
        Self::Replay,
        Self::OwnAddress,
        Self::DuplicateOwner,
    ];

    /// The metric label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Ttl => "ttl",
            Self::Version => "version",
            Self::Type => "type",
            Self::Vrid => "vrid",
            Self::Length => "length",
            Self::AuthenticationType => "authentication_type",
            Self::Password => "password",
            Self::Interval => "interval",
            Self::Checksum => "checksum",
            Self::Destination => "destination",
            Self::Peer => "peer",
            Self::Hmac => "hmac",
            Self::Replay => "replay",
            Self::OwnAddress => "own_address",
            Self::DuplicateOwner => "duplicate_owner",
        }
    }
}
