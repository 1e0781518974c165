//! The demonstration: real HTTP and UDP through LVX between network namespaces, by every forwarding method.

mod display;
mod interrupt;
mod plan;
mod traffic;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lab::{Lab, Process};

use display::Step;

/// How long `lvx` may take until it answers.
const PATIENCE: Duration = Duration::from_secs(20);
/// How many lines of a log are shown after a failure.
const TAIL: usize = 40;

/// Runs the demonstration with the program `lvx`; with `keep`, the lab stays afterwards.
///
/// # Errors
/// When anything does not come back as it should: the error says what was expected, and LVX's log has been printed.
pub(crate) fn run(lvx: &Path, keep: bool) -> Result<()> {
    interrupt::catch();
    let began = Instant::now();
    println!("LVX balances real traffic between network namespaces:");
    let step = Step::new("lab");
    let lab = Lab::builder().real_servers(3).build()?;
    step.done(&format!("a client, a director, three real servers: {}-*", lab.prefix()));
    let mut demo = Demo { lvx: lvx.to_owned(), daemon: None, decapsulators: Vec::new(), lab };
    let outcome = demo.tell();
    if interrupt::requested() {
        drop(demo);
        bail!("interrupted; everything is removed");
    }
    if outcome.is_err() {
        demo.show_logs();
    }
    if keep {
        demo.keep()?;
        return outcome;
    }
    let ended = demo.end();
    println!("\nEverything is removed; the demo took {:.1} s.", began.elapsed().as_secs_f32());
    outcome.and(ended)
}

/// Removes the labs that `--keep` has left.
///
/// # Errors
/// When something of them cannot be removed.
pub(crate) fn remove() -> Result<()> {
    let kept = lab::kept()?;
    for prefix in &kept {
        Lab::remove(prefix)?;
        println!("removed: {prefix}");
    }
    if kept.is_empty() {
        println!("there is nothing to remove");
    }
    Ok(())
}

/// What runs during the demo. The processes come before the lab, which ends last.
struct Demo {
    lvx: PathBuf,
    daemon: Option<Process>,
    decapsulators: Vec<Process>,
    lab: Lab,
}

impl Demo {
    fn configuration(&self) -> PathBuf {
        self.lab.folder().join("lvx.toml")
    }

    fn socket(&self) -> PathBuf {
        self.lab.folder().join("lvx.sock")
    }

    fn log(&self) -> PathBuf {
        self.lab.folder().join("lvx.log")
    }

    fn tell(&mut self) -> Result<()> {
        self.start_decapsulators()?;
        self.start_daemon()?;
        for method in &plan::METHODS {
            for vip in plan::vips(&self.lab) {
                traffic::http(&self.lab, method, vip)?;
                traffic::udp(&self.lab, method, vip)?;
            }
        }
        for options in [&[][..], &["--stats"]] {
            println!("\n$ {}", [&["lvx", "list"], options].concat().join(" "));
            print!("{}", self.list(options)?);
        }
        Ok(())
    }

    /// Tunnel real servers: an XDP program in place of the kernel's IP-IP device, which not every kernel has.
    fn start_decapsulators(&mut self) -> Result<()> {
        let step = Step::new("tunnel ends");
        let program = self.lvx.to_string_lossy();
        let vips = plan::vips(&self.lab).map(|vip| vip.to_string());
        for server in self.lab.real_servers() {
            let log = self.lab.folder().join(format!("decap-{}.log", server.name));
            let words = [&*program, "decap", "--interface", "eth0", "--vip", &vips[0], "--vip", &vips[1]];
            self.decapsulators.push(server.host.spawn(&words, &log)?);
        }
        for (server, process) in self.lab.real_servers().iter().zip(&self.decapsulators) {
            wait(&format!("an XDP program on {}", server.name), process, || {
                let link = server.host.output(&["ip", "link", "show", "dev", "eth0"])?;
                ensure!(String::from_utf8_lossy(&link).contains("xdp"), "eth0 has none");
                Ok(())
            })?;
        }
        step.done("lvx decap on every real server");
        Ok(())
    }

    fn start_daemon(&mut self) -> Result<()> {
        let step = Step::new("director");
        let file = self.configuration();
        fs::write(&file, plan::configuration(&self.lab, &self.socket()))
            .with_context(|| format!("cannot write {}", file.display()))?;
        let (program, file) = (self.lvx.to_string_lossy(), file.to_string_lossy());
        let director = self.lab.director();
        director.output(&[&program, "check", &file])?;
        let daemon = self.daemon.insert(director.spawn(&[&program, "run", "--config", &file], &self.log())?);
        let daemon = &*daemon;
        let socket = self.lab.folder().join("lvx.sock");
        wait("an answer from `lvx run`", daemon, || {
            director.output(&[&program, "list", "--socket", &socket.to_string_lossy()]).map(drop)
        })?;
        step.done("lvx run: 12 virtual services, round robin over three real servers each");
        Ok(())
    }

    fn list(&self, options: &[&str]) -> Result<String> {
        let (program, socket) = (self.lvx.to_string_lossy(), self.socket());
        let mut words = vec![&*program, "list"];
        words.extend(options);
        let socket = socket.to_string_lossy();
        words.extend(["--socket", &socket]);
        Ok(String::from_utf8_lossy(&self.lab.director().output(&words)?).into_owned())
    }

    /// What LVX has to say about a failure.
    fn show_logs(&self) {
        let mut logs = vec![self.log()];
        let servers = self.lab.real_servers().iter();
        logs.extend(servers.map(|server| self.lab.folder().join(format!("decap-{}.log", server.name))));
        for log in logs {
            let text = fs::read_to_string(&log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            if !lines.is_empty() {
                eprintln!("\nThe end of {}:", log.display());
            }
            for line in &lines[lines.len().saturating_sub(TAIL)..] {
                eprintln!("  | {line}");
            }
        }
    }

    /// Ends the processes before the lab, so that one that does not obey SIGTERM is told.
    fn end(self) -> Result<()> {
        let obeyed = self.daemon.iter().chain(&self.decapsulators).all(Process::end);
        ensure!(obeyed, "expected lvx to end on SIGTERM, it had to be killed");
        Ok(())
    }

    fn keep(self) -> Result<()> {
        let (configuration, socket, log) = (self.configuration(), self.socket(), self.log());
        let (client, director) = (self.lab.client().name().to_owned(), self.lab.director().name().to_owned());
        let [vip4, vip6] = [self.lab.vip4().to_string(), self.lab.vip6().to_string()];
        let daemon = self.daemon.as_ref().map(Process::pid);
        // First the lab: when that fails, everything is still removed.
        self.lab.keep()?;
        for process in self.daemon.into_iter().chain(self.decapsulators) {
            process.leave_running();
        }
        let lvx = self.lvx.display();
        println!("\nThe lab stays. To play with it:");
        println!("  ip netns exec {client} curl http://{vip4}/whoami           direct routing");
        println!("  ip netns exec {client} curl http://{vip4}:8081/whoami      tunnel");
        println!("  ip netns exec {client} curl http://[{vip6}]:8082/whoami    NAT, IPv6");
        println!("  {lvx} list --stats --socket {}", socket.display());
        println!("  {lvx} list --connections --socket {}", socket.display());
        println!("  ip netns exec {director} curl http://127.0.0.1:9464/metrics");
        if let Some(pid) = daemon {
            println!("  $EDITOR {} && kill -HUP {pid}", configuration.display());
        }
        println!("  tail -f {}", log.display());
        println!("To remove it: cargo xtask demo --remove");
        Ok(())
    }
}

/// Tries until `attempt` succeeds, as long as `process` runs.
fn wait(what: &str, process: &Process, attempt: impl Fn() -> Result<()>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = attempt() {
        interrupt::check()?;
        ensure!(process.is_running(), "expected {what}, but lvx has ended");
        if Instant::now() >= deadline {
            return Err(error.context(format!("expected {what} within {} s", PATIENCE.as_secs())));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
