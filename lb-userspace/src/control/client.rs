//! The operator's end of the control socket: blocking, for the command line.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::protocol::{Reply, Request, SwitchoverReply};
use super::snapshot::{ConnectionStatus, Snapshot};

/// How long a daemon may be silent. Long, as it may have to wait for its turn to take a snapshot.
const SILENCE: Duration = Duration::from_secs(60);
/// Longest reply line accepted, in bytes; a snapshot of 131,072 real servers takes about 70 MB.
const LONGEST_LINE: u64 = 1 << 30;

/// Why the daemon could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no LVX daemon answers on {}; start one with `lvx run`", .socket.display())]
    NoDaemon {
        /// The socket.
        socket: PathBuf,
    },
    /// The socket belongs to somebody else.
    #[error("not allowed to talk to the LVX daemon on {}; try again as root", .socket.display())]
    NotAllowed {
        /// The socket.
        socket: PathBuf,
    },
    /// Talking to the daemon failed.
    #[error("cannot talk to the LVX daemon on {}: {source}", .socket.display())]
    Io {
        /// The socket.
        socket: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The daemon said no.
    #[error("the LVX daemon on {} refused: {message}", .socket.display())]
    Refused {
        /// The socket.
        socket: PathBuf,
        /// The daemon's sentence.
        message: String,
    },
    /// The daemon closed the connection in the middle of an answer.
    #[error("the LVX daemon on {} closed the connection before its answer was complete", .socket.display())]
    CutShort {
        /// The socket.
        socket: PathBuf,
    },
    /// The answer is not what was asked for.
    #[error("unexpected answer on {} (is it an LVX daemon of this version?): {problem}", .socket.display())]
    Unexpected {
        /// The socket.
        socket: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    socket: PathBuf,
    line: Vec<u8>,
}

impl Client {
    /// Connects to the daemon on `socket`.
    ///
    /// # Errors
    /// [`ClientError::NoDaemon`] where nobody listens.
    pub fn connect(socket: &Path) -> Result<Self, ClientError> {
        let failed = |source: io::Error| {
            let socket = socket.to_owned();
            match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    ClientError::NoDaemon { socket }
                }
                io::ErrorKind::PermissionDenied => ClientError::NotAllowed { socket },
                _ => ClientError::Io { socket, source },
            }
        };
        let stream = UnixStream::connect(socket).map_err(failed)?;
        stream.set_read_timeout(Some(SILENCE)).map_err(failed)?;
        stream.set_write_timeout(Some(SILENCE)).map_err(failed)?;
        Ok(Self { stream: BufReader::new(stream), socket: socket.to_owned(), line: Vec::new() })
    }

    /// The daemon's version.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn version(&mut self) -> Result<String, ClientError> {
        self.ask(&Request::Version)?;
        match self.reply()? {
            Reply::Version(version) => Ok(version),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Hands a virtual router over, or takes it back.
    ///
    /// # Errors
    /// See [`ClientError`]; [`ClientError::Refused`] where it cannot be done.
    pub fn switchover(
        &mut self,
        instance: Option<String>,
        to_backup: Option<bool>,
    ) -> Result<SwitchoverReply, ClientError> {
        self.ask(&Request::Switchover { instance, to_backup })?;
        match self.reply()? {
            Reply::Switchover(reply) => Ok(reply),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Everything but the connection entries.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn snapshot(&mut self) -> Result<Snapshot, ClientError> {
        self.ask(&Request::Snapshot)?;
        match self.reply()? {
            Reply::Snapshot(snapshot) => Ok(*snapshot),
            other => Err(self.unexpected(&other)),
        }
    }

    /// All connection entries, as they arrive. Reading stops at the first error.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn connections(&mut self) -> Result<Connections<'_>, ClientError> {
        self.ask(&Request::Connections)?;
        Ok(Connections { client: self, batch: Vec::new().into_iter(), received: 0, done: false })
    }

    fn ask(&mut self, request: &Request) -> Result<(), ClientError> {
        let mut line = serde_json::to_vec(request)
            .map_err(|error| ClientError::Io { socket: self.socket.clone(), source: error.into() })?;
        line.push(b'\n');
        match self.stream.get_mut().write_all(&line) {
            // A daemon that has turned the client away has closed its end, but its reason can still be read.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            result => result.map_err(|source| ClientError::Io { socket: self.socket.clone(), source }),
        }
    }

    fn reply(&mut self) -> Result<Reply, ClientError> {
        self.line.clear();
        match (&mut self.stream).take(LONGEST_LINE).read_until(b'\n', &mut self.line) {
            Ok(_) if self.line.ends_with(b"\n") => {}
            Ok(_) => return Err(ClientError::CutShort { socket: self.socket.clone() }),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                return Err(ClientError::CutShort { socket: self.socket.clone() });
            }
            Err(source) => return Err(ClientError::Io { socket: self.socket.clone(), source }),
        }
        let reply = serde_json::from_slice(&self.line).map_err(|error| ClientError::Unexpected {
            socket: self.socket.clone(),
            problem: error.to_string(),
        })?;
        match reply {
            Reply::Error { message } => Err(ClientError::Refused { socket: self.socket.clone(), message }),
            reply => Ok(reply),
        }
    }

    fn unexpected(&self, reply: &Reply) -> ClientError {
        let kind = match reply {
            Reply::Snapshot(_) => "a snapshot",
            Reply::Connections(_) => "connection entries",
            Reply::End { .. } => "the end of a list",
            Reply::Switchover(_) => "an answer to a switchover",
            Reply::Version(_) => "a version",
            Reply::Error { .. } => "an error",
        };
        ClientError::Unexpected { socket: self.socket.clone(), problem: format!("{kind} was not asked for") }
    }
}

/// The connection entries of a daemon; ends after the first error.
#[derive(Debug)]
pub struct Connections<'a> {
    client: &'a mut Client,
    batch: std::vec::IntoIter<ConnectionStatus>,
    received: u64,
    done: bool,
}

impl Connections<'_> {
    fn fetch(&mut self) -> Result<Option<ConnectionStatus>, ClientError> {
        loop {
            if let Some(connection) = self.batch.next() {
                self.received += 1;
                return Ok(Some(connection));
            }
            match self.client.reply()? {
                Reply::Connections(batch) => self.batch = batch.into_iter(),
                Reply::End { count } if count == self.received => return Ok(None),
                Reply::End { count } => {
                    let problem = format!("{} of {count} connection entries arrived", self.received);
                    return Err(ClientError::Unexpected { socket: self.client.socket.clone(), problem });
                }
                other => return Err(self.client.unexpected(&other)),
            }
        }
    }
}

impl Iterator for Connections<'_> {
    type Item = Result<ConnectionStatus, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let item = self.fetch().transpose();
        self.done = !matches!(item, Some(Ok(_)));
        item
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_daemon_the_error_names_socket_and_remedy() {
        let home = tempfile::tempdir().unwrap();
        let socket = home.path().join("lvx.sock");
        let expected = format!("no LVX daemon answers on {}; start one with `lvx run`", socket.display());
        assert_eq!(Client::connect(&socket).unwrap_err().to_string(), expected);
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        assert_eq!(Client::connect(&socket).unwrap_err().to_string(), expected);
    }
}
