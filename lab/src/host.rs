//! One host by itself, for servers that a test configures.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::cleanup;
use crate::namespace::{self, Namespace};
use crate::process::{Process, program};
use crate::udp_echo;

/// How long a server may take until it is ready.
const PATIENCE: Duration = Duration::from_secs(20);

/// A namespace with a loopback device, `192.0.2.1/24` and `2001:db8::1/64` on a LAN with nobody else, a folder, and
/// the servers that were started in it. Everything goes with this value.
#[derive(Debug)]
pub struct Host {
    prefix: String,
    namespace: Namespace,
    processes: Vec<Process>,
}

impl Host {
    /// Makes the host, and first removes what killed processes have left.
    ///
    /// # Errors
    /// When the process is not root, or the kernel refuses something. Nothing is left behind.
    pub fn new() -> Result<Self> {
        cleanup::remove_stale().context("cannot remove a lab that was left behind")?;
        let prefix = crate::fresh_prefix();
        let namespace = Namespace::named(format!("{prefix}-host"));
        let host = Self { prefix, namespace, processes: Vec::new() };
        fs::create_dir_all(host.folder())
            .with_context(|| format!("cannot make {}", host.folder().display()))?;
        namespace::create(&[&host.namespace])?;
        // Both ends of the cable are here, and nobody answers on the other one: 192.0.2.98 cannot be resolved, which
        // the kernel tells after three seconds; 192.0.2.99 and 2001:db8::99 swallow everything.
        host.namespace.ip_batch(
            &[],
            "link set lo up\nlink add eth0 type veth peer name lan\nlink set eth0 up\nlink set lan up\n\
             address add 192.0.2.1/24 dev eth0\naddress add 2001:db8::1/64 dev eth0 nodad\n\
             neighbour add 192.0.2.99 lladdr 02:00:00:00:00:99 dev eth0 nud permanent\n\
             neighbour add 2001:db8::99 lladdr 02:00:00:00:00:99 dev eth0 nud permanent\n",
        )?;
        Ok(host)
    }

    /// Where the servers are.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// A folder that goes with the host, for configurations and logs.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        cleanup::folder(&self.prefix)
    }

    /// Writes a file into the folder and gives its path.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.folder().join(name);
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Starts a server that stays in the foreground, and waits until `ready`, which is asked within the namespace. Its
    /// output is appended to `log` in the folder. `package` is what brings the program.
    ///
    /// # Errors
    /// When it is not installed, ends, or is not ready in time; the error repeats its log.
    pub fn start(&mut self, package: &str, words: &[&str], ready: impl Fn() -> bool + Sync) -> Result<()> {
        let [name, ..] = words else { bail!("no program to start in {}", self.namespace.name()) };
        ensure!(
            program(name.as_ref()).is_file(),
            "{name} is not installed: `apt-get install {package}` mends that"
        );
        let log = self.folder().join("log");
        let process = self.namespace.spawn(words, &log)?;
        let deadline = Instant::now() + PATIENCE;
        while !self.namespace.enter(&ready)? {
            if !process.is_running() || Instant::now() > deadline {
                let said = fs::read_to_string(&log).unwrap_or_default();
                bail!("{name} is not ready in {}: {}", self.namespace.name(), said.trim());
            }
            thread::sleep(Duration::from_millis(5));
        }
        self.processes.push(process);
        Ok(())
    }

    /// Starts an echo on UDP ports, which answers `PAYLOAD` with `NAME client=ADDRESS:PORT PAYLOAD`.
    ///
    /// # Errors
    /// When the ports cannot be opened.
    pub fn udp_echo(&mut self, name: &str, ports: &[u16]) -> Result<()> {
        self.processes.push(udp_echo::start(&self.namespace, name, ports)?);
        Ok(())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.processes.clear();
        if let Err(error) = cleanup::remove(&self.prefix) {
            eprintln!("host {} is not removed: {error:#}", self.prefix);
        }
    }
}
