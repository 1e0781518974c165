//! `docs/configuration.md` says what the schema says, and the schema what the reader does.
//!
//! `LVX_BLESS=1` writes the page anew.

use std::fs;
use std::path::Path;

use lb_userspace::config::Problem;
use lb_userspace::config::schema::health::{check, request, step, tls};
use lb_userspace::config::schema::vrrp::instance;
use lb_userspace::config::schema::{Kind, Presence, Table, file};
use lb_userspace::config::{self, reference};
use lb_userspace::model::{AttachMode, ForwardingMethod, Protocol, Scheduler, Settings};

/// A file in which every table is there once, with `fill` written for each of its keys. Tables under the keys `skip` are
/// left out.
fn file_with(skip: &[&str], fill: impl Fn(&str, &str, &config::schema::Key) -> Option<String>) -> String {
    fn write(
        table: &Table,
        path: &str,
        text: &mut String,
        skip: &[&str],
        fill: &dyn Fn(&str, &str, &config::schema::Key) -> Option<String>,
    ) {
        if !table.header.is_empty() {
            text.push_str(&format!("{}\n", table.header));
        }
        for key in table.keys {
            if let Some(value) = fill(table.header, path, key) {
                text.push_str(&format!("{} = {value}\n", key.name));
            }
        }
        for key in table.keys {
            if let Kind::Table(inner) | Kind::Tables(inner) = key.kind
                && !skip.contains(&key.name)
            {
                let index = if matches!(key.kind, Kind::Tables(_)) { "[0]" } else { "" };
                let dot = if path.is_empty() { "" } else { "." };
                write(inner, &format!("{path}{dot}{}{index}", key.name), text, skip, fill);
            }
        }
    }
    let mut text = String::new();
    write(&file::TABLE, "", &mut text, skip, &fill);
    text
}

fn is_table(kind: Kind) -> bool {
    matches!(kind, Kind::Table(_) | Kind::Tables(_))
}

#[test]
fn the_page_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let page = reference::markdown();
    if std::env::var_os("LVX_BLESS").is_some() {
        fs::write(&path, &page).expect("writing the page");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    let line = written.lines().zip(page.lines()).position(|(written, made)| written != made);
    assert!(
        written == page,
        "docs/configuration.md differs from the schema at line {:?}; LVX_BLESS=1 writes it anew",
        line.map(|line| line + 1)
    );
}

#[test]
fn the_example_of_the_page_gives_the_errors_of_the_page() {
    let page = reference::markdown();
    let block = |language: &str| {
        let opening = format!("```{language}\n");
        let start = page.find(&opening).expect("a block") + opening.len();
        &page[start..start + page[start..].find("```").expect("the end of a block")]
    };
    let good = block("toml");
    assert!(config::parse("lvx.toml", good).is_ok());
    let wrong = good.replace("\"wrr\"", "\"wrrr\"").replace("\"198.51.100.1\"", "\"198.51.100.1:8080\"");
    let errors = config::parse("lvx.toml", &wrong).expect_err("two mistakes");
    assert_eq!(format!("{errors}\n"), block("text"));
}

#[test]
fn every_key_of_the_schema_is_read() {
    // A date fits no key: a key without an error here is one that the reader never looks at.
    let text = file_with(&["check"], |_, _, key| (!is_table(key.kind)).then(|| "1979-05-27".to_owned()));
    let errors = config::parse("x", &text).expect_err("dates everywhere").0;
    let wrong: Vec<&str> = errors.iter().map(|error| error.key.as_str()).collect();
    let mut keys = 0;
    file_with(&["check"], |_, path, key| {
        if !is_table(key.kind) {
            let dot = if path.is_empty() { "" } else { "." };
            let full = format!("{path}{dot}{}", key.name);
            assert!(wrong.contains(&full.as_str()), "{full} is never read: {wrong:?}");
        }
        None
    });
    for _ in &errors {
        keys += 1;
    }
    assert!(keys >= 20, "only {keys} keys");

    let scheduler =
        "[[service]]\nscheduler = { name = 1979-05-27, port = 1979-05-27, table_size = 1979-05-27 }\n";
    let errors = config::parse("x", scheduler).expect_err("dates everywhere").0;
    for key in ["name", "port", "table_size"] {
        let full = format!("service[0].scheduler.{key}");
        assert!(errors.iter().any(|error| error.key == full), "{full} is never read: {errors:?}");
    }
}

#[test]
fn every_key_of_a_check_is_read_by_some_type() {
    // Errors of type only: that a key does not belong to the type of the check is found out without reading it.
    let mut read: Vec<String> = Vec::new();
    let header = "[[interface]]\nname = \"eth0\"\n[[service]]\naddress = \"192.0.2.10:80\"\n";
    for kind in check::TYPES {
        for single in [true, false] {
            let mut text = format!("{header}[[service.check]]\ntype = \"{kind}\"\n");
            let dates = |table: &Table| {
                let keys = table.keys.iter().filter(|key| !is_table(key.kind) && key.name != "type");
                keys.map(|key| format!("{} = 1979-05-27\n", key.name)).collect::<String>()
            };
            text += &dates(&check::TABLE);
            text += &format!("[service.check.tls]\n{}", dates(&tls::TABLE));
            if !single {
                text += &format!("[[service.check.request]]\n{}", dates(&request::TABLE));
            }
            text += &format!("[[service.check.step]]\n{}", dates(&step::TABLE));
            let errors = config::parse("x", &text).expect_err("dates everywhere").0;
            read.extend(
                errors
                    .into_iter()
                    .filter(|error| matches!(error.remark, Problem::WrongType { .. }))
                    .map(|error| error.key),
            );
        }
    }
    for (path, table) in [
        ("", &check::TABLE),
        (".tls", &tls::TABLE),
        (".request[0]", &request::TABLE),
        (".step[0]", &step::TABLE),
    ] {
        for key in table.keys.iter().filter(|key| !is_table(key.kind) && key.name != "type") {
            let full = format!("service[0].check[0]{path}.{}", key.name);
            assert!(read.contains(&full), "{full} is never read");
        }
    }
}

#[test]
fn the_defaults_of_a_check_are_those_of_its_reader() {
    let header = "[[interface]]\nname = \"eth0\"\n[[service]]\naddress = \"192.0.2.10:80\"\n\
                  [[service.real_server]]\naddress = \"198.51.100.1\"\n";
    for kind in check::TYPES {
        let needed = match kind {
            "script" | "external" => "command = [\"/bin/true\"]\n",
            "file" => "file = \"/tmp/x\"\n",
            "expect" => "step = [{ send = \"x\" }]\n",
            "radius" => "secret = \"x\"\n",
            _ => "",
        };
        let bare = format!("{header}[[service.real_server.check]]\ntype = \"{kind}\"\n{needed}");
        let bare_model = config::parse("x", &bare).expect("a check without its defaults");
        let mut written = bare.clone();
        for key in check::TABLE.keys {
            if let Presence::Default(value) = key.presence
                && let with = format!("{written}{} = {value}\n", key.name)
                && !config::parse("x", &with).is_err_and(|errors| {
                    errors.0.iter().any(|error| matches!(error.remark, Problem::Conflict { .. }))
                })
            {
                written = with;
            }
        }
        assert!(written != bare, "{kind}");
        assert_eq!(config::parse("x", &written).expect("a check with its defaults"), bare_model, "{kind}");
    }
}

#[test]
fn the_defaults_of_the_schema_are_those_of_the_model() {
    let written = file_with(&["check", "sorry_server", "notify", "vrrp", "vrrp_group"], |header, _, key| {
        match key.presence {
            Presence::Default(value) => Some(value.to_owned()),
            Presence::Required if !is_table(key.kind) => Some(
                match (header, key.name) {
                    ("[[interface]]", "name") => "\"eth0\"",
                    ("[[service]]", "address") => "\"192.0.2.10:80\"",
                    ("[[service.real_server]]", "address") => "\"198.51.100.1\"",
                    other => panic!("no value for {other:?}"),
                }
                .to_owned(),
            ),
            _ => None,
        }
    });
    let bare = "[[interface]]\nname = \"eth0\"\n[[service]]\naddress = \"192.0.2.10:80\"\n\
                [[service.real_server]]\naddress = \"198.51.100.1\"\n";
    let written = config::parse("x", &written).expect("a file of defaults");
    assert_eq!(written, config::parse("x", bare).expect("a file without them"));
    assert_eq!(written.settings, Settings::default());

    let schedulers = ["{ name = \"mh\", port = false, table_size = 65521 }", "{ name = \"mh\" }", "\"mh\""]
        .map(|scheduler| format!("{bare}[[service]]\naddress = \"192.0.2.11:80\"\nscheduler = {scheduler}\n"))
        .map(|text| config::parse("x", &text).expect("a Maglev service").services[1].scheduler);
    assert!(schedulers.iter().all(|scheduler| *scheduler == schedulers[0]), "{schedulers:?}");
}

#[test]
fn the_defaults_of_a_virtual_router_are_those_of_its_reader() {
    let bare = "[[interface]]\nname = \"eth0\"\n[[vrrp]]\nname = \"web\"\ninterface = \"eth0\"\nrouter_id = 51\n\
                address = [\"192.0.2.100/24\"]\n";
    let mut written = bare.to_owned();
    for key in instance::TABLE.keys {
        if let Presence::Default(value) = key.presence {
            written += &format!("{} = {value}\n", key.name);
        }
    }
    let track = "[[vrrp.track]]\nprocess = \"lvx\"\n";
    let with = config::parse("x", &format!("{written}{track}weight = 0\n")).expect("an instance of defaults");
    let without = config::parse("x", &format!("{bare}{track}")).expect("an instance without them");
    assert_eq!(with, without);
}

#[test]
fn words_and_values_have_the_same_names() {
    assert!(
        Scheduler::NAMES.iter().all(|name| Scheduler::from_name(name).is_some_and(|it| it.name() == *name))
    );
    assert!(
        ForwardingMethod::NAMES
            .iter()
            .all(|name| ForwardingMethod::from_name(name).is_some_and(|it| it.to_string() == *name))
    );
    assert!(
        Protocol::NAMES
            .iter()
            .all(|name| Protocol::from_name(name).is_some_and(|it| it.to_string() == *name))
    );
    assert!(AttachMode::NAMES.iter().all(|name| AttachMode::from_name(name).is_some()));
}
