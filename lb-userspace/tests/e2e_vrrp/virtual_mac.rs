//! The MAC address of the virtual router.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::Duration;

use lab::Segment;

use crate::pair::{Keepalived, Lvx, VIP4, VIP6};
use crate::witness::Witness;

fn lvx(priority: u8) -> String {
    format!(
        "[[vrrp]]\nname = \"four\"\ninterface = \"eth0\"\nrouter_id = 51\npriority = {priority}\ninterval = \"200ms\"\n\
         virtual_mac = true\naddress = [\"{VIP4}/24\"]\n\
         [[vrrp]]\nname = \"six\"\ninterface = \"eth0\"\nrouter_id = 51\npriority = {priority}\ninterval = \"200ms\"\n\
         virtual_mac = true\naddress = [\"fe80::100/128\", \"{VIP6}/64\"]\n"
    )
}

fn keepalived(priority: u8) -> String {
    let instance = |name: &str, addresses: &str| {
        format!(
            "vrrp_instance {name} {{\n  state BACKUP\n  interface eth0\n  use_vmac\n  version 3\n  virtual_router_id 51\n  \
             priority {priority}\n  advert_int 0.2\n  virtual_ipaddress {{\n{addresses}  }}\n}}\n"
        )
    };
    instance("four", &format!("    {VIP4}/24\n"))
        + &instance("six", &format!("    fe80::100/128\n    {VIP6}/64\n"))
}

#[test]
fn the_address_keeps_its_mac_at_a_failover_to_keepalived_and_back() {
    let segment = Segment::new(3, 1).unwrap();
    // A closed port: the refusal comes from the host's own stack.
    let ping = |address: &str| {
        let to = std::net::SocketAddr::new(address.parse().unwrap(), 9);
        let connected = segment.host(3).enter(|| TcpStream::connect_timeout(&to, Duration::from_secs(3)));
        connected.unwrap().is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    };
    let mac = |address: &str| {
        let line = segment.ip(3, &format!("neighbour show {address}")).unwrap();
        line.split("lladdr ").nth(1).map(|rest| rest.split(' ').next().unwrap_or_default().to_owned())
    };
    let both = |context: &dyn Fn() -> String| {
        for (address, expected) in [(VIP4, "00:00:5e:00:01:33"), (VIP6, "00:00:5e:00:02:33")] {
            assert!(ping(address), "{address} does not answer\n{}", context());
            assert_eq!(mac(address).as_deref(), Some(expected), "{address}\n{}", context());
        }
    };
    let first = Lvx::start(&segment, 1, &lvx(150));
    first.wait_state("active");
    let witness = Witness::start(segment.host(3), VIP4);
    both(&|| first.log() + &segment.ip(1, "address show").unwrap());
    // LVX sets this for itself; without it a keepalived that asks for the client teaches it the wrong MAC address.
    let announce = || std::fs::write("/proc/sys/net/ipv4/conf/eth0/arp_announce", "2");
    segment.host(2).enter(announce).unwrap().unwrap();
    let second = Keepalived::start(&segment, 2, &keepalived(100));
    second.wait("(six) Entering BACKUP STATE");
    assert!(first.daemon.end(), "{}", first.log());
    second.wait("(six) Entering MASTER STATE");
    assert!(first.log().contains("reason=\"switchover\""), "no orderly handover:\n{}", first.log());
    both(&|| second.log());
    assert!(!segment.ip(1, "link show").unwrap().contains("lvx4."), "the devices are gone");
    let again = Lvx::start(&segment, 1, &lvx(150));
    again.wait_state("active");
    both(&|| again.log());
    let answers = witness.answers();
    let virtual_mac = [0, 0, 0x5e, 0, 1, 0x33];
    // keepalived's device for IPv6 answers ARP as well: it sets arp_ignore for IPv4 only.
    let known = [virtual_mac, [0, 0, 0x5e, 0, 2, 0x33]];
    let other = answers.iter().flatten().find(|mac| !known.contains(mac));
    assert_eq!(other, None, "another MAC address answered");
    assert!(answers.iter().filter(|macs| !macs.is_empty()).count() > 50);
}
