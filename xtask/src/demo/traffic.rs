//! The demo's requests, and what has to come back.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, bail, ensure};
use lab::{Lab, Namespace};

use super::display::Step;
use super::interrupt;
use super::plan::Method;

/// Requests per virtual service; a multiple of the number of real servers.
const REQUESTS: usize = 30;
/// Downloads per virtual service.
const DOWNLOADS: usize = 3;

/// How many requests each real server has answered.
#[derive(Default)]
struct Spread(BTreeMap<String, usize>);

impl Spread {
    fn count(&mut self, lab: &Lab, name: &str) -> Result<()> {
        let known = lab.real_servers().iter().any(|server| server.name == name);
        ensure!(known, "expected the name of a real server, got {name:?}");
        *self.0.entry(name.to_owned()).or_default() += 1;
        Ok(())
    }

    /// Round robin gives everyone the same.
    fn judge(&self, lab: &Lab) -> Result<()> {
        let fair = REQUESTS / lab.real_servers().len();
        for server in lab.real_servers() {
            let count = self.0.get(&server.name).copied().unwrap_or(0);
            ensure!(
                count.abs_diff(fair) <= 1,
                "expected {fair} requests for {}, it got {count}",
                server.name
            );
        }
        Ok(())
    }

    fn show(&self, sent: usize) -> String {
        let servers: Vec<_> = self.0.iter().map(|(name, count)| format!("{name} {count:>2}")).collect();
        format!("{sent:>2}/{REQUESTS}  {}", servers.join("  "))
    }
}

fn title(method: &Method, vip: IpAddr, protocol: &str) -> String {
    format!("{} {} {protocol}", method.title, family(vip))
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "v4" } else { "v6" }
}

/// The client's address of the family of `vip`.
fn client_address(lab: &Lab, vip: IpAddr) -> IpAddr {
    if vip.is_ipv4() { lab.client4().into() } else { lab.client6().into() }
}

/// HTTP: small requests are spread evenly, real servers see the client, large bodies arrive whole in both directions,
/// and replies take the way that the forwarding method promises.
pub(super) fn http(lab: &Lab, method: &Method, vip: IpAddr) -> Result<()> {
    let step = Step::new(title(method, vip, "HTTP"));
    let service = method.http(vip);
    let mut spread = Spread::default();
    for sent in 1..=REQUESTS {
        interrupt::check()?;
        let name = fetch(lab, service, "whoami")?;
        spread.count(lab, String::from_utf8_lossy(&name).trim())?;
        step.update(&spread.show(sent));
    }
    spread.judge(lab)?;
    let client = client_address(lab, vip).to_string();
    for _ in lab.real_servers() {
        let seen = fetch(lab, service, "client")?;
        let seen = String::from_utf8_lossy(&seen).trim().to_owned();
        ensure!(seen == client, "expected the real server to see the client {client}, it saw {seen}");
    }
    let way = downloads(lab, method, service, &step, &spread)?;
    upload(lab, method, service)?;
    step.done(&format!("{}   {DOWNLOADS} x 1 MiB down, 1 up: intact; {way}", spread.show(REQUESTS)));
    Ok(())
}

fn fetch(lab: &Lab, service: SocketAddr, path: &str) -> Result<Vec<u8>> {
    let url = format!("http://{service}/{path}");
    lab.client().fetch(&url).with_context(|| format!("expected an answer from {url}"))
}

/// Checks every byte, and by the director's own interface where the replies went.
fn downloads(
    lab: &Lab,
    method: &Method,
    service: SocketAddr,
    step: &Step,
    spread: &Spread,
) -> Result<&'static str> {
    let before = received(lab)?;
    let mut bytes = 0;
    for count in 1..=DOWNLOADS {
        interrupt::check()?;
        step.update(&format!("{}   1 MiB download {count}/{DOWNLOADS}", spread.show(REQUESTS)));
        let body = fetch(lab, service, "1MiB")?;
        ensure!(
            body == lab.download(),
            "expected 1 MiB from http://{service}/1MiB as the real servers have it, got {} bytes{}",
            body.len(),
            if body.len() == lab.download().len() { ", damaged" } else { "" }
        );
        bytes += body.len() as u64;
    }
    let through = received(lab)? - before;
    if method.replies_through_director {
        ensure!(through >= bytes, "expected {bytes} bytes through the director, it received {through}");
        Ok("replies through the director")
    } else {
        // What the client sends, acknowledgements for the most part, is a small fraction of what it receives.
        ensure!(
            through < bytes / 4,
            "expected replies of {bytes} bytes to bypass the director, it received {through}"
        );
        Ok("replies bypass the director")
    }
}

/// Full-size packets from the client: the direction in which a tunnel's outer header needs room.
fn upload(lab: &Lab, method: &Method, service: SocketAddr) -> Result<()> {
    interrupt::check()?;
    let name = format!("{}-{}", method.title.replace(' ', "-"), family(service.ip()));
    let (file, url) = (lab.download_file(), format!("http://{service}/upload/{name}"));
    let words = ["curl", "-sSfg", "--max-time", "5", "--upload-file", &file.to_string_lossy(), &url];
    lab.client().output(&words).with_context(|| format!("expected to upload 1 MiB to {url}"))?;
    let intact =
        |server| lab.uploaded(server, &name).is_ok_and(|content| content.as_slice() == lab.download());
    let arrived = lab.real_servers().iter().filter(|server| intact(server)).count();
    ensure!(arrived == 1, "expected one real server with the upload intact, found {arrived}");
    Ok(())
}

/// Bytes that all of the director's interfaces have received.
fn received(lab: &Lab) -> Result<u64> {
    // Not /proc/net, which is the network of the process and not that of the thread.
    let table = lab.director().enter(|| std::fs::read_to_string("/proc/thread-self/net/dev"))??;
    let of = |interface: &str| -> Result<u64> {
        let found = table.lines().find_map(|line| line.trim().strip_prefix(interface)?.strip_prefix(':'));
        let Some(fields) = found else { bail!("the director has no interface {interface}") };
        let bytes = fields.split_whitespace().next().unwrap_or_default();
        bytes.parse().with_context(|| format!("no count of bytes: {bytes:?}"))
    };
    lab.director_interfaces().iter().map(|interface| of(interface)).sum()
}

/// UDP: every datagram is from a fresh port and thus a new connection for the scheduler.
pub(super) fn udp(lab: &Lab, method: &Method, vip: IpAddr) -> Result<()> {
    let step = Step::new(title(method, vip, "UDP"));
    let service = method.udp(vip);
    let client: &Namespace = lab.client();
    let seen = format!("client={}", client_address(lab, vip));
    let seen = if vip.is_ipv4() { seen } else { seen.replace('=', "=[") + "]" };
    let mut spread = Spread::default();
    for sent in 1..=REQUESTS {
        interrupt::check()?;
        let question = format!("datagram {sent}");
        let answer = client
            .ask(service, &question)
            .with_context(|| format!("expected an answer to datagram {sent} to {service}"))?;
        let (name, rest) = answer.split_once(' ').unwrap_or((&answer, ""));
        spread.count(lab, name)?;
        ensure!(
            rest.starts_with(&seen) && rest.ends_with(&question),
            "expected {seen:?}, a port and {question:?} in the echo, got {answer:?}"
        );
        step.update(&spread.show(sent));
    }
    spread.judge(lab)?;
    step.done(&spread.show(REQUESTS));
    Ok(())
}
