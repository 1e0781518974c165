//! `smtp`: a mail server greets, knows the director, and says goodbye (RFC 5321; keepalived's `SMTP_CHECK`).

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use super::quote::quote;
use super::stream::{self, Duplex};
use crate::health::{Failure, FailureReason, Outcome, Pass, Probe};
use crate::model::SmtpCheck;

/// Longest line of a reply, with its end (RFC 5321, 4.5.3.1.5, says 512); generous.
const LONGEST_LINE: u64 = 2048;
/// Most lines of a reply.
const MOST_LINES: usize = 100;

/// Greeting 220, EHLO (or HELO where that is not known) 250, QUIT.
pub(super) async fn check(check: &SmtpCheck, probe: &Probe) -> Outcome {
    let opened = stream::open(probe, check.tls.as_ref(), &[]).await?;
    let mut server = Server(BufReader::new(opened.stream));
    let name = match &check.helo {
        Some(name) if name.chars().any(|c| c.is_ascii_control() || c == ' ') => {
            return Err(Failure::new(
                FailureReason::Local,
                format!("{} is no name for helo", quote(name.as_bytes())),
            ));
        }
        Some(name) => name.clone(),
        None => own_name(),
    };
    server.reply("greeting").await?.expect(220)?;
    let reply = server.ask("EHLO", &format!("EHLO {name}\r\n")).await?;
    if matches!(reply.code, 500 | 502 | 504) {
        server.ask("HELO", &format!("HELO {name}\r\n")).await?.expect(250)?;
    } else {
        reply.expect(250)?;
    }
    // Said so that the server logs no lost connection; whatever it answers, it works.
    let _ = server.ask("QUIT", "QUIT\r\n").await;
    Ok(Pass { weight: None, warning: opened.warning })
}

/// The host's name, or what RFC 5321, 4.1.3, has for hosts without one.
fn own_name() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}

struct Server(BufReader<Box<dyn Duplex>>);

/// A reply: its code and its last line.
struct Reply {
    to: &'static str,
    code: u16,
    line: Vec<u8>,
}

impl Reply {
    fn expect(&self, code: u16) -> Result<(), Failure> {
        if self.code == code {
            return Ok(());
        }
        Err(Failure::new(
            FailureReason::Status,
            format!("{}: {}, expected {code}", self.to, quote(self.line.trim_ascii_end())),
        ))
    }
}

impl Server {
    async fn ask(&mut self, what: &'static str, command: &str) -> Result<Reply, Failure> {
        self.0.write_all(command.as_bytes()).await.map_err(|error| Failure::from_io(what, &error))?;
        self.0.flush().await.map_err(|error| Failure::from_io(what, &error))?;
        self.reply(what).await
    }

    /// Reads a reply of one or more lines (RFC 5321, 4.2.1).
    async fn reply(&mut self, to: &'static str) -> Result<Reply, Failure> {
        for _ in 0..MOST_LINES {
            let mut line = Vec::new();
            (&mut self.0).take(LONGEST_LINE).read_until(b'\n', &mut line).await.map_err(|error| {
                super::tls::failure_within(&error).unwrap_or_else(|| Failure::from_io(to, &error))
            })?;
            if line.len() as u64 == LONGEST_LINE && !line.ends_with(b"\n") {
                return Err(Failure::new(
                    FailureReason::TooLong,
                    format!("{to}: a line has more than {LONGEST_LINE} bytes"),
                ));
            }
            let last = match line.get(3) {
                Some(b'-') => false,
                Some(b' ' | b'\r' | b'\n') => true,
                _ if line.ends_with(b"\n") => return Err(no_smtp(to, &line)),
                _ => {
                    return Err(Failure::new(
                        FailureReason::Closed,
                        format!("{to}: the server closed the connection after {}", quote(&line)),
                    ));
                }
            };
            let code = line[..3].iter().try_fold(0, |code: u16, digit| {
                digit.is_ascii_digit().then(|| code * 10 + u16::from(digit - b'0'))
            });
            let Some(code @ 200..=599) = code else { return Err(no_smtp(to, &line)) };
            if last {
                return Ok(Reply { to, code, line });
            }
        }
        Err(Failure::new(FailureReason::TooLong, format!("{to}: a reply has more than {MOST_LINES} lines")))
    }
}

fn no_smtp(to: &str, line: &[u8]) -> Failure {
    Failure::new(
        FailureReason::Protocol,
        format!("{to}: {} is no reply of SMTP", quote(line.trim_ascii_end())),
    )
}
