//! nginx on a real server.

use std::fmt::Write;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::namespace::Namespace;
use crate::process::{Process, program};

/// How long nginx may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// Name of the file that every real server has for download.
pub(crate) const DOWNLOAD: &str = "1MiB";

/// Starts nginx; its files are in `directory`, and `download` is the folder with the file for download.
pub(crate) fn start(
    namespace: &Namespace,
    name: &str,
    ports: &[u16],
    directory: &Path,
    download: &Path,
) -> Result<Process> {
    let nginx = program("nginx".as_ref());
    ensure!(nginx.is_file(), "nginx is not installed: `apt-get install nginx-light` mends that");
    fs::create_dir_all(directory.join("upload"))?;
    let file = directory.join("nginx.conf");
    fs::write(&file, configuration(name, ports, directory, download))?;
    let (nginx, file) = (nginx.to_string_lossy(), file.to_string_lossy());
    let prefix = directory.to_string_lossy();
    let log = directory.join("error.log");
    let words = [&*nginx, "-p", &prefix, "-e", &log.to_string_lossy(), "-c", &file];
    namespace.spawn(&words, &log)
}

/// Waits until nginx accepts connections on every port.
pub(crate) fn wait(process: &Process, namespace: &Namespace, ports: &[u16], directory: &Path) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let listens = |port: &u16| {
        TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).is_ok()
            && TcpStream::connect((Ipv6Addr::LOCALHOST, *port)).is_ok()
    };
    while !namespace.enter(|| ports.iter().all(listens))? {
        if !process.is_running() || Instant::now() > deadline {
            let log = fs::read_to_string(directory.join("error.log")).unwrap_or_default();
            bail!("nginx does not answer in {}: {}", namespace.name(), log.trim());
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn configuration(name: &str, ports: &[u16], directory: &Path, download: &Path) -> String {
    let mut listen = String::new();
    for port in ports {
        let _ = writeln!(listen, "        listen {port}; listen [::]:{port} ipv6only=on;");
    }
    let (directory, download) = (directory.display(), download.display());
    // One process without a master: nothing here needs reloading, and there is one thing less to wait for.
    format!(
        "daemon off;
master_process off;
pid {directory}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    default_type text/plain;
    client_max_body_size 64m;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
{listen}        location = /whoami {{ return 200 \"{name}\\n\"; }}
        location = /client {{ return 200 \"$remote_addr\\n\"; }}
        location = /{DOWNLOAD} {{ root {download}; }}
        location /upload/ {{ root {directory}; dav_methods PUT; }}
    }}
}}
"
    )
}

/// Writes a file of one MiB that does not compress, and gives its content.
pub(crate) fn make_download(folder: &Path) -> Result<Vec<u8>> {
    // xorshift64* (Vigna, 2016): the same bytes in every run make a failure repeatable.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut content = Vec::with_capacity(1 << 20);
    while content.len() < 1 << 20 {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        content.extend(state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    let path = folder.join(DOWNLOAD);
    fs::write(&path, &content).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(content)
}
