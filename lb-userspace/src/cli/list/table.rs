//! The tables of `ipvsadm -Ln`, column for column, as a pure function of what the daemon tells.
//!
//! Scripts cut these tables at columns and split them at spaces, so the widths are those of ipvsadm 1.31 (recorded in
//! `tests/golden/list`). Only the first line differs: it names LVX and the size of its connection table.

use std::fmt::Write;
use std::net::SocketAddr;

use crate::control::snapshot::{ConnectionStatus, Rates, RealServerStatus, ServiceStatus, Snapshot, Traffic};
use crate::model::{ForwardingMethod, Protocol};

/// What is shown of a service and its real servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Columns {
    /// Forwarding method, weight, active and inactive connections (`ipvsadm -Ln`).
    #[default]
    Weights,
    /// Counters (`ipvsadm -Ln --stats`).
    Stats,
    /// Rates (`ipvsadm -Ln --rate`).
    Rate,
}

/// How [`services_table`] prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TableFormat {
    /// What is shown.
    pub columns: Columns,
    /// Counters in full instead of `K`, `M`, `G`, `T`.
    pub exact: bool,
    /// Sorted as ipvsadm does it instead of in the order of the configuration.
    pub sort: bool,
}

/// The first two lines of the table of connection entries.
pub const CONNECTIONS_HEADER: &str = "IPVS connection entries\n\
    pro expire state       source             virtual            destination\n";

/// The table of services and real servers.
#[must_use]
pub fn services_table(snapshot: &Snapshot, format: TableFormat) -> String {
    let mut out = Table { text: String::new(), exact: format.exact };
    let size =
        snapshot.tables.iter().find(|table| table.name == "connections").map_or(0, |table| table.capacity);
    out.line(format_args!("LVX version {} (size={size})", snapshot.version));
    out.header(format.columns);

    let mut services: Vec<&ServiceStatus> = snapshot.services.iter().collect();
    if format.sort {
        services.sort_by_key(|service| {
            let key = service.key;
            (key.address.is_ipv6(), key.protocol.number(), key.address, key.port)
        });
    }
    for service in services {
        out.service(service, format.columns);
        let mut real_servers: Vec<&RealServerStatus> = service.real_servers.iter().collect();
        if format.sort {
            real_servers.sort_by_key(|real_server| real_server.address);
        }
        for real_server in real_servers {
            out.real_server(real_server, format.columns);
        }
    }
    out.text
}

/// One line of the table of connection entries, newline included.
#[must_use]
pub fn connection_line(connection: &ConnectionStatus) -> String {
    let expire = format!("{:02}:{:02}", connection.expires_in / 60, connection.expires_in % 60);
    format!(
        "{:<3} {expire:<6} {:<11} {:<18} {:<18} {}\n",
        protocol_name(connection.protocol),
        connection.state,
        address_text(connection.client),
        address_text(connection.virtual_address),
        address_text(connection.real_server),
    )
}

fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
    }
}

/// `a.b.c.d:port` or `[address]:port`, without a zone.
fn address_text(address: SocketAddr) -> String {
    SocketAddr::new(address.ip(), address.port()).to_string()
}

fn forward_name(real_server: &RealServerStatus) -> &'static str {
    match real_server.forwarding {
        _ if real_server.local => "Local",
        ForwardingMethod::Dr => "Route",
        ForwardingMethod::Tunnel => "Tunnel",
        ForwardingMethod::Nat => "Masq",
    }
}

struct Table {
    text: String,
    exact: bool,
}

impl Table {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{line}");
    }

    fn header(&mut self, columns: Columns) {
        self.text.push_str(match columns {
            Columns::Weights => {
                "Prot LocalAddress:Port Scheduler Flags\n  \
                 -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n"
            }
            Columns::Stats => {
                "Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes\n  \
                 -> RemoteAddress:Port\n"
            }
            Columns::Rate => {
                "Prot LocalAddress:Port                 CPS    InPPS   OutPPS    InBPS   OutBPS\n  \
                 -> RemoteAddress:Port\n"
            }
        });
    }

    fn service(&mut self, service: &ServiceStatus, columns: Columns) {
        let address = SocketAddr::new(service.key.address, service.key.port);
        let name = format!("{:<4} {address}", protocol_name(service.key.protocol));
        match columns {
            Columns::Weights if service.flags.is_empty() => {
                self.line(format_args!("{name} {}", service.scheduler));
            }
            Columns::Weights => {
                self.line(format_args!("{name} {} ({})", service.scheduler, service.flags.join(",")));
            }
            Columns::Stats => self.numbers(&name, service.traffic.into()),
            Columns::Rate => self.numbers(&name, service.rates.into()),
        }
    }

    fn real_server(&mut self, real_server: &RealServerStatus, columns: Columns) {
        let address = address_text(real_server.address);
        match columns {
            Columns::Weights => self.line(format_args!(
                "  -> {address:<28} {:<7} {:<6} {:<10} {:<10}",
                forward_name(real_server),
                real_server.weight,
                real_server.active,
                real_server.inactive,
            )),
            Columns::Stats => self.numbers(&format!("  -> {address}"), real_server.traffic.into()),
            Columns::Rate => self.numbers(&format!("  -> {address}"), real_server.rates.into()),
        }
    }

    fn numbers(&mut self, name: &str, Five(numbers): Five) {
        let _ = write!(self.text, "{name:<33}");
        for number in numbers {
            if self.exact {
                // At least one space between neighbours, however long the number.
                let _ = write!(self.text, " {number:>8}");
            } else {
                let _ = write!(self.text, "{:>9}", abbreviated(number));
            }
        }
        self.text.push('\n');
    }
}

/// The five numbers of a line, in the order of the columns.
struct Five([u64; 5]);

impl From<Traffic> for Five {
    fn from(t: Traffic) -> Self {
        Self([t.connections, t.in_packets, t.out_packets, t.in_bytes, t.out_bytes])
    }
}

impl From<Rates> for Five {
    fn from(r: Rates) -> Self {
        Self([r.connections, r.in_packets, r.out_packets, r.in_bytes, r.out_bytes])
    }
}

/// At most eight digits, decimal prefixes, rounded down; the bounds are those of ipvsadm 1.31.
fn abbreviated(number: u64) -> String {
    match number {
        0..100_000_000 => number.to_string(),
        100_000_000..1_000_000_000 => format!("{}K", number / 1_000),
        1_000_000_000..100_000_000_000 => format!("{}M", number / 1_000_000),
        100_000_000_000..100_000_000_000_000 => format!("{}G", number / 1_000_000_000),
        _ => format!("{}T", number / 1_000_000_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_abbreviated_at_the_bounds_of_ipvsadm() {
        for (number, text) in [
            (0, "0"),
            (99_999_999, "99999999"),
            (100_000_000, "100000K"),
            (999_999_999, "999999K"),
            (1_000_000_000, "1000M"),
            (99_999_999_999, "99999M"),
            (100_000_000_000, "100G"),
            (99_999_999_999_999, "99999G"),
            (100_000_000_000_000, "100T"),
            (u64::MAX, "18446744T"),
        ] {
            assert_eq!(abbreviated(number), text);
        }
    }

    #[test]
    fn exact_numbers_keep_a_space_between_them() {
        let mut table = Table { text: String::new(), exact: true };
        table.numbers("TCP  10.0.0.1:80", Five([1, 12_345_678, 123_456_789, u64::MAX, 0]));
        let expected =
            "TCP  10.0.0.1:80                         1 12345678 123456789 18446744073709551615        0\n";
        assert_eq!(table.text, expected);
    }

    #[test]
    fn a_long_address_pushes_the_columns_as_in_ipvsadm() {
        let mut table = Table { text: String::new(), exact: false };
        let name = "TCP  [2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:8080";
        table.numbers(name, Five([1, 2, 3, 4, 5]));
        let rest = table.text.strip_prefix(name).unwrap();
        assert_eq!(rest, "        1        2        3        4        5\n");
    }
}
