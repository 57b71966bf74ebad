//! Stores in SQLite (one machine) or PostgreSQL (a fleet): one schema, one set of queries.

mod connection;
mod database;
mod error;
mod migrate;
mod schema;
mod value;

pub use self::database::{Database, DatabaseBuilder};
pub(crate) use self::database::{Tx, again};
pub use self::error::DatabaseError;
pub(crate) use self::error::SqlError;
pub use self::migrate::Migrated;
pub use self::schema::SQL_ROLES;
pub(crate) use self::value::{Row, Value};
