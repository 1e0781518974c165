//! VRRP in namespaces: with keepalived as the other router, and two of LVX.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod pair;

use lab::Segment;
use pair::{Keepalived, Lvx, VIP4, has, wait_owner};

#[test]
fn spike() {
    let segment = Segment::new(3, 1).unwrap();
    let lvx = Lvx::start(
        &segment,
        1,
        "[[vrrp]]\nname = \"web\"\ninterface = \"eth0\"\nrouter_id = 51\npriority = 150\ninterval = \"200ms\"\naddress = [\"192.0.2.100/24\"]\n",
    );
    lvx.wait_state("active");
    let keepalived = Keepalived::start(
        &segment,
        2,
        "vrrp_instance web {\n  state BACKUP\n  interface eth0\n  version 3\n  virtual_router_id 51\n  priority 100\n  advert_int 0.2\n  virtual_ipaddress {\n    192.0.2.100/24\n  }\n}\n",
    );
    keepalived.wait("Entering BACKUP STATE");
    std::thread::sleep(std::time::Duration::from_secs(2));
    println!("{}", lvx.command(&["vrrp"]).unwrap());
    println!("{}", lvx.log());
    println!("{}", keepalived.log());
    lvx.daemon.end();
    wait_owner(&segment, &[1, 2], VIP4, 2, &|| keepalived.log());
    assert!(has(&segment, 2, VIP4));
    println!("{}", lvx.log());
}
