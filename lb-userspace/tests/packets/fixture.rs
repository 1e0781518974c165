//! The configuration that every row runs against.
//!
//! Each purpose has a virtual service for IPv4 and IPv6, TCP and UDP, with one real server of its own, so that a row
//! can say who must get the packet. Each scheduler has services with three real servers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use lb_common::layout::{
    Address, Geometry, Method, NextHop, RealServerFields, SchedulerKind, ServiceFields, ServiceKey,
};
use lb_userspace::datapath::Sizes;

use super::frames::{Packet, SYN, Transport};
pub(crate) use super::network::{EAST, INGRESS, ROUTES, WEST, gateway_mac, own_mac, route, server_mac};

/// MTU of real servers' interfaces, and that of [`Purpose::SmallTunnel`]'s.
pub(crate) const MTU: u16 = 1500;
pub(crate) const SMALL_MTU: u16 = 1280;

/// Places: 16 established buckets of eight, two half-open ones.
pub(crate) const ESTABLISHED_PLACES: usize = 128;
pub(crate) const HALF_OPEN_PLACES: usize = 16;

/// Sizes of the tables; small, so that rows can fill them.
pub(crate) const SIZES: Sizes = Sizes {
    geometry: Geometry { established_mask: 15, embryonic_mask: 1, seed: 0x5eed_5eed_5eed_5eed },
    services: 512,
    real_servers: 512,
    scheduler_slots: 8192,
};

/// What the only real server of a service is there for; the service's port is 8000 plus the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Purpose {
    Direct,
    /// Tunnel to a server of the client's family.
    Tunnel,
    /// Tunnel to a server of the other family.
    TunnelAcross,
    /// Tunnel through an interface of [`SMALL_MTU`].
    SmallTunnel,
    /// NAT to another port.
    Nat,
    /// NAT that keeps the port.
    NatSamePort,
    /// NAT to a real server behind [`EAST`].
    NatEast,
    /// The director itself.
    Local,
    /// No real server at all.
    Empty,
    /// Direct routing, next hop unknown, known to the kernel.
    KernelRoute,
    TunnelKernelRoute,
    NatKernelRoute,
    /// Direct routing, next hop unknown to both.
    NoRoute,
    TunnelNoRoute,
    NatNoRoute,
    /// Direct routing through another interface.
    East,
    TunnelEast,
    /// Direct routing through an interface that is not attached.
    West,
}

impl Purpose {
    pub(crate) fn is_nat(self) -> bool {
        matches!(
            self,
            Self::Nat | Self::NatSamePort | Self::NatEast | Self::NatKernelRoute | Self::NatNoRoute
        )
    }
}

const PURPOSES: [Purpose; 18] = [
    Purpose::Direct,
    Purpose::Tunnel,
    Purpose::TunnelAcross,
    Purpose::SmallTunnel,
    Purpose::Nat,
    Purpose::NatSamePort,
    Purpose::NatEast,
    Purpose::Local,
    Purpose::Empty,
    Purpose::KernelRoute,
    Purpose::TunnelKernelRoute,
    Purpose::NatKernelRoute,
    Purpose::NoRoute,
    Purpose::TunnelNoRoute,
    Purpose::NatNoRoute,
    Purpose::East,
    Purpose::TunnelEast,
    Purpose::West,
];

/// A scheduler with three real servers, all reached by direct routing; the service's port is 9000 plus the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Scheduler {
    Rr,
    /// Weights 3, 1, 2 in IPVS's order.
    Wrr,
    Sh,
    ShPort,
    Mh,
    MhPort,
    /// Equal weights.
    Lc,
    /// Weights 1, 2, 0.
    Wlc,
    /// As before.
    Sed,
    /// As before.
    Nq,
    /// As before.
    Ovf,
    Dh,
}

const SCHEDULERS: [Scheduler; 12] = [
    Scheduler::Rr,
    Scheduler::Wrr,
    Scheduler::Sh,
    Scheduler::ShPort,
    Scheduler::Mh,
    Scheduler::MhPort,
    Scheduler::Lc,
    Scheduler::Wlc,
    Scheduler::Sed,
    Scheduler::Nq,
    Scheduler::Ovf,
    Scheduler::Dh,
];

/// Address family and transport of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) ipv4: bool,
    pub(crate) tcp: bool,
}

pub(crate) const TCP4: Kind = Kind { ipv4: true, tcp: true };
pub(crate) const UDP4: Kind = Kind { ipv4: true, tcp: false };
pub(crate) const TCP6: Kind = Kind { ipv4: false, tcp: true };
pub(crate) const UDP6: Kind = Kind { ipv4: false, tcp: false };
pub(crate) const KINDS: [Kind; 4] = [TCP4, UDP4, TCP6, UDP6];

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", if self.tcp { "TCP" } else { "UDP" }, if self.ipv4 { 4 } else { 6 })
    }
}

impl Kind {
    fn number(self) -> u32 {
        u32::from(!self.tcp) + 2 * u32::from(!self.ipv4)
    }

    pub(crate) fn protocol(self) -> u8 {
        if self.tcp { 6 } else { 17 }
    }

    fn pick<V>(self, ipv4: V, ipv6: V) -> V {
        if self.ipv4 { ipv4 } else { ipv6 }
    }

    /// A client; `net` 0 is routed through [`INGRESS`], 1 through [`EAST`], 2 through [`WEST`], 3 nowhere.
    pub(crate) fn client_in(self, net: u8, host: u8) -> SocketAddr {
        let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0xc, net.into(), 0, 0, 0, host.into());
        SocketAddr::new(self.pick(Ipv4Addr::new(198, 18, net, host).into(), v6.into()), 40_000)
    }

    pub(crate) fn client(self, host: u8) -> SocketAddr {
        self.client_in(0, host)
    }

    /// The virtual address of every purpose and scheduler.
    pub(crate) fn vip(self) -> IpAddr {
        self.pick(Ipv4Addr::new(192, 0, 2, 10).into(), Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 10).into())
    }

    /// A virtual address whose only service takes every port, by direct routing to [`Self::any_port_slot`].
    pub(crate) fn any_port_vip(self) -> IpAddr {
        self.pick(Ipv4Addr::new(192, 0, 2, 11).into(), Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 11).into())
    }

    pub(crate) fn any_port_slot(self) -> u32 {
        self.number() * 30 + 29
    }

    /// A virtual address that accepts nothing but what its service takes: port 8000, to [`Self::closed_slot`].
    pub(crate) fn closed_vip(self) -> IpAddr {
        self.pick(Ipv4Addr::new(192, 0, 2, 12).into(), Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 12).into())
    }

    pub(crate) fn closed_slot(self) -> u32 {
        self.number() * 30 + 28
    }

    /// Another one, whose service takes every port, but TCP only, to [`Self::half_closed_slot`].
    pub(crate) fn half_closed_vip(self) -> IpAddr {
        self.pick(Ipv4Addr::new(192, 0, 2, 13).into(), Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 13).into())
    }

    pub(crate) fn half_closed_slot(self) -> u32 {
        self.number() * 30 + 27
    }

    /// The numbers of these addresses' own records.
    pub(crate) fn refusals(self) -> [u32; 2] {
        let first = SIZES.services + if self.ipv4 { 0 } else { 2 };
        [first, first + 1]
    }

    /// An address of the director, from which its tunnels start.
    pub(crate) fn director(self) -> IpAddr {
        self.pick(Ipv4Addr::new(10, 0, 0, 1).into(), Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1).into())
    }

    pub(crate) fn service(self, purpose: Purpose) -> SocketAddr {
        SocketAddr::new(self.vip(), 8000 + purpose as u16)
    }

    pub(crate) fn scheduled(self, scheduler: Scheduler) -> SocketAddr {
        SocketAddr::new(self.vip(), 9000 + scheduler as u16)
    }

    pub(crate) fn slot(self, purpose: Purpose) -> u32 {
        1 + self.number() * 30 + purpose as u32
    }

    /// Slots of a scheduler's three real servers.
    pub(crate) fn slots(self, scheduler: Scheduler) -> [u32; 3] {
        let first = 200 + self.number() * 40 + 3 * scheduler as u32;
        [first, first + 1, first + 2]
    }

    /// The real server's address, and for NAT its port.
    pub(crate) fn server(self, purpose: Purpose) -> SocketAddr {
        let port = if purpose == Purpose::NatSamePort { 8000 } else { 18_000 } + purpose as u16;
        let across = matches!(purpose, Purpose::TunnelAcross);
        let kind = Kind { ipv4: self.ipv4 != across, ..self };
        // Those that the kernel has to find are in a network that it has a route to.
        let routed =
            matches!(purpose, Purpose::KernelRoute | Purpose::TunnelKernelRoute | Purpose::NatKernelRoute);
        let (host, net) = (self.slot(purpose) as u8, u16::from(routed));
        let v6 = Ipv6Addr::new(0xfd01, net, 0, 0, 0, 0, 0, host.into());
        SocketAddr::new(kind.pick(Ipv4Addr::new(10, 1, net as u8, host).into(), v6.into()), port)
    }

    /// A first packet from client 1 to the service: a SYN, or a datagram.
    pub(crate) fn request(self, to: SocketAddr) -> Packet {
        Packet::new(self.transport(SYN), self.client(1), to)
    }

    /// TCP with these flags, or UDP.
    pub(crate) fn transport(self, flags: u8) -> Transport {
        if self.tcp { Transport::Tcp(flags) } else { Transport::Udp }
    }
}

/// A service as it is written into the maps.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) id: u32,
    pub(crate) key: ServiceKey,
    pub(crate) fields: ServiceFields,
    pub(crate) table: Vec<u32>,
}

/// Services and real servers as they are written into the maps.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fixture {
    pub(crate) services: Vec<Service>,
    pub(crate) servers: Vec<(u32, RealServerFields)>,
    /// Addresses that accept nothing but what services take; the numbers of their records follow those of the services.
    pub(crate) refused: Vec<(u32, IpAddr)>,
}

impl Fixture {
    /// Everything described above.
    pub(crate) fn standard() -> Self {
        let mut fixture = Self::default();
        for kind in KINDS {
            for purpose in PURPOSES {
                let slot = kind.slot(purpose);
                let table = if purpose == Purpose::Empty { vec![] } else { vec![slot] };
                if purpose != Purpose::Empty {
                    fixture.servers.push((slot, server_fields(kind, purpose)));
                }
                fixture.add(kind, kind.service(purpose), slot, SchedulerKind::Turn, table);
            }
            let server = server_fields(kind, Purpose::Direct);
            let mut alone = |address, port, slot| {
                let next_hop = Some(known_hop(slot, INGRESS, MTU));
                fixture.servers.push((slot, RealServerFields { next_hop, ..server }));
                fixture.add(kind, SocketAddr::new(address, port), slot, SchedulerKind::Turn, vec![slot]);
            };
            alone(kind.any_port_vip(), 0, kind.any_port_slot());
            alone(kind.closed_vip(), 8000, kind.closed_slot());
            if kind.tcp {
                alone(kind.half_closed_vip(), 0, kind.half_closed_slot());
                let [closed, half_closed] = kind.refusals();
                fixture.refused.push((closed, kind.closed_vip()));
                fixture.refused.push((half_closed, kind.half_closed_vip()));
            }
            for scheduler in SCHEDULERS {
                let slots = kind.slots(scheduler);
                for slot in slots {
                    let next_hop = Some(known_hop(slot, INGRESS, MTU));
                    fixture.servers.push((slot, RealServerFields { next_hop, ..server }));
                }
                let (used_as, table) = table(scheduler, slots);
                fixture.add(kind, kind.scheduled(scheduler), slots[0], used_as, table);
            }
        }
        fixture
    }

    fn add(&mut self, kind: Kind, to: SocketAddr, id: u32, scheduler: SchedulerKind, table: Vec<u32>) {
        // Ranges start at even places, one behind the other.
        let offset =
            |service: &Service| service.fields.table_offset + service.fields.table_length.next_multiple_of(2);
        let fields = ServiceFields {
            table_offset: self.services.last().map_or(0, offset),
            table_length: table.len() as u32,
            scheduler,
        };
        let key = ServiceKey::new(Address::from(to.ip()), to.port().to_be(), kind.protocol());
        self.services.push(Service { id, key, fields, table });
    }
}

fn known_hop(slot: u32, ifindex: u32, mtu: u16) -> NextHop {
    NextHop { ifindex, destination_mac: server_mac(slot), source_mac: own_mac(ifindex), mtu }
}

fn server_fields(kind: Kind, purpose: Purpose) -> RealServerFields {
    let slot = kind.slot(purpose);
    let address = kind.server(purpose);
    let (method, ifindex) = match purpose {
        Purpose::Direct | Purpose::Empty => (Method::DirectRouting, INGRESS),
        Purpose::Tunnel | Purpose::TunnelAcross | Purpose::SmallTunnel => (Method::Tunnel, INGRESS),
        Purpose::Nat | Purpose::NatSamePort => (Method::Nat, INGRESS),
        Purpose::NatEast => (Method::Nat, EAST),
        Purpose::Local => (Method::Local, 0),
        Purpose::KernelRoute | Purpose::NoRoute => (Method::DirectRouting, 0),
        Purpose::TunnelKernelRoute | Purpose::TunnelNoRoute => (Method::Tunnel, 0),
        Purpose::NatKernelRoute | Purpose::NatNoRoute => (Method::Nat, 0),
        Purpose::East => (Method::DirectRouting, EAST),
        Purpose::TunnelEast => (Method::Tunnel, EAST),
        Purpose::West => (Method::DirectRouting, WEST),
    };
    let mtu = if purpose == Purpose::SmallTunnel { SMALL_MTU } else { MTU };
    let outer = Kind { ipv4: address.is_ipv4(), ..kind };
    let nat = method == Method::Nat;
    let mapped = nat && purpose != Purpose::NatSamePort;
    let source = match method {
        Method::Tunnel => Address::from(outer.director()),
        Method::Nat => Address::from(kind.vip()),
        _ => Address::default(),
    };
    RealServerFields {
        method,
        address: Address::from(address.ip()),
        port: if mapped { address.port().to_be() } else { 0 },
        source,
        virtual_port: if mapped { kind.service(purpose).port().to_be() } else { 0 },
        service: slot,
        next_hop: (ifindex != 0).then(|| known_hop(slot, ifindex, mtu)),
    }
}

/// A scheduler's table. The hash schedulers' places are dealt to the three servers in turn, so that a row can tell from
/// the place who is meant.
fn table(scheduler: Scheduler, [a, b, c]: [u32; 3]) -> (SchedulerKind, Vec<u32>) {
    let dealt = |places: usize| [a, b, c].into_iter().cycle().take(places).collect();
    match scheduler {
        Scheduler::Rr => (SchedulerKind::Turn, vec![a, b, c]),
        Scheduler::Wrr => (SchedulerKind::Turn, vec![a, a, c, a, b, c]),
        Scheduler::Sh => (SchedulerKind::SourceHash, dealt(256)),
        Scheduler::ShPort => (SchedulerKind::SourceHashPort, dealt(256)),
        Scheduler::Mh => (SchedulerKind::Maglev, dealt(251)),
        Scheduler::MhPort => (SchedulerKind::MaglevPort, dealt(251)),
        Scheduler::Lc => (SchedulerKind::LeastLoad, vec![a, 1, b, 1, c, 1]),
        Scheduler::Wlc => (SchedulerKind::LeastLoad, vec![a, 1, b, 2, c, 0]),
        Scheduler::Sed => (SchedulerKind::ShortestDelay, vec![a, 1, b, 2, c, 0]),
        Scheduler::Nq => (SchedulerKind::NeverQueue, vec![a, 1, b, 2, c, 0]),
        Scheduler::Ovf => (SchedulerKind::Overflow, vec![a, 1, b, 2, c, 0]),
        Scheduler::Dh => (SchedulerKind::DestinationHash, dealt(256)),
    }
}
