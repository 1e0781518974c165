//! TLS of the checkers.
//!
//! It is TLS 1.2 and 1.3: rustls has no older versions, and a server that speaks only those fails here even where its
//! certificate is not verified.

mod config;
mod expiry;

use std::io;
use std::net::IpAddr;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::quote::quote;
use crate::health::{Failure, FailureReason};
use crate::model::CheckTls;

/// A connection after the handshake.
pub(super) struct Secured {
    /// What is said on it is encrypted.
    pub(super) stream: TlsStream<TcpStream>,
    /// What an operator should know of the certificate.
    pub(super) warning: Option<String>,
}

/// Shakes hands with `peer` over `stream`. Where `protocols` (ALPN, RFC 7301) are given the server has to choose one.
///
/// # Errors
/// [`FailureReason::Tls`] for everything that is wrong with the server, [`FailureReason::Local`] for files that cannot be
/// used.
pub(super) async fn connect(
    check: &CheckTls,
    protocols: &[&[u8]],
    stream: TcpStream,
    peer: IpAddr,
) -> Result<Secured, Failure> {
    let config = config::config(check, protocols).await?;
    let name = match &check.server_name {
        Some(name) => ServerName::try_from(name.clone()).map_err(|_| {
            Failure::new(FailureReason::Local, format!("{} is no server name", quote(name.as_bytes())))
        })?,
        None => ServerName::from(peer),
    };
    let stream =
        TlsConnector::from(config).connect(name, stream).await.map_err(|error| handshake_failure(&error))?;
    let connection = stream.get_ref().1;
    if !protocols.is_empty() && connection.alpn_protocol().is_none() {
        let wanted: Vec<_> = protocols.iter().map(|protocol| quote(protocol)).collect();
        return Err(Failure::new(
            FailureReason::Tls,
            format!("the server does not offer the protocol {}", wanted.join(" or ")),
        ));
    }
    let warning = check.expiry_warning.and_then(|within| {
        let leaf = connection.peer_certificates()?.first()?;
        expiry::warning(leaf, within, std::time::SystemTime::now())
    });
    Ok(Secured { stream, warning })
}

/// What a failed handshake means. Whatever ends it other than the clock and the network is the server's TLS.
fn handshake_failure(error: &io::Error) -> Failure {
    if let Some(failure) = failure_within(error) {
        return failure;
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            Failure::new(FailureReason::Tls, format!("the server ended the handshake: {error}"))
        }
        _ => Failure::from_io("tls handshake", error),
    }
}

/// The TLS failure inside an error of the stream, such as the alert by which a TLS 1.3 server refuses a client's
/// certificate after the handshake.
pub(super) fn failure_within(error: &io::Error) -> Option<Failure> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let detail = match error {
        rustls::Error::InvalidMessage(_) => format!("the server does not speak TLS: {error}"),
        rustls::Error::AlertReceived(alert) => format!("the server refused with the alert {alert:?}"),
        _ => error.to_string(),
    };
    Some(Failure::new(FailureReason::Tls, detail.replace('\n', " ")))
}
