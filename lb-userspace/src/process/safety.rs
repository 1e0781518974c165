//! Which programs may be started: those that only root, or the user they run as, can change.
//!
//! A daemon that runs as root and starts a file which somebody else may write to gives that somebody root. So every
//! component of the path, symbolic links and their targets included, has to belong to a trusted user and must not be
//! writable by group or others. A directory with the sticky bit (`/tmp`) may be: nobody can exchange another user's
//! entries there.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// Symbolic links that are followed, as many as the kernel follows (path_resolution(7)).
const MOST_LINKS: u32 = 40;

/// Why a program is not started.
#[derive(Debug, thiserror::Error)]
pub enum Unsafe {
    /// There is no program.
    #[error("the command is empty")]
    Empty,
    /// The path does not begin at the root.
    #[error("{} is not an absolute path", path.display())]
    Relative {
        /// The program's path.
        path: PathBuf,
    },
    /// A part of the path cannot be looked at.
    #[error("{}: {source}", path.display())]
    Missing {
        /// The part.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// More than 40 symbolic links follow one another.
    #[error("{}: too many symbolic links", path.display())]
    Links {
        /// The program's path.
        path: PathBuf,
    },
    /// It is a directory, a device, or anything else but a file.
    #[error("{} is not a regular file", path.display())]
    Kind {
        /// The program's path, links resolved.
        path: PathBuf,
    },
    /// Nobody may execute it.
    #[error("{} is not executable", path.display())]
    NotExecutable {
        /// The program's path, links resolved.
        path: PathBuf,
    },
    /// A part of the path belongs to somebody else.
    #[error("{} belongs to user {owner}, who could exchange the program", path.display())]
    Owner {
        /// The part.
        path: PathBuf,
        /// User id of the owner.
        owner: u32,
    },
    /// A part of the path can be changed by others.
    #[error("{} is writable by {}", path.display(), if *others { "everyone" } else { "its group" })]
    Writable {
        /// The part.
        path: PathBuf,
        /// Whether everyone can write; else it is the group.
        others: bool,
    },
}

/// Checks that `path` is a program which only root, the daemon's user and the user `runs_as` can change. This blocks for
/// some calls of stat(2).
///
/// # Errors
///
/// The first thing that is wrong, with the part of the path that it is wrong with.
pub fn check(path: &Path, runs_as: Option<u32>) -> Result<(), Unsafe> {
    if path.as_os_str().is_empty() {
        return Err(Unsafe::Empty);
    }
    if !path.is_absolute() {
        return Err(Unsafe::Relative { path: path.to_owned() });
    }
    let own = rustix::process::geteuid().as_raw();
    let is_trusted = |owner: u32| owner == 0 || Some(owner) == runs_as || (runs_as.is_none() && owner == own);

    let mut ahead: VecDeque<OsString> = names(path);
    let mut at = PathBuf::from("/");
    let mut links = 0;
    let mut found = look(&at, &is_trusted)?;
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&name);
        found = look(&next, &is_trusted)?;
        if found.is_symlink() {
            links += 1;
            if links > MOST_LINKS {
                return Err(Unsafe::Links { path: path.to_owned() });
            }
            let target =
                fs::read_link(&next).map_err(|source| Unsafe::Missing { path: next.clone(), source })?;
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            for name in names(&target).into_iter().rev() {
                ahead.push_front(name);
            }
        } else {
            at = next;
        }
    }
    if !found.is_file() {
        return Err(Unsafe::Kind { path: at });
    }
    if found.mode() & 0o111 == 0 {
        return Err(Unsafe::NotExecutable { path: at });
    }
    Ok(())
}

fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            _ => None,
        })
        .collect()
}

/// Owner and mode of one component. Group and mode of a symbolic link say nothing: only its owner can replace it, or
/// who may write to the directory.
fn look(path: &Path, is_trusted: &impl Fn(u32) -> bool) -> Result<Metadata, Unsafe> {
    let found =
        fs::symlink_metadata(path).map_err(|source| Unsafe::Missing { path: path.to_owned(), source })?;
    if !is_trusted(found.uid()) {
        return Err(Unsafe::Owner { path: path.to_owned(), owner: found.uid() });
    }
    let sticky_directory = found.is_dir() && found.mode() & 0o1000 != 0;
    // The group bits are also the mask of an access control list, so group 0 is no exception.
    if !found.is_symlink() && !sticky_directory && found.mode() & 0o022 != 0 {
        return Err(Unsafe::Writable { path: path.to_owned(), others: found.mode() & 0o002 != 0 });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    fn script(folder: &Path, mode: u32) -> PathBuf {
        let path = folder.join("script");
        fs::write(&path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        folder
    }

    #[test]
    fn a_program_that_only_root_can_change_is_safe() {
        let folder = folder();
        check(&script(folder.path(), 0o755), None).unwrap();
        check(Path::new("/bin/sh"), None).unwrap();
        check(Path::new("/usr/../bin/./sh"), Some(65_534)).unwrap();
    }

    #[test]
    fn writable_files_are_refused_with_their_path() {
        let folder = folder();
        let path = script(folder.path(), 0o757);
        let said = check(&path, None).unwrap_err().to_string();
        assert_eq!(said, format!("{} is writable by everyone", path.display()));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o775)).unwrap();
        assert!(matches!(check(&path, None), Err(Unsafe::Writable { others: false, .. })));
    }

    #[test]
    fn a_writable_parent_is_refused_whether_reached_directly_or_by_a_link() {
        let folder = folder();
        let open = folder.path().join("open");
        fs::create_dir(&open).unwrap();
        let path = script(&open, 0o755);
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        let link = folder.path().join("link");
        symlink("open/script", &link).unwrap();
        for path in [&path, &link] {
            match check(path, None) {
                Err(Unsafe::Writable { path, others: true }) => assert_eq!(path, open),
                other => panic!("{other:?}"),
            }
        }
        fs::set_permissions(&open, fs::Permissions::from_mode(0o1777)).unwrap();
        check(&link, None).unwrap();
    }

    #[test]
    fn only_root_and_the_user_it_runs_as_may_own_it() {
        let folder = folder();
        let path = script(folder.path(), 0o755);
        chown(&path, Some(65_534), None).unwrap();
        assert!(matches!(check(&path, None), Err(Unsafe::Owner { owner: 65_534, .. })));
        assert!(matches!(check(&path, Some(1)), Err(Unsafe::Owner { owner: 65_534, .. })));
        check(&path, Some(65_534)).unwrap();
    }

    #[test]
    fn what_is_no_program_is_refused() {
        let folder = folder();
        let path = script(folder.path(), 0o644);
        assert!(matches!(check(&path, None), Err(Unsafe::NotExecutable { .. })));
        assert!(matches!(check(folder.path(), None), Err(Unsafe::Kind { .. })));
        assert!(matches!(check(Path::new("bin/sh"), None), Err(Unsafe::Relative { .. })));
        assert!(matches!(check(Path::new(""), None), Err(Unsafe::Empty)));
        let missing = check(&folder.path().join("none"), None).unwrap_err().to_string();
        assert!(missing.contains("none: No such file"), "{missing}");
        let around = folder.path().join("around");
        symlink("around", &around).unwrap();
        assert!(matches!(check(&around, None), Err(Unsafe::Links { .. })));
    }
}
