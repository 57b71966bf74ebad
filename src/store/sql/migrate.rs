//! From an older schema to this version's: a separate step, never done by opening a store.

use super::database::{Database, Tx, again};
use super::error::{DatabaseError, SqlError};
use super::schema::{OLDEST, POSTGRES_TYPES, SQLITE_TYPES, STEPS, VERSION, VERSION_TABLE};
use super::value::Value;

/// Held while one process migrates, so that another one waits and then finds nothing to do.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7305804385369843570)";

/// What a migration did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Migrated {
    /// The schema that was there; 0 for none.
    pub from: u32,
    /// The schema that is there now.
    pub to: u32,
}

impl Database {
    /// Brings the tables to the schema of this version, in one transaction. Where they have it already, or a newer one, nothing
    /// is done. May be called by several processes at once, with a role that may create tables.
    ///
    /// Versions of the crate that are one schema apart run on the same tables: migrate first, then replace the application.
    ///
    /// # Errors
    /// [`DatabaseError::Refused`] when the role may not create tables; [`DatabaseError::Unavailable`],
    /// [`DatabaseError::Unknown`]: migrated or not, so call it again.
    ///
    /// ```
    /// # use shipbound::store::sql::{Database, DatabaseError};
    /// # async fn set_up() -> Result<(), DatabaseError> {
    /// let database = Database::sqlite("/var/lib/platform/shipbound.db").build()?;
    /// let migrated = database.migrate().await?;
    /// println!("schema {} -> {}", migrated.from, migrated.to);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn migrate(&self) -> Result<Migrated, DatabaseError> {
        Ok(again(|| self.migrate_once()).await?)
    }

    async fn migrate_once(&self) -> Result<Migrated, SqlError> {
        let mut tx = self.begin().await?;
        if !self.is_sqlite() {
            tx.script(LOCK).await?;
        }
        tx.script(&self.in_words_of(VERSION_TABLE)).await?;
        let from = version(&mut tx).await?.map_or(0, |(version, _)| version);
        if from >= VERSION {
            tx.rollback().await;
            return Ok(Migrated::new(from, from));
        }
        let done = usize::try_from(from).map_err(|_negative| SqlError::Malformed)?;
        for step in STEPS.iter().skip(done) {
            tx.script(&self.in_words_of(step)).await?;
        }
        let at = [VERSION.into(), OLDEST.into()];
        let set = "INSERT INTO sb_schema (one, version, oldest) VALUES (1, $1, $2) \
                   ON CONFLICT (one) DO UPDATE SET version = excluded.version, oldest = excluded.oldest";
        tx.run(set, &at).await?;
        tx.commit().await?;
        Ok(Migrated::new(from, VERSION))
    }

    /// That the tables are there, and of a schema that this version works with: what every store asks before it opens.
    pub(crate) async fn require_schema(&self) -> Result<(), DatabaseError> {
        let rows = self
            .rows("SELECT version, oldest FROM sb_schema WHERE one = 1", &[])
            .await;
        let rows = match rows {
            Err(SqlError::Refused) => return Err(DatabaseError::SchemaTooOld),
            other => other?,
        };
        let row = rows.first().ok_or(DatabaseError::SchemaTooOld)?;
        let (version, oldest) = (row.int(0)?, row.int(1)?);
        if version < VERSION {
            Err(DatabaseError::SchemaTooOld)
        } else if oldest > VERSION {
            Err(DatabaseError::SchemaTooNew)
        } else {
            Ok(())
        }
    }

    fn in_words_of(&self, schema: &str) -> String {
        let words = if self.is_sqlite() { SQLITE_TYPES } else { POSTGRES_TYPES };
        words
            .iter()
            .fold(schema.to_owned(), |schema, (ours, theirs)| schema.replace(ours, theirs))
    }
}

impl Migrated {
    fn new(from: i64, to: i64) -> Self {
        let of = |version: i64| u32::try_from(version).unwrap_or(u32::MAX);
        Self {
            from: of(from),
            to: of(to),
        }
    }
}

async fn version(tx: &mut Tx) -> Result<Option<(i64, i64)>, SqlError> {
    let none: [Value; 0] = [];
    let rows = tx
        .rows("SELECT version, oldest FROM sb_schema WHERE one = 1", &none)
        .await?;
    rows.first().map(|row| Ok((row.int(0)?, row.int(1)?))).transpose()
}
