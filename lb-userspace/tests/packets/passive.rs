//! What the datapath notes of connections that come to nothing: refused and unanswered ones, host and kernel.

use lb_common::datapath::{ConnectionTables, SweepOutcome, sweep_bucket};
use lb_common::layout::Geometry;

use super::director::Director;
use super::fixture::{EAST, Fixture, INGRESS, Kind, Purpose, SIZES, TCP4, TCP6};
use super::frames::{ACK, Packet, RST, SYN};
use super::host::HEADROOM;
use super::host::Host;
use super::kernel::{self, Kernel};
use super::row::timeouts;

/// Sends packets and lets a minute and a second go by, while another director has the address if `standby`; returns
/// refused and unanswered connections.
fn after(
    director: &mut impl Director,
    kind: Kind,
    purpose: Purpose,
    flags: &[(bool, u8)],
    standby: bool,
) -> (u64, u64) {
    director.reset();
    director.attach(&[INGRESS, EAST]);
    let request = kind.request(kind.service(purpose));
    for (from_client, flags) in flags {
        let packet = if *from_client {
            request.clone().flags(*flags)
        } else {
            Packet::new(kind.transport(*flags), kind.server(purpose), request.from)
        };
        director.run(INGRESS, HEADROOM, &packet.bytes());
    }
    director.tables().real_server(kind.slot(purpose)).expect("a slot").set_standby(standby);
    let later = director.now() + ((61_000_000_000_u64) >> Geometry::STAMP_SHIFT) as u32;
    let mut outcome = SweepOutcome::default();
    for index in 0..director.tables().geometry().buckets() {
        // The first sweep takes the marks of use away, and notes the time.
        sweep_bucket(director.tables(), index, director.now(), &timeouts(), &mut outcome);
    }
    for index in 0..director.tables().geometry().buckets() {
        sweep_bucket(director.tables(), index, later, &timeouts(), &mut outcome);
    }
    let counts = director.traffic(kind.slot(purpose));
    (counts.refused, counts.unanswered)
}

fn judge(director: &mut impl Director) {
    const CLIENT: bool = true;
    const SERVER: bool = false;
    for kind in [TCP4, TCP6] {
        for (purpose, flags, expected) in [
            (Purpose::Nat, &[(CLIENT, SYN)][..], (0, 1)),
            (Purpose::Nat, &[(CLIENT, SYN), (CLIENT, SYN)], (0, 1)),
            (Purpose::Nat, &[(CLIENT, SYN), (SERVER, RST | ACK)], (1, 0)),
            // The client never acknowledged, as in a flood; the server did what it should.
            (Purpose::Nat, &[(CLIENT, SYN), (SERVER, SYN | ACK)], (0, 0)),
            (Purpose::Nat, &[(CLIENT, SYN), (SERVER, SYN | ACK), (CLIENT, ACK)], (0, 0)),
            // A reset in the middle of a connection refuses nothing.
            (Purpose::Nat, &[(CLIENT, SYN), (SERVER, SYN | ACK), (CLIENT, ACK), (SERVER, RST)], (0, 0)),
            (Purpose::Nat, &[(CLIENT, SYN), (CLIENT, RST)], (0, 1)),
            // Without NAT the answers pass elsewhere.
            (Purpose::Direct, &[(CLIENT, SYN)], (0, 1)),
            (Purpose::Direct, &[(CLIENT, SYN), (CLIENT, ACK)], (0, 0)),
        ] {
            assert_eq!(
                after(director, kind, purpose, flags, false),
                expected,
                "{kind} {purpose:?} {flags:?}"
            );
            // What was refused was refused; whether the others were answered, nobody here can know.
            let seen = (expected.0, 0);
            let name = format!("{kind} {purpose:?} {flags:?}, standby");
            assert_eq!(after(director, kind, purpose, flags, true), seen, "{name}");
        }
    }
}

#[test]
fn failed_connections_are_told_apart_on_the_host() {
    judge(&mut Host::new(SIZES, Fixture::standard()));
}

#[test]
fn failed_connections_are_told_apart_in_the_kernel() {
    let judged = std::thread::spawn(|| {
        kernel::enter_namespace();
        judge(&mut Kernel::new(SIZES, Fixture::standard()));
    });
    judged.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}
