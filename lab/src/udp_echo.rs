//! A UDP echo on a real server, which says who it is and whom it sees.
//!
//! It is a forked copy of this process rather than a program of its own: there is no binary for tests of other crates to
//! build and find, and it goes on when the lab is kept.

use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read};
use std::mem;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};

use anyhow::{Context, Result};

use crate::namespace::Namespace;
use crate::process::Process;

/// Longest datagram that is answered.
const LONGEST: usize = 2048;
/// Room for one control message with an `in6_pktinfo`: CMSG_SPACE(20) is 40 on 64-bit machines.
const CONTROL: usize = 64;

/// Starts an echo on all `ports` of `namespace`, both families. The answer to `payload` is
/// `NAME client=ADDRESS:PORT payload`, sent from the address that was asked.
pub(crate) fn start(namespace: &Namespace, name: &str, ports: &[u16]) -> Result<Process> {
    let sockets: Vec<UdpSocket> = namespace
        .enter(|| ports.iter().map(|port| open(*port)).collect::<io::Result<_>>())?
        .with_context(|| format!("cannot open the UDP ports {ports:?} in {}", namespace.name()))?;
    let inside = File::open(namespace.path())?;
    let mut descriptors: Vec<RawFd> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
    descriptors.sort_unstable();
    let mut polled: Vec<libc::pollfd> =
        descriptors.iter().map(|fd| libc::pollfd { fd: *fd, events: libc::POLLIN, revents: 0 }).collect();
    let (mut detached, detaching) = io::pipe()?;
    // SAFETY: the child allocates nothing, takes no locks and never returns: it makes system calls and formats into an
    // array on its stack (other threads may have held the allocator's lock at the moment of the fork).
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()).context("cannot fork the UDP echo"),
        0 => {
            detach(&inside, &descriptors);
            serve(&mut polled, name)
        }
        pid => {
            let process = Process::leader(pid);
            // The child closes its copy when it has detached: only then do signals to its group reach it.
            drop(detaching);
            detached.read_to_end(&mut Vec::new()).context("cannot wait for the UDP echo")?;
            Ok(process)
        }
    }
}

/// A socket for both families that tells which of the host's addresses a datagram was sent to.
fn open(port: u16) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port))?;
    let on: libc::c_int = 1;
    // SAFETY: pointer and length are those of `on`.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IPV6,
            libc::IPV6_RECVPKTINFO,
            (&raw const on).cast(),
            mem::size_of_val(&on) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(socket) } else { Err(io::Error::last_os_error()) }
}

/// Cuts the child loose from its parent: own session, default signals, nothing open but `keep`, which is sorted.
///
/// An inherited pipe would otherwise keep the parent's readers waiting for an end that never comes.
fn detach(inside: &File, keep: &[RawFd]) {
    // SAFETY: all of these are async-signal-safe system calls on integers, a static string, and a descriptor that is
    // open; closing descriptors is harmless since none of their owners runs in this process again.
    unsafe {
        libc::setns(inside.as_raw_fd(), libc::CLONE_NEWNET);
        libc::setsid();
        libc::prctl(libc::PR_SET_NAME, c"lab-udp-echo".as_ptr());
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            libc::signal(signal, libc::SIG_DFL);
        }
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
        for standard in 0..3 {
            libc::dup2(null, standard);
        }
        let mut first = 3;
        for fd in keep.iter().filter(|fd| **fd >= 3) {
            if first < fd.cast_unsigned() {
                libc::syscall(libc::SYS_close_range, first, fd.cast_unsigned() - 1, 0);
            }
            first = fd.cast_unsigned() + 1;
        }
        libc::syscall(libc::SYS_close_range, first, u32::MAX, 0);
    }
}

fn serve(sockets: &mut [libc::pollfd], name: &str) -> ! {
    loop {
        // SAFETY: pointer and length are those of the slice.
        let ready = unsafe { libc::poll(sockets.as_mut_ptr(), sockets.len() as libc::nfds_t, -1) };
        if ready < 0 && io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            // SAFETY: ends the process without running what belongs to the parent.
            unsafe { libc::_exit(1) };
        }
        for socket in sockets.iter().filter(|socket| socket.revents != 0) {
            echo(socket.fd, name);
        }
    }
}

/// Control messages, aligned as the kernel wants them.
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// Receives one datagram and answers it. The control message with the address that was asked (RFC 3542, section 6) goes
/// back as it came, and thereby becomes the source; only the interface is left to the routing table.
fn echo(socket: RawFd, name: &str) {
    let mut payload = [0_u8; LONGEST];
    let mut control = Control([0; CONTROL]);
    // SAFETY: all-zero bytes are valid for these C structs.
    let (mut from, mut message): (libc::sockaddr_in6, libc::msghdr) = unsafe { mem::zeroed() };
    let mut part = libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: payload.len() };
    message.msg_name = (&raw mut from).cast();
    message.msg_namelen = mem::size_of_val(&from) as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len() as _;
    // SAFETY: every pointer in `message` is to a live local with the length given beside it.
    let received = unsafe { libc::recvmsg(socket, &raw mut message, 0) };
    let Some(payload) = usize::try_from(received).ok().and_then(|length| payload.get(..length)) else {
        return;
    };
    // SAFETY: the kernel has written `msg_controllen` bytes of well-formed control messages, aligned for cmsghdr; the
    // data of an IPV6_PKTINFO message is an in6_pktinfo.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        if header.is_null() || (*header).cmsg_type != libc::IPV6_PKTINFO {
            return;
        }
        (*libc::CMSG_DATA(header).cast::<libc::in6_pktinfo>()).ipi6_ifindex = 0;
    }
    let client = IpAddr::from(from.sin6_addr.s6_addr).to_canonical();
    let mut answer = Answer { bytes: [0; LONGEST + 128], length: 0 };
    let _ = write!(answer, "{name} client={} ", SocketAddr::new(client, u16::from_be(from.sin6_port)));
    answer.push(payload);
    part = libc::iovec { iov_base: answer.bytes.as_mut_ptr().cast(), iov_len: answer.length };
    message.msg_iov = &raw mut part;
    message.msg_flags = 0;
    // SAFETY: as for recvmsg; `part` covers the bytes of `answer` that have been written.
    unsafe { libc::sendmsg(socket, &raw const message, 0) };
}

/// Text on the stack; what does not fit is cut off.
struct Answer {
    bytes: [u8; LONGEST + 128],
    length: usize,
}

impl Answer {
    fn push(&mut self, more: &[u8]) {
        for (to, from) in self.bytes.iter_mut().skip(self.length).zip(more) {
            *to = *from;
            self.length += 1;
        }
    }
}

impl Write for Answer {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}
