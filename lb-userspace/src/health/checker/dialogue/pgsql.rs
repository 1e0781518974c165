//! `pgsql`: start-up, authentication and a query of PostgreSQL (protocol 3.0).

use bytes::BytesMut;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;

use super::super::quote::quote;
use super::{Conversation, Step};
use crate::health::{Failure, FailureReason};
use crate::model::Login;

/// Who asks where there is no login; the server need not know it.
const NOBODY: &str = "lvx";

pub(super) struct Pgsql {
    login: Option<Login>,
    database: Option<String>,
    query: Option<String>,
    scram: Option<ScramSha256>,
    querying: bool,
}

impl Pgsql {
    pub(super) fn new(login: Option<&Login>, database: Option<&str>, query: Option<&str>) -> Self {
        Self {
            login: login.cloned(),
            database: database.map(str::to_owned),
            query: query.map(str::to_owned),
            scram: None,
            querying: false,
        }
    }

    /// An authentication request (message `R`).
    fn authenticate(&mut self, used: usize, body: &[u8]) -> Result<Step, Failure> {
        let strange =
            || Failure::new(FailureReason::Protocol, "a request for authentication that makes no sense");
        let kind = body.get(..4).ok_or_else(strange)?;
        let kind = u32::from_be_bytes([kind[0], kind[1], kind[2], kind[3]]);
        let Some(login) = &self.login else {
            // It serves, and asks who is there.
            return Ok(Step::Good(terminate()?));
        };
        let rest = &body[4..];
        let bytes = match kind {
            0 => Vec::new(),
            3 => build(|buffer| frontend::password_message(login.password.as_bytes(), buffer))?,
            5 => {
                let salt = rest.get(..4).ok_or_else(strange)?;
                let salt = [salt[0], salt[1], salt[2], salt[3]];
                let hash = md5_hash(login.user.as_bytes(), login.password.as_bytes(), salt);
                build(|buffer| frontend::password_message(hash.as_bytes(), buffer))?
            }
            10 => {
                let known = rest.split(|byte| *byte == 0).any(|name| name == SCRAM_SHA_256.as_bytes());
                if !known {
                    let detail = format!("the server wants {}, which is not spoken", quote(rest));
                    return Err(Failure::new(FailureReason::Login, detail));
                }
                let scram = ScramSha256::new(login.password.as_bytes(), ChannelBinding::unsupported());
                let first = scram.message().to_vec();
                self.scram = Some(scram);
                build(|buffer| frontend::sasl_initial_response(SCRAM_SHA_256, &first, buffer))?
            }
            11 | 12 => {
                let scram = self.scram.as_mut().ok_or_else(strange)?;
                let refused =
                    |error: std::io::Error| Failure::new(FailureReason::Login, format!("SCRAM: {error}"));
                if kind == 12 {
                    scram.finish(rest).map_err(refused)?;
                    Vec::new()
                } else {
                    scram.update(rest).map_err(refused)?;
                    let next = scram.message().to_vec();
                    build(|buffer| frontend::sasl_response(&next, buffer))?
                }
            }
            other => {
                let detail = format!("the server wants authentication {other}, which is not spoken");
                return Err(Failure::new(FailureReason::Login, detail));
            }
        };
        Ok(Step::Go(used, bytes))
    }

    /// An error (message `E`): fields of a letter and a text each.
    fn refused(&self, body: &[u8]) -> Result<Step, Failure> {
        let field = |letter: u8| {
            let fields = body.split(|byte| *byte == 0);
            fields
                .filter_map(|field| field.split_first())
                .find(|(first, _)| **first == letter)
                .map(|(_, text)| text)
        };
        let (code, text) = (field(b'C').unwrap_or_default(), field(b'M').unwrap_or_default());
        // Class 28 (invalid authorization) and an unknown database: it works, and does not know nobody.
        if self.login.is_none() && (code.starts_with(b"28") || code == b"3D000") {
            return Ok(Step::Good(Vec::new()));
        }
        let reason = if code.starts_with(b"28") { FailureReason::Login } else { FailureReason::Status };
        let what = if self.querying { "query" } else { "start-up" };
        Err(Failure::new(reason, format!("{what}: error {} {}", String::from_utf8_lossy(code), quote(text))))
    }
}

fn build(write: impl FnOnce(&mut BytesMut) -> std::io::Result<()>) -> Result<Vec<u8>, Failure> {
    let mut buffer = BytesMut::new();
    write(&mut buffer).map_err(|error| Failure::new(FailureReason::Local, error.to_string()))?;
    Ok(buffer.to_vec())
}

fn terminate() -> Result<Vec<u8>, Failure> {
    build(|buffer| {
        frontend::terminate(buffer);
        Ok(())
    })
}

impl Conversation for Pgsql {
    fn start(&mut self) -> Result<Vec<u8>, Failure> {
        let user = self.login.as_ref().map_or(NOBODY, |login| &login.user);
        let mut parameters = vec![("user", user)];
        if let Some(database) = &self.database {
            parameters.push(("database", database));
        }
        build(|buffer| frontend::startup_message(parameters, buffer))
    }

    fn received(&mut self, bytes: &[u8]) -> Result<Step, Failure> {
        let [kind, a, b, c, d, rest @ ..] = bytes else {
            return match bytes.first() {
                None | Some(b'R' | b'E' | b'S' | b'K' | b'Z' | b'N' | b'C' | b'D' | b'T' | b'I' | b'v') => {
                    Ok(Step::More)
                }
                Some(_) => Err(strange(bytes)),
            };
        };
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let Some(length) = length.checked_sub(4) else { return Err(strange(bytes)) };
        let Some(body) = rest.get(..length) else {
            return if b"RESKZNCDTIv".contains(kind) { Ok(Step::More) } else { Err(strange(bytes)) };
        };
        let used = 5 + length;
        match kind {
            b'R' => self.authenticate(used, body),
            b'E' => self.refused(body),
            b'Z' => match self.query.take() {
                Some(query) => {
                    self.querying = true;
                    Ok(Step::Go(used, build(|buffer| frontend::query(&query, buffer))?))
                }
                None => Ok(Step::Good(terminate()?)),
            },
            // Parameters, keys, notices, rows: what matters is whether it ends with `Z` or `E`.
            b'S' | b'K' | b'N' | b'C' | b'D' | b'T' | b'I' | b'v' => Ok(Step::Go(used, Vec::new())),
            _ => Err(strange(bytes)),
        }
    }
}

fn strange(bytes: &[u8]) -> Failure {
    Failure::new(FailureReason::Protocol, format!("{} is no answer of PostgreSQL", quote(bytes)))
}
