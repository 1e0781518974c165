//! `ftp`, `imap`, `pop`, `nntp`: protocols of lines, where each command has an answer that begins with a verdict.

use super::super::quote::quote;
use super::{Conversation, Step};
use crate::health::{Failure, FailureReason};
use crate::model::Login;

/// What an answer line means.
enum Answer {
    /// As it should be.
    Good,
    /// Good, and the following commands up to this one are not needed.
    Skip(usize),
    /// The answer goes on in the next line.
    GoesOn,
    /// The server says no.
    Bad,
}

/// A command, and how its answer is read; the greeting has an empty command.
struct Exchange {
    command: Vec<u8>,
    /// What is being done, for failures.
    what: &'static str,
    /// Why a bad answer is bad.
    bad: FailureReason,
    /// Reads a line; the flag is set where the line before went on.
    read: fn(&[u8], bool) -> Answer,
}

/// Exchanges in order, and a farewell.
pub(super) struct Lines {
    exchanges: Vec<Exchange>,
    at: usize,
    continued: bool,
    farewell: &'static [u8],
}

impl Conversation for Lines {
    fn start(&mut self) -> Result<Vec<u8>, Failure> {
        Ok(Vec::new())
    }

    fn received(&mut self, bytes: &[u8]) -> Result<Step, Failure> {
        let Some(exchange) = self.exchanges.get(self.at) else {
            return Ok(Step::Good(self.farewell.to_vec()));
        };
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return Ok(Step::More) };
        let line = bytes[..end].trim_ascii_end();
        let skipped = match (exchange.read)(line, std::mem::take(&mut self.continued)) {
            Answer::GoesOn => {
                self.continued = true;
                return Ok(Step::Go(end + 1, Vec::new()));
            }
            Answer::Bad => {
                return Err(Failure::new(exchange.bad, format!("{}: {}", exchange.what, quote(line))));
            }
            Answer::Good => 0,
            Answer::Skip(count) => count,
        };
        self.at += 1 + skipped;
        let next = self.exchanges.get(self.at).map(|exchange| exchange.command.clone());
        Ok(Step::Go(end + 1, next.unwrap_or_default()))
    }
}

fn greeting(read: fn(&[u8], bool) -> Answer) -> Exchange {
    Exchange { command: Vec::new(), what: "greeting", bad: FailureReason::Protocol, read }
}

fn login(command: String, what: &'static str, read: fn(&[u8], bool) -> Answer) -> Exchange {
    Exchange { command: command.into_bytes(), what, bad: FailureReason::Login, read }
}

/// Code and separator of a reply line of FTP or NNTP.
fn code(line: &[u8]) -> Option<(u16, bool)> {
    let digits = std::str::from_utf8(line.get(..3)?).ok()?;
    let code = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()?;
    Some((code, line.get(3) == Some(&b'-')))
}

/// FTP (RFC 959, 4.2): "220-" goes on until a line with "220 ".
pub(super) fn ftp(credentials: Option<&Login>) -> Lines {
    fn reply(line: &[u8], continued: bool, good: impl Fn(u16) -> Option<Answer>) -> Answer {
        match code(line) {
            Some((_, true)) => Answer::GoesOn,
            None if continued => Answer::GoesOn,
            None => Answer::Bad,
            Some((code, false)) => good(code).unwrap_or(Answer::Bad),
        }
    }
    let mut exchanges = vec![greeting(|line, continued| {
        reply(line, continued, |code| (code == 220).then_some(Answer::Good))
    })];
    if let Some(Login { user, password }) = credentials {
        exchanges.push(login(format!("USER {user}\r\n"), "USER", |line, continued| {
            reply(line, continued, |code| match code {
                331 => Some(Answer::Good),
                230 => Some(Answer::Skip(1)),
                _ => None,
            })
        }));
        exchanges.push(login(format!("PASS {password}\r\n"), "PASS", |line, continued| {
            reply(line, continued, |code| matches!(code, 230 | 202).then_some(Answer::Good))
        }));
    }
    Lines { exchanges, at: 0, continued: false, farewell: b"QUIT\r\n" }
}

/// IMAP4 (RFC 9051, 7.1): untagged lines may come at any time.
pub(super) fn imap(credentials: Option<&Login>) -> Lines {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let mut exchanges = vec![greeting(|line, _| {
        if line.starts_with(b"* OK") {
            Answer::Good
        } else if line.starts_with(b"* PREAUTH") {
            Answer::Skip(1)
        } else {
            Answer::Bad
        }
    })];
    if let Some(Login { user, password }) = credentials {
        let command = format!("a LOGIN {} {}\r\n", quoted(user), quoted(password));
        exchanges.push(login(command, "LOGIN", |line, _| {
            if line.starts_with(b"a OK") {
                Answer::Good
            } else if line.starts_with(b"* ") && !line.starts_with(b"* BYE") {
                Answer::GoesOn
            } else {
                Answer::Bad
            }
        }));
    }
    Lines { exchanges, at: 0, continued: false, farewell: b"z LOGOUT\r\n" }
}

/// POP3 (RFC 1939, 3).
pub(super) fn pop(credentials: Option<&Login>) -> Lines {
    let ok: fn(&[u8], bool) -> Answer =
        |line, _| if line.starts_with(b"+OK") { Answer::Good } else { Answer::Bad };
    let mut exchanges = vec![greeting(ok)];
    if let Some(Login { user, password }) = credentials {
        exchanges.push(login(format!("USER {user}\r\n"), "USER", ok));
        exchanges.push(login(format!("PASS {password}\r\n"), "PASS", ok));
    }
    Lines { exchanges, at: 0, continued: false, farewell: b"QUIT\r\n" }
}

/// NNTP (RFC 3977, 5.1): posting allowed or not, the server serves.
pub(super) fn nntp() -> Lines {
    let exchanges = vec![greeting(|line, _| match code(line) {
        Some((200 | 201, _)) => Answer::Good,
        _ => Answer::Bad,
    })];
    Lines { exchanges, at: 0, continued: false, farewell: b"QUIT\r\n" }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays what the server says, line by line; returns what was said to it, or the failure.
    fn play(mut lines: Lines, server: &[&str]) -> Result<String, Failure> {
        let mut said = lines.start()?;
        for line in server {
            match lines.received(format!("{line}\r\n").as_bytes())? {
                Step::Go(used, bytes) => {
                    assert_eq!(used, line.len() + 2);
                    said.extend(bytes);
                }
                Step::More | Step::Good(_) => panic!("{line}"),
            }
        }
        match lines.received(b"")? {
            Step::Good(farewell) => said.extend(farewell),
            _ => said.extend(b"(waits)"),
        }
        Ok(String::from_utf8(said).unwrap())
    }

    #[test]
    fn transcripts() {
        let credentials = Login { user: "ada".to_owned(), password: "a \"b\\".to_owned() };
        let with = Some(&credentials);
        assert_eq!(play(nntp(), &["201 no posting"]).unwrap(), "QUIT\r\n");
        assert_eq!(play(nntp(), &["400 busy"]).unwrap_err().detail, "greeting: \"400 busy\"");
        assert_eq!(play(ftp(None), &["220-hello", " any", "220 ready"]).unwrap(), "QUIT\r\n");
        assert_eq!(
            play(ftp(with), &["220 ready", "331 who", "230 in"]).unwrap(),
            "USER ada\r\nPASS a \"b\\\r\nQUIT\r\n"
        );
        assert_eq!(play(ftp(with), &["220 ready", "230 in"]).unwrap(), "USER ada\r\nQUIT\r\n");
        assert_eq!(play(ftp(with), &["220 r", "331 w", "530 no"]).unwrap_err().reason, FailureReason::Login);
        assert_eq!(
            play(imap(with), &["* OK ready", "* CAPABILITY x", "a OK in"]).unwrap(),
            "a LOGIN \"ada\" \"a \\\"b\\\\\"\r\nz LOGOUT\r\n"
        );
        assert_eq!(play(imap(with), &["* OK r", "a NO never"]).unwrap_err().reason, FailureReason::Login);
        assert_eq!(play(imap(None), &["* BYE full"]).unwrap_err().reason, FailureReason::Protocol);
        assert_eq!(play(pop(None), &["+OK"]).unwrap(), "QUIT\r\n");
        assert_eq!(play(pop(with), &["+OK", "+OK", "-ERR no"]).unwrap_err().detail, "PASS: \"-ERR no\"");
        assert_eq!(play(pop(None), &["HTTP/1.1 400"]).unwrap_err().reason, FailureReason::Protocol);
    }
}
