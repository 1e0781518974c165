//! Mail to aiosmtpd in a namespace of its own, and to servers that refuse or are not there yet.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use lab::{Lab, Namespace, Process};
use lb_userspace::notify::{Channel, Counts, Notifier};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use super::{PATIENCE, block_on, down, files_in, to_mail, wait_for};

const SERVER: &str = "127.0.0.1:25";

/// aiosmtpd as root on port 25, which puts every mail into a maildir.
fn start_server(namespace: &Namespace, folder: &Path) -> Process {
    let maildir = folder.join("mail").display().to_string();
    let words = ["aiosmtpd", "-n", "-l", SERVER, "-c", "aiosmtpd.handlers.Mailbox", &maildir];
    let log = folder.join("aiosmtpd.log");
    let process = namespace.spawn(&words, &log).expect("aiosmtpd is installed (python3-aiosmtpd)");
    wait_for("aiosmtpd listens", || {
        assert!(process.is_running(), "{}", fs::read_to_string(&log).unwrap_or_default());
        namespace.enter(|| TcpStream::connect(SERVER).ok()).unwrap()
    });
    process
}

/// What the mails contain.
fn mails(folder: &Path) -> Vec<String> {
    files_in(&folder.join("mail").join("new")).iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}

#[test]
fn a_server_gets_single_changes_and_digests() {
    let lab = Lab::builder().real_servers(0).build().unwrap();
    let (namespace, folder) = (lab.director(), lab.folder());
    let _server = start_server(namespace, &folder);
    let sent = namespace.enter(|| {
        block_on(async {
            let notifier = Notifier::new(&to_mail(SERVER.to_owned()), "lb1").unwrap();
            notifier.notify(down(8080));
            assert!(notifier.flush(PATIENCE).await);
            for number in 0..1000 {
                notifier.notify(down(number));
            }
            assert!(notifier.flush(PATIENCE).await);
            notifier.counts(Channel::Email)
        })
    });
    assert_eq!(sent.unwrap(), Counts { sent: 1001, failed: 0, dropped: 0 });

    let mails = mails(&folder);
    assert_eq!(mails.len(), 2, "{mails:?}");
    let single = mails.iter().find(|mail| mail.contains(":8080 of")).unwrap();
    let digest = mails.iter().find(|mail| !mail.contains(":8080 of")).unwrap();
    let (head, body) = single.split_once("\n\n").unwrap();
    let head = head.replace("\n ", " ");
    for field in [
        "From: LVX <lvx@example.org>",
        "To: ops@example.org, boss@example.org",
        "Subject: [lb1] Realserver [198.51.100.7]:tcp:8080 of virtual server [192.0.2.1]:tcp:80 - DOWN",
        "Auto-Submitted: auto-generated",
        "X-RcptTo: ops@example.org, boss@example.org",
    ] {
        assert!(head.lines().any(|line| line == field), "no {field:?} in {head}");
    }
    assert!(head.contains("\nDate: ") && head.contains("\nMessage-ID: <lvx."), "{head}");
    assert!(head.contains("@director.example.org>"), "{head}");
    assert!(
        body.trim_end().ends_with("- DOWN (web, weight 1): tcp: refused: connect: connection refused"),
        "{body}"
    );
    assert!(digest.contains("Subject: [lb1] 1000 changes: 1000 Realserver - DOWN\n"), "{digest}");
    assert_eq!(digest.matches("connection refused").count(), 1000);
}

#[test]
fn a_server_that_comes_late_gets_the_mail() {
    let lab = Lab::builder().real_servers(0).build().unwrap();
    let (namespace, folder) = (lab.director(), lab.folder());
    let notifying = namespace.enter(|| {
        std::thread::scope(|scope| {
            let late = scope.spawn(|| {
                std::thread::sleep(Duration::from_secs(1));
                start_server(namespace, &folder)
            });
            let counts = block_on(async {
                let notifier = Notifier::new(&to_mail(SERVER.to_owned()), "lb1").unwrap();
                notifier.notify(down(1));
                assert!(notifier.flush(PATIENCE).await);
                notifier.counts(Channel::Email)
            });
            (counts, late.join().unwrap())
        })
    });
    let (counts, _server) = notifying.unwrap();
    assert_eq!(counts, Counts { sent: 1, failed: 0, dropped: 0 });
    assert_eq!(mails(&folder).len(), 1);
}

/// A server that refuses the receivers that `refused` says; it gives the number of mails it took and of its connections
/// when nobody has come for four seconds.
async fn refusing(refused: fn(&str) -> bool) -> (SocketAddr, tokio::task::JoinHandle<(usize, usize)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (mut taken, mut connections) = (0, 0);
        loop {
            let accepted = tokio::time::timeout(Duration::from_secs(4), listener.accept()).await;
            let Ok(Ok((stream, _))) = accepted else { return (taken, connections) };
            connections += 1;
            let mut stream = BufReader::new(stream);
            let _ = stream.write_all(b"220 here\r\n").await;
            let (mut line, mut content) = (String::new(), false);
            while stream.read_line(&mut line).await.is_ok_and(|length| length > 0) {
                let answer: &[u8] = match line.as_str() {
                    ".\r\n" => {
                        (taken, content) = (taken + 1, false);
                        b"250 taken\r\n"
                    }
                    _ if content => b"",
                    "DATA\r\n" => {
                        content = true;
                        b"354 go\r\n"
                    }
                    command if command.starts_with("RCPT") && refused(command) => b"550 nobody\r\n",
                    _ => b"250 yes\r\n",
                };
                let _ = stream.write_all(answer).await;
                line.clear();
            }
        }
    });
    (address, server)
}

async fn told(address: SocketAddr) -> Counts {
    let notifier = Notifier::new(&to_mail(address.to_string()), "lb1").unwrap();
    notifier.notify(down(1));
    assert!(notifier.flush(PATIENCE).await);
    notifier.counts(Channel::Email)
}

#[test]
fn a_refusal_for_good_is_not_tried_again() {
    block_on(async {
        let (address, server) = refusing(|_| true).await;
        assert_eq!(told(address).await, Counts { sent: 0, failed: 1, dropped: 0 });
        // Both receivers together, then each.
        assert_eq!(server.await.unwrap(), (0, 3));
    });
}

#[test]
fn one_refused_receiver_does_not_keep_the_mail_from_the_other() {
    block_on(async {
        let (address, server) = refusing(|command| command.contains("ops@")).await;
        assert_eq!(told(address).await, Counts { sent: 1, failed: 0, dropped: 0 });
        assert_eq!(server.await.unwrap(), (1, 3));
    });
}
