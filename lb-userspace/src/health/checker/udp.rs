//! `udp`: a datagram is answered, or at least not refused (keepalived's `UDP_CHECK`).

use std::time::Duration;

use super::{icmp_errors, pattern};
use crate::health::{Failure, FailureReason, Outcome, Pass, Probe};
use crate::model::UdpCheck;

/// Longest datagram.
const LONGEST: usize = 65_535;
/// How long a refusal is waited for at most where no answer has to come.
const REFUSAL: Duration = Duration::from_secs(1);

/// Sends one datagram. Where no answer has to come, silence for half of the time-out, at most a second, is good; an
/// answer that comes all the same has to match.
pub(super) async fn check(check: &UdpCheck, probe: &Probe) -> Outcome {
    let socket = probe.udp().await?;
    icmp_errors::report(&socket, probe.endpoint.is_ipv4())
        .map_err(|error| Failure::new(FailureReason::Local, format!("socket: {error}")))?;
    socket.send(&check.payload).await.map_err(|error| Failure::from_io("send", &error))?;
    let mut answer = vec![0; LONGEST];
    let receive = icmp_errors::receive(&socket, &mut answer);
    let length = if check.require_reply {
        receive.await
    } else {
        match tokio::time::timeout(REFUSAL.min(probe.timeout / 2), receive).await {
            Ok(received) => received,
            Err(_silence) => return Ok(Pass::default()),
        }
    }
    .map_err(|error| Failure::from_io("receive", &error))?;
    if let Some(wanted) = &check.reply {
        pattern::matches(wanted, &answer[..length], "answer")?;
    }
    Ok(Pass::default())
}
