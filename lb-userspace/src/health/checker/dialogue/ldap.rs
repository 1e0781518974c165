//! `ldap`: a simple bind, and a search for one entry (RFC 4511, 4.2 and 4.5).

use super::super::quote::quote;
use super::{Conversation, Step};
use crate::health::{Failure, FailureReason};
use crate::model::Login;

// Tags of BER (X.690) as LDAP uses them.
const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const ENUMERATED: u8 = 0x0a;
const BOOLEAN: u8 = 0x01;
const BIND_REQUEST: u8 = 0x60;
const BIND_RESPONSE: u8 = 0x61;
const SEARCH_REQUEST: u8 = 0x63;
const SEARCH_ENTRY: u8 = 0x64;
const SEARCH_DONE: u8 = 0x65;
const SIMPLE: u8 = 0x80;
const PRESENT: u8 = 0x87;

/// Unbind, with message number 9.
const UNBIND: [u8; 7] = [SEQUENCE, 5, INTEGER, 1, 9, 0x42, 0];

/// invalidCredentials of RFC 4511, appendix A.
const INVALID_CREDENTIALS: u8 = 49;

pub(super) struct Ldap {
    bind: Vec<u8>,
    search: Option<Vec<u8>>,
    bound: bool,
    found: bool,
}

impl Ldap {
    pub(super) fn new(login: Option<&Login>, base: Option<&str>) -> Self {
        let (name, password) = login.map_or(("", ""), |login| (login.user.as_str(), login.password.as_str()));
        let bind = [
            element(INTEGER, &[3]),
            element(OCTET_STRING, name.as_bytes()),
            element(SIMPLE, password.as_bytes()),
        ];
        let search = base.map(|base| {
            let attributes = element(SEQUENCE, &element(OCTET_STRING, b"1.1"));
            let parts = [
                element(OCTET_STRING, base.as_bytes()),
                element(ENUMERATED, &[0]),
                element(ENUMERATED, &[0]),
                element(INTEGER, &[1]),
                element(INTEGER, &[10]),
                element(BOOLEAN, &[0]),
                element(PRESENT, b"objectClass"),
                attributes,
            ];
            message(2, &element(SEARCH_REQUEST, &parts.concat()))
        });
        Self { bind: message(1, &element(BIND_REQUEST, &bind.concat())), search, bound: false, found: false }
    }
}

impl Conversation for Ldap {
    fn start(&mut self) -> Result<Vec<u8>, Failure> {
        Ok(self.bind.clone())
    }

    fn received(&mut self, bytes: &[u8]) -> Result<Step, Failure> {
        let strange =
            || Failure::new(FailureReason::Protocol, format!("{} is no answer of LDAP", quote(bytes)));
        let Some((SEQUENCE, body, used)) = read(bytes).map_err(|()| strange())? else {
            return if bytes.first().is_none_or(|tag| *tag == SEQUENCE) {
                Ok(Step::More)
            } else {
                Err(strange())
            };
        };
        let inner = |bytes| read(bytes).ok().flatten();
        let (_, _, number) = inner(body).filter(|(tag, ..)| *tag == INTEGER).ok_or_else(strange)?;
        let (operation, content, _) = inner(&body[number..]).ok_or_else(strange)?;
        let result = || {
            let (_, code, after) = inner(content).filter(|(tag, ..)| *tag == ENUMERATED)?;
            let (_, _, name) = inner(&content[after..])?;
            let (_, text, _) = inner(&content[after + name..])?;
            Some((*code.last()?, text))
        };
        match (operation, self.bound) {
            (BIND_RESPONSE, false) => {
                let (code, text) = result().ok_or_else(strange)?;
                if code != 0 {
                    let reason = if code == INVALID_CREDENTIALS {
                        FailureReason::Login
                    } else {
                        FailureReason::Status
                    };
                    return Err(Failure::new(reason, format!("bind: result {code} {}", quote(text))));
                }
                self.bound = true;
                Ok(match self.search.take() {
                    Some(search) => Step::Go(used, search),
                    None => Step::Good(UNBIND.to_vec()),
                })
            }
            (SEARCH_ENTRY, true) => {
                self.found = true;
                Ok(Step::Go(used, Vec::new()))
            }
            (SEARCH_DONE, true) => {
                let (code, text) = result().ok_or_else(strange)?;
                if code == 0 && self.found {
                    return Ok(Step::Good(UNBIND.to_vec()));
                }
                let missing = if code == 0 { "no entry, ".to_owned() } else { String::new() };
                Err(Failure::new(
                    FailureReason::Status,
                    format!("search: {missing}result {code} {}", quote(text)),
                ))
            }
            // References to other servers, and notices.
            (_, true) => Ok(Step::Go(used, Vec::new())),
            (_, false) => Err(strange()),
        }
    }
}

/// A message with its number, which is below 128.
fn message(number: u8, operation: &[u8]) -> Vec<u8> {
    element(SEQUENCE, &[element(INTEGER, &[number]), operation.to_vec()].concat())
}

/// A tag, a length and a content.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant = length.iter().position(|byte| *byte != 0).unwrap_or(length.len() - 1);
    let mut bytes = vec![tag];
    if content.len() >= 0x80 {
        bytes.push(0x80 | (length.len() - significant) as u8);
    }
    bytes.extend(&length[significant..]);
    bytes.extend(content);
    bytes
}

/// The first element: its tag, its content and how long it is altogether. `None`: more bytes are needed.
#[expect(clippy::type_complexity, reason = "three plain parts of one element")]
fn read(bytes: &[u8]) -> Result<Option<(u8, &[u8], usize)>, ()> {
    let [tag, first, rest @ ..] = bytes else { return Ok(None) };
    let (length, header) = if *first < 0x80 {
        (usize::from(*first), 2)
    } else {
        let count = usize::from(first & 0x7f);
        // Longer lengths than three bytes are longer than anything that is accepted.
        if !(1..=3).contains(&count) {
            return Err(());
        }
        let Some(digits) = rest.get(..count) else { return Ok(None) };
        (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), 2 + count)
    };
    Ok(bytes.get(header..header + length).map(|content| (*tag, content, header + length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_read_as_they_are_written() {
        for length in [0, 1, 127, 128, 255, 256, 70_000] {
            let content = vec![7; length];
            let bytes = element(OCTET_STRING, &content);
            assert_eq!(read(&bytes), Ok(Some((OCTET_STRING, &content[..], bytes.len()))));
            assert_eq!(read(&bytes[..bytes.len() - 1]), Ok(None));
        }
        assert_eq!(read(&[SEQUENCE, 0x80]), Err(()));
        assert_eq!(read(&[SEQUENCE, 0x84, 1, 1, 1, 1]), Err(()));
    }
}
