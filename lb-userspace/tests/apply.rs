//! Plans: whatever a reload changes, every prefix of the operations leaves maps that packets can be judged by.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use lb_common::layout::{Geometry, Method, RealServerFields, ServiceFields};
use lb_userspace::apply::{Installed, Operation, PlanError, plan};
use lb_userspace::datapath::Sizes;
use lb_userspace::model::{
    ForwardingMethod, Model, Protocol, RealServer, Scheduler, ServiceKey, Settings, SourceHashFlags,
    VirtualService,
};
use proptest::prelude::*;

const SIZES: Sizes = Sizes {
    geometry: Geometry { established_mask: 1, embryonic_mask: 1, seed: 0 },
    services: 8,
    real_servers: 64,
    scheduler_slots: 8192,
};

/// The maps, as the operations leave them.
#[derive(Default)]
struct Maps {
    servers: BTreeMap<u32, (RealServerFields, bool)>,
    table: BTreeMap<u32, u32>,
    services: BTreeMap<u32, ServiceFields>,
    keys: BTreeMap<ServiceKey, u32>,
}

impl Maps {
    fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::AddServer { slot, fields } => {
                self.servers.insert(*slot, (*fields, true));
            }
            Operation::WriteRange { offset, slots } => {
                self.table.extend((*offset..).zip(slots.iter().copied()));
            }
            Operation::WriteService { id, fields } => {
                self.services.insert(*id, *fields);
            }
            Operation::InsertKey { key, id } => assert!(self.keys.insert(*key, *id).is_none()),
            Operation::RemoveKey { key } => assert!(self.keys.remove(key).is_some()),
            Operation::RetireServer { slot } => {
                let server = self.servers.get_mut(slot).expect("a server is retired that was never added");
                assert!(server.1, "slot {slot} is retired twice");
                server.1 = false;
            }
        }
    }

    /// Slots that a key's service can choose.
    fn choices(&self, key: &ServiceKey) -> Vec<u32> {
        let service = &self.services[&self.keys[key]];
        let range = service.table_offset..service.table_offset + service.table_length;
        let step = if service.scheduler.scans() { 2 } else { 1 };
        range.step_by(step).map(|index| self.table[&index]).filter(|slot| *slot != 0).collect()
    }

    /// Every service that a packet can find chooses among live real servers of its own.
    fn check(&self) {
        for (key, id) in &self.keys {
            for slot in self.choices(key) {
                let (fields, live) = &self.servers[&slot];
                assert!(*live, "{key} may choose the retired slot {slot}");
                assert_eq!(fields.service, *id, "{key} may choose another service's slot {slot}");
            }
        }
    }
}

fn real_server(number: u8, weight: u32, forwarding: ForwardingMethod) -> RealServer {
    let port = if forwarding == ForwardingMethod::Nat { 8080 } else { 80 };
    RealServer {
        address: IpAddr::from([10, 0, 0, number]),
        port,
        weight,
        forwarding,
        share: lb_userspace::model::FULL_SHARE,
        health: Default::default(),
    }
}

fn service(number: u8, scheduler: Scheduler, real_servers: Vec<RealServer>) -> VirtualService {
    let key = ServiceKey { protocol: Protocol::Tcp, address: IpAddr::from([192, 0, 2, number]), port: 80 };
    VirtualService {
        key,
        name: key.to_string(),
        scheduler,
        real_servers,
        health: Default::default(),
        always_on: false,
    }
}

fn model(services: Vec<VirtualService>) -> Model {
    Model {
        settings: Settings::default(),
        interfaces: Vec::new(),
        services,
        notifications: Default::default(),
        vrrp: Default::default(),
    }
}

fn schedulers() -> impl Strategy<Value = Scheduler> {
    prop_oneof![
        Just(Scheduler::Rr),
        Just(Scheduler::Wrr),
        Just(Scheduler::Lc),
        Just(Scheduler::Wlc),
        Just(Scheduler::Sed),
        Just(Scheduler::Ovf),
        Just(Scheduler::Fo),
        Just(Scheduler::Dh),
        Just(Scheduler::Sh(SourceHashFlags { port: true, fallback: false })),
        Just(Scheduler::Mh { flags: SourceHashFlags::default(), table_size: 251 }),
    ]
}

fn models() -> impl Strategy<Value = Model> {
    let server = (
        0u8..6,
        0u32..5,
        prop_oneof![Just(ForwardingMethod::Dr), Just(ForwardingMethod::Tunnel), Just(ForwardingMethod::Nat)],
    );
    let servers = prop::collection::btree_map(0u8..6, server, 0..6).prop_map(|servers| {
        servers.into_iter().map(|(number, (_, weight, method))| real_server(number, weight, method)).collect()
    });
    let services = prop::collection::btree_map(0u8..4, (schedulers(), servers), 0..4);
    services.prop_map(|services| {
        model(
            services
                .into_iter()
                .map(|(number, (scheduler, servers))| service(number, scheduler, servers))
                .collect(),
        )
    })
}

proptest! {
    #[test]
    fn every_prefix_of_every_plan_is_safe(steps in prop::collection::vec((models(), any::<u8>()), 1..8)) {
        let mut installed = Installed::new(&SIZES);
        let mut maps = Maps::default();
        let mut now = Instant::now();
        for (desired, cursor) in steps {
            now += Duration::from_secs(2);
            let planned = plan(&desired, &installed, &BTreeMap::new(), |_| u64::from(cursor), now).expect("room");
            for operation in &planned.operations {
                maps.apply(operation);
                maps.check();
            }
            installed = planned.installed;
            // The sweep has found no connection of the removed servers.
            let retired: Vec<u32> = installed.retired_slots().iter().copied().collect();
            installed.free_slots(retired);
            prop_assert_eq!(maps.keys.len(), desired.services.len());
            for wanted in &desired.services {
                let eligible = wanted.real_servers.iter().filter(|server| server.weight > 0).count();
                let mut choices = maps.choices(&wanted.key);
                choices.sort_unstable();
                choices.dedup();
                // sh and mh tables of few slots may leave out nobody; all have room for five servers here.
                let chosen = if wanted.scheduler == Scheduler::Fo { eligible.min(1) } else { eligible };
                prop_assert_eq!(choices.len(), chosen);
            }
            // Asked for the same again, nothing is to be done.
            let again = plan(&desired, &installed, &BTreeMap::new(), |_| 0, now).expect("room");
            prop_assert_eq!(again.operations, Vec::new());
        }
    }
}

#[test]
fn a_weight_changes_without_touching_slots() {
    let two = |weight| {
        let servers =
            vec![real_server(1, 1, ForwardingMethod::Dr), real_server(2, weight, ForwardingMethod::Dr)];
        model(vec![service(1, Scheduler::Wrr, servers)])
    };
    let now = Instant::now();
    let first = plan(&two(1), &Installed::new(&SIZES), &BTreeMap::new(), |_| 0, now).expect("room");
    let second = plan(&two(3), &first.installed, &BTreeMap::new(), |_| 0, now).expect("room");
    assert!(matches!(
        second.operations.as_slice(),
        [Operation::WriteRange { .. }, Operation::WriteService { .. }]
    ));
    let quiesced = plan(&two(0), &second.installed, &BTreeMap::new(), |_| 0, now).expect("room");
    assert!(!quiesced.operations.iter().any(|operation| matches!(operation, Operation::RetireServer { .. })));
}

#[test]
fn another_forwarding_method_is_another_slot() {
    let with = |method| model(vec![service(1, Scheduler::Rr, vec![real_server(1, 1, method)])]);
    let now = Instant::now();
    let first = plan(&with(ForwardingMethod::Dr), &Installed::new(&SIZES), &BTreeMap::new(), |_| 0, now)
        .expect("room");
    let second =
        plan(&with(ForwardingMethod::Tunnel), &first.installed, &BTreeMap::new(), |_| 0, now).expect("room");
    assert!(
        matches!(second.operations.first(), Some(Operation::AddServer { slot: 2, fields }) if fields.method == Method::Tunnel)
    );
    assert!(matches!(second.operations.last(), Some(Operation::RetireServer { slot: 1 })));
}

#[test]
fn what_does_not_fit_is_refused_with_its_name() {
    let now = Instant::now();
    let empty = Installed::new(&SIZES);
    let services = (0..9).map(|number| service(number, Scheduler::Rr, Vec::new())).collect();
    let error = plan(&model(services), &empty, &BTreeMap::new(), |_| 0, now).expect_err("eight fit");
    assert!(matches!(error, PlanError::Services { .. }));
    assert_eq!(error.to_string(), "service 192.0.2.8:80/tcp: no room for another service (limits.services)");

    let servers = (0..64).map(|number| real_server(number, 1, ForwardingMethod::Dr)).collect();
    let error = plan(&model(vec![service(1, Scheduler::Rr, servers)]), &empty, &BTreeMap::new(), |_| 0, now)
        .expect_err("63 fit");
    assert!(error.to_string().contains("no room for real server 10.0.0.63 (limits.real_servers"));

    let flags = SourceHashFlags::default();
    let servers = vec![real_server(1, 1, ForwardingMethod::Dr)];
    let large = service(1, Scheduler::Mh { flags, table_size: 16381 }, servers);
    let error = plan(&model(vec![large]), &empty, &BTreeMap::new(), |_| 0, now).expect_err("8192 fit");
    assert_eq!(
        error.to_string(),
        "service 192.0.2.1:80/tcp: no room for a scheduler table of 16381 slots (limits.scheduler_slots)"
    );
}
