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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use rustls::ServerConfig;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        for (url, host, port, authority, path) in [
            ("http://192.0.2.1/x?y=1", "192.0.2.1", 80, "192.0.2.1", "/x?y=1"),
            ("https://hooks.example.org", "hooks.example.org", 443, "hooks.example.org", "/"),
            ("http://[2001:db8::1]:8080/", "2001:db8::1", 8080, "[2001:db8::1]:8080", "/"),
        ] {
            let target = Target::parse(url).unwrap();
            assert_eq!((&*target.host, target.port), (host, port), "{url}");
            assert_eq!((&*target.authority, &*target.path), (authority, path), "{url}");
            assert_eq!(target.server_name.is_some(), url.starts_with("https"));
        }
    }

    #[test]
    fn addresses_that_cannot_be_used_are_errors_that_name_them() {
        for (url, why) in [
            ("", "is no address"),
            ("http://a b/", "is no address"),
            ("ftp://example.org/", "has to begin with"),
            ("example.org", "has to begin with"),
            ("/x", "has to begin with"),
            ("http://user:secret@example.org/", "user name"),
            ("http://example.org:99999/", "no valid port"),
        ] {
            let said = Target::parse(url).unwrap_err().to_string();
            assert!(said.contains(why) && said.contains(&format!("{url:?}")), "{said}");
        }
    }

    /// A certificate for 127.0.0.1 that is its own authority.
    fn certificate() -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("certificate"), folder.path().join("key"));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
            .args(["-days", "2", "-subj", "/CN=lvx", "-addext", "subjectAltName=IP:127.0.0.1"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .output()
            .expect("openssl is installed");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let key = PrivateKeyDer::from_pem_slice(&fs::read(key).unwrap()).unwrap();
        (CertificateDer::from_pem_slice(&fs::read(certificate).unwrap()).unwrap(), key)
    }

    #[tokio::test]
    async fn https_is_spoken_to_servers_that_are_trusted_and_to_no_others() {
        let (certificate, key) = certificate();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let mut requests = Vec::new();
            for _ in 0..2 {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut request = String::new();
                while !request.ends_with("{\"a\":1}") {
                    let mut block = [0; 1024];
                    let length = stream.read(&mut block).await.unwrap();
                    assert_ne!(length, 0, "{request}");
                    request.push_str(std::str::from_utf8(&block[..length]).unwrap());
                }
                stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
                requests.push(request);
            }
            requests
        });

        let target = Target::parse(&format!("https://{address}/hook")).unwrap();
        let body = Bytes::from_static(b"{\"a\":1}");
        let nobody = trust(RootCertStore::empty());
        let said = target.post(body.clone(), nobody.as_ref()).await.unwrap_err();
        assert!(said.starts_with("tls: "), "{said}");
        let mut authorities = RootCertStore::empty();
        authorities.add(certificate).unwrap();
        target.post(body, trust(authorities).as_ref()).await.unwrap();

        let requests = server.await.unwrap();
        assert_eq!(requests.len(), 1);
        let (head, _) = requests[0].split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /hook HTTP/1.1\r\n"), "{head}");
        let lower = head.to_lowercase();
        for field in [
            &format!("host: {address}"),
            "content-type: application/json",
            "content-length: 7",
            "connection: close",
        ] {
            assert!(lower.contains(field), "{head}");
        }
    }
}
