//! Answers to listings and metrics.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use crate::control::snapshot::NamedCount;
use crate::control::vrrp::{VrrpInstanceStatus, VrrpPeerStatus, VrrpStatus, VrrpTrackStatus, VrrpTransition};
use crate::model::Vrrp;
use crate::vrrp::member::Member;
use crate::vrrp::routers::Routers;
use crate::vrrp::{Reject, State, Version};

pub(super) fn of(
    routers: &Routers,
    vrrp: &Vrrp,
    realtime: bool,
    now: Instant,
    clock: SystemTime,
) -> VrrpStatus {
    let members = routers.members().iter().enumerate();
    VrrpStatus {
        instances: members
            .map(|(index, member)| instance(routers, index, member, vrrp, now, clock))
            .collect(),
        strays: [Reject::Short, Reject::Vrid]
            .iter()
            .map(|reject| named(reject.name(), routers.strays()))
            .collect(),
        realtime,
    }
}

fn named(name: &'static str, counts: &BTreeMap<&'static str, u64>) -> NamedCount {
    NamedCount { name: name.to_owned(), count: counts.get(name).copied().unwrap_or(0) }
}

fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

fn instance(
    routers: &Routers,
    index: usize,
    member: &Member,
    vrrp: &Vrrp,
    now: Instant,
    clock: SystemTime,
) -> VrrpInstanceStatus {
    let (instance, router, statistics) = (member.instance(), member.router(), member.statistics());
    let last = member.history().last();
    let since = last.and_then(|last| clock.duration_since(last.time).ok()).unwrap_or_default();
    let group = vrrp.groups.iter().find(|group| group.members.contains(&instance.name));
    VrrpInstanceStatus {
        name: instance.name.clone(),
        interface: instance.interface.clone(),
        router_id: instance.router.vrid,
        version: match instance.router.version {
            Version::V2 => 2,
            Version::V3 => 3,
        },
        state: router.state().name().to_owned(),
        since_ms: since.as_millis() as u64,
        reason: last.map(|last| last.reason.to_string()).unwrap_or_default(),
        priority: router.priority(),
        configured_priority: instance.router.priority,
        interval_ms: milliseconds(instance.router.interval.duration()),
        active_interval_ms: milliseconds(router.active_interval().duration()),
        active_down_ms: milliseconds(router.active_down()),
        timer_ms: router.poll_timeout().map(|due| due.saturating_duration_since(now).as_millis() as u64),
        held: router.is_held(),
        rival: member.has_rival(now),
        group: group.map(|group| group.name.clone()),
        addresses: instance.all_addresses().map(ToString::to_string).collect(),
        source: routers.own_address(index, &instance.interface),
        peers: member
            .peers()
            .iter()
            .map(|peer| VrrpPeerStatus {
                address: peer.address,
                interface: peer.interface.clone(),
                priority: peer.priority,
                ago_ms: now.saturating_duration_since(peer.heard).as_millis() as u64,
            })
            .collect(),
        tracks: instance
            .tracks
            .iter()
            .zip(member.tracked())
            .map(|(track, tracked)| VrrpTrackStatus {
                name: track.name.clone(),
                up: tracked.up,
                number: tracked.number,
                weight: track.weight,
            })
            .collect(),
        history: member
            .history()
            .map(|transition| VrrpTransition {
                time: humantime::format_rfc3339_millis(transition.time).to_string(),
                from: transition.from.name().to_owned(),
                to: transition.to.name().to_owned(),
                reason: transition.reason.to_string(),
            })
            .collect(),
        sent: statistics.sent,
        send_errors: statistics.send_errors,
        late: statistics.late,
        received: statistics.received,
        received_zero: statistics.received_zero,
        other_addresses: statistics.other_addresses,
        rejects: Reject::ALL.iter().map(|reject| named(reject.name(), &statistics.rejects)).collect(),
        transitions: State::ALL.iter().map(|state| named(state.name(), &statistics.transitions)).collect(),
    }
}
