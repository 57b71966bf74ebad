//! Refresh tokens that are bound to a key (RFC 9449 5).

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use shipbound::binding::Confirmation;
use shipbound::binding::dpop::Dpop;
use shipbound::carriers::CarrierProfile;
use shipbound::exchange::budget::Limits;
use shipbound::grants::{GrantState, GrantStore};
use shipbound::journal::KeyChange;
use shipbound::keys::{KeyState, KeyStore, Purpose};
use shipbound::owner::{CarrierId, ConnectionId, Environment, Owner, Tenant, TenantId};
use shipbound::rotation::{Outcome, RotationPolicy, Rotator, Selection, Why};
use shipbound::sandbox::{Answer, Canned, Endpoint, Gate, Registration, Sandbox};
use shipbound::token::TokenAt;
use shipbound::token::client_auth::ClientAuth;
use shipbound::{Client, Error, Parts};

use crate::stops::{Stop, Stopping};
use crate::world::{DAY, HOUR, Keys, World, act, connection, round, world};

const BACK: &str = "https://app.example/back";

struct Consented {
    profile: CarrierProfile,
    world: World,
    sandbox: Sandbox,
    parts: Parts,
    client: Client,
    tenant: Tenant,
}

impl Consented {
    async fn new(public: bool) -> Self {
        Self::over(public, |keys| Arc::new(keys)).await
    }

    async fn over(public: bool, store: impl FnOnce(Keys) -> Arc<dyn KeyStore>) -> Self {
        let world = world();
        let sandbox = Sandbox::builder()
            .clock(world.shared_clock())
            .require_dpop(true)
            .rotate_refresh_tokens(true)
            .start()
            .await
            .unwrap();
        sandbox.route(Method::POST, "/v1/shipments", Canned::empty(201));
        let profile = sandbox.profile(
            CarrierProfile::custom(
                CarrierId::new("acme-freight").unwrap(),
                Environment::Sandbox,
                "https://api.carrier.example",
                TokenAt::Issuer("https://auth.carrier.example".into()),
            )
            .by_consent()
            .client_auth(if public { ClientAuth::None } else { ClientAuth::Basic }),
        );
        let acme = TenantId::new("acme").unwrap();
        let registration = match public {
            true => Registration::public("app"),
            false => Registration::secret("app", "s3cr3t"),
        };
        let credential = sandbox.register(registration.redirect_uri(BACK).tenant(&acme));
        let credentials = shipbound::credentials::MemoryCredentials::new();
        credentials.put(acme.clone(), profile.id(), Environment::Sandbox, credential);
        let grants: Arc<dyn GrantStore> = world.grants.clone();
        let parts = Parts::builder()
            .shared_keys(store(world.keys()))
            .credentials(credentials)
            .shared_grants(grants)
            .transport(sandbox.transport().unwrap())
            .shared_sink(world.sink.clone())
            .clock(world.shared_clock())
            .build()
            .unwrap();
        let client = Client::builder(profile.clone(), &parts)
            .binding(Dpop::es256())
            .build()
            .unwrap();
        Self {
            profile,
            world,
            sandbox,
            parts,
            client,
            tenant: acme.into(),
        }
    }

    fn connection() -> ConnectionId {
        connection("acme", Environment::Sandbox)
    }

    fn owner() -> Owner {
        Self::connection().into()
    }

    fn rotator(&self) -> Rotator {
        Rotator::builder(&self.parts, Arc::new(self.world.keys()))
            .build()
            .unwrap()
    }

    async fn consent(&self) {
        let begun = self.client.authorize(&self.tenant, BACK).await.unwrap();
        let back = self.sandbox.allow(begun.url.as_str()).unwrap();
        self.client.consented(&self.tenant, begun.pending, &back).await.unwrap();
    }

    async fn ship(&self) -> Result<u16, Error> {
        let shipped = self
            .client
            .for_tenant(self.tenant.clone())
            .post("/v1/shipments")
            .send()
            .await?;
        Ok(shipped.status().as_u16())
    }

    async fn bound_to(&self) -> Vec<Confirmation> {
        let record = self.world.grants.load(&Self::connection()).await.unwrap().unwrap();
        match record.state {
            GrantState::Ready(grant) => grant.confirmations().to_vec(),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_key_that_a_refresh_token_is_bound_to_stays_and_goes_on() {
    let consented = Consented::new(true).await;
    consented.consent().await;
    let held = consented.world.active(&Consented::owner()).await;
    assert_eq!(consented.bound_to().await, [Confirmation::Jkt(held.jkt())]);
    let rotator = consented.rotator();
    // Long after it was due it still refreshes, and somebody is told each day.
    for _ in 0..9 * 24 {
        consented.world.clock.advance(HOUR);
        round(&rotator).await;
        assert_eq!(consented.ship().await.unwrap(), 201);
    }
    assert_eq!(consented.world.active(&Consented::owner()).await.id, held.id);
    let told = consented
        .world
        .count(|change| matches!(change, KeyChange::HeldByGrant { .. }));
    assert!((2..=3).contains(&told), "{told}");
    let run = rotator.rotate(Selection::All, Why::Routine, &act());
    let mut run = Box::pin(run);
    let progress = futures_util::StreamExt::next(&mut run).await.unwrap();
    assert_eq!(progress.outcome, Outcome::Held);

    // The consent ends, and so does the hold, within an hour.
    consented.world.grants.remove(&Consented::connection()).await.unwrap();
    consented.world.clock.advance(HOUR);
    round(&rotator).await;
    assert_ne!(consented.world.active(&Consented::owner()).await.id, held.id);
    consented.consent().await;
    assert_eq!(consented.ship().await.unwrap(), 201);
    consented.sandbox.shutdown().await;
}

#[tokio::test]
async fn a_compromise_ends_the_consent_that_is_bound_to_the_key() {
    let consented = Consented::new(true).await;
    consented.consent().await;
    consented.world.clock.advance(HOUR / 2);
    let run = consented
        .rotator()
        .rotate(Selection::All, Why::Compromised, &act())
        .finish()
        .await;
    assert_eq!((run.rotated, run.failed), (1, 0));
    // The refresh token cannot be used without its key; whoever consents anew goes on.
    let error = consented.ship().await.unwrap_err();
    assert_eq!(error.code(), "key");
    consented.world.clock.advance(Duration::from_secs(120));
    consented.consent().await;
    assert_eq!(consented.ship().await.unwrap(), 201);
    consented.sandbox.shutdown().await;
}

/// Whatever has promoted another key: what is bound to the old one goes on while that drains.
#[tokio::test]
async fn a_bound_refresh_token_is_used_with_the_draining_key() {
    let consented = Consented::new(true).await;
    consented.consent().await;
    let keys = consented.world.keys();
    let owner = Consented::owner();
    let old = consented.world.active(&owner).await;
    let spec = shipbound::keys::KeySpec {
        purpose: Purpose::Proof,
        algorithm: shipbound::jose::Algorithm::Es256,
    };
    let new = keys.create(&owner, spec).await.unwrap();
    let until = shipbound::clock::Clock::now(&*consented.world.clock) + DAY;
    assert!(keys.promote(&owner, &new.id(), Some(&old.id), until).await.unwrap());
    for _ in 0..20 {
        consented.world.clock.advance(HOUR);
        assert_eq!(consented.ship().await.unwrap(), 201);
    }
    assert_eq!(consented.bound_to().await, [Confirmation::Jkt(old.jkt())]);
    assert!(consented.sandbox.token_requests() > 15);
    consented.world.clock.advance(5 * HOUR);
    assert_eq!(consented.ship().await.unwrap_err().code(), "key");
    consented.sandbox.shutdown().await;
}

/// A confidential client's refresh token is bound to no key; its code is (RFC 9449 10).
#[tokio::test]
async fn a_consent_that_a_rotation_comes_into_is_finished_with_the_old_key_and_goes_on_with_the_new_one() {
    let consented = Consented::new(false).await;
    let begun = consented.client.authorize(&consented.tenant, BACK).await.unwrap();
    consented.world.clock.advance(Duration::from_secs(5));
    let run = consented
        .rotator()
        .rotate(Selection::All, Why::Routine, &act())
        .finish()
        .await;
    assert_eq!(run.rotated, 1);
    let back = consented.sandbox.allow(begun.url.as_str()).unwrap();
    consented
        .client
        .consented(&consented.tenant, begun.pending, &back)
        .await
        .unwrap();
    assert_eq!(consented.ship().await.unwrap(), 201);
    let lease = consented.client.lease(&consented.tenant).unwrap();
    let [draining] = &consented.world.of(&Consented::owner(), KeyState::Draining).await[..] else {
        panic!("one drains")
    };
    assert_eq!(lease.confirmations(), [Confirmation::Jkt(draining.jkt())]);
    consented.world.clock.advance(HOUR);
    assert_eq!(consented.ship().await.unwrap(), 201);
    let active = consented.world.active(&Consented::owner()).await;
    let lease = consented.client.lease(&consented.tenant).unwrap();
    assert_eq!(lease.confirmations(), [Confirmation::Jkt(active.jkt())]);
    consented.sandbox.shutdown().await;
}

/// Begins to exchange a code, and has the key replaced before the issuer has answered.
async fn consent_while_replaced(consented: &Consented) -> shipbound::keys::KeyRecord {
    let begun = consented.client.authorize(&consented.tenant, BACK).await.unwrap();
    let back = consented.sandbox.allow(begun.url.as_str()).unwrap();
    let gate = Gate::new();
    let acme = consented.tenant.id().clone();
    consented
        .sandbox
        .script(acme, Endpoint::Token, [Answer::normal().held(&gate)]);
    let old = consented.world.active(&Consented::owner()).await;
    consented.world.clock.advance(Duration::from_secs(5));
    let (client, tenant) = (consented.client.clone(), consented.tenant.clone());
    let exchange = tokio::spawn(async move { client.consented(&tenant, begun.pending, &back).await.map(drop) });
    gate.reached(1).await;
    let run = consented
        .rotator()
        .rotate(Selection::All, Why::Routine, &act())
        .finish()
        .await;
    assert_eq!((run.rotated, run.held), (1, 0));
    gate.open();
    exchange.await.unwrap().unwrap();
    assert_eq!(consented.bound_to().await, [Confirmation::Jkt(old.jkt())]);
    old
}

#[tokio::test]
async fn a_consent_that_comes_while_its_key_is_replaced_goes_on_with_the_old_key_until_it_ends() {
    let consented = Consented::new(true).await;
    let old = consent_while_replaced(&consented).await;
    let held = |change: &KeyChange| matches!(change, KeyChange::HeldByGrant { .. });
    assert_eq!(consented.world.count(held), 1, "told at once");
    let rotator = consented.rotator();
    for _ in 0..9 * 24 {
        consented.world.clock.advance(HOUR);
        round(&rotator).await;
        assert_eq!(consented.ship().await.unwrap(), 201);
    }
    assert_eq!(consented.bound_to().await, [Confirmation::Jkt(old.jkt())]);
    let told = consented.world.count(held);
    assert!((5..=10).contains(&told), "{told}");

    // The consent ends, and the key drains.
    consented.world.grants.remove(&Consented::connection()).await.unwrap();
    for _ in 0..50 {
        consented.world.clock.advance(HOUR);
        round(&rotator).await;
    }
    let destroyed = consented.world.of(&Consented::owner(), KeyState::Destroyed).await;
    assert!(destroyed.iter().any(|key| key.id == old.id));
    assert_eq!(consented.world.count(held), told);
    consented.sandbox.shutdown().await;
}

/// Where the store cannot have a draining key go on, the consent ends with it; that was told.
#[tokio::test]
async fn a_store_that_cannot_hold_a_key_lets_it_drain_and_that_is_told() {
    let consented = Consented::over(true, |keys| Arc::new(Stopping::new(keys, usize::MAX, Stop::Before))).await;
    consent_while_replaced(&consented).await;
    assert_eq!(
        consented
            .world
            .count(|change| matches!(change, KeyChange::HeldByGrant { .. })),
        1
    );
    let rotator = consented.rotator();
    for _ in 0..23 {
        consented.world.clock.advance(HOUR);
        round(&rotator).await;
        assert_eq!(consented.ship().await.unwrap(), 201);
    }
    consented.world.clock.advance(2 * HOUR);
    round(&rotator).await;
    assert_eq!(consented.ship().await.unwrap_err().code(), "key");
    // Nor is a code taken whose key has been replaced: the refresh token would end with it.
    consented.world.clock.advance(Duration::from_secs(120));
    let begun = consented.client.authorize(&consented.tenant, BACK).await.unwrap();
    let back = consented.sandbox.allow(begun.url.as_str()).unwrap();
    consented.world.grants.remove(&Consented::connection()).await.unwrap();
    let run = rotator.rotate(Selection::All, Why::Routine, &act()).finish().await;
    assert_eq!(run.rotated, 1);
    let refused = consented
        .client
        .consented(&consented.tenant, begun.pending, &back)
        .await;
    assert_eq!(refused.unwrap_err().code(), "key");
    consented.sandbox.shutdown().await;
}

/// RFC 9449 10: the code is bound to the key that it was asked for with, and so is a public client's refresh token.
#[tokio::test]
async fn a_public_clients_consent_that_a_rotation_comes_into_is_finished_and_its_key_held() {
    let consented = Consented::new(true).await;
    let begun = consented.client.authorize(&consented.tenant, BACK).await.unwrap();
    let old = consented.world.active(&Consented::owner()).await;
    consented.world.clock.advance(Duration::from_secs(5));
    let rotator = consented.rotator();
    let run = rotator.rotate(Selection::All, Why::Routine, &act()).finish().await;
    assert_eq!(run.rotated, 1);
    let back = consented.sandbox.allow(begun.url.as_str()).unwrap();
    consented
        .client
        .consented(&consented.tenant, begun.pending, &back)
        .await
        .unwrap();
    assert_eq!(consented.bound_to().await, [Confirmation::Jkt(old.jkt())]);
    for _ in 0..5 * 24 {
        consented.world.clock.advance(HOUR);
        round(&rotator).await;
        assert_eq!(consented.ship().await.unwrap(), 201);
    }
    consented.sandbox.shutdown().await;
}

/// What a client trusts tokens for is how long its replaced keys sign, whoever replaces them.
#[tokio::test]
async fn keys_drain_as_long_as_the_clients_limits_say() {
    let consented = Consented::new(false).await;
    consented.consent().await;
    let limits = Limits::default().longest_lifetime(2 * HOUR);
    let policy = RotationPolicy::builder()
        .trusted_lifetime(limits.longest_lifetime)
        .build()
        .unwrap();
    let choosy = Client::builder(consented.profile.clone(), &consented.parts)
        .binding(Dpop::ed25519())
        .limits(limits)
        .build()
        .unwrap();
    let now = shipbound::clock::Clock::now(&*consented.world.clock);
    choosy.prepare([consented.tenant.clone()]).await.unwrap();
    let [draining] = &consented.world.of(&Consented::owner(), KeyState::Draining).await[..] else {
        panic!("one drains")
    };
    assert_eq!(draining.drain_until, Some(now + policy.drain()));
    assert_eq!(policy.drain(), 2 * HOUR + Duration::from_secs(300));
    consented.sandbox.shutdown().await;
}
