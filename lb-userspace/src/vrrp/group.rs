//! Sync groups: virtual routers that are active together or not at all, such as the two sides of a NAT director.

use std::time::Instant;

use super::{Reason, State, VirtualRouter};

/// What the members of a group were before something was handled.
pub fn states(members: &[&mut VirtualRouter]) -> Vec<State> {
    members.iter().map(|member| member.state()).collect()
}

/// Brings the members of a group in line after something was handled by one of them.
///
/// - A member in fault takes the others with it, and they come back when all of its members can.
/// - A member that stepped back from being active takes the others with it.
/// - When all of them have waited long enough, all of them take over.
///
/// Two hosts may each win on one network and lose on the other, and then both step back; where their skews are the same
/// they would do so for ever. The network with the lowest number decides: who lost there waits two intervals longer, so
/// that the other host is active before, and is heard.
///
/// `missing` says for each member what it lacks itself; `before` is what [`states`] said.
pub fn settle(
    members: &mut [&mut VirtualRouter],
    missing: &[Option<Reason>],
    before: &[State],
    now: Instant,
) {
    if missing.iter().any(Option::is_some) {
        for (member, own) in members.iter_mut().zip(missing) {
            member.handle_fault(Some(own.clone().unwrap_or(Reason::Group)), now);
        }
        return;
    }
    for member in members.iter_mut() {
        member.handle_fault(None, now);
    }
    let stepped_back: Vec<bool> = members
        .iter()
        .zip(before)
        .map(|(member, before)| *before == State::Active && member.state() == State::Backup)
        .collect();
    if stepped_back.contains(&true) {
        let lost_first = first(members).is_some_and(|first| stepped_back[first]);
        for member in members.iter_mut() {
            member.follow_back(now);
            if lost_first {
                member.stand_aside(now);
            }
        }
        return;
    }
    let ready = |member: &&mut VirtualRouter| member.state() == State::Active || member.wants_active();
    if members.iter().all(ready) && members.iter().any(|member| member.wants_active()) {
        for member in members.iter_mut() {
            member.lead(Reason::Group, now);
        }
    }
}

/// The member with the lowest number, which is the same on every host.
fn first(members: &[&mut VirtualRouter]) -> Option<usize> {
    (0..members.len()).min_by_key(|index| members[*index].config().vrid)
}
