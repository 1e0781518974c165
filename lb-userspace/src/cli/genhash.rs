//! `lvx genhash`: the digest of a page, for the `digest` of an HTTP check.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use crate::health::checker::http::{self, Digests};
use crate::health::{Failure, FailureReason, Origin, Probe};
use crate::model::{CheckTls, HttpCheck, HttpRequest, HttpVersion, Protocol, ServiceKey, StatusSet};

/// Arguments of `lvx genhash`: those of keepalived's, and a few more.
#[derive(Debug, Clone, Args)]
pub struct GenhashArgs {
    /// Address of the server.
    #[arg(long, short)]
    server: IpAddr,
    /// Port of the server; 80, or 443 with TLS, unless told.
    #[arg(long, short)]
    port: Option<u16>,
    /// Path and query of the page.
    #[arg(long, short, default_value = "/")]
    url: String,
    /// Connect with TLS; any certificate will do.
    #[arg(long = "use-ssl", short = 'S', visible_alias = "tls")]
    tls: bool,
    /// Tell the virtual host in the TLS handshake as well.
    #[arg(long = "use-sni", short = 'I', requires_all = ["tls", "virtual_host"])]
    sni: bool,
    /// Virtual host to ask for.
    #[arg(long = "use-virtualhost", short = 'V')]
    virtual_host: Option<String>,
    /// HTTP version; digests can differ where a server answers differently.
    #[arg(long, short = 'P', value_enum, default_value = "1.0")]
    protocol: GenhashProtocol,
    /// Seconds until an answer has to be complete.
    #[arg(long, short, default_value_t = 5)]
    timeout: u64,
    /// Mark of the packets.
    #[arg(long, short = 'm')]
    fwmark: Option<u32>,
    /// Print SHA-256 instead of MD5.
    #[arg(long)]
    sha256: bool,
    /// Print status, length, duration and both digests before the digest.
    #[arg(long, short)]
    verbose: bool,
}

/// An HTTP version in genhash's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GenhashProtocol {
    /// HTTP/1.0.
    #[value(name = "1.0", alias = "1.0c", alias = "1.0C")]
    Http10,
    /// HTTP/1.1.
    #[value(name = "1.1")]
    Http11,
    /// HTTP/2.
    #[value(name = "2")]
    H2,
}

/// Fetches the page and prints its digest, in hexadecimal digits on a line of its own. Any status will do, as in
/// keepalived. The exit code is 1 where there is no page.
#[must_use]
pub fn run(arguments: &GenhashArgs) -> ExitCode {
    let started = Instant::now();
    match fetch(arguments) {
        Ok((status, digests)) => {
            let text = report(arguments, status, &digests, started.elapsed());
            // A reader that went away has not got the digest.
            io::stdout().write_all(text.as_bytes()).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
        }
        Err(failure) => {
            eprintln!("lvx genhash: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn fetch(arguments: &GenhashArgs) -> Result<(u16, Digests), Failure> {
    let (check, probe) = (arguments.check(), arguments.probe());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::from_io("start", &error))?;
    runtime.block_on(async {
        tokio::time::timeout(probe.timeout, http::digests(&check, &probe)).await.unwrap_or_else(|_| {
            let seconds = arguments.timeout;
            Err(Failure::new(FailureReason::Timeout, format!("no complete answer in {seconds} s")))
        })
    })
}

fn report(arguments: &GenhashArgs, status: u16, digests: &Digests, duration: Duration) -> String {
    let (md5, sha256) = (hex(&digests.md5), hex(&digests.sha256));
    let mut text = String::new();
    if arguments.verbose {
        let _ = writeln!(
            text,
            "status: {status}\nlength: {} bytes\nduration: {} us\nMD5SUM = {md5}\nSHA256SUM = {sha256}",
            digests.length,
            duration.as_micros()
        );
    }
    text.push_str(if arguments.sha256 { &sha256 } else { &md5 });
    text.push('\n');
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl GenhashArgs {
    fn endpoint(&self) -> SocketAddr {
        SocketAddr::new(self.server, self.port.unwrap_or(if self.tls { 443 } else { 80 }))
    }

    fn check(&self) -> HttpCheck {
        HttpCheck {
            tls: self.tls.then(|| CheckTls {
                server_name: self.virtual_host.clone().filter(|_| self.sni),
                ..CheckTls::default()
            }),
            version: match self.protocol {
                GenhashProtocol::Http10 => HttpVersion::Http10,
                GenhashProtocol::Http11 => HttpVersion::Http11,
                GenhashProtocol::H2 => HttpVersion::H2,
            },
            requests: vec![HttpRequest {
                method: "GET".to_owned(),
                path: self.url.clone(),
                host: self.virtual_host.clone(),
                headers: Vec::new(),
                status: StatusSet(vec![100..=599]),
                digest: None,
                pattern: None,
                max_redirects: 0,
            }],
            max_body: u32::MAX,
        }
    }

    fn probe(&self) -> Probe {
        let endpoint = self.endpoint();
        Probe {
            endpoint,
            through: None,
            origin: Origin { mark: self.fwmark, ..Origin::default() },
            timeout: Duration::from_secs(self.timeout),
            service: ServiceKey { protocol: Protocol::Tcp, address: endpoint.ip(), port: endpoint.port() },
            real_server: endpoint,
            weight: 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        genhash: GenhashArgs,
    }

    fn parse(arguments: &[&str]) -> Result<GenhashArgs, clap::Error> {
        Command::try_parse_from([&["genhash"], arguments].concat()).map(|command| command.genhash)
    }

    #[test]
    fn command_lines_of_keepalived() {
        let plain = parse(&["-s", "192.0.2.1", "-p", "8080", "-u", "/a?b"]).unwrap();
        assert_eq!(plain.endpoint().to_string(), "192.0.2.1:8080");
        assert_eq!(plain.check().requests[0].path, "/a?b");
        assert_eq!(plain.check().tls, None);
        let tls =
            parse(&["-S", "-I", "-V", "www.example", "-s", "2001:db8::1", "-P", "1.0c", "-m", "7"]).unwrap();
        assert_eq!(tls.endpoint().to_string(), "[2001:db8::1]:443");
        assert_eq!(tls.check().tls.unwrap().server_name.as_deref(), Some("www.example"));
        assert_eq!(tls.probe().origin.mark, Some(7));
        assert!(parse(&[]).is_err());
        assert!(parse(&["-s", "www.example"]).is_err());
    }
}
