//! `tls` of a check

use super::{Duration, Key, Kind, Presence, Table, flag, text};

/// `verify`
pub static VERIFY: Key = flag(
    "verify",
    "false",
    &["check_certificate"],
    "The certificate has to be valid for `server_name` or, without it, for the address. Otherwise any will do, as in \
     keepalived.",
);
/// `authorities`
pub static AUTHORITIES: Key = text(
    "authorities",
    "an absolute path",
    "those of the system",
    &["ca", "ca_file", "cafile"],
    "PEM file of the authorities that certificates are verified with.",
);
/// `server_name`
pub static SERVER_NAME: Key = text(
    "server_name",
    "a host name",
    "`host` of the check, else no name is sent",
    &["sni", "sni_name", "enable_sni"],
    "Name that is sent (SNI) and verified.",
);
/// `certificate`
pub static CERTIFICATE: Key = text(
    "certificate",
    "an absolute path",
    "none",
    &["cert", "client_certificate"],
    "PEM file of the director's own certificate and its chain.",
);
/// `key`
pub static KEY: Key =
    text("key", "an absolute path", "none", &["private_key"], "PEM file of its private key.");
/// `expiry_warning`
pub static EXPIRY_WARNING: Key = Key {
    name: "expiry_warning",
    kind: Kind::Duration { min: Duration::from_secs(1), max: Duration::from_secs(366 * 86_400) },
    presence: Presence::Otherwise("no warning"),
    foreign: &["warn_before"],
    doc: "Warn in `lvx list --health` and in the metrics when the certificate expires within this time.",
};
/// The table.
pub static TABLE: Table = Table {
    header: "tls = { ... }",
    doc: "TLS of a check. Versions 1.2 and 1.3 are spoken.",
    keys: &[&VERIFY, &AUTHORITIES, &SERVER_NAME, &CERTIFICATE, &KEY, &EXPIRY_WARNING],
};
