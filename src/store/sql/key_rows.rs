//! A key's record as a row.

use super::columns::owner_of;
use super::error::SqlError;
use super::value::Row;
use crate::clock::Timestamp;
use crate::jose::PublicJwk;
use crate::keys::{KeyId, KeyRecord, KeyState, Material, Purpose, StoredKey};

/// Where the columns of the key begin, after the two of the ledger's head.
pub(super) const KEY: usize = 2;

/// The columns of a key `k`, and whether the ledger has buried it.
macro_rules! key_columns {
    () => {
        "k.deployment, k.owner, k.tenant, k.incarnation, k.carrier, k.environment, k.account, k.id, k.purpose, k.algorithm, \
         k.state, k.revision, k.public, k.material, k.created_at, k.activated_at, k.drain_until, k.ended_at, \
         CASE WHEN EXISTS (SELECT 1 FROM sb_ledger l WHERE l.deployment = k.deployment AND l.kind = 'key' \
         AND l.digest = k.jkt) THEN 1 ELSE 0 END"
    };
}
pub(super) use key_columns;

/// The key in a row, and whether the ledger has buried it.
pub(super) fn stored_of(row: &Row) -> Result<(StoredKey, bool), SqlError> {
    let at = |column| Ok::<_, SqlError>(row.opt_int(column)?.map(Timestamp::from_unix_micros));
    let public = PublicJwk::from_json(row.text(14)?.as_bytes()).map_err(|_other| SqlError::Malformed)?;
    // The padding of an RSA key is no part of its JWK.
    let public = match row.text(11)? {
        "RS256" => public.into_rs256().ok_or(SqlError::Malformed)?,
        name if name == public.algorithm().name() => public,
        _ => return Err(SqlError::Malformed),
    };
    let created_at = Timestamp::from_unix_micros(row.int(16)?);
    let id = KeyId::from_uuid(row.uuid(9)?);
    let mut record = KeyRecord::pending(owner_of(row, KEY)?, id, purpose_of(row.text(10)?)?, public, created_at);
    record.state = state_of(row.text(12)?)?;
    record.revision = row.u64(13)?;
    record.activated_at = at(17)?;
    record.drain_until = at(18)?;
    record.ended_at = at(19)?;
    let material = row.opt_text(15)?.map(Material::new);
    Ok((StoredKey { record, material }, row.int(20)? != 0))
}

pub(super) fn state_of(text: &str) -> Result<KeyState, SqlError> {
    Ok(match text {
        "pending" => KeyState::Pending,
        "active" => KeyState::Active,
        "draining" => KeyState::Draining,
        "destroyed" => KeyState::Destroyed,
        "compromised" => KeyState::Compromised,
        _ => return Err(SqlError::Malformed),
    })
}

/// Whether a key in this state has not ended.
pub(super) fn living(state: KeyState) -> bool {
    state < KeyState::Destroyed
}

fn purpose_of(text: &str) -> Result<Purpose, SqlError> {
    Ok(match text {
        "proof" => Purpose::Proof,
        "client-assertion" => Purpose::ClientAssertion,
        "tls" => Purpose::Tls,
        _ => return Err(SqlError::Malformed),
    })
}
