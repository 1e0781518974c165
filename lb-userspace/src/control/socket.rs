//! The control socket's file: made private before anybody can see it, taken over only from a dead daemon.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

/// How long the owner of a socket file that is already there may take to accept.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Why the control socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another daemon runs with the same socket.
    #[error("another LVX daemon answers on {}; stop it or set another control socket", .path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something else has that name; it is not LVX's to delete.
    #[error("{} exists and is not a socket", .path.display())]
    NotASocket {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl BindError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

/// A listening control socket; dropping it removes the file.
#[derive(Debug)]
pub(super) struct ControlSocket {
    pub(super) listener: UnixListener,
    path: PathBuf,
    /// Device and inode, so that a successor's socket is not removed.
    identity: (u64, u64),
    /// Held as long as the daemon lives. The lock, unlike the connection attempt, also settles a start at the same
    /// moment and a daemon that is stopped in a debugger.
    _lock: File,
}

impl ControlSocket {
    /// Opens `path` with mode 0600 and makes its directory where that is missing.
    ///
    /// # Errors
    /// [`BindError::InUse`] while another daemon holds or answers on the socket.
    pub(super) async fn bind(path: &Path) -> Result<Self, BindError> {
        if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(directory)
                .map_err(BindError::io("make the directory", directory))?;
        }
        let lock = lock(path)?;
        refuse_if_answered(path).await?;

        // The mode is set while the socket has a name nobody asks for: there is no moment at which others may connect.
        // Renaming replaces what a dead daemon left.
        let private = with_suffix(path, ".new");
        remove_if_present(&private)?;
        let listener =
            UnixListener::bind(&private).map_err(BindError::io("open the control socket", &private))?;
        fs::set_permissions(&private, Permissions::from_mode(0o600))
            .map_err(BindError::io("set the mode of", &private))?;
        fs::rename(&private, path).map_err(BindError::io("rename the new control socket to", path))?;
        let metadata = fs::symlink_metadata(path).map_err(BindError::io("look at", path))?;
        let identity = (metadata.dev(), metadata.ino());
        Ok(Self { listener, path: path.to_owned(), identity, _lock: lock })
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|m| (m.dev(), m.ino()) == self.identity);
        if ours {
            // Nothing is lost when this fails: the next daemon replaces the file.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn lock(path: &Path) -> Result<File, BindError> {
    let name = with_suffix(path, ".lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&name)
        .map_err(BindError::io("open the lock file", &name))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(BindError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(BindError::io("lock", &name)(source)),
    }
}

async fn refuse_if_answered(path: &Path) -> Result<(), BindError> {
    let in_use = || BindError::InUse { path: path.to_owned() };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(BindError::io("look at", path)(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(BindError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    match timeout(PROBE_TIMEOUT, UnixStream::connect(path)).await {
        Ok(Err(error))
            if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) =>
        {
            Ok(())
        }
        // A full queue of connections is an answer too: somebody listens.
        Err(_) | Ok(Ok(_)) => Err(in_use()),
        Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => Err(in_use()),
        Ok(Err(error)) => Err(BindError::io("probe", path)(error)),
    }
}

fn remove_if_present(path: &Path) -> Result<(), BindError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(BindError::io("remove", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn makes_the_directory_and_a_private_socket_and_removes_it() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("run/lvx/lvx.sock");
        let socket = ControlSocket::bind(&path).await.unwrap();
        let metadata = fs::symlink_metadata(&path).unwrap();
        assert!(metadata.file_type().is_socket());
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn replaces_what_a_dead_daemon_left() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("lvx.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let socket = ControlSocket::bind(&path).await.unwrap();
        let (accepted, connected) = tokio::join!(socket.listener.accept(), UnixStream::connect(&path));
        accepted.unwrap();
        connected.unwrap();
    }

    #[tokio::test]
    async fn refuses_while_another_daemon_holds_the_lock() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("lvx.sock");
        let _first = ControlSocket::bind(&path).await.unwrap();
        assert!(matches!(ControlSocket::bind(&path).await, Err(BindError::InUse { .. })));
        assert!(path.exists());
    }

    #[tokio::test]
    async fn refuses_while_anything_answers() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("lvx.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(matches!(ControlSocket::bind(&path).await, Err(BindError::InUse { .. })));
    }

    #[tokio::test]
    async fn never_deletes_a_file_that_is_no_socket() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("lvx.sock");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(ControlSocket::bind(&path).await, Err(BindError::NotASocket { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn a_successors_socket_is_not_removed() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("lvx.sock");
        let old = ControlSocket::bind(&path).await.unwrap();
        fs::remove_file(&path).unwrap();
        let _new = std::os::unix::net::UnixListener::bind(&path).unwrap();
        drop(old);
        assert!(path.exists());
    }
}
