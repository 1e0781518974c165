//! Errors that come back as ICMP.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::sys::socket::{MsgFlags, recv, setsockopt, sockopt};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// What is waited for: tokio does not count an error as something to read.
pub(super) const READABLE_OR_ERROR: Interest = Interest::READABLE.add(Interest::ERROR);

/// Makes every ICMP error an error of the connected socket (`IP_RECVERR`, ip(7)). Otherwise the kernel reports only the
/// lasting ones, and an unreachable host is not among them.
///
/// # Errors
/// The kernel's answer to setsockopt(2).
pub(super) fn report(socket: &impl AsFd, v4: bool) -> io::Result<()> {
    let set = if v4 {
        setsockopt(socket, sockopt::Ipv4RecvErr, &true)
    } else {
        setsockopt(socket, sockopt::Ipv6RecvErr, &true)
    };
    set.map_err(io::Error::from)
}

/// Receives a datagram, or the error that came instead of one.
///
/// # Errors
/// Those of recv(2), among them what ICMP said.
pub(super) async fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<usize> {
    socket.async_io(READABLE_OR_ERROR, || receive_now(socket, buffer)).await
}

/// recv(2) on a socket that does not block.
pub(super) fn receive_now(socket: &impl AsRawFd, buffer: &mut [u8]) -> io::Result<usize> {
    recv(socket.as_raw_fd(), buffer, MsgFlags::empty()).map_err(io::Error::from)
}
