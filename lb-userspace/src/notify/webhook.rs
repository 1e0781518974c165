//! Events by POST to HTTP servers.
//!
//! Every address has a queue and a worker of its own, so that one that hangs does not hold up the others. Events arrive
//! in order; one that was not taken after three tries is given up, and the next goes its way.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::NotifyError;
use super::outbox::{Outbox, Tally};

/// Bound for a try, from the look-up of the name to the head of the answer.
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// Pauses before the second and third try.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];

/// Where events go, validated.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// As the operator wrote it.
    pub(super) url: String,
    host: String,
    port: u16,
    /// Host and port as in the address, for the `Host` field.
    authority: String,
    path: String,
    server_name: Option<ServerName<'static>>,
}

impl Target {
    pub(super) fn parse(url: &str) -> Result<Self, NotifyError> {
        let refused = |reason: &str| NotifyError::Webhook { url: url.to_owned(), reason: reason.to_owned() };
        let uri: Uri = url.parse().map_err(|_| refused("is no address"))?;
        let https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(refused("has to begin with http:// or https://")),
        };
        let authority = uri.authority().ok_or_else(|| refused("has no host"))?;
        if authority.as_str().contains('@') {
            return Err(refused("contains a user name or password, which is not sent"));
        }
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() {
            return Err(refused("has no host"));
        }
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            None if authority.as_str().ends_with(authority.host()) => {
                if https {
                    443
                } else {
                    80
                }
            }
            None => return Err(refused("has no valid port")),
        };
        let name = || ServerName::try_from(host.to_owned()).map_err(|_| refused("has no valid host"));
        Ok(Self {
            url: url.to_owned(),
            host: host.to_owned(),
            port,
            authority: authority.to_string(),
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            server_name: https.then(name).transpose()?,
        })
    }

    /// One try.
    async fn post(&self, body: Bytes, trust: Option<&TlsConnector>) -> Result<(), String> {
        let whole = async {
            let stream = TcpStream::connect((self.host.as_str(), self.port))
                .await
                .map_err(|error| format!("connect: {error}"))?;
            let status = match (&self.server_name, trust) {
                (Some(name), Some(trust)) => {
                    let stream = trust.connect(name.clone(), stream).await;
                    self.exchange(stream.map_err(|error| format!("tls: {error}"))?, body).await?
                }
                (Some(_), None) => return Err("tls: not set up".to_owned()),
                (None, _) => self.exchange(stream, body).await?,
            };
            if status.is_success() {
                Ok(())
            } else {
                Err(format!("status {}, expected 2xx", status.as_u16()))
            }
        };
        match tokio::time::timeout(TIME_LIMIT, whole).await {
            Ok(result) => result,
            Err(_) => Err(format!("no answer within {} s", TIME_LIMIT.as_secs())),
        }
    }

    /// Sends the request and gives the status; the answer's body is not read.
    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send,
        body: Bytes,
    ) -> Result<StatusCode, String> {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| format!("http: {error}"))?;
        let request = Request::post(self.path.as_str())
            .header(HOST, &self.authority)
            .header(USER_AGENT, concat!("lvx/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, "application/json")
            .header(CONNECTION, "close")
            .body(Full::new(body))
            .map_err(|error| format!("http: {error}"))?;
        // The connection makes progress only while it is polled; when the answer is there both are dropped.
        let answer = sender.send_request(request);
        tokio::pin!(connection, answer);
        tokio::select! {
            biased;
            answer = &mut answer => answer.map(|answer| answer.status()).map_err(|error| format!("http: {error}")),
            ended = &mut connection => match ended {
                Ok(()) => answer.await.map(|answer| answer.status()).map_err(|error| format!("http: {error}")),
                Err(error) => Err(format!("http: {error}")),
            },
        }
    }
}

/// Delivers what is in the queue until it is closed and empty.
pub(super) async fn work(outbox: Arc<Outbox>, target: Target, router: Arc<str>) {
    let mut trust = None;
    let mut fails = false;
    while let Some(item) = outbox.next().await {
        if target.server_name.is_some() && trust.is_none() {
            trust = system_trust().await;
        }
        let body = Bytes::from(item.event.json(&router));
        let counter = match deliver(&target, &body, trust.as_ref()).await {
            Ok(()) => {
                fails = false;
                &outbox.tally().sent
            }
            Err(reason) => {
                if !std::mem::replace(&mut fails, true) {
                    tracing::warn!("webhook {}: {reason}", target.url);
                }
                &outbox.tally().failed
            }
        };
        Tally::add(counter, 1);
    }
}

async fn deliver(target: &Target, body: &Bytes, trust: Option<&TlsConnector>) -> Result<(), String> {
    let mut pauses = PAUSES.iter();
    loop {
        let Err(reason) = target.post(body.clone(), trust).await else { return Ok(()) };
        let Some(pause) = pauses.next() else { return Err(reason) };
        tracing::debug!("webhook {}: {reason}; another try follows", target.url);
        tokio::time::sleep(*pause).await;
    }
}

/// TLS that trusts the authorities of the system.
async fn system_trust() -> Option<TlsConnector> {
    // Reading the certificates is reading files.
    let found = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await.ok()?;
    for error in &found.errors {
        tracing::warn!("certificate authorities of the system: {error}");
    }
    let mut authorities = RootCertStore::empty();
    authorities.add_parsable_certificates(found.certs);
    trust(authorities)
}

fn trust(authorities: RootCertStore) -> Option<TlsConnector> {
    // Named, so that another provider among the dependencies cannot make the choice ambiguous.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.ok()?.with_root_certificates(authorities).with_no_client_auth();
    Some(TlsConnector::from(Arc::new(config)))
}
