//! The control socket with well-behaved and hostile clients.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod control_fake;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use control_fake::{FakeDaemon, connection, snapshot};
use lb_userspace::cli::list::{ListArgs, print};
use lb_userspace::control::BindError;
use lb_userspace::control::client::{Client, ClientError};
use lb_userspace::control::protocol::Reply;
use lb_userspace::control::server::{ServerLimits, serve, serve_within};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A serving socket in a directory of its own, on a thread with a runtime like the daemon's; dropping it ends the server.
struct Server {
    thread: Option<JoinHandle<Result<(), BindError>>>,
    stop: Option<oneshot::Sender<()>>,
    daemon: Arc<FakeDaemon>,
    socket: PathBuf,
    _home: TempDir,
}

impl Server {
    fn start(connections: u64, limits: ServerLimits) -> Self {
        let home = tempfile::tempdir().unwrap();
        let socket = home.path().join("lvx/lvx.sock");
        let daemon = Arc::new(FakeDaemon::new(connections));
        let (stop, stopped) = oneshot::channel::<()>();
        let (path, source) = (socket.clone(), Arc::clone(&daemon));
        let thread = std::thread::spawn(move || {
            runtime().block_on(serve_within(&path, source, limits, async {
                let _ = stopped.await;
            }))
        });
        until(|| socket.exists());
        Self { thread: Some(thread), stop: Some(stop), daemon, socket, _home: home }
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        let result = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            assert!(matches!(result, None | Some(Ok(Ok(())))), "{result:?}");
        }
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "nothing happened");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn limits() -> ServerLimits {
    ServerLimits::default()
}

/// Sends `request` and reads one line.
fn ask(stream: &UnixStream, request: &[u8]) -> String {
    let mut writer = stream;
    writer.write_all(request).unwrap();
    let mut line = String::new();
    // Unbuffered reading, so that the next call finds what follows.
    let mut byte = [0];
    let mut reader = stream;
    while reader.read(&mut byte).unwrap() == 1 {
        line.push(char::from(byte[0]));
        if byte[0] == b'\n' {
            break;
        }
    }
    line
}

fn error_of(line: &str) -> String {
    match serde_json::from_str(line) {
        Ok(Reply::Error { message }) => message,
        other => panic!("{line:?} is {other:?}"),
    }
}

fn listed(socket: &Path, args: &ListArgs) -> String {
    let mut out = Vec::new();
    print(args, socket, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn version_snapshot_and_connections_arrive_over_one_connection() {
    let server = Server::start(1000, limits());
    let mut client = Client::connect(&server.socket).unwrap();
    assert_eq!(client.version().unwrap(), env!("CARGO_PKG_VERSION"));
    assert_eq!(client.snapshot().unwrap(), snapshot());
    let connections: Vec<_> = client.connections().unwrap().map(Result::unwrap).collect();
    assert_eq!(connections, (0..1000).map(connection).collect::<Vec<_>>());
    assert_eq!(client.snapshot().unwrap(), snapshot());
}

#[test]
fn lists_in_every_form() {
    let server = Server::start(3, limits());
    let table = listed(&server.socket, &ListArgs::default());
    assert!(
        table.starts_with("LVX version 9.8.7 (size=4096)\nProt LocalAddress:Port Scheduler Flags\n"),
        "{table}"
    );
    let stats = listed(&server.socket, &ListArgs { stats: true, ..ListArgs::default() });
    assert!(
        stats.contains("TCP  192.168.100.1:80                   20       80        7     4320    5000M\n")
    );
    let exact = listed(&server.socket, &ListArgs { stats: true, exact: true, ..ListArgs::default() });
    assert!(exact.contains(" 4320 5000000000\n"), "{exact}");
    let entries = listed(&server.socket, &ListArgs { connections: true, ..ListArgs::default() });
    assert_eq!(entries.lines().count(), 5, "{entries}");
    assert!(entries.contains("\nTCP 14:51  ESTABLISHED 10.64.0.0:2        192.168.100.1:80   10.0.1.1:80\n"));

    let json = listed(&server.socket, &ListArgs { json: true, ..ListArgs::default() });
    let parsed: lb_userspace::control::snapshot::Snapshot = serde_json::from_str(&json).unwrap();
    assert_eq!(parsed, snapshot());
    let json = listed(&server.socket, &ListArgs { json: true, connections: true, ..ListArgs::default() });
    let parsed: Vec<lb_userspace::control::snapshot::ConnectionStatus> = serde_json::from_str(&json).unwrap();
    assert_eq!(parsed, (0..3).map(connection).collect::<Vec<_>>());
}

#[test]
fn no_connections_are_an_empty_list() {
    let server = Server::start(0, limits());
    let args = ListArgs { json: true, connections: true, ..ListArgs::default() };
    assert_eq!(listed(&server.socket, &args), "[]\n");
}

#[test]
fn garbage_is_answered_and_the_next_request_too() {
    let server = Server::start(0, limits());
    let stream = server.connect();
    for garbage in
        ["\n", "hello\n", "{}\n", "[1,2]\n", "{\"command\":5}\n", "\u{0}\u{1}\n", "{\"command\":\"snap"]
    {
        let request = if garbage.ends_with('\n') { garbage.to_owned() } else { format!("{garbage}\n") };
        assert!(
            error_of(&ask(&stream, request.as_bytes())).starts_with("request not understood: "),
            "{garbage:?}"
        );
    }
    assert!(error_of(&ask(&stream, b"\xff\xfe\n")).starts_with("request not understood: "));
    let unknown = error_of(&ask(&stream, b"{\"command\":\"reboot\"}\n"));
    assert!(unknown.contains("`reboot`") && unknown.contains("`snapshot`"), "{unknown}");
    assert!(ask(&stream, b"{\"command\":\"version\"}\n").starts_with("{\"reply\":\"version\""));
}

#[test]
fn requests_sent_together_are_answered_in_order() {
    let server = Server::start(0, limits());
    let stream = server.connect();
    let both = b"{\"command\":\"connections\"}\n{\"command\":\"version\"}\n";
    assert_eq!(ask(&stream, both), "{\"reply\":\"end\",\"data\":{\"count\":0}}\n");
    assert!(ask(&stream, b"").starts_with("{\"reply\":\"version\""));
}

#[test]
fn a_request_without_newline_at_the_end_of_input_is_answered() {
    let server = Server::start(0, limits());
    let stream = server.connect();
    (&stream).write_all(b"{\"command\":\"version\"}").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut all = String::new();
    (&stream).read_to_string(&mut all).unwrap();
    assert!(all.starts_with("{\"reply\":\"version\"") && all.ends_with("}\n"), "{all}");
}

#[test]
fn an_oversized_request_is_refused_and_closed() {
    let server = Server::start(0, limits());
    let stream = server.connect();
    // More than socket buffers hold: it can only be written because the server closes.
    let long = vec![b'x'; 4 << 20];
    let written = (&stream).write_all(&long);
    assert!(written.is_err(), "the server read all of it");
    let mut reader = BufReader::new(&stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert_eq!(error_of(&line), "request longer than 4096 bytes");
    assert!(!matches!(reader.read(&mut [0]), Ok(1..)));
    Client::connect(&server.socket).unwrap().version().unwrap();
}

#[test]
fn a_request_of_the_largest_size_is_read() {
    let server = Server::start(0, limits());
    let stream = server.connect();
    let mut request = b"{\"command\":\"version\"}".to_vec();
    request.resize(4095, b' ');
    request.push(b'\n');
    assert!(ask(&stream, &request).starts_with("{\"reply\":\"version\""));
}

#[test]
fn half_a_request_is_given_up() {
    let server = Server::start(0, ServerLimits { idle: Duration::from_millis(200), ..limits() });
    let stream = server.connect();
    assert_eq!(error_of(&ask(&stream, b"{\"command\":")), "no request for 0 s");
    assert_eq!((&stream).read(&mut [0]).unwrap(), 0);
}

#[test]
fn two_hundred_clients_are_more_than_enough() {
    let server = Server::start(0, limits());
    let streams: Vec<UnixStream> = (0..200).map(|_| server.connect()).collect();
    let mut answered = 0;
    let mut refused = 0;
    for stream in &streams {
        // Those turned away find their connection closed; the reason can be read all the same.
        let _ = { stream }.write_all(b"{\"command\":\"version\"}\n");
        let line = ask(stream, b"");
        if line.starts_with("{\"reply\":\"version\"") {
            answered += 1;
        } else {
            assert_eq!(error_of(&line), "too many clients, at most 64 at a time");
            refused += 1;
        }
    }
    assert_eq!((answered, refused), (64, 136));
    let error = Client::connect(&server.socket).unwrap().version().unwrap_err();
    assert!(
        matches!(&error, ClientError::Refused { message, .. } if message.starts_with("too many")),
        "{error}"
    );
    drop(streams);
    until(|| Client::connect(&server.socket).unwrap().version().is_ok());
}

#[test]
fn two_hundred_clients_that_take_turns_are_all_answered() {
    let server = Server::start(500, limits());
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let mut client = Client::connect(&server.socket).unwrap();
                    assert_eq!(client.connections().unwrap().map(Result::unwrap).count(), 500);
                    assert_eq!(client.snapshot().unwrap(), snapshot());
                }
            });
        }
    });
}

#[test]
fn a_client_that_does_not_read_holds_up_the_source_and_is_dropped() {
    let server = Server::start(u64::MAX, ServerLimits { stall: Duration::from_secs(1), ..limits() });
    let stream = server.connect();
    (&stream).write_all(b"{\"command\":\"connections\"}\n").unwrap();
    until(|| server.daemon.visited.load(Ordering::Relaxed) > 0);
    // The entries never end, so the visit ends only because the client is dropped, and with it its hold on the source.
    until(|| Arc::strong_count(&server.daemon) == 2);
    // Socket buffer, chunks in flight and one batch: a few thousand entries, not millions.
    assert!(server.daemon.visited.load(Ordering::Relaxed) < 50_000);
    let mut rest = Vec::new();
    (&stream).take(64 << 20).read_to_end(&mut rest).unwrap();
    assert!(rest.starts_with(b"{\"reply\":\"connections\"") && rest.len() < 32 << 20, "{}", rest.len());
}

#[test]
fn a_client_that_goes_away_ends_the_visit() {
    let server = Server::start(u64::MAX, ServerLimits { answers: 1, ..limits() });
    let mut stream = server.connect();
    stream.write_all(b"{\"command\":\"connections\"}\n").unwrap();
    let mut some = [0; 1000];
    stream.read_exact(&mut some).unwrap();
    drop(stream);
    // The one place for answers is free again.
    assert_eq!(Client::connect(&server.socket).unwrap().snapshot().unwrap(), snapshot());
}

#[test]
fn stopping_the_daemon_in_the_middle_of_a_list_is_noticed() {
    let mut server = Server::start(u64::MAX, limits());
    let mut client = Client::connect(&server.socket).unwrap();
    let mut connections = client.connections().unwrap();
    connections.next().unwrap().unwrap();
    server.stop();
    assert!(!server.socket.exists());
    let last = connections.find(Result::is_err).unwrap().unwrap_err();
    assert!(matches!(last, ClientError::CutShort { .. }), "{last}");
    let error = Client::connect(&server.socket).unwrap_err();
    assert!(error.to_string().contains("lvx run"), "{error}");
}

#[test]
fn a_second_daemon_refuses_to_start() {
    let server = Server::start(0, limits());
    let second: Arc<FakeDaemon> = Arc::new(FakeDaemon::new(0));
    let error = runtime().block_on(serve(&server.socket, second, std::future::ready(()))).unwrap_err();
    let expected = format!(
        "another LVX daemon answers on {}; stop it or set another control socket",
        server.socket.display()
    );
    assert_eq!(error.to_string(), expected);
    assert_eq!(Client::connect(&server.socket).unwrap().snapshot().unwrap(), snapshot());
}
