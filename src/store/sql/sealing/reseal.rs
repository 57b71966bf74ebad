//! Sealing the values of one holder anew, table by table.

use super::Sealing;
use super::data_keys::still_active;
use super::error::SealingError;
use super::rows::Written;
use crate::jose::Thumbprint;
use crate::keys::{KeyState, Purpose};
use crate::owner::Owner;
use crate::store::seal::{self, DataKey, SealContext, Table};
use crate::store::sql::grant_rows::Stage;
use crate::store::sql::{Row, SqlError, Value, again, owner_of};

/// How many rows are read at a time, and written in one transaction.
const PAGE: i64 = 100;

const KEYS: &str = "SELECT deployment, owner, tenant, incarnation, carrier, environment, account, id, revision, material, \
    purpose, state, jkt, algorithm FROM sb_keys \
    WHERE deployment = $1 AND tenant = $2 AND incarnation = $3 AND material IS NOT NULL AND id > $4 ORDER BY id LIMIT $5";

const CREDENTIALS: &str = "SELECT deployment, owner, tenant, incarnation, carrier, environment, account, owner, revision, \
    sealed FROM sb_credentials \
    WHERE deployment = $1 AND tenant = $2 AND incarnation = $3 AND sealed IS NOT NULL AND owner > $4 ORDER BY owner LIMIT $5";

const GRANTS: &str = "SELECT deployment, owner, tenant, incarnation, carrier, environment, account, owner, revision, \
    sealed, stage, consent, life, until, second_chance FROM sb_grants \
    WHERE deployment = $1 AND tenant = $2 AND incarnation = $3 AND sealed IS NOT NULL AND owner > $4 ORDER BY owner LIMIT $5";

// What was under the data key before may have been read: each of them marks the row.
const WRITE_KEY: &str =
    "UPDATE sb_keys SET material = $4, exposed = 1 WHERE deployment = $1 AND id = $2 AND material = $3";

const WRITE_CREDENTIAL: &str =
    "UPDATE sb_credentials SET sealed = $4, exposed = 1 WHERE deployment = $1 AND owner = $2 AND sealed = $3";

const WRITE_GRANT: &str =
    "UPDATE sb_grants SET sealed = $4, exposed = 1 WHERE deployment = $1 AND owner = $2 AND sealed = $3";

/// A value as it stands in its row, with all that it belongs to.
struct Standing {
    owner: Owner,
    /// What its row is found by.
    place: String,
    revision: u64,
    sealed: String,
    key: Option<(Purpose, KeyState, Thumbprint)>,
    /// How a grant stands, or a key's algorithm.
    stage: Option<String>,
}

/// How many values were sealed under the old data key, and how many of them did not open.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Found {
    pub(super) opened: u64,
    pub(super) refused: u64,
}

impl Standing {
    /// From the seven columns of the owner, `place, revision, sealed`, and what the table has beside.
    fn read(table: Table, row: &Row) -> Result<Self, SqlError> {
        let mut standing = Self {
            owner: owner_of(row, 0)?,
            place: row.text(7)?.to_owned(),
            revision: row.u64(8)?,
            sealed: row.text(9)?.to_owned(),
            key: None,
            stage: None,
        };
        match table {
            Table::Keys => {
                standing.key = Some(key_of(row)?);
                standing.stage = Some(row.text(13)?.to_owned());
            }
            Table::Grants => standing.stage = Some(Stage::read(row, 10)?.text()),
            Table::Credentials | Table::Ledger => {}
        }
        Ok(standing)
    }

    fn context(&self, table: Table) -> SealContext<'_> {
        let mut context = SealContext::new(&self.owner, table, self.revision);
        if let Some((purpose, state, jkt)) = self.key {
            (context.purpose, context.state, context.jkt) = (Some(purpose), Some(state), Some(jkt));
        }
        context.stage = self.stage.as_deref();
        context
    }
}

fn key_of(row: &Row) -> Result<(Purpose, KeyState, Thumbprint), SqlError> {
    let purposes = [Purpose::Proof, Purpose::ClientAssertion, Purpose::Tls];
    let states = [
        KeyState::Pending,
        KeyState::Active,
        KeyState::Draining,
        KeyState::Destroyed,
        KeyState::Compromised,
    ];
    let (purpose, state) = (row.text(10)?, row.text(11)?);
    let purpose = purposes.into_iter().find(|known| known.as_str() == purpose);
    let state = states.into_iter().find(|known| known.as_str() == state);
    let jkt = Thumbprint::from_base64url(row.text(12)?);
    purpose
        .zip(state)
        .zip(jkt)
        .map(|((purpose, state), jkt)| (purpose, state, jkt))
        .ok_or(SqlError::Malformed)
}

impl Sealing {
    /// Seals everything anew that is sealed under this data key, but for the secret of the ledger: who can read that needs another one.
    pub(super) async fn reseal(&self, written: &Written, old: &DataKey) -> Result<Found, SealingError> {
        let mut found = Found::default();
        for (table, read, write) in [
            (Table::Keys, KEYS, WRITE_KEY),
            (Table::Credentials, CREDENTIALS, WRITE_CREDENTIAL),
            (Table::Grants, GRANTS, WRITE_GRANT),
        ] {
            let mut after = String::new();
            loop {
                let page = self.standing(table, read, written, &after).await?;
                let (page, malformed, next) = page;
                found.refused += malformed;
                let Some(next) = next else { break };
                after = next;
                self.reseal_page(table, write, written, old, &page, &mut found).await?;
            }
        }
        Ok(found)
    }

    async fn standing(
        &self,
        table: Table,
        read: &'static str,
        written: &Written,
        after: &str,
    ) -> Result<(Vec<Standing>, u64, Option<String>), SqlError> {
        let [tenant, incarnation] = written.holder.values();
        let values = [
            self.deployment.as_str().into(),
            tenant,
            incarnation,
            after.into(),
            PAGE.into(),
        ];
        let rows = self.database.rows(read, &values).await?;
        let page: Vec<Standing> = rows.iter().filter_map(|row| Standing::read(table, row).ok()).collect();
        // A row that was changed is no reason to stop before all behind it.
        let malformed = u64::try_from(rows.len().saturating_sub(page.len())).unwrap_or(u64::MAX);
        let next = rows.last().map(|row| row.text(7).map(str::to_owned)).transpose()?;
        Ok((page, malformed, next))
    }

    async fn reseal_page(
        &self,
        table: Table,
        write: &'static str,
        written: &Written,
        old: &DataKey,
        page: &[Standing],
        found: &mut Found,
    ) -> Result<(), SealingError> {
        // The others are under another data key, or kept by another means.
        let under_old = |standing: &&Standing| seal::data_key_of(&standing.sealed) == Ok(written.id);
        let mut opened = Vec::new();
        for standing in page.iter().filter(under_old) {
            match seal::open(written.id, old, &standing.context(table), &standing.sealed) {
                Ok(value) => opened.push((standing, value)),
                Err(_) => {
                    found.refused += 1;
                    // It stays as it is; what it was before its row was changed may have been read all the same.
                    let change = self.change(standing, standing.sealed.clone());
                    again(|| self.database.run(write, &change)).await?;
                }
            }
        }
        if opened.is_empty() {
            return Ok(());
        }
        let (next, key) = self.active(&written.holder).await?;
        let mut changes = Vec::new();
        for (standing, value) in opened {
            let sealed = seal::seal(next, &key, &standing.context(table), &value)?;
            found.opened += 1;
            changes.push(self.change(standing, sealed));
        }
        // A row that was changed meanwhile is under the new data key already, or is found by the next look.
        again(|| self.write_resealed(write, &changes)).await?;
        Ok(())
    }

    fn change(&self, standing: &Standing, sealed: String) -> [Value; 4] {
        [
            self.deployment.as_str().into(),
            standing.place.as_str().into(),
            standing.sealed.as_str().into(),
            sealed.into(),
        ]
    }

    async fn write_resealed(&self, write: &'static str, changes: &[[Value; 4]]) -> Result<(), SqlError> {
        let mut tx = self.database.begin().await?;
        let active = match changes.first() {
            Some([_, _, _, Value::Text(sealed)]) => still_active(&mut tx, &self.deployment, sealed).await?,
            _ => false,
        };
        if !active {
            tx.rollback().await;
            return Err(SqlError::Unavailable);
        }
        for change in changes {
            tx.run(write, change).await?;
        }
        tx.commit().await
    }
}
