//! What mails say: subjects in keepalived's form, so that filters go on working, and a line for each change.

use super::event::{Change, Event, State, one_line};

/// Most characters of a reason.
const REASON_LENGTH: usize = 300;

/// Subject and body of a mail.
pub(super) struct Text {
    pub(super) subject: String,
    pub(super) body: String,
}

impl Text {
    /// About `events`, oldest first; `left_out` older ones were dropped.
    pub(super) fn new<'a>(
        router: &str,
        events: impl Iterator<Item = &'a Event> + Clone,
        left_out: usize,
    ) -> Self {
        let router = one_line(router, 100);
        let mut body = String::new();
        if left_out > 0 {
            body.push_str(&format!("{left_out} earlier changes are left out.\n"));
        }
        for event in events.clone() {
            body.push_str(&line(event));
            body.push('\n');
        }
        let mut all = events.clone();
        let subject = match (all.next(), all.next(), left_out) {
            (Some(only), None, 0) => format!("[{router}] {}", headline(only)),
            _ => format!("[{router}] {}", summary(events, left_out)),
        };
        Self { subject, body }
    }
}

fn headline(event: &Event) -> String {
    match &event.change {
        Change::RealServer(change) => format!(
            "Realserver {} of virtual server {} - {}",
            change.server(),
            change.virtual_server(),
            change.state.upper()
        ),
        Change::Service(change) => {
            format!("Virtualserver {} - {}", change.virtual_server(), change.state.upper())
        }
        Change::Vrrp(change) => {
            let kind = if change.group { "Group" } else { "Instance" };
            let name = one_line(&change.name, REASON_LENGTH);
            format!("VRRP {kind} {name} - Entering {} state", change.keepalived_state())
        }
    }
}

fn line(event: &Event) -> String {
    let (time, headline) = (event.time_text(), headline(event));
    match &event.change {
        Change::RealServer(change) => {
            let name = one_line(&change.service_name, REASON_LENGTH);
            let reason = change.reason.as_deref().map(|reason| one_line(reason, REASON_LENGTH));
            match reason {
                Some(reason) => format!("{time} {headline} ({name}, weight {}): {reason}", change.weight),
                None => format!("{time} {headline} ({name}, weight {})", change.weight),
            }
        }
        Change::Service(change) => {
            let quorum = match change.state {
                State::Up => "quorum gained",
                State::Down => "quorum lost",
            };
            let (live, total) = (change.live, change.total);
            let name = one_line(&change.service_name, REASON_LENGTH);
            format!("{time} {headline} ({name}): {quorum}, {live} of {total} real servers are up")
        }
        Change::Vrrp(change) => match &change.reason {
            Some(reason) => {
                let reason = one_line(reason, REASON_LENGTH);
                format!("{time} {headline} (priority {}): {reason}", change.priority)
            }
            None => format!("{time} {headline}"),
        },
    }
}

/// How many changes of which kind.
fn summary<'a>(events: impl Iterator<Item = &'a Event>, left_out: usize) -> String {
    let mut counts = [0_usize; 5];
    let mut all = left_out;
    for event in events {
        all += 1;
        let index = match &event.change {
            Change::RealServer(change) => usize::from(change.state == State::Up),
            Change::Service(change) => 2 + usize::from(change.state == State::Up),
            Change::Vrrp(_) => 4,
        };
        counts[index] += 1;
    }
    let names =
        ["Realserver - DOWN", "Realserver - UP", "Virtualserver - DOWN", "Virtualserver - UP", "VRRP"];
    let parts: Vec<String> = counts
        .iter()
        .zip(names)
        .filter(|(count, _)| **count > 0)
        .map(|(count, name)| format!("{count} {name}"))
        .collect();
    format!("{all} changes: {}", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::event::tests::{real_server, service};
    use super::*;
    use crate::model::{Protocol, ServiceKey};

    fn text(events: &[Event], left_out: usize) -> Text {
        Text::new("lb1", events.iter(), left_out)
    }

    #[test]
    fn a_virtual_router_has_the_subject_of_keepalived() {
        use super::super::event::{Change, VrrpChange};
        let change = VrrpChange {
            name: "VI_1".into(),
            group: false,
            state: crate::vrrp::State::Active,
            priority: 150,
            reason: Some("no advertisement of an active router".to_owned()),
        };
        let found = text(&[Event::now(Change::Vrrp(change))], 0);
        assert_eq!(found.subject, "[lb1] VRRP Instance VI_1 - Entering MASTER state");
        assert!(
            found.body.ends_with("(priority 150): no advertisement of an active router\n"),
            "{}",
            found.body
        );
    }

    #[test]
    fn one_change_has_the_subject_of_keepalived() {
        let found = text(&[real_server(State::Down)], 0);
        assert_eq!(
            found.subject,
            "[lb1] Realserver [1.2.3.4]:tcp:80 of virtual server [192.168.201.15]:tcp:80 - DOWN"
        );
        assert_eq!(
            found.body,
            "2027-01-15T08:00:00.123Z Realserver [1.2.3.4]:tcp:80 of virtual server \
             [192.168.201.15]:tcp:80 - DOWN (web, weight 3): tcp: refused: connect: refused\n"
        );
        let found = text(&[service(State::Up)], 0);
        assert_eq!(found.subject, "[lb1] Virtualserver [192.168.201.15]:tcp:80 - UP");
        assert!(found.body.ends_with("(web): quorum gained, 1 of 4 real servers are up\n"));
    }

    #[test]
    fn several_changes_are_counted_in_the_subject() {
        let events = [real_server(State::Down), real_server(State::Down), service(State::Down)];
        let found = text(&events, 0);
        assert_eq!(found.subject, "[lb1] 3 changes: 2 Realserver - DOWN, 1 Virtualserver - DOWN");
        assert_eq!(found.body.lines().count(), 3);
        let found = text(&events[..1], 7);
        assert_eq!(found.subject, "[lb1] 8 changes: 1 Realserver - DOWN");
        assert!(found.body.starts_with("7 earlier changes are left out.\n"));
    }

    #[test]
    fn nothing_from_outside_makes_a_line_of_its_own() {
        let mut event = real_server(State::Down);
        if let Change::RealServer(change) = &mut event.change {
            change.reason = Some("quoted \"a\r\nb\"".to_owned());
            change.service_name = "x\ny".into();
        }
        let found = Text::new("lb\r\nBcc: a@b", [event].iter(), 0);
        assert_eq!(found.body.lines().count(), 1);
        assert!(!found.subject.contains(['\r', '\n']));
    }

    /// The event that keepalived wrote this line for.
    fn event_of(line: &str) -> Event {
        let state = if line.ends_with(" UP") { State::Up } else { State::Down };
        let endpoint = |word: &str| {
            let (address, rest) = word[1..].split_once(']').unwrap();
            let port = rest.strip_prefix(":tcp:").unwrap().parse().unwrap();
            std::net::SocketAddr::new(address.parse().unwrap(), port)
        };
        let key = |word: &str| ServiceKey {
            protocol: Protocol::Tcp,
            address: endpoint(word).ip(),
            port: endpoint(word).port(),
        };
        let words: Vec<&str> = line.split(' ').collect();
        let mut event = if words[0] == "RS" { real_server(state) } else { service(state) };
        match &mut event.change {
            Change::RealServer(change) => {
                (change.real_server, change.service) = (endpoint(words[1]), key(words[2]));
            }
            Change::Service(change) => change.service = key(words[1]),
            Change::Vrrp(_) => {}
        }
        event
    }

    #[test]
    fn lines_and_subjects_are_those_of_keepalived() {
        let recording = include_str!("../../tests/notify/keepalived.txt");
        let (lines, subjects) = recording.split_once("## mail\n").unwrap();
        let lines: Vec<&str> = lines.split_once("## fifo\n").unwrap().1.lines().collect();
        let mut expected: Vec<&str> =
            subjects.lines().map(|line| line.strip_prefix("Subject: ").unwrap()).collect();
        let mut found = Vec::new();
        for line in &lines {
            let event = event_of(line);
            assert_eq!(event.fifo_line(), format!("{line}\n"));
            found.push(Text::new("lab", [event].iter(), 0).subject);
        }
        assert_eq!(lines.len(), 8);
        // Its mails overtake one another.
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected);
    }
}
