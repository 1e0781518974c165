//! No text makes the configuration panic, and every answer to a wrong one can be shown.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use lb_userspace::config;
use proptest::prelude::*;

/// The examples and all wrong configurations: what mutations start from.
static SEEDS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let seeds: Vec<String> = ["../configs", "tests/config-errors"]
        .iter()
        .flat_map(|folder| fs::read_dir(root.join(folder)).expect("a folder of configurations"))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .map(|path| fs::read_to_string(path).expect("a configuration"))
        .collect();
    assert!(seeds.len() > 50);
    seeds
});

/// Pieces that change the meaning of what surrounds them.
const PIECES: [&str; 24] = [
    "\"",
    "'",
    "\"\"\"",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    ",",
    "=",
    ".",
    "\n",
    "\r",
    "#",
    "\0",
    "ü",
    "-1",
    "99999999999999999999",
    "[[service]]\n",
    "[[service.real_server]]\n",
    "address = \"192.0.2.1:80\"\n",
    "nan",
    "1979-05-27",
];

#[derive(Debug, Clone)]
enum Mutation {
    Insert(usize, usize),
    Remove(usize, usize),
    Repeat(usize, usize),
    Swap(usize, usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        (any::<usize>(), 0..PIECES.len()).prop_map(|(at, piece)| Mutation::Insert(at, piece)),
        (any::<usize>(), 1..40_usize).prop_map(|(at, length)| Mutation::Remove(at, length)),
        (any::<usize>(), 1..80_usize).prop_map(|(at, length)| Mutation::Repeat(at, length)),
        (any::<usize>(), any::<usize>()).prop_map(|(one, other)| Mutation::Swap(one, other)),
    ]
}

fn mutate(text: &str, mutations: &[Mutation]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for mutation in mutations {
        let length = chars.len().max(1);
        match *mutation {
            Mutation::Insert(at, piece) => {
                let at = (at % length).min(chars.len());
                chars.splice(at..at, PIECES[piece].chars());
            }
            Mutation::Remove(at, count) => {
                let at = (at % length).min(chars.len());
                chars.drain(at..(at + count).min(chars.len()));
            }
            Mutation::Repeat(at, count) => {
                let at = (at % length).min(chars.len());
                let piece = chars[at..(at + count).min(chars.len())].to_vec();
                chars.splice(at..at, piece);
            }
            Mutation::Swap(one, other) if !chars.is_empty() => chars.swap(one % length, other % length),
            Mutation::Swap(..) => {}
        }
    }
    chars.into_iter().collect()
}

fn answer_is_sound(text: &str) -> Result<(), TestCaseError> {
    let Err(errors) = config::parse("x.toml", text) else {
        return Ok(());
    };
    prop_assert!(!errors.0.is_empty());
    let positions: Vec<_> = errors.0.iter().map(|error| error.position).collect();
    prop_assert!(positions.is_sorted() && positions.iter().all(Option::is_some));
    let lines = text.split('\n').count();
    for error in &errors.0 {
        let shown = error.to_string();
        prop_assert!(!shown.contains(char::is_control), "{:?}", shown);
        prop_assert!(error.position.is_some_and(|position| position.line <= lines));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_configurations(seed in any::<prop::sample::Index>(), mutations in prop::collection::vec(mutation(), 1..8)) {
        answer_is_sound(&mutate(&SEEDS[seed.index(SEEDS.len())], &mutations))?;
    }

    #[test]
    fn any_text(text in any::<String>()) {
        answer_is_sound(&text)?;
    }

    #[test]
    fn any_log_filter(filter in ".{0,40}") {
        answer_is_sound(&format!("[global]\nlog = {filter:?}\n"))?;
    }
}

#[test]
fn deep_nesting_is_an_error() {
    for (open, close) in [("[", "]"), ("{a=", "}")] {
        let text = format!("a = {}1{}", open.repeat(20_000), close.repeat(20_000));
        assert!(config::parse("x.toml", &text).is_err());
    }
    assert!(config::parse("x.toml", &format!("{}a = 1", "a.".repeat(20_000))).is_err());
    assert!(config::parse("x.toml", &format!("[{}a]", "a.".repeat(20_000))).is_err());
}
