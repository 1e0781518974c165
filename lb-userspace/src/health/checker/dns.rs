//! `dns`: a name server answers a query (keepalived's `DNS_CHECK`, ldirectord's `dns`).

use std::fmt::Write;
use std::str::FromStr;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::icmp_errors;
use super::quote::quote;
use crate::health::{Failure, FailureReason, Outcome, Pass, Probe};
use crate::model::DnsCheck;

/// Longest message.
const LONGEST: usize = 65_535;
/// Length of a message's header (RFC 1035, 4.1.1), where the third byte has the bits QR and TC.
const HEADER: usize = 12;
const QR: u8 = 0x80;
const TC: u8 = 0x02;

/// Asks over UDP, and over TCP where the answer does not fit.
pub(super) async fn check(check: &DnsCheck, probe: &Probe) -> Outcome {
    let question = question(check)?;
    let id = rand::random();
    let query = query(id, &question)?;
    let mut answer = over_udp(&query, id, probe).await?;
    if answer[2] & TC != 0 {
        answer = over_tcp(&query, id, probe).await?;
    }
    let answer = Message::from_vec(&answer).map_err(|error| {
        Failure::new(
            FailureReason::Protocol,
            format!("the answer is no DNS message: {error}").replace('\n', " "),
        )
    })?;
    judge(&answer, &question, check.answer.as_deref())?;
    Ok(Pass::default())
}

fn question(check: &DnsCheck) -> Result<Query, Failure> {
    let unusable = |what: &str, text: &str| {
        Failure::new(FailureReason::Local, format!("{} is no {what}", quote(text.as_bytes())))
    };
    let mut name = Name::from_ascii(&check.name).map_err(|_| unusable("domain name", &check.name))?;
    name.set_fqdn(true);
    let record_type = RecordType::from_str(&check.record_type.to_ascii_uppercase())
        .map_err(|_| unusable("type of a DNS record", &check.record_type))?;
    Ok(Query::query(name, record_type))
}

fn query(id: u16, question: &Query) -> Result<Vec<u8>, Failure> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(question.clone());
    message.to_vec().map_err(|error| Failure::new(FailureReason::Local, format!("dns query: {error}")))
}

/// Whether a message is an answer to the query with this number.
fn answers(message: &[u8], id: u16) -> bool {
    message.len() >= HEADER && message[..2] == id.to_be_bytes() && message[2] & QR != 0
}

/// The first datagram that is an answer; others may be late ones to an earlier query, or forged.
async fn over_udp(query: &[u8], id: u16, probe: &Probe) -> Result<Vec<u8>, Failure> {
    let socket = probe.udp().await?;
    icmp_errors::report(&socket, probe.endpoint.is_ipv4())
        .map_err(|error| Failure::new(FailureReason::Local, format!("socket: {error}")))?;
    socket.send(query).await.map_err(|error| Failure::from_io("send", &error))?;
    let mut answer = vec![0; LONGEST];
    loop {
        let length = icmp_errors::receive(&socket, &mut answer)
            .await
            .map_err(|error| Failure::from_io("receive", &error))?;
        if answers(&answer[..length], id) {
            answer.truncate(length);
            return Ok(answer);
        }
    }
}

/// The same over TCP, where two bytes of length come first (RFC 1035, 4.2.2).
async fn over_tcp(query: &[u8], id: u16, probe: &Probe) -> Result<Vec<u8>, Failure> {
    let failed = |error| Failure::from_io("dns over tcp", &error);
    let mut stream = probe.connect().await?;
    let length = u16::try_from(query.len())
        .map_err(|_| Failure::new(FailureReason::Local, "the dns query is too long"))?;
    stream.write_all(&[&length.to_be_bytes(), query].concat()).await.map_err(failed)?;
    let mut answer = vec![0; usize::from(stream.read_u16().await.map_err(failed)?)];
    stream.read_exact(&mut answer).await.map_err(failed)?;
    if answers(&answer, id) {
        return Ok(answer);
    }
    Err(Failure::new(FailureReason::Protocol, "the answer over tcp is to another query"))
}

fn judge(answer: &Message, question: &Query, wanted: Option<&str>) -> Result<(), Failure> {
    let code = answer.metadata.response_code;
    if !matches!(code, ResponseCode::NoError | ResponseCode::NXDomain) {
        return Err(Failure::new(
            FailureReason::Status,
            format!("answer {code}, expected NOERROR or NXDOMAIN"),
        ));
    }
    // Names are equal in whatever case.
    if answer.queries.as_slice() != std::slice::from_ref(question) {
        return Err(Failure::new(FailureReason::Protocol, "the answer repeats another question"));
    }
    let Some(wanted) = wanted else { return Ok(()) };
    let mut records = answer.answers.iter().map(|record| {
        let mut text = String::new();
        // Some kinds of records have no text, and formatting them fails.
        let _ = write!(text, "{}", record.data);
        text
    });
    if records.any(|text| text.contains(wanted)) {
        return Ok(());
    }
    Err(Failure::new(
        FailureReason::Pattern,
        format!(
            "none of the {} records of the answer ({code}) contains {}",
            answer.answers.len(),
            quote(wanted.as_bytes())
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::ResponseCode as Code;
    use hickory_proto::rr::{RData, Record, rdata};

    fn ask() -> Query {
        let check = DnsCheck { name: "www.example".to_owned(), record_type: "a".to_owned(), answer: None };
        question(&check).unwrap()
    }

    fn reply(code: Code) -> Message {
        let mut message = Message::new(7, MessageType::Response, OpCode::Query);
        message.metadata.response_code = code;
        message.add_query(ask());
        let data = RData::A(rdata::A::new(192, 0, 2, 80));
        message.answers.push(Record::from_rdata(ask().name().clone(), 60, data));
        message
    }

    fn reason(message: &Message, wanted: Option<&str>) -> Option<FailureReason> {
        judge(message, &ask(), wanted).err().map(|failure| failure.reason)
    }

    #[test]
    fn codes_and_records() {
        assert_eq!(reason(&reply(Code::NoError), None), None);
        assert_eq!(reason(&reply(Code::NXDomain), None), None);
        for code in [Code::ServFail, Code::Refused, Code::FormErr, Code::NotImp] {
            assert_eq!(reason(&reply(code), None), Some(FailureReason::Status));
        }
        assert_eq!(reason(&reply(Code::NoError), Some("192.0.2.80")), None);
        assert_eq!(reason(&reply(Code::NoError), Some("192.0.2.81")), Some(FailureReason::Pattern));
        let mut other = reply(Code::NoError);
        other.queries[0] = Query::query(Name::from_ascii("www2.example.").unwrap(), RecordType::A);
        assert_eq!(reason(&other, None), Some(FailureReason::Protocol));
    }

    #[test]
    fn which_messages_are_answers() {
        let bytes = reply(Code::NoError).to_vec().unwrap();
        assert!(answers(&bytes, 7));
        assert!(!answers(&bytes, 8));
        assert!(!answers(&bytes[..11], 7));
        assert!(!answers(&query(7, &ask()).unwrap(), 7), "the query itself");
    }

    #[test]
    fn names_and_types_that_are_none() {
        for (name, record_type) in [("a..b", "A"), ("www.example", "B")] {
            let check = DnsCheck { name: name.to_owned(), record_type: record_type.to_owned(), answer: None };
            assert_eq!(question(&check).unwrap_err().reason, FailureReason::Local);
        }
        let root = DnsCheck { name: ".".to_owned(), record_type: "SOA".to_owned(), answer: None };
        assert!(question(&root).unwrap().name().is_root());
    }
}
