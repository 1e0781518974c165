//! Checks that are a dialogue.

use super::check::{CheckedServers, name, optional, required, unescape};
use super::check_http::{expression, read_tls};
use super::error::Problem;
use super::reader::{Given, TableReader};
use super::schema::health::{check as keys, step};
use super::settings::expected;
use crate::model::{Dialogue, DialogueProtocol, DialogueStep, Login, Pattern, Protocol};

/// Reads a check whose type is a dialogue.
pub(super) fn read_dialogue(
    table: &TableReader<'_>,
    kind: &str,
    servers: &CheckedServers,
) -> Option<Dialogue> {
    let tls = if kind == "radius" { Some(None) } else { read_tls(table, None) };
    let protocol = match kind {
        "expect" => DialogueProtocol::Expect(read_steps(table)?),
        "ftp" => DialogueProtocol::Ftp(read_login(table)?),
        "imap" => DialogueProtocol::Imap(read_login(table)?),
        "pop" => DialogueProtocol::Pop(read_login(table)?),
        "nntp" => DialogueProtocol::Nntp,
        "redis" => DialogueProtocol::Redis(read_redis_login(table)?),
        "ldap" => {
            let login = read_login(table);
            let base = optional(table.text(&keys::BASE, name));
            DialogueProtocol::Ldap { login: login?, base: base? }
        }
        "mysql" => {
            let (login, database, query) = read_sql(table)?;
            if login.is_none() && table.has(&keys::DATABASE) {
                table.conflict(
                    &keys::DATABASE,
                    "a database is opened with a login; write \"user\"".to_owned(),
                );
            }
            DialogueProtocol::Mysql { login, database, query }
        }
        "pgsql" => {
            let (login, database, query) = read_sql(table)?;
            DialogueProtocol::Pgsql { login, database, query }
        }
        "sip" => {
            let user = optional(table.text(&keys::USER, name));
            let transport = table.word(&keys::TRANSPORT, Protocol::from_name);
            let udp =
                transport.valid_or(servers.protocol.unwrap_or(Protocol::Tcp)).map(|t| t == Protocol::Udp);
            let udp = udp? && {
                if table.has(&keys::TLS) {
                    table.conflict(
                        &keys::TLS,
                        "there is no TLS over UDP; write transport = \"tcp\"".to_owned(),
                    );
                }
                true
            };
            DialogueProtocol::Sip { udp, user: user? }
        }
        _ => {
            let login = read_login(table);
            let secret =
                required(table, &keys::SECRET, table.text(&keys::SECRET, |text| Ok(text.to_owned())));
            DialogueProtocol::Radius { login: login?, secret: secret? }
        }
    };
    Some(Dialogue { protocol, tls: tls? })
}

/// `None` after an error.
fn read_login(table: &TableReader<'_>) -> Option<Option<Login>> {
    let user = optional(table.text(&keys::USER, name));
    let password = optional(table.text(&keys::PASSWORD, secret));
    if table.has(&keys::PASSWORD) && !table.has(&keys::USER) {
        table.problem(
            &keys::USER,
            table.offset,
            Problem::Missing {
                expected: format!("{}, because there is a \"password\"", expected(&keys::USER)),
            },
        );
    }
    let (user, password) = (user?, password?);
    Some(user.map(|user| Login { user, password: password.unwrap_or_default() }))
}

/// Redis knows a password without a user.
fn read_redis_login(table: &TableReader<'_>) -> Option<Option<Login>> {
    let user = optional(table.text(&keys::USER, name));
    let password = optional(table.text(&keys::PASSWORD, secret));
    let (user, password) = (user?, password?);
    Some(if user.is_none() && password.is_none() {
        None
    } else {
        Some(Login { user: user.unwrap_or_default(), password: password.unwrap_or_default() })
    })
}

fn secret(text: &str) -> Result<String, String> {
    if text.contains(char::is_control) {
        return Err("a password holds no control characters".to_owned());
    }
    Ok(text.to_owned())
}

fn read_sql(table: &TableReader<'_>) -> Option<(Option<Login>, Option<String>, Option<String>)> {
    let login = read_login(table);
    let database = optional(table.text(&keys::DATABASE, name));
    let query = optional(table.text(&keys::QUERY, |text| Ok(text.to_owned())));
    if table.has(&keys::QUERY) && !table.has(&keys::USER) {
        table.conflict(&keys::QUERY, "a query needs a login; write \"user\"".to_owned());
    }
    Some((login?, database?, query?))
}

fn read_steps(table: &TableReader<'_>) -> Option<Vec<DialogueStep>> {
    let steps = match table.tables(&keys::STEP, read_step) {
        Given::Absent => {
            let expected = keys::STEP.kind.to_string();
            table.problem(&keys::STEP, table.offset, Problem::Missing { expected });
            return None;
        }
        given => given.value()?.0,
    };
    Some(steps.into_iter().collect::<Option<Vec<_>>>()?.into_iter().flatten().collect())
}

fn read_step(table: &TableReader<'_>) -> Option<Vec<DialogueStep>> {
    let send = optional(table.text(&step::SEND, unescape));
    let expect = optional(table.text(&step::EXPECT, expression));
    if !table.has(&step::SEND) && !table.has(&step::EXPECT) {
        let expected = "\"send\", \"expect\" or both".to_owned();
        table.problem(&step::SEND, table.offset, Problem::Missing { expected });
    }
    let send = send?.map(DialogueStep::Send);
    let expect = expect?.map(|expression| DialogueStep::Expect(Pattern { expression, absent: false }));
    Some(send.into_iter().chain(expect).collect())
}
