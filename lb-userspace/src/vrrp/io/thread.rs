//! The loop of the thread.

mod send;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Instant, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use tokio::sync::mpsc::UnboundedSender;
use tracing::{error, info, warn};

use super::guard::Guard;
use super::socket::{AdvertisementSocket, FrameSocket, LONGEST};
use super::{Change, Command, Duty, addresses, realtime, status};
use crate::model::{Instance, Vrrp};
use crate::netlink::{Inventory, Subscription};
use crate::vrrp::State;
use crate::vrrp::routers::{Interface, Interfaces, Output, Routers};

/// Messages of one socket that are taken before timers and other sockets have their turn.
const MESSAGES_AT_ONCE: usize = 64;

/// Interface and whether it is IPv4's.
type SocketKey = (String, bool);

/// Everything that the thread has.
pub(super) struct Work {
    wake: Arc<OwnedFd>,
    commands: Receiver<Command>,
    duty: Box<dyn Duty>,
    changes: UnboundedSender<Change>,
    subscription: Subscription,
    inventory: Inventory,
    frames: FrameSocket,
    sockets: BTreeMap<SocketKey, AdvertisementSocket>,
    routers: Routers,
    vrrp: Vrrp,
    realtime: bool,
    /// Program of the guard, and the guard once it is needed.
    guard_program: Option<PathBuf>,
    guard: Guard,
    buffer: Box<[u8; LONGEST]>,
}

impl Work {
    /// Opens what it needs from the kernel.
    pub(super) fn open(
        wake: Arc<OwnedFd>,
        commands: Receiver<Command>,
        duty: Box<dyn Duty>,
        changes: UnboundedSender<Change>,
        guard_program: Option<PathBuf>,
    ) -> io::Result<Self> {
        // First the events, then the state: nothing is missed in between.
        let subscription = Subscription::open()?;
        Ok(Self {
            wake,
            commands,
            duty,
            changes,
            subscription,
            inventory: Inventory::read()?,
            frames: FrameSocket::open()?,
            sockets: BTreeMap::new(),
            routers: Routers::default(),
            vrrp: Vrrp::default(),
            realtime: false,
            guard_program,
            guard: Guard::default(),
            buffer: Box::new([0; LONGEST]),
        })
    }

    /// Runs until it is told to stop.
    pub(super) fn run(mut self) {
        loop {
            self.wait();
            if self.obey().is_break() {
                break;
            }
            self.refresh();
            self.receive();
            self.routers.handle_timeout(Instant::now(), SystemTime::now());
            self.carry_out();
        }
        self.routers.stop(Instant::now(), SystemTime::now());
        self.carry_out();
        for instance in &self.vrrp.instances {
            addresses::remove_device(instance, &self.inventory);
        }
    }

    /// Waits for a message, a change, a command or the next timer.
    fn wait(&self) {
        let timeout = self.routers.poll_timeout().map(|due| {
            let wait = due.saturating_duration_since(Instant::now());
            // 30 bits of nanoseconds always fit.
            Timespec { tv_sec: wait.as_secs().cast_signed(), tv_nsec: i64::from(wait.subsec_nanos()) }
        });
        let own = [self.wake.as_fd(), self.subscription.as_fd()];
        let sockets = self.sockets.values().map(AsFd::as_fd);
        let mut fds: Vec<PollFd<'_>> =
            own.into_iter().chain(sockets).map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        // An interruption is as good as a timeout: everything is looked at anyway.
        let _ = poll(&mut fds, timeout.as_ref());
    }

    fn obey(&mut self) -> std::ops::ControlFlow<()> {
        // Only resets the counter.
        let _ = rustix::io::read(&*self.wake, &mut [0; 8]);
        while let Ok(command) = self.commands.try_recv() {
            let (now, clock) = (Instant::now(), SystemTime::now());
            match command {
                Command::Configure(vrrp, done) => {
                    self.configure(*vrrp);
                    // The daemon may have stopped waiting.
                    let _ = done.send(());
                }
                Command::Track(kind, tracked) => self.routers.handle_track(&kind, tracked, now, clock),
                Command::Switchover { name, to_backup, answer } => {
                    let outcome = self.routers.switchover(name.as_deref(), to_backup, now, clock);
                    let _ = answer.send(outcome);
                }
                Command::Status(answer) => {
                    let status = status::of(&self.routers, &self.vrrp, self.realtime, now, clock);
                    let _ = answer.send(status);
                }
                Command::Stop => return std::ops::ControlFlow::Break(()),
            }
            self.carry_out();
        }
        std::ops::ControlFlow::Continue(())
    }

    fn configure(&mut self, vrrp: Vrrp) {
        let (now, clock) = (Instant::now(), SystemTime::now());
        if !self.realtime && !vrrp.instances.is_empty() {
            match realtime::enter() {
                Ok(()) => self.realtime = true,
                Err(error) => warn!(%error, "VRRP runs without real-time priority or locked memory"),
            }
            if let Some(program) = self.guard_program.take() {
                match Guard::start(&program) {
                    Ok(guard) => self.guard = guard,
                    Err(error) => {
                        warn!(%error, "no guard: after a crash the virtual addresses would stay on this host");
                    }
                }
            }
        }
        self.routers.stop_others(&vrrp, now, clock);
        self.carry_out();
        let before = std::mem::replace(&mut self.vrrp, vrrp);
        for instance in &before.instances {
            self.clean_up_after(instance);
        }
        for instance in &self.vrrp.instances {
            addresses::make_device(instance, &self.inventory);
        }
        self.update_inventory();
        self.open_sockets();
        self.routers.handle_interfaces(self.interfaces(), now, clock);
        for instance in &self.vrrp.instances {
            if !before.instances.iter().any(|old| Routers::same(old, instance)) {
                // A daemon that was killed has left them.
                addresses::release(instance, instance.all_addresses(), &self.inventory, &mut self.guard);
            }
        }
        self.routers.start(&self.vrrp, now, clock);
        self.keep_addresses();
        self.carry_out();
    }

    /// Removes what an instance of the configuration before has and its successor has not.
    fn clean_up_after(&mut self, instance: &Instance) {
        let successor = self.vrrp.instances.iter().find(|new| Routers::same(instance, new));
        let kept = |address: &&crate::model::VirtualAddress| {
            successor.is_some_and(|new| new.all_addresses().any(|kept| kept == *address))
        };
        let gone: Vec<_> = instance.all_addresses().filter(|address| !kept(address)).collect();
        if !gone.is_empty() {
            let list: Vec<IpAddr> = gone.iter().map(|address| address.address).collect();
            addresses::release(instance, gone.into_iter(), &self.inventory, &mut self.guard);
            self.duty.set(&list, false);
        }
        if successor.is_none() {
            addresses::remove_device(instance, &self.inventory);
        }
    }

    fn update_inventory(&mut self) {
        if let Err(error) = self.subscription.drain(&mut self.inventory) {
            error!(%error, "interfaces and addresses cannot be read");
        }
    }

    /// Takes over changes of links and addresses.
    fn refresh(&mut self) {
        match self.subscription.drain(&mut self.inventory) {
            Ok(false) => {}
            Ok(true) => {
                for instance in &self.vrrp.instances {
                    addresses::make_device(instance, &self.inventory);
                }
                self.open_sockets();
                let interfaces = self.interfaces();
                self.routers.handle_interfaces(interfaces, Instant::now(), SystemTime::now());
                self.carry_out();
                self.keep_addresses();
            }
            Err(error) => error!(%error, "interfaces and addresses cannot be read"),
        }
    }

    /// Adds virtual addresses of active instances that are not there: somebody took them away, or a reload brought them.
    fn keep_addresses(&mut self) {
        for index in 0..self.routers.members().len() {
            let Some(member) = self.routers.members().get(index) else { continue };
            if member.router().state() != State::Active {
                continue;
            }
            let instance = Arc::clone(&member.instance);
            self.duty.set(&list(&instance), true);
            if addresses::take(&instance, &self.inventory, &mut self.guard) {
                self.announce(&instance, instance.announce.repeat);
            }
        }
    }

    /// What matters of the interfaces.
    fn interfaces(&self) -> Interfaces {
        let virtual_addresses: BTreeSet<IpAddr> = self
            .vrrp
            .instances
            .iter()
            .flat_map(|instance| instance.all_addresses())
            .map(|own| own.address)
            .collect();
        let mut interfaces = Interfaces::new();
        for link in self.inventory.links.values() {
            let own = |ipv4: bool| {
                let fits = move |address: &&crate::nexthop::Address| {
                    address.ifindex == link.ifindex && address.usable && suits(address.address, ipv4)
                };
                let mut addresses = self.inventory.addresses.iter().filter(fits);
                let real = addresses.clone().find(|address| !virtual_addresses.contains(&address.address));
                real.or_else(|| addresses.next()).map(|address| address.address)
            };
            let interface = Interface { up: link.up, ipv4: own(true), ipv6: own(false) };
            interfaces.insert(link.name.clone(), interface);
        }
        interfaces
    }

    /// Opens sockets for interfaces that have none, or another index than before; closes what nobody needs.
    fn open_sockets(&mut self) {
        let mut wanted = BTreeSet::new();
        for instance in &self.vrrp.instances {
            let heartbeats = instance.heartbeats.iter().map(|heartbeat| &heartbeat.interface);
            for name in std::iter::once(&instance.interface).chain(heartbeats) {
                wanted.insert((name.clone(), instance.is_ipv4()));
            }
        }
        let inventory = &self.inventory;
        self.sockets.retain(|key, socket| {
            wanted.contains(key)
                && inventory.link(&key.0).is_some_and(|link| link.ifindex == socket.ifindex())
        });
        for key in wanted {
            if self.sockets.contains_key(&key) {
                continue;
            }
            let Some(link) = inventory.link(&key.0) else { continue };
            match AdvertisementSocket::open(&key.0, link.ifindex, key.1) {
                Ok(socket) => {
                    self.sockets.insert(key, socket);
                }
                Err(error) => error!(interface = key.0, %error, "no socket for VRRP"),
            }
        }
    }

    fn receive(&mut self) {
        for ((interface, _), socket) in &self.sockets {
            for _ in 0..MESSAGES_AT_ONCE {
                let Some(message) = socket.receive(&mut self.buffer) else { break };
                let (now, clock) = (Instant::now(), SystemTime::now());
                self.routers.handle_message(interface, &message.received(), now, clock);
            }
        }
        self.carry_out();
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.routers.poll_output() {
            match output {
                Output::Send { member, priority } => self.send(member, priority),
                Output::Take(member) => self.with_instance(member, |work, instance| {
                    work.duty.set(&list(instance), true);
                    addresses::take(instance, &work.inventory, &mut work.guard);
                }),
                Output::Release(member) => self.with_instance(member, |work, instance| {
                    addresses::release(instance, instance.all_addresses(), &work.inventory, &mut work.guard);
                    addresses::bring(instance, &work.inventory, false);
                    work.duty.set(&list(instance), false);
                }),
                Output::Announce(member, count) => {
                    self.with_instance(member, |work, instance| work.announce(instance, count));
                }
                Output::Entered { member, from, to, reason, priority } => {
                    let Some(name) = self.routers.members().get(member).map(|member| &member.instance().name)
                    else {
                        continue;
                    };
                    let change = Change {
                        name: name.clone(),
                        group: false,
                        state: to,
                        before: from,
                        reason: Some(reason),
                        priority,
                    };
                    log(&change);
                    // The daemon is ending when nobody listens.
                    let _ = self.changes.send(change);
                }
                Output::Rival { member, source, priority } => self.with_instance(member, |_, instance| {
                    let instance = &instance.name;
                    error!(instance, %source, priority, "another router is active at the same time");
                }),
                Output::GroupEntered { group, to } => {
                    let change =
                        Change { name: group, group: true, state: to, before: to, reason: None, priority: 0 };
                    let _ = self.changes.send(change);
                }
            }
        }
    }

    fn with_instance(&mut self, member: usize, act: impl FnOnce(&mut Self, &Instance)) {
        let shared = self.routers.members().get(member).map(|member| Arc::clone(&member.instance));
        if let Some(instance) = shared {
            act(self, &instance);
        }
    }
}

/// Whether an address can be the source of advertisements.
fn suits(address: IpAddr, ipv4: bool) -> bool {
    match address {
        IpAddr::V4(_) => ipv4,
        IpAddr::V6(address) => !ipv4 && address.is_unicast_link_local(),
    }
}

fn list(instance: &Instance) -> Vec<IpAddr> {
    instance.all_addresses().map(|own| own.address).collect()
}

fn log(change: &Change) {
    let (instance, priority) = (&change.name, change.priority);
    let reason = change.reason.as_ref().map(ToString::to_string).unwrap_or_default();
    let (from, to) = (change.before.name(), change.state.name());
    match change.state {
        State::Fault => error!(instance, from, to, reason, "virtual router"),
        _ => info!(instance, from, to, priority, reason, "virtual router"),
    }
}
