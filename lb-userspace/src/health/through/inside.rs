//! The thread that lives in the network namespace of the checks and opens their sockets there.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use netlink_packet_route::AddressFamily;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::oneshot;

use super::link;

/// Name of the device in the namespace.
pub(super) const DEVICE: &str = "check0";

/// A socket that is bound and connected to nothing yet.
pub(super) struct Bound {
    pub(super) socket: Socket,
    pub(super) local: SocketAddr,
}

enum Order {
    /// Make the device ready.
    Prepare(Sender<io::Result<()>>),
    /// Open a socket on this address, for TCP or else UDP.
    Open(IpAddr, bool, oneshot::Sender<io::Result<Bound>>),
}

/// The thread.
#[derive(Debug)]
pub(super) struct Inside {
    orders: Sender<Order>,
    namespace: File,
}

impl Inside {
    /// Starts the thread in a network namespace of its own. `tidy` is called from it once a second.
    pub(super) fn start(tidy: impl Fn() + Send + 'static) -> io::Result<Self> {
        let (orders, received) = channel();
        let (opened, namespace) = channel();
        std::thread::Builder::new().name("lvx-check-net".to_owned()).spawn(move || {
            let entered = enter();
            let ready = entered.is_ok();
            // The starter waits for it.
            let _ = opened.send(entered);
            if ready {
                serve(&received, tidy);
            }
        })?;
        let namespace = namespace.recv().map_err(|_| io::Error::other("the thread ended"))??;
        Ok(Self { orders, namespace })
    }

    /// The namespace.
    pub(super) fn namespace(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }

    /// Makes the device ready, after it was put into the namespace. Blocks for a moment.
    pub(super) fn prepare(&self) -> io::Result<()> {
        let (done, answer) = channel();
        self.orders.send(Order::Prepare(done)).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?
    }

    /// Opens a socket on `source` and a free port.
    pub(super) async fn open(&self, source: IpAddr, tcp: bool) -> io::Result<Bound> {
        let (done, answer) = oneshot::channel();
        self.orders.send(Order::Open(source, tcp, done)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

fn gone() -> io::Error {
    io::Error::other("the thread of the check network has ended")
}

/// Moves the calling thread into a new network namespace and returns a handle of it.
fn enter() -> io::Result<File> {
    // SAFETY: no pointers; only the calling thread is moved.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return Err(io::Error::last_os_error());
    }
    File::open("/proc/thread-self/ns/net")
}

fn serve(orders: &Receiver<Order>, tidy: impl Fn()) {
    let mut addresses = BTreeSet::new();
    loop {
        match orders.recv_timeout(Duration::from_secs(1)) {
            // Whoever asked may have been cancelled meanwhile.
            Ok(Order::Prepare(done)) => drop(done.send(prepare())),
            Ok(Order::Open(source, tcp, done)) => drop(done.send(open(source, tcp, &mut addresses))),
            Err(RecvTimeoutError::Timeout) => tidy(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn prepare() -> io::Result<()> {
    let index = index()?;
    // In this order: a veth end tells its peer that it takes redirected packets only when GRO is set while it is up.
    link::bring_up(index, false)?;
    link::face_xdp(DEVICE)?;
    link::add_default_route(index, AddressFamily::Inet)?;
    // A host without IPv6 has nothing to check over it.
    if let Err(error) = link::add_default_route(index, AddressFamily::Inet6) {
        tracing::debug!(%error, "no IPv6 for checks through the datapath");
    }
    Ok(())
}

fn index() -> io::Result<u32> {
    nix::net::if_::if_nametoindex(DEVICE).map_err(io::Error::from)
}

fn open(source: IpAddr, tcp: bool, addresses: &mut BTreeSet<IpAddr>) -> io::Result<Bound> {
    if !addresses.contains(&source) {
        let longest = if source.is_ipv4() { 32 } else { 128 };
        crate::netlink::add_address(index()?, source, longest)?;
        addresses.insert(source);
    }
    let (kind, protocol) = if tcp { (Type::STREAM, Protocol::TCP) } else { (Type::DGRAM, Protocol::UDP) };
    let domain = if source.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, kind.nonblocking(), Some(protocol))?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    let local = socket.local_addr()?.as_socket().ok_or_else(|| io::Error::other("no address"))?;
    Ok(Bound { socket, local })
}
