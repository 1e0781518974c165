//! Taking labs away: one's own, kept ones, and what a killed process has left.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::namespace::{NAMED, Namespace};
use crate::process;

/// Where labs have their files, one folder each.
const FOLDERS: &str = "/run/lvx-lab";
/// The file that tells a lab which stays from one whose process was killed.
const KEPT: &str = "kept";
/// How long processes in a namespace may take to end after SIGTERM, all together.
const GRACE: Duration = Duration::from_secs(5);

/// The folder of the lab with this prefix.
pub(crate) fn folder(prefix: &str) -> PathBuf {
    Path::new(FOLDERS).join(prefix)
}

/// Marks a lab as one that outlives its process.
pub(crate) fn keep(prefix: &str) -> Result<()> {
    let file = folder(prefix).join(KEPT);
    fs::write(&file, "").with_context(|| format!("cannot write {}", file.display()))
}

/// The prefixes of all labs on this host that were kept.
///
/// # Errors
/// When the folder with the labs' files exists and cannot be read.
pub fn kept() -> Result<Vec<String>> {
    Ok(prefixes()?.into_iter().filter(|prefix| folder(prefix).join(KEPT).exists()).collect())
}

/// Removes the lab with this prefix: its processes, namespaces and files. One that is not there is removed already.
pub(crate) fn remove(prefix: &str) -> Result<()> {
    ensure!(owner(prefix).is_some(), "{prefix:?} is no prefix of a lab, such as lvx4711-0");
    let namespaces: Vec<Namespace> =
        namespaces()?.filter(|name| prefix_of(name) == Some(prefix)).map(Namespace::named).collect();
    end_processes(&namespaces)?;
    for namespace in &namespaces {
        namespace
            .delete()
            .with_context(|| format!("cannot delete network namespace {}", namespace.name()))?;
    }
    match fs::remove_dir_all(folder(prefix)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder(prefix).display()))
        }
        _ => Ok(()),
    }
}

/// Removes labs whose process has ended without doing so, unless they were kept on purpose.
pub(crate) fn remove_stale() -> Result<()> {
    for prefix in prefixes()? {
        let alive = owner(&prefix).is_none_or(process::runs);
        if !alive && !folder(&prefix).join(KEPT).exists() {
            remove(&prefix)?;
        }
    }
    Ok(())
}

/// Ends what runs in `namespaces`, whoever started it.
fn end_processes(namespaces: &[Namespace]) -> Result<()> {
    let mut all = Vec::new();
    for namespace in namespaces {
        all.extend(namespace.processes()?);
    }
    for process in &all {
        process.signal(libc::SIGTERM);
    }
    let deadline = std::time::Instant::now() + GRACE;
    for process in &all {
        if !process.gone_within(deadline.saturating_duration_since(std::time::Instant::now())) {
            process.signal(libc::SIGKILL);
            if !process.gone_within(GRACE) {
                bail!("process {} in the lab does not end", process.pid());
            }
        }
    }
    Ok(())
}

/// All labs of this host, by their namespaces and folders.
fn prefixes() -> Result<BTreeSet<String>> {
    let by_namespace = namespaces()?.filter_map(|name| prefix_of(&name).map(str::to_owned));
    let by_folder = names_in(Path::new(FOLDERS))?.filter(|name| owner(name).is_some());
    Ok(by_namespace.chain(by_folder).collect())
}

fn namespaces() -> Result<impl Iterator<Item = String>> {
    names_in(Path::new(NAMED))
}

fn names_in(directory: &Path) -> Result<impl Iterator<Item = String>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => Some(entries),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", directory.display())),
    };
    Ok(entries.into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok()))
}

/// The lab's prefix in a namespace's name: `lvx4711-0` in `lvx4711-0-rs1`.
fn prefix_of(name: &str) -> Option<&str> {
    let (prefix, _) = name.rsplit_once('-')?;
    owner(prefix).map(|_| prefix)
}

/// The process id in a lab's prefix: 4711 in `lvx4711-0`.
fn owner(prefix: &str) -> Option<libc::pid_t> {
    let (pid, count) = prefix.strip_prefix("lvx")?.split_once('-')?;
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?;
    number(count)?;
    number(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_lab_tell_its_process() {
        assert_eq!(prefix_of("lvx4711-0-rs1"), Some("lvx4711-0"));
        assert_eq!(owner("lvx4711-12"), Some(4711));
    }

    #[test]
    fn names_that_are_not_a_labs_are_left_alone() {
        for name in
            ["rs1", "lvx", "lvx-0", "lvx1", "lvx1-", "lvxa-0", "lvx1-b", "lvx+1-0", "lvx1-0-1", "../x"]
        {
            assert_eq!(owner(name), None, "{name}");
        }
        assert_eq!(prefix_of("web-frontend"), None);
        assert!(remove("web").is_err());
    }
}
