//! The named pipe: with a reader, with a slow one, with none, and things that are no pipe.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::time::Duration;

use lb_userspace::notify::{Channel, Notifier, NotifyError};

use super::{block_on, down, folder, to_fifo};

/// The line for `down(number)`.
fn line(number: u16) -> String {
    format!("RS [198.51.100.7]:tcp:{number} [192.0.2.1]:tcp:80 DOWN")
}

#[test]
fn pipe_is_made_for_its_owner_alone_and_read_by_anything() {
    let folder = folder();
    let path = folder.path().join("lvs.fifo");
    block_on(async {
        let notifier = Notifier::new(&to_fifo(&path), "lb1").unwrap();
        let found = fs::metadata(&path).unwrap();
        assert!(found.file_type().is_fifo());
        assert_eq!(found.permissions().mode() & 0o777, 0o600);
        let reader = std::process::Command::new("head")
            .args(["-n", "2"])
            .arg(&path)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        notifier.notify(down(1));
        notifier.notify(down(2));
        let said = reader.wait_with_output().unwrap().stdout;
        assert_eq!(String::from_utf8(said).unwrap(), format!("{}\n{}\n", line(1), line(2)));
        assert_eq!(notifier.counts(Channel::Fifo).sent, 2);
    });
}

#[test]
fn without_reader_lines_wait_in_the_pipe_and_the_rest_is_dropped() {
    let folder = folder();
    let path = folder.path().join("lvs.fifo");
    block_on(async {
        let notifier = Notifier::new(&to_fifo(&path), "lb1").unwrap();
        for number in 0..40_000 {
            notifier.notify(down(number));
        }
        let counts = notifier.counts(Channel::Fifo);
        assert!(counts.sent > 100 && counts.dropped > 100, "{counts:?}");
        assert_eq!((counts.sent + counts.dropped, counts.failed), (40_000, 0));

        // The pipe is open for writing as long as the notifier lives, so the lines are counted, not read to the end.
        let mut lines = BufReader::new(File::open(&path).unwrap()).lines();
        for number in 0..counts.sent {
            assert_eq!(lines.next().unwrap().unwrap(), line(number.try_into().unwrap()));
        }
        notifier.notify(down(7));
        assert_eq!(lines.next().unwrap().unwrap(), line(7));
        assert_eq!(notifier.counts(Channel::Fifo).sent, counts.sent + 1);
    });
}

#[test]
fn slow_reader_gets_whole_lines_in_order() {
    let folder = folder();
    let path = folder.path().join("lvs.fifo");
    block_on(async {
        let notifier = Notifier::new(&to_fifo(&path), "lb1").unwrap();
        let mut pipe = File::open(&path).unwrap();
        let reader = std::thread::spawn(move || {
            let mut text = Vec::new();
            let mut block = [0; 10_007];
            loop {
                let length = pipe.read(&mut block).unwrap();
                if length == 0 {
                    return String::from_utf8(text).unwrap();
                }
                text.extend_from_slice(&block[..length]);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        for number in 0..60_000 {
            notifier.notify(down(number));
        }
        let counts = notifier.counts(Channel::Fifo);
        assert_eq!(counts.sent + counts.dropped, 60_000);
        // The reader's end of file.
        drop(notifier);
        let text = reader.join().unwrap();
        let mut next = 0;
        for said in text.lines() {
            let number: u16 = said.split([':', ' ']).nth(3).unwrap().parse().unwrap();
            assert!(number >= next, "{said} after {next}");
            assert_eq!(said, line(number));
            next = number + 1;
        }
        assert_eq!(text.lines().count() as u64, counts.sent);
    });
}

#[test]
fn what_is_no_pipe_is_an_error_that_names_it() {
    let folder = folder();
    let file = folder.path().join("file");
    fs::write(&file, "content").unwrap();
    block_on(async {
        for path in [file.as_path(), folder.path(), "/dev/null".as_ref()] {
            let error = Notifier::new(&to_fifo(path), "").unwrap_err();
            assert!(matches!(error, NotifyError::NoFifo { .. }), "{error}");
            assert_eq!(error.to_string(), format!("{} is not a named pipe", path.display()));
        }
        let orphan = folder.path().join("none").join("lvs.fifo");
        let said = Notifier::new(&to_fifo(&orphan), "").unwrap_err().to_string();
        assert!(said.contains(&orphan.display().to_string()) && said.contains("No such file"), "{said}");
    });
    assert_eq!(fs::read_to_string(&file).unwrap(), "content");
}

#[test]
fn reconfiguring_keeps_the_pipe_or_changes_it_and_errors_change_nothing() {
    let folder = folder();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    block_on(async {
        let notifier = Notifier::new(&to_fifo(&one), "").unwrap();
        notifier.notify(down(1));
        notifier.reconfigure(&to_fifo(&one), "").unwrap();
        assert!(notifier.reconfigure(&to_fifo(folder.path()), "").is_err());
        notifier.notify(down(2));
        let mut lines = BufReader::new(File::open(&one).unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), line(1));
        assert_eq!(lines.next().unwrap().unwrap(), line(2));

        notifier.reconfigure(&to_fifo(&two), "").unwrap();
        assert!(lines.next().is_none(), "the old pipe is still open");
        notifier.notify(down(3));
        let mut lines = BufReader::new(File::open(&two).unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), line(3));
    });
}
