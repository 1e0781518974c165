//! `[[service.check.request]]`

use super::Table;
use super::check::{HEADER, HOST, MAX_REDIRECTS, MD5, METHOD, NO_PATTERN, PATH, PATTERN, SHA256, STATUS};

/// The table.
pub static TABLE: Table = Table {
    header: "[[service.check.request]]",
    doc: "One of several requests of an HTTP check. The keys mean what they mean in the check.",
    keys: &[&METHOD, &PATH, &HOST, &HEADER, &STATUS, &MD5, &SHA256, &PATTERN, &NO_PATTERN, &MAX_REDIRECTS],
};
