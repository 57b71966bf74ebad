//! Stores in SQLite, in a real PostgreSQL, and in one behind a real PgBouncer: the same cases on all three.
#![cfg(feature = "sql")]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

/// One test on each database.
macro_rules! on_all {
    ($name:ident) => {
        mod $name {
            #[tokio::test]
            async fn sqlite() {
                super::$name(crate::world::World::new(crate::world::Kind::Sqlite).await).await;
            }

            #[tokio::test]
            async fn postgres() {
                super::$name(crate::world::World::new(crate::world::Kind::Postgres).await).await;
            }

            #[tokio::test]
            async fn bounced() {
                super::$name(crate::world::World::new(crate::world::Kind::Bounced).await).await;
            }
        }
    };
}

mod connections;
mod forged;
mod keys;
mod leader;
mod ledger;
mod meanwhile;
mod registry;
mod restored;
mod roles;
mod running;
mod schema;
#[cfg(feature = "conformance")]
mod sealed;
mod tampered;
mod world;

#[path = "../support/postgres.rs"]
mod postgres;

/// The program of the guide, as users read it.
#[path = "../../src/guide/running_it.rs"]
#[allow(
    clippy::disallowed_methods,
    dead_code,
    unreachable_pub,
    missing_debug_implementations,
    missing_docs
)]
mod running_it;
