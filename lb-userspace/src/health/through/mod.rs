//! Checks through the datapath: to the virtual address on a certain real server, by the forwarding method itself.
//!
//! The host's own stack cannot send such a packet, because the virtual address is the host's. So the sockets of these
//! checks live in a network namespace of their own, behind a veth pair whose outer end has the director's XDP program
//! like any other interface. Before a connection begins, the controller makes its entry in the connection table, which
//! leads to a slot with the real server's next hop, and one for the answers, which leads to the inner end of the pair.
//! So the packets are forwarded by the very code that forwards those of clients.

mod inside;
mod link;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lb_common::datapath::{pin, unpin};
use lb_common::layout::{Address, ConnectionKey};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

use super::{Failure, FailureReason, ServerKey};
use crate::datapath::MappedTables;
use crate::datapath::clock;
use crate::model::{Protocol, ServiceKey};
use inside::{Bound, DEVICE, Inside};
use link::End;

/// How long entries outlive the bound of their check: the last packets of a connection are forwarded, too.
const LINGER: Duration = Duration::from_secs(2);

/// Tries to find a port that no recent check has used.
const PORT_TRIES: usize = 16;

/// Locally administered MAC addresses; they are seen on the pair only.
const OUTER_MAC: [u8; 6] = [0x02, b'l', b'v', b'x', 0, 1];
const INNER_MAC: [u8; 6] = [0x02, b'l', b'v', b'x', 0, 2];

/// Where a real server is reached from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// By the slot, from an address of the director that the real server can answer to.
    Slot {
        /// Slot of the real server for checks.
        slot: u32,
        /// Address of the director on the way; none while there is no next hop.
        source: Option<IpAddr>,
    },
    /// It is the director itself.
    Local,
}

/// The network namespace of the checks.
#[derive(Debug)]
pub struct CheckNetwork {
    inside: Inside,
    outer: String,
    outer_index: u32,
    /// Slot of the answers.
    answers: Mutex<u32>,
    ways: Mutex<BTreeMap<(ServiceKey, ServerKey), Way>>,
    flows: Arc<Flows>,
    open: AtomicBool,
}

/// Entries that were made, and when they are to be taken away.
#[derive(Debug)]
struct Flows {
    tables: Arc<MappedTables>,
    made: Mutex<Made>,
}

#[derive(Debug, Default)]
struct Made {
    entries: Vec<(Instant, Flow)>,
    busy: BTreeSet<(SocketAddr, bool)>,
}

#[derive(Debug, Clone, Copy)]
struct Flow {
    local: SocketAddr,
    tcp: bool,
    keys: [ConnectionKey; 2],
}

fn lock<V>(mutex: &Mutex<V>) -> MutexGuard<'_, V> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Flows {
    fn remove(&self, which: impl Fn(Instant) -> bool) {
        let mut made = lock(&self.made);
        let (gone, kept) =
            std::mem::take(&mut made.entries).into_iter().partition(|(until, _)| which(*until));
        made.entries = kept;
        let gone: Vec<(Instant, Flow)> = gone;
        for (_, flow) in gone {
            made.busy.remove(&(flow.local, flow.tcp));
            for key in &flow.keys {
                unpin(&*self.tables, key);
            }
        }
    }
}

impl CheckNetwork {
    /// Makes the namespace and the pair. The outer end still needs the XDP program, and the answers their slot.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn start(tables: Arc<MappedTables>) -> io::Result<Self> {
        let flows = Arc::new(Flows { tables, made: Mutex::default() });
        let tidied = Arc::clone(&flows);
        let inside = Inside::start(move || {
            let now = Instant::now();
            tidied.remove(|until| until <= now);
        })?;
        // Unique on the host: the process id, in a name of at most 15 bytes.
        let outer = format!("lvxchk{}", std::process::id());
        link::make_pair(
            End { name: &outer, mac: OUTER_MAC },
            End { name: DEVICE, mac: INNER_MAC },
            inside.namespace(),
        )?;
        let outer_index = nix::net::if_::if_nametoindex(outer.as_str()).map_err(io::Error::from)?;
        let network = Self {
            inside,
            outer,
            outer_index,
            answers: Mutex::default(),
            ways: Mutex::default(),
            flows,
            open: AtomicBool::new(true),
        };
        link::bring_up(outer_index, true)?;
        network.inside.prepare()?;
        Ok(network)
    }

    /// Name of the outer end.
    #[must_use]
    pub fn interface(&self) -> &str {
        &self.outer
    }

    /// Index of the outer end.
    #[must_use]
    pub fn ifindex(&self) -> u32 {
        self.outer_index
    }

    /// MAC addresses of the inner and the outer end.
    #[must_use]
    pub fn macs(&self) -> ([u8; 6], [u8; 6]) {
        (INNER_MAC, OUTER_MAC)
    }

    /// Sets the slot of the answers.
    pub fn set_answers(&self, slot: u32) {
        *lock(&self.answers) = slot;
    }

    /// Sets how each real server is reached.
    pub fn set_ways(&self, ways: BTreeMap<(ServiceKey, ServerKey), Way>) {
        *lock(&self.ways) = ways;
    }

    /// Takes the pair and the entries away, while checks may still be under way; they fail. Without it the pair would go
    /// with the namespace, some time after the last socket in it was closed.
    pub fn close(&self) {
        self.flows.remove(|_| true);
        if self.open.swap(false, Ordering::Relaxed)
            && let Err(error) = crate::netlink::remove_link(self.outer_index)
        {
            tracing::warn!(%error, interface = self.outer, "cannot remove the interface of the checks");
        }
    }

    /// Connects to the virtual address on a real server. `bound` is the time after which the check is over.
    ///
    /// # Errors
    ///
    /// [`FailureReason::Unreachable`] while there is no next hop, [`FailureReason::Local`] where the director lacks
    /// something, else what connect(2) said.
    pub async fn connect(&self, to: &Target, bound: Duration) -> Result<TcpStream, Failure> {
        let Some(socket) = self.open(to, true, bound).await? else {
            return TcpStream::connect(to.virtual_address)
                .await
                .map_err(|error| Failure::from_io("connect", &error));
        };
        let socket = TcpSocket::from_std_stream(socket.into());
        socket.connect(to.virtual_address).await.map_err(|error| Failure::from_io("connect", &error))
    }

    /// As [`Self::connect`], with UDP.
    ///
    /// # Errors
    ///
    /// As [`Self::connect`].
    pub async fn udp(&self, to: &Target, bound: Duration) -> Result<UdpSocket, Failure> {
        let failed = |error: io::Error| Failure::from_io("connect", &error);
        let socket = match self.open(to, false, bound).await? {
            Some(socket) => UdpSocket::from_std(socket.into()).map_err(failed)?,
            None => {
                let any = if to.virtual_address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                UdpSocket::bind(any).await.map_err(failed)?
            }
        };
        socket.connect(to.virtual_address).await.map_err(failed)?;
        Ok(socket)
    }

    /// A socket whose packets to the virtual address go to the real server; none where that is the director itself.
    async fn open(
        &self,
        to: &Target,
        tcp: bool,
        bound: Duration,
    ) -> Result<Option<socket2::Socket>, Failure> {
        let way = lock(&self.ways).get(&(to.service, to.server)).cloned();
        let local = |detail: String| Failure::new(FailureReason::Local, detail);
        let (slot, source) = match way {
            Some(Way::Local) => return Ok(None),
            Some(Way::Slot { slot, source }) => (slot, to.source.or(source)),
            None => return Err(local("the datapath is not prepared for this check yet".to_owned())),
        };
        let Some(source) = source else {
            return Err(Failure::new(FailureReason::Unreachable, "no next hop to the real server is known"));
        };
        if source.is_ipv4() != to.virtual_address.is_ipv4() {
            return Err(local(format!(
                "{source} cannot ask for {}: give the check a \"source\" of its family that the real server can answer to",
                to.virtual_address
            )));
        }
        for _ in 0..PORT_TRIES {
            let opened = self.inside.open(source, tcp).await;
            let Bound { socket, local: from } =
                opened.map_err(|error| local(format!("socket on {source}: {error}")))?;
            if lock(&self.flows.made).busy.contains(&(from, tcp)) {
                continue;
            }
            let protocol = if tcp { Protocol::Tcp } else { Protocol::Udp }.number();
            let keys = [key(from, to.virtual_address, protocol), key(to.virtual_address, from, protocol)];
            let answers = *lock(&self.answers);
            let flow = Flow { local: from, tcp, keys };
            {
                let mut made = lock(&self.flows.made);
                made.busy.insert((from, tcp));
                made.entries.push((Instant::now() + bound + LINGER, flow));
            }
            for (key, slot) in keys.iter().zip([slot, answers]) {
                if !pin(&*self.flows.tables, key, slot, clock::stamp()) {
                    return Err(local("the connection table is full".to_owned()));
                }
            }
            return Ok(Some(socket));
        }
        Err(local(format!("no free port on {source}")))
    }
}

impl Drop for CheckNetwork {
    fn drop(&mut self) {
        self.close();
    }
}

/// Whom a check through the datapath asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Virtual service.
    pub service: ServiceKey,
    /// Real server.
    pub server: ServerKey,
    /// Virtual address, and the port that is asked.
    pub virtual_address: SocketAddr,
    /// Address to ask from, where the configuration says so.
    pub source: Option<IpAddr>,
}

fn key(from: SocketAddr, to: SocketAddr, protocol: u8) -> ConnectionKey {
    let ports = u32::from(from.port().to_be()) | (u32::from(to.port().to_be()) << 16);
    ConnectionKey::new(Address::from(from.ip()), Address::from(to.ip()), ports, protocol)
}
