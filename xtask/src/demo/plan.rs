//! What the demo balances: every forwarding method, both families, TCP and UDP, and the configuration that says so.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use lab::{HTTP_PORTS, Lab, UDP_PORTS};

/// A forwarding method with the ports of its services.
pub(super) struct Method {
    /// For the display.
    pub(super) title: &'static str,
    /// In the configuration.
    keyword: &'static str,
    /// Whether replies pass through the director.
    pub(super) replies_through_director: bool,
    /// Virtual ports for HTTP and UDP.
    http: u16,
    udp: u16,
    /// Ports of the real servers. Only NAT can have others than the virtual ones.
    real_http: u16,
    real_udp: u16,
}

/// All methods at once, on ports of their own.
pub(super) const METHODS: [Method; 3] = [
    Method {
        title: "direct routing",
        keyword: "dr",
        replies_through_director: false,
        http: HTTP_PORTS[0],
        udp: UDP_PORTS[0],
        real_http: HTTP_PORTS[0],
        real_udp: UDP_PORTS[0],
    },
    Method {
        title: "IP-IP tunnel",
        keyword: "tunnel",
        replies_through_director: false,
        http: HTTP_PORTS[1],
        udp: UDP_PORTS[1],
        real_http: HTTP_PORTS[1],
        real_udp: UDP_PORTS[1],
    },
    Method {
        title: "NAT",
        keyword: "nat",
        replies_through_director: true,
        http: HTTP_PORTS[2],
        udp: UDP_PORTS[2],
        real_http: HTTP_PORTS[0],
        real_udp: UDP_PORTS[0],
    },
];

impl Method {
    /// The virtual HTTP service on this address.
    pub(super) fn http(&self, vip: IpAddr) -> SocketAddr {
        SocketAddr::new(vip, self.http)
    }

    /// The virtual UDP service on this address.
    pub(super) fn udp(&self, vip: IpAddr) -> SocketAddr {
        SocketAddr::new(vip, self.udp)
    }
}

/// The virtual addresses.
pub(super) fn vips(lab: &Lab) -> [IpAddr; 2] {
    [lab.vip4().into(), lab.vip6().into()]
}

/// The configuration for all methods.
pub(super) fn configuration(lab: &Lab, socket: &Path) -> String {
    let mut text = format!("[global]\ncontrol_socket = \"{}\"\n", socket.display());
    for interface in lab.director_interfaces() {
        let _ = write!(text, "\n[[interface]]\nname = \"{interface}\"\n");
    }
    for method in &METHODS {
        for vip in vips(lab) {
            service(&mut text, lab, method, "tcp", method.http(vip), method.real_http);
            service(&mut text, lab, method, "udp", method.udp(vip), method.real_udp);
        }
    }
    text
}

fn service(text: &mut String, lab: &Lab, method: &Method, protocol: &str, address: SocketAddr, port: u16) {
    let _ = write!(
        text,
        "\n[[service]]\naddress = \"{address}\"\nprotocol = \"{protocol}\"\nscheduler = \"rr\"\nforwarding = \"{}\"\n",
        method.keyword
    );
    for server in lab.real_servers() {
        let real = SocketAddr::new(server.address(address.ip()), port);
        let _ = write!(text, "\n[[service.real_server]]\naddress = \"{real}\"\n");
    }
}
