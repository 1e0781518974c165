//! Runs of checks, for the tests of the checkers.
#![allow(dead_code, reason = "not every test needs all of it")]

use std::net::SocketAddr;
use std::time::Duration;

use lab::Namespace;
use lb_userspace::health::{FailureReason, Origin, Outcome, Probe, checker};
use lb_userspace::model::{CheckKind, HttpCheck, HttpRequest, HttpVersion, Protocol, ServiceKey, StatusSet};

/// How long a run of a test may take; a check that has not ended then is broken.
const PATIENCE: Duration = Duration::from_secs(30);

/// A run against `endpoint`.
pub(crate) fn probe(endpoint: SocketAddr) -> Probe {
    Probe {
        endpoint,
        origin: Origin::default(),
        timeout: Duration::from_secs(5),
        through: None,
        service: ServiceKey { protocol: Protocol::Tcp, address: "198.51.100.9".parse().unwrap(), port: 80 },
        real_server: endpoint,
        weight: 10,
    }
}

/// One run, on the runtime of the caller.
///
/// # Panics
/// When it does not end.
pub(crate) async fn run(kind: &CheckKind, probe: &Probe) -> Outcome {
    tokio::time::timeout(PATIENCE, checker::run(kind, probe)).await.expect("the check does not end")
}

/// One run in a namespace.
pub(crate) fn run_in(namespace: &Namespace, kind: &CheckKind, endpoint: &str) -> Outcome {
    let probe = probe(endpoint.parse().unwrap());
    namespace
        .enter(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(run(kind, &probe))
        })
        .unwrap()
}

/// The reason of a failed run.
///
/// # Panics
/// When the run did not fail, or its detail breaks the rules for details.
#[track_caller]
pub(crate) fn reason(outcome: Outcome) -> FailureReason {
    let failure = outcome.expect_err("the check has to fail");
    assert!(!failure.detail.is_empty() && failure.detail.len() < 500, "{failure}");
    assert!(!failure.detail.contains('\n'), "{failure}");
    eprintln!("{failure}");
    failure.reason
}

/// `GET path`, any 2xx.
pub(crate) fn get(path: &str) -> HttpRequest {
    HttpRequest {
        method: "GET".to_owned(),
        path: path.to_owned(),
        host: None,
        headers: Vec::new(),
        status: StatusSet::default(),
        digest: None,
        pattern: None,
        max_redirects: 0,
    }
}

/// A check without TLS.
pub(crate) fn http(requests: Vec<HttpRequest>) -> HttpCheck {
    HttpCheck { tls: None, version: HttpVersion::Http11, requests, max_body: 1 << 20 }
}
