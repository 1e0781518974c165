//! TCP states follow the recordings of a real director.

use lb_common::datapath::tcp_state::{self, Direction, State};
use serde_json::Value;

fn state(name: &str) -> State {
    (0..=tcp_state::SYNACK)
        .find(|state| tcp_state::name(*state) == name)
        .unwrap_or_else(|| panic!("no state {name}"))
}

fn flags(name: &str) -> u8 {
    match name {
        "SYN" => 0x02,
        "SYNACK" => 0x12,
        "FIN" => 0x11,
        "ACK" => 0x10,
        "PSHACK" => 0x18,
        "RST" => 0x04,
        "NULL" => 0x00,
        other => panic!("no packet {other}"),
    }
}

#[test]
fn every_recorded_transition_is_ours() {
    let recordings: Value = serde_json::from_str(include_str!("golden/tcp-states.json")).unwrap();
    let mut compared = 0;
    for recording in recordings.as_array().unwrap() {
        let nat = recording["forwarding"] == "NAT";
        for row in recording["transitions"].as_array().unwrap() {
            let text = |index: usize| row[index].as_str().unwrap();
            let direction = match (nat, text(1)) {
                (true, "in") => Direction::Input,
                (true, "out") => Direction::Output,
                (false, "in") => Direction::InputOnly,
                other => panic!("no direction {other:?}"),
            };
            let next = tcp_state::next(state(text(0)), direction, flags(text(2)));
            assert_eq!(tcp_state::name(next), text(3), "{row} with {direction:?}");
            compared += 1;
        }
    }
    assert_eq!(compared, 133);
}

#[test]
fn a_flow_is_active_from_its_syn_until_its_end() {
    let active: Vec<State> = (0..=tcp_state::UDP_FLOW).filter(|state| tcp_state::is_active(*state)).collect();
    assert_eq!(active, [tcp_state::ESTABLISHED, tcp_state::SYN_SENT, tcp_state::SYN_RECV, tcp_state::SYNACK]);
}
