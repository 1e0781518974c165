//! `ping`: an ICMP or ICMPv6 echo is answered (keepalived's `PING_CHECK`).

use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::icmp_errors::{self, READABLE_OR_ERROR};
use crate::health::{Failure, FailureReason, Outcome, Pass, Probe};

/// ICMP header (RFC 792; RFC 4443, 4.1): type, code, checksum, identifier, sequence number.
const HEADER: usize = 8;
/// Random bytes after it, by which an answer is known; other checks and programs ping the same server.
const PAYLOAD: usize = 24;
const MESSAGE: usize = HEADER + PAYLOAD;

/// Types of a request and its answer, without a code.
const ECHO4: (u8, u8) = (8, 0);
const ECHO6: (u8, u8) = (128, 129);

/// Sends one echo request and waits for its answer.
pub(super) async fn check(probe: &Probe) -> Outcome {
    let address = probe.endpoint.ip();
    let socket =
        open(probe).map_err(|error| Failure::new(FailureReason::Local, format!("icmp socket: {error}")))?;
    let to = SocketAddr::new(address, 0);
    socket.connect(&to.into()).map_err(|error| Failure::from_io("connect", &error))?;
    // SAFETY: the socket owns its descriptor, which stays open and the same until `AsyncFd` drops it.
    let socket = unsafe { AsyncFd::register_with_interest(socket, READABLE_OR_ERROR | Interest::WRITABLE) }
        .map_err(|error| Failure::new(FailureReason::Local, format!("icmp socket: {error}")))?;
    let request = Echo::new(address.is_ipv4());
    let message = request.message();
    socket
        .async_io(Interest::WRITABLE, |socket| socket.send(&message))
        .await
        .map_err(|error| Failure::from_io("ping", &error))?;
    // An answer is as long as the request; on a raw socket an IPv4 header of at most 60 bytes comes before it.
    let mut buffer = [0; 60 + MESSAGE];
    loop {
        let length = socket
            .async_io(READABLE_OR_ERROR, |socket| icmp_errors::receive_now(socket, &mut buffer))
            .await
            .map_err(|error| Failure::from_io("ping", &error))?;
        if request.is_answered_by(&buffer[..length]) {
            return Ok(Pass::default());
        }
    }
}

/// A socket for ICMP: one that the kernel keeps to echoes where `net.ipv4.ping_group_range` allows it, else a raw one.
fn open(probe: &Probe) -> io::Result<Socket> {
    let (domain, protocol) = match probe.endpoint.ip() {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = Socket::new(domain, Type::DGRAM.nonblocking().cloexec(), Some(protocol))
        .or_else(|_| Socket::new(domain, Type::RAW.nonblocking().cloexec(), Some(protocol)))?;
    icmp_errors::report(&socket, domain == Domain::IPV4)?;
    probe.origin.apply(&socket)?;
    if let Some(source) = probe.origin.source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    Ok(socket)
}

/// One echo request.
struct Echo {
    v4: bool,
    /// The kernel replaces it on a datagram socket.
    identifier: [u8; 2],
    payload: [u8; PAYLOAD],
}

impl Echo {
    fn new(v4: bool) -> Self {
        Self { v4, identifier: rand::random(), payload: rand::random() }
    }

    fn message(&self) -> [u8; MESSAGE] {
        let mut message = [0; MESSAGE];
        message[0] = if self.v4 { ECHO4.0 } else { ECHO6.0 };
        message[4..6].copy_from_slice(&self.identifier);
        message[7] = 1;
        message[HEADER..].copy_from_slice(&self.payload);
        // The kernel computes that of ICMPv6, which covers addresses as well.
        if self.v4 {
            let sum = checksum(&message);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        message
    }

    /// Whether `received` is the answer. What tells is the payload: nobody else has it, and the sender's address is
    /// seen to by the connected socket.
    fn is_answered_by(&self, received: &[u8]) -> bool {
        let message = if self.v4 { without_ip_header(received) } else { received };
        let answer = if self.v4 { ECHO4.1 } else { ECHO6.1 };
        message.len() == MESSAGE
            && message[0] == answer
            && message[1] == 0
            && message[6..HEADER] == [0, 1]
            && message[HEADER..] == self.payload
    }
}

/// A raw IPv4 socket gives the IP header as well. No ICMP message that is waited for begins like one: its first byte
/// would be type 69 to 79.
fn without_ip_header(received: &[u8]) -> &[u8] {
    match received.first() {
        Some(first) if first >> 4 == 4 => received.get(usize::from(first & 15) * 4..).unwrap_or_default(),
        _ => received,
    }
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) as u16 + (folded >> 16) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_of_a_message_verifies() {
        for _ in 0..1000 {
            assert_eq!(checksum(&Echo::new(true).message()), 0);
        }
        // RFC 1071, section 3.
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }

    #[test]
    fn only_the_own_answer_counts() {
        for v4 in [true, false] {
            let echo = Echo::new(v4);
            let mut answer = echo.message();
            assert!(!echo.is_answered_by(&answer), "its own request");
            answer[0] = if v4 { 0 } else { 129 };
            assert!(echo.is_answered_by(&answer));
            assert!(!Echo::new(v4).is_answered_by(&answer));
            let mut with_header = vec![0; 20];
            with_header[0] = 0x45;
            with_header.extend_from_slice(&answer);
            assert_eq!(echo.is_answered_by(&with_header), v4);
            for length in 0..with_header.len() {
                assert!(!echo.is_answered_by(&with_header[..length]));
            }
        }
        assert!(!Echo::new(true).is_answered_by(&[0x4f]));
    }
}
