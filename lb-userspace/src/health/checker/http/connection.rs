//! The connection of a run, and requests on it.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::header::{CONNECTION, HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper::rt::Executor;
use hyper::{Method, Request, Response, Uri, Version};
use hyper_util::rt::TokioIo;
use tokio::task::AbortHandle;

use super::authority;
use crate::health::checker::quote::quote;
use crate::health::checker::{stream, tls};
use crate::health::{Failure, FailureReason, Probe};
use crate::model::{HttpCheck, HttpRequest, HttpVersion};

/// Longest head of an answer; nginx and Apache accept 8 KiB a line of a request.
const LONGEST_HEAD: usize = 64 << 10;

/// What a request is for; changes with redirections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) method: String,
    /// Path and query.
    pub(super) path: String,
    /// Host and port as the operator wrote them; none is the address.
    pub(super) host: Option<String>,
    pub(super) endpoint: SocketAddr,
}

impl Target {
    pub(super) fn of(request: &HttpRequest, endpoint: SocketAddr) -> Self {
        let field = || {
            let (_, value) = request.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"))?;
            Some(value.clone())
        };
        Self {
            method: request.method.clone(),
            path: request.path.clone(),
            host: request.host.clone().or_else(field),
            endpoint,
        }
    }

    pub(super) fn authority(&self, tls: bool) -> String {
        self.host.clone().unwrap_or_else(|| authority(self.endpoint, tls))
    }
}

/// Sends requests, on one connection as far as version and server allow.
pub(super) struct Client<'a> {
    check: &'a HttpCheck,
    pub(super) probe: &'a Probe,
    connection: Option<Connection>,
    /// What an operator should know of the server's certificate.
    pub(super) warning: Option<String>,
}

struct Connection {
    sender: Sender,
    /// Whether a request has been answered on it.
    used: bool,
    _tasks: Tasks,
}

enum Sender {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

impl Sender {
    async fn send(&mut self, request: Request<Empty<Bytes>>) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::Http1(sender) => sender.send_request(request).await,
            Self::Http2(sender) => sender.send_request(request).await,
        }
    }
}

impl<'a> Client<'a> {
    pub(super) fn new(check: &'a HttpCheck, probe: &'a Probe) -> Self {
        Self { check, probe, connection: None, warning: None }
    }

    pub(super) fn scheme(&self) -> &'static str {
        if self.check.tls.is_some() { "https" } else { "http" }
    }

    /// Sends a request and gives the answer, whose body is still to come.
    ///
    /// # Errors
    /// As [`Probe::connect`]; [`FailureReason::Tls`], [`FailureReason::Protocol`], [`FailureReason::Closed`],
    /// [`FailureReason::TooLong`].
    pub(super) async fn send(
        &mut self,
        target: &Target,
        request: &HttpRequest,
    ) -> Result<Response<Incoming>, Failure> {
        loop {
            let message = self.message(target, request)?;
            let connection = match &mut self.connection {
                Some(connection) => connection,
                none => none.insert(open(self.check, self.probe, &mut self.warning).await?),
            };
            match connection.sender.send(message).await {
                Ok(response) => {
                    connection.used = true;
                    return Ok(response);
                }
                // A server may close an idle connection at any moment, also while the next request is on its way
                // (RFC 9112, 9.3.1). On a new connection the same thing is a failure.
                Err(error) if connection.used && (error.is_canceled() || error.is_incomplete_message()) => {
                    self.connection = None;
                }
                Err(error) => return Err(failure(&error)),
            }
        }
    }

    /// Says that an answer is done with; `complete` where its body was read to the end. Where the next request cannot
    /// go on the same connection it is closed.
    pub(super) async fn finished(&mut self, complete: bool) {
        let reusable = match &mut self.connection {
            Some(Connection { sender: Sender::Http2(sender), .. }) => !sender.is_closed(),
            Some(Connection { sender: Sender::Http1(sender), .. }) => {
                complete && self.check.version != HttpVersion::Http10 && sender.ready().await.is_ok()
            }
            None => false,
        };
        if !reusable {
            self.connection = None;
        }
    }

    fn message(&self, target: &Target, request: &HttpRequest) -> Result<Request<Empty<Bytes>>, Failure> {
        let unusable = |what: &str, text: &str| {
            Failure::new(FailureReason::Local, format!("{} is no {what}", quote(text.as_bytes())))
        };
        let authority = target.authority(self.check.tls.is_some());
        let h2 = self.check.version == HttpVersion::H2;
        let text =
            if h2 { format!("{}://{authority}{}", self.scheme(), target.path) } else { target.path.clone() };
        let uri: Uri = text.parse().map_err(|_| unusable("path of a request", &text))?;
        let method =
            Method::from_bytes(target.method.as_bytes()).map_err(|_| unusable("method", &target.method))?;
        let mut message = Request::new(Empty::new());
        *message.method_mut() = method;
        *message.uri_mut() = uri;
        *message.version_mut() = match self.check.version {
            HttpVersion::Http10 => Version::HTTP_10,
            HttpVersion::Http11 => Version::HTTP_11,
            HttpVersion::H2 => Version::HTTP_2,
        };
        let fields = message.headers_mut();
        if !h2 {
            let value = HeaderValue::from_str(&authority).map_err(|_| unusable("host", &authority))?;
            fields.insert(HOST, value);
        }
        fields.insert(USER_AGENT, HeaderValue::from_static("lvx"));
        if self.check.version == HttpVersion::Http10 {
            fields.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let mut own = Vec::new();
        for (name, value) in &request.headers {
            if name.eq_ignore_ascii_case("host") {
                continue;
            }
            let key: HeaderName = name.parse().map_err(|_| unusable("name of a header field", name))?;
            let value =
                HeaderValue::from_str(value).map_err(|_| unusable("value of a header field", value))?;
            // The operator's field replaces one of ours, but not another one of his with the same name.
            if own.contains(&key) {
                fields.append(key, value);
            } else {
                fields.insert(key.clone(), value);
                own.push(key);
            }
        }
        Ok(message)
    }
}

async fn open(check: &HttpCheck, probe: &Probe, warning: &mut Option<String>) -> Result<Connection, Failure> {
    let h2 = check.version == HttpVersion::H2;
    let protocols: &[&[u8]] = if h2 { &[b"h2"] } else { &[] };
    let opened = stream::open(probe, check.tls.as_ref(), protocols).await?;
    if opened.warning.is_some() {
        *warning = opened.warning;
    }
    let io = TokioIo::new(opened.stream);
    let spawner = Spawner::default();
    let tasks = Tasks(spawner.clone());
    let sender = if h2 {
        let (sender, connection) = http2::Builder::new(spawner.clone())
            .max_header_list_size(LONGEST_HEAD as u32)
            .handshake(io)
            .await
            .map_err(|error| failure(&error))?;
        spawner.execute(async {
            // What goes wrong here is told by the request as well.
            let _ = connection.await;
        });
        Sender::Http2(sender)
    } else {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(LONGEST_HEAD)
            .handshake(io)
            .await
            .map_err(|error| failure(&error))?;
        spawner.execute(async {
            let _ = connection.await;
        });
        Sender::Http1(sender)
    };
    Ok(Connection { sender, used: false, _tasks: tasks })
}

/// Starts the tasks that drive a connection.
#[derive(Clone, Default)]
struct Spawner(Arc<Mutex<Vec<AbortHandle>>>);

impl<F> Executor<F> for Spawner
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, future: F) {
        let handle = tokio::spawn(async move {
            future.await;
        })
        .abort_handle();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(handle);
    }
}

/// Ends a connection's tasks with the run, also when it is dropped half-way.
struct Tasks(Spawner);

impl Drop for Tasks {
    fn drop(&mut self) {
        for handle in self.0.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            handle.abort();
        }
    }
}

/// What an error of hyper means for the real server.
pub(super) fn failure(error: &hyper::Error) -> Failure {
    if error.is_parse_too_large() {
        return Failure::new(
            FailureReason::TooLong,
            format!("the head of the answer has more than {} KiB or 100 fields", LONGEST_HEAD >> 10),
        );
    }
    if let Some(inner) = io_error(error) {
        return tls::failure_within(inner).unwrap_or_else(|| match inner.kind() {
            io::ErrorKind::UnexpectedEof => closed(),
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => garbled(inner),
            _ => Failure::from_io("http", inner),
        });
    }
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return closed();
    }
    garbled(error)
}

/// The system's error inside one of hyper.
pub(super) fn io_error(error: &hyper::Error) -> Option<&io::Error> {
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(found) = inner.downcast_ref() {
            return Some(found);
        }
        source = inner.source();
    }
    None
}

fn closed() -> Failure {
    Failure::new(FailureReason::Closed, "the server closed the connection before its answer was complete")
}

fn garbled(error: &dyn Error) -> Failure {
    let mut detail = format!("no HTTP answer: {error}");
    if let Some(source) = error.source() {
        detail.push_str(&format!(": {source}"));
    }
    Failure::new(FailureReason::Protocol, detail.replace('\n', " "))
}
