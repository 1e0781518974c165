//! The user that a script runs as.

use std::ffi::CString;
use std::io;

use nix::unistd::{Gid, Uid, User, geteuid, getgrouplist, setgid, setgroups, setuid};
use tokio::process::Command;

use crate::health::checker::quote::quote;
use crate::health::{Failure, FailureReason};

/// A user with its groups, looked up before the fork: the look-up takes locks and reads files.
pub(super) struct Account {
    user: Uid,
    group: Gid,
    groups: Vec<Gid>,
}

impl Account {
    /// Looks a name up; blocks.
    pub(super) fn find(name: &str) -> Result<Self, Failure> {
        let failed = |why: String| {
            Failure::new(FailureReason::Local, format!("user {}: {why}", quote(name.as_bytes())))
        };
        let user = User::from_name(name)
            .map_err(|error| failed(error.to_string()))?
            .ok_or_else(|| failed("there is no such user".to_owned()))?;
        let name = CString::new(name).map_err(|error| failed(error.to_string()))?;
        let groups = getgrouplist(&name, user.gid).map_err(|error| failed(error.to_string()))?;
        Ok(Self { user: user.uid, group: user.gid, groups })
    }

    pub(super) fn uid(&self) -> Uid {
        self.user
    }

    /// Makes the command run as this user.
    pub(super) fn apply(self, command: &mut Command) {
        // Without root there is only one user to be.
        if !geteuid().is_root() && geteuid() == self.user {
            return;
        }
        // SAFETY: between fork and exec the closure makes three system calls on values it owns: async-signal-safe, no
        // allocation.
        unsafe {
            command.pre_exec(move || {
                setgroups(&self.groups).map_err(io::Error::from)?;
                setgid(self.group).map_err(io::Error::from)?;
                setuid(self.user).map_err(io::Error::from)
            });
        }
    }
}
