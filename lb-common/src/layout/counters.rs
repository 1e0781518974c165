//! Counters, and the reasons that name them.

use core::sync::atomic::AtomicU64;

use crate::atomic::{add_local, load};

macro_rules! reasons {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $label:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// Every value, in the order of the counters.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The metric label.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }
        }
    };
}

reasons! {
    /// Why a packet goes to the host's own stack.
    PassReason {
        /// Neither IPv4 nor IPv6, such as ARP.
        NotIp = "not_ip",
        /// Neither TCP nor UDP, such as ICMP.
        NotTcpUdp = "not_tcp_udp",
        /// Headers cut short, lengths that contradict each other, addresses that belong on no wire; the host's stack
        /// judges.
        Malformed = "malformed",
        /// A fragment.
        Fragment = "fragment",
        /// No virtual service at the destination.
        NoService = "no_service",
        /// A TCP packet to a service that neither begins a connection nor belongs to one; the stack answers with RST.
        NoConnection = "no_connection",
        /// The real server is the director itself.
        Local = "local",
        /// A reply that was translated but has no known next hop; the host's routing takes it on.
        ReplyUnrouted = "reply_unrouted",
        /// An IPv6 extension header chain that is too long to follow.
        ExtensionHeaders = "extension_headers",
        /// Another director serves the virtual address at the moment.
        Standby = "standby",
    }
}

reasons! {
    /// Why a packet is dropped.
    DropReason {
        /// The service has no real server that takes connections.
        NoRealServer = "no_real_server",
        /// The real server of the connection was removed a moment ago; the sweep ends the entry.
        RemovedRealServer = "removed_real_server",
        /// The next hop of the real server is not known.
        NoNextHop = "no_next_hop",
        /// TTL or hop limit used up.
        TtlExceeded = "ttl_exceeded",
        /// Too large for the MTU once encapsulated.
        TooLarge = "too_large",
        /// The frame has no room for an outer header.
        NoHeadroom = "no_headroom",
        /// No room in the connection table; counted, never silent.
        TableFull = "table_full",
        /// The tagged frame would leave by another interface.
        VlanCrossing = "vlan_crossing",
        /// The way out is an interface that the configuration does not name.
        InterfaceNotAttached = "interface_not_attached",
        /// No virtual service takes it, and the virtual address accepts nothing else.
        NotAccepted = "not_accepted",
        /// The tables contradict each other; a defect of LVX.
        Internal = "internal",
    }
}

reasons! {
    /// Things worth counting that are no verdict.
    Event {
        /// A connection entry made.
        ConnectionCreated = "connection_created",
        /// A half-open connection became established.
        ConnectionPromoted = "connection_promoted",
        /// A live established entry gave way to a new one because its buckets were full.
        EstablishedEvicted = "established_evicted",
        /// A half-open entry gave way to a new one.
        EmbryonicEvicted = "embryonic_evicted",
        /// An entry was given up because its real server is gone.
        StaleEntry = "stale_entry",
        /// A SYN on a closing connection began a new one.
        Reused = "reused",
        /// The next hop came from the kernel's routing table instead of the real server's slot.
        FibLookup = "fib_lookup",
    }
}

/// A counter of the datapath: any of the reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counter(u32);

impl Counter {
    const DROPS: u32 = PassReason::ALL.len() as u32;
    const EVENTS: u32 = Self::DROPS + DropReason::ALL.len() as u32;
    /// Number of counters.
    pub const COUNT: u32 = Self::EVENTS + Event::ALL.len() as u32;

    /// Position in the counter array.
    #[inline(always)]
    #[must_use]
    pub const fn index(self) -> u32 {
        self.0
    }
}

impl From<PassReason> for Counter {
    #[inline(always)]
    fn from(reason: PassReason) -> Self {
        Self(reason as u32)
    }
}

impl From<DropReason> for Counter {
    #[inline(always)]
    fn from(reason: DropReason) -> Self {
        Self(Self::DROPS + reason as u32)
    }
}

impl From<Event> for Counter {
    #[inline(always)]
    fn from(event: Event) -> Self {
        Self(Self::EVENTS + event as u32)
    }
}

/// Traffic of one real server on one CPU, one cache line; only that CPU writes it.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct Traffic {
    words: [AtomicU64; 8],
}

const _: () = assert!(size_of::<Traffic>() == 64);

/// [`Traffic`] read out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TrafficCounts {
    /// Connections scheduled.
    pub connections: u64,
    /// Packets from clients.
    pub in_packets: u64,
    /// Bytes from clients, from the IP header on.
    pub in_bytes: u64,
    /// Packets to clients (NAT).
    pub out_packets: u64,
    /// Bytes to clients (NAT).
    pub out_bytes: u64,
    /// Connections that the real server refused: its answer to the SYN was a reset (NAT).
    pub refused: u64,
    /// Half-open connections that expired without an answer of the real server; without NAT, where its answers pass
    /// elsewhere, all half-open connections that expired.
    pub unanswered: u64,
}

impl Traffic {
    /// Counts a packet from a client.
    #[inline(always)]
    pub fn inward(&self, bytes: u64) {
        let [_, packets, total, ..] = &self.words;
        add_local(packets, 1);
        add_local(total, bytes);
    }

    /// Counts a packet to a client.
    #[inline(always)]
    pub fn outward(&self, bytes: u64) {
        let [_, _, _, packets, total, ..] = &self.words;
        add_local(packets, 1);
        add_local(total, bytes);
    }

    /// Counts a connection.
    #[inline(always)]
    pub fn connection(&self) {
        let [connections, ..] = &self.words;
        add_local(connections, 1);
    }

    /// Counts a connection that the real server refused.
    #[inline(always)]
    pub fn refused(&self) {
        let [_, _, _, _, _, refused, ..] = &self.words;
        add_local(refused, 1);
    }

    /// Counts a half-open connection that expired. Only the sweep calls it, never a packet.
    pub fn unanswered(&self) {
        let [_, _, _, _, _, _, unanswered, _] = &self.words;
        add_local(unanswered, 1);
    }

    /// Reads the counters; the values belong to slightly different moments.
    #[must_use]
    pub fn read(&self) -> TrafficCounts {
        let [connections, in_packets, in_bytes, out_packets, out_bytes, refused, unanswered, _] = &self.words;
        TrafficCounts {
            connections: load(connections),
            in_packets: load(in_packets),
            in_bytes: load(in_bytes),
            out_packets: load(out_packets),
            out_bytes: load(out_bytes),
            refused: load(refused),
            unanswered: load(unanswered),
        }
    }

    /// Sets all counters to zero, before the slot is given to another real server.
    pub fn clear(&self) {
        for word in &self.words {
            crate::atomic::store(word, 0);
        }
    }
}
