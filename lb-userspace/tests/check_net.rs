//! `ping`, `udp`, `dns` and `smtp` against the kernel, an echo, dnsmasq and OpenSMTPD.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod check_support;

use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use check_support::{probe, reason, run_in};
use lab::Host;
use lb_userspace::health::{FailureReason, Pass, checker};
use lb_userspace::model::{CheckKind, CheckTls, DnsCheck, Pattern, SmtpCheck, UdpCheck};

/// Whether a run is still under way after a while.
fn hangs(host: &Host, kind: &CheckKind, endpoint: &str) -> bool {
    let probe = probe(endpoint.parse().unwrap());
    let enter = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            tokio::time::timeout(Duration::from_millis(500), checker::run(kind, &probe)).await.is_err()
        })
    };
    host.namespace().enter(enter).unwrap()
}

#[test]
fn echoes() {
    let host = Host::new().unwrap();
    let ping = |endpoint: &str| run_in(host.namespace(), &CheckKind::Ping, endpoint);
    // Raw sockets first: a new namespace lets nobody have the others.
    for range in ["1 0", "0 0"] {
        host.namespace()
            .enter(|| std::fs::write("/proc/sys/net/ipv4/ping_group_range", range))
            .unwrap()
            .unwrap();
        for endpoint in ["127.0.0.1:0", "192.0.2.1:80", "[::1]:0", "[2001:db8::1]:80"] {
            assert_eq!(ping(endpoint), Ok(Pass::default()), "{endpoint}, {range}");
        }
        for endpoint in ["192.0.2.99:0", "[2001:db8::99]:0"] {
            assert!(hangs(&host, &CheckKind::Ping, endpoint), "{endpoint}, {range}");
        }
        for endpoint in ["198.51.100.1:0", "[2001:db8:ffff::1]:0"] {
            assert_eq!(reason(ping(endpoint)), FailureReason::Unreachable, "{endpoint}, {range}");
        }
        // The kernel gives up resolving this one, and says so with an ICMP error of its own.
        assert_eq!(reason(ping("192.0.2.98:0")), FailureReason::Unreachable, "{range}");
    }
}

#[test]
fn datagrams() {
    let mut host = Host::new().unwrap();
    host.udp_echo("rs1", &[5300]).unwrap();
    let silent = host.namespace().enter(|| UdpSocket::bind("127.0.0.1:5301")).unwrap().unwrap();
    let pattern = |expression: &str, absent| Some(Pattern { expression: expression.to_owned(), absent });
    let udp = |require_reply, reply| {
        CheckKind::Udp(UdpCheck { payload: b"who are you?\xff\0".to_vec(), require_reply, reply })
    };
    let ask = |kind: &CheckKind, endpoint| run_in(host.namespace(), kind, endpoint);
    let (echo, echo6, closed) = ("127.0.0.1:5300", "[::1]:5300", "127.0.0.1:5399");

    for endpoint in [echo, echo6] {
        assert_eq!(ask(&udp(true, None), endpoint), Ok(Pass::default()));
        assert_eq!(ask(&udp(false, None), endpoint), Ok(Pass::default()));
        let matching = pattern(r"^rs1 .*(?-u)who are you\?\xff\x00$", false);
        assert_eq!(ask(&udp(true, matching), endpoint), Ok(Pass::default()));
        assert_eq!(reason(ask(&udp(true, pattern("^rs2 ", false)), endpoint)), FailureReason::Pattern);
        assert_eq!(reason(ask(&udp(false, pattern("^rs1 ", true)), endpoint)), FailureReason::Pattern);
    }
    for required in [true, false] {
        assert_eq!(reason(ask(&udp(required, None), closed)), FailureReason::Refused);
        assert_eq!(reason(ask(&udp(required, None), "[::1]:5399")), FailureReason::Refused);
    }
    let quiet = silent.local_addr().unwrap().to_string();
    assert_eq!(ask(&udp(false, None), &quiet), Ok(Pass::default()));
    assert!(hangs(&host, &udp(true, None), &quiet));
    // The kernel tells that a host is unreachable long after the datagram was sent.
    assert_eq!(reason(ask(&udp(true, None), "192.0.2.98:5300")), FailureReason::Unreachable);
    // An empty datagram is one as well.
    let empty = CheckKind::Udp(UdpCheck { payload: Vec::new(), require_reply: true, reply: None });
    assert_eq!(ask(&empty, echo), Ok(Pass::default()));
}

#[test]
fn names() {
    let mut host = Host::new().unwrap();
    let pid = format!("--pid-file={}", host.folder().join("pid").display());
    let long: Vec<String> =
        (0..6).map(|n| format!("--txt-record=long.example,{n}{}", "x".repeat(200))).collect();
    let mut words = vec![
        "dnsmasq",
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
        "--port=5353",
        "--listen-address=127.0.0.1,::1",
        "--bind-interfaces",
        "--user=root",
        "--local=/example/",
        "--host-record=www.example,192.0.2.80,2001:db8::80",
        "--mx-host=example,mail.example,10",
        &pid,
    ];
    words.extend(long.iter().map(String::as_str));
    host.start("dnsmasq-base", &words, || TcpStream::connect("[::1]:5353").is_ok()).unwrap();

    let dns = |name: &str, record_type: &str, answer: Option<&str>| {
        let (name, record_type) = (name.to_owned(), record_type.to_owned());
        let check = DnsCheck { name, record_type, answer: answer.map(str::to_owned) };
        run_in(host.namespace(), &CheckKind::Dns(check), "127.0.0.1:5353")
    };
    assert_eq!(dns("www.example", "A", None), Ok(Pass::default()));
    assert_eq!(dns("WWW.Example.", "A", Some("192.0.2.80")), Ok(Pass::default()));
    assert_eq!(dns("www.example", "AAAA", Some("2001:db8::80")), Ok(Pass::default()));
    assert_eq!(dns("example", "MX", Some("mail.example")), Ok(Pass::default()));
    assert_eq!(reason(dns("www.example", "A", Some("192.0.2.81"))), FailureReason::Pattern);
    // NXDOMAIN is an answer, but has no records.
    assert_eq!(dns("missing.example", "A", None), Ok(Pass::default()));
    assert_eq!(reason(dns("missing.example", "A", Some("192.0.2.80"))), FailureReason::Pattern);
    // More than fits into a datagram, so that the record is seen only over TCP.
    assert_eq!(dns("long.example", "TXT", Some("5xxx")), Ok(Pass::default()));
    // Names of others are refused.
    assert_eq!(reason(dns(".", "SOA", None)), FailureReason::Status);
    let soa = DnsCheck { name: ".".to_owned(), record_type: "SOA".to_owned(), answer: None };
    let closed = run_in(host.namespace(), &CheckKind::Dns(soa), "127.0.0.1:5399");
    assert_eq!(reason(closed), FailureReason::Refused);
}

#[test]
fn mail() {
    let mut host = Host::new().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let parameters = rcgen::CertificateParams::new(vec!["mail.example".to_owned()]).unwrap();
    let chain = host.write("mail.pem", parameters.self_signed(&key).unwrap().pem()).unwrap();
    let private = host.write("mail.key", key.serialize_pem()).unwrap();
    let configuration = format!(
        "listen on 127.0.0.1 port 2525\naction \"local\" maildir \"{}\"\nmatch for local action \"local\"\n",
        host.folder().join("maildir").display()
    );
    let file = host.write("smtpd.conf", configuration).unwrap();
    let words = ["smtpd", "-d", "-f", file.to_str().unwrap()];
    host.start("opensmtpd", &words, || TcpStream::connect("127.0.0.1:2525").is_ok()).unwrap();
    // The OpenSMTPD of Debian 12 fails at TLS with OpenSSL 3, so that socat has to do it.
    let (cert, key) = (chain.display(), private.display());
    let listen = format!("OPENSSL-LISTEN:4465,bind=127.0.0.1,reuseaddr,fork,verify=0,cert={cert},key={key}");
    let words = ["socat", &listen, "TCP:127.0.0.1:2525"];
    host.start("socat", &words, || TcpStream::connect("127.0.0.1:4465").is_ok()).unwrap();

    let smtp = |tls: Option<CheckTls>, endpoint| {
        run_in(host.namespace(), &CheckKind::Smtp(SmtpCheck { helo: None, tls }), endpoint)
    };
    let named = |verify| CheckTls {
        verify,
        authorities: Some(chain.clone()),
        server_name: Some("mail.example".to_owned()),
        ..CheckTls::default()
    };
    assert_eq!(smtp(None, "127.0.0.1:2525"), Ok(Pass::default()));
    assert_eq!(smtp(Some(named(false)), "127.0.0.1:4465"), Ok(Pass::default()));
    assert_eq!(smtp(Some(named(true)), "127.0.0.1:4465"), Ok(Pass::default()));
    let other = CheckTls { server_name: Some("other.example".to_owned()), ..named(true) };
    assert_eq!(reason(smtp(Some(other), "127.0.0.1:4465")), FailureReason::Tls);
    assert_eq!(reason(smtp(Some(named(false)), "127.0.0.1:2525")), FailureReason::Tls);
    assert_eq!(reason(smtp(None, "127.0.0.1:2526")), FailureReason::Refused);
}
