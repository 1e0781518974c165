//! All instances of a director: which message is for which, what an interface or a track means for each, sync groups.
//!
//! Sans-IO like the virtual router itself: [`Routers::poll_output`] says what is to be done.

mod messages;
mod switchover;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

pub use switchover::Switchover;

use super::member::{Member, Tracked};
use super::{Action, Reason, State, VirtualRouter, group};
use crate::model::{Instance, TrackKind, Vrrp};

/// What matters of an interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    /// Up, with carrier.
    pub up: bool,
    /// Addresses to send from, the first one of each family; over IPv6 link-local.
    pub ipv4: Option<IpAddr>,
    /// As before.
    pub ipv6: Option<IpAddr>,
}

impl Interface {
    /// The address to send from.
    #[must_use]
    pub fn primary(&self, ipv4: bool) -> Option<IpAddr> {
        if ipv4 { self.ipv4 } else { self.ipv6 }
    }
}

/// Interfaces by name.
pub type Interfaces = BTreeMap<String, Interface>;

/// What is to be done, in this order. Numbers are places in [`Routers::members`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send an advertisement with this priority, on every path of the instance.
    Send {
        /// Instance.
        member: usize,
        /// Priority.
        priority: u8,
    },
    /// Take the addresses.
    Take(usize),
    /// Give the addresses up.
    Release(usize),
    /// Tell the network whose the addresses are, this often.
    Announce(usize, u32),
    /// Tell everybody about a change of state.
    Entered {
        /// Instance.
        member: usize,
        /// State before.
        from: State,
        /// State now.
        to: State,
        /// Why.
        reason: Reason,
        /// Its priority.
        priority: u8,
    },
    /// Another router is active at the same time; told once, until it is over.
    Rival {
        /// Instance.
        member: usize,
        /// The other one's address.
        source: IpAddr,
        /// Its priority.
        priority: u8,
    },
    /// All members of a sync group are in this state now.
    GroupEntered {
        /// Name of the group.
        group: String,
        /// State.
        to: State,
    },
}

#[derive(Debug, Clone)]
struct Group {
    name: String,
    members: Vec<usize>,
    told: State,
}

/// All instances.
#[derive(Debug, Clone, Default)]
pub struct Routers {
    members: Vec<Member>,
    groups: Vec<Group>,
    interfaces: Interfaces,
    outputs: VecDeque<Output>,
    /// Messages for no instance, by reason.
    strays: BTreeMap<&'static str, u64>,
}

impl Routers {
    /// All instances in the order of the configuration.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Messages that no instance could be found for, by reason.
    #[must_use]
    pub fn strays(&self) -> &BTreeMap<&'static str, u64> {
        &self.strays
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let timers = self.members.iter().flat_map(|member| {
            [member.router.poll_timeout(), member.announcements.poll_timeout()].into_iter().flatten()
        });
        timers.min()
    }

    /// The instance that goes on under another configuration: the same number on the same interface, in the same version.
    pub(super) fn same(old: &Instance, new: &Instance) -> bool {
        let identity = |instance: &Instance| {
            (instance.interface.clone(), instance.router.vrid, instance.router.version, instance.is_ipv4())
        };
        identity(old) == identity(new) && old.virtual_mac == new.virtual_mac
    }

    /// Stops the instances that `vrrp` does not have. Their outputs are to be carried out before [`Self::start`].
    pub fn stop_others(&mut self, vrrp: &Vrrp, now: Instant, clock: SystemTime) {
        self.groups.clear();
        for index in 0..self.members.len() {
            let goes_on = vrrp.instances.iter().any(|new| Self::same(&self.members[index].instance, new));
            if !goes_on {
                self.members[index].router.handle_shutdown();
                self.drain(index, now, clock);
            }
        }
    }

    /// Takes on a configuration: instances that are there already keep their state, new ones start.
    pub fn start(&mut self, vrrp: &Vrrp, now: Instant, clock: SystemTime) {
        let mut before = std::mem::take(&mut self.members);
        let mut fresh = Vec::new();
        for instance in &vrrp.instances {
            let old = before.iter().position(|old| Self::same(&old.instance, instance));
            match old.map(|index| before.swap_remove(index)) {
                Some(old) => self.members.push(Self::carry_over(old, instance)),
                None => {
                    fresh.push(self.members.len());
                    self.members.push(Member::new(Arc::clone(instance)));
                }
            }
        }
        self.groups = vrrp
            .groups
            .iter()
            .map(|group| Group {
                name: group.name.clone(),
                members: self
                    .members
                    .iter()
                    .enumerate()
                    .filter(|(_, member)| group.members.contains(&member.instance.name))
                    .map(|(index, _)| index)
                    .collect(),
                told: State::Initialize,
            })
            .collect();
        for index in fresh {
            let member = &self.members[index];
            // What lacks something goes from its start to its fault at once.
            if lacking(&self.interfaces, member).is_none() {
                self.with(index, now, clock, |router, _| router.handle_startup(now));
            }
        }
        self.judge(now, clock);
    }

    fn carry_over(mut old: Member, instance: &Arc<Instance>) -> Member {
        old.router.reconfigure(instance.router.clone());
        let known = |track: &crate::model::Track| {
            let place = old.instance.tracks.iter().position(|known| known.kind == track.kind)?;
            old.tracked.get(place).copied()
        };
        let tracked = instance.tracks.iter().map(|track| known(track).unwrap_or_default()).collect();
        let hmac = match (old.hmac.take(), &instance.hmac) {
            (Some((mut sealer, mut verifier)), Some(config)) => {
                sealer.reconfigure(config.clone());
                verifier.reconfigure(config.clone());
                Some((sealer, verifier))
            }
            _ => super::member::hmac(instance),
        };
        Member { tracked, hmac, instance: Arc::clone(instance), ..old }
    }

    /// Stops every instance.
    pub fn stop(&mut self, now: Instant, clock: SystemTime) {
        self.stop_others(&Vrrp::default(), now, clock);
    }

    /// Takes over how the interfaces are.
    pub fn handle_interfaces(&mut self, interfaces: Interfaces, now: Instant, clock: SystemTime) {
        if interfaces != self.interfaces {
            self.interfaces = interfaces;
            self.judge(now, clock);
        }
    }

    /// How an interface is.
    #[must_use]
    pub fn interface(&self, name: &str) -> Option<&Interface> {
        self.interfaces.get(name)
    }

    /// Takes over how something tracked is, for every instance that tracks it.
    pub fn handle_track(&mut self, kind: &TrackKind, tracked: Tracked, now: Instant, clock: SystemTime) {
        for member in &mut self.members {
            for (track, known) in member.instance.tracks.iter().zip(&mut member.tracked) {
                if track.kind == *kind {
                    *known = tracked;
                }
            }
        }
        self.judge(now, clock);
    }

    /// Brings faults and priorities in line with interfaces and tracks.
    fn judge(&mut self, now: Instant, clock: SystemTime) {
        for index in 0..self.members.len() {
            let member = &mut self.members[index];
            for (track, tracked) in member.instance.tracks.iter().zip(&mut member.tracked) {
                if let TrackKind::Interface(name) = &track.kind {
                    tracked.up = self.interfaces.get(name).is_some_and(|interface| interface.up);
                }
            }
            let missing = lacking(&self.interfaces, member).or_else(|| member.failed_track());
            let priority = member.priority();
            member.router.handle_priority(priority, now);
            let changed = member.missing != missing;
            member.missing = missing;
            // A new instance may find its interface down.
            if changed || member.missing.is_some() != (member.router.state() == State::Fault) {
                let grouped = self.members[index].instance.router.grouped;
                self.with(index, now, clock, |router, missing| {
                    // A group decides for its members.
                    if !grouped {
                        router.handle_fault(missing.clone(), now);
                    }
                });
            }
        }
    }

    /// Has a virtual router handle something, and its sync group follow.
    fn with<R>(
        &mut self,
        index: usize,
        now: Instant,
        clock: SystemTime,
        handle: impl FnOnce(&mut VirtualRouter, &Option<Reason>) -> R,
    ) -> R {
        let group = self.groups.iter().position(|group| group.members.contains(&index));
        let Some(place) = group else {
            let member = &mut self.members[index];
            let result = handle(&mut member.router, &member.missing);
            self.drain(index, now, clock);
            return result;
        };
        let inside = self.groups[place].members.clone();
        let before: Vec<State> = inside.iter().map(|index| self.members[*index].router.state()).collect();
        let alone = self.members[index].missing.clone();
        let result = handle(&mut self.members[index].router, &alone);
        let missing: Vec<Option<Reason>> =
            inside.iter().map(|index| self.members[*index].missing.clone()).collect();
        let mut routers: Vec<&mut VirtualRouter> = self
            .members
            .iter_mut()
            .enumerate()
            .filter(|(index, _)| inside.contains(index))
            .map(|(_, member)| &mut member.router)
            .collect();
        group::settle(&mut routers, &missing, &before, now);
        for index in &inside {
            self.drain(*index, now, clock);
        }
        self.tell_group(place);
        result
    }

    fn tell_group(&mut self, place: usize) {
        let Some(group) = self.groups.get_mut(place) else { return };
        let mut states = group.members.iter().map(|index| self.members[*index].router.state());
        let Some(first) = states.next() else { return };
        if states.all(|state| state == first) && first != group.told {
            group.told = first;
            self.outputs.push_back(Output::GroupEntered { group: group.name.clone(), to: first });
        }
    }

    /// Turns what a virtual router wants into outputs.
    fn drain(&mut self, index: usize, now: Instant, clock: SystemTime) {
        let member = &mut self.members[index];
        let mut from = member.history.back().map_or(State::Initialize, |last| last.to);
        while let Some(action) = member.router.poll_action() {
            let output = match action {
                Action::Advertise(priority) => Output::Send { member: index, priority },
                Action::TakeAddresses => {
                    member.announcements.begin(&member.instance.announce, now);
                    self.outputs.push_back(Output::Take(index));
                    Output::Announce(index, member.instance.announce.repeat)
                }
                Action::Announce => Output::Announce(index, 1),
                Action::ReleaseAddresses => {
                    member.announcements.end();
                    Output::Release(index)
                }
                Action::Entered(to, reason) => {
                    member.entered(from, to, &reason, clock);
                    let priority = member.router.priority();
                    let output = Output::Entered { member: index, from, to, reason, priority };
                    from = to;
                    output
                }
            };
            self.outputs.push_back(output);
        }
    }

    /// Timers that have run out.
    pub fn handle_timeout(&mut self, now: Instant, clock: SystemTime) {
        for index in 0..self.members.len() {
            let member = &mut self.members[index];
            let count = member.announcements.handle_timeout(&member.instance.announce, now);
            if count > 0 {
                self.outputs.push_back(Output::Announce(index, count));
            }
            let Some(due) = member.router.poll_timeout().filter(|due| *due <= now) else { continue };
            let half = member.instance.router.interval.duration() / 2;
            if member.router.state() == State::Active && now.duration_since(due) > half {
                member.statistics.late += 1;
            }
            self.with(index, now, clock, |router, _| router.handle_timeout(now));
        }
    }

    /// The address that an instance sends from on an interface.
    #[must_use]
    pub fn own_address(&self, member: usize, interface: &str) -> Option<IpAddr> {
        let instance = &self.members.get(member)?.instance;
        if instance.interface == interface
            && let Some(source) = instance.source
        {
            return Some(source);
        }
        self.interfaces.get(interface)?.primary(instance.is_ipv4())
    }

    /// Authenticates a message of an instance, where that is configured.
    pub fn seal(
        &mut self,
        member: usize,
        message: Vec<u8>,
        source: IpAddr,
        destination: IpAddr,
        clock: SystemTime,
    ) -> Vec<u8> {
        match self.members.get_mut(member).and_then(|member| member.hmac.as_mut()) {
            Some((sealer, _)) => sealer.sign(&message, source, destination, clock),
            None => message,
        }
    }

    /// Counts what became of an advertisement.
    pub fn note_sent(&mut self, member: usize, sent: bool) {
        if let Some(member) = self.members.get_mut(member) {
            if sent {
                member.statistics.sent += 1;
            } else {
                member.statistics.send_errors += 1;
            }
        }
    }
}

/// What an instance's own interface lacks.
fn lacking(interfaces: &Interfaces, member: &Member) -> Option<Reason> {
    let instance = &member.instance;
    let name = &instance.interface;
    let missing = |text: String| Some(Reason::Missing(text));
    match interfaces.get(name) {
        None => missing(format!("there is no interface {name}")),
        Some(interface) if !interface.up => missing(format!("interface {name} is down")),
        Some(interface) if instance.source.is_none() && interface.primary(instance.is_ipv4()).is_none() => {
            let family = if instance.is_ipv4() { "an IPv4" } else { "a link-local IPv6" };
            missing(format!("interface {name} does not have {family} address"))
        }
        Some(_) => None,
    }
}
