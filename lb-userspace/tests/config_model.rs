//! What right configurations mean, and what LVX remarks about them.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use lb_userspace::config::{self, Concern, Examined, Problem};
use lb_userspace::model::{
    AttachMode, ForwardingMethod, Interface, Limits, MAX_LOAD_SCHEDULED, Protocol, RealServer,
    RealServerHealth, Scheduler, Settings, SourceHashFlags, Timeouts,
};

fn ip(text: &str) -> IpAddr {
    text.parse().expect("test address")
}

fn examine(text: &str) -> Examined {
    config::examine("x.toml", text).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn every_key_reaches_the_model() {
    let model = examine(
        r#"
        [global]
        control_socket = "/tmp/lvx.sock"
        metrics = "[::]:9000"
        log = "debug"
        [limits]
        connections = "2Mi"
        embryonic = 0x100
        services = "2k"
        real_servers = 3_000
        scheduler_slots = "1M"
        [timeouts]
        tcp = "1m30s"
        tcp_fin = "500ms"
        udp = "1d"
        [[interface]]
        name = "eth0"
        mode = "native"
        [[interface]]
        name = "eth1"
        mode = "generic"
        [[interface]]
        name = "eth2"
        [[service]]
        name = "web"
        address = "192.0.2.10:80"
        scheduler = { name = "mh", port = true, table_size = 251 }
        forwarding = "nat"
        [[service.real_server]]
        address = "198.51.100.1:8080"
        weight = 3
        [[service.real_server]]
        address = "198.51.100.2"
        forwarding = "dr"
        [[service]]
        address = "[2001:db8::1]:0"
        protocol = "udp"
        scheduler = { name = "sh", port = true }
        forwarding = "tunnel"
        real_server = [{ address = "203.0.113.1", weight = 0 }, { address = "[2001:db8::2]" }]
        "#,
    )
    .model;
    let settings = Settings {
        control_socket: PathBuf::from("/tmp/lvx.sock"),
        metrics: Some("[::]:9000".parse().expect("test address")),
        log: "debug".to_owned(),
        router_id: None,
        script_user: None,
        limits: Limits {
            connections: 2 << 20,
            embryonic: 256,
            services: 2000,
            real_servers: 3000,
            scheduler_slots: 1_000_000,
        },
        timeouts: Timeouts {
            tcp: Duration::from_secs(90),
            tcp_fin: Duration::from_millis(500),
            udp: Duration::from_secs(86_400),
        },
    };
    assert_eq!(model.settings, settings);
    let interface = |name: &str, mode| Interface { name: name.to_owned(), mode };
    assert_eq!(
        model.interfaces,
        [
            interface("eth0", AttachMode::Native),
            interface("eth1", AttachMode::Generic),
            interface("eth2", AttachMode::Auto)
        ]
    );
    let [web, all] = &model.services[..] else { panic!("{:?}", model.services) };
    assert_eq!((web.name.as_str(), web.key.protocol, web.key.port), ("web", Protocol::Tcp, 80));
    assert_eq!(
        web.scheduler,
        Scheduler::Mh { flags: SourceHashFlags { port: true, fallback: false }, table_size: 251 }
    );
    let server = |address, port, weight, forwarding| RealServer {
        address: ip(address),
        port,
        weight,
        forwarding,
        share: lb_userspace::model::FULL_SHARE,
        health: RealServerHealth::default(),
    };
    assert_eq!(
        web.real_servers,
        [
            server("198.51.100.1", 8080, 3, ForwardingMethod::Nat),
            server("198.51.100.2", 80, 1, ForwardingMethod::Dr)
        ]
    );
    assert_eq!((all.name.as_str(), all.key.address), ("[2001:db8::1]:0/udp", ip("2001:db8::1")));
    assert_eq!(all.scheduler, Scheduler::Sh(SourceHashFlags { port: true, fallback: false }));
    assert_eq!(
        all.real_servers,
        [
            server("203.0.113.1", 0, 0, ForwardingMethod::Tunnel),
            server("2001:db8::2", 0, 1, ForwardingMethod::Tunnel)
        ]
    );
    assert_eq!(model.real_server_count(), 4);
}

#[test]
fn defaults_are_those_of_the_model() {
    let model =
        examine("interface = [{ name = \"eth0\" }]\nservice = [{ address = \"192.0.2.10:80\" }]\n").model;
    assert_eq!(model.settings, Settings::default());
    assert_eq!(model.services[0].scheduler, Scheduler::Wlc);
    assert_eq!(model.services[0].key.protocol, Protocol::Tcp);
}

#[test]
fn metrics_can_be_switched_off_and_bound_beyond_loopback() {
    let metrics = |value: &str| {
        let text = format!("[global]\nmetrics = \"{value}\"\n[[interface]]\nname = \"eth0\"\n");
        examine(&text).model.settings.metrics
    };
    assert_eq!(metrics("off"), None);
    assert_eq!(metrics("0.0.0.0:9464"), Some(([0, 0, 0, 0], 9464).into()));
}

#[test]
fn the_same_address_with_another_port_or_protocol_is_another_service() {
    let services = ["192.0.2.10:80", "192.0.2.10:443", "192.0.2.10:0", "[2001:db8::1]:80"]
        .iter()
        .flat_map(|address| ["tcp", "udp"].map(|protocol| (address, protocol)))
        .map(|(address, protocol)| {
            format!("[[service]]\naddress = \"{address}\"\nprotocol = \"{protocol}\"\n")
        })
        .collect::<String>();
    assert_eq!(examine(&format!("[[interface]]\nname = \"eth0\"\n{services}")).model.services.len(), 8);
}

#[test]
fn oddities_are_warnings() {
    let Examined { warnings, .. } = examine(
        r#"[[interface]]
name = "eth0"
[[service]]
address = "192.0.2.10:80"
[[service]]
address = "192.0.2.11:80"
real_server = [{ address = "198.51.100.1", weight = 0 }, { address = "198.51.100.2", weight = 0 }]
[[service]]
address = "192.0.2.12:80"
scheduler = "rr"
real_server = [{ address = "198.51.100.1", weight = 5 }, { address = "198.51.100.2" }]
[[service]]
address = "192.0.2.13:80"
scheduler = "lc"
real_server = [{ address = "198.51.100.1", weight = 5 }, { address = "198.51.100.2", weight = 5 }]
[[service]]
address = "192.0.2.14:80"
scheduler = "lc"
real_server = [{ address = "198.51.100.1", weight = 0 }, { address = "198.51.100.2", weight = 5 }]
"#,
    );
    let texts: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "x.toml:3:1: service[0]: the service has no real server",
            "x.toml:5:1: service[1]: every real server has weight 0, so that no new connection is accepted",
            "x.toml:10:13: service[2].scheduler: scheduler rr ignores weights other than 0; wrr follows them",
        ]
    );
    assert_eq!(warnings[0].remark, Concern::NoRealServer);
}

#[test]
fn load_schedulers_refuse_more_real_servers_than_they_can_compare() {
    let config = |servers: usize, scheduler: &str| {
        let list: String = (0..servers)
            .map(|number| format!("  {{ address = \"10.0.{}.{}\" }},\n", number / 250, number % 250 + 1))
            .collect();
        format!(
            "[[interface]]\nname = \"eth0\"\n[[service]]\naddress = \"192.0.2.10:80\"\n{scheduler}\nreal_server = [\n{list}]\n"
        )
    };
    for scheduler in ["", "scheduler = \"wlc\"", "scheduler = \"lc\""] {
        assert!(config::parse("x", &config(MAX_LOAD_SCHEDULED, scheduler)).is_ok(), "{scheduler}");
        let errors = config::parse("x", &config(MAX_LOAD_SCHEDULED + 1, scheduler)).expect_err("too many").0;
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert_eq!(errors[0].key, "service[0].scheduler");
        assert!(matches!(errors[0].remark, Problem::Conflict { .. }), "{}", errors[0]);
        assert!(errors[0].to_string().contains("1025 real servers"), "{}", errors[0]);
    }
    for scheduler in ["rr", "wrr", "sh", "mh"] {
        let text = config(MAX_LOAD_SCHEDULED + 1, &format!("scheduler = \"{scheduler}\""));
        assert!(config::parse("x", &text).is_ok(), "{scheduler}");
    }
}

/// 1,000 services with 100 real servers each.
fn large() -> String {
    let mut text = "[[interface]]\nname = \"eth0\"\n".to_owned();
    for service in 0..1000 {
        text += &format!("\n[[service]]\naddress = \"192.0.{}.{}:80\"\n", service / 250, service % 250 + 1);
        for server in 0..100 {
            text += &format!(
                "\n[[service.real_server]]\naddress = \"10.{}.{}.{server}\"\nweight = {}\n",
                service / 250,
                service % 250 + 1,
                server + 1
            );
        }
    }
    text
}

#[test]
fn a_hundred_thousand_real_servers_load() {
    let text = large();
    let start = std::time::Instant::now();
    let model = examine(&text).model;
    println!("{} bytes in {:?}", text.len(), start.elapsed());
    assert_eq!((model.services.len(), model.real_server_count()), (1000, 100_000));
}

#[test]
fn a_hundred_thousand_errors_in_one_line_are_told() {
    let list = "{ address = \"198.51.100.1\", weight = -1 }, ".repeat(100_000);
    let text =
        format!("service = [{{ address = \"192.0.2.10:80\", scheduler = \"rr\", real_server = [{list}] }}]");
    let start = std::time::Instant::now();
    let errors = config::parse("x", &text).expect_err("negative weights").0;
    println!("{} errors in {:?}", errors.len(), start.elapsed());
    // Every weight, every address but the first, and no interface.
    assert_eq!(errors.len(), 100_000 + 99_999 + 1);
}

#[test]
fn a_byte_order_mark_is_no_error() {
    assert_eq!(examine("\u{feff}[[interface]]\nname = \"eth0\"\n").model.interfaces.len(), 1);
}

#[test]
fn a_virtual_router_as_it_is_written() {
    let Examined { model, warnings } = examine(
        "[[interface]]\nname = \"eth0\"\n\
         [[service]]\nname = \"web\"\naddress = \"192.0.2.100:80\"\n[[service.real_server]]\naddress = \"10.0.0.1\"\n\
         [[service]]\nname = \"lost\"\naddress = \"192.0.2.7:80\"\n[[service.real_server]]\naddress = \"10.0.0.1\"\n\
         [[service]]\nname = \"ecmp\"\naddress = \"192.0.2.8:80\"\nalways_on = true\n[[service.real_server]]\naddress = \"10.0.0.1\"\n\
         [[vrrp]]\nname = \"out\"\ninterface = \"eth0\"\nrouter_id = 51\npriority = 150\ninterval = \"250ms\"\n\
         address = [\"192.0.2.100/24\", \"198.51.100.1@eth1\"]\nexcluded_address = [\"2001:db8::1/64\"]\n\
         hmac = { key = [{ id = 7, secret = \"01234567890123456789012345678901\" }] }\n\
         [[vrrp.track]]\nservice = \"web\"\nweight = -60\n\
         [[vrrp.heartbeat]]\ninterface = \"eth2\"\n\
         [[vrrp]]\nname = \"in\"\ninterface = \"eth1\"\nrouter_id = 51\nversion = 2\npassword = \"pass\"\naddress = [\"10.0.0.254\"]\n\
         [[vrrp_group]]\nname = \"both\"\nmembers = [\"out\", \"in\"]\nnotify = [\"/usr/local/bin/alarm\"]\n",
    );
    let [out, inside] = &model.vrrp.instances[..] else { panic!("{:?}", model.vrrp) };
    assert_eq!((out.router.vrid, out.router.priority, out.router.interval.get()), (51, 150, 25));
    assert!(out.router.grouped && inside.router.grouped);
    let addresses: Vec<String> = out.all_addresses().map(ToString::to_string).collect();
    assert_eq!(addresses, ["192.0.2.100/24", "198.51.100.1/32@eth1", "2001:db8::1/64"]);
    assert_eq!((out.tracks[0].name.as_str(), out.tracks[0].weight), ("service web", -60));
    assert_eq!(out.heartbeats[0].interface, "eth2");
    assert_eq!(out.hmac.as_ref().map(|hmac| hmac.key.id()), Some(7));
    assert_eq!(inside.authentication, lb_userspace::vrrp::Authentication::Password(*b"pass\0\0\0\0"));
    assert_eq!(model.vrrp.groups[0].members, ["out", "in"]);
    assert_eq!(model.vrrp.carrier("2001:db8::1".parse().unwrap()).unwrap().name, "out");
    // The secret is in no text that a log could get.
    assert!(!format!("{model:?}").contains("0123456789"));
    let texts: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert!(texts[0].contains("service lost: no [[vrrp]] instance carries 192.0.2.7"), "{texts:?}");
}
