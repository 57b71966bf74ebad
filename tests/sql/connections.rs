//! How many connections there are, and what becomes of calls when the server goes away.

use std::time::Duration;

use shipbound::keys::{KeyError, KeyStore, Purpose};
use shipbound::store::sql::{Database, DatabaseError};

use crate::keys::active_key;
use crate::postgres::Postgres;
use crate::world::{Kind, World, owner};

#[tokio::test]
async fn at_most_two_connections_are_open_whatever_is_asked() {
    let world = World::new(Kind::Postgres).await;
    let database = Database::postgres(&format!("{}?application_name=counted", world.direct()));
    let database = database.build().unwrap();
    let ledger = world.setup(&database).open().await.unwrap();
    let keys = world.keys_of(&database, &ledger);
    let count = "SELECT COUNT(*)::text FROM pg_stat_activity WHERE application_name = 'counted'";
    let calls = (0..60).map(|at| {
        let keys = &keys;
        async move { active_key(keys, &format!("t{at}")).await }
    });
    let mut calls = Box::pin(futures_util::future::join_all(calls));
    let mut most = 0;
    loop {
        let counting = Box::pin(world.number(count));
        match futures_util::future::select(&mut calls, counting).await {
            futures_util::future::Either::Left(_) => break,
            futures_util::future::Either::Right((open, _)) => most = most.max(open),
        }
    }
    assert_eq!(most, 2);
}

#[tokio::test]
async fn a_server_that_was_restarted_is_used_again() {
    let mut server = Postgres::start();
    for bounced in [false, true] {
        let url = if bounced {
            server.bounced_url("postgres")
        } else {
            server.url("postgres")
        };
        let mut world = World::bare(Kind::Sqlite).await;
        world.kind = Kind::Postgres;
        let world = world.at(&url, &server.url("postgres"));
        let limit = Duration::from_secs(2);
        let database = Database::postgres(&url)
            .connect_limit(limit)
            .statement_limit(limit)
            .build()
            .unwrap();
        database.migrate().await.unwrap();
        let ledger = world.setup(&database).open().await.unwrap();
        let keys = world.keys_of(&database, &ledger);
        let tenant = if bounced { "bounced" } else { "direct" };
        let key = active_key(&keys, tenant).await;
        server.stop();
        let down = keys.active(&owner("nobody"), Purpose::Proof).await.unwrap_err();
        assert_eq!(down, KeyError::StoreUnavailable, "bounced: {bounced}");
        server.start_again();
        let healed = async {
            loop {
                match keys.active(&owner(tenant), Purpose::Proof).await {
                    // PgBouncer leaves a server alone for some seconds that did not answer.
                    Err(KeyError::StoreUnavailable) if bounced => {}
                    other => return other,
                }
            }
        };
        #[allow(clippy::disallowed_methods)]
        let healed = tokio::time::timeout(Duration::from_secs(60), healed).await.unwrap();
        assert_eq!(healed.unwrap().unwrap().id(), key.id());
        active_key(&keys, &format!("{tenant}-2")).await;
        world.raw("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await;
    }
}

#[tokio::test]
async fn a_server_is_spoken_to_by_tls_if_its_certificate_is_the_right_one() {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    let authority = || {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    };
    let (right, wrong) = (authority(), authority());
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &right).unwrap().pem();
    let mut server = Postgres::start();
    server.stop();
    server.with_tls(&leaf, &key.serialize_pem());
    server.start_again();
    let world = World::bare(Kind::Sqlite).await;
    for (root, host, expected) in [
        (&right, "localhost", Ok(())),
        (&wrong, "localhost", Err(DatabaseError::Unavailable)),
        (&right, "127.0.0.1", Err(DatabaseError::Unavailable)), // the certificate has another name
    ] {
        let file = world.path().with_extension("pem");
        std::fs::write(&file, root.pem()).unwrap();
        let url = server.url("postgres").replace("127.0.0.1", host);
        let url = format!("{url}?sslmode=verify-full&sslrootcert={}", file.display());
        let migrated = Database::postgres(&url).build().unwrap().migrate().await.map(|_| ());
        assert_eq!(migrated, expected, "{host}");
    }
}

#[tokio::test]
async fn a_server_that_never_answers_is_left_in_time() {
    // It takes connections, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://nobody@{}/none", silent.local_addr().unwrap());
    let limit = Duration::from_millis(200);
    let database = Database::postgres(&url).connect_limit(limit).build().unwrap();
    assert_eq!(database.migrate().await, Err(DatabaseError::Unavailable));
}

#[tokio::test]
async fn a_statement_that_waits_too_long_is_given_up_and_harms_nobody() {
    let world = World::new(Kind::Postgres).await;
    let database = Database::postgres(world.direct())
        .statement_limit(Duration::from_millis(300))
        .build()
        .unwrap();
    let ledger = world.setup(&database).open().await.unwrap();
    let keys = world.keys_of(&database, &ledger);
    active_key(&keys, "acme").await;
    // Somebody else holds the row that every change has to take.
    let options: sqlx::postgres::PgConnectOptions = world.direct().parse().unwrap();
    let mut holder = sqlx::ConnectOptions::connect(&options).await.unwrap();
    sqlx::raw_sql("BEGIN; UPDATE sb_counters SET value = value")
        .execute(&mut holder)
        .await
        .unwrap();
    let spec = shipbound::keys::KeySpec {
        purpose: Purpose::Proof,
        algorithm: shipbound::jose::Algorithm::Es256,
    };
    assert_eq!(
        keys.create(&owner("acme"), spec).await.unwrap_err(),
        KeyError::NotPersisted
    );
    sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    assert!(keys.create(&owner("acme"), spec).await.is_ok());
}

#[tokio::test]
#[cfg(unix)]
async fn the_file_of_sqlite_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new(Kind::Sqlite).await;
    let _open = world.keys().await;
    for entry in std::fs::read_dir(world.path().parent().unwrap()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
    }
    std::fs::set_permissions(world.path(), std::fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(world.database().migrate().await, Err(DatabaseError::Exposed));
}

#[test]
fn a_url_is_refused_that_would_send_the_password_in_the_clear_or_is_not_understood() {
    for url in [
        "postgres://app:sEcReTmArKeR@db.example/x?sslmode=disable",
        "postgres://app:sEcReTmArKeR@db.example/x?sslmode=prefer",
        "postgres://app:sEcReTmArKeR@db.example/x?sslmode=require",
        "postgres://app:sEcReTmArKeR@db.example/x?passwd=sEcReTmArKeR",
        "postgres://db.example/x",
        "mysql://app@db.example/x",
        "sEcReTmArKeR@",
    ] {
        let builder = Database::postgres(url);
        let error = builder.clone().build().unwrap_err();
        assert!(matches!(error, DatabaseError::Invalid(_)), "{url}");
        assert!(!format!("{builder:?} {error} {error:?}").contains("sEcReTmArKeR"));
    }
    let weak = Database::postgres("postgres://app@db.example/x?sslmode=disable").danger_unverified();
    assert!(weak.build().is_ok());
    assert!(Database::postgres("postgres://app@db.example/x").build().is_ok());
    assert!(Database::sqlite("x.db").connections(0).build().is_err());
    assert!(Database::sqlite("x.db").connections(65).build().is_err());
}
