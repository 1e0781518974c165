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
    let stepped_back = members
        .iter()
        .zip(before)
        .any(|(member, before)| *before == State::Active && member.state() == State::Backup);
    if stepped_back {
        for member in members.iter_mut() {
            member.follow_back(now);
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
