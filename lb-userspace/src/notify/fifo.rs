//! The named pipe that gets a line for each change.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, FileType, Mode, OFlags};

use super::NotifyError;
use super::outbox::Tally;

/// Size that the pipe is given if the kernel allows: room for some 14,000 lines where the default has 900.
const PIPE_SIZE: usize = 1 << 20;

/// An open named pipe.
#[derive(Debug)]
pub(super) struct Fifo {
    path: PathBuf,
    file: File,
    full: AtomicBool,
    tally: Arc<Tally>,
}

impl Fifo {
    /// Opens the pipe, and makes it first (for its owner only) where there is nothing at `path`. It is opened for
    /// reading as well: then opening needs no reader, and writing without one is no error.
    pub(super) fn open(path: &Path, tally: Arc<Tally>) -> Result<Self, NotifyError> {
        let failed = |source| NotifyError::Fifo { path: path.to_owned(), source };
        match rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(failed(error.into())),
        }
        // Looked at before it is opened: opening a device may do something by itself.
        let is_fifo = |found: &fs::Metadata| found.file_type().is_fifo();
        let no_fifo = || NotifyError::NoFifo { path: path.to_owned() };
        if !is_fifo(&fs::metadata(path).map_err(failed)?) {
            return Err(no_fifo());
        }
        let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
        let file = File::options().read(true).write(true).custom_flags(flags).open(path).map_err(failed)?;
        if !is_fifo(&file.metadata().map_err(failed)?) {
            return Err(no_fifo());
        }
        // Refused to users with too many pipes; the default size does then.
        let _ = rustix::pipe::fcntl_setpipe_size(&file, PIPE_SIZE);
        Ok(Self { path: path.to_owned(), file, full: AtomicBool::new(false), tally })
    }

    /// Whether this is still the pipe at `path`.
    pub(super) fn is(&self, path: &Path) -> bool {
        let same = || -> io::Result<bool> {
            let (own, found) = (self.file.metadata()?, fs::metadata(path)?);
            Ok((own.dev(), own.ino()) == (found.dev(), found.ino()))
        };
        self.path == path && same().unwrap_or(false)
    }

    /// Writes a line, or drops it when the pipe is full. A line is shorter than `PIPE_BUF`, so it goes in as a whole or
    /// not at all (pipe(7)).
    pub(super) fn write(&self, line: &str) {
        match (&self.file).write(line.as_bytes()) {
            Ok(_) => {
                Tally::add(&self.tally.sent, 1);
                self.full.store(false, Ordering::Relaxed);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Tally::add(&self.tally.dropped, 1);
                if !self.full.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        "{}: full because nobody reads it; lines are dropped",
                        self.path.display()
                    );
                }
            }
            Err(error) => {
                Tally::add(&self.tally.failed, 1);
                tracing::warn!("{}: {error}", self.path.display());
            }
        }
    }
}
