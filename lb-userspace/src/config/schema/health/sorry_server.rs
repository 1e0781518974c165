//! `[service.sorry_server]`

use super::Table;
use crate::config::schema::keys::real_server::{ADDRESS, FORWARDING, WEIGHT};

/// The table.
pub static TABLE: Table = Table {
    header: "[service.sorry_server]",
    doc: "The server that serves while there is no quorum. It is listed with weight 0 while it does not serve, and is \
          not checked.",
    keys: &[&ADDRESS, &WEIGHT, &FORWARDING],
};
