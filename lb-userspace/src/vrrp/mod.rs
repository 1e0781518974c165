//! VRRP without I/O: the message (RFC 3768 and RFC 9568) and the virtual router.
//!
//! Nothing here knows sockets or clocks: received messages and the time come in, messages to send and states to take on
//! go out.

mod advertisement;
pub mod group;
mod hmac;
mod interval;
pub mod io;
pub mod member;
mod reject;
mod router;
pub mod routers;
mod stamp;
mod state;
pub mod wire;

pub use advertisement::{Advertisement, Authentication, Checksum, Expected, Received, Version};
pub use hmac::{HmacConfig, HmacKey, HmacMode, Sealer, TRAILER_LENGTH, Verifier};
pub use interval::Centiseconds;
pub use reject::Reject;
pub use router::{RouterConfig, VirtualRouter};
pub use state::{Action, Reason, State};

/// IP protocol number (IANA).
pub const PROTOCOL: u8 = 112;

/// TTL or hop limit of every multicast message, sent and accepted (RFC 9568, 5.1.1.3).
pub const TTL: u8 = 255;
