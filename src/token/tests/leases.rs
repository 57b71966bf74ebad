//! What a token's lifetime becomes, and what must not be asked for before a key is kept.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;

use super::{LATE, NOW, World};
use crate::binding::bearer::Bearer;
use crate::binding::dpop::Dpop;
use crate::clock::{Monotonic, Timestamp};
use crate::error::{Awaited, Error, ErrorKind};
use crate::exchange::budget::Limits;
use crate::exchange::quirks::{LifetimeAt, TokenAnswerShape};
use crate::jose::Thumbprint;
use crate::keys::{KeyError, KeyHandle, KeyId, KeySpec, KeyStore, MemoryKeyStore, Purpose, Retired};
use crate::owner::Owner;
use crate::testing::Step;
use crate::token::Lease;
use crate::token::slot::Fetch;
use crate::transport::Stage;

fn seconds(at: Monotonic) -> f64 {
    at.since_origin().as_secs_f64()
}

fn lease(world: &World) -> Result<Arc<Lease>, Error> {
    world
        .slot
        .lease(&world.source, LATE)
        .now_or_never()
        .expect("nothing waits")
}

fn leased(world: &World, lifetime: &str) -> Arc<Lease> {
    world.script.add([Step::token("t", lifetime)]);
    lease(world).unwrap()
}

#[test]
fn a_token_is_not_used_in_its_last_moments() {
    for (lifetime, usable) in [
        ("3600", 3595.0),
        ("50", 45.0),
        ("20", 18.0),
        ("1", 0.9),
        ("86400", 86_395.0),
        ("86401", 86_395.0),
        ("1e18", 86_395.0),
        ("1e300", 86_395.0),
        ("null", 295.0),
        ("\"60\"", 55.0),
        ("\"99999999999999999999999\"", 86_395.0),
    ] {
        let world = World::plain();
        let lease = leased(&world, lifetime);
        assert!(
            (seconds(lease.usable_until()) - usable).abs() < 1e-6,
            "{lifetime}: {lease:?}"
        );
        assert!(lease.renew_from() <= lease.usable_until());

        // To the last nanosecond before, and not at that time.
        world
            .clock
            .advance(lease.usable_until().since_origin() - Duration::from_nanos(1));
        world.script.add([Step::json(400, r#"{"error":"invalid_client"}"#)]);
        assert!(Arc::ptr_eq(&self::lease(&world).unwrap(), &lease), "{lifetime}");
        world.clock.advance(Duration::from_secs(61));
        world.script.add([Step::json(400, r#"{"error":"invalid_client"}"#)]);
        assert!(self::lease(&world).is_err(), "{lifetime}");
    }
}

#[test]
fn a_token_is_renewed_at_four_fifths_give_or_take_a_twentieth_drawn_for_each() {
    let drawn: Vec<_> = (0..300)
        .map(|_| seconds(leased(&World::with_strategy(Dpop::es256()), "10000").renew_from()) / 10_000.0)
        .collect();
    assert!(drawn.iter().all(|share| (0.75..=0.85).contains(share)), "{drawn:?}");
    let below = drawn.iter().filter(|share| **share < 0.77).count();
    let above = drawn.iter().filter(|share| **share > 0.83).count();
    // A fifth each, of 300: 60 give or take 7.
    assert!(
        (20..120).contains(&below) && (20..120).contains(&above),
        "{below} {above}"
    );
}

#[test]
fn a_short_life_is_not_renewed_early_more_than_twice_a_minute() {
    let lease = leased(&World::plain(), "32");
    assert!(seconds(lease.renew_from()) >= 28.8, "{lease:?}");
    let lease = leased(&World::plain(), "36");
    assert!((30.0..=31.0).contains(&seconds(lease.renew_from())), "{lease:?}");
}

#[test]
fn a_token_without_a_lifetime_serves_those_who_waited_and_nobody_else() {
    for nothing in ["0", "0.9", "\"0\""] {
        let world = World::plain();
        let first = leased(&world, nothing);
        assert_eq!(first.authorization().unwrap(), "DPoP t");
        assert!(world.slot.held().is_none());
        let second = leased(&world, nothing);
        assert!(!Arc::ptr_eq(&first, &second));
        assert_eq!(world.script.seen().len(), 2, "{nothing}");
    }
}

#[test]
fn lifetimes_stand_where_the_profile_says() {
    let with = |at: LifetimeAt, lifetime: &str| {
        let world = World::new(|source| {
            source.quirks.token_answer = TokenAnswerShape {
                lifetime: at,
                ..TokenAnswerShape::default()
            };
        });
        world.script.add([Step::token("t", lifetime)]);
        lease(&world).map(|_| world.lifetimes()).map_err(|error| error.code())
    };
    let end = LifetimeAt::unix_seconds("expires_in");
    assert_eq!(
        with(end.clone(), &(NOW.unix_seconds() + 600).to_string()),
        Ok(vec![600])
    );
    assert_eq!(with(end.clone(), &(NOW.unix_seconds() - 600).to_string()), Ok(vec![0]));
    assert_eq!(with(end.clone(), "\"18446744073709551616\""), Ok(vec![86_400]));
    assert_eq!(with(end.clone(), "-1"), Err("token_answer"));
    assert_eq!(with(LifetimeAt::Fixed(90), "\"whatever\""), Ok(vec![90]));
    assert_eq!(with(LifetimeAt::seconds("other"), "5"), Ok(vec![300]));
}

#[test]
fn nothing_that_holds_a_token_shows_it() {
    let world = World::plain();
    world.script.add([Step::token("abcdefgh", "60")]);
    let lease = lease(&world).unwrap();
    assert_eq!(lease.authorization().unwrap(), "DPoP abcdefgh");
    let shown = format!(
        "{lease:?} {:?} {:?} {:?}",
        world.slot,
        world.source,
        world.events.events()
    );
    let token = crate::token::AccessToken::new("abcdefgh");
    let shown = format!("{shown} {token:?} {:?} {:?}", lease.authorization(), lease.binding);
    assert!(!shown.contains("abcdefgh") && !shown.contains("s3cr3t"), "{shown}");
    assert!(!shown.contains(lease.ath().unwrap()), "{shown}");
}

#[test]
fn no_limit_and_no_lifetime_overflows() {
    for (unknown, longest, exchange) in [
        (Duration::MAX, Duration::MAX, Duration::MAX),
        (Duration::ZERO, Duration::ZERO, Duration::from_nanos(1)),
        (Duration::from_nanos(9), Duration::MAX, Duration::from_secs(10)),
    ] {
        for lifetime in ["null", "0", "1", "18446744073709551615", "1e308"] {
            let world = World::new(|source| {
                source.limits = Limits::default()
                    .unknown_lifetime(unknown)
                    .longest_lifetime(longest)
                    .token_exchange(exchange);
            });
            let lease = leased(&world, lifetime);
            assert!(lease.renew_from() <= lease.usable_until(), "{lease:?}");
            world.clock.advance(Duration::from_secs(u64::MAX / 2));
            leased(&world, lifetime);
        }
    }
}

#[test]
fn a_clock_that_is_set_back_brings_no_token_to_life() {
    let world = World::plain();
    leased(&world, "60");
    world.clock.advance(Duration::from_secs(60));
    world.clock.set_wall(Timestamp::from_unix_seconds(0));
    world.script.add([Step::json(400, r#"{"error":"invalid_client"}"#)]);
    assert_eq!(lease(&world).unwrap_err().code(), "token_refused");
}

#[test]
fn nonces_outlive_failures_and_refused_tokens() {
    let world = World::plain();
    let challenge = |nonce| {
        let headers = [("content-type", "application/json"), ("dpop-nonce", nonce)];
        Step::with(400, &headers, r#"{"error":"use_dpop_nonce"}"#)
    };
    world.script.add([challenge("n1"), challenge("n2")]);
    assert_eq!(lease(&world).unwrap_err().code(), "nonce_loop");
    world.clock.advance(Duration::from_secs(1));
    leased(&world, "60");
    let nonces = |world: &World| {
        let nonce = |seen: &crate::testing::Seen| seen.proof().unwrap().nonce().map(str::to_owned);
        world.script.seen().iter().map(nonce).collect::<Vec<_>>()
    };
    assert_eq!(nonces(&world), [None, Some("n1".to_owned()), Some("n2".to_owned())]);
    world.slot.clear();
    leased(&world, "60");
    assert_eq!(nonces(&world), [Some("n2".to_owned())]);
}

#[test]
fn an_issuer_that_rotates_nonces_may_have_another_clock_too() {
    let world = World::plain();
    let refusal = |error: &str, nonce: &str, offset_seconds| {
        let micros = u64::try_from(NOW.offset_seconds(offset_seconds).unix_micros()).unwrap();
        let date = httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_micros(micros));
        let headers = [
            ("content-type", "application/json"),
            ("dpop-nonce", nonce),
            ("date", &date),
        ];
        Step::with(400, &headers, &format!(r#"{{"error":"{error}"}}"#))
    };
    world.script.add([
        refusal("use_dpop_nonce", "n1", -90),
        refusal("invalid_dpop_proof", "n2", -90),
    ]);
    leased(&world, "60");
    let proofs: Vec<_> = world.script.seen().iter().map(|seen| seen.proof().unwrap()).collect();
    let nonces: Vec<_> = proofs.iter().map(crate::testing::Proof::nonce).collect();
    assert_eq!(nonces, [None, Some("n1"), Some("n2")]);
    let dated: Vec<_> = proofs
        .iter()
        .map(|proof| proof.claims["iat"].as_i64().unwrap() - NOW.unix_seconds())
        .collect();
    assert_eq!(dated, [0, 0, -90]);

    // With the same clock it is the proof, and no loop of nonces.
    let world = World::plain();
    world.script.add([
        refusal("use_dpop_nonce", "n1", 0),
        refusal("invalid_dpop_proof", "n2", 0),
    ]);
    assert_eq!(lease(&world).unwrap_err().code(), "invalid_dpop_proof");
    assert_eq!(world.script.seen().len(), 2);
}

#[tokio::test]
async fn a_new_key_knows_no_nonce_of_the_old_one() {
    let world = World::plain();
    let headers = [("content-type", "application/json"), ("dpop-nonce", "n1")];
    world
        .script
        .add([Step::with(200, &headers, r#"{"access_token":"t","token_type":"DPoP"}"#)]);
    let first = lease(&world).unwrap();
    let owner = Owner::from(world.slot.connection.id.clone());
    let key = world.source.keys.active(&owner, Purpose::Proof).await.unwrap().unwrap();
    key.close(Retired::Compromised);
    assert!(!first.is_good(world.source.credentials.generation()));
    assert!(!world.source.review(&world.slot, &first).await.unwrap());
    let second = leased(&world, "60");
    assert_ne!(first.confirmations(), second.confirmations());
    assert_eq!(world.script.seen()[1].proof().unwrap().nonce(), None);
}

/// A key store that fails, or never answers, at one of its steps.
#[derive(Debug)]
struct Broken {
    inner: MemoryKeyStore,
    step: &'static str,
    with: Option<KeyError>,
}

impl Broken {
    async fn at(&self, step: &str) -> Result<(), KeyError> {
        match self.with {
            _ if self.step != step => Ok(()),
            Some(error) => Err(error),
            None => pending().await,
        }
    }
}

#[async_trait]
impl KeyStore for Broken {
    async fn active(&self, owner: &Owner, purpose: Purpose) -> Result<Option<KeyHandle>, KeyError> {
        self.at("active").await?;
        self.inner.active(owner, purpose).await
    }

    async fn get(&self, owner: &Owner, key: &KeyId) -> Result<Option<KeyHandle>, KeyError> {
        self.inner.get(owner, key).await
    }

    async fn with_thumbprint(
        &self,
        owner: &Owner,
        purpose: Purpose,
        jkt: &Thumbprint,
    ) -> Result<Option<KeyHandle>, KeyError> {
        self.inner.with_thumbprint(owner, purpose, jkt).await
    }

    async fn create(&self, owner: &Owner, spec: KeySpec) -> Result<KeyHandle, KeyError> {
        self.at("create").await?;
        self.inner.create(owner, spec).await
    }

    async fn promote(
        &self,
        owner: &Owner,
        key: &KeyId,
        replaces: Option<&KeyId>,
        until: Timestamp,
    ) -> Result<bool, KeyError> {
        self.at("promote").await?;
        if self.step == "race" {
            return Ok(false);
        }
        self.inner.promote(owner, key, replaces, until).await
    }

    async fn retire(&self, owner: &Owner, key: &KeyId, to: Retired) -> Result<bool, KeyError> {
        self.inner.retire(owner, key, to).await
    }
}

fn broken(step: &'static str, with: Option<KeyError>) -> World {
    let inner = MemoryKeyStore::new();
    World::with_keys(Broken { inner, step, with })
}

#[test]
fn no_token_is_asked_for_before_its_key_is_kept() {
    for step in ["active", "create", "promote"] {
        let world = broken(step, Some(KeyError::StoreUnavailable));
        let error = lease(&world).unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Key(KeyError::StoreUnavailable)),
            "{step}"
        );
        assert_eq!(error.stage(), Stage::NotSent);
        assert!(world.script.seen().is_empty(), "{step}: nothing was sent");

        // A store that does not answer at all ends with the time of a token exchange.
        let world = broken(step, None);
        let mut waiting = Box::pin(world.slot.lease(&world.source, LATE));
        assert!((&mut waiting).now_or_never().is_none());
        world.clock.advance(Duration::from_secs(10) - Duration::from_nanos(1));
        assert!((&mut waiting).now_or_never().is_none(), "{step}");
        world.clock.advance(Duration::from_nanos(1));
        let error = waiting.now_or_never().expect("its time is over").unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Deadline(Awaited::Key)),
            "{step}: {error:?}"
        );
        assert!(world.script.seen().is_empty(), "{step}");
    }
    let world = broken("race", None);
    let error = lease(&world).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Key(KeyError::Contended)));
    assert!(world.script.seen().is_empty());
}

#[test]
fn an_issuer_that_does_not_answer_is_waited_for_ten_seconds() {
    for strategy in [true, false] {
        let world = if strategy {
            World::plain()
        } else {
            World::with_strategy(Bearer)
        };
        let mut waiting = Box::pin(world.slot.lease(&world.source, LATE));
        assert!((&mut waiting).now_or_never().is_none());
        assert_eq!(world.script.seen().len(), 1);
        world.clock.advance(Duration::from_secs(10));
        let error = waiting.now_or_never().expect("its time is over").unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Deadline(Awaited::Token)), "{error:?}");
        // The carrier has not seen the call, whatever became of the token request.
        assert_eq!(error.stage(), Stage::NotSent);
        assert_eq!(
            world.source.clock().monotonic(),
            Monotonic::from_origin(Duration::from_secs(10))
        );
    }
}
