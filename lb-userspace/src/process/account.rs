//! Users to run programs as.

use std::path::PathBuf;

use nix::unistd::User;

use super::RunError;

/// A user of the system.
#[derive(Debug, Clone)]
pub(super) struct Account {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) name: String,
    pub(super) home: PathBuf,
}

/// Looks a user up. This blocks: the answer may come from a directory server.
pub(super) fn find(name: &str) -> Result<Account, RunError> {
    match User::from_name(name) {
        Ok(Some(user)) => {
            Ok(Account { uid: user.uid.as_raw(), gid: user.gid.as_raw(), name: user.name, home: user.dir })
        }
        Ok(None) => Err(RunError::UnknownUser(name.to_owned())),
        Err(error) => Err(RunError::Spawn { path: format!("as user {name}"), source: error.into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_known_and_an_invented_user_is_not() {
        assert_eq!(find("root").unwrap().uid, 0);
        assert!(matches!(find("lvx-nobody-has-this-name"), Err(RunError::UnknownUser(_))));
    }
}
