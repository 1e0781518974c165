//! Network namespaces with real peers: a client, a director, and real servers with nginx and a UDP echo.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! let lab = lab::Lab::builder().real_servers(3).build()?;
//! let page = lab.client().fetch(&format!("http://{}/whoami", lab.rs(1).v4))?;
//! assert_eq!(page, b"rs1\n");
//! # Ok(())
//! # }
//! ```
//!
//! Everything is in namespaces of its own, the bridge between them too, so that labs stand side by side and the host's
//! network stays as it is. It goes when the [`Lab`] is dropped; what a killed process leaves is removed by the next
//! [`LabBuilder::build`]. The [`topology`] module has the picture and the reasons.

mod cleanup;
mod host;
mod namespace;
mod process;
mod segment;
pub mod topology;
mod udp_echo;
mod veth;
mod web;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};

pub use cleanup::kept;
pub use host::Host;
pub use namespace::Namespace;
pub use process::Process;
pub use segment::Segment;

/// TCP ports on which every real server's nginx listens.
pub const HTTP_PORTS: [u16; 3] = [80, 8081, 8082];
/// UDP ports on which every real server has an echo.
pub const UDP_PORTS: [u16; 3] = [5300, 5301, 5302];

/// Tells the labs of one process apart.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// What a lab is to contain.
#[derive(Debug, Clone)]
pub struct LabBuilder {
    real_servers: u8,
    two_armed: bool,
}

impl LabBuilder {
    /// How many real servers there are, at most 200; 3 unless told.
    #[must_use]
    pub fn real_servers(mut self, count: u8) -> Self {
        self.real_servers = count;
        self
    }

    /// Whether clients and real servers are on LANs of their own, with the director on both.
    #[must_use]
    pub fn two_armed(mut self, two_armed: bool) -> Self {
        self.two_armed = two_armed;
        self
    }

    /// Makes the lab, and first removes what killed processes have left of theirs.
    ///
    /// # Errors
    /// When the process is not root, a program is missing (`ip`, `nginx`), or the kernel refuses something. Nothing is
    /// left behind.
    pub fn build(self) -> Result<Lab> {
        // SAFETY: geteuid cannot fail and touches no memory.
        let root = unsafe { libc::geteuid() } == 0;
        ensure!(root, "the lab needs root because it makes network namespaces: run this as root");
        ensure!(
            self.real_servers <= topology::MOST_REAL_SERVERS,
            "a lab has at most {} real servers, not {}",
            topology::MOST_REAL_SERVERS,
            self.real_servers
        );
        cleanup::remove_stale().context("cannot remove a lab that was left behind")?;
        let mut lab = Lab::planned(&self);
        lab.make()?;
        Ok(lab)
    }
}

/// A real server of a lab.
#[derive(Debug, Clone)]
pub struct RealServer {
    /// What it calls itself: `rs1`, `rs2`, ...
    pub name: String,
    /// Its own IPv4 address.
    pub v4: Ipv4Addr,
    /// Its own IPv6 address.
    pub v6: Ipv6Addr,
    /// The namespace it lives in.
    pub host: Namespace,
}

impl RealServer {
    /// Its own address of the same family as `like`.
    #[must_use]
    pub fn address(&self, like: IpAddr) -> IpAddr {
        if like.is_ipv4() { self.v4.into() } else { self.v6.into() }
    }
}

/// A lab that stands until this is dropped.
#[derive(Debug)]
pub struct Lab {
    prefix: String,
    two_armed: bool,
    switch: Namespace,
    client: Namespace,
    director: Namespace,
    real_servers: Vec<RealServer>,
    processes: Vec<Process>,
    /// nginx of each real server, where it runs.
    webs: Vec<Mutex<Option<Process>>>,
    download: Vec<u8>,
    kept: bool,
}

/// The prefix of a lab that is not there yet.
fn fresh_prefix() -> String {
    // A kept lab of an earlier process with the same id is stepped over.
    loop {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("lvx{}-{count}", std::process::id());
        let taken = ["switch", "host"].map(|role| Namespace::named(format!("{prefix}-{role}")));
        if !cleanup::folder(&prefix).exists() && !taken.iter().any(|namespace| namespace.path().exists()) {
            return prefix;
        }
    }
}

impl Lab {
    /// A lab to be made: one-armed, with three real servers, unless told otherwise.
    #[must_use]
    pub fn builder() -> LabBuilder {
        LabBuilder { real_servers: 3, two_armed: false }
    }

    /// Removes the lab with this prefix, kept or not: its processes, namespaces and files.
    ///
    /// # Errors
    /// When `prefix` cannot be one of a lab, or something of it cannot be removed.
    pub fn remove(prefix: &str) -> Result<()> {
        cleanup::remove(prefix)
    }

    fn planned(wanted: &LabBuilder) -> Self {
        let prefix = fresh_prefix();
        let named = |role: &str| Namespace::named(format!("{prefix}-{role}"));
        let real_server = |number: u8| {
            let name = format!("rs{number}");
            let address = topology::real_server_host(number);
            let (v4, v6) = (topology::server4(address), topology::server6(address));
            RealServer { host: named(&name), name, v4, v6 }
        };
        Self {
            two_armed: wanted.two_armed,
            switch: named("switch"),
            client: named("client"),
            director: named("director"),
            real_servers: (1..=wanted.real_servers).map(real_server).collect(),
            processes: Vec::new(),
            webs: Vec::new(),
            download: Vec::new(),
            kept: false,
            prefix,
        }
    }

    fn make(&mut self) -> Result<()> {
        let folder = self.folder();
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        self.download = web::make_download(&folder)?;
        let sites = topology::Sites {
            switch: &self.switch,
            client: &self.client,
            director: &self.director,
            real_servers: self.real_servers.iter().map(|server| &server.host).collect(),
            two_armed: self.two_armed,
        };
        let all = [sites.switch, sites.client, sites.director].into_iter();
        namespace::create(&all.chain(sites.real_servers.iter().copied()).collect::<Vec<_>>())?;
        sites.wire()?;
        let mut webs = Vec::new();
        for server in &self.real_servers {
            let own = folder.join(&server.name);
            webs.push(web::start(&server.host, &server.name, &HTTP_PORTS, &own, &folder)?);
            self.processes.push(udp_echo::start(&server.host, &server.name, &UDP_PORTS)?);
        }
        for (server, web) in self.real_servers.iter().zip(&webs) {
            web::wait(web, &server.host, &HTTP_PORTS, &folder.join(&server.name))?;
        }
        self.webs = webs.into_iter().map(|web| Mutex::new(Some(web))).collect();
        Ok(())
    }

    /// What the names of all namespaces of this lab begin with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A folder that goes with the lab, for configurations, logs and sockets.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        cleanup::folder(&self.prefix)
    }

    /// Where clients are.
    #[must_use]
    pub fn client(&self) -> &Namespace {
        &self.client
    }

    /// Where `lvx run` belongs.
    #[must_use]
    pub fn director(&self) -> &Namespace {
        &self.director
    }

    /// The LANs; in a two-armed lab also the router past the director.
    #[must_use]
    pub fn switch(&self) -> &Namespace {
        &self.switch
    }

    /// All real servers, `rs1` first.
    #[must_use]
    pub fn real_servers(&self) -> &[RealServer] {
        &self.real_servers
    }

    /// The real server with this number: 1 gives `rs1`.
    ///
    /// # Panics
    /// When the lab has no such server.
    #[must_use]
    pub fn rs(&self, number: usize) -> &RealServer {
        &self.real_servers[number - 1]
    }

    /// The director's interfaces on which the XDP program belongs.
    #[must_use]
    pub fn director_interfaces(&self) -> &'static [&'static str] {
        if self.two_armed { &["eth0", "eth1"] } else { &["eth0"] }
    }

    /// The virtual IPv4 address: on the director, and on the real servers' loopback devices.
    #[must_use]
    pub fn vip4(&self) -> Ipv4Addr {
        topology::VIP4
    }

    /// The virtual IPv6 address, as [`vip4`](Self::vip4).
    #[must_use]
    pub fn vip6(&self) -> Ipv6Addr {
        topology::VIP6
    }

    /// The client's IPv4 address.
    #[must_use]
    pub fn client4(&self) -> Ipv4Addr {
        topology::client4(topology::CLIENT)
    }

    /// The client's IPv6 address.
    #[must_use]
    pub fn client6(&self) -> Ipv6Addr {
        topology::client6(topology::CLIENT)
    }

    /// What every real server gives for `/1MiB`.
    #[must_use]
    pub fn download(&self) -> &[u8] {
        &self.download
    }

    /// The file behind [`download`](Self::download), which also serves as something to upload (`curl -T FILE
    /// http://.../upload/NAME`; nginx answers 201).
    #[must_use]
    pub fn download_file(&self) -> PathBuf {
        self.folder().join(web::DOWNLOAD)
    }

    /// What the real server `name` got by an upload called `upload`.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn uploaded(&self, server: &RealServer, upload: &str) -> Result<Vec<u8>> {
        let file = self.folder().join(&server.name).join("upload").join(Path::new(upload));
        fs::read(&file).with_context(|| format!("cannot read {}", file.display()))
    }

    /// Starts another nginx, such as one on the director; it answers like that of a real server and ends with the returned
    /// process.
    ///
    /// # Errors
    /// When nginx does not answer on every port.
    pub fn serve_web(&self, host: &Namespace, name: &str, ports: &[u16]) -> Result<Process> {
        let (own, folder) = (self.folder().join(name), self.folder());
        let web = web::start(host, name, ports, &own, &folder)?;
        web::wait(&web, host, ports, &own)?;
        Ok(web)
    }

    /// Ends nginx on the real server with this number, as if it had crashed: its connections are reset.
    ///
    /// # Errors
    /// When it does not run.
    pub fn stop_web(&self, number: usize) -> Result<()> {
        let web = self.web(number)?.take().context("nginx does not run")?;
        web.signal(libc::SIGKILL);
        drop(web);
        Ok(())
    }

    /// Starts nginx on the real server with this number again.
    ///
    /// # Errors
    /// When it runs already or does not answer on every port.
    pub fn start_web(&self, number: usize) -> Result<()> {
        let mut place = self.web(number)?;
        ensure!(place.is_none(), "nginx runs already");
        let server = self.rs(number);
        *place = Some(self.serve_web(&server.host, &server.name, &HTTP_PORTS)?);
        Ok(())
    }

    fn web(&self, number: usize) -> Result<MutexGuard<'_, Option<Process>>> {
        let web =
            number.checked_sub(1).and_then(|index| self.webs.get(index)).context("no such real server")?;
        Ok(web.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets the lab stand when this process has ended, and gives the prefix for [`Lab::remove`].
    ///
    /// # Errors
    /// When the mark that saves it from the next build's cleaning cannot be written; the lab is removed then.
    pub fn keep(mut self) -> Result<String> {
        cleanup::keep(&self.prefix)?;
        self.kept = true;
        let webs =
            self.webs.drain(..).filter_map(|web| web.into_inner().unwrap_or_else(PoisonError::into_inner));
        for process in self.processes.drain(..).chain(webs) {
            process.leave_running();
        }
        Ok(self.prefix.clone())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        // All at once, and only then the waiting.
        let webs =
            self.webs.drain(..).filter_map(|web| web.into_inner().unwrap_or_else(PoisonError::into_inner));
        self.processes.extend(webs);
        for process in &self.processes {
            process.signal(libc::SIGTERM);
        }
        self.processes.clear();
        if let Err(error) = cleanup::remove(&self.prefix) {
            eprintln!("lab {} is not removed: {error:#}", self.prefix);
        }
    }
}
