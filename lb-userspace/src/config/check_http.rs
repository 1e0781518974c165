//! HTTP checks, their TLS and their patterns.

use super::check::{absolute_path, host_name, optional};
use super::error::Problem;
use super::reader::{Given, TableReader};
use super::schema::health::{check as keys, tls};
use super::schema::{Key, Presence};
use super::settings::expected;
use crate::model::{BodyDigest, CheckTls, HttpCheck, HttpRequest, HttpVersion, Pattern, StatusSet};

/// Keys that describe a request, in the check itself or in a table of `request`.
const REQUEST_KEYS: [&Key; 10] = [
    &keys::METHOD,
    &keys::PATH,
    &keys::HOST,
    &keys::HEADER,
    &keys::STATUS,
    &keys::MD5,
    &keys::SHA256,
    &keys::PATTERN,
    &keys::NO_PATTERN,
    &keys::MAX_REDIRECTS,
];

/// Reads a check of type `http` or `https`.
pub(super) fn read_http(table: &TableReader<'_>, secure: bool) -> Option<HttpCheck> {
    let version = table
        .word(&keys::VERSION, |word| match word {
            "1.0" => Some(HttpVersion::Http10),
            "1.1" => Some(HttpVersion::Http11),
            "2" => Some(HttpVersion::H2),
            _ => None,
        })
        .valid_or(HttpVersion::Http11);
    let max_body = table.size(&keys::MAX_BODY).valid_or(1 << 20);
    let requests = match table.tables(&keys::REQUEST, read_request) {
        Given::Absent => read_request(table).map(|request| vec![request]),
        Given::Invalid => None,
        Given::Value(requests, offset) => {
            for key in REQUEST_KEYS.into_iter().filter(|key| table.has(key)) {
                table.conflict(
                    key,
                    "with \"request\", this belongs into the tables of the requests".to_owned(),
                );
            }
            if requests.is_empty() {
                let expected = keys::REQUEST.kind.to_string();
                table.problem(&keys::REQUEST, offset, Problem::Missing { expected });
                None
            } else {
                requests.into_iter().collect()
            }
        }
    };
    let host = requests.as_ref().and_then(|requests: &Vec<HttpRequest>| requests.first()?.host.clone());
    let tls = if secure {
        read_tls(table, host.as_deref()).map(|tls| Some(tls.unwrap_or_else(|| default_tls(host.as_deref()))))
    } else {
        Some(None)
    };
    Some(HttpCheck { tls: tls?, version: version?, requests: requests?, max_body: max_body? })
}

fn default_tls(host: Option<&str>) -> CheckTls {
    CheckTls { server_name: host.and_then(tls_name), ..CheckTls::default() }
}

/// The name for SNI: a host field without its port, and no address (RFC 6066, 3).
fn tls_name(host: &str) -> Option<String> {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>().is_ok();
    (!address).then(|| name.to_owned())
}

fn read_request(table: &TableReader<'_>) -> Option<HttpRequest> {
    let method = table.text(&keys::METHOD, method).valid_or("GET".to_owned());
    let path = table.text(&keys::PATH, path).valid_or("/".to_owned());
    let host = optional(table.text(&keys::HOST, host_name));
    let headers = table.texts(&keys::HEADER, header).valid_or(Vec::new());
    let status = table.text(&keys::STATUS, status).valid_or(StatusSet::default());
    let md5 = optional(table.text(&keys::MD5, |text| hex::<16>(text, &keys::MD5).map(BodyDigest::Md5)));
    let sha256 =
        optional(table.text(&keys::SHA256, |text| hex::<32>(text, &keys::SHA256).map(BodyDigest::Sha256)));
    if table.has(&keys::MD5) && table.has(&keys::SHA256) {
        table.conflict(&keys::SHA256, "a body has one digest; leave \"md5\" or \"sha256\" out".to_owned());
    }
    let pattern = read_pattern(table);
    let max_redirects = table.integer(&keys::MAX_REDIRECTS).valid_or(0);
    Some(HttpRequest {
        method: method?,
        path: path?,
        host: host?,
        headers: headers?,
        status: status?,
        digest: sha256?.or(md5?),
        pattern: pattern?,
        max_redirects: max_redirects?,
    })
}

/// Reads `pattern` or `no_pattern`; `None` after an error.
pub(super) fn read_pattern(table: &TableReader<'_>) -> Option<Option<Pattern>> {
    let present = optional(table.text(&keys::PATTERN, expression));
    let absent = optional(table.text(&keys::NO_PATTERN, expression));
    if table.has(&keys::PATTERN) && table.has(&keys::NO_PATTERN) {
        table.conflict(&keys::NO_PATTERN, "leave \"pattern\" or \"no_pattern\" out".to_owned());
    }
    let (present, absent) = (present?, absent?);
    Some(match (present, absent) {
        (Some(expression), _) => Some(Pattern { expression, absent: false }),
        (None, Some(expression)) => Some(Pattern { expression, absent: true }),
        (None, None) => None,
    })
}

/// A regular expression that compiles.
pub(super) fn expression(text: &str) -> Result<String, String> {
    match regex::bytes::RegexBuilder::new(text).size_limit(1 << 20).build() {
        Ok(_) => Ok(text.to_owned()),
        Err(regex::Error::Syntax(report)) => {
            // The last line of the parser's report says what is wrong; the others draw it.
            let reason = report.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            Err(format!("not a regular expression: {reason}"))
        }
        Err(error) => Err(format!("not a regular expression: {error}")),
    }
}

/// Reads `tls`, `None` inside where it is absent. `host` names the server where `server_name` does not.
pub(super) fn read_tls(table: &TableReader<'_>, host: Option<&str>) -> Option<Option<CheckTls>> {
    match table.table(&keys::TLS, |table| read_tls_table(table, host)) {
        Given::Absent => Some(None),
        Given::Invalid => None,
        Given::Value(tls, _) => tls.map(Some),
    }
}

fn read_tls_table(table: &TableReader<'_>, host: Option<&str>) -> Option<CheckTls> {
    let verify = table.boolean(&tls::VERIFY).valid_or(false);
    let authorities = optional(table.text(&tls::AUTHORITIES, absolute_path));
    let server_name = optional(table.text(&tls::SERVER_NAME, host_name));
    let certificate = optional(table.text(&tls::CERTIFICATE, absolute_path));
    let key = optional(table.text(&tls::KEY, absolute_path));
    let expiry_warning = optional(table.duration(&tls::EXPIRY_WARNING));
    for (one, other) in [(&tls::CERTIFICATE, &tls::KEY), (&tls::KEY, &tls::CERTIFICATE)] {
        if table.has(one) && !table.has(other) {
            let expected = format!("{}, because there is a \"{}\"", other.kind, one.name);
            table.problem(other, table.offset, Problem::Missing { expected });
        }
    }
    if table.has(&tls::AUTHORITIES) && verify == Some(false) {
        let reason = "nothing is verified without verify = true".to_owned();
        table.conflict(&tls::AUTHORITIES, reason);
    }
    Some(CheckTls {
        verify: verify?,
        authorities: authorities?,
        server_name: server_name?.or_else(|| host.and_then(tls_name)),
        client_certificate: certificate?.zip(key?),
        expiry_warning: expiry_warning?,
    })
}

/// A token of RFC 9110, 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn method(text: &str) -> Result<String, String> {
    if is_token(text) {
        Ok(text.to_owned())
    } else {
        Err(format!("not a method; expected {}", expected(&keys::METHOD)))
    }
}

fn path(text: &str) -> Result<String, String> {
    if text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err(format!("not a path in a URL, without spaces; expected {}", expected(&keys::PATH)))
    }
}

fn header(text: &str) -> Result<(String, String), String> {
    let wrong = || "not a header field; expected a name, a colon and a value".to_owned();
    let (name, value) = text.split_once(':').ok_or_else(wrong)?;
    let value = value.trim();
    if !is_token(name) || value.contains(char::is_control) {
        return Err(wrong());
    }
    Ok((name.to_owned(), value.to_owned()))
}

fn status(text: &str) -> Result<StatusSet, String> {
    let wrong =
        || format!("not a list of status codes from 100 to 599; expected {}", expected(&keys::STATUS));
    let code = |text: &str| {
        text.trim().parse::<u16>().ok().filter(|code| (100..=599).contains(code)).ok_or_else(wrong)
    };
    let mut ranges = Vec::new();
    for part in text.split(',') {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (code(first)?, code(last)?),
            None => (code(part)?, code(part)?),
        };
        if first > last {
            return Err(wrong());
        }
        ranges.push(first..=last);
    }
    Ok(StatusSet(ranges))
}

fn hex<const N: usize>(text: &str, key: &Key) -> Result<[u8; N], String> {
    debug_assert!(!matches!(key.presence, Presence::Required));
    let digits = text.len();
    if digits != 2 * N {
        return Err(format!("{digits} characters; expected {}", expected(key)));
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        let pair =
            std::str::from_utf8(pair).ok().filter(|pair| pair.bytes().all(|digit| digit.is_ascii_hexdigit()));
        *byte = pair
            .and_then(|pair| u8::from_str_radix(pair, 16).ok())
            .ok_or_else(|| format!("not hexadecimal; expected {}", expected(key)))?;
    }
    Ok(bytes)
}
