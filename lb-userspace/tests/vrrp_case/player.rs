//! Plays a case: puts its inputs into the virtual routers and compares what comes out, line by line.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lb_userspace::vrrp::{
    Action, Advertisement, Expected, Reason, Received, Reject, Sealer, Verifier, VirtualRouter, group,
};

use super::Wrong;
use super::language::{Case, Line, Settings, number, seconds, show};
use super::message::{Incoming, Sealers};

/// The wall clock at the time 0 of every case.
const WALL_CLOCK: Duration = Duration::from_secs(1_700_000_000);

struct Member {
    settings: Settings,
    router: VirtualRouter,
    missing: Option<Reason>,
    verifier: Option<Verifier>,
    sealer: Option<Sealer>,
    /// The timer as it was last told.
    timer: Option<Instant>,
}

/// The virtual routers of a case, on a clock of their own.
pub(crate) struct Player {
    members: Vec<Member>,
    sealers: Sealers,
    origin: Instant,
    now: Duration,
    /// What came out and has not been compared yet.
    produced: VecDeque<String>,
}

impl Player {
    /// Plays a case to its end or to the first line that differs.
    pub(crate) fn play(case: &Case) -> Result<(), Wrong> {
        let members = case.routers.iter().map(|settings| {
            let (version, vrid) = (settings.config.version, settings.config.vrid);
            Member {
                router: VirtualRouter::new(settings.config.clone()),
                missing: None,
                verifier: settings.hmac.clone().map(|config| Verifier::new(version, vrid, config)),
                sealer: settings.hmac.clone().map(|config| Sealer::new(version, vrid, config)),
                timer: None,
                settings: settings.clone(),
            }
        });
        let mut player = Self {
            members: members.collect(),
            sealers: Sealers::default(),
            origin: Instant::now(),
            now: Duration::ZERO,
            produced: VecDeque::new(),
        };
        for line in &case.lines {
            player.line(line).map_err(|what| (line.number, what))?;
        }
        let last = case.lines.last().map_or(0, |line| line.number);
        match player.produced.front() {
            Some(got) => Err((last, different("the end", got))),
            None => Ok(()),
        }
    }

    fn line(&mut self, line: &Line) -> Result<(), String> {
        if self.produced.is_empty() {
            self.run(line.time);
        }
        let got = self.produced.pop_front();
        if line.input {
            let expected = format!("{} in {}", show(line.time), line.text);
            return match got {
                Some(got) => Err(different(&expected, &got)),
                None => self.input(&line.text),
            };
        }
        let expected = format!("{} {}", show(line.time), line.text);
        match got {
            Some(got) if got == expected => Ok(()),
            got => Err(different(&expected, got.as_deref().unwrap_or("nothing"))),
        }
    }

    fn instant(&self) -> Instant {
        self.origin + self.now
    }

    fn clock(&self) -> SystemTime {
        UNIX_EPOCH + WALL_CLOCK + self.now
    }

    /// Lets time pass, with the timers that run out on the way.
    fn run(&mut self, until: Duration) {
        loop {
            let timers = self.members.iter().map(|member| member.router.poll_timeout());
            let next = timers.enumerate().filter_map(|(index, due)| Some((due?, index))).min();
            match next {
                Some((due, index)) if due <= self.origin + until => {
                    self.now = self.now.max(due - self.origin);
                    self.handle(index, |router, now| {
                        router.handle_timeout(now);
                        Ok(())
                    });
                }
                _ => break,
            }
        }
        self.now = self.now.max(until);
    }

    fn input(&mut self, text: &str) -> Result<(), String> {
        let words: Vec<&str> = text.split(' ').collect();
        let named = self.members.iter().position(|member| member.settings.name == words[0]);
        let (chosen, words) = match named {
            Some(index) => (index..index + 1, &words[1..]),
            None => (0..self.members.len(), &words[..]),
        };
        if let ["sleep", "until", time] = words {
            // Nothing runs in between: timers are late.
            self.now = seconds(time)?;
            self.run(self.now);
            return Ok(());
        }
        for index in chosen {
            self.input_of(index, words)?;
        }
        Ok(())
    }

    fn input_of(&mut self, index: usize, words: &[&str]) -> Result<(), String> {
        let alone = self.members.len() == 1;
        match *words {
            ["nothing"] => {}
            ["startup"] => self.does(index, VirtualRouter::handle_startup),
            ["shutdown"] => self.does(index, |router, _| router.handle_shutdown()),
            ["fault", ref what @ ..] => {
                let missing = Reason::Missing(what.join(" "));
                self.members[index].missing = Some(missing.clone());
                self.does(index, |router, now| {
                    // A group decides for its members.
                    if alone {
                        router.handle_fault(Some(missing), now);
                    }
                });
            }
            ["recovery"] => {
                self.members[index].missing = None;
                self.does(index, |router, now| {
                    if alone {
                        router.handle_fault(None, now);
                    }
                });
            }
            ["priority", priority] => {
                let priority = number(priority)?;
                self.does(index, |router, now| router.handle_priority(priority, now));
            }
            ["resign"] => self.does(index, VirtualRouter::handle_resign),
            ["reclaim"] => self.does(index, |router, now| router.handle_reclaim(false, now)),
            ["reclaim", "now"] => self.does(index, |router, now| router.handle_reclaim(true, now)),
            ["advertisement", ref fields @ ..] => {
                let clock = self.clock();
                let settings = &self.members[index].settings;
                let incoming = Incoming::advertisement(fields, settings, &mut self.sealers, clock)?;
                self.receive(index, &incoming);
            }
            ["message", ref fields @ ..] => {
                let incoming = Incoming::hex(fields, &self.members[index].settings)?;
                self.receive(index, &incoming);
            }
            _ => return Err(format!("no such input: {}", words.join(" "))),
        }
        Ok(())
    }

    fn receive(&mut self, index: usize, incoming: &Incoming) {
        let clock = self.clock();
        let Member { settings, verifier, .. } = &mut self.members[index];
        let received = Received {
            source: incoming.source,
            destination: incoming.destination,
            ttl: incoming.ttl,
            message: &incoming.message,
        };
        let own = settings.address;
        let decoded = match verifier {
            None => decode(&received, settings),
            Some(verifier) => verifier
                .open(&received, clock)
                .and_then(|pdu| decode(&Received { message: &pdu, ..received }, settings)),
        };
        self.handle(index, |router, now| router.handle_advertisement(&decoded?, incoming.source, own, now));
    }

    fn does(&mut self, index: usize, input: impl FnOnce(&mut VirtualRouter, Instant)) {
        self.handle(index, |router, now| {
            input(router, now);
            Ok(())
        });
    }

    /// Has a router handle something and its sync group follow, and notes all that comes of it.
    fn handle(
        &mut self,
        index: usize,
        input: impl FnOnce(&mut VirtualRouter, Instant) -> Result<(), Reject>,
    ) {
        let now = self.instant();
        let missing: Vec<Option<Reason>> = self.members.iter().map(|member| member.missing.clone()).collect();
        let mut routers: Vec<&mut VirtualRouter> =
            self.members.iter_mut().map(|member| &mut member.router).collect();
        let before = group::states(&routers);
        let result = input(routers[index], now);
        if routers.len() > 1 {
            group::settle(&mut routers, &missing, &before, now);
        }
        if let Err(reject) = result {
            self.note(index, "out", &format!("reject {}", reject.name()));
        }
        for index in 0..self.members.len() {
            while let Some(action) = self.members[index].router.poll_action() {
                let text = self.action(index, &action);
                self.note(index, "out", &text);
            }
        }
        for index in 0..self.members.len() {
            let timer = self.members[index].router.poll_timeout();
            if timer != self.members[index].timer {
                self.members[index].timer = timer;
                let text = timer.map_or("none".to_owned(), |due| show(due.saturating_duration_since(now)));
                self.note(index, "timer", &text);
            }
        }
    }

    fn action(&mut self, index: usize, action: &Action) -> String {
        match action {
            Action::Advertise(priority) => match self.members[index].settings.bytes {
                true => format!("advertise {priority} {}", self.message(index, *priority)),
                false => format!("advertise {priority}"),
            },
            Action::TakeAddresses => "take addresses".to_owned(),
            Action::ReleaseAddresses => "release addresses".to_owned(),
            Action::Announce => "announce".to_owned(),
            Action::Entered(state, reason) => format!("state {} ({reason})", state.name()),
        }
    }

    fn message(&mut self, index: usize, priority: u8) -> String {
        let clock = self.clock();
        let Member { settings, sealer, .. } = &mut self.members[index];
        let config = &settings.config;
        let advertisement = Advertisement {
            vrid: config.vrid,
            priority,
            interval: config.interval,
            addresses: settings.carries.clone(),
        };
        let group = if settings.address.is_ipv4() { "224.0.0.18" } else { "ff02::12" };
        let peer = settings.peers.as_ref().and_then(|peers| peers.first().copied());
        let destination = peer.unwrap_or_else(|| group.parse().unwrap());
        let source = settings.address;
        let message = advertisement.encode(
            config.version,
            settings.authentication,
            settings.checksum,
            source,
            destination,
        );
        let message = match sealer {
            Some(sealer) => sealer.sign(&message, source, destination, clock),
            None => message,
        };
        message.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn note(&mut self, index: usize, kind: &str, text: &str) {
        let name = &self.members[index].settings.name;
        let space = if name.is_empty() { "" } else { " " };
        self.produced.push_back(format!("{} {kind} {name}{space}{text}", show(self.now)));
    }
}

fn decode(received: &Received<'_>, settings: &Settings) -> Result<Advertisement, Reject> {
    let expected = Expected {
        version: settings.config.version,
        vrid: settings.config.vrid,
        interval: settings.config.interval,
        authentication: settings.authentication,
        checksum: settings.strict.then_some(settings.checksum),
        peers: settings.peers.clone(),
    };
    match Advertisement::decode(received, &expected) {
        Ok(_) if received.source == settings.address => Err(Reject::OwnAddress),
        decoded => decoded,
    }
}

fn different(expected: &str, got: &str) -> String {
    format!("expected `{expected}`, got `{got}`")
}
