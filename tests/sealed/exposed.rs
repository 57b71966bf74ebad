//! What the thief of a KEK may have read is listed until it is replaced, whatever else becomes of it.

use std::time::Duration;

use shipbound::clock::{Clock, Timestamp};
use shipbound::credentials::{Credential, CredentialAdmin};
use shipbound::grants::{Claim, Grant, Grants, Rotation};
use shipbound::jose::Algorithm;
use shipbound::keys::{KeySpec, KeyStore, Purpose, Retired};
use shipbound::owner::Owner;
use shipbound::secret::RefreshToken;
use shipbound::store::seal::data_key_of;
use shipbound::store::sql::{Exposed, SealingError};

use crate::provider::kek;
use crate::scene::{Process, Scene, act, connection};
use crate::theft::fill;
use crate::world::owner;

const AT: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

const ASSERTION: KeySpec = KeySpec {
    purpose: Purpose::ClientAssertion,
    algorithm: Algorithm::Es256,
};

/// What is listed of this owner, by what it is: sorted.
async fn listed(process: &Process, of: &Owner) -> Vec<&'static str> {
    let all = process.sealing.exposed(&kek("k1"), None, 1_000).await.unwrap();
    let mut listed: Vec<_> = all
        .iter()
        .filter_map(|exposed| match exposed {
            Exposed::Key(owner, _) if owner == of => Some("key"),
            Exposed::Credential(owner) if owner == of => Some("credential"),
            Exposed::Grant(owner) if owner == of => Some("grant"),
            _ => None,
        })
        .collect();
    listed.sort_unstable();
    listed
}

async fn claimed(scene: &Scene, process: &Process, tenant: &str) -> Claim {
    let grants = Grants::new(process.grants.clone(), scene.world.clock.clone());
    let now = scene.world.clock.monotonic();
    grants
        .claim(&connection(tenant), Rotation::PreviousDies, now)
        .await
        .unwrap()
}

/// All is marked, nothing sealed anew.
async fn mark(scene: &Scene) -> Process {
    let process = scene.process(&["k2", "k1"]).await;
    process.sealing.rotate_kek(&act()).await.unwrap();
    scene
        .world
        .raw("UPDATE sb_data_keys SET state = 'tainted'; UPDATE sb_keks SET state = 'compromised' WHERE id = 'k1'")
        .await;
    process
}

async fn reseal(process: &Process) -> u64 {
    let resealed = process
        .sealing
        .kek_stolen(&kek("k1"), &act(), &mut |_| ())
        .await
        .unwrap();
    assert_eq!(resealed.left, 0);
    resealed.refused
}

/// Whether the one value that this finds is under a data key that is to be replaced.
async fn is_under_an_old_one(scene: &Scene, sql: &str) -> bool {
    let sealed = scene.world.raw(sql).await;
    let [sealed] = &sealed[..] else { panic!("{sealed:?}") };
    let id = data_key_of(sealed).unwrap();
    let sql = format!(
        "SELECT COUNT(*) FROM sb_data_keys WHERE state = 'tainted' AND id = '{}'",
        id.as_uuid()
    );
    scene.world.number(&sql).await == 1
}

on_both!(what_is_exposed_is_listed_until_it_is_replaced);
async fn what_is_exposed_is_listed_until_it_is_replaced(scene: Scene) {
    let process = scene.process(&["k1"]).await;
    for tenant in ["t0", "t1"] {
        fill(&scene, &process, tenant).await;
    }
    let stolen = kek("k1");
    assert_eq!(
        process.sealing.exposed(&stolen, None, 10).await.unwrap_err(),
        SealingError::UnknownKek
    );
    scene.world.clock.advance(std::time::Duration::from_secs(60));
    let process = scene.process(&["k2", "k1"]).await;
    process.sealing.kek_stolen(&stolen, &act(), &mut |_| ()).await.unwrap();
    scene.world.clock.advance(std::time::Duration::from_secs(60));
    let all = process.sealing.exposed(&stolen, None, 100).await.unwrap();
    assert_eq!(all.len(), 6);
    // The same by pages of one.
    let mut paged: Vec<Exposed> = Vec::new();
    while let Some(next) = process.sealing.exposed(&stolen, paged.last(), 1).await.unwrap().pop() {
        paged.push(next);
    }
    assert_eq!(paged, all);

    // Replaced, ended, consented anew.
    let (t0, connection) = (owner("t0"), connection("t0"));
    let key = process.keys.active(&t0, Purpose::Proof).await.unwrap().unwrap();
    process
        .keys
        .retire(&t0, &key.id(), shipbound::keys::Retired::Compromised)
        .await
        .unwrap();
    process
        .credentials
        .put_credential(&connection, Credential::new("t0", "new"), &act())
        .await
        .unwrap();
    let grants = Grants::new(process.grants.clone(), scene.world.clock.clone());
    grants.put(&connection, Grant::new("new", AT)).await.unwrap();
    let left = process.sealing.exposed(&stolen, None, 100).await.unwrap();
    assert_eq!(left.len(), 3);
    let of = |exposed: &Exposed| match exposed {
        Exposed::Key(owner, _) | Exposed::Credential(owner) | Exposed::Grant(owner) => owner.clone(),
        other => panic!("{other:?}"),
    };
    assert!(left.iter().all(|exposed| of(exposed) == owner("t1")));
}

on_both!(a_refresh_token_that_was_merely_used_stays_listed);
async fn a_refresh_token_that_was_merely_used_stays_listed(scene: Scene) {
    let before = scene.process(&["k1"]).await;
    for tenant in ["used", "kept", "rotated", "later"] {
        fill(&scene, &before, tenant).await;
    }
    scene.world.clock.advance(Duration::from_secs(60));
    let process = mark(&scene).await;
    for tenant in ["used", "kept", "rotated", "later"] {
        assert_eq!(listed(&process, &owner(tenant)).await, ["credential", "grant", "key"]);
    }

    // Before it is sealed anew: its use seals it under the new data key.
    scene.world.clock.advance(Duration::from_secs(60));
    let claim = claimed(&scene, &process, "used").await;
    let of_used = "SELECT sealed FROM sb_grants WHERE tenant = 'used'";
    assert!(!is_under_an_old_one(&scene, of_used).await);
    assert!(listed(&process, &owner("used")).await.contains(&"grant"));
    claim.release().await.unwrap();
    // The issuer gave no other one.
    claimed(&scene, &process, "kept")
        .await
        .settle(None, None)
        .await
        .unwrap();
    // It gave another one.
    let next = RefreshToken::new("next");
    claimed(&scene, &process, "rotated")
        .await
        .settle(Some(next), None)
        .await
        .unwrap();
    assert!(is_under_an_old_one(&scene, "SELECT sealed FROM sb_grants WHERE tenant = 'later'").await);

    for sealed_anew in [false, true] {
        if sealed_anew {
            assert_eq!(reseal(&process).await, 0);
        }
        for tenant in ["used", "kept", "later"] {
            assert_eq!(listed(&process, &owner(tenant)).await, ["credential", "grant", "key"]);
        }
        assert_eq!(listed(&process, &owner("rotated")).await, ["credential", "key"]);
    }

    // After it was sealed anew, in any process.
    scene.world.clock.advance(Duration::from_secs(60));
    let process = scene.process(&["k2"]).await;
    claimed(&scene, &process, "later").await.release().await.unwrap();
    claimed(&scene, &process, "used").await.abandon().await.unwrap();
    for tenant in ["later", "used"] {
        assert!(listed(&process, &owner(tenant)).await.contains(&"grant"), "{tenant}");
    }
    let next = RefreshToken::new("next");
    claimed(&scene, &process, "later")
        .await
        .settle(Some(next), None)
        .await
        .unwrap();
    let grants = Grants::new(process.grants.clone(), scene.world.clock.clone());
    grants.put(&connection("used"), Grant::new("new", AT)).await.unwrap();
    // Withdrawn.
    claimed(&scene, &process, "kept").await.end().await.unwrap();
    for tenant in ["later", "used", "kept", "rotated"] {
        assert_eq!(listed(&process, &owner(tenant)).await, ["credential", "key"]);
    }
}

on_both!(a_key_that_was_merely_promoted_stays_listed);
async fn a_key_that_was_merely_promoted_stays_listed(scene: Scene) {
    let (before, acme) = (scene.process(&["k1"]).await, owner("acme"));
    let early = before.keys.create(&acme, ASSERTION).await.unwrap();
    let late = before.keys.create(&acme, ASSERTION).await.unwrap();
    let process = mark(&scene).await;
    process.keys.promote(&acme, &early.id(), None, AT).await.unwrap();
    let of_early = format!("SELECT material FROM sb_keys WHERE id = '{}'", early.id());
    assert!(!is_under_an_old_one(&scene, &of_early).await);
    assert_eq!(listed(&process, &acme).await, ["key", "key"]);
    reseal(&process).await;
    assert_eq!(listed(&process, &acme).await, ["key", "key"]);
    process.keys.promote(&acme, &late.id(), None, AT).await.unwrap();
    assert_eq!(listed(&process, &acme).await, ["key", "key"]);
    // What is made now nobody has read.
    process.keys.create(&acme, ASSERTION).await.unwrap();
    assert_eq!(listed(&process, &acme).await, ["key", "key"]);
    for id in [early.id(), late.id()] {
        process.keys.retire(&acme, &id, Retired::Compromised).await.unwrap();
    }
    assert!(listed(&process, &acme).await.is_empty());
}

on_both!(it_does_not_matter_whose_clock_is_ahead);
async fn it_does_not_matter_whose_clock_is_ahead(scene: Scene) {
    let (clock, process) = (&scene.world.clock, scene.process(&["k1"]).await);
    let ahead = |hours: i64| clock.set_wall(Timestamp::from_unix_seconds(AT.unix_seconds() + hours * 3_600));
    ahead(1);
    // The last thing before the marking.
    fill(&scene, &process, "t0").await;
    ahead(0);
    fill(&scene, &process, "t1").await;
    let process = scene.process(&["k2", "k1"]).await;
    reseal(&process).await;
    // Nor does that of whoever replaces it.
    ahead(-1);
    for tenant in ["t0", "t1"] {
        assert_eq!(listed(&process, &owner(tenant)).await, ["credential", "grant", "key"]);
        let credential = Credential::new(tenant, "new");
        let (connection, act) = (connection(tenant), act());
        process
            .credentials
            .put_credential(&connection, credential, &act)
            .await
            .unwrap();
        assert_eq!(listed(&process, &owner(tenant)).await, ["grant", "key"]);
    }
    fill(&scene, &process, "t2").await;
    assert!(listed(&process, &owner("t2")).await.is_empty());
}

on_both!(what_does_not_open_any_more_stays_listed);
async fn what_does_not_open_any_more_stays_listed(scene: Scene) {
    let process = scene.process(&["k1"]).await;
    fill(&scene, &process, "acme").await;
    let broken = "UPDATE sb_credentials SET revision = revision + 1; UPDATE sb_grants SET consent = consent + 1";
    scene.world.raw(broken).await;
    let process = scene.process(&["k2", "k1"]).await;
    assert_eq!(reseal(&process).await, 2);
    assert_eq!(listed(&process, &owner("acme")).await, ["credential", "grant", "key"]);
}
