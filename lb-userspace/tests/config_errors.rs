//! Every `config-errors/NAME.toml` is wrong in its own way; `NAME.expected` holds exactly what LVX says about it.
//!
//! `LVX_BLESS=1` writes the expected texts anew; each is to be read before it is committed.

use std::fs;
use std::path::{Path, PathBuf};

use lb_userspace::config;

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config-errors");
    let mut cases: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the folder of wrong configurations")
        .map(|entry| entry.expect("an entry of the folder").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    cases.sort();
    cases
}

fn said_about(case: &Path) -> String {
    let text = fs::read_to_string(case).expect("a wrong configuration");
    let name = case.file_name().expect("a file name").to_string_lossy();
    match config::parse(&name, &text) {
        Ok(model) => format!("no error, but {model:?}\n"),
        Err(errors) => format!("{errors}\n"),
    }
}

#[test]
fn wrong_configurations_get_their_exact_errors() {
    let bless = std::env::var_os("LVX_BLESS").is_some();
    let cases = cases();
    assert!(cases.len() >= 45, "only {} wrong configurations", cases.len());
    let mut different = String::new();
    for case in cases {
        let said = said_about(&case);
        let expected_file = case.with_extension("expected");
        if bless {
            fs::write(&expected_file, &said).expect("writing an expected text");
        }
        let expected = fs::read_to_string(&expected_file).unwrap_or_default();
        if said != expected {
            different += &format!("--- {}\nexpected:\n{expected}said:\n{said}", case.display());
        }
    }
    assert!(different.is_empty(), "{different}");
}

#[test]
fn every_case_is_refused() {
    for case in cases() {
        let said = said_about(&case);
        assert!(!said.starts_with("no error"), "{}: {said}", case.display());
    }
}

#[test]
fn every_error_names_file_line_and_column_in_the_order_of_the_file() {
    for case in cases() {
        let text = fs::read_to_string(&case).expect("a wrong configuration");
        let errors = config::parse("x.toml", &text).expect_err("a wrong configuration").0;
        let places: Vec<_> = errors.iter().map(|error| error.position.expect("a position")).collect();
        assert!(places.is_sorted(), "{}: {places:?}", case.display());
        for (error, place) in errors.iter().zip(places) {
            let said = error.to_string();
            let prefix = format!("x.toml:{}:{}: ", place.line, place.column);
            assert!(said.starts_with(&prefix), "{said}");
            assert!(!said.contains(char::is_control), "{said:?}");
            let line = text.split('\n').nth(place.line - 1).unwrap_or_default();
            assert!(place.column <= line.chars().count() + 1, "{}: {said}", case.display());
        }
    }
}
