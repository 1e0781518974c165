//! The daemon's end of the control socket.
//!
//! Everything a client can make the daemon spend is bounded by [`ServerLimits`]: clients, length of a request, time
//! without a request, time without reading, answers produced at once.

use std::future::Future;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::StatusSource;
use super::protocol::{CONNECTIONS_PER_LINE, Reply, Request, SwitchoverReply};
use super::snapshot::ConnectionStatus;
use super::socket::{BindError, ControlSocket};
use super::stream::{ChunkWriter, pipe};
use crate::vrrp::routers::Switchover;

/// Bounds on what clients can make the daemon spend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerLimits {
    /// Clients connected at a time; further ones get an error and are closed.
    pub clients: usize,
    /// Bytes of a request, the newline included.
    pub request_bytes: u64,
    /// Time for a whole request to arrive, from the connection or the previous reply on.
    pub idle: Duration,
    /// Time for a client to take [`super::stream::CHUNK_BYTES`] of an answer; long, as a pager may hold up `lvx list`.
    pub stall: Duration,
    /// Answers produced at a time; each takes a blocking thread and, for a snapshot, its memory.
    pub answers: usize,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            clients: 64,
            request_bytes: 4096,
            idle: Duration::from_secs(30),
            stall: Duration::from_secs(60),
            answers: 8,
        }
    }
}

/// Opens the socket at `path` and answers until `shutdown` is ready; then the socket is removed.
///
/// # Errors
/// Only from opening the socket, before the first client: see [`BindError`].
pub async fn serve(
    path: &Path,
    source: Arc<dyn StatusSource>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), BindError> {
    serve_within(path, source, ServerLimits::default(), shutdown).await
}

/// [`serve`] with limits other than the default ones.
///
/// # Errors
/// As [`serve`].
pub async fn serve_within(
    path: &Path,
    source: Arc<dyn StatusSource>,
    limits: ServerLimits,
    shutdown: impl Future<Output = ()>,
) -> Result<(), BindError> {
    let socket = ControlSocket::bind(path).await?;
    tracing::debug!(socket = %path.display(), "control socket open");
    let answerer = Arc::new(Answerer { source, answers: Arc::new(Semaphore::new(limits.answers)), limits });
    let mut clients = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            Some(_) = clients.join_next() => {}
            accepted = socket.listener.accept() => match accepted {
                Ok((stream, _)) => {
                    while clients.try_join_next().is_some() {}
                    if clients.len() < answerer.limits.clients {
                        let answerer = Arc::clone(&answerer);
                        clients.spawn(async move {
                            if let Err(error) = answerer.converse(stream).await {
                                tracing::debug!(%error, "control client gone");
                            }
                        });
                    } else {
                        turn_away(&stream, answerer.limits.clients);
                    }
                }
                Err(error) => {
                    // Out of file descriptors, mostly: without a pause this would spin.
                    tracing::warn!(%error, "cannot accept a control client");
                    sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
}

/// Tells a client that there are too many, without waiting for it.
fn turn_away(stream: &UnixStream, clients: usize) {
    if let Ok(line) =
        line_of(&Reply::Error { message: format!("too many clients, at most {clients} at a time") })
    {
        // The send buffer of a new socket is empty; if the line does not fit, closing says it as well.
        let _ = stream.try_write(&line);
    }
}

fn line_of(reply: &Reply) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    Ok(line)
}

struct Answerer {
    source: Arc<dyn StatusSource>,
    answers: Arc<Semaphore>,
    limits: ServerLimits,
}

impl Answerer {
    async fn converse(&self, stream: UnixStream) -> io::Result<()> {
        let (reader, mut writer) = stream.into_split();
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        loop {
            line.clear();
            let limit = self.limits.request_bytes;
            let mut bounded = (&mut reader).take(limit);
            match timeout(self.limits.idle, bounded.read_until(b'\n', &mut line)).await {
                Err(_) => {
                    let message = format!("no request for {} s", self.limits.idle.as_secs());
                    return self.say(&mut writer, &Reply::Error { message }).await;
                }
                Ok(Err(error)) => return Err(error),
                Ok(Ok(0)) => return Ok(()),
                Ok(Ok(_)) => {}
            }
            let terminated = line.ends_with(b"\n");
            if !terminated && bounded.limit() == 0 {
                let message = format!("request longer than {limit} bytes");
                return self.say(&mut writer, &Reply::Error { message }).await;
            }
            match serde_json::from_slice::<Request>(&line) {
                Ok(request) => self.answer(request, &mut writer).await?,
                Err(error) => {
                    let message = format!("request not understood: {error}");
                    self.say(&mut writer, &Reply::Error { message }).await?;
                }
            }
            if !terminated {
                return Ok(());
            }
        }
    }

    async fn answer(&self, request: Request, writer: &mut OwnedWriteHalf) -> io::Result<()> {
        match request {
            Request::Version => self.say(writer, &Reply::Version(env!("CARGO_PKG_VERSION").to_owned())).await,
            Request::Snapshot => {
                self.produce(writer, |source, out| {
                    serde_json::to_writer(&mut *out, &Reply::Snapshot(Box::new(source.snapshot())))?;
                    out.write_all(b"\n")
                })
                .await
            }
            Request::Connections => self.produce(writer, write_connections).await,
            Request::Switchover { instance, to_backup } => {
                self.produce(writer, move |source, out| {
                    write_line(out, &switchover_reply(source.switchover(instance, to_backup)))
                })
                .await
            }
        }
    }

    async fn say(&self, writer: &mut OwnedWriteHalf, reply: &Reply) -> io::Result<()> {
        self.send(writer, &line_of(reply)?).await
    }

    async fn send(&self, writer: &mut OwnedWriteHalf, text: &[u8]) -> io::Result<()> {
        match timeout(self.limits.stall, writer.write_all(text)).await {
            Ok(result) => result,
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "client does not read")),
        }
    }

    /// Runs `write` on a blocking thread and sends what it writes as it comes.
    async fn produce(
        &self,
        writer: &mut OwnedWriteHalf,
        write: impl FnOnce(&dyn StatusSource, &mut ChunkWriter) -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let permit = Arc::clone(&self.answers).acquire_owned().await.map_err(io::Error::other)?;
        let (mut out, mut chunks) = pipe();
        let source = Arc::clone(&self.source);
        let producer = tokio::task::spawn_blocking(move || {
            // Held until the work is done, which may be after the client has gone.
            let _permit = permit;
            write(&*source, &mut out).and_then(|()| out.flush())
        });
        while let Some(chunk) = chunks.recv().await {
            self.send(writer, &chunk).await?;
        }
        producer.await.map_err(io::Error::other)?
    }
}

fn switchover_reply(outcome: Switchover) -> Reply {
    match outcome {
        Switchover::Begun { instances, to_backup } => {
            let text = format!("under way: {}", instances.join(", "));
            Reply::Switchover(SwitchoverReply { instances: Some(instances), to_backup, text })
        }
        Switchover::Nothing(text) => {
            Reply::Switchover(SwitchoverReply { instances: None, to_backup: false, text })
        }
        Switchover::Refused(message) => Reply::Error { message },
    }
}

fn write_connections(source: &dyn StatusSource, out: &mut ChunkWriter) -> io::Result<()> {
    let mut result = Ok(());
    let mut batch: Vec<ConnectionStatus> = Vec::with_capacity(CONNECTIONS_PER_LINE);
    let mut count: u64 = 0;
    source.connections(&mut |connection| {
        batch.push(connection);
        count += 1;
        if batch.len() < CONNECTIONS_PER_LINE {
            return ControlFlow::Continue(());
        }
        let full = std::mem::replace(&mut batch, Vec::with_capacity(CONNECTIONS_PER_LINE));
        result = write_line(out, &Reply::Connections(full));
        if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    result?;
    if !batch.is_empty() {
        write_line(out, &Reply::Connections(batch))?;
    }
    write_line(out, &Reply::End { count })
}

fn write_line(out: &mut ChunkWriter, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}
