//! A grant's record as a row.

use super::error::SqlError;
use super::value::Row;

/// What of a grant's row its sealed part belongs to, beside owner and revision.
pub(super) fn standing(stage: &str, consent: u64, life: u64, until: Option<i64>, second_chance: bool) -> String {
    format!("{stage} {consent:016x} {life:016x} {until:?} {second_chance}")
}

/// From `stage, consent, life, until, second_chance`.
pub(super) fn standing_of(row: &Row, at: usize) -> Result<String, SqlError> {
    let (until, second_chance) = (row.opt_int(at + 3)?, row.int(at + 4)? != 0);
    Ok(standing(row.text(at)?, row.u64(at + 1)?, row.u64(at + 2)?, until, second_chance))
}
