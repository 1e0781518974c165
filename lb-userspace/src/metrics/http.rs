//! The HTTP server behind `/metrics`.
//!
//! One request per connection and a deadline for the whole of it: a scraper that opens connections and says nothing, or
//! does not read, costs a slot for a bounded time and nothing else.

use std::convert::Infallible;
use std::future::Future;
use std::io::{self, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE as CONTENT_TYPE_HEADER, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::family::write_all;
use crate::control::StatusSource;
use crate::control::stream::pipe;

/// The media type of the exposition format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const PLAIN_TEXT: &str = "text/plain; charset=utf-8";

/// Connections served at a time; further ones wait in the kernel's queue.
const CONNECTIONS: usize = 32;
/// Scrapes computed at a time; each holds a snapshot and a metric family.
const SCRAPES: usize = 2;
/// Time for the request's header to arrive.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for the whole connection, the answer read included.
const DEADLINE: Duration = Duration::from_secs(60);
/// Size of the request's header, in bytes.
const HEADER_BYTES: usize = 16 * 1024;

/// Answers scrapes on `listener` until `shutdown` is ready.
pub async fn serve(listener: TcpListener, source: Arc<dyn StatusSource>, shutdown: impl Future<Output = ()>) {
    let endpoint = Arc::new(Endpoint { source, scrapes: Arc::new(Semaphore::new(SCRAPES)) });
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => return,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(Arc::clone(&endpoint).converse(stream));
                }
                Err(error) => {
                    // Out of file descriptors, mostly: without a pause this would spin.
                    tracing::warn!(%error, "cannot accept a metrics connection");
                    sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
}

struct Endpoint {
    source: Arc<dyn StatusSource>,
    scrapes: Arc<Semaphore>,
}

type Answer = Response<Either<Full<Bytes>, Exposition>>;

impl Endpoint {
    async fn converse(self: Arc<Self>, stream: TcpStream) {
        let service = service_fn(|request| self.answer(request));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(HEADER_BYTES)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        match timeout(DEADLINE, connection).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "metrics connection failed"),
            Err(_) => tracing::debug!("metrics connection took too long"),
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Answer, Infallible> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered here\n");
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return Ok(answer);
        }
        Ok(match request.uri().path() {
            "/metrics" if request.method() == Method::HEAD => {
                typed(Either::Left(Full::default()), CONTENT_TYPE)
            }
            "/metrics" => typed(Either::Right(self.scrape().await), CONTENT_TYPE),
            "/" => plain(StatusCode::OK, "LVX; the metrics are at /metrics\n"),
            _ => plain(StatusCode::NOT_FOUND, "nothing here; the metrics are at /metrics\n"),
        })
    }

    async fn scrape(&self) -> Exposition {
        // The semaphore is never closed; without a permit the scrape would only be unbounded, not wrong.
        let permit = Arc::clone(&self.scrapes).acquire_owned().await.ok();
        let source = Arc::clone(&self.source);
        let (mut out, chunks) = pipe();
        let producer = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            write_all(&source.snapshot(), &mut out)?;
            out.flush()
        });
        Exposition { chunks, producer: Some(producer) }
    }
}

fn typed(body: Either<Full<Bytes>, Exposition>, media_type: &'static str) -> Answer {
    let mut answer = Response::new(body);
    answer.headers_mut().insert(CONTENT_TYPE_HEADER, HeaderValue::from_static(media_type));
    answer
}

fn plain(status: StatusCode, text: &'static str) -> Answer {
    let mut answer = typed(Either::Left(Full::new(Bytes::from_static(text.as_bytes()))), PLAIN_TEXT);
    *answer.status_mut() = status;
    answer
}

/// The body of a scrape, sent while it is written.
struct Exposition {
    chunks: mpsc::Receiver<Bytes>,
    /// None once its end has been seen.
    producer: Option<JoinHandle<io::Result<()>>>,
}

impl Body for Exposition {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(chunk) = ready!(self.chunks.poll_recv(context)) {
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        let Some(producer) = &mut self.producer else { return Poll::Ready(None) };
        // A text that was not finished must not look complete: the error makes hyper break the connection off, and
        // the scraper sees a failed scrape instead of series that vanished.
        let end = ready!(Pin::new(producer).poll(context));
        self.producer = None;
        match end {
            Ok(Ok(())) => Poll::Ready(None),
            Ok(Err(error)) => Poll::Ready(Some(Err(error))),
            Err(error) => Poll::Ready(Some(Err(io::Error::other(error)))),
        }
    }
}
