//! `sip`: OPTIONS, answered with 200 (RFC 3261, 11).

use std::net::SocketAddr;

use super::super::quote::quote;
use super::{Conversation, Step};
use crate::health::{Failure, FailureReason};

pub(super) struct Sip {
    endpoint: SocketAddr,
    udp: bool,
    user: Option<String>,
    call: u64,
}

impl Sip {
    pub(super) fn new(endpoint: SocketAddr, udp: bool, user: Option<&str>) -> Self {
        Self { endpoint, udp, user: user.map(str::to_owned), call: rand::random() }
    }
}

impl Conversation for Sip {
    fn start(&mut self) -> Result<Vec<u8>, Failure> {
        let Self { endpoint, call, .. } = self;
        let user = self.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        let transport = if self.udp { "UDP" } else { "TCP" };
        // The server answers to the connection or, by rport (RFC 3581), to where the datagram came from; the name in Via
        // is only a name.
        Ok(format!(
            "OPTIONS sip:{user}{endpoint} SIP/2.0\r\n\
             Via: SIP/2.0/{transport} lvx.invalid;branch=z9hG4bK{call:016x};rport\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:lvx@lvx.invalid>;tag={call:x}\r\n\
             To: <sip:{user}{endpoint}>\r\n\
             Call-ID: {call:016x}@lvx.invalid\r\n\
             CSeq: 1 OPTIONS\r\n\
             Contact: <sip:lvx@lvx.invalid>\r\n\
             Accept: application/sdp\r\n\
             Content-Length: 0\r\n\r\n"
        )
        .into_bytes())
    }

    fn received(&mut self, bytes: &[u8]) -> Result<Step, Failure> {
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            // A datagram is whole, or it is none of SIP.
            return if self.udp { Err(no_sip(bytes)) } else { Ok(Step::More) };
        };
        let head = String::from_utf8_lossy(&bytes[..end]);
        let line = head.lines().next().unwrap_or_default();
        let status = line.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)?.parse::<u16>().ok());
        let own = format!("{:016x}@lvx.invalid", self.call);
        let ours = head.lines().any(|line| {
            line.split_once(':').is_some_and(|(name, value)| {
                matches!(name.trim().to_ascii_lowercase().as_str(), "call-id" | "i") && value.trim() == own
            })
        });
        match status {
            None => Err(no_sip(line.as_bytes())),
            // Provisional, or the answer to another question.
            Some(100..=199) => Ok(Step::Go(end + 4, Vec::new())),
            Some(_) if !ours => Ok(Step::Go(end + 4, Vec::new())),
            Some(200) => Ok(Step::Good(Vec::new())),
            Some(_) => Err(Failure::new(
                FailureReason::Status,
                format!("OPTIONS: {}, expected 200", quote(line.as_bytes())),
            )),
        }
    }
}

fn no_sip(bytes: &[u8]) -> Failure {
    Failure::new(FailureReason::Protocol, format!("{} is no answer of SIP", quote(bytes)))
}
