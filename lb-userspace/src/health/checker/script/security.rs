//! Whether a program may be run at all.
//!
//! The daemon is root. Whoever can change the program, or put another one in its place, would be root as well; so
//! nobody but root may be able to.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{Uid, geteuid};

use crate::health::checker::quote::quote;
use crate::health::{Failure, FailureReason};

/// Write permission for group and others.
const WRITABLE_BY_GROUP: u32 = 0o020;
const WRITABLE_BY_OTHERS: u32 = 0o002;
const EXECUTABLE: u32 = 0o111;

/// Most symbolic links from one to the next; the kernel follows as many.
const MOST_LINKS: usize = 40;

/// Examines a program, the directories above it, and the same for what symbolic links lead to. Directories in which
/// everybody can write are unsafe even where the sticky bit protects the files. `user` is who the program will run as,
/// and may own it.
///
/// # Errors
/// [`FailureReason::Unsafe`] naming the file and what is wrong with it.
pub(super) fn examine(program: &Path, user: Option<Uid>) -> Result<(), Failure> {
    if !program.is_absolute() {
        return Err(refused(program, "is no absolute path"));
    }
    let resolved =
        program.canonicalize().map_err(|error| refused(program, &format!("cannot be used: {error}")))?;
    let found =
        fs::metadata(&resolved).map_err(|error| refused(program, &format!("cannot be used: {error}")))?;
    if !found.is_file() {
        return Err(refused(program, "is no regular file"));
    }
    if found.mode() & EXECUTABLE == 0 {
        return Err(refused(program, "is not executable"));
    }
    // A link on the way can be replaced where it stands, so its directories count as well.
    let mut link = program.to_owned();
    for _ in 0..MOST_LINKS {
        link.ancestors().try_for_each(|path| not_writable_by_others(path, user))?;
        let Ok(target) = fs::read_link(&link) else { break };
        link = link.parent().unwrap_or(Path::new("/")).join(target);
    }
    resolved.ancestors().try_for_each(|path| not_writable_by_others(path, user))
}

fn not_writable_by_others(path: &Path, user: Option<Uid>) -> Result<(), Failure> {
    let found = fs::metadata(path).map_err(|error| refused(path, &format!("cannot be used: {error}")))?;
    let owner = Uid::from_raw(found.uid());
    if !owner.is_root() && owner != geteuid() && Some(owner) != user {
        return Err(refused(path, "belongs to another user than root"));
    }
    if found.mode() & WRITABLE_BY_OTHERS != 0 {
        return Err(refused(path, "is writable by others"));
    }
    if found.mode() & WRITABLE_BY_GROUP != 0 && found.gid() != 0 {
        return Err(refused(path, "is writable by a group other than root"));
    }
    // An ACL shows its mask in the group's bits, so that it is covered above unless the group is root.
    if found.mode() & WRITABLE_BY_GROUP != 0 && has_acl(path) {
        return Err(refused(path, "is writable by others through its access control list"));
    }
    Ok(())
}

fn has_acl(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return true };
    // SAFETY: both strings are NUL-terminated and outlive the call; a null buffer of length 0 asks for the size.
    let size = unsafe {
        libc::getxattr(path.as_ptr(), c"system.posix_acl_access".as_ptr(), std::ptr::null_mut(), 0)
    };
    size > 0
}

fn refused(path: &Path, why: &str) -> Failure {
    Failure::new(FailureReason::Unsafe, format!("{} {why}", quote(path.as_os_str().as_bytes())))
}
