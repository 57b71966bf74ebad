//! Tokens that come from a shipper's consent: the refresh token is claimed, its successor kept, before a token is used.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;

use super::{LATE, NOW, World};
use crate::binding::Confirmation;
use crate::error::{Error, ErrorKind};
use crate::grants::{Grant, GrantError, GrantState, GrantStore, Grants, MemoryGrants, Record, Revision};
use crate::jose::Thumbprint;
use crate::keys::{KeyError, Purpose, Retired};
use crate::owner::{ConnectionId, Owner};
use crate::testing::Step;
use crate::token::TokenRequest;
use crate::token::client_auth::ClientAuth;
use crate::token::grant::GrantType;

/// A store that fails when it is to keep a refresh token's successor.
#[derive(Debug, Default)]
struct Store {
    inner: MemoryGrants,
    loses_settlements: AtomicBool,
    settlements: AtomicU64,
    log: Mutex<Vec<&'static str>>,
}

#[async_trait]
impl GrantStore for Store {
    async fn load(&self, connection: &ConnectionId) -> Result<Option<Record>, GrantError> {
        self.inner.load(connection).await
    }

    async fn put(&self, connection: &ConnectionId, record: &Record) -> Result<(), GrantError> {
        self.inner.put(connection, record).await
    }

    async fn replace(
        &self,
        connection: &ConnectionId,
        expected: Revision,
        record: &Record,
    ) -> Result<bool, GrantError> {
        let name = match record.state {
            GrantState::Ready(_) => "ready",
            GrantState::Claimed { .. } => "claimed",
            GrantState::Ended => "ended",
        };
        if name == "ready" && self.loses_settlements.load(Ordering::Relaxed) {
            self.settlements.fetch_add(1, Ordering::Relaxed);
            return Err(GrantError::Unavailable);
        }
        self.log.lock().unwrap().push(name);
        self.inner.replace(connection, expected, record).await
    }

    async fn remove(&self, connection: &ConnectionId) -> Result<bool, GrantError> {
        self.inner.remove(connection).await
    }

    fn generation(&self) -> u64 {
        self.inner.generation()
    }
}

struct Shipper {
    world: World,
    store: Arc<Store>,
}

impl Shipper {
    fn new(change: impl FnOnce(&mut crate::token::source::TokenSource)) -> Self {
        let store = Arc::new(Store::default());
        let world = World::new(|source| {
            source.request = TokenRequest::new().grant(GrantType::RefreshToken);
            source.grants = Some(store.clone());
            change(source);
        });
        Self { world, store }
    }

    /// Who has consented, with the refresh token `r1`.
    fn consented() -> Self {
        let shipper = Self::new(|_| ());
        shipper.consent(Grant::new("r1", NOW));
        shipper
    }

    fn consent(&self, grant: Grant) {
        let grants = Grants::new(self.store.clone(), self.world.clock.clone());
        let put = grants.put(&self.world.slot.connection.id, grant).now_or_never();
        put.unwrap().unwrap();
    }

    fn state(&self) -> GrantState {
        let record = self.store.inner.load(&self.world.slot.connection.id).now_or_never();
        record.unwrap().unwrap().unwrap().state
    }

    /// The refresh token that is kept and that nobody uses.
    fn kept(&self) -> Option<String> {
        match self.state() {
            GrantState::Ready(grant) => Some(grant.refresh_token().expose().to_owned()),
            _ => None,
        }
    }

    /// The refresh tokens that were sent since the last look.
    fn sent(&self) -> Vec<String> {
        let mut seen = self.world.script.seen();
        let sent = seen.iter_mut().map(|seen| {
            let mut form = seen.form();
            assert_eq!(form["grant_type"], "refresh_token");
            form.remove("refresh_token").unwrap()
        });
        sent.collect()
    }

    fn fails(&self, steps: impl IntoIterator<Item = Step>) -> Error {
        let error = self.world.lease(steps).unwrap_err();
        assert!(self.world.slot.held().is_none());
        error
    }
}

/// A token, and the next refresh token where there is one.
fn tokens(next: Option<&str>) -> Step {
    let next = next.map_or(String::new(), |next| format!(r#","refresh_token":"{next}""#));
    let body = format!(r#"{{"access_token":"t","token_type":"DPoP","expires_in":100{next}}}"#);
    Step::json(200, &body)
}

fn refusal(error: &str) -> Step {
    Step::json(400, &format!(r#"{{"error":"{error}"}}"#))
}

#[test]
fn a_successor_is_kept_and_used_next() {
    let shipper = Shipper::consented();
    let first = shipper.world.lease([tokens(Some("r2"))]).unwrap();
    assert_eq!(
        (shipper.sent(), shipper.kept()),
        (vec!["r1".to_owned()], Some("r2".to_owned()))
    );
    assert_eq!(*shipper.store.log.lock().unwrap(), ["claimed", "ready"]);
    shipper.world.clock.advance(Duration::from_secs(100));
    let second = shipper.world.lease([tokens(None)]).unwrap();
    assert_eq!(
        (shipper.sent(), shipper.kept()),
        (vec!["r2".to_owned()], Some("r2".to_owned()))
    );
    assert_eq!(first.confirmations(), second.confirmations());
}

#[test]
fn a_token_whose_successor_cannot_be_kept_is_not_used() {
    let shipper = Shipper::consented();
    shipper.store.loses_settlements.store(true, Ordering::Relaxed);
    shipper.world.script.add([tokens(Some("r2"))]);
    let mut waiting = Box::pin(shipper.world.slot.lease(&shipper.world.source, LATE));
    assert!((&mut waiting).now_or_never().is_none(), "it is tried again");
    let mut outcome = None;
    for _ in 0..100 {
        shipper.world.clock.advance(Duration::from_millis(200));
        outcome = (&mut waiting).now_or_never();
        if outcome.is_some() {
            break;
        }
    }
    let error = outcome.expect("its time is over").unwrap_err();
    assert_eq!(error.stage(), crate::transport::Stage::NotSent);
    assert!(shipper.store.settlements.load(Ordering::Relaxed) > 3);
    assert!(shipper.world.slot.held().is_none());
    assert_eq!(shipper.sent(), ["r1"]);
    // The successor is lost, and that is what the next one hears: no second use of a token that is spent.
    shipper.store.loses_settlements.store(false, Ordering::Relaxed);
    shipper.world.clock.advance(Grants::DEFAULT_CLAIM);
    assert_eq!(shipper.fails([]).code(), "grant_uncertain");
    assert!(shipper.sent().is_empty());
}

#[test]
fn an_invalid_grant_ends_the_consent() {
    let shipper = Shipper::consented();
    let error = shipper.fails([refusal("invalid_grant")]);
    assert_eq!(error.code(), "needs_consent");
    assert!(matches!(shipper.state(), GrantState::Ended));
    shipper.sent();
    shipper.world.clock.advance(Duration::from_secs(60));
    assert_eq!(shipper.fails([]).code(), "needs_consent");
    assert!(shipper.sent().is_empty());
    // A new consent takes effect once the pause after the failure is over.
    shipper.consent(Grant::new("r9", NOW));
    shipper.world.clock.advance(Duration::from_secs(60));
    shipper.world.lease([tokens(None)]).unwrap();
    assert_eq!(shipper.sent(), ["r9"]);
}

#[test]
fn other_refusals_leave_the_refresh_token_as_it_was() {
    for (step, code) in [
        (refusal("invalid_client"), "token_refused"),
        (refusal("invalid_scope"), "token_refused"),
        (Step::with(429, &[("retry-after", "5")], ""), "rate_limited"),
        (
            Step::with(302, &[("location", "https://evil.example/")], ""),
            "redirect",
        ),
    ] {
        let shipper = Shipper::consented();
        assert_eq!(shipper.fails([step]).code(), code);
        assert_eq!(shipper.kept().as_deref(), Some("r1"), "{code}");
    }
}

#[test]
fn a_lost_answer_costs_the_consent_unless_the_previous_token_stays() {
    let lost = || {
        [
            Step::Lost,
            Step::json(200, "not JSON"),
            Step::json(500, ""),
            refusal("server_error"),
        ]
    };
    for step in lost() {
        let shipper = Shipper::consented();
        assert_eq!(shipper.fails([step]).code(), "grant_uncertain");
        assert_eq!(shipper.sent(), ["r1"]);
        shipper.world.clock.advance(Duration::from_secs(3600));
        assert_eq!(shipper.fails([]).code(), "grant_uncertain");
        assert!(shipper.sent().is_empty());
    }
    for step in lost() {
        let shipper = Shipper::new(|source| source.quirks.refresh_token_stays = true);
        shipper.consent(Grant::new("r1", NOW));
        assert_ne!(shipper.fails([step]).code(), "grant_uncertain");
        shipper.world.clock.advance(Duration::from_secs(1));
        shipper.world.lease([tokens(Some("r2"))]).unwrap();
        assert_eq!(
            (shipper.sent(), shipper.kept()),
            (vec!["r1".to_owned(); 2], Some("r2".to_owned()))
        );
    }
}

#[test]
fn a_request_that_may_still_arrive_is_waited_out() {
    for stays in [false, true] {
        let shipper = Shipper::new(|source| source.quirks.refresh_token_stays = stays);
        shipper.consent(Grant::new("r1", NOW));
        shipper.world.script.add([Step::Silence]);
        let mut waiting = Box::pin(shipper.world.slot.lease(&shipper.world.source, LATE));
        assert!((&mut waiting).now_or_never().is_none());
        shipper.world.clock.advance(Duration::from_secs(10));
        let error = waiting.now_or_never().expect("its time is over").unwrap_err();
        assert_eq!(error.code(), "deadline");
        // Nobody uses it before the claim has had its time.
        shipper.world.clock.advance(Duration::from_secs(2));
        shipper.sent();
        let mut waiting = Box::pin(shipper.world.slot.lease(&shipper.world.source, LATE));
        assert!((&mut waiting).now_or_never().is_none(), "another may be using it");
        assert!(shipper.sent().is_empty());
        shipper.world.clock.advance(Duration::from_secs(10));
        assert!(waiting.now_or_never().expect("its time is over").is_err());
        shipper.world.clock.advance(Duration::from_secs(60));
        let outcome = shipper
            .world
            .lease([tokens(None)])
            .map(drop)
            .map_err(|error| error.code());
        assert_eq!(outcome, if stays { Ok(()) } else { Err("grant_uncertain") });
    }
}

#[test]
fn a_refresh_token_is_shown_with_the_key_that_it_is_bound_to_or_not_at_all() {
    let shipper = Shipper::new(|source| source.auth = ClientAuth::None);
    let strange = Confirmation::Jkt(Thumbprint::from_bytes([9; 32]));
    shipper.consent(Grant::new("r1", NOW).with_confirmations([strange]));
    let error = shipper.fails([]);
    assert!(matches!(error.kind(), ErrorKind::Key(KeyError::Mismatch)));
    assert!(shipper.sent().is_empty());
    assert_eq!(shipper.kept().as_deref(), Some("r1"), "whoever has the key may use it");
    // With its own key it is used, by a public client that gives its id alone.
    let owner = Owner::from(shipper.world.slot.connection.id.clone());
    let keys = Arc::clone(&shipper.world.source.keys);
    let active = || {
        keys.active(&owner, Purpose::Proof)
            .now_or_never()
            .unwrap()
            .unwrap()
            .unwrap()
    };
    let own = Confirmation::Jkt(active().jkt());
    shipper.consent(Grant::new("r2", NOW).with_confirmations([own]));
    shipper.world.clock.advance(Duration::from_secs(1));
    shipper.world.lease([tokens(None)]).unwrap();
    assert_eq!(shipper.sent(), ["r2"]);
    // The key is gone, and the grant is not spent on another.
    active().close(Retired::Compromised);
    shipper.world.slot.clear();
    let error = shipper.fails([]);
    assert!(matches!(error.kind(), ErrorKind::Key(KeyError::Mismatch)));
    assert_eq!((shipper.sent().len(), shipper.kept().as_deref()), (0, Some("r2")));
}

#[test]
fn an_early_renewal_that_fails_keeps_the_good_token() {
    for (step, code) in [
        (refusal("invalid_client"), "token_refused"),
        (Step::with(503, &[], ""), "rate_limited"),
        (Step::Lost, "grant_uncertain"),
    ] {
        let shipper = Shipper::consented();
        let good = shipper.world.lease([tokens(None)]).unwrap();
        shipper.world.clock.advance(Duration::from_secs(90));
        assert!(Arc::ptr_eq(&shipper.world.lease([step]).unwrap(), &good), "{code}");
        assert_eq!(shipper.sent().len(), 2, "{code}");
        shipper.world.clock.advance(Duration::from_secs(10));
        shipper.world.script.add([refusal("invalid_client")]);
        let ended = shipper
            .world
            .slot
            .lease(&shipper.world.source, LATE)
            .now_or_never()
            .unwrap();
        assert!(ended.is_err(), "{code}: it is not used beyond its end");
    }
    // But a consent that has ended takes its token with it.
    let shipper = Shipper::consented();
    shipper.world.lease([tokens(None)]).unwrap();
    shipper.world.clock.advance(Duration::from_secs(90));
    assert_eq!(shipper.fails([refusal("invalid_grant")]).code(), "needs_consent");
}

#[test]
fn a_new_consent_ends_the_tokens_of_the_old_one() {
    let shipper = Shipper::consented();
    let world = &shipper.world;
    let first = world.lease([tokens(Some("r2"))]).unwrap();
    let good = || {
        world
            .source
            .review(&world.slot, &first)
            .now_or_never()
            .unwrap()
            .unwrap()
    };
    // Its own refresh does not count as a new consent.
    assert!(first.is_good(world.source.generation()) && good());
    shipper.consent(Grant::new("n1", NOW));
    assert!(!first.is_good(world.source.generation()));
    assert!(!good());
    assert!(world.slot.held().is_none());
    shipper.sent();
    let second = world.lease([tokens(None)]).unwrap();
    assert_eq!(shipper.sent(), ["n1"]);
    // A consent that is put a second time is the same one.
    shipper.consent(Grant::new("n1", NOW));
    assert!(
        world
            .source
            .review(&world.slot, &second)
            .now_or_never()
            .unwrap()
            .unwrap()
    );
}

#[test]
fn who_has_not_consented_has_no_token() {
    let shipper = Shipper::new(|_| ());
    let error = shipper.world.lease([]).unwrap_err();
    assert_eq!(error.code(), "needs_consent");
    assert!(shipper.world.script.seen().is_empty());
}
