//! Settings of rustls, made once for all checks that share them: reading the system's authorities takes milliseconds.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::health::{Failure, FailureReason};
use crate::model::CheckTls;

/// Longest PEM file that is read; the authorities of a distribution take about 220 KiB.
const LONGEST_FILE: u64 = 4 << 20;
/// After this time the system's authorities are read again: there is no one file to watch.
const SYSTEM_AUTHORITIES_LIVE: Duration = Duration::from_secs(600);
/// Most settings kept.
const MOST_SETTINGS: usize = 256;

/// What the settings depend on. The server's name is given with each connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    verify: bool,
    authorities: Option<PathBuf>,
    client_certificate: Option<(PathBuf, PathBuf)>,
    protocols: Vec<Vec<u8>>,
}

/// What a file looked like when it was read.
type Stamp = Option<(SystemTime, u64)>;

struct Made {
    config: Arc<ClientConfig>,
    stamps: Vec<Stamp>,
    at: Instant,
}

static MADE: LazyLock<Mutex<HashMap<Key, Made>>> = LazyLock::new(Mutex::default);
/// Held while settings are made, so that a thousand checks that start at once read the authorities once.
static MAKING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

impl Key {
    fn files(&self) -> impl Iterator<Item = &Path> {
        let pair = self.client_certificate.iter().flat_map(|(chain, key)| [chain, key]);
        self.authorities.iter().filter(|_| self.verify).chain(pair).map(PathBuf::as_path)
    }

    fn stamps(&self) -> Vec<Stamp> {
        let stamp = |file: &Path| {
            let found = fs::metadata(file).ok()?;
            Some((found.modified().ok()?, found.len()))
        };
        self.files().map(stamp).collect()
    }

    fn made(&self, stamps: &[Stamp]) -> Option<Arc<ClientConfig>> {
        let cache = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        let made = cache.get(self)?;
        let of_system = self.verify && self.authorities.is_none();
        let fresh = made.stamps == stamps && !(of_system && made.at.elapsed() > SYSTEM_AUTHORITIES_LIVE);
        fresh.then(|| Arc::clone(&made.config))
    }
}

/// The settings for a check.
///
/// # Errors
/// [`FailureReason::Local`] where a file is missing or is not what it should be; it is named.
pub(super) async fn config(check: &CheckTls, protocols: &[&[u8]]) -> Result<Arc<ClientConfig>, Failure> {
    let key = Key {
        verify: check.verify,
        authorities: check.authorities.clone(),
        client_certificate: check.client_certificate.clone(),
        protocols: protocols.iter().map(|protocol| protocol.to_vec()).collect(),
    };
    let stamps = if key.files().next().is_none() {
        Vec::new()
    } else {
        let key = key.clone();
        in_background(move || Ok(key.stamps())).await?
    };
    if let Some(config) = key.made(&stamps) {
        return Ok(config);
    }
    let _making = MAKING.lock().await;
    if let Some(config) = key.made(&stamps) {
        return Ok(config);
    }
    let config = {
        let key = key.clone();
        Arc::new(in_background(move || make(&key)).await?)
    };
    let mut cache = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if cache.len() >= MOST_SETTINGS {
        cache.clear();
    }
    cache.insert(key, Made { config: Arc::clone(&config), stamps, at: Instant::now() });
    Ok(config)
}

async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(local(format!("tls: {error}"))))
}

fn make(key: &Key) -> Result<ClientConfig, Failure> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| local(format!("tls: {error}")))?;
    let builder = if key.verify {
        builder.with_root_certificates(roots(key.authorities.as_deref())?)
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AcceptAny))
    };
    let mut config = match &key.client_certificate {
        None => builder.with_no_client_auth(),
        Some((chain_file, key_file)) => {
            let bytes = read(key_file)?;
            let private = PrivateKeyDer::from_pem_slice(&bytes)
                .map_err(|error| local(format!("no private key in {}: {error}", key_file.display())))?;
            builder
                .with_client_auth_cert(certificates(chain_file)?, private)
                .map_err(|error| local(format!("client certificate {}: {error}", chain_file.display())))?
        }
    };
    config.alpn_protocols.clone_from(&key.protocols);
    // A resumed session would not show the server's present certificate.
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn roots(authorities: Option<&Path>) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = authorities {
        for certificate in certificates(file)? {
            roots
                .add(certificate)
                .map_err(|error| local(format!("authority in {}: {error}", file.display())))?;
        }
    } else {
        // Distributions ship authorities that webpki cannot read; the others serve all the same.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if roots.is_empty() {
        return Err(local("the system has no certificate authorities (package ca-certificates)".to_owned()));
    }
    Ok(roots)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let bytes = read(file)?;
    let certificates = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| local(format!("certificates in {}: {error}", file.display())))?;
    if certificates.is_empty() {
        return Err(local(format!("no certificate in {}", file.display())));
    }
    Ok(certificates)
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error| local(format!("cannot read {}: {error}", file.display()));
    // Opening a pipe would wait for its other end.
    if !fs::metadata(file).map_err(failed)?.is_file() {
        return Err(local(format!("{} is no regular file", file.display())));
    }
    let mut bytes = Vec::new();
    File::open(file).and_then(|open| open.take(LONGEST_FILE).read_to_end(&mut bytes)).map_err(failed)?;
    Ok(bytes)
}

fn local(detail: String) -> Failure {
    Failure::new(FailureReason::Local, detail)
}

/// Takes every certificate, as keepalived does: what is asked is whether the server works, not who it is.
#[derive(Debug)]
struct AcceptAny;

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        use SignatureScheme as Scheme;
        vec![
            Scheme::ECDSA_NISTP256_SHA256,
            Scheme::ECDSA_NISTP384_SHA384,
            Scheme::ECDSA_NISTP521_SHA512,
            Scheme::ED25519,
            Scheme::ED448,
            Scheme::RSA_PSS_SHA256,
            Scheme::RSA_PSS_SHA384,
            Scheme::RSA_PSS_SHA512,
            Scheme::RSA_PKCS1_SHA256,
            Scheme::RSA_PKCS1_SHA384,
            Scheme::RSA_PKCS1_SHA512,
            Scheme::ECDSA_SHA1_Legacy,
            Scheme::RSA_PKCS1_SHA1,
        ]
    }
}
