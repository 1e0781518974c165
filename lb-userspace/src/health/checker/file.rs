//! `file`: a file on the director says it (ldirectord's `maintenancedir`, keepalived's `FILE_CHECK`).

use std::io::{self, ErrorKind};
use std::path::Path;

use tokio::io::AsyncReadExt;

use super::quote::quote;
use crate::health::{Failure, FailureReason, Outcome, Pass, WeightChange};
use crate::model::{FileCheck, FileMeaning};

/// Longest content that is read.
const LONGEST: u64 = 64;

/// Looks at the file.
pub(super) async fn check(check: &FileCheck) -> Outcome {
    let found = match check.meaning {
        FileMeaning::Drain | FileMeaning::Down => exists(&check.path).await.map(|there| there.then(Vec::new)),
        FileMeaning::Weight => read(&check.path).await,
    };
    let file = quote(check.path.as_os_str().as_encoded_bytes());
    let found =
        found.map_err(|error| Failure::new(FailureReason::Local, format!("cannot read {file}: {error}")))?;
    let Some(content) = found else { return Ok(Pass::default()) };
    match check.meaning {
        FileMeaning::Drain => Ok(Pass { weight: Some(WeightChange::Set(0)), warning: None }),
        FileMeaning::Down => Err(Failure::new(FailureReason::File, format!("{file} exists"))),
        FileMeaning::Weight => match number(&content) {
            Ok(change) => Ok(Pass { weight: change.map(WeightChange::Add), warning: None }),
            // As keepalived does: a slip of the pen takes nobody out of service.
            Err(()) => {
                let warning = format!("{file} contains {}, which is no integer", quote(&content));
                Ok(Pass { weight: None, warning: Some(warning) })
            }
        },
    }
}

/// The integer in a file. An empty one, which is what a file is while it is being written, has none.
fn number(content: &[u8]) -> Result<Option<i32>, ()> {
    let text = std::str::from_utf8(content).map_err(|_| ())?.trim();
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| ())
}

async fn exists(path: &Path) -> io::Result<bool> {
    match tokio::fs::symlink_metadata(path).await {
        Ok(_) => Ok(true),
        Err(error) if is_absent(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The beginning of a file, or nothing where there is none.
async fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let read = async {
        // Opening a pipe would wait for its other end.
        if !tokio::fs::metadata(path).await?.is_file() {
            return Err(io::Error::new(ErrorKind::InvalidInput, "no regular file"));
        }
        let mut content = Vec::new();
        tokio::fs::File::open(path).await?.take(LONGEST).read_to_end(&mut content).await?;
        Ok(content)
    };
    match read.await {
        Ok(content) => Ok(Some(content)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn outcome(path: &Path, meaning: FileMeaning) -> Outcome {
        check(&FileCheck { path: path.to_owned(), meaning }).await
    }

    fn add(change: i32) -> Outcome {
        Ok(Pass { weight: Some(WeightChange::Add(change)), warning: None })
    }

    #[tokio::test]
    async fn presence() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("192.0.2.7:80");
        for meaning in [FileMeaning::Drain, FileMeaning::Down, FileMeaning::Weight] {
            assert_eq!(outcome(&path, meaning).await, Ok(Pass::default()));
            assert_eq!(outcome(&path.join("below"), meaning).await, Ok(Pass::default()));
        }
        std::fs::write(&path, "").unwrap();
        assert_eq!(outcome(&path, FileMeaning::Drain).await.unwrap().weight, Some(WeightChange::Set(0)));
        assert_eq!(outcome(&path, FileMeaning::Down).await.unwrap_err().reason, FailureReason::File);
        assert_eq!(outcome(&path, FileMeaning::Weight).await, Ok(Pass::default()));
        // One whose directory is none is absent.
        assert_eq!(outcome(&path.join("below"), FileMeaning::Down).await, Ok(Pass::default()));
    }

    #[tokio::test]
    async fn weights() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weight");
        for (content, expected) in [("5\n", add(5)), (" -254 ", add(-254)), ("0", add(0)), ("+3", add(3))] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(outcome(&path, FileMeaning::Weight).await, expected, "{content:?}");
        }
        for content in ["down", "5 6", "99999999999", "1.5", &"1".repeat(1 << 20)] {
            std::fs::write(&path, content).unwrap();
            let pass = outcome(&path, FileMeaning::Weight).await.unwrap();
            assert_eq!(pass.weight, None);
            assert!(pass.warning.unwrap().contains("no integer"));
        }
        assert_eq!(
            outcome(folder.path(), FileMeaning::Weight).await.unwrap_err().reason,
            FailureReason::Local
        );
    }
}
