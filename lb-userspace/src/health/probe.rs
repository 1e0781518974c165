//! Where a run of a check connects to, and from where.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream, UdpSocket};

use super::through::{CheckNetwork, Target};
use super::{Failure, FailureReason};
use crate::model::ServiceKey;

/// One run of a check.
#[derive(Debug, Clone)]
pub struct Probe {
    /// Where to connect to.
    pub endpoint: SocketAddr,
    /// From where.
    pub origin: Origin,
    /// Bound for the run; who runs it ends it then, and the checker only has to leave nothing behind when it is dropped.
    pub timeout: Duration,
    /// The way through the datapath, for a check that takes it.
    pub through: Option<Through>,
    /// Virtual service that the check is for.
    pub service: ServiceKey,
    /// Real server that the check is for.
    pub real_server: SocketAddr,
    /// Configured weight of the real server.
    pub weight: u32,
}

/// The way to the virtual address on a certain real server.
#[derive(Debug, Clone)]
pub struct Through {
    /// Where the sockets are.
    pub network: Arc<CheckNetwork>,
    /// Whom they ask.
    pub target: Target,
}

/// Where connections come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// Address to connect from.
    pub source: Option<IpAddr>,
    /// Interface to connect through.
    pub interface: Option<String>,
    /// Mark of the packets.
    pub mark: Option<u32>,
}

impl Probe {
    /// Connects to the endpoint.
    ///
    /// # Errors
    ///
    /// [`FailureReason::Local`] where the socket cannot be made, else what connect(2) said.
    pub async fn connect(&self) -> Result<TcpStream, Failure> {
        match &self.through {
            Some(through) => through.network.connect(&through.target, self.timeout).await,
            None => self.connect_to(self.endpoint).await,
        }
    }

    /// Connects to another endpoint than the probe's own, from the same origin.
    ///
    /// # Errors
    ///
    /// As [`Self::connect`].
    pub async fn connect_to(&self, endpoint: SocketAddr) -> Result<TcpStream, Failure> {
        let local = |error: io::Error| Failure::new(FailureReason::Local, format!("socket: {error}"));
        let socket =
            if endpoint.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(local)?;
        self.origin.apply(&socket).map_err(local)?;
        if let Some(source) = self.origin.source {
            socket.bind(SocketAddr::new(source, 0)).map_err(local)?;
        }
        socket.connect(endpoint).await.map_err(|error| Failure::from_io("connect", &error))
    }

    /// A UDP socket connected to the endpoint, so that ICMP errors come back as errors of the socket.
    ///
    /// # Errors
    ///
    /// As [`Self::connect`].
    pub async fn udp(&self) -> Result<UdpSocket, Failure> {
        if let Some(through) = &self.through {
            return through.network.udp(&through.target, self.timeout).await;
        }
        let local = |error: io::Error| Failure::new(FailureReason::Local, format!("socket: {error}"));
        let any = match self.endpoint {
            SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        };
        let source = SocketAddr::new(self.origin.source.unwrap_or(any), 0);
        let socket = UdpSocket::bind(source).await.map_err(local)?;
        self.origin.apply(&socket).map_err(local)?;
        socket.connect(self.endpoint).await.map_err(|error| Failure::from_io("connect", &error))?;
        Ok(socket)
    }
}

impl Origin {
    /// Sets interface and mark of a socket.
    ///
    /// # Errors
    ///
    /// The kernel's answer to setsockopt(2), such as `EPERM` or `ENODEV`.
    pub fn apply(&self, socket: &impl std::os::fd::AsFd) -> io::Result<()> {
        let socket = socket2::SockRef::from(socket);
        if let Some(interface) = &self.interface {
            socket.bind_device(Some(interface.as_bytes()))?;
        }
        if let Some(mark) = self.mark {
            socket.set_mark(mark)?;
        }
        Ok(())
    }
}
