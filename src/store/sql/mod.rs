//! Stores in SQLite (one machine) or PostgreSQL (a fleet): one schema, one set of queries.
//!
//! [`Database::migrate`] makes the tables, as a step of its own; stores that are opened on a [`Database`] never do. What has
//! ended stays ended whatever becomes of the rows: the [`Ledger`] sees to that. [`SqlStores`] opens all stores of a deployment;
//! the chapter [`running_it`](crate::guide::running_it) is a whole program with them.

mod acts;
mod columns;
mod connection;
mod connection_rows;
mod connections;
mod counters;
mod credentials;
mod database;
mod error;
mod generation;
mod grant_rows;
mod grants;
mod key_listing;
mod key_rows;
mod key_store;
mod keys;
mod leader;
mod ledger;
mod lives;
mod migrate;
mod schema;
mod sealing;
mod stores;
mod value;

pub(crate) use self::acts::write_act;
pub(crate) use self::columns::{owner_key, owner_of, owner_values};
pub use self::connections::SqlConnections;
pub(crate) use self::counters::next_number;
pub use self::credentials::SqlCredentialStore;
pub use self::database::{Database, DatabaseBuilder};
pub(crate) use self::database::{Tx, again};
pub use self::error::DatabaseError;
pub(crate) use self::error::SqlError;
pub use self::grants::SqlGrantStore;
pub use self::key_store::SqlKeyStore;
pub use self::keys::SqlKeyRecords;
pub use self::leader::SqlLeadership;
pub use self::ledger::{Ledger, LedgerError, LedgerSetup, Restored, Rollback};
pub use self::migrate::Migrated;
pub use self::schema::SQL_ROLES;
pub use self::sealing::{Exposed, KekState, Resealed, Rewrapped, Sealing, SealingError};
pub use self::stores::SqlStores;
pub(crate) use self::value::{Row, Value};
