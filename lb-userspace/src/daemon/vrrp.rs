//! VRRP in the daemon: what changes of state mean for operators and checks, and what is tracked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::error;

use super::run::Daemon;
use super::status::lock;
use super::tracker::tracked_services;
use crate::model::{Model, StatePrograms};
use crate::notify::{self, Event, VrrpChange};
use crate::vrrp::State;
use crate::vrrp::io::Change;
use crate::vrrp::member::Tracked;

/// How long the end of the daemon waits for another director to take over.
const HANDOVER: Duration = Duration::from_secs(3);

/// How often the end of the daemon looks whether one has.
const HANDOVER_STEP: Duration = Duration::from_millis(5);

impl Daemon {
    /// Takes on the virtual routers of a model.
    pub(super) fn configure_vrrp(&mut self, model: &Model) {
        self.programs = model
            .vrrp
            .instances
            .iter()
            .map(|instance| ((false, instance.name.clone()), instance.notify.clone()))
            .chain(model.vrrp.groups.iter().map(|group| ((true, group.name.clone()), group.notify.clone())))
            .collect();
        self.status.speaker.configure(&model.vrrp);
        self.tracker.follow(&model.vrrp, &self.status.speaker);
        self.tell_quorums();
    }

    /// Tells the virtual routers which services have their quorum.
    pub(super) fn tell_quorums(&self) {
        let supervisor = lock(&self.status.health.supervisor);
        let model = supervisor.model();
        for (name, kind) in tracked_services(&model.vrrp) {
            let service = model.services.iter().find(|service| service.name == name);
            let state = service.and_then(|service| supervisor.service(&service.key));
            let up = state.is_none_or(|state| state.quorum);
            self.status.speaker.track(kind.clone(), Tracked { up, number: 0 });
        }
    }

    /// A virtual router is in another state.
    pub(super) async fn vrrp_changed(&mut self, change: Change) {
        // A start is no news.
        let first = change.state == State::Initialize && change.before == State::Initialize;
        if first {
            return;
        }
        let event = Event::now(notify::Change::Vrrp(VrrpChange {
            name: change.name.as_str().into(),
            group: change.group,
            state: change.state,
            priority: change.priority,
            reason: change.reason.as_ref().map(ToString::to_string),
        }));
        if let Some(programs) = self.programs.get(&(change.group, change.name.clone())) {
            self.run_programs(programs, &event, change.state);
        }
        self.status.notifier.notify(event);
        self.suspend().await;
    }

    fn run_programs(&self, programs: &StatePrograms, event: &Event, state: State) {
        let own = match state {
            State::Active => &programs.active,
            State::Backup => &programs.backup,
            State::Fault => &programs.fault,
            State::Initialize => &programs.stop,
        };
        if let Some(program) = own {
            self.status.notifier.program(event, program);
        }
        if let (Some(program), notify::Change::Vrrp(change)) = (&programs.any, &event.change) {
            let mut program = program.clone();
            program.command.extend(change.keepalived_arguments());
            self.status.notifier.program(event, &program);
        }
    }

    /// The end: hands over to whoever is there, and gives the addresses up.
    pub(super) async fn end_vrrp(&mut self) {
        let speaker = Arc::clone(&self.status.speaker);
        let is_active = |speaker: &crate::vrrp::io::Speaker| {
            speaker.status().instances.iter().any(|instance| instance.state == State::Active.name())
        };
        if is_active(&speaker) {
            let _ = speaker.switchover(None, Some(true));
            let deadline = Instant::now() + HANDOVER;
            let waiting = |speaker: &crate::vrrp::io::Speaker| {
                let active = State::Active.name();
                speaker.status().instances.iter().any(|instance| instance.state == active && instance.held)
            };
            while waiting(&speaker) && Instant::now() < deadline {
                tokio::time::sleep(HANDOVER_STEP).await;
            }
        }
        let stopped = tokio::task::spawn_blocking(move || speaker.stop()).await;
        if let Err(error) = stopped {
            error!(%error, "the end of VRRP");
        }
    }
}
