//! Cost of one packet through the director, for every path.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use aya::programs::ProgramFd;
use lb_common::datapath::ConnectionTables as _;
use lb_common::layout::{
    Address, BUCKET_WAYS, Method, NextHop, RealServerFields, SchedulerKind, ServiceFields, ServiceKey,
};
use lb_userspace::datapath::{Datapath, Sizes};
use lb_userspace::model::Limits;
use serde::Serialize;

use crate::frames::{ACK, Kind, SYN, build};
use crate::harness::{Harness, Plan};

/// `lo`, by which the harness's frames come in; the way out as well, so that the verdict is XDP_TX.
const LO: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;
const SERVERS: u32 = 4;
/// IP protocol numbers of what goes to the host without a look at any table.
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
/// First client, 198.18.0.0 in host order (RFC 2544).
const CLIENTS: u32 = 0xc612_0000;
/// Clients of new connections are others than those of established ones.
const NEW_CLIENTS: u32 = CLIENTS + 0x1_0000;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Established,
    New,
    Pass,
}

/// One line of the result, in the form of the issue tracker's comparison.
#[derive(Debug, Clone, Serialize)]
struct Case {
    engine: &'static str,
    method: String,
    family: u8,
    proto: &'static str,
    event: &'static str,
    flows: u32,
    services: u32,
    real_servers: u32,
    scheduler: &'static str,
    ns_min: f64,
    ns_median: f64,
    samples: usize,
}

/// The whole result.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    machine: String,
    kernel: String,
    floor_ns: f64,
    cases: Vec<Case>,
}

/// A case with what it takes to run it.
struct Work {
    case: Case,
    plan: Plan,
    event: Event,
    action: u32,
    /// Real-server slots whose packet counters must move by the iterations.
    slots: std::ops::Range<u32>,
    nanoseconds: Vec<f64>,
}

/// Runs all cases in interleaved rounds.
///
/// # Errors
///
/// What the kernel refuses, and any sample whose verdict or counters are not what they must be.
pub(crate) fn run(quick: bool) -> Result<Figures> {
    // SAFETY: no preconditions; the process has one thread, and the namespace ends with it.
    let alone = unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0;
    ensure!(alone, "cannot make a network namespace: root is needed");
    let (rounds, iterations) = if quick { (5, 100_000) } else { (15, 400_000) };
    let limits =
        Limits { embryonic: 1 << 16, real_servers: 1024, scheduler_slots: 1 << 18, ..Limits::default() };
    let mut datapath = Datapath::load(&Sizes::new(&limits, 0x5eed))?;
    let mut harness = Harness::load()?;
    let director = datapath.program()?.fd()?.try_clone()?;
    let (tx, swap) = (harness.stub("bench_tx")?, harness.stub("bench_swap")?);
    let mut works = cases(&mut datapath, if quick { &[1024] } else { &[1024, 16_384, 131_072] })?;
    for work in works.iter().filter(|work| work.event == Event::Established) {
        warm(&mut harness, &director, &work.plan, work.case.proto == "tcp")?;
    }
    let fixed = fixed_cost(&mut harness, &tx, &works[0].plan)?;
    let (mut floor, mut swapped) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let plan = works[0].plan;
        floor.push(sample(&mut harness, &tx, &plan, iterations, fixed, XDP_TX)?);
        swapped.push(sample(&mut harness, &swap, &plan, iterations, fixed, XDP_TX)?);
        for work in &mut works {
            // Each of these is a connection; more of them would measure a table that overflows.
            let iterations = if work.event == Event::New { iterations / 8 } else { iterations };
            let before = packets(&datapath, &work.slots);
            let time = sample(&mut harness, &director, &work.plan, iterations, fixed, work.action)?;
            let moved = packets(&datapath, &work.slots) - before;
            ensure!(
                work.slots.is_empty() || moved == u64::from(iterations),
                "{} {}: {moved} of {iterations} packets were counted; all counters: {:?}",
                work.case.method,
                work.case.event,
                datapath.counters()?
            );
            work.nanoseconds.push(time);
            if work.event == Event::New {
                work.plan.counter = work.plan.counter.wrapping_add(iterations);
                forget_new(&datapath);
            }
        }
    }
    let base_min = least(&floor);
    let base_median = median(&floor);
    let mut cases = vec![stub_case("floor: XDP_TX", 0.0, 0.0, rounds)];
    cases.push(stub_case(
        "floor: swap MACs",
        least(&swapped) - base_min,
        median(&swapped) - base_median,
        rounds,
    ));
    for work in works {
        cases.push(Case {
            ns_min: least(&work.nanoseconds) - base_min,
            ns_median: median(&work.nanoseconds) - base_median,
            samples: work.nanoseconds.len(),
            ..work.case
        });
    }
    let figures = Figures { machine: machine(), kernel: kernel(), floor_ns: base_min, cases };
    print(&figures);
    Ok(figures)
}

/// Services with their real servers, and the cases that go through them.
fn cases(datapath: &mut Datapath, sizes: &[u32]) -> Result<Vec<Work>> {
    let mut works = Vec::new();
    let mut next = Next { service: 0, slot: 1, offset: 0 };
    let kinds = [(true, true), (true, false), (false, true), (false, false)];
    for (ipv4, tcp) in kinds {
        let kind = Kind { ipv4, tcp };
        for (name, method, scheduler) in [
            ("dr", Method::DirectRouting, "rr"),
            ("tunnel", Method::Tunnel, "rr"),
            ("nat", Method::Nat, "rr"),
            ("dr", Method::DirectRouting, "mh"),
            ("dr", Method::DirectRouting, "wlc"),
        ] {
            let (vip, slots) = service(datapath, &mut next, kind, method, scheduler)?;
            let mut add = |event: Event, flows: u32| {
                let flags = if event == Event::New { SYN } else { ACK };
                let template = build(kind, client(kind), vip, (1024, 80), flags);
                works.push(work(kind, name, scheduler, event, flows, template, XDP_TX, slots.clone()));
            };
            add(Event::New, 1 << 24);
            if scheduler == "rr" {
                let sizes = if ipv4 && tcp { sizes } else { &sizes[..1] };
                for flows in sizes {
                    add(Event::Established, *flows);
                }
            }
        }
        let stranger = if ipv4 { mapped([203, 0, 113, 1]) } else { v6(0xffff) };
        let template = build(kind, client(kind), stranger, (1024, 80), ACK);
        works.push(work(kind, "none", "", Event::Pass, 1024, template, XDP_PASS, 0..0));
        if tcp {
            let mut icmp = work(kind, "none", "", Event::Pass, 1024, template, XDP_PASS, 0..0);
            (icmp.case.proto, icmp.plan.template[kind.protocol_at()]) =
                ("icmp", if ipv4 { ICMP } else { ICMPV6 });
            works.push(icmp);
        }
    }
    Ok(works)
}

struct Next {
    service: u32,
    slot: u32,
    offset: u32,
}

/// Writes a service with [`SERVERS`] real servers, as the controller would.
fn service(
    datapath: &mut Datapath,
    next: &mut Next,
    kind: Kind,
    method: Method,
    scheduler: &str,
) -> Result<([u8; 16], std::ops::Range<u32>)> {
    let tables = datapath.tables();
    let number = next.service;
    let vip = if kind.ipv4 { mapped([198, 51, 100, number as u8 + 1]) } else { v6(0x100 + number as u16) };
    let slots = next.slot..next.slot + SERVERS;
    for slot in slots.clone() {
        let address =
            if kind.ipv4 { mapped([10, 0, number as u8, slot as u8]) } else { v6(0x1000 + slot as u16) };
        let source = if method == Method::Nat {
            vip
        } else if kind.ipv4 {
            mapped([10, 0, 0, 1])
        } else {
            v6(1)
        };
        let nat = method == Method::Nat;
        let fields = RealServerFields {
            method,
            address: address_of(address),
            port: if nat { 8080u16.to_be() } else { 0 },
            source: address_of(source),
            virtual_port: if nat { 80u16.to_be() } else { 0 },
            service: number,
            next_hop: Some(NextHop {
                ifindex: LO,
                destination_mac: [2, 0, 0, 0, 1, slot as u8],
                source_mac: [2; 6],
                mtu: 1500,
            }),
        };
        tables
            .real_server(slot)
            .map(|server| server.write(&fields))
            .ok_or_else(|| anyhow::anyhow!("slot {slot}"))?;
    }
    let (kind_of, table): (SchedulerKind, Vec<u32>) = match scheduler {
        "rr" => (SchedulerKind::Turn, slots.clone().collect()),
        "mh" => (SchedulerKind::Maglev, (0..4093).map(|index| slots.start + index % SERVERS).collect()),
        "wlc" => (SchedulerKind::LeastLoad, slots.clone().flat_map(|slot| [slot, 1]).collect()),
        other => bail!("no scheduler {other}"),
    };
    tables.write_scheduler_range(next.offset, &table);
    let fields =
        ServiceFields { table_offset: next.offset, table_length: table.len() as u32, scheduler: kind_of };
    tables.service(number).map(|service| service.write(&fields)).ok_or_else(|| anyhow::anyhow!("service"))?;
    datapath.insert_service(ServiceKey::new(address_of(vip), 80u16.to_be(), kind.protocol()), number)?;
    next.service += 1;
    next.slot += SERVERS;
    next.offset += (table.len() as u32).next_multiple_of(2);
    Ok((vip, slots))
}

#[allow(clippy::too_many_arguments, reason = "a row of the table")]
fn work(
    kind: Kind,
    method: &str,
    scheduler: &'static str,
    event: Event,
    flows: u32,
    template: [u8; crate::frames::FRAME],
    action: u32,
    slots: std::ops::Range<u32>,
) -> Work {
    let case = Case {
        engine: "lvx",
        method: method.to_owned(),
        family: if kind.ipv4 { 4 } else { 6 },
        proto: if kind.tcp { "tcp" } else { "udp" },
        event: match event {
            Event::Established => "established",
            Event::New => "new",
            Event::Pass => "pass",
        },
        flows,
        services: 1,
        real_servers: SERVERS,
        scheduler,
        ns_min: 0.0,
        ns_median: 0.0,
        samples: 0,
    };
    let first_address = if event == Event::New { NEW_CLIENTS } else { CLIENTS };
    let plan = Plan {
        template,
        flows,
        counter: 0,
        address_at: kind.source_at(),
        port_at: kind.transport(),
        first_address,
    };
    Work { case, plan, event, action, slots, nanoseconds: Vec::new() }
}

/// Brings every flow of a plan into the established table.
fn warm(harness: &mut Harness, director: &ProgramFd, plan: &Plan, tcp: bool) -> Result<()> {
    /// Fewer than half-open connections have room for.
    const CHUNK: u32 = 16_384;
    let mut counter = 0;
    while counter < plan.flows {
        let count = CHUNK.min(plan.flows - counter);
        let mut step = Plan { counter, ..*plan };
        if tcp {
            let flags = plan.port_at as usize + 13;
            step.template[flags] = SYN;
            harness.run(director, &step, count)?;
            step.template[flags] = ACK;
        }
        harness.run(director, &step, count)?;
        counter += count;
    }
    Ok(())
}

/// Ends the connections of the clients that only begin some, and the entries of their replies.
fn forget_new(datapath: &Datapath) {
    let tables = datapath.tables();
    let new = |address: Address| u32::from_be((address.lo >> 32) as u32) & !0xffff == NEW_CLIENTS;
    for position in 0..tables.geometry().buckets() * BUCKET_WAYS {
        if let Some(entry) = tables.entry(position) {
            let key = entry.key();
            if new(key.source) || new(key.destination) {
                tables.remove(position);
            }
        }
    }
}

/// Time of a call that does next to nothing.
fn fixed_cost(harness: &mut Harness, tx: &ProgramFd, plan: &Plan) -> Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..31 {
        times.push(harness.run(tx, plan, 2)?.time);
    }
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

/// Nanoseconds per iteration, the harness included.
fn sample(
    harness: &mut Harness,
    target: &ProgramFd,
    plan: &Plan,
    iterations: u32,
    fixed: Duration,
    action: u32,
) -> Result<f64> {
    let sample = harness.run(target, plan, iterations)?;
    ensure!(sample.action == action, "XDP action {} instead of {action}", sample.action);
    ensure!(sample.output.len() >= crate::frames::FRAME, "the frame shrank");
    Ok(sample.time.saturating_sub(fixed).as_secs_f64() * 1e9 / f64::from(iterations))
}

fn packets(datapath: &Datapath, slots: &std::ops::Range<u32>) -> u64 {
    let tables = datapath.tables();
    slots.clone().map(|slot| tables.traffic(slot).in_packets).sum()
}

fn stub_case(name: &str, ns_min: f64, ns_median: f64, samples: usize) -> Case {
    Case {
        engine: "stub",
        method: name.to_owned(),
        family: 4,
        proto: "tcp",
        event: "floor",
        flows: 1024,
        services: 0,
        real_servers: 0,
        scheduler: "",
        ns_min,
        ns_median,
        samples,
    }
}

fn print(figures: &Figures) {
    println!("{}, Linux {}", figures.machine, figures.kernel);
    println!(
        "ns per packet over an XDP program that returns XDP_TX at once ({:.1} ns with the harness)",
        figures.floor_ns
    );
    println!(
        "{:<17} {:>2} {:<4} {:<12} {:<9} {:>9} {:>8} {:>8}",
        "method", "ip", "l4", "event", "scheduler", "flows", "min", "median"
    );
    for case in &figures.cases {
        println!(
            "{:<17} {:>2} {:<4} {:<12} {:<9} {:>9} {:>8.1} {:>8.1}",
            case.method,
            case.family,
            case.proto,
            case.event,
            case.scheduler,
            case.flows,
            case.ns_min,
            case.ns_median
        );
    }
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn machine() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown processor");
    model.trim_start_matches([' ', '\t', ':']).to_owned()
}

fn kernel() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

fn client(kind: Kind) -> [u8; 16] {
    if kind.ipv4 { mapped([198, 18, 0, 0]) } else { v6(0xc) }
}

fn mapped([a, b, c, d]: [u8; 4]) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

fn v6(last: u16) -> [u8; 16] {
    let [high, low] = last.to_be_bytes();
    [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, high, low]
}

fn address_of(bytes: [u8; 16]) -> Address {
    Address::from(match std::net::Ipv6Addr::from(bytes).to_ipv4_mapped() {
        Some(v4) => std::net::IpAddr::V4(v4),
        None => std::net::IpAddr::V6(bytes.into()),
    })
}
