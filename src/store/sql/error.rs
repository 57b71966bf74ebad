//! What can go wrong with a database.

use thiserror::Error;

/// Why a database could not be opened, migrated or used. A category only: no text of the driver or the server, no address and
/// no value of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// The URL or an option is not acceptable.
    ///
    /// User action: as the text says.
    #[error("the database's address or options are not acceptable: {0}")]
    Invalid(&'static str),
    /// The SQLite file may be read or written by others than its owner.
    ///
    /// User action: `chmod 600` the file, and look who had access to it.
    #[error("the database file is open to others than its owner")]
    Exposed,
    /// The database does not answer in time, or no connection was free in time. Nothing was done.
    ///
    /// User action: look at the database's health and at its limit of connections; it is tried anew with the next call.
    #[error("the database is not available")]
    Unavailable,
    /// The connection was lost, or time was up, while the database committed: done or not.
    ///
    /// User action: read what is there before anything is repeated.
    #[error("it is not known whether the database has done it")]
    Unknown,
    /// The database refused the statement: the role may not do that, or the tables are not those of this crate.
    ///
    /// User action: grant what `SQL_ROLES` lists to the role that the application connects as, and run the migration.
    #[error("the database refused it")]
    Refused,
    /// What stands in a row is not what this crate writes.
    ///
    /// User action: find out who else writes to the tables; restore them from a backup.
    #[error("a row does not hold what it should")]
    Malformed,
    /// The tables are not there, or are older than this version of the crate needs.
    ///
    /// User action: run `Database::migrate` with a role that may create tables, before this version starts.
    #[error("the database's schema is missing or too old: run the migration")]
    SchemaTooOld,
    /// The tables were migrated by a newer version of this crate, which this version cannot read.
    ///
    /// User action: run a version of the crate that is at most one schema older than the tables.
    #[error("the database's schema is newer than this version can read")]
    SchemaTooNew,
    /// The chain of ended things shows an older state than it has shown before, or a row of it was changed. Nothing is read or
    /// written until the ledger is opened again.
    ///
    /// User action: if somebody restored a backup, accept it (`LedgerSetup::accept_restore`); else treat it as an attack on the
    /// database.
    #[error("the database's state was rolled back")]
    RolledBack,
    /// Other transactions were in the way, time and again. Nothing was done.
    ///
    /// User action: try again; if it stays, look for long transactions on the tables.
    #[error("other transactions keep getting in the way")]
    Contended,
}

/// How a statement or transaction failed. Everything but [`Unknown`](Self::Unknown) says that nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum SqlError {
    /// A constraint stands against it: a unique index, a check.
    #[error("a constraint stands against it")]
    Conflict,
    /// A deadlock or a serialization failure: the whole transaction may be tried again.
    #[error("another transaction was in the way")]
    Contended,
    /// No connection, time was up, the server went away.
    #[error("the database is not available")]
    Unavailable,
    /// It went wrong while committing.
    #[error("it is not known whether it was done")]
    Unknown,
    /// The server does not take the statement.
    #[error("the database refused it")]
    Refused,
    /// A row holds something else than was asked for.
    #[error("a row does not hold what it should")]
    Malformed,
    /// The file is open to others.
    #[error("the database file is open to others")]
    Exposed,
    /// The ledger found that the database was rolled back.
    #[error("the database's state was rolled back")]
    RolledBack,
}

impl From<SqlError> for DatabaseError {
    fn from(error: SqlError) -> Self {
        match error {
            SqlError::Conflict | SqlError::Refused => Self::Refused,
            SqlError::Contended => Self::Contended,
            SqlError::Unavailable => Self::Unavailable,
            SqlError::Unknown => Self::Unknown,
            SqlError::Malformed => Self::Malformed,
            SqlError::Exposed => Self::Exposed,
            SqlError::RolledBack => Self::RolledBack,
        }
    }
}
