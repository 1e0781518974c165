//! Dialogues: what is sent and what has to come back, for send/expect and for the protocols that ldirectord negotiates.
//!
//! Every protocol is a [`Conversation`], a machine without I/O; [`check`] carries it over TCP, TLS or UDP.

mod expect;
mod ldap;
mod lines;
mod mysql;
mod pgsql;
mod radius;
mod redis;
mod sip;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::stream::{self, Duplex};
use super::{icmp_errors, tls};
use crate::health::{Failure, FailureReason, Outcome, Pass, Probe};
use crate::model::{Dialogue, DialogueProtocol};

/// Most bytes that a server may send without the conversation going on.
const LONGEST: usize = 64 * 1024;

/// What a conversation wants next.
pub(super) enum Step {
    /// More bytes; those received so far are given again, together with the new ones.
    More,
    /// To go on: the first so many bytes are used up, and these are sent (nothing is, where there are none).
    Go(usize, Vec<u8>),
    /// No more: the server is good. These are its farewell, whose answer nobody waits for.
    Good(Vec<u8>),
}

/// One side of a protocol. Never panics and never loops, whatever the bytes are.
pub(super) trait Conversation: Send {
    /// What is said first.
    fn start(&mut self) -> Result<Vec<u8>, Failure>;

    /// Looks at what has been received and not used up.
    fn received(&mut self, bytes: &[u8]) -> Result<Step, Failure>;
}

/// Has the dialogue with the probe's endpoint.
pub(super) async fn check(dialogue: &Dialogue, probe: &Probe) -> Outcome {
    let mut conversation: Box<dyn Conversation> = match &dialogue.protocol {
        DialogueProtocol::Expect(steps) => Box::new(expect::Expect::new(steps)),
        DialogueProtocol::Ftp(login) => Box::new(lines::ftp(login.as_ref())),
        DialogueProtocol::Imap(login) => Box::new(lines::imap(login.as_ref())),
        DialogueProtocol::Pop(login) => Box::new(lines::pop(login.as_ref())),
        DialogueProtocol::Nntp => Box::new(lines::nntp()),
        DialogueProtocol::Ldap { login, base } => Box::new(ldap::Ldap::new(login.as_ref(), base.as_deref())),
        DialogueProtocol::Mysql { login, database, query } => {
            Box::new(mysql::Mysql::new(login.as_ref(), database.as_deref(), query.as_deref()))
        }
        DialogueProtocol::Pgsql { login, database, query } => {
            Box::new(pgsql::Pgsql::new(login.as_ref(), database.as_deref(), query.as_deref()))
        }
        DialogueProtocol::Redis(login) => Box::new(redis::Redis::new(login.as_ref())),
        DialogueProtocol::Sip { udp, user } => Box::new(sip::Sip::new(probe.endpoint, *udp, user.as_deref())),
        DialogueProtocol::Radius { login, secret } => Box::new(radius::Radius::new(login.as_ref(), secret)),
    };
    if let DialogueProtocol::Radius { .. } | DialogueProtocol::Sip { udp: true, .. } = dialogue.protocol {
        return over_udp(conversation.as_mut(), probe).await;
    }
    let opened = stream::open(probe, dialogue.tls.as_ref(), &[]).await?;
    over_stream(conversation.as_mut(), opened.stream).await?;
    Ok(Pass { weight: None, warning: opened.warning })
}

async fn over_stream(
    conversation: &mut dyn Conversation,
    mut stream: Box<dyn Duplex>,
) -> Result<(), Failure> {
    let failed = |what: &str, error: &std::io::Error| {
        tls::failure_within(error).unwrap_or_else(|| Failure::from_io(what, error))
    };
    let mut received = Vec::new();
    let mut say = conversation.start()?;
    loop {
        if !say.is_empty() {
            stream.write_all(&say).await.map_err(|error| failed("send", &error))?;
            stream.flush().await.map_err(|error| failed("send", &error))?;
        }
        say = loop {
            match conversation.received(&received)? {
                Step::More => {}
                Step::Go(used, bytes) => {
                    received.drain(..used.min(received.len()));
                    break bytes;
                }
                Step::Good(farewell) => {
                    // The server has passed; whether it takes the farewell no longer matters.
                    let _ = stream.write_all(&farewell).await;
                    let _ = stream.shutdown().await;
                    return Ok(());
                }
            }
            if received.len() >= LONGEST {
                return Err(too_long());
            }
            let mut buffer = [0; 4096];
            let length = stream.read(&mut buffer).await.map_err(|error| failed("receive", &error))?;
            if length == 0 {
                return Err(Failure::new(
                    FailureReason::Closed,
                    "the server closed the connection before its answer was complete",
                ));
            }
            received.extend_from_slice(&buffer[..length]);
        };
    }
}

/// Every datagram is looked at by itself.
async fn over_udp(conversation: &mut dyn Conversation, probe: &Probe) -> Outcome {
    let socket = probe.udp().await?;
    icmp_errors::report(&socket, probe.endpoint.is_ipv4())
        .map_err(|error| Failure::new(FailureReason::Local, format!("socket: {error}")))?;
    let say = conversation.start()?;
    socket.send(&say).await.map_err(|error| Failure::from_io("send", &error))?;
    let mut buffer = vec![0; LONGEST];
    loop {
        let length = icmp_errors::receive(&socket, &mut buffer)
            .await
            .map_err(|error| Failure::from_io("receive", &error))?;
        match conversation.received(&buffer[..length])? {
            Step::More => {}
            Step::Go(_, bytes) => {
                socket.send(&bytes).await.map_err(|error| Failure::from_io("send", &error))?;
            }
            Step::Good(_) => return Ok(Pass::default()),
        }
    }
}

fn too_long() -> Failure {
    Failure::new(FailureReason::TooLong, format!("more than {LONGEST} bytes without what was expected"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DialogueStep, Login, Pattern};
    use proptest::prelude::*;

    fn conversations() -> Vec<Box<dyn Conversation>> {
        let login = Login { user: "u".to_owned(), password: "p".to_owned() };
        let login = Some(&login);
        static STEPS: std::sync::LazyLock<[DialogueStep; 2]> = std::sync::LazyLock::new(|| {
            [
                DialogueStep::Send(b"x".to_vec()),
                DialogueStep::Expect(Pattern { expression: "a.*b".to_owned(), absent: false }),
            ]
        });
        vec![
            Box::new(expect::Expect::new(&*STEPS)),
            Box::new(lines::ftp(login)),
            Box::new(lines::imap(login)),
            Box::new(lines::pop(login)),
            Box::new(lines::nntp()),
            Box::new(ldap::Ldap::new(login, Some("dc=x"))),
            Box::new(mysql::Mysql::new(login, Some("d"), Some("q"))),
            Box::new(mysql::Mysql::new(None, None, None)),
            Box::new(pgsql::Pgsql::new(login, Some("d"), Some("q"))),
            Box::new(redis::Redis::new(login)),
            Box::new(sip::Sip::new("192.0.2.1:5060".parse().unwrap(), true, Some("x"))),
            Box::new(radius::Radius::new(login, "s")),
        ]
    }

    proptest! {
        /// Any bytes, in any pieces: no panic, and no conversation that goes on without using anything up for ever.
        #[test]
        fn any_bytes_do_no_harm(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..8)) {
            for mut conversation in conversations() {
                prop_assert!(conversation.start().is_ok());
                let mut received: Vec<u8> = Vec::new();
                'pieces: for piece in &pieces {
                    received.extend(piece);
                    for turn in 0.. {
                        prop_assert!(turn < 1000, "it never stops");
                        match conversation.received(&received) {
                            Ok(Step::Go(used, _)) => drop(received.drain(..used.min(received.len()))),
                            Ok(Step::More) => break,
                            Ok(Step::Good(_)) | Err(_) => break 'pieces,
                        }
                    }
                }
            }
        }
    }
}
