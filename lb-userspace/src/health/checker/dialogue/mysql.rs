//! `mysql`: the handshake of MySQL and MariaDB (protocol 10), and with a login a query.
//!
//! The handshake is carried through even without a login, by one that is refused: a connection that ends in the middle
//! of it counts against the director's address, which the server blocks after `max_connect_errors` of them.

use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::super::quote::quote;
use super::{Conversation, Step};
use crate::health::{Failure, FailureReason};
use crate::model::Login;

// Capabilities (mysql.h).
const LONG_PASSWORD: u32 = 1;
const CONNECT_WITH_DB: u32 = 1 << 3;
const PROTOCOL_41: u32 = 1 << 9;
const TRANSACTIONS: u32 = 1 << 13;
const SECURE_CONNECTION: u32 = 1 << 15;
const PLUGIN_AUTH: u32 = 1 << 19;

const UTF8: u8 = 33;
/// Largest packet that is announced; nothing that is asked for is longer.
const LARGEST: u32 = 1 << 20;

const COM_QUIT: u8 = 1;
const COM_QUERY: u8 = 3;

/// ER_ACCESS_DENIED_ERROR: what a login without a name ends with.
const ACCESS_DENIED: u16 = 1045;

const NATIVE: &[u8] = b"mysql_native_password";
const SHA2: &[u8] = b"caching_sha2_password";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Greeting,
    Login,
    Query,
}

pub(super) struct Mysql {
    login: Option<Login>,
    database: Option<String>,
    query: Option<String>,
    stage: Stage,
}

impl Mysql {
    pub(super) fn new(login: Option<&Login>, database: Option<&str>, query: Option<&str>) -> Self {
        Self {
            login: login.cloned(),
            database: database.map(str::to_owned),
            query: query.map(str::to_owned),
            stage: Stage::Greeting,
        }
    }

    fn password(&self) -> &str {
        self.login.as_ref().map_or("", |login| &login.password)
    }

    fn greeted(&mut self, sequence: u8, payload: &[u8]) -> Result<Vec<u8>, Failure> {
        let strange =
            || Failure::new(FailureReason::Protocol, format!("{} is no greeting of MySQL", quote(payload)));
        let (version, rest) = payload.split_first().ok_or_else(strange)?;
        if *version != 10 {
            return Err(strange());
        }
        let end = rest.iter().position(|byte| *byte == 0).ok_or_else(strange)?;
        // Number of the thread, first part of the nonce, zero, capabilities and charset and status, length, reserved.
        let fixed = rest.get(end + 1..).ok_or_else(strange)?;
        let (first, tail) = (fixed.get(4..12).ok_or_else(strange)?, fixed.get(31..).ok_or_else(strange)?);
        let second = tail.get(..12).ok_or_else(strange)?;
        let plugin = tail.get(13..).map_or(NATIVE, until_zero);
        let nonce = [first, second].concat();

        let user = self.login.as_ref().map_or("", |login| &login.user);
        let answer = scramble(plugin, self.password(), &nonce).unwrap_or_default();
        let mut capabilities = LONG_PASSWORD | PROTOCOL_41 | TRANSACTIONS | SECURE_CONNECTION | PLUGIN_AUTH;
        if self.database.is_some() {
            capabilities |= CONNECT_WITH_DB;
        }
        let mut reply = capabilities.to_le_bytes().to_vec();
        reply.extend(LARGEST.to_le_bytes());
        reply.push(UTF8);
        reply.extend([0; 23]);
        reply.extend(user.as_bytes());
        reply.push(0);
        reply.push(answer.len() as u8);
        reply.extend(answer);
        if let Some(database) = &self.database {
            reply.extend(database.as_bytes());
            reply.push(0);
        }
        reply.extend(plugin);
        reply.push(0);
        self.stage = Stage::Login;
        Ok(packet(sequence.wrapping_add(1), &reply))
    }

    fn logged_in(&mut self) -> Step {
        match self.query.take() {
            Some(query) => {
                self.stage = Stage::Query;
                Step::Go(0, packet(0, &[&[COM_QUERY], query.as_bytes()].concat()))
            }
            None => Step::Good(packet(0, &[COM_QUIT])),
        }
    }

    /// The server wants another way to authenticate.
    fn switched(&self, sequence: u8, payload: &[u8]) -> Result<Vec<u8>, Failure> {
        let plugin = until_zero(payload);
        let nonce = payload.get(plugin.len() + 1..).unwrap_or_default();
        let nonce = nonce.strip_suffix(&[0]).unwrap_or(nonce);
        let answer = match scramble(plugin, self.password(), nonce) {
            Some(answer) => answer,
            // Nobody is logged in anyway.
            None if self.login.is_none() => Vec::new(),
            None => {
                let detail = format!("the server wants {}, which is not spoken", quote(plugin));
                return Err(Failure::new(FailureReason::Login, detail));
            }
        };
        Ok(packet(sequence.wrapping_add(1), &answer))
    }
}

impl Conversation for Mysql {
    fn start(&mut self) -> Result<Vec<u8>, Failure> {
        Ok(Vec::new())
    }

    fn received(&mut self, bytes: &[u8]) -> Result<Step, Failure> {
        let [a, b, c, sequence, rest @ ..] = bytes else { return Ok(Step::More) };
        let length = u32::from_le_bytes([*a, *b, *c, 0]) as usize;
        let Some(payload) = rest.get(..length) else { return Ok(Step::More) };
        let used = 4 + length;
        let first = payload.first().copied();
        if first == Some(0xff) {
            let code = payload.get(1..3).map_or(0, |code| u16::from_le_bytes([code[0], code[1]]));
            let text = payload.get(3..).unwrap_or_default();
            let text = text.strip_prefix(b"#").and_then(|text| text.get(5..)).unwrap_or(text);
            return match self.stage {
                Stage::Login if self.login.is_none() && code == ACCESS_DENIED => Ok(Step::Good(Vec::new())),
                stage => {
                    let (what, reason) = match stage {
                        Stage::Greeting => ("greeting", FailureReason::Status),
                        Stage::Login => ("login", FailureReason::Login),
                        Stage::Query => ("query", FailureReason::Status),
                    };
                    Err(Failure::new(reason, format!("{what}: error {code} {}", quote(text))))
                }
            };
        }
        let go = |step| match step {
            Step::Go(0, bytes) => Step::Go(used, bytes),
            other => other,
        };
        match (self.stage, first) {
            (Stage::Greeting, _) => Ok(Step::Go(used, self.greeted(*sequence, payload)?)),
            (Stage::Login, Some(0)) => Ok(go(self.logged_in())),
            (Stage::Login, Some(0xfe)) => Ok(Step::Go(used, self.switched(*sequence, &payload[1..])?)),
            // caching_sha2_password: 3 is followed by the verdict, 4 asks for the password itself.
            (Stage::Login, Some(1)) if payload.get(1) == Some(&3) => Ok(Step::Go(used, Vec::new())),
            (Stage::Login, Some(1)) => Err(Failure::new(
                FailureReason::Login,
                "the server wants the password itself, which is not sent unencrypted; log in once from elsewhere, or use mysql_native_password",
            )),
            (Stage::Query, Some(_)) => Ok(Step::Good(packet(0, &[COM_QUIT]))),
            _ => Err(Failure::new(
                FailureReason::Protocol,
                format!("{} is no answer of MySQL", quote(payload)),
            )),
        }
    }
}

fn until_zero(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let [a, b, c, _] = (payload.len() as u32).to_le_bytes();
    [&[a, b, c, sequence], payload].concat()
}

/// The proof of the password for a nonce; none for another plugin than the two.
fn scramble(plugin: &[u8], password: &str, nonce: &[u8]) -> Option<Vec<u8>> {
    let xor = |one: &[u8], other: &[u8]| one.iter().zip(other).map(|(one, other)| one ^ other).collect();
    match plugin {
        NATIVE | SHA2 if password.is_empty() => Some(Vec::new()),
        NATIVE => {
            let once = Sha1::digest(password);
            let proof = Sha1::new().chain_update(nonce).chain_update(Sha1::digest(once)).finalize();
            Some(xor(&once, &proof))
        }
        SHA2 => {
            let once = Sha256::digest(password);
            let proof = Sha256::new().chain_update(Sha256::digest(once)).chain_update(nonce).finalize();
            Some(xor(&once, &proof))
        }
        _ => None,
    }
}
