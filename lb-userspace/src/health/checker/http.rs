//! `http` and `https`: requests are answered as expected (keepalived's `HTTP_GET` and `SSL_GET`).

mod body;
mod connection;
mod redirect;

use std::net::SocketAddr;

use body::Content;
use connection::{Client, Target};
use hyper::header::LOCATION;

use super::quote::quote;
use crate::health::{Failure, FailureReason, Outcome, Pass, Probe};
use crate::model::{HttpCheck, HttpRequest};

pub use body::Digests;

/// Sends the requests one after the other; the first that is not answered as expected ends the run.
pub(super) async fn check(check: &HttpCheck, probe: &Probe) -> Outcome {
    let mut client = Client::new(check, probe);
    for request in &check.requests {
        answer(&mut client, request, check.max_body).await.map_err(|failure| {
            if check.requests.len() == 1 {
                return failure;
            }
            let request = quote(format!("{} {}", request.method, request.path).as_bytes());
            Failure { detail: format!("{request}: {}", failure.detail), ..failure }
        })?;
    }
    Ok(Pass { weight: None, warning: client.warning.take() })
}

/// The body's digests, whatever the status is and however long the body, and the status.
///
/// # Errors
/// Those of a check: no connection, no HTTP, a connection that ends too early.
pub async fn digests(check: &HttpCheck, probe: &Probe) -> Result<(u16, Digests), Failure> {
    let mut client = Client::new(check, probe);
    let Some(request) = check.requests.first() else {
        return Err(Failure::new(FailureReason::Local, "no request"));
    };
    let response = client.send(&Target::of(request, probe.endpoint), request).await?;
    let status = response.status().as_u16();
    Ok((status, body::digests(response).await?))
}

/// Sends one request, follows its redirections, and judges the answer.
async fn answer(client: &mut Client<'_>, request: &HttpRequest, max_body: u32) -> Result<(), Failure> {
    let mut target = Target::of(request, client.probe.endpoint);
    let mut followed = 0;
    loop {
        let response = client.send(&target, request).await?;
        let status = response.status().as_u16();
        if request.status.contains(status) {
            let content = Content::read(response, request, max_body).await?;
            client.finished(content.complete).await;
            return content.judge(request);
        }
        let location = response.headers().get(LOCATION).map(|value| value.as_bytes().to_owned());
        match location {
            Some(location) if redirect::is_redirection(status) && request.max_redirects > 0 => {
                if followed == request.max_redirects {
                    return Err(Failure::new(
                        FailureReason::Redirect,
                        format!("more than {followed} redirections, the last one to {}", quote(&location)),
                    ));
                }
                followed += 1;
                target =
                    redirect::follow(&target, client.scheme(), status, &location, client.probe.endpoint)?;
                let complete = body::skip(response, max_body).await?;
                client.finished(complete).await;
            }
            _ => {
                let to = location.map(|to| format!(" (to {})", quote(&to))).unwrap_or_default();
                return Err(Failure::new(
                    FailureReason::Status,
                    format!("status {status}{to}, expected {}", request.status),
                ));
            }
        }
    }
}

/// An address as the `Host` field wants it: without the scheme's own port.
fn authority(endpoint: SocketAddr, tls: bool) -> String {
    let own = if tls { 443 } else { 80 };
    match endpoint {
        _ if endpoint.port() != own => endpoint.to_string(),
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    }
}
