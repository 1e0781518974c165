//! Events of links and addresses.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use bytes::BytesMut;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use super::{DATAGRAM, Inventory};
use crate::nexthop::decode::{event, messages};

/// Asked-for receive buffer in bytes; the kernel cuts it to net.core.rmem_max.
const RECEIVE_BUFFER: usize = 4 * 1024 * 1024;

/// A socket that becomes readable when a link or an address has changed.
#[derive(Debug)]
pub struct Subscription {
    socket: Socket,
    buffer: BytesMut,
}

impl Subscription {
    /// Opens the socket.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_non_blocking(true)?;
        socket.set_rx_buf_sz(RECEIVE_BUFFER)?;
        for group in [libc::RTNLGRP_LINK, libc::RTNLGRP_IPV4_IFADDR, libc::RTNLGRP_IPV6_IFADDR] {
            socket.add_membership(group)?;
        }
        Ok(Self { socket, buffer: BytesMut::with_capacity(DATAGRAM) })
    }

    /// Brings an inventory up to date; true where something has changed.
    ///
    /// # Errors
    ///
    /// Where events were lost and everything has to be read again, which failed.
    pub fn drain(&mut self, inventory: &mut Inventory) -> io::Result<bool> {
        let mut changed = false;
        loop {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(_) => {
                    changed = true;
                    for event in messages(&self.buffer).filter_map(|message| event(message).ok().flatten()) {
                        inventory.apply(event);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    *inventory = Inventory::read()?;
                    changed = true;
                }
                Err(_) => return Ok(changed),
            }
        }
    }
}

impl AsFd for Subscription {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is the socket's own and open as long as it lives, which the borrow ensures.
        unsafe { BorrowedFd::borrow_raw(self.socket.as_raw_fd()) }
    }
}
