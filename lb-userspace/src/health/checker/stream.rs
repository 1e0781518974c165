//! A connection to the real server, encrypted or not.

use tokio::io::{AsyncRead, AsyncWrite};

use super::tls;
use crate::health::{Failure, Probe};
use crate::model::CheckTls;

/// Bytes in both directions.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection that has been made.
pub(super) struct Opened {
    /// The connection.
    pub(super) stream: Box<dyn Duplex>,
    /// What an operator should know of the server's certificate.
    pub(super) warning: Option<String>,
}

/// Connects to the probe's endpoint, with TLS where `encryption` is given; `protocols` are for ALPN.
///
/// # Errors
/// Those of [`Probe::connect`] and of [`tls::connect`].
pub(super) async fn open(
    probe: &Probe,
    encryption: Option<&CheckTls>,
    protocols: &[&[u8]],
) -> Result<Opened, Failure> {
    let stream = probe.connect().await?;
    let Some(check) = encryption else {
        return Ok(Opened { stream: Box::new(stream), warning: None });
    };
    let secured = tls::connect(check, protocols, stream, probe.endpoint.ip()).await?;
    Ok(Opened { stream: Box::new(secured.stream), warning: secured.warning })
}
