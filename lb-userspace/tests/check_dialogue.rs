//! Dialogues with the real thing, in a namespace of its own each.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod check_support;

use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use lab::Host;
use lb_userspace::health::{Failure, FailureReason, Outcome, Pass, checker};
use lb_userspace::model::{CheckKind, Dialogue, DialogueProtocol, DialogueStep, Login, Pattern};

fn login(user: &str, password: &str) -> Option<Login> {
    Some(Login { user: user.to_owned(), password: password.to_owned() })
}

/// One run, ended after four seconds as the daemon would end it.
async fn run(port: u16, protocol: DialogueProtocol) -> Outcome {
    let kind = CheckKind::Dialogue(Box::new(Dialogue { protocol, tls: None }));
    let probe = check_support::probe(([127, 0, 0, 1], port).into());
    let bounded = tokio::time::timeout(Duration::from_secs(4), checker::run(&kind, &probe)).await;
    bounded.unwrap_or_else(|_| Err(Failure::new(FailureReason::Timeout, "no complete answer")))
}

fn here(port: u16, protocol: DialogueProtocol) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run(port, protocol))
}

fn ask(host: &Host, port: u16, protocol: DialogueProtocol) -> Outcome {
    host.namespace().enter(|| here(port, protocol)).unwrap()
}

fn good(host: &Host, port: u16, protocol: DialogueProtocol) {
    let what = format!("{protocol:?}");
    assert_eq!(ask(host, port, protocol), Ok(Pass::default()), "{what}");
}

fn bad(host: &Host, port: u16, protocol: DialogueProtocol, reason: FailureReason, detail: &str) {
    let what = format!("{protocol:?}");
    let failure = ask(host, port, protocol).expect_err(&what);
    assert_eq!(failure.reason, reason, "{what}: {failure}");
    assert!(failure.detail.contains(detail), "{what}: {failure}");
}

fn listens(port: u16) -> impl Fn() -> bool + Sync {
    move || TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// Runs a program of the system to its end.
fn shell(words: &[&str]) {
    let output = Command::new(words[0])
        .args(&words[1..])
        .output()
        .unwrap_or_else(|error| panic!("{words:?}: {error}"));
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A folder of the host that belongs to another user.
fn folder_of(host: &Host, user: &str) -> String {
    let folder = host.folder().join(user);
    std::fs::create_dir_all(&folder).unwrap();
    let folder = folder.to_string_lossy().into_owned();
    shell(&["chown", user, &folder]);
    folder
}

#[test]
fn redis() {
    let mut host = Host::new().unwrap();
    let words = ["redis-server", "--port", "6379", "--save", "", "--requirepass", "secret", "--dir", "/"];
    host.start("redis-server", &words, listens(6379)).unwrap();
    good(&host, 6379, DialogueProtocol::Redis(login("", "secret")));
    good(&host, 6379, DialogueProtocol::Redis(login("default", "secret")));
    bad(&host, 6379, DialogueProtocol::Redis(login("", "wrong")), FailureReason::Login, "AUTH");
    bad(&host, 6379, DialogueProtocol::Redis(None), FailureReason::Status, "NOAUTH");
    // The same by send and expect, as ldirectord's simpletcp would do it.
    let steps = |password: &str| {
        DialogueProtocol::Expect(vec![
            DialogueStep::Send(format!("AUTH {password}\r\nPING\r\n").into_bytes()),
            DialogueStep::Expect(Pattern { expression: r"\+OK\r\n".to_owned(), absent: false }),
            DialogueStep::Expect(Pattern { expression: r"^\+PONG".to_owned(), absent: false }),
        ])
    };
    good(&host, 6379, steps("secret"));
    assert_eq!(ask(&host, 6379, steps("wrong")).unwrap_err().reason, FailureReason::Timeout);
    // Other protocols on its port.
    bad(&host, 6379, DialogueProtocol::Pop(None), FailureReason::Timeout, "");
    let sql = DialogueProtocol::Pgsql { login: None, database: None, query: None };
    assert!(ask(&host, 6379, sql).is_err());
    bad(&host, 6380, DialogueProtocol::Redis(None), FailureReason::Refused, "connect");
}

#[test]
fn postgresql() {
    let mut host = Host::new().unwrap();
    let folder = folder_of(&host, "postgres");
    let (data, password) = (format!("{folder}/data"), format!("{folder}/password"));
    std::fs::write(&password, "secret\n").unwrap();
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("Debian's package postgresql");
    let programs =
        versions.map(|entry| entry.unwrap().path().join("bin")).find(|path| path.is_dir()).unwrap();
    let program = |name: &str| programs.join(name).to_string_lossy().into_owned();
    let initdb = program("initdb");
    shell(&[
        "runuser",
        "-u",
        "postgres",
        "--",
        &initdb,
        "-D",
        &data,
        "-U",
        "ada",
        "--auth=scram-sha-256",
        "--no-sync",
        &format!("--pwfile={password}"),
    ]);
    let postgres = program("postgres");
    let words = [
        "runuser",
        "-u",
        "postgres",
        "--",
        &postgres,
        "-D",
        &data,
        "-c",
        "listen_addresses=127.0.0.1",
        "-c",
        "unix_socket_directories=",
        "-c",
        "fsync=off",
    ];
    let pgsql = |login, database: Option<&str>, query: Option<&str>| DialogueProtocol::Pgsql {
        login,
        database: database.map(str::to_owned),
        query: query.map(str::to_owned),
    };
    // It listens before it has started up.
    host.start("postgresql", &words, || here(5432, pgsql(None, None, None)).is_ok()).unwrap();
    good(&host, 5432, pgsql(None, None, None));
    good(&host, 5432, pgsql(login("ada", "secret"), Some("postgres"), None));
    good(&host, 5432, pgsql(login("ada", "secret"), Some("postgres"), Some("select 1")));
    bad(&host, 5432, pgsql(login("ada", "wrong"), Some("postgres"), None), FailureReason::Login, "28P01");
    bad(&host, 5432, pgsql(login("ada", "secret"), Some("nothing"), None), FailureReason::Status, "3D000");
    let wrong = pgsql(login("ada", "secret"), Some("postgres"), Some("select nonsense"));
    bad(&host, 5432, wrong, FailureReason::Status, "query: error 42703");
}

#[test]
fn mariadb() {
    let mut host = Host::new().unwrap();
    let folder = folder_of(&host, "mysql");
    let data = format!("--datadir={folder}/data");
    shell(&["mariadb-install-db", "--no-defaults", &data, "--user=mysql", "--skip-test-db"]);
    let file = format!("{folder}/init.sql");
    std::fs::write(
        &file,
        "CREATE DATABASE shop;\nCREATE USER ada@'%' IDENTIFIED BY 'secret';\nGRANT ALL ON shop.* TO ada@'%';\n",
    )
    .unwrap();
    let (init, socket) = (format!("--init-file={file}"), format!("--socket={folder}/socket"));
    let words = [
        "mariadbd",
        "--no-defaults",
        &data,
        "--user=mysql",
        "--bind-address=127.0.0.1",
        &init,
        &socket,
        "--max-connect-errors=2",
    ];
    let mysql = |login, database: Option<&str>, query: Option<&str>| DialogueProtocol::Mysql {
        login,
        database: database.map(str::to_owned),
        query: query.map(str::to_owned),
    };
    host.start("mariadb-server", &words, || here(3306, mysql(None, None, None)).is_ok()).unwrap();
    // More often than the server forgives unfinished handshakes.
    for _ in 0..5 {
        good(&host, 3306, mysql(None, None, None));
    }
    good(&host, 3306, mysql(login("ada", "secret"), Some("shop"), Some("select 1")));
    bad(&host, 3306, mysql(login("ada", "wrong"), None, None), FailureReason::Login, "1045");
    bad(&host, 3306, mysql(login("ada", "secret"), Some("nothing"), None), FailureReason::Login, "1044");
    let wrong = mysql(login("ada", "secret"), Some("shop"), Some("select nonsense"));
    bad(&host, 3306, wrong, FailureReason::Status, "query: error 1054");
}

#[test]
fn slapd() {
    let mut host = Host::new().unwrap();
    let folder = host.folder();
    std::fs::create_dir_all(folder.join("data")).unwrap();
    let configuration = host
        .write(
            "slapd.conf",
            format!(
                "include /etc/ldap/schema/core.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\n\
                 pidfile {0}/slapd.pid\ndatabase mdb\nmaxsize 10485760\nsuffix \"dc=example,dc=org\"\n\
                 rootdn \"cn=admin,dc=example,dc=org\"\nrootpw secret\ndirectory {0}/data\n",
                folder.display()
            ),
        )
        .unwrap();
    let entries = host
        .write(
            "data.ldif",
            "dn: dc=example,dc=org\nobjectClass: dcObject\nobjectClass: organization\ndc: example\no: x\n",
        )
        .unwrap();
    let (configuration, entries) = (configuration.to_string_lossy(), entries.to_string_lossy());
    shell(&["slapadd", "-f", &configuration, "-l", &entries]);
    let words = ["slapd", "-d", "0", "-f", &configuration, "-h", "ldap://127.0.0.1:389"];
    host.start("slapd", &words, listens(389)).unwrap();
    let ldap = |login, base: Option<&str>| DialogueProtocol::Ldap { login, base: base.map(str::to_owned) };
    let admin = |password| login("cn=admin,dc=example,dc=org", password);
    good(&host, 389, ldap(None, None));
    good(&host, 389, ldap(None, Some("dc=example,dc=org")));
    good(&host, 389, ldap(admin("secret"), Some("dc=example,dc=org")));
    bad(&host, 389, ldap(admin("wrong"), None), FailureReason::Login, "result 49");
    bad(
        &host,
        389,
        ldap(admin("secret"), Some("ou=none,dc=example,dc=org")),
        FailureReason::Status,
        "result 32",
    );
}

#[test]
fn dovecot() {
    let mut host = Host::new().unwrap();
    let folder = host.folder().to_string_lossy().into_owned();
    // Without Dovecot's waiting after wrong passwords, and its penalty for the address they came from.
    let configuration = host
        .write(
            "dovecot.conf",
            format!(
                "base_dir = {folder}/base\nlog_path = {folder}/dovecot.log\nprotocols = imap pop3\nlisten = 127.0.0.1\n\
                 ssl = no\ndisable_plaintext_auth = no\nauth_failure_delay = 0\n\
                 service anvil {{\n  unix_listener anvil-auth-penalty {{\n    mode = 0\n  }}\n}}\nmail_location = maildir:{folder}/mail\nfirst_valid_uid = 0\n\
                 passdb {{\n  driver = static\n  args = password=secret\n}}\n\
                 userdb {{\n  driver = static\n  args = uid=nobody gid=nogroup home={folder}/home\n}}\n"
            ),
        )
        .unwrap();
    std::fs::create_dir_all(format!("{folder}/mail")).unwrap();
    shell(&["chown", "nobody", &format!("{folder}/mail")]);
    let configuration = configuration.to_string_lossy();
    host.start("dovecot-imapd", &["dovecot", "-F", "-c", &configuration], listens(110)).unwrap();
    good(&host, 143, DialogueProtocol::Imap(None));
    good(&host, 143, DialogueProtocol::Imap(login("ada", "secret")));
    bad(&host, 143, DialogueProtocol::Imap(login("ada", "wrong")), FailureReason::Login, "LOGIN");
    good(&host, 110, DialogueProtocol::Pop(None));
    good(&host, 110, DialogueProtocol::Pop(login("ada", "secret")));
    bad(&host, 110, DialogueProtocol::Pop(login("ada", "wrong")), FailureReason::Login, "PASS");
    // POP on the port of IMAP.
    bad(&host, 143, DialogueProtocol::Pop(None), FailureReason::Protocol, "greeting");
}

#[test]
fn freeradius() {
    let mut host = Host::new().unwrap();
    let folder = host.folder().join("raddb").to_string_lossy().into_owned();
    shell(&["cp", "-rL", "/etc/freeradius/3.0", &folder]);
    let users = format!("{folder}/mods-config/files/authorize");
    let known = std::fs::read_to_string(&users).unwrap();
    std::fs::write(&users, format!("ada Cleartext-Password := \"secret\"\n{known}")).unwrap();
    shell(&["chown", "-R", "freerad", &folder]);
    let words = ["freeradius", "-f", "-l", "stdout", "-d", &folder];
    // A port of UDP tells nothing of itself: who answers is ready.
    let radius = |login, secret: &str| DialogueProtocol::Radius { login, secret: secret.to_owned() };
    let answers = || here(1812, radius(None, "testing123")).is_ok();
    host.start("freeradius", &words, answers).unwrap();
    good(&host, 1812, radius(login("ada", "secret"), "testing123"));
    good(&host, 1812, radius(None, "testing123"));
    bad(&host, 1812, radius(login("ada", "wrong"), "testing123"), FailureReason::Login, "Access-Reject");
    // A server drops what was made with another secret.
    assert!(ask(&host, 1812, radius(None, "another")).is_err());
    bad(&host, 1813 + 10, radius(None, "testing123"), FailureReason::Refused, "receive");
}

#[test]
fn vsftpd() {
    let mut host = Host::new().unwrap();
    let empty = host.folder().join("empty");
    std::fs::create_dir_all(&empty).unwrap();
    let configuration = host
        .write(
            "vsftpd.conf",
            format!(
                "listen=YES\nlisten_address=127.0.0.1\nbackground=NO\nanonymous_enable=YES\nlocal_enable=NO\n\
                 secure_chroot_dir={0}\nanon_root={0}\nseccomp_sandbox=NO\n",
                empty.display()
            ),
        )
        .unwrap();
    host.start("vsftpd", &["vsftpd", &configuration.to_string_lossy()], listens(21)).unwrap();
    good(&host, 21, DialogueProtocol::Ftp(None));
    good(&host, 21, DialogueProtocol::Ftp(login("anonymous", "lvx@example.org")));
    bad(&host, 21, DialogueProtocol::Ftp(login("ada", "secret")), FailureReason::Login, "530");
    bad(&host, 21, DialogueProtocol::Nntp, FailureReason::Protocol, "220");
}

#[test]
fn sipp() {
    for udp in [true, false] {
        let mut host = Host::new().unwrap();
        let transport = if udp { "u1" } else { "t1" };
        let words =
            ["sipp", "-sn", "uas", "-aa", "-nostdin", "-i", "127.0.0.1", "-p", "5060", "-t", transport];
        let sip = |user: Option<&str>| DialogueProtocol::Sip { udp, user: user.map(str::to_owned) };
        let answers = || here(5060, sip(None)).is_ok();
        host.start("sip-tester", &words, answers).unwrap();
        good(&host, 5060, sip(Some("ada")));
        bad(&host, 5061, sip(None), FailureReason::Refused, "");
    }
}
