//! Several equal hosts on one or two links, for routers that watch each other.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::cleanup;
use crate::namespace::{self, Namespace};
use crate::process::Process;
use crate::{veth, web};

/// Most hosts of a segment.
const MOST_HOSTS: u8 = 9;

/// Hosts 1, 2, ... with `eth0` on one bridge, and with `eth1` on a second one where there are two links. Host `N` has
/// 192.0.2.N/24, 2001:db8::N/64 and fe80::N/64 on `eth0`, 198.51.100.N/24 and fe80::N/64 on `eth1`. Everything goes with
/// this value.
#[derive(Debug)]
pub struct Segment {
    prefix: String,
    switch: Namespace,
    hosts: Vec<Namespace>,
}

impl Segment {
    /// Makes the hosts, and first removes what killed processes have left.
    ///
    /// # Errors
    /// When the process is not root, or the kernel refuses something. Nothing is left behind.
    ///
    /// # Panics
    /// When more than nine hosts or other than one or two links are asked for.
    pub fn new(hosts: u8, links: u8) -> Result<Self> {
        assert!((1..=MOST_HOSTS).contains(&hosts) && (1..=2).contains(&links), "no such segment");
        cleanup::remove_stale().context("cannot remove a lab that was left behind")?;
        let prefix = crate::fresh_prefix();
        let named = |name: String| Namespace::named(format!("{prefix}-{name}"));
        let segment = Self {
            switch: named("switch".to_owned()),
            hosts: (1..=hosts).map(|number| named(format!("h{number}"))).collect(),
            prefix,
        };
        fs::create_dir_all(segment.folder())
            .with_context(|| format!("cannot make {}", segment.folder().display()))?;
        let mut all = vec![&segment.switch];
        all.extend(&segment.hosts);
        namespace::create(&all)?;
        segment.wire(links)?;
        Ok(segment)
    }

    fn wire(&self, links: u8) -> Result<()> {
        for namespace in self.hosts.iter().chain([&self.switch]) {
            namespace.sysctl(&[
                ("ipv6/conf/default/accept_dad", "0"),
                ("ipv6/conf/default/accept_ra", "0"),
                ("ipv6/conf/default/router_solicitations", "0"),
                // The link-local addresses are given below, so that they read like the hosts' numbers.
                ("ipv6/conf/default/addr_gen_mode", "1"),
                ("ipv4/conf/all/rp_filter", "0"),
                ("ipv4/conf/default/rp_filter", "0"),
                ("ipv4/conf/all/send_redirects", "0"),
                ("ipv4/conf/default/send_redirects", "0"),
                ("ipv4/conf/all/accept_redirects", "0"),
                ("ipv4/conf/default/accept_redirects", "0"),
            ])?;
        }
        let mut switch = String::new();
        for link in 0..links {
            switch.push_str(&format!(
                "link add link{link} type bridge forward_delay 0 stp_state 0 mcast_snooping 0\nlink set link{link} up\n"
            ));
            for (number, host) in (1..).zip(&self.hosts) {
                let number: u8 = number;
                let port = port(number, link);
                switch.push_str(&format!(
                    "link add {port} type veth peer name eth{link} netns {}\nlink set {port} master link{link} up\n",
                    host.name()
                ));
            }
        }
        self.switch.ip_batch(&[], &switch)?;
        for (number, host) in (1..).zip(&self.hosts) {
            let number: u8 = number;
            let mut script = "link set lo up\nlink set eth0 up\n".to_owned();
            script.push_str(&format!(
                "address add 192.0.2.{number}/24 dev eth0\naddress add 2001:db8::{number}/64 dev eth0 nodad\n\
                 address add fe80::{number}/64 dev eth0 nodad\n"
            ));
            if links > 1 {
                script.push_str(&format!(
                    "link set eth1 up\naddress add 198.51.100.{number}/24 dev eth1\n\
                     address add fe80::{number}/64 dev eth1 nodad\n"
                ));
            }
            host.ip_batch(&[], &script)?;
        }
        self.switch
            .enter(|| (1..=self.hosts.len() as u8).try_for_each(|number| veth::face_xdp(&port(number, 0))))?
    }

    /// A host, from 1.
    ///
    /// # Panics
    /// When there is no such host.
    #[must_use]
    pub fn host(&self, number: u8) -> &Namespace {
        self.hosts.get(usize::from(number) - 1).unwrap_or_else(|| panic!("there is no host {number}"))
    }

    /// A folder that goes with the segment, for configurations and logs.
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

    /// Starts a program on a host; its output goes to the file `log` in the folder.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, host: u8, words: &[&str], log: &str) -> Result<Process> {
        self.host(host).spawn(words, &self.folder().join(log))
    }

    /// Starts nginx on port 80 of a host, whose `/whoami` answers with `name`.
    ///
    /// # Errors
    /// When it is not installed or does not listen.
    pub fn serve_web(&self, host: u8, name: &str) -> Result<Process> {
        let directory = self.folder().join(name);
        fs::create_dir_all(&directory)?;
        web::make_download(&directory)?;
        let process = web::start(self.host(host), name, &[80], &directory, &directory)?;
        web::wait(&process, self.host(host), &[80], &directory)?;
        Ok(process)
    }

    /// Makes a host a real server by direct routing: it has the virtual address where ARP does not see it, and serves
    /// `/whoami` on port 80.
    ///
    /// # Errors
    /// When nginx is not installed, or the kernel refuses.
    pub fn real_server(&self, host: u8, virtual_address: &str, name: &str) -> Result<Process> {
        let namespace = self.host(host);
        namespace.sysctl(&[("ipv4/conf/all/arp_ignore", "1"), ("ipv4/conf/all/arp_announce", "2")])?;
        namespace.ip_batch(&[], &format!("address add {virtual_address}/32 dev lo\n"))?;
        self.serve_web(host, name)
    }

    /// Pulls a host's cable out of a link, or plugs it in again: the host sees that it has no carrier.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn plug(&self, host: u8, link: u8, plugged: bool) -> Result<()> {
        let state = if plugged { "up" } else { "down" };
        self.switch.ip_batch(&[], &format!("link set {} {state}\n", port(host, link)))
    }

    /// Lets a link lose everything of a host, or carry it again: the host notices nothing.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn isolate(&self, host: u8, link: u8, isolated: bool) -> Result<()> {
        let port = port(host, link);
        let line = if isolated {
            format!("link set {port} nomaster\n")
        } else {
            format!("link set {port} master link{link}\n")
        };
        self.switch.ip_batch(&[], &line)
    }

    /// Runs `ip` with these words on a host.
    ///
    /// # Errors
    /// When it fails.
    pub fn ip(&self, host: u8, words: &str) -> Result<String> {
        let mut all = vec!["ip"];
        all.extend(words.split_whitespace());
        let output = self.host(host).output(&all)?;
        ensure!(output.is_ascii(), "`ip {words}` printed something else than text");
        Ok(String::from_utf8(output)?)
    }
}

fn port(host: u8, link: u8) -> String {
    format!("h{host}l{link}")
}

impl Drop for Segment {
    fn drop(&mut self) {
        if let Err(error) = cleanup::remove(&self.prefix) {
            eprintln!("segment {} is not removed: {error:#}", self.prefix);
        }
    }
}
