//! What a thief of a KEK may have read, and nobody has replaced since.

use super::Sealing;
use super::error::SealingError;
use super::keks::KekState;
use crate::keys::KeyId;
use crate::owner::Owner;
use crate::store::seal::{KekId, data_key_of};
use crate::store::sql::{Row, SqlError, owner_key, owner_of};

/// How many rows are read at a time.
const PAGE: i64 = 100;

/// The rows that are marked, and all of those who have a data key that is being replaced. Last, whether a row is marked, its value,
/// and the holder's data key.
macro_rules! exposed {
    ($table:literal, $place:literal, $value:literal, $living:literal) => {
        concat!(
            "SELECT t.deployment, t.owner, t.tenant, t.incarnation, t.carrier, t.environment, t.account, t.",
            $place,
            ", t.exposed, t.",
            $value,
            ", (SELECT a.id FROM sb_data_keys a WHERE a.deployment = t.deployment AND a.tenant = t.tenant \
             AND a.incarnation = t.incarnation AND a.state = 'active') FROM ",
            $table,
            " t WHERE t.deployment = $1 AND t.",
            $place,
            " > $2 AND t.",
            $value,
            " IS NOT NULL",
            $living,
            " AND (t.exposed = 1 OR EXISTS (SELECT 1 FROM sb_data_keys d WHERE d.deployment = t.deployment \
             AND d.tenant = t.tenant AND d.incarnation = t.incarnation AND d.state = 'tainted')) ORDER BY t.",
            $place,
            " LIMIT $3"
        )
    };
}

const KEYS: &str = exposed!(
    "sb_keys",
    "id",
    "material",
    " AND t.state IN ('pending', 'active', 'draining')"
);

const CREDENTIALS: &str = exposed!("sb_credentials", "owner", "sealed", "");

const GRANTS: &str = exposed!("sb_grants", "owner", "sealed", "");

/// What whoever has a stolen KEK and a copy of the database knows. The secret of the [`Ledger`](crate::store::sql::Ledger) is not
/// among it, though he has read that too: [`kek_stolen`](Sealing::kek_stolen) has drawn another one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exposed {
    /// A private key: rotate it as compromised.
    Key(Owner, KeyId),
    /// A connection's credential: have it replaced at the carrier, and put the new one.
    Credential(Owner),
    /// A refresh token: revoke it at the issuer, and ask the shipper for consent.
    Grant(Owner),
}

impl Exposed {
    fn read(stage: usize, row: &Row) -> Result<Self, SqlError> {
        let owner = owner_of(row, 0)?;
        Ok(match stage {
            0 => Self::Key(owner, KeyId::from_uuid(row.uuid(7)?)),
            1 => Self::Credential(owner),
            _ => Self::Grant(owner),
        })
    }
}

impl Sealing {
    /// At most `most` of what is known to whoever has the stolen KEK, after `after`: keys first, then credentials, then grants.
    ///
    /// A row is listed from the moment its data key is marked, and until its secret is another one. That it was used, moved or sealed
    /// anew changes nothing; which clock wrote it is of no account. These take it off the list by themselves, and nothing else is to
    /// be done: a key that has ended; a credential that was put; a consent that was put, removed or has ended; a refresh
    /// token that the issuer has replaced by another. A put counts as a new secret without a look at it, so put none that the
    /// carrier has not replaced. A refresh token that was replaced by its use was rotated at the issuer; whether that ended what
    /// the thief has the issuer knows, so revoke where you are not sure.
    ///
    /// What is left is what is left to do. It is the same for each KEK that was stolen. What was put while
    /// [`kek_stolen`](Self::kek_stolen) marked data keys may be on it although only its successor would be known: replace it as well.
    /// Keys that never leave their device are not on it. The mark is a column of the row and nobody vouches for it: take the right to
    /// write to the database from the thief first.
    ///
    /// # Errors
    /// [`SealingError::UnknownKek`] when this KEK was not told to be stolen, [`SealingError::Database`].
    pub async fn exposed(
        &self,
        stolen: &KekId,
        after: Option<&Exposed>,
        most: usize,
    ) -> Result<Vec<Exposed>, SealingError> {
        if self.kek_state(stolen).await? != Some(KekState::Compromised) {
            return Err(SealingError::UnknownKek);
        }
        let (first, mut after) = match after {
            None => (0, String::new()),
            Some(Exposed::Key(_, id)) => (0, id.to_string()),
            Some(Exposed::Credential(owner)) => (1, owner_key(owner)),
            Some(Exposed::Grant(owner)) => (2, owner_key(owner)),
        };
        let mut found = Vec::new();
        for (stage, sql) in [KEYS, CREDENTIALS, GRANTS].into_iter().enumerate().skip(first) {
            loop {
                let values = [self.deployment.as_str().into(), after.as_str().into(), PAGE.into()];
                let rows = self.database.rows(sql, &values).await?;
                for row in &rows {
                    if found.len() >= most {
                        return Ok(found);
                    }
                    if is_exposed(row)? {
                        found.push(Exposed::read(stage, row)?);
                    }
                }
                let Some(last) = rows.last() else { break };
                after = last.text(7)?.to_owned();
            }
            after.clear();
        }
        Ok(found)
    }
}

/// Whether the row is marked, or its value under another data key than the holder's.
fn is_exposed(row: &Row) -> Result<bool, SqlError> {
    if row.int(8)? != 0 {
        return Ok(true);
    }
    let active = row.opt_text(10)?;
    Ok(data_key_of(row.text(9)?).is_ok_and(|id| active != Some(id.as_uuid().to_string().as_str())))
}
