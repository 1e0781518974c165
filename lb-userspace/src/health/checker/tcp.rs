//! `tcp`: the real server accepts a connection (keepalived's `TCP_CHECK`).

use crate::health::{Outcome, Pass, Probe};

/// Connects and closes.
pub(super) async fn check(probe: &Probe) -> Outcome {
    let stream = probe.connect().await?;
    drop(stream);
    Ok(Pass::default())
}
