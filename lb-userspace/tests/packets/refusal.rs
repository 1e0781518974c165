//! Addresses that begin and end to accept nothing but what services take, while the program runs.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use lb_common::layout::{Address, Counter, DropReason, PassReason, SchedulerKind, ServiceFields, ServiceKey};
use lb_userspace::datapath::{LoadError, MAX_REFUSED_ADDRESSES};

use super::director::Director;
use super::fixture::{Fixture, INGRESS, Kind, SIZES, TCP4, TCP6, UDP4, UDP6};
use super::frames::{Packet, Transport};
use super::host::HEADROOM;
use super::kernel::{self, Kernel};

const SERVICE: u32 = 7;

/// Why a packet went where it went.
fn reason(kernel: &mut Kernel, packet: &Packet) -> Counter {
    let before = kernel.counters();
    kernel.run(INGRESS, HEADROOM, &packet.bytes());
    let after = kernel.counters();
    let all = (PassReason::ALL.iter().map(|reason| Counter::from(*reason)))
        .chain(DropReason::ALL.iter().map(|reason| Counter::from(*reason)));
    let mut counted =
        all.filter(|counter| after[counter.index() as usize] != before[counter.index() as usize]);
    let reason = counted.next().expect("a counted reason");
    assert_eq!(counted.next(), None);
    reason
}

/// Reasons of TCP, UDP and anything else to an address.
fn reasons(kernel: &mut Kernel, (tcp, udp): (Kind, Kind), address: IpAddr) -> [Counter; 3] {
    let to = SocketAddr::new(address, 443);
    let other = Packet::new(Transport::Other(47), tcp.client(1), to);
    [tcp.request(to), udp.request(to), other].map(|packet| reason(kernel, &packet))
}

fn accepted() -> [Counter; 3] {
    [PassReason::NoService, PassReason::NoService, PassReason::NotTcpUdp].map(Counter::from)
}

fn refused() -> [Counter; 3] {
    [DropReason::NotAccepted; 3].map(Counter::from)
}

fn suspended() -> [Counter; 3] {
    [PassReason::Standby; 3].map(Counter::from)
}

/// A TCP service without real servers, which takes all ports of an address.
fn all_ports(address: IpAddr) -> ServiceKey {
    ServiceKey::new(Address::from(address), 0, 6)
}

fn taken_by_the_service(rest: [Counter; 3]) -> [Counter; 3] {
    [Counter::from(DropReason::NoRealServer), rest[1], rest[2]]
}

fn come_and_go(kernel: &mut Kernel, kinds: (Kind, Kind)) {
    let (first, second) = (kinds.0.vip(), kinds.0.closed_vip());
    assert_eq!(reasons(kernel, kinds, first), accepted());

    let id = kernel.datapath.refuse_address(first, false).expect("room");
    assert_eq!(reasons(kernel, kinds, first), refused());
    assert_eq!(kernel.datapath.refuse_address(first, true).expect("room"), id, "said twice, done once");
    assert_eq!(reasons(kernel, kinds, first), refused());
    assert_eq!(reasons(kernel, kinds, second), accepted());

    let other = kernel.datapath.refuse_address(second, true).expect("room");
    assert_ne!(other, id);
    assert_eq!(reasons(kernel, kinds, second), suspended());
    kernel.tables().set_service_standby(other, false);
    assert_eq!(reasons(kernel, kinds, second), refused());
    kernel.tables().set_service_standby(other, true);
    assert_eq!(reasons(kernel, kinds, second), suspended());
    assert_eq!(reasons(kernel, kinds, first), refused());
    for _ in 0..2 {
        kernel.datapath.accept_address(second).expect("a known address, or none");
        assert_eq!(reasons(kernel, kinds, second), accepted());
    }
    assert_eq!(reasons(kernel, kinds, first), refused());

    // A service comes to the address and goes.
    kernel.datapath.insert_service(all_ports(first), SERVICE).expect("room");
    assert_eq!(reasons(kernel, kinds, first), taken_by_the_service(refused()));
    for _ in 0..2 {
        kernel.datapath.remove_service(all_ports(first)).expect("a known key, or none");
        assert_eq!(reasons(kernel, kinds, first), refused());
    }
    // The service was there before.
    kernel.datapath.accept_address(first).expect("a known address");
    kernel.datapath.insert_service(all_ports(first), SERVICE).expect("room");
    let again = kernel.datapath.refuse_address(first, false).expect("room");
    assert_eq!(again, id, "numbers are used again");
    assert_eq!(reasons(kernel, kinds, first), taken_by_the_service(refused()));
    kernel.datapath.accept_address(first).expect("a known address");
    assert_eq!(reasons(kernel, kinds, first), taken_by_the_service(accepted()));
    kernel.datapath.remove_service(all_ports(first)).expect("a known key");
    assert_eq!(reasons(kernel, kinds, first), accepted());
}

fn fill(kernel: &mut Kernel) {
    let address = |number: u32| IpAddr::from(Ipv4Addr::from(0x0a00_0000 + number));
    for number in 0..MAX_REFUSED_ADDRESSES {
        kernel.datapath.refuse_address(address(number), false).expect("room");
    }
    // The services have their places all the same.
    for number in 0..SIZES.services {
        let key = ServiceKey::new(Address::from(address(number)), 80, 6);
        kernel.datapath.insert_service(key, SERVICE).expect("room for a service");
    }
    let beyond = kernel.datapath.refuse_address(address(MAX_REFUSED_ADDRESSES), false);
    assert!(matches!(beyond, Err(LoadError::RefusedAddresses)), "{beyond:?}");
    assert_eq!(reasons(kernel, (TCP4, UDP4), address(MAX_REFUSED_ADDRESSES)), accepted());
    for number in 0..MAX_REFUSED_ADDRESSES {
        assert_eq!(reasons(kernel, (TCP4, UDP4), address(number)), refused());
        kernel.datapath.accept_address(address(number)).expect("a known address");
        assert_eq!(reasons(kernel, (TCP4, UDP4), address(number)), accepted());
    }
}

#[test]
fn addresses_are_refused_and_accepted_while_the_program_runs() {
    let judged = std::thread::spawn(|| {
        kernel::enter_namespace();
        let mut kernel = Kernel::new(SIZES, Fixture::default());
        let fields = ServiceFields { table_offset: 0, table_length: 0, scheduler: SchedulerKind::Turn };
        kernel.service(SERVICE).write(&fields);
        for kinds in [(TCP4, UDP4), (TCP6, UDP6)] {
            come_and_go(&mut kernel, kinds);
        }
        fill(&mut kernel);
    });
    judged.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}
