//! `radius`: an Access-Request, whose answer has to prove that it knows the secret (RFC 2865, RFC 3579).

use hmac::{Hmac, Mac};
use md5::{Digest, Md5};

use super::super::quote::quote;
use super::{Conversation, Step};
use crate::health::{Failure, FailureReason};
use crate::model::Login;

const ACCESS_REQUEST: u8 = 1;
const ACCESS_ACCEPT: u8 = 2;
const ACCESS_REJECT: u8 = 3;
const ACCESS_CHALLENGE: u8 = 11;

// Attributes.
const USER_NAME: u8 = 1;
const USER_PASSWORD: u8 = 2;
const NAS_IDENTIFIER: u8 = 32;
const MESSAGE_AUTHENTICATOR: u8 = 80;

/// Who asks where there is no login.
const NOBODY: &str = "lvx";

pub(super) struct Radius {
    login: Option<Login>,
    secret: Vec<u8>,
    identifier: u8,
    authenticator: [u8; 16],
}

impl Radius {
    pub(super) fn new(login: Option<&Login>, secret: &str) -> Self {
        Self {
            login: login.cloned(),
            secret: secret.as_bytes().to_vec(),
            identifier: rand::random(),
            authenticator: rand::random(),
        }
    }

    /// RFC 2865, 5.2: each block is hidden by a digest of the secret and the block before.
    fn hidden(&self, password: &[u8]) -> Vec<u8> {
        let mut padded = password[..password.len().min(128)].to_vec();
        padded.resize(padded.len().next_multiple_of(16).max(16), 0);
        let mut before = self.authenticator.to_vec();
        for block in padded.chunks_mut(16) {
            let key = Md5::new().chain_update(&self.secret).chain_update(&before).finalize();
            block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
            before = block.to_vec();
        }
        padded
    }
}

fn attribute(kind: u8, value: &[u8]) -> Vec<u8> {
    let value = &value[..value.len().min(253)];
    [&[kind, value.len() as u8 + 2], value].concat()
}

impl Conversation for Radius {
    fn start(&mut self) -> Result<Vec<u8>, Failure> {
        let (user, password) =
            self.login.as_ref().map_or((NOBODY, ""), |login| (login.user.as_str(), login.password.as_str()));
        // The authenticator of the message comes first: servers that know of Blast-RADIUS want it there.
        let attributes = [
            attribute(MESSAGE_AUTHENTICATOR, &[0; 16]),
            attribute(USER_NAME, user.as_bytes()),
            attribute(USER_PASSWORD, &self.hidden(password.as_bytes())),
            attribute(NAS_IDENTIFIER, b"lvx"),
        ]
        .concat();
        let length = (20 + attributes.len()) as u16;
        let mut packet = vec![ACCESS_REQUEST, self.identifier];
        packet.extend(length.to_be_bytes());
        packet.extend(self.authenticator);
        packet.extend(attributes);
        let mut mac = Hmac::<Md5>::new_from_slice(&self.secret)
            .map_err(|error| Failure::new(FailureReason::Local, error.to_string()))?;
        mac.update(&packet);
        packet[22..38].copy_from_slice(&mac.finalize().into_bytes());
        Ok(packet)
    }

    fn received(&mut self, bytes: &[u8]) -> Result<Step, Failure> {
        let strange = |why: &str| Failure::new(FailureReason::Protocol, format!("{} {why}", quote(bytes)));
        let [code, identifier, high, low, rest @ ..] = bytes else {
            return Err(strange("is no answer of RADIUS"));
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (Some(proof), Some(attributes)) = (rest.get(..16), bytes.get(20..length)) else {
            return Err(strange("is no answer of RADIUS"));
        };
        if *identifier != self.identifier {
            return Ok(Step::More);
        }
        let expected = Md5::new()
            .chain_update([*code, *identifier, *high, *low])
            .chain_update(self.authenticator)
            .chain_update(attributes)
            .chain_update(&self.secret)
            .finalize();
        if proof != expected.as_slice() {
            return Err(Failure::new(FailureReason::Login, "the answer was made with another secret"));
        }
        match (*code, &self.login) {
            (ACCESS_ACCEPT | ACCESS_CHALLENGE, _) | (ACCESS_REJECT, None) => Ok(Step::Good(Vec::new())),
            (ACCESS_REJECT, Some(_)) => Err(Failure::new(FailureReason::Login, "Access-Reject")),
            (other, _) => Err(strange(&format!("has code {other}, which is no answer to an Access-Request"))),
        }
    }
}
