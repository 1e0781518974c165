//! LVX and keepalived on one link, in both roles, in every variant of the protocol.

use lab::Segment;

use crate::pair::{Keepalived, Lvx, VIP4, VIP6, wait_owner};
use crate::witness::Witness;

/// A variant of the protocol: what each side's configuration says.
struct Variant {
    version: u8,
    ipv6: bool,
    unicast: bool,
    password: bool,
}

impl Variant {
    fn address(&self) -> &'static str {
        if self.ipv6 { VIP6 } else { VIP4 }
    }

    fn host(&self, number: u8) -> String {
        if self.ipv6 { format!("fe80::{number}") } else { format!("192.0.2.{number}") }
    }

    /// Seconds from one advertisement to the next.
    fn interval(&self) -> &'static str {
        if self.version == 2 { "1" } else { "0.2" }
    }

    fn addresses(&self) -> Vec<String> {
        if self.ipv6 {
            vec!["fe80::100/128".to_owned(), format!("{VIP6}/64")]
        } else {
            vec![format!("{VIP4}/24")]
        }
    }

    fn lvx(&self, host: u8, priority: u8) -> String {
        let milliseconds = if self.version == 2 { "1s" } else { "200ms" };
        let addresses: Vec<String> = self.addresses().iter().map(|each| format!("\"{each}\"")).collect();
        let mut text = format!(
            "[[vrrp]]\nname = \"web\"\ninterface = \"eth0\"\nrouter_id = 51\nversion = {}\npriority = {priority}\n\
             interval = \"{milliseconds}\"\naddress = [{}]\n",
            self.version,
            addresses.join(", ")
        );
        if self.unicast {
            text += &format!("peers = [\"{}\"]\nsource = \"{}\"\n", self.host(3 - host), self.host(host));
        }
        if self.password {
            text += "password = \"secret\"\n";
        }
        text
    }

    fn keepalived(&self, host: u8, priority: u8) -> String {
        let mut text = format!(
            "vrrp_instance web {{\n  state BACKUP\n  interface eth0\n  version {}\n  virtual_router_id 51\n  priority {priority}\n  \
             advert_int {}\n",
            self.version,
            self.interval()
        );
        if self.password {
            text += "  authentication {\n    auth_type PASS\n    auth_pass secret\n  }\n";
        }
        if self.unicast {
            text += &format!(
                "  unicast_src_ip {}\n  unicast_peer {{\n    {}\n  }}\n",
                self.host(host),
                self.host(3 - host)
            );
        }
        text += "  virtual_ipaddress {\n";
        for address in self.addresses() {
            text += &format!("    {address}\n");
        }
        text + "  }\n}\n"
    }

    /// Who has the address through everything that can happen to a pair; hosts 1 (LVX) and 2 (keepalived), 3 looks on.
    fn play(&self) {
        let segment = Segment::new(3, 1).unwrap();
        let owner = |owner: u8, context: &dyn Fn() -> String| {
            wait_owner(&segment, &[1, 2], self.address(), owner, context);
        };
        let witness = (!self.ipv6).then(|| Witness::start(segment.host(3), VIP4));

        // LVX has the higher priority; it is killed, comes back, and takes over again.
        let lvx = Lvx::start(&segment, 1, &self.lvx(1, 150));
        lvx.wait_state("active");
        let keepalived = Keepalived::start(&segment, 2, &self.keepalived(2, 100));
        keepalived.wait("Entering BACKUP STATE");
        let both = || format!("{}\n{}", lvx.log(), keepalived.log());
        owner(1, &both);
        lvx.daemon.signal(libc::SIGKILL);
        keepalived.wait("Entering MASTER STATE");
        owner(2, &both);
        let returned = Lvx::start(&segment, 1, &self.lvx(1, 150));
        returned.wait_state("active");
        owner(1, &|| format!("{}\n{}", returned.log(), keepalived.log()));
        let heard = &returned.instances().unwrap()[0];
        assert!(heard.received > 0 && heard.rejects.iter().all(|reject| reject.count == 0), "{heard:?}");
        // An orderly end hands over.
        assert!(returned.daemon.end(), "{}", returned.log());
        owner(2, &|| returned.log());

        // keepalived has the higher priority; LVX takes over when it ends, and gives way when it returns.
        let lower = Lvx::start(&segment, 1, &self.lvx(1, 50));
        let backup = lower.wait_state("backup");
        assert_eq!(backup[0].priority, 50);
        assert!(keepalived.daemon.end(), "{}", keepalived.log());
        lower.wait_state("active");
        owner(1, &|| lower.log());
        let again = Keepalived::start(&segment, 2, &self.keepalived(2, 100));
        lower.wait_state("backup");
        owner(2, &|| format!("{}\n{}", lower.log(), again.log()));
        if let Some(witness) = witness {
            let answered = witness.assert_one_owner();
            assert!(answered > 100, "only {answered} questions were answered");
        }
    }
}

const PLAIN: Variant = Variant { version: 3, ipv6: false, unicast: false, password: false };

#[test]
fn version_2_multicast() {
    Variant { version: 2, ..PLAIN }.play();
}

#[test]
fn version_2_password() {
    Variant { version: 2, password: true, ..PLAIN }.play();
}

#[test]
fn version_2_unicast() {
    Variant { version: 2, unicast: true, ..PLAIN }.play();
}

#[test]
fn version_3_multicast() {
    PLAIN.play();
}

#[test]
fn version_3_unicast() {
    Variant { unicast: true, ..PLAIN }.play();
}

#[test]
fn version_3_ipv6_multicast() {
    Variant { ipv6: true, ..PLAIN }.play();
}

#[test]
fn version_3_ipv6_unicast() {
    Variant { ipv6: true, unicast: true, ..PLAIN }.play();
}
