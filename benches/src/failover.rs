//! How long clients wait when one of two directors is killed, or hands over on purpose.
//!
//! Two directors, a client, and two real servers by direct routing, on one link. The client begins an HTTP request every
//! 10 ms, each on a connection of its own; the figure of a repetition is the longest time between two answers.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::{Namespace, Process, Segment};
use serde::Serialize;

use crate::directors::{self, client};

const VIP: &str = "192.0.2.100";
/// From one request to the next.
const EVERY: Duration = Duration::from_millis(10);
/// A request that takes longer is given up; later ones have their own.
const PATIENCE: Duration = Duration::from_millis(500);
/// Traffic before and after what is measured.
const CALM: Duration = Duration::from_millis(500);
/// How long a director may take to come to a state.
const SOON: Duration = Duration::from_secs(20);

/// Longest gaps over all repetitions, in milliseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Gaps {
    what: &'static str,
    min_ms: f64,
    median_ms: f64,
    max_ms: f64,
    failed_requests: u64,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    interval_ms: u32,
    repetitions: u32,
    gaps: Vec<Gaps>,
}

/// Measures.
///
/// # Errors
///
/// Without root or nginx, or where a director does not do what it should.
pub(crate) fn run(repetitions: u32) -> Result<Figures> {
    let segment = Segment::new(5, 1)?;
    let _servers = [segment.real_server(4, VIP, "rs4")?, segment.real_server(5, VIP, "rs5")?];
    let mut kill = Samples::default();
    let mut hand_over = Samples::default();
    let second = director(&segment, 2, 100)?;
    for _ in 0..repetitions {
        let first = director(&segment, 1, 150)?;
        wait(&segment, 1, "active")?;
        wait(&segment, 2, "backup")?;
        hand_over.add(gap(segment.host(3), || {
            client(&segment, 1)?.switchover(None, Some(true))?;
            wait(&segment, 2, "active")
        })?);
        client(&segment, 1)?.switchover(None, Some(false))?;
        wait(&segment, 1, "active")?;
        kill.add(gap(segment.host(3), || {
            first.signal(libc::SIGKILL);
            wait(&segment, 2, "active")
        })?);
    }
    drop(second);
    let figures = Figures {
        interval_ms: 100,
        repetitions,
        gaps: vec![kill.gaps("kill -9 of the active director"), hand_over.gaps("lvx switchover")],
    };
    println!("longest gap between answers, advertisements every 100 ms, {repetitions} repetitions");
    println!("{:<32} {:>9} {:>9} {:>9}  requests failed", "", "min", "median", "max");
    for gaps in &figures.gaps {
        println!(
            "{:<32} {:>6.1} ms {:>6.1} ms {:>6.1} ms  {}",
            gaps.what, gaps.min_ms, gaps.median_ms, gaps.max_ms, gaps.failed_requests
        );
    }
    Ok(figures)
}

#[derive(Default)]
struct Samples {
    gaps: Vec<f64>,
    failed: u64,
}

impl Samples {
    fn add(&mut self, (gap, failed): (Duration, u64)) {
        self.gaps.push(gap.as_secs_f64() * 1000.0);
        self.failed += failed;
    }

    fn gaps(mut self, what: &'static str) -> Gaps {
        self.gaps.sort_by(f64::total_cmp);
        let at = |index: usize| self.gaps.get(index).copied().unwrap_or_default();
        Gaps {
            what,
            min_ms: at(0),
            median_ms: at(self.gaps.len() / 2),
            max_ms: at(self.gaps.len().saturating_sub(1)),
            failed_requests: self.failed,
        }
    }
}

fn director(segment: &Segment, host: u8, priority: u8) -> Result<Process> {
    // What a killed director has left.
    let _ = std::fs::remove_file(segment.folder().join(format!("{host}.sock")));
    let text = directors::head(segment, host)
        + &format!(
            "[[vrrp]]\nname = \"web\"\ninterface = \"eth0\"\nrouter_id = 51\npriority = {priority}\ninterval = \"100ms\"\n\
             address = [\"{VIP}/24\"]\n\
             [[service]]\naddress = \"{VIP}:80\"\nscheduler = \"rr\"\n\
             [[service.real_server]]\naddress = \"192.0.2.4:80\"\n[[service.real_server]]\naddress = \"192.0.2.5:80\"\n"
        );
    let file = segment.write(&format!("{host}.toml"), text)?;
    directors::start(segment, host, &file)
}

fn wait(segment: &Segment, host: u8, state: &str) -> Result<()> {
    directors::wait(segment, host, state, SOON)
}

/// The longest time between two answers while `event` happens, and how many requests failed.
fn gap(client: &Namespace, event: impl FnOnce() -> Result<()>) -> Result<(Duration, u64)> {
    let stop = AtomicBool::new(false);
    let answers = Mutex::new((Vec::new(), 0u64));
    let happened = std::thread::scope(|scope| {
        let traffic = scope.spawn(|| client.enter(|| requests(&stop, &answers)));
        std::thread::sleep(CALM);
        let happened = event();
        std::thread::sleep(CALM);
        stop.store(true, Ordering::Relaxed);
        traffic.join().map_err(|_| anyhow::anyhow!("the client panicked"))??;
        happened
    });
    happened?;
    let (mut times, failed) = answers.into_inner().unwrap_or_default();
    times.sort_unstable();
    ensure!(times.len() > 50, "only {} requests were answered", times.len());
    let longest = times.windows(2).map(|pair| pair[1] - pair[0]).max();
    Ok((longest.context("no answers")?, failed))
}

fn requests(stop: &AtomicBool, answers: &Mutex<(Vec<Instant>, u64)>) {
    std::thread::scope(|scope| {
        let mut next = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            scope.spawn(|| {
                let answered = request().is_ok();
                let now = Instant::now();
                if let Ok(mut answers) = answers.lock() {
                    if answered {
                        answers.0.push(now);
                    } else {
                        answers.1 += 1;
                    }
                }
            });
            next += EVERY;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    });
}

fn request() -> Result<()> {
    let address: SocketAddr = (VIP.parse::<std::net::Ipv4Addr>()?, 80).into();
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /whoami HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.contains("rs"), "not the page: {answer}");
    Ok(())
}
