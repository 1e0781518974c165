//! Reading configuration files, and `lvx check`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use lb_userspace::cli::check;
use lb_userspace::config::{self, ConfigErrors, MAX_FILE_SIZE, Problem};

const GOOD: &str = "[[interface]]\nname = \"eth0\"\n[[service]]\naddress = \"192.0.2.10:80\"\n\
                    real_server = [{ address = \"198.51.100.1\" }]\n";

fn only_error(path: &Path) -> (String, Problem) {
    let ConfigErrors(errors) = config::load(path).expect_err("an unreadable file");
    let [error] = &errors[..] else { panic!("{errors:?}") };
    (error.to_string(), error.remark.clone())
}

#[test]
fn a_good_file_loads() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lvx.toml");
    fs::write(&path, GOOD).expect("writing");
    let link = folder.path().join("link.toml");
    symlink(&path, &link).expect("a link");
    assert_eq!(config::load(&path).expect("a good file"), config::load(&link).expect("a link to it"));
    assert_eq!(config::load(&path).expect("a good file").services.len(), 1);
}

#[test]
fn a_missing_file_is_named() {
    let (text, _) = only_error(Path::new("/nonexistent/lvx.toml"));
    assert_eq!(text, "/nonexistent/lvx.toml: cannot read the configuration: no such file");
}

#[test]
fn what_is_no_regular_file_is_refused_without_waiting() {
    let folder = tempfile::tempdir().expect("a folder");
    let (text, _) = only_error(folder.path());
    assert_eq!(
        text,
        format!("{}: cannot read the configuration: it is a directory", folder.path().display())
    );
    let (text, _) = only_error(Path::new("/dev/zero"));
    assert_eq!(text, "/dev/zero: cannot read the configuration: it is no regular file");
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    assert!(matches!(only_error(&pipe).1, Problem::Unreadable(_)));
}

#[test]
fn a_huge_file_is_refused_before_it_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("huge.toml");
    let file = fs::File::create(&path).expect("creating");
    file.set_len(MAX_FILE_SIZE + 1).expect("a sparse file");
    let (text, _) = only_error(&path);
    assert_eq!(text, format!("{}: cannot read the configuration: longer than 64Mi bytes", path.display()));
}

#[test]
fn bytes_that_are_not_utf8_are_located() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("latin1.toml");
    fs::write(&path, b"[global]\nlog = \"\xc3\xbc\xfc\"\n").expect("writing");
    let (text, problem) = only_error(&path);
    assert_eq!(problem, Problem::NotUtf8(0xfc));
    assert_eq!(
        text,
        format!("{}:2:9: byte 0xfc is not UTF-8; a configuration file is UTF-8 text", path.display())
    );
}

fn check_text(text: &str) -> (bool, String, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lvx.toml");
    fs::write(&path, text).expect("writing");
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let ok = check::check(&path, &mut out, &mut err).expect("writing to memory");
    let plain = |bytes| {
        let text = String::from_utf8(bytes).expect("text");
        text.replace(&path.display().to_string(), "FILE")
    };
    (ok, plain(out), plain(err))
}

#[test]
fn check_tells_the_counts_of_a_good_file() {
    assert_eq!(check_text(GOOD), (true, "FILE: ok (1 service, 1 real server)\n".to_owned(), String::new()));
}

#[test]
fn check_tells_warnings_and_still_succeeds() {
    let (ok, out, err) =
        check_text("[[interface]]\nname = \"eth0\"\n[[service]]\naddress = \"192.0.2.10:80\"\n");
    assert!(ok);
    assert_eq!(out, "FILE: ok (1 service, 0 real servers)\n");
    assert_eq!(err, "warning: FILE:3:1: service[0]: the service has no real server\n");
}

#[test]
fn check_tells_all_errors_and_their_number() {
    let (ok, out, err) = check_text("[global]\nlog = \"inof\"\n[[interface]]\nname = \"eth/0\"\n");
    assert!(!ok);
    assert_eq!(out, "");
    let lines: Vec<&str> = err.lines().collect();
    assert_eq!(lines.len(), 3, "{err}");
    assert!(
        lines[0].starts_with("FILE:2:7: global.log: ")
            && lines[1].starts_with("FILE:4:8: interface[0].name: ")
    );
    assert_eq!(lines[2], "FILE: 2 errors");
    assert!(check_text("").2.ends_with("FILE: 1 error\n"));
}

#[test]
fn every_example_loads_without_a_warning() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).expect("the examples") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let text = config::read_file(&path).expect("an example");
            let examined = config::examine(&path.display().to_string(), &text)
                .unwrap_or_else(|errors| panic!("{errors}"));
            assert_eq!(examined.warnings, [], "{}", path.display());
            assert!(examined.model.real_server_count() > 0, "{}", path.display());
            names.push(path.file_name().expect("a name").to_string_lossy().into_owned());
        }
    }
    for name in ["minimal.toml", "dr.toml", "tunnel.toml", "nat.toml", "ipv6.toml"] {
        assert!(names.iter().any(|found| found == name), "{name} is missing among {names:?}");
    }
}
