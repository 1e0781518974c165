//! Every `vrrp/NAME.case` says what goes into a virtual router and exactly what has to come out; `vrrp/README.md`
//! describes the language.
//!
//! What is expected follows from the RFCs and from keepalived's behaviour and is computed by hand: there is no way to
//! have the expected lines written by the program that they judge.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a step that fails is a test that fails")]

mod vrrp_case;

use std::fs;
use std::path::{Path, PathBuf};

use vrrp_case::{Case, Player};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vrrp")
}

fn cases() -> Vec<PathBuf> {
    let mut cases: Vec<PathBuf> = fs::read_dir(folder())
        .expect("the folder of cases")
        .map(|entry| entry.expect("an entry of the folder").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "case"))
        .collect();
    cases.sort();
    cases
}

fn name(case: &Path) -> String {
    case.file_name().expect("a file name").to_string_lossy().into_owned()
}

#[test]
fn virtual_routers_do_exactly_what_the_cases_say() {
    let cases = cases();
    assert!(cases.len() >= 60, "only {} cases", cases.len());
    let mut differences = Vec::new();
    for path in &cases {
        let text = fs::read_to_string(path).expect("a case");
        let played = Case::parse(&text).and_then(|case| Player::play(&case));
        if let Err((line, difference)) = played {
            differences.push(format!("{}:{line}: {difference}", name(path)));
        }
    }
    assert!(differences.is_empty(), "{} cases differ\n{}", differences.len(), differences.join("\n"));
}

#[test]
fn a_difference_names_its_line_and_what_came_instead() {
    let played =
        |lines: &str| Case::parse(&format!("priority 100\n{lines}")).and_then(|case| Player::play(&case));
    let start = "0 in startup\n0 out state backup (start)\n";
    assert_eq!(played(&format!("{start}0 timer 3.609375\n")), Ok(()));
    for (lines, line, expected, got) in [
        ("0 timer 3.609376", 4, "0 timer 3.609376", "0 timer 3.609375"),
        ("1 in nothing", 4, "1 in nothing", "0 timer 3.609375"),
        ("", 3, "the end", "0 timer 3.609375"),
        ("0 timer 3.609375\n9 out advertise 100", 5, "9 out advertise 100", "3.609375 out advertise 100"),
        ("0 timer 3.609375\n2 out advertise 100", 5, "2 out advertise 100", "nothing"),
    ] {
        let (place, said) = played(&format!("{start}{lines}")).unwrap_err();
        assert_eq!((place, said), (line, format!("expected `{expected}`, got `{got}`")), "{lines}");
    }
    assert_eq!(played("5 in nothing\n4 in nothing\n"), Err((3, "4 is before 5".to_owned())));
    assert_eq!(played("0 in begin\n"), Err((2, "no such input: begin".to_owned())));
}

/// Numbers of the tests that need no real network; those of group 1 do.
const UNH: [&str; 20] = [
    "2.1", "2.2", "2.3", "2.4", "2.5", "2.6", "2.7", "3.1", "3.2", "3.3", "3.4", "4.1", "4.2", "4.3", "4.4",
    "4.5", "4.6", "4.7", "4.8", "4.9",
];

#[test]
fn every_test_of_the_operations_suite_and_every_step_of_the_rfc_has_its_case() {
    let cases = cases();
    let readme = fs::read_to_string(folder().join("README.md")).expect("the description of the language");
    for number in UNH {
        let there = cases.iter().any(|case| name(case).starts_with(&format!("unh-{number}-")));
        assert!(there, "no case for test {number}");
    }
    for number in ["1.1", "1.2"] {
        assert!(readme.contains(&format!("VRRP.{number}")), "{number} is not listed");
    }
    let mut covered = steps_in(&readme);
    for case in cases.iter().filter(|case| name(case).starts_with("rfc9568-6.4")) {
        covered.extend(steps_in(&fs::read_to_string(case).expect("a case")));
    }
    let steps = (100..=175).chain(300..=490).chain(600..=795).filter(|step| step % 5 == 0);
    // RFC 5798 has no (435).
    let missing: Vec<u16> = steps.filter(|step| *step != 435 && !covered.contains(step)).collect();
    assert!(missing.is_empty(), "steps without a case: {missing:?}");
}

/// The steps that a text names: `(105)`, or `(300) to (340)`.
fn steps_in(text: &str) -> Vec<u16> {
    let mut steps = Vec::new();
    let mut rest = text;
    while let Some(begin) = rest.find('(') {
        let inside = &rest[begin + 1..];
        let step = inside.get(..3).and_then(|digits| digits.parse::<u16>().ok());
        let last = steps.last().copied();
        if let Some(step) = step.filter(|_| inside[3..].starts_with(')')) {
            if let Some(first) = last.filter(|_| rest[..begin] == *" to ") {
                steps.extend((first..step).skip(5).step_by(5));
            }
            steps.push(step);
            rest = &inside[4..];
        } else {
            rest = inside;
        }
    }
    steps
}
