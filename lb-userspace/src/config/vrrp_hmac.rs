//! `[vrrp.hmac]`.

use std::collections::HashMap;

use super::error::Problem;
use super::reader::TableReader;
use super::schema::vrrp::{hmac, hmac_key, instance};
use super::service::note_repeated;
use crate::vrrp::{Centiseconds, HmacConfig, HmacKey, HmacMode, RouterConfig};

/// `Some(None)` where there is none, `None` after an error.
pub(super) fn read_hmac(
    table: &TableReader<'_>,
    router: Option<&RouterConfig>,
) -> Option<Option<HmacConfig>> {
    if !table.has(&instance::HMAC) {
        return Some(None);
    }
    if table.has(&instance::PASSWORD) {
        table
            .conflict(&instance::PASSWORD, "\"hmac\" is there for that; leave one of the two out".to_owned());
    }
    let interval = router.map_or(Centiseconds::SECOND, |router| router.interval);
    let (read, _) = table.table(&instance::HMAC, |inner| read_hmac_table(inner, interval)).value()?;
    read.map(Some)
}

fn read_hmac_table(table: &TableReader<'_>, interval: Centiseconds) -> Option<HmacConfig> {
    let mode = table.word(&hmac::MODE, |word| match word {
        "receive-only" => Some(HmacMode::ReceiveOnly),
        "permissive" => Some(HmacMode::Permissive),
        "enforce" => Some(HmacMode::Enforce),
        _ => None,
    });
    let mode = mode.valid_or(HmacMode::Enforce);
    let mut seen = HashMap::new();
    let keys = table.tables(&hmac::KEY, |key| read_hmac_key(key, &mut seen));
    let (keys, offset) = keys.value()?;
    if keys.is_empty() {
        let expected = hmac::KEY.kind.to_string();
        table.problem(&hmac::KEY, offset, Problem::Missing { expected });
    }
    let mut keys = keys.into_iter().collect::<Option<Vec<HmacKey>>>()?.into_iter();
    let key = keys.next()?;
    Some(HmacConfig { mode: mode?, key, accepted: keys.collect(), window: HmacConfig::window_of(interval) })
}

fn read_hmac_key(table: &TableReader<'_>, seen: &mut HashMap<u32, usize>) -> Option<HmacKey> {
    let id = table.integer(&hmac_key::ID).value();
    if let Some((id, offset)) = id {
        note_repeated(table, &hmac_key::ID, seen, id, &id.to_string(), offset, || {
            "a secret with this number".to_owned()
        });
    }
    let (secret, offset) = table.text(&hmac_key::SECRET, Ok).value()?;
    let id = id.and_then(|(id, _)| u8::try_from(id).ok())?;
    let key = HmacKey::new(id, secret.as_bytes());
    if key.is_none() {
        // Not the secret itself: errors get into logs.
        let reason = format!("{} bytes; expected 32 to 64", secret.len());
        table.problem(&hmac_key::SECRET, offset, Problem::Invalid { value: "the secret".to_owned(), reason });
    }
    key
}
