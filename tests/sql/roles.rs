//! What each role may do, in a real PostgreSQL.

use shipbound::store::sql::{Database, DatabaseError, SQL_ROLES};
use sqlx::{AssertSqlSafe, ConnectOptions};

use crate::keys::active_key;
use crate::world::{Kind, World, owner, postgres_rows};
use shipbound::keys::{KeyStore, Retired};

#[tokio::test]
async fn each_role_does_its_own_and_no_more() {
    let world = World::bare(Kind::Postgres).await;
    let as_role = |role: &str| world.direct().replace("postgres@", &format!("{role}@"));
    // Roles belong to the whole server, so they may be there from another run of this test.
    world.raw(SQL_ROLES).await;
    for role in ["migrate", "app", "read"] {
        let make = format!("CREATE ROLE is_{role} LOGIN; GRANT shipbound_{role} TO is_{role}");
        postgres_rows(world.direct(), &make).await;
    }
    let migrator = Database::postgres(&as_role("is_migrate")).build().unwrap();
    let app = Database::postgres(&as_role("is_app")).build().unwrap();
    assert_eq!(app.migrate().await, Err(DatabaseError::Refused));
    assert_eq!(migrator.migrate().await.unwrap().to, 1);
    world.raw(SQL_ROLES).await;

    // The application can do all that it has to.
    let ledger = world.setup(&app).open().await.unwrap();
    let keys = world.keys_of(&app, &ledger);
    let key = active_key(&keys, "acme").await;
    assert!(
        keys.retire(&owner("acme"), &key.id(), Retired::Destroyed)
            .await
            .unwrap()
    );

    for (role, statement) in [
        ("is_app", "DELETE FROM sb_ledger"),
        ("is_app", "UPDATE sb_ledger SET digest = 'x'"),
        ("is_app", "TRUNCATE sb_ledger"),
        ("is_app", "DELETE FROM sb_ledger_heads"),
        ("is_app", "DELETE FROM sb_acts"),
        ("is_app", "UPDATE sb_acts SET actor = 'x'"),
        ("is_app", "UPDATE sb_schema SET oldest = 9"),
        ("is_app", "CREATE TABLE more (id int)"),
        ("is_app", "ALTER TABLE sb_keys ADD COLUMN more int"),
        ("is_app", "DROP TABLE sb_keys"),
        ("is_read", "DELETE FROM sb_keys"),
        ("is_read", "UPDATE sb_keys SET state = 'active'"),
        ("is_read", "INSERT INTO sb_counters VALUES ('d', 'n', 1)"),
        ("is_read", "CREATE TABLE more (id int)"),
    ] {
        let options: sqlx::postgres::PgConnectOptions = as_role(role).parse().unwrap();
        let mut connection = options.connect().await.unwrap();
        let refused = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
            .execute(&mut connection)
            .await;
        let refused = refused.unwrap_err();
        let code = refused
            .as_database_error()
            .and_then(|error| error.code().map(|code| code.into_owned()));
        assert_eq!(code.as_deref(), Some("42501"), "{role}: {statement}: {refused}");
    }
    let read = postgres_rows(&as_role("is_read"), "SELECT COUNT(*)::text FROM sb_keys").await;
    assert_eq!(read, ["1"]);
}
