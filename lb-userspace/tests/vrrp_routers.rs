//! All instances of a director under a virtual clock: interfaces, tracks, sync groups, reloads, messages.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use lb_userspace::config;
use lb_userspace::model::{TrackKind, Vrrp};
use lb_userspace::vrrp::member::Tracked;
use lb_userspace::vrrp::routers::{Interface, Interfaces, Output, Routers, Switchover};
use lb_userspace::vrrp::{Advertisement, Authentication, Centiseconds, Checksum, Received, State, Version};

struct World {
    routers: Routers,
    now: Instant,
    clock: SystemTime,
    interfaces: Interfaces,
}

fn vrrp(text: &str) -> Vrrp {
    config::parse("x", &format!("[[interface]]\nname = \"eth0\"\n{text}"))
        .expect("a right configuration")
        .vrrp
}

fn instance(name: &str, interface: &str, id: u8, extra: &str) -> String {
    format!(
        "[[vrrp]]\nname = \"{name}\"\ninterface = \"{interface}\"\nrouter_id = {id}\npriority = 150\naddress = [\"192.0.2.{id}\"]\n{extra}"
    )
}

impl World {
    fn new(text: &str) -> Self {
        let up = |last: u8| Interface { up: true, ipv4: Some(IpAddr::from([10, 0, last, 1])), ipv6: None };
        let interfaces: Interfaces = [("eth0".to_owned(), up(0)), ("eth1".to_owned(), up(1))].into();
        let (now, clock) = (Instant::now(), SystemTime::now());
        let mut world = Self { routers: Routers::default(), now, clock, interfaces };
        world.routers.handle_interfaces(world.interfaces.clone(), now, clock);
        world.configure(text);
        world
    }

    fn configure(&mut self, text: &str) -> Vec<Output> {
        let vrrp = vrrp(text);
        self.routers.stop_others(&vrrp, self.now, self.clock);
        let mut outputs = self.outputs();
        self.routers.start(&vrrp, self.now, self.clock);
        outputs.extend(self.outputs());
        outputs
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.routers.poll_output()).collect()
    }

    fn link(&mut self, name: &str, up: bool) -> Vec<Output> {
        self.interfaces.get_mut(name).unwrap().up = up;
        self.routers.handle_interfaces(self.interfaces.clone(), self.now, self.clock);
        self.outputs()
    }

    fn track(&mut self, kind: &TrackKind, up: bool) -> Vec<Output> {
        self.routers.handle_track(kind, Tracked { up, number: 0 }, self.now, self.clock);
        self.outputs()
    }

    /// Lets time pass, every timer at its time.
    fn pass(&mut self, duration: Duration) -> Vec<Output> {
        let end = self.now + duration;
        let mut outputs = Vec::new();
        while let Some(due) = self.routers.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.routers.handle_timeout(self.now, self.clock);
            outputs.extend(self.outputs());
        }
        self.now = end;
        outputs
    }

    fn hear(
        &mut self,
        interface: &str,
        id: u8,
        priority: u8,
        source: &str,
        destination: &str,
    ) -> Vec<Output> {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        let advertisement = Advertisement {
            vrid: id,
            priority,
            interval: Centiseconds::SECOND,
            addresses: vec![IpAddr::from([192, 0, 2, id])],
        };
        let message = advertisement.encode(
            Version::V3,
            Authentication::None,
            Checksum::PseudoHeader,
            source,
            destination,
        );
        let received = Received { source, destination, ttl: 255, message: &message };
        self.routers.handle_message(interface, &received, self.now, self.clock);
        self.outputs()
    }

    fn states(&self) -> Vec<State> {
        self.routers.members().iter().map(|member| member.router().state()).collect()
    }

    fn rejects(&self, member: usize, reason: &str) -> u64 {
        self.routers.members()[member].statistics().rejects.get(reason).copied().unwrap_or(0)
    }
}

const FOUR_SECONDS: Duration = Duration::from_secs(4);

#[test]
fn an_interface_that_goes_takes_its_instances_with_it() {
    let mut world = World::new(&(instance("a", "eth0", 1, "") + &instance("b", "eth1", 2, "")));
    world.pass(FOUR_SECONDS);
    assert_eq!(world.states(), [State::Active, State::Active]);
    let outputs = world.link("eth0", false);
    assert!(matches!(
        outputs[..],
        [
            Output::Send { member: 0, priority: 0 },
            Output::Release(0),
            Output::Entered { to: State::Fault, .. }
        ]
    ));
    assert_eq!(world.states(), [State::Fault, State::Active]);
    world.link("eth0", true);
    assert_eq!(world.states(), [State::Backup, State::Active]);
    world.interfaces.get_mut("eth1").unwrap().ipv4 = None;
    world.routers.handle_interfaces(world.interfaces.clone(), world.now, world.clock);
    assert_eq!(world.states(), [State::Backup, State::Fault]);
    let last = world.routers.members()[1].history().last().unwrap().reason.to_string();
    assert_eq!(last, "interface eth1 does not have an IPv4 address");
}

#[test]
fn an_instance_that_lacks_something_at_its_start_does_nothing_before() {
    let mut world = World::new("");
    world.link("eth0", false);
    let outputs = world.configure(&instance("a", "eth0", 1, "").replace("150", "255"));
    assert!(matches!(outputs[..], [Output::Entered { to: State::Fault, .. }]), "{outputs:?}");
    let outputs = world.link("eth0", true);
    assert!(matches!(
        outputs[..],
        [Output::Send { .. }, Output::Take(0), Output::Announce(0, 5), Output::Entered { .. }]
    ));
}

#[test]
fn weights_add_up_and_faults_count_first() {
    let tracks = "[[vrrp.track]]\nprocess = \"a\"\nweight = -20\n[[vrrp.track]]\nprocess = \"b\"\nweight = 30\n\
                  [[vrrp.track]]\nprocess = \"c\"\n[[vrrp.track]]\nfile = \"/f\"\nweight = 2\n";
    let mut world = World::new(&instance("a", "eth0", 1, tracks));
    let process = |name: &str| TrackKind::Process(name.to_owned());
    let priority = |world: &World| world.routers.members()[0].router().priority();
    assert_eq!(priority(&world), 180);
    world.track(&process("a"), false);
    assert_eq!(priority(&world), 160);
    world.track(&process("b"), false);
    assert_eq!(priority(&world), 130);
    let file = TrackKind::File("/f".into());
    for (number, expected) in [(10, 150), (-500, 1), (i32::MAX, 254), (0, 130)] {
        world.routers.handle_track(&file, Tracked { up: true, number }, world.now, world.clock);
        assert_eq!(priority(&world), expected, "{number}");
    }
    world.pass(FOUR_SECONDS);
    assert_eq!(world.states(), [State::Active]);
    world.track(&process("c"), false);
    assert_eq!(world.states(), [State::Fault]);
    world.track(&process("c"), true);
    assert_eq!(world.states(), [State::Backup]);
}

#[test]
fn a_group_is_told_once_for_all() {
    let text = instance("a", "eth0", 1, "")
        + &instance("b", "eth1", 2, "")
        + "[[vrrp_group]]\nname = \"g\"\nmembers = [\"a\", \"b\"]\n";
    let mut world = World::new(&text);
    let groups = |outputs: Vec<Output>| -> Vec<State> {
        let state = |output| match output {
            Output::GroupEntered { to, .. } => Some(to),
            _ => None,
        };
        outputs.into_iter().filter_map(state).collect()
    };
    assert_eq!(groups(world.pass(FOUR_SECONDS)), [State::Active]);
    assert_eq!(world.states(), [State::Active, State::Active]);
    assert_eq!(groups(world.link("eth1", false)), [State::Fault]);
    assert_eq!(world.states(), [State::Fault, State::Fault]);
    assert_eq!(groups(world.link("eth1", true)), [State::Backup]);
    world.pass(FOUR_SECONDS);
    let outputs = world.hear("eth0", 1, 200, "10.0.0.9", "224.0.0.18");
    assert_eq!(world.states(), [State::Backup, State::Backup]);
    assert_eq!(groups(outputs), [State::Backup]);
}

#[test]
fn a_reload_keeps_what_goes_on() {
    let mut world = World::new(&(instance("a", "eth0", 1, "") + &instance("b", "eth1", 2, "")));
    world.pass(FOUR_SECONDS);
    // Another name, priority and address, and the same virtual router; the other one goes.
    let changed = instance("renamed", "eth0", 1, "").replace("150", "100").replace("192.0.2.1", "192.0.2.77");
    let outputs = world.configure(&changed);
    let stopped =
        outputs.iter().filter(|output| matches!(output, Output::Entered { to: State::Initialize, .. }));
    assert_eq!(stopped.count(), 1);
    assert_eq!(world.states(), [State::Active]);
    assert_eq!(world.routers.members()[0].router().priority(), 100);
    let next = world.pass(Duration::from_secs(1));
    assert!(matches!(next[..], [Output::Send { member: 0, priority: 100 }]), "{next:?}");
    // Another number is another virtual router.
    world.configure(&instance("renamed", "eth0", 9, ""));
    assert_eq!(world.states(), [State::Backup]);
}

#[test]
fn messages_find_their_instance_by_number_interface_and_way() {
    let text = instance("a", "eth0", 1, "[[vrrp.heartbeat]]\ninterface = \"eth1\"\npeers = [\"10.0.1.9\"]\n")
        + &instance("u", "eth0", 2, "peers = [\"10.0.0.9\"]\n");
    let mut world = World::new(&text);
    world.pass(FOUR_SECONDS);
    let group = "224.0.0.18";
    assert_eq!(world.states(), [State::Active, State::Active]);
    world.hear("eth0", 3, 200, "10.0.0.9", group);
    world.hear("eth1", 2, 200, "10.0.1.9", "10.0.1.1");
    assert_eq!(world.routers.strays().get("vrid"), Some(&2), "a number and an interface of nobody");
    world.hear("eth0", 2, 200, "10.0.0.9", group);
    assert_eq!(world.rejects(1, "destination"), 1);
    world.hear("eth0", 2, 200, "10.0.0.8", "10.0.0.1");
    assert_eq!(world.rejects(1, "peer"), 1);
    world.hear("eth0", 1, 200, "10.0.0.1", group);
    assert_eq!(world.rejects(0, "own_address"), 1);
    assert_eq!(world.states(), [State::Active, State::Active]);
    // By its second way.
    world.hear("eth1", 1, 200, "10.0.1.9", "10.0.1.1");
    assert_eq!(world.states(), [State::Backup, State::Active]);
    world.hear("eth0", 2, 200, "10.0.0.9", "10.0.0.1");
    assert_eq!(world.states(), [State::Backup, State::Backup]);
}

#[test]
fn a_rival_is_seen_while_it_is_there() {
    let mut world = World::new(&instance("a", "eth0", 1, ""));
    world.pass(FOUR_SECONDS);
    let rivals =
        |outputs: &[Output]| outputs.iter().filter(|output| matches!(output, Output::Rival { .. })).count();
    assert_eq!(rivals(&world.hear("eth0", 1, 100, "10.0.0.9", "224.0.0.18")), 1);
    assert_eq!(rivals(&world.hear("eth0", 1, 100, "10.0.0.9", "224.0.0.18")), 0, "told once");
    assert!(world.routers.members()[0].has_rival(world.now));
    assert_eq!(world.states(), [State::Active]);
    world.pass(FOUR_SECONDS);
    assert!(!world.routers.members()[0].has_rival(world.now));
}

#[test]
fn switchovers_that_cannot_be() {
    let mut world = World::new(&instance("a", "eth0", 1, ""));
    let order = |world: &mut World, name, to| world.routers.switchover(name, to, world.now, world.clock);
    assert!(
        matches!(order(&mut world, Some("b"), None), Switchover::Refused(why) if why.contains("there are a"))
    );
    assert!(matches!(order(&mut world, None, Some(true)), Switchover::Nothing(_)));
    world.hear("eth0", 1, 200, "10.0.0.9", "224.0.0.18");
    assert!(
        matches!(order(&mut world, None, Some(false)), Switchover::Refused(why) if why.contains("10.0.0.9 is active"))
    );
    world.link("eth0", false);
    assert!(
        matches!(order(&mut world, None, Some(false)), Switchover::Refused(why) if why.contains("in fault"))
    );
}
