//! Bodies: read up to a bound, hashed, searched.

use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use md5::{Digest, Md5};
use sha2::Sha256;

use super::connection::{failure, io_error};
use crate::health::checker::pattern;
use crate::health::{Failure, FailureReason};
use crate::model::{BodyDigest, HttpRequest};

/// A body as far as it matters.
pub(super) struct Content {
    /// The body; empty where only its digest matters, or nothing of it.
    bytes: Vec<u8>,
    digest: Option<BodyDigest>,
    /// Whether it was read to its end.
    pub(super) complete: bool,
}

impl Content {
    /// Reads at most `max_body` bytes.
    ///
    /// # Errors
    /// [`FailureReason::TooLong`] where there are more and they matter; else those of the connection.
    pub(super) async fn read(
        response: Response<Incoming>,
        request: &HttpRequest,
        max_body: u32,
    ) -> Result<Self, Failure> {
        let limit = u64::from(max_body);
        if request.pattern.is_none() && request.digest.is_none() {
            let complete = skip(response, max_body).await?;
            return Ok(Self { bytes: Vec::new(), digest: None, complete });
        }
        let too_long =
            || Failure::new(FailureReason::TooLong, format!("the body has more than {max_body} bytes"));
        if response.body().size_hint().lower() > limit {
            return Err(too_long());
        }
        let mut hasher = request.digest.map(Hasher::like);
        let mut bytes = Vec::new();
        let mut length = 0;
        let mut reader = Reader::new(response);
        while let Some(chunk) = reader.next().await? {
            length += chunk.len() as u64;
            if length > limit {
                return Err(too_long());
            }
            if let Some(hasher) = &mut hasher {
                hasher.update(&chunk);
            }
            if request.pattern.is_some() {
                bytes.extend_from_slice(&chunk);
            }
        }
        Ok(Self { bytes, digest: hasher.map(Hasher::finish), complete: true })
    }

    /// Whether it is what the request is to be answered with.
    pub(super) fn judge(&self, request: &HttpRequest) -> Result<(), Failure> {
        if let (Some(expected), Some(found)) = (request.digest, self.digest)
            && expected != found
        {
            return Err(Failure::new(
                FailureReason::Digest,
                format!("digest {}, expected {}", hex(&found), hex(&expected)),
            ));
        }
        request.pattern.as_ref().map_or(Ok(()), |wanted| pattern::matches(wanted, &self.bytes, "body"))
    }
}

/// Reads at most `max_body` bytes and forgets them; whether that was all.
pub(super) async fn skip(response: Response<Incoming>, max_body: u32) -> Result<bool, Failure> {
    if response.body().size_hint().lower() > u64::from(max_body) {
        return Ok(false);
    }
    let mut left = u64::from(max_body);
    let mut reader = Reader::new(response);
    while let Some(chunk) = reader.next().await? {
        let Some(rest) = left.checked_sub(chunk.len() as u64) else { return Ok(false) };
        left = rest;
    }
    Ok(true)
}

/// Both digests of a body, and its length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digests {
    /// MD5, as keepalived's `digest`.
    pub md5: [u8; 16],
    /// SHA-256.
    pub sha256: [u8; 32],
    /// Bytes of the body.
    pub length: u64,
}

/// Hashes a body of any length.
pub(super) async fn digests(response: Response<Incoming>) -> Result<Digests, Failure> {
    let (mut md5, mut sha256, mut length) = (Md5::new(), Sha256::new(), 0);
    let mut reader = Reader::new(response);
    while let Some(chunk) = reader.next().await? {
        md5.update(&chunk);
        sha256.update(&chunk);
        length += chunk.len() as u64;
    }
    Ok(Digests { md5: md5.finalize().into(), sha256: sha256.finalize().into(), length })
}

/// Gives a body piece by piece.
struct Reader {
    body: Incoming,
    /// The end of the connection is the end of the body (RFC 9112, 6.3).
    until_close: bool,
}

impl Reader {
    fn new(response: Response<Incoming>) -> Self {
        let fields = response.headers();
        let until_close = !fields.contains_key(CONTENT_LENGTH) && !fields.contains_key(TRANSFER_ENCODING);
        Self { body: response.into_body(), until_close }
    }

    async fn next(&mut self) -> Result<Option<bytes::Bytes>, Failure> {
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    // Trailers are read over.
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                // Many servers close a TLS connection without telling TLS.
                Some(Err(error))
                    if self.until_close
                        && io_error(&error)
                            .is_some_and(|inner| inner.kind() == std::io::ErrorKind::UnexpectedEof) =>
                {
                    return Ok(None);
                }
                Some(Err(error)) => return Err(failure(&error)),
            }
        }
    }
}

enum Hasher {
    Md5(Md5),
    Sha256(Sha256),
}

impl Hasher {
    fn like(digest: BodyDigest) -> Self {
        match digest {
            BodyDigest::Md5(_) => Self::Md5(Md5::new()),
            BodyDigest::Sha256(_) => Self::Sha256(Sha256::new()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Md5(hasher) => hasher.update(bytes),
            Self::Sha256(hasher) => hasher.update(bytes),
        }
    }

    fn finish(self) -> BodyDigest {
        match self {
            Self::Md5(hasher) => BodyDigest::Md5(hasher.finalize().into()),
            Self::Sha256(hasher) => BodyDigest::Sha256(hasher.finalize().into()),
        }
    }
}

fn hex(digest: &BodyDigest) -> String {
    let (name, bytes): (_, &[u8]) = match digest {
        BodyDigest::Md5(bytes) => ("md5", bytes),
        BodyDigest::Sha256(bytes) => ("sha256", bytes),
    };
    let mut text = format!("{name}:");
    for byte in bytes {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}
