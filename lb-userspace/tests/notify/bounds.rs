//! A burst of events while every receiver hangs, and programs that do.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use lb_userspace::model::Program;
use lb_userspace::notify::{Channel, Counts, Notifier};
use tokio::net::TcpListener;

use super::{PATIENCE, block_on, down, folder, to_mail, wait_for};

/// Most events that a channel holds: its queue, and what its worker has taken out of it.
const HELD: u64 = 2 * 1024;

fn script(path: &Path, text: &str) -> Program {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    Program { command: vec![path.display().to_string()], user: None }
}

#[test]
fn ten_thousand_events_neither_block_nor_pile_up_while_every_receiver_hangs() {
    const EVENTS: u16 = 10_000;
    let folder = folder();
    let program = script(&folder.path().join("hangs"), "exec sleep 1000");
    block_on(async {
        let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = hanging.local_addr().unwrap();
        let mut notifications = to_mail(address.to_string());
        notifications.webhooks = vec![format!("http://{address}/"), format!("https://{address}/")];
        notifications.fifo = Some(folder.path().join("fifo"));
        let notifier = Notifier::new(&notifications, "lb1").unwrap();
        let start = Instant::now();
        for number in 0..EVENTS {
            let event = down(number);
            notifier.program(&event, &program);
            notifier.notify(event);
            // The workers get their turn, as they do in the daemon.
            if number % 100 == 0 {
                tokio::task::yield_now().await;
            }
        }
        assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());

        let all = u64::from(EVENTS);
        for (channel, ways) in [(Channel::Email, 1), (Channel::Webhook, 2), (Channel::Program, 1)] {
            let counts = notifier.counts(channel);
            let held = ways * all - counts.sent - counts.failed - counts.dropped;
            assert!(held <= ways * HELD, "{channel:?} {counts:?}");
            assert!(counts.dropped >= ways * (all - HELD), "{channel:?} {counts:?}");
        }
        let fifo = notifier.counts(Channel::Fifo);
        assert_eq!(fifo.sent + fifo.dropped, all);
        assert!(!notifier.flush(Duration::from_millis(100)).await);
    });
    // With the runtime, what it has started is gone.
    let hangs = || {
        let ours = folder.path().join("hangs").display().to_string();
        let entries = fs::read_dir("/proc").unwrap().flatten();
        entries
            .filter_map(|entry| fs::read_to_string(entry.path().join("cmdline")).ok())
            .any(|line| line.contains(&ours))
    };
    wait_for("the end of the programs", || (!hangs()).then_some(()));
}

#[test]
fn programs_are_run_once_each_with_the_arguments_of_the_configuration() {
    let folder = folder();
    let out = folder.path().join("out");
    let mut program =
        script(&folder.path().join("notify"), &format!("echo \"$LVX_STATE $# $1 $2\" >> {}", out.display()));
    program.command.extend(["a b".to_owned(), "$(id)".to_owned()]);
    let open = script(&folder.path().join("open"), "exit 0");
    fs::set_permissions(folder.path().join("open"), fs::Permissions::from_mode(0o777)).unwrap();
    let unprivileged = Program {
        command: vec!["/bin/sh".to_owned(), "-c".to_owned(), format!("echo x > {}", out.display())],
        user: Some("nobody".to_owned()),
    };
    block_on(async {
        let notifier = Notifier::new(&Default::default(), "lb1").unwrap();
        let event = down(1);
        notifier.program(&event, &program);
        notifier.program(&event, &open);
        notifier.program(&event, &unprivileged);
        notifier.program(&event, &program);
        assert!(notifier.flush(PATIENCE).await);
        assert_eq!(notifier.counts(Channel::Program), Counts { sent: 2, failed: 2, dropped: 0 });
    });
    assert_eq!(fs::read_to_string(&out).unwrap(), "down 2 a b $(id)\n".repeat(2));
}
