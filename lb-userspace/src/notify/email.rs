//! Mail about changes of state.
//!
//! Changes that come within a second of each other, or while a mail is being delivered, share one mail: a rack that
//! fails is one mail with a thousand lines. The server is spoken to in plain SMTP, as keepalived does it; it is meant to
//! be a relay on this host or network.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use lettre::address::Envelope;
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Body, Mailbox, Message};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};

use super::NotifyError;
use super::mail_text::Text;
use super::outbox::{Item, Outbox, Tally};
use crate::model::Email;

/// How long further changes are waited for.
const DIGEST: Duration = Duration::from_secs(1);
/// Pauses before the second and further tries.
const PAUSES: [Duration; 3] = [Duration::from_secs(2), Duration::from_secs(10), Duration::from_secs(30)];
/// Port of SMTP (IANA) where the operator gives none.
const SMTP_PORT: u16 = 25;

/// Longest line without its end (RFC 5322, 2.1.1).
const LONGEST_LINE: usize = 998;

/// Tells mails of the same millisecond apart.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// Where mail goes, validated.
#[derive(Debug, Clone)]
pub(super) struct Mailer {
    host: String,
    port: u16,
    from: Mailbox,
    to: Vec<Mailbox>,
    helo: Option<String>,
    timeout: Duration,
    router: Arc<str>,
}

impl Mailer {
    pub(super) fn new(email: &Email, router: Arc<str>) -> Result<Self, NotifyError> {
        let (host, port) = host_and_port(&email.server)
            .ok_or_else(|| NotifyError::EmailServer { server: email.server.clone() })?;
        let mailbox = |text: &String| {
            text.parse::<Mailbox>().map_err(|error| NotifyError::EmailAddress {
                address: text.clone(),
                reason: error.to_string(),
            })
        };
        let to = email.to.iter().map(mailbox).collect::<Result<Vec<_>, _>>()?;
        if to.is_empty() {
            return Err(NotifyError::EmailReceivers);
        }
        let from = mailbox(&email.from)?;
        if let Some(helo) = email.helo.as_ref().filter(|helo| !is_host(helo)) {
            return Err(NotifyError::EmailHelo { helo: helo.clone() });
        }
        let (helo, timeout) = (email.helo.clone(), email.timeout);
        Ok(Self { host, port, from, to, helo, timeout, router })
    }

    fn message(&self, items: &[Item], left_out: usize, helo: &str) -> Result<Message, lettre::error::Error> {
        let text = Text::new(&self.router, items.iter().map(|item| &*item.event), left_out);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let now = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let mut builder = Message::builder()
            .from(self.from.clone())
            .subject(text.subject)
            .message_id(Some(format!("<lvx.{now}.{}.{count}@{helo}>", std::process::id())))
            // RFC 3834, 5: keeps vacation notices and the like from being sent back.
            .raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".to_owned(),
            ))
            .header(ContentType::TEXT_PLAIN);
        for to in &self.to {
            builder = builder.to(to.clone());
        }
        builder.body(encoded(text.body))
    }

    /// One try for these receivers. The server takes the mail for all of them or for none.
    async fn send(&self, message: &Message, to: &[Mailbox], helo: &str) -> Result<(), Failed> {
        let to = to.iter().map(|each| each.email.clone()).collect();
        let envelope = Envelope::new(Some(self.from.email.clone()), to)
            .map_err(|error| Failed { permanent: true, reason: error.to_string() })?;
        let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(self.host.as_str())
            .port(self.port)
            .hello_name(ClientId::Domain(helo.to_owned()))
            .timeout(Some(self.timeout))
            .build();
        let bytes = message.formatted();
        match tokio::time::timeout(self.timeout, transport.send_raw(&envelope, &bytes)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Failed { permanent: error.is_permanent(), reason: whole(&error) }),
            Err(_) => Err(Failed {
                permanent: false,
                reason: format!("not delivered within {} s", self.timeout.as_secs_f64()),
            }),
        }
    }

    /// As [`Self::send`], for all receivers; one whom the server refuses does not keep it from the others.
    async fn send_to_all(&self, message: &Message, helo: &str) -> Result<(), Failed> {
        let failed = match self.send(message, &self.to, helo).await {
            Err(failed) if failed.permanent && self.to.len() > 1 => failed,
            other => return other,
        };
        let mut result = Err(failed);
        for to in &self.to {
            match self.send(message, std::slice::from_ref(to), helo).await {
                Ok(()) => result = Ok(()),
                Err(failed) => {
                    tracing::warn!("mail by {} to {}: {}", self.host, to.email, failed.reason);
                }
            }
        }
        result
    }
}

/// A try that failed.
struct Failed {
    /// The server said that another try is pointless (RFC 5321, 4.2.1: 5yz).
    permanent: bool,
    reason: String,
}

/// Delivers what is in the queue until it is closed and empty.
pub(super) async fn work(outbox: Arc<Outbox>, mailer: Mailer) {
    let helo = match &mailer.helo {
        Some(helo) => helo.clone(),
        None => own_name().await,
    };
    while outbox.wait().await {
        outbox.activity().linger(DIGEST).await;
        let (items, left_out) = outbox.take_all();
        let counter = match deliver(&mailer, &items, left_out, &helo).await {
            Ok(()) => &outbox.tally().sent,
            Err(reason) => {
                let (count, server) = (items.len(), &mailer.host);
                tracing::warn!("mail by {server} about {count} changes failed: {reason}");
                &outbox.tally().failed
            }
        };
        Tally::add(counter, items.len());
    }
}

async fn deliver(mailer: &Mailer, items: &[Item], left_out: usize, helo: &str) -> Result<(), String> {
    let message = mailer.message(items, left_out, helo).map_err(|error| error.to_string())?;
    let mut pauses = PAUSES.iter();
    loop {
        let failed = match mailer.send_to_all(&message, helo).await {
            Ok(()) => return Ok(()),
            Err(failed) => failed,
        };
        match pauses.next() {
            Some(pause) if !failed.permanent => {
                tracing::info!("mail by {}: {}; another try follows", mailer.host, failed.reason);
                tokio::time::sleep(*pause).await;
            }
            _ => return Err(failed.reason),
        }
    }
}

/// The body as it is where SMTP can carry it, so that simple filters can read it; the library would encode lines longer
/// than 76 characters, and does so with what is not ASCII.
fn encoded(body: String) -> Body {
    if body.is_ascii() && body.lines().all(|line| line.len() <= LONGEST_LINE) {
        let lines = body.replace('\n', "\r\n").into_bytes();
        return Body::dangerous_pre_encoded(lines, ContentTransferEncoding::SevenBit);
    }
    Body::new(body)
}

/// An error with its causes.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

async fn own_name() -> String {
    match tokio::fs::read_to_string("/proc/sys/kernel/hostname").await {
        Ok(name) if !name.trim().is_empty() => name.trim().to_owned(),
        _ => "localhost".to_owned(),
    }
}

/// Whether this may be a name or an address, and has nothing in it that would end a line or a word of SMTP.
fn is_host(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|each| each.is_ascii_alphanumeric() || "-_.:[]".contains(each))
}

/// Splits `host`, `host:port`, `[v6]` or `[v6]:port`.
fn host_and_port(server: &str) -> Option<(String, u16)> {
    let (host, port) = if let Some(rest) = server.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
    } else {
        match server.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (server, None),
        }
    };
    let port = port.map_or(Some(SMTP_PORT), |port| port.parse().ok().filter(|port| *port != 0))?;
    is_host(host).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn email(server: &str, from: &str, to: &[&str]) -> Email {
        Email {
            server: server.to_owned(),
            from: from.to_owned(),
            to: to.iter().map(ToString::to_string).collect(),
            helo: None,
            timeout: Duration::from_secs(5),
        }
    }

    #[test]
    fn server_is_a_name_or_an_address_with_or_without_port() {
        for (text, host, port) in [
            ("mail.example.org:2525", "mail.example.org", 2525),
            ("192.0.2.1", "192.0.2.1", 25),
            ("[2001:db8::1]:26", "2001:db8::1", 26),
            ("[2001:db8::1]", "2001:db8::1", 25),
        ] {
            assert_eq!(host_and_port(text), Some((host.to_owned(), port)), "{text}");
        }
        for text in ["", ":25", "a b:25", "host:0", "host:65536", "2001:db8::1", "[x]:25", "[::1]25"] {
            assert_eq!(host_and_port(text), None, "{text}");
        }
    }

    #[test]
    fn lines_stay_whole_unless_they_are_too_long_or_not_ascii() {
        let line = "x".repeat(LONGEST_LINE);
        assert_eq!(encoded(format!("{line}\n")).into_vec(), format!("{line}\r\n").into_bytes());
        for text in [format!("{line}x\n"), "\u{e9}\n".to_owned()] {
            let body = encoded(text).into_vec();
            assert!(body.is_ascii() && body.split(|byte| *byte == b'\n').all(|line| line.len() <= 78));
        }
    }

    #[test]
    fn what_is_no_address_is_an_error_that_names_it() {
        let said = |email: Email| Mailer::new(&email, "lb1".into()).unwrap_err().to_string();
        assert!(said(email("h:25", "lvx@example.org", &["ops"])).contains("\"ops\""));
        assert!(said(email("h:25", "a@b\r\nBcc: c@d", &["ops@example.org"])).contains("Bcc"));
        assert!(said(email("h h:25", "lvx@example.org", &["ops@example.org"])).contains("\"h h:25\""));
        assert!(said(email("h", "lvx@example.org", &[])).contains("no receiver"));
        let mut two_lines = email("h", "lvx@example.org", &["ops@example.org"]);
        two_lines.helo = Some("a\r\nMAIL".to_owned());
        assert!(said(two_lines).contains("MAIL"));
    }
}
