//! `lvx list` against recordings of ipvsadm: the same data must give the same bytes.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod control_fake;

use std::net::SocketAddr;

use control_fake::{real_server, service, snapshot};
use lb_userspace::cli::list::{
    CONNECTIONS_HEADER, Columns, TableFormat, connection_line, health_table, services_table,
};
use lb_userspace::control::snapshot::{ConnectionStatus, Rates, ServiceStatus, Snapshot, Traffic};
use lb_userspace::model::{ForwardingMethod, Protocol};

fn recording(name: &str) -> String {
    let path = format!("{}/tests/golden/list/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The recording without its first line and without the services LVX cannot express.
fn expressible(recording: &str) -> String {
    let mut keep = true;
    let mut text = String::new();
    for line in recording.lines().skip(1) {
        if ["TCP ", "UDP ", "SCTP", "FWM "].iter().any(|protocol| line.starts_with(protocol)) {
            keep = (line.starts_with("TCP") || line.starts_with("UDP"))
                && ![" persistent ", " ops"].iter().any(|word| line.contains(word));
        }
        if keep {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

fn protocol(name: &str) -> Protocol {
    match name {
        "TCP" => Protocol::Tcp,
        "UDP" => Protocol::Udp,
        other => panic!("protocol {other}"),
    }
}

/// Reads `table` by words, so that nothing of its layout gets into the snapshot.
fn read_services(table: &str, mut with_service: impl FnMut(&mut ServiceStatus, &[&str])) -> Snapshot {
    let mut result = Snapshot { services: Vec::new(), ..snapshot() };
    for line in table.lines().skip(2) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words[0] != "->" {
            let mut new = service("", protocol(words[0]), words[1]);
            with_service(&mut new, &words);
            result.services.push(new);
            continue;
        }
        with_service(result.services.last_mut().unwrap(), &words);
    }
    result
}

fn read_weights(table: &str) -> Snapshot {
    read_services(table, |service, words| {
        if words[0] != "->" {
            service.scheduler = words[2].to_owned();
            if let Some(flags) = words.get(3) {
                service.flags = flags.trim_matches(['(', ')']).split(',').map(str::to_owned).collect();
            }
            return;
        }
        let forwarding = match words[2] {
            "Route" => ForwardingMethod::Dr,
            "Tunnel" => ForwardingMethod::Tunnel,
            "Masq" => ForwardingMethod::Nat,
            other => panic!("forwarding method {other}"),
        };
        let mut server = real_server(words[1], forwarding, words[3].parse().unwrap());
        server.active = words[4].parse().unwrap();
        server.inactive = words[5].parse().unwrap();
        service.real_servers.push(server);
    })
}

fn read_numbers(table: &str) -> Snapshot {
    read_services(table, |service, words| {
        let n: Vec<u64> = words[2..].iter().map(|word| word.parse().unwrap()).collect();
        let traffic = Traffic {
            connections: n[0],
            in_packets: n[1],
            out_packets: n[2],
            in_bytes: n[3],
            out_bytes: n[4],
            ..Traffic::default()
        };
        let rates =
            Rates { connections: n[0], in_packets: n[1], out_packets: n[2], in_bytes: n[3], out_bytes: n[4] };
        if words[0] != "->" {
            (service.traffic, service.rates) = (traffic, rates);
            return;
        }
        let mut server = real_server(words[1], ForwardingMethod::Dr, 1);
        (server.traffic, server.rates) = (traffic, rates);
        service.real_servers.push(server);
    })
}

fn body(table: &str) -> &str {
    let (first, rest) = table.split_once('\n').unwrap();
    assert_eq!(first, "LVX version 9.8.7 (size=4096)");
    rest
}

#[test]
fn without_services_there_is_only_the_header() {
    let empty = Snapshot { services: Vec::new(), ..snapshot() };
    let table = services_table(&empty, TableFormat::default());
    assert_eq!(body(&table), expressible(&recording("empty.txt")));
}

#[test]
fn weights_and_connections() {
    let expected = expressible(&recording("services.txt"));
    let read = read_weights(&expected);
    assert_eq!(read.services.len(), 4, "{expected}");
    assert_eq!(body(&services_table(&read, TableFormat::default())), expected);
}

#[test]
fn sorting_gives_ipvsadms_order() {
    let unsorted = expressible(&recording("services-unsorted.txt"));
    let sorted = expressible(&recording("services.txt"));
    assert_ne!(unsorted, sorted);
    let read = read_weights(&unsorted);
    assert_eq!(body(&services_table(&read, TableFormat::default())), unsorted);
    let format = TableFormat { sort: true, ..TableFormat::default() };
    assert_eq!(body(&services_table(&read, format)), sorted);
}

#[test]
fn counters_and_rates() {
    for (file, columns) in [("stats.txt", Columns::Stats), ("rate.txt", Columns::Rate)] {
        let expected = expressible(&recording(file));
        let read = read_numbers(&expected);
        assert_eq!(read.services.len(), 9, "{expected}");
        for exact in [false, true] {
            let format = TableFormat { columns, exact, sort: false };
            assert_eq!(body(&services_table(&read, format)), expected, "{file}, exact {exact}");
        }
    }
}

#[test]
fn sorting_puts_the_protocol_before_the_address() {
    let expected = expressible(&recording("stats.txt"));
    let mut read = read_numbers(&expected);
    read.services.reverse();
    let format = TableFormat { columns: Columns::Stats, exact: false, sort: true };
    assert_eq!(body(&services_table(&read, format)), expected);
}

#[test]
fn connection_entries() {
    let expected = recording("connections.txt");
    let (header, lines) = expected.split_at(CONNECTIONS_HEADER.len());
    assert_eq!(header, CONNECTIONS_HEADER);
    for line in lines.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (minutes, seconds) = words[1].split_once(':').unwrap();
        let address = |word: &str| word.parse::<SocketAddr>().unwrap();
        let connection = ConnectionStatus {
            protocol: protocol(words[0]),
            client: address(words[3]),
            virtual_address: address(words[4]),
            real_server: address(words[5]),
            state: words[2].to_owned(),
            expires_in: minutes.parse::<u64>().unwrap() * 60 + seconds.parse::<u64>().unwrap(),
        };
        assert_eq!(connection_line(&connection), format!("{line}\n"));
    }
    assert_eq!(lines.lines().count(), 44);
}

#[test]
fn a_real_server_on_the_director_itself_is_local() {
    let table = services_table(&snapshot(), TableFormat::default());
    let expected = "\
        TCP  192.168.100.1:80 wlc\n  \
        -> 10.0.1.1:80                  Route   100    6          7         \n  \
        -> 10.0.1.2:8080                Masq    0      0          0         \n  \
        -> 10.0.0.254:80                Local   1      0          0         \n\
        UDP  [fd00:100::1]:53 wlc\n";
    assert!(table.ends_with(expected), "{table}");
}

#[test]
fn health_is_a_line_per_check() {
    let expected = "\
Prot LocalAddress:Port             Quorum  Live
  -> RemoteAddress:Port           State Since  Weight Check    Result Took    Ago    Reason
TCP  192.168.100.1:80              yes     1/2 (weight 100 of 1)
  -> 10.0.1.1:80                  up    62m    100*4/16 http     pass   2.3ms   1.5s
  -> 10.0.1.3:80                  DOWN  4.0s   100    https    FAIL   2.3ms   1.5s   status: status 503, expected 200-299
";
    assert_eq!(health_table(&snapshot()), expected);
}
