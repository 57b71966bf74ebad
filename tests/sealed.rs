//! What is written down is sealed: values, data keys, and the stores that keep them.

#![cfg(feature = "sealed")]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)] // helpers of tests may stop them

/// One test on SQLite and one on PostgreSQL.
#[cfg(feature = "sql")]
macro_rules! on_both {
    ($name:ident) => {
        mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                super::$name(crate::scene::Scene::new(crate::world::Kind::Sqlite).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                super::$name(crate::scene::Scene::new(crate::world::Kind::Postgres).await).await;
            }
        }
    };
}

#[cfg(feature = "sql")]
#[path = "sealed/chain.rs"]
mod chain;
#[cfg(feature = "sql")]
#[path = "sealed/credentials.rs"]
mod credentials;
#[cfg(feature = "sql")]
#[path = "sealed/data_keys.rs"]
mod data_keys;
#[cfg(feature = "sql")]
#[path = "sealed/dump.rs"]
mod dump;
#[cfg(feature = "sql")]
#[path = "sealed/erased.rs"]
mod erased;
#[cfg(feature = "sql")]
#[path = "sealed/exposed.rs"]
mod exposed;
#[cfg(feature = "sql")]
#[path = "sql/forged.rs"]
mod forged;
#[cfg(feature = "sql")]
#[path = "sealed/grants.rs"]
mod grants;
#[path = "sealed/headers.rs"]
mod headers;
#[cfg(feature = "sql")]
#[path = "sealed/keks.rs"]
mod keks;
#[cfg(feature = "sql")]
#[path = "sealed/keys.rs"]
mod keys;
#[cfg(feature = "sql")]
#[path = "sealed/killed.rs"]
mod killed;
#[path = "sealed/local_kek.rs"]
mod local_kek;
#[cfg(feature = "sql")]
#[path = "sealed/lost.rs"]
mod lost;
#[path = "sealed/matrix.rs"]
mod matrix;
#[path = "sealed/owners.rs"]
mod owners;
#[cfg(feature = "sql")]
#[path = "sealed/paused.rs"]
mod paused;
#[cfg(feature = "sql")]
#[path = "support/postgres.rs"]
mod postgres;
#[cfg(feature = "sql")]
#[path = "sealed/provider.rs"]
mod provider;
#[cfg(feature = "sql")]
#[path = "sealed/put_back.rs"]
mod put_back;
#[cfg(feature = "sql")]
#[path = "sealed/scene.rs"]
mod scene;
#[cfg(feature = "sql")]
#[path = "sealed/theft.rs"]
mod theft;
#[cfg(feature = "sql")]
#[allow(dead_code)] // shared with the tests of what is not sealed
#[path = "sql/world.rs"]
mod world;
