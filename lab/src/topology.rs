//! The plan of the lab's networks: addresses, links and routes.
//!
//! ```text
//! one-armed:   client ----+---- director       two-armed:   client ---- clients' LAN ---- director
//!                         |                                                 |                |
//!                    rs1..rsN                                             router             |
//!                                                                           |                |
//!                                                            rs1..rsN ---- servers' LAN -----+
//! ```
//! The LANs are bridges in the namespace `switch`, which in the two-armed lab is the router as well: through it direct
//! routing and tunnel replies reach the client without the director. Clients and real servers are in different
//! subnets in both labs. A real server replies to clients through the director when the source is its own address
//! (NAT), and directly when it is a virtual address (direct routing, tunnel), so that all methods work at once.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use crate::namespace::Namespace;
use crate::veth;

/// Of the director's legs and the real servers: room for an outer header around a client's full-size packet.
const MTU: u32 = 1600;
/// Of clients.
const CLIENT_MTU: u32 = 1500;
/// Most real servers of one lab.
pub(crate) const MOST_REAL_SERVERS: u8 = 200;

pub(crate) const VIP4: Ipv4Addr = client4(100);
pub(crate) const VIP6: Ipv6Addr = client6(100);
pub(crate) const CLIENT: u8 = 10;
pub(crate) const DIRECTOR: u8 = 2;
/// The router of the two-armed lab.
const ROUTER: u8 = 254;
/// Routing table of a real server for what it sends from its own address to clients.
const NAT_TABLE: u8 = 100;

/// Address in the clients' subnet, 192.0.2.0/24.
pub(crate) const fn client4(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, host)
}

/// Address in the clients' subnet, 2001:db8:1::/64.
pub(crate) const fn client6(host: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, spelled(host))
}

/// Address in the real servers' subnet, 10.0.0.0/24.
pub(crate) const fn server4(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, host)
}

/// Address in the real servers' subnet, 2001:db8:2::/64.
pub(crate) const fn server6(host: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, spelled(host))
}

/// Host part of the address of the real server with this number, from 1.
pub(crate) const fn real_server_host(number: u8) -> u8 {
    CLIENT + number
}

/// The 16 bits whose hexadecimal digits read like the decimal number, so that 10.0.0.11 and 2001:db8:2::11 are one host.
const fn spelled(host: u8) -> u16 {
    let host = host as u16;
    host / 100 * 0x100 + host / 10 % 10 * 0x10 + host % 10
}

const CLIENTS4: &str = "192.0.2.0/24";
const CLIENTS6: &str = "2001:db8:1::/64";
const SERVERS4: &str = "10.0.0.0/24";
const SERVERS6: &str = "2001:db8:2::/64";

/// The namespaces of a lab, to be wired.
pub(crate) struct Sites<'a> {
    pub(crate) switch: &'a Namespace,
    pub(crate) client: &'a Namespace,
    pub(crate) director: &'a Namespace,
    pub(crate) real_servers: Vec<&'a Namespace>,
    pub(crate) two_armed: bool,
}

impl Sites<'_> {
    /// Settings, links, addresses, routes: afterwards packets flow.
    pub(crate) fn wire(&self) -> Result<()> {
        self.settings()?;
        self.switch.ip_batch(&[], &self.switch_script())?;
        self.client.ip_batch(&[], &self.client_script())?;
        self.director.ip_batch(&[], &self.director_script())?;
        for (number, namespace) in (1..).zip(&self.real_servers) {
            namespace.ip_batch(&[], &self.real_server_script(number))?;
            // Rules are IPv4's unless `ip` is told otherwise for the whole batch.
            for (family, script) in reply_scripts(number) {
                namespace.ip_batch(&[family], &script)?;
            }
        }
        self.switch.enter(|| {
            veth::face_xdp("director")?;
            if self.two_armed { veth::face_xdp("director1") } else { Ok(()) }
        })?
    }

    /// Before any interface exists: interfaces inherit from `default`.
    fn settings(&self) -> Result<()> {
        const EVERYWHERE: &[(&str, &str)] = &[
            // Addresses and links are usable at once: no duplicate address detection, no waiting for routers.
            ("ipv6/conf/default/accept_dad", "0"),
            ("ipv6/conf/default/accept_ra", "0"),
            ("ipv6/conf/default/router_solicitations", "0"),
            // Replies that bypass the director, and sources behind another interface, are the point of the lab.
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/default/rp_filter", "0"),
            // A director sends out of the interface a packet came by, and the kernel would teach a shorter way.
            ("ipv4/conf/all/send_redirects", "0"),
            ("ipv4/conf/default/send_redirects", "0"),
            ("ipv4/conf/all/accept_redirects", "0"),
            ("ipv4/conf/default/accept_redirects", "0"),
            ("ipv6/conf/default/accept_redirects", "0"),
        ];
        const FORWARD: &[(&str, &str)] = &[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")];
        // The virtual address is nobody's but the director's, as far as ARP can tell.
        const REAL_SERVER: &[(&str, &str)] =
            &[("ipv4/conf/all/arp_ignore", "1"), ("ipv4/conf/all/arp_announce", "2")];
        let routers = [Some(self.director), self.two_armed.then_some(self.switch)];
        for namespace in [self.switch, self.client, self.director] {
            namespace.sysctl(EVERYWHERE)?;
        }
        for namespace in routers.into_iter().flatten() {
            namespace.sysctl(FORWARD)?;
        }
        for namespace in &self.real_servers {
            namespace.sysctl(&[EVERYWHERE, REAL_SERVER].concat())?;
        }
        Ok(())
    }

    fn switch_script(&self) -> String {
        let mut script = Script::default();
        let bridges: &[&str] = if self.two_armed { &["clients", "servers"] } else { &["servers"] };
        for bridge in bridges {
            // Without a forwarding delay ports carry packets at once; without snooping so does multicast (NDP).
            script.line(format_args!(
                "link add {bridge} type bridge forward_delay 0 stp_state 0 mcast_snooping 0"
            ));
            script.line(format_args!("link set {bridge} mtu {MTU} up"));
        }
        script.cable("client", self.client, "eth0", CLIENT_MTU, bridges[0]);
        script.cable("director", self.director, "eth0", MTU, bridges[0]);
        if self.two_armed {
            script.cable("director1", self.director, "eth1", MTU, "servers");
            script.addresses("clients", client4(ROUTER), client6(ROUTER), true);
            script.addresses("servers", server4(ROUTER), server6(ROUTER), true);
        }
        for (number, namespace) in (1..).zip(&self.real_servers) {
            let number: u8 = number;
            script.cable(&format!("rs{number}"), namespace, "eth0", MTU, "servers");
        }
        script.0
    }

    fn client_script(&self) -> String {
        let mut script = Script::host();
        script.addresses("eth0", client4(CLIENT), client6(CLIENT), true);
        if self.two_armed {
            script.line(format_args!("route add {SERVERS4} via {}", client4(DIRECTOR)));
            script.line(format_args!("route add {SERVERS6} via {}", client6(DIRECTOR)));
        } else {
            script.line(format_args!("route add {SERVERS4} dev eth0"));
            script.line(format_args!("route add {SERVERS6} dev eth0"));
        }
        script.0
    }

    fn director_script(&self) -> String {
        let mut script = Script::host();
        let servers = if self.two_armed { "eth1" } else { "eth0" };
        if self.two_armed {
            script.line(format_args!("link set eth1 up"));
        }
        script.addresses("eth0", client4(DIRECTOR), client6(DIRECTOR), true);
        script.addresses(servers, server4(DIRECTOR), server6(DIRECTOR), true);
        script.addresses("eth0", VIP4, VIP6, false);
        script.0
    }

    fn real_server_script(&self, number: u8) -> String {
        let (own4, own6) = (server4(real_server_host(number)), server6(real_server_host(number)));
        let mut script = Script::host();
        script.addresses("eth0", own4, own6, true);
        script.addresses("lo", VIP4, VIP6, false);
        if self.two_armed {
            script.line(format_args!("route add {CLIENTS4} via {} mtu {CLIENT_MTU}", server4(ROUTER)));
            script.line(format_args!("route add {CLIENTS6} via {} mtu {CLIENT_MTU}", server6(ROUTER)));
        } else {
            script.line(format_args!("route add {CLIENTS4} dev eth0 mtu {CLIENT_MTU}"));
            script.line(format_args!("route add {CLIENTS6} dev eth0 mtu {CLIENT_MTU}"));
        }
        script.0
    }
}

/// Replies from a real server's own address take the way through the director.
fn reply_scripts(number: u8) -> [(&'static str, String); 2] {
    let host = real_server_host(number);
    let script = |clients: &str, own: IpAddr, director: IpAddr| {
        let mut script = Script::default();
        script.line(format_args!("route add {clients} via {director} mtu {CLIENT_MTU} table {NAT_TABLE}"));
        script.line(format_args!("rule add from {own} to {clients} lookup {NAT_TABLE}"));
        script.0
    };
    [
        ("-4", script(CLIENTS4, server4(host).into(), server4(DIRECTOR).into())),
        ("-6", script(CLIENTS6, server6(host).into(), server6(DIRECTOR).into())),
    ]
}

/// Lines for `ip -batch`.
#[derive(Default)]
struct Script(String);

impl Script {
    /// Begins with the interfaces that every host has.
    fn host() -> Self {
        Self("link set lo up\nlink set eth0 up\n".to_owned())
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "{line}");
    }

    /// A veth pair between a port of `bridge` and `interface` of `host`.
    fn cable(&mut self, port: &str, host: &Namespace, interface: &str, mtu: u32, bridge: &str) {
        let host = host.name();
        self.line(format_args!(
            "link add {port} mtu {mtu} type veth peer name {interface} mtu {mtu} netns {host}"
        ));
        self.line(format_args!("link set {port} master {bridge} up"));
    }

    /// One address per family: in its subnet, or of this host alone.
    fn addresses(&mut self, interface: &str, v4: Ipv4Addr, v6: Ipv6Addr, subnet: bool) {
        let (length4, length6) = if subnet { (24, 64) } else { (32, 128) };
        self.line(format_args!("address add {v4}/{length4} dev {interface}"));
        self.line(format_args!("address add {v6}/{length6} dev {interface} nodad"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_addresses_of_a_host_read_alike() {
        assert_eq!(server6(11).to_string(), "2001:db8:2::11");
        assert_eq!(client6(254).to_string(), "2001:db8:1::254");
        assert_eq!(VIP6.to_string(), "2001:db8:1::100");
        assert_eq!(server4(real_server_host(MOST_REAL_SERVERS)), Ipv4Addr::new(10, 0, 0, 210));
    }
}
