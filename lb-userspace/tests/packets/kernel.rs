//! The XDP program itself, run by `BPF_PROG_TEST_RUN` in a network namespace of its own.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;

use aya::programs::{TestRun, TestRunOptions};
use lb_common::atomic;
use lb_common::datapath::ConnectionTables;
use lb_common::layout::{BUCKET_WAYS, Geometry, Service, TrafficCounts};
use lb_userspace::datapath::{Datapath, MappedTables, Sizes};

use super::director::{Action, Director};
use super::fixture::{EAST, Fixture, INGRESS, ROUTES, WEST, gateway_mac, own_mac};

/// The return values of XDP programs (linux/bpf.h).
const XDP_ABORTED: u32 = 0;
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;
const XDP_REDIRECT: u32 = 4;

/// Gives the calling thread a network namespace with the fixture's interfaces, routes and neighbours. It goes with the
/// thread.
pub(crate) fn enter_namespace() {
    // SAFETY: geteuid has no preconditions and cannot fail.
    let root = unsafe { libc::geteuid() } == 0;
    assert!(root, "this test loads an XDP program and needs root: run it as root");
    // SAFETY: no memory is involved; only the calling thread changes.
    let failed = unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0;
    assert!(!failed, "a network namespace: {}", std::io::Error::last_os_error());
    let mac = |bytes: [u8; 6]| bytes.map(|byte| format!("{byte:02x}")).join(":");
    let mut script = vec!["link set lo up".to_owned()];
    for ifindex in [INGRESS, EAST, WEST] {
        let device = format!("port{ifindex}");
        // IPv6 addresses are to work at once, and nothing but rows is to send.
        script.push(format!(
            "link add {device} index {ifindex} address {} type veth peer name peer{ifindex}",
            mac(own_mac(ifindex))
        ));
        script.push(format!("link set {device} addrgenmode none"));
        script.push(format!("link set peer{ifindex} addrgenmode none"));
        script.push(format!("address add 172.16.{ifindex}.1/24 dev {device}"));
        script.push(format!("address add fdaa:{ifindex}::1/64 dev {device} nodad"));
        script.push(format!("link set {device} up"));
        script.push(format!("link set peer{ifindex} up"));
        for gateway in [format!("172.16.{ifindex}.254"), format!("fdaa:{ifindex}::fe")] {
            script.push(format!(
                "neighbour replace {gateway} lladdr {} dev {device} nud permanent",
                mac(gateway_mac(ifindex))
            ));
        }
    }
    for (v4, v6, ifindex) in ROUTES {
        script.push(format!("route add {v4}/24 via 172.16.{ifindex}.254"));
        script.push(format!("-6 route add {v6}/64 via fdaa:{ifindex}::fe"));
    }
    for line in script {
        run("ip", &line.split(' ').collect::<Vec<_>>());
    }
    // A process has its own view of /proc/sys/net; this thread's children share its namespace.
    for path in ["ipv4/conf/all/forwarding", "ipv6/conf/all/forwarding"] {
        run("sh", &["-c", &format!("echo 1 > /proc/sys/net/{path}")]);
    }
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().expect("the program starts");
    assert!(
        output.status.success(),
        "{program} {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The director in the kernel.
pub(crate) struct Kernel {
    pub(crate) datapath: Datapath,
    tables: Arc<MappedTables>,
    fixture: Fixture,
    attached: BTreeSet<u32>,
}

impl Kernel {
    /// Loads the program and writes the fixture.
    pub(crate) fn new(sizes: Sizes, fixture: Fixture) -> Self {
        let mut datapath = Datapath::load(&sizes).expect("the kernel takes the XDP program");
        let tables = datapath.tables();
        for service in &fixture.services {
            tables.write_scheduler_range(service.fields.table_offset, &service.table);
            datapath.insert_service(service.key, service.id).expect("room for a service");
        }
        for (id, address) in &fixture.refused {
            assert_eq!(datapath.refuse_address(*address, false).expect("room for an address"), *id);
        }
        let mut kernel = Self { datapath, tables, fixture, attached: BTreeSet::new() };
        kernel.reset();
        kernel
    }
}

impl Director for Kernel {
    type Tables = MappedTables;

    fn tables(&self) -> &MappedTables {
        &self.tables
    }

    fn service(&self, id: u32) -> &Service {
        self.tables.service(id).expect("a service")
    }

    fn reset(&mut self) {
        let tables = &self.tables;
        let sizes = tables.sizes();
        for index in 0..sizes.geometry.buckets() {
            let bucket = tables.bucket(index).expect("a bucket");
            for (way, cell) in (0..).zip(&bucket.0) {
                atomic::store(cell, 0);
                let entry = tables.entry(index * BUCKET_WAYS + way).expect("an entry");
                atomic::store(entry.meta(), 0);
            }
        }
        for slot in 0..sizes.real_servers {
            atomic::store(tables.load(slot).expect("a load"), 0);
            tables.clear_traffic(slot);
        }
        for (slot, fields) in &self.fixture.servers {
            let server = tables.real_server(*slot).expect("a slot");
            server.write(fields);
            server.set_standby(false);
        }
        for service in &self.fixture.services {
            let record = tables.service(service.id).expect("a service");
            record.write(&service.fields);
            record.set_standby(false);
            atomic::store(record.cursor(), 0);
        }
        for (id, _) in &self.fixture.refused {
            self.service(*id).set_standby(false);
        }
    }

    fn attach(&mut self, interfaces: &[u32]) {
        let wanted: BTreeSet<u32> = interfaces.iter().copied().collect();
        let mut devices = self.datapath.devices().expect("the device map");
        for gone in self.attached.difference(&wanted) {
            devices.remove(*gone).expect("an interface that was there");
        }
        for new in wanted.difference(&self.attached) {
            devices.insert(*new, *new, None, 0).expect("room for an interface");
        }
        self.attached = wanted;
    }

    fn run(&mut self, ingress: u32, headroom: usize, frame: &[u8]) -> (Action, Vec<u8>) {
        assert_eq!(headroom, super::host::HEADROOM, "the kernel chooses the headroom");
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context = [0, frame.len() as u32, 0, ingress, 0, 0].map(u32::to_ne_bytes).concat();
        let mut output = vec![0; frame.len() + 256];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut output),
            ctx_in: Some(&context),
            ..TestRunOptions::new()
        };
        let result = self.datapath.program().expect("the program").test_run(options);
        let result = result.unwrap_or_else(|error| panic!("a frame of {} bytes: {error}", frame.len()));
        output.truncate(result.data_size_out as usize);
        let action = match result.return_value {
            XDP_DROP => Action::Drop,
            XDP_PASS => Action::Pass,
            XDP_TX => Action::Transmit,
            // The kernel does not tell the interface. Rows that want to know leave one only.
            XDP_REDIRECT => match self.attached.iter().collect::<Vec<_>>()[..] {
                [only] => Action::Redirect(*only),
                _ => Action::Redirect(0),
            },
            XDP_ABORTED => panic!("XDP_ABORTED"),
            other => panic!("XDP action {other}"),
        };
        (action, output)
    }

    fn counters(&self) -> Vec<u64> {
        self.datapath.counters().expect("the counters")
    }

    fn traffic(&self, slot: u32) -> TrafficCounts {
        self.tables.traffic(slot)
    }

    fn now(&self) -> u32 {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the argument is a valid timespec; the clock exists on Linux.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut time) };
        let nanoseconds = time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned();
        (nanoseconds >> Geometry::STAMP_SHIFT) as u32
    }
}
