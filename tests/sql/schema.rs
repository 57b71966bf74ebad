//! Migrations, and which versions work with which schema.

use shipbound::store::sql::{DatabaseError, LedgerError};

use crate::world::{Kind, World};

async fn a_second_migration_does_nothing_and_two_at_once_do_one(kind: Kind) {
    let world = World::bare(kind).await;
    let (one, two, three) = (world.database(), world.database(), world.database());
    let (first, second, third) = tokio::join!(one.migrate(), two.migrate(), three.migrate());
    let mut from = [first.unwrap().from, second.unwrap().from, third.unwrap().from];
    from.sort_unstable();
    assert_eq!(from, [0, 1, 1], "one of them migrated, the others waited");
    let again = one.migrate().await.unwrap();
    assert_eq!((again.from, again.to), (1, 1));
}

async fn a_store_says_what_is_wrong_with_its_schema(world: World) {
    for (version, oldest, expected) in [
        (2, 1, None), // the next version has migrated, and lets this one go on
        (2, 2, Some(DatabaseError::SchemaTooNew)),
        (0, 0, Some(DatabaseError::SchemaTooOld)),
        (1, 1, None),
    ] {
        world
            .raw(&format!("UPDATE sb_schema SET version = {version}, oldest = {oldest}"))
            .await;
        let found = world.ledger().await.err();
        assert_eq!(found, expected.map(LedgerError::Database), "{version}, {oldest}");
    }
    // A migration of this version does not take a newer schema back.
    world.raw("UPDATE sb_schema SET version = 2, oldest = 1").await;
    assert_eq!(world.database().migrate().await.unwrap().to, 2);
}
on_all!(a_store_says_what_is_wrong_with_its_schema);

mod migrations {
    use super::*;

    #[tokio::test]
    async fn sqlite() {
        a_second_migration_does_nothing_and_two_at_once_do_one(Kind::Sqlite).await;
    }

    #[tokio::test]
    async fn postgres() {
        a_second_migration_does_nothing_and_two_at_once_do_one(Kind::Postgres).await;
    }

    #[tokio::test]
    async fn bounced() {
        a_second_migration_does_nothing_and_two_at_once_do_one(Kind::Bounced).await;
    }

    #[tokio::test]
    async fn nothing_is_migrated_by_opening() {
        for kind in [Kind::Sqlite, Kind::Postgres] {
            let world = World::bare(kind).await;
            let found = world.ledger().await.err();
            assert_eq!(
                found,
                Some(LedgerError::Database(DatabaseError::SchemaTooOld)),
                "{kind:?}"
            );
        }
    }
}
