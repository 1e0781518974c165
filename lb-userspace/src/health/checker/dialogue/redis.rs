//! `redis`: AUTH where there is a login, then PING (RESP, redis.io/docs/reference/protocol-spec).

use super::super::quote::quote;
use super::{Conversation, Step};
use crate::health::{Failure, FailureReason};
use crate::model::Login;

pub(super) struct Redis {
    authenticate: Option<Vec<u8>>,
    authenticating: bool,
}

const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";
const QUIT: &[u8] = b"*1\r\n$4\r\nQUIT\r\n";

fn command(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n{word}\r\n", word.len()).into_bytes());
    }
    bytes
}

impl Redis {
    pub(super) fn new(login: Option<&Login>) -> Self {
        let authenticate = login.map(|Login { user, password }| match user.as_str() {
            "" => command(&["AUTH", password]),
            user => command(&["AUTH", user, password]),
        });
        Self { authenticate, authenticating: false }
    }
}

impl Conversation for Redis {
    fn start(&mut self) -> Result<Vec<u8>, Failure> {
        Ok(match self.authenticate.take() {
            Some(authenticate) => {
                self.authenticating = true;
                authenticate
            }
            None => PING.to_vec(),
        })
    }

    fn received(&mut self, bytes: &[u8]) -> Result<Step, Failure> {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return Ok(Step::More) };
        let line = bytes[..end].trim_ascii_end();
        match (line, self.authenticating) {
            (b"+OK", true) => {
                self.authenticating = false;
                Ok(Step::Go(end + 1, PING.to_vec()))
            }
            (b"+PONG", false) => Ok(Step::Good(QUIT.to_vec())),
            ([b'-', ..], true) => Err(Failure::new(FailureReason::Login, format!("AUTH: {}", quote(line)))),
            ([b'-', ..], false) => Err(Failure::new(FailureReason::Status, format!("PING: {}", quote(line)))),
            _ => Err(Failure::new(FailureReason::Protocol, format!("{} is no answer of Redis", quote(line)))),
        }
    }
}
