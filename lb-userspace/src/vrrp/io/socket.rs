//! Raw sockets: one for each interface and family, for every instance there.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt, sockopt,
};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

use crate::vrrp::wire::{GROUP_IPV4, GROUP_IPV6, TRAFFIC_CLASS};
use crate::vrrp::{PROTOCOL, Received, TTL};

/// Longest message that is read: 255 IPv6 addresses, header, authentication, and an IPv4 header with options.
pub(super) const LONGEST: usize = 8 + 255 * 16 + 64 + 60;

/// A socket for the advertisements on an interface.
#[derive(Debug)]
pub(super) struct AdvertisementSocket {
    socket: Socket,
    ifindex: u32,
    ipv4: bool,
}

impl AdvertisementSocket {
    /// Opens it and joins the group.
    pub(super) fn open(name: &str, ifindex: u32, ipv4: bool) -> io::Result<Self> {
        let domain = if ipv4 { Domain::IPV4 } else { Domain::IPV6 };
        let socket = Socket::new_raw(domain, Type::RAW, Some(Protocol::from(i32::from(PROTOCOL))))?;
        socket.set_nonblocking(true)?;
        socket.set_cloexec(true)?;
        socket.bind_device(Some(name.as_bytes()))?;
        if ipv4 {
            socket.set_multicast_loop_v4(false)?;
            socket.set_multicast_ttl_v4(u32::from(TTL))?;
            socket.set_ttl_v4(u32::from(TTL))?;
            socket.set_tos_v4(u32::from(TRAFFIC_CLASS))?;
            socket.set_multicast_all_v4(false)?;
            socket.set_freebind_v4(true)?;
            let interface = InterfaceIndexOrAddress::Index(ifindex);
            socket.join_multicast_v4_n(&GROUP_IPV4, &interface)?;
        } else {
            socket.set_multicast_loop_v6(false)?;
            socket.set_multicast_hops_v6(u32::from(TTL))?;
            socket.set_unicast_hops_v6(u32::from(TTL))?;
            socket.set_tclass_v6(u32::from(TRAFFIC_CLASS))?;
            socket.set_multicast_all_v6(false)?;
            socket.set_multicast_if_v6(ifindex)?;
            socket.set_recv_hoplimit_v6(true)?;
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
            socket.join_multicast_v6(&GROUP_IPV6, ifindex)?;
        }
        Ok(Self { socket, ifindex, ipv4 })
    }

    /// Index of the interface that it was opened on.
    pub(super) fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// Sends a message from `source`; none for `peer` is the group.
    pub(super) fn send(&self, source: IpAddr, peer: Option<IpAddr>, message: &[u8]) -> io::Result<()> {
        let parts = [IoSlice::new(message)];
        let sent = match source {
            IpAddr::V4(source) => {
                let peer = match peer {
                    Some(IpAddr::V4(peer)) => peer,
                    _ => GROUP_IPV4,
                };
                let information = libc::in_pktinfo {
                    ipi_ifindex: self.ifindex.cast_signed(),
                    ipi_spec_dst: libc::in_addr { s_addr: u32::from(source).to_be() },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                let to = SockaddrStorage::from(SocketAddr::V4(SocketAddrV4::new(peer, 0)));
                let control = [ControlMessage::Ipv4PacketInfo(&information)];
                sendmsg(self.socket.as_raw_fd(), &parts, &control, MsgFlags::empty(), Some(&to))
            }
            IpAddr::V6(source) => {
                let peer = match peer {
                    Some(IpAddr::V6(peer)) => peer,
                    _ => GROUP_IPV6,
                };
                let information = libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr { s6_addr: source.octets() },
                    ipi6_ifindex: self.ifindex,
                };
                let to = SockaddrStorage::from(SocketAddr::V6(SocketAddrV6::new(peer, 0, 0, self.ifindex)));
                let control = [ControlMessage::Ipv6PacketInfo(&information)];
                sendmsg(self.socket.as_raw_fd(), &parts, &control, MsgFlags::empty(), Some(&to))
            }
        };
        Ok(sent.map(|_| ())?)
    }

    /// The next message; none where there is none, or where it could not be read.
    pub(super) fn receive<'a>(&self, buffer: &'a mut [u8; LONGEST]) -> Option<Message<'a>> {
        let mut control = nix::cmsg_space!(libc::in6_pktinfo, libc::c_int);
        let (length, source, destination, hop_limit) = {
            let mut parts = [IoSliceMut::new(&mut buffer[..])];
            let fd = self.socket.as_raw_fd();
            let received =
                recvmsg::<SockaddrStorage>(fd, &mut parts, Some(&mut control), MsgFlags::empty()).ok()?;
            let (mut destination, mut hop_limit) = (Ipv6Addr::UNSPECIFIED, 0);
            for message in received.cmsgs().into_iter().flatten() {
                match message {
                    ControlMessageOwned::Ipv6PacketInfo(information) => {
                        destination = Ipv6Addr::from(information.ipi6_addr.s6_addr);
                    }
                    ControlMessageOwned::Ipv6HopLimit(limit) => hop_limit = limit,
                    _ => {}
                }
            }
            let source = received
                .address
                .and_then(|address| address.as_sockaddr_in6().map(nix::sys::socket::SockaddrIn6::ip));
            (received.bytes, source, destination, hop_limit)
        };
        let bytes = buffer.get(..length)?;
        if self.ipv4 {
            return Message::of_ipv4(bytes);
        }
        Some(Message {
            source: IpAddr::V6(source?),
            destination: IpAddr::V6(destination),
            ttl: u8::try_from(hop_limit).ok()?,
            message: bytes,
        })
    }
}

impl AsFd for AdvertisementSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A message with what its header said.
pub(super) struct Message<'a> {
    source: IpAddr,
    destination: IpAddr,
    ttl: u8,
    message: &'a [u8],
}

impl<'a> Message<'a> {
    /// Takes the header off, which raw sockets of IPv4 deliver as well.
    fn of_ipv4(packet: &'a [u8]) -> Option<Self> {
        let header: &[u8; 20] = packet.first_chunk()?;
        let header_length = usize::from(header[0] & 0x0f) * 4;
        let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
        Some(Self {
            source: IpAddr::V4(Ipv4Addr::new(header[12], header[13], header[14], header[15])),
            destination: IpAddr::V4(Ipv4Addr::new(header[16], header[17], header[18], header[19])),
            ttl: header[8],
            // The kernel has checked that the packet is as long as it says.
            message: packet.get(header_length..total.min(packet.len()))?,
        })
    }

    pub(super) fn received(&self) -> Received<'_> {
        Received { source: self.source, destination: self.destination, ttl: self.ttl, message: self.message }
    }
}

/// Sends whole Ethernet frames.
#[derive(Debug)]
pub(super) struct FrameSocket(Socket);

impl FrameSocket {
    pub(super) fn open() -> io::Result<Self> {
        // Protocol 0: nothing is received.
        Ok(Self(Socket::new(Domain::PACKET, Type::RAW, None)?))
    }

    pub(super) fn send(&self, ifindex: u32, frame: &[u8]) -> io::Result<()> {
        // SAFETY: all-zero bytes are a valid `sockaddr_ll`.
        let mut address: libc::sockaddr_ll = unsafe { MaybeUninit::zeroed().assume_init() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_ifindex = ifindex.cast_signed();
        address.sll_halen = 6;
        // SAFETY: frame and address are valid for the lengths given, and the kernel only reads them.
        let sent = unsafe {
            libc::sendto(
                self.0.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                libc::MSG_DONTWAIT,
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}
