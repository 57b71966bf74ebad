//! Tokens: the vectors of answers and metadata, flights and what fills them, the cache.

mod answers;
mod assertions;
mod cached;
mod flights;
mod leases;
mod metadata;
#[cfg(feature = "sandbox")]
mod mtls;
mod refresh;

use std::sync::Arc;

use futures_util::FutureExt;

use crate::binding::BindingStrategy;
use crate::binding::dpop::Dpop;
use crate::clock::{Clock, ManualClock, Monotonic, Timestamp};
use crate::credentials::{Credential, MemoryCredentials};
use crate::error::Error;
use crate::exchange::budget::Limits;
use crate::exchange::connection::Connection;
use crate::journal::memory::MemorySink;
use crate::journal::{EventKind, Journal, Sink};
use crate::keys::{KeyStore, MemoryKeyStore};
use crate::owner::{AccountId, CarrierId, DeploymentId, Environment, Tenant, TenantId};
use crate::target::{Origin, Target};
use crate::testing::{Script, Step};

use super::client_auth::ClientAuth;
use super::metadata::{Issuer, IssuerEndpoint};
use super::slot::{Scope, Slot};
use super::source::{Place, TokenSource};
use super::{Lease, TokenRequest};

/// A caller's deadline that never comes.
const LATE: Monotonic = Monotonic::from_origin(std::time::Duration::from_secs(1_000_000_000));

const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);
const ISSUER: &str = "https://auth.carrier.example";

fn scope() -> Arc<Scope> {
    Arc::new(Scope {
        deployment: DeploymentId::default_deployment(),
        carrier: CarrierId::new("carrier").unwrap(),
        environment: Environment::Sandbox,
        account: AccountId::main(),
        request: [7; 32],
        build: 0,
    })
}

fn tenant(id: &str) -> Tenant {
    TenantId::new(id).unwrap().into()
}

fn origin(url: &str) -> Origin {
    Target::parse(url).unwrap().origin().clone()
}

/// A source of tokens at a scripted issuer, on a clock that stands still.
struct World {
    clock: Arc<ManualClock>,
    script: Script,
    events: Arc<MemorySink>,
    source: Arc<TokenSource>,
    slot: Arc<Slot>,
}

impl World {
    fn new(change: impl FnOnce(&mut TokenSource)) -> Self {
        let clock = Arc::new(ManualClock::at(NOW));
        let (script, events) = (Script::default(), Arc::new(MemorySink::default()));
        let credentials = MemoryCredentials::new();
        let scope = scope();
        credentials.put(
            tenant("acme"),
            &scope.carrier,
            scope.environment,
            Credential::new("client", "s3cr3t-s3cr3t"),
        );
        let shared: Arc<dyn Clock> = clock.clone();
        let sinks: [Arc<dyn Sink>; 1] = [events.clone()];
        let mut source = TokenSource {
            at: Place::Endpoints(
                [(
                    IssuerEndpoint::Token,
                    Target::parse(&format!("{ISSUER}/token")).unwrap(),
                )]
                .into(),
            ),
            auth: ClientAuth::Basic,
            request: TokenRequest::new(),
            quirks: Default::default(),
            credential_at: Default::default(),
            parts: Vec::new(),
            key_forms: Vec::new(),
            environment: scope.environment,
            companion: None,
            faults: Default::default(),
            throttling: Default::default(),
            budget: Arc::new(crate::throttle::LocalBudget::new(Arc::clone(&shared))),
            origins: Vec::new(),
            exempt: Vec::new(),
            limits: Limits::default(),
            strategy: Arc::new(Dpop::es256()),
            confirm: false,
            fapi: false,
            clock: Arc::clone(&shared),
            transport: Arc::new(script.clone()),
            keys: Arc::new(MemoryKeyStore::with_clock(Arc::clone(&shared))),
            credentials: Arc::new(credentials),
            grants: None,
            directory: None,
            subject: None,
            journal: Journal::new(shared, sinks),
            metadata: std::sync::Mutex::default(),
            left: Default::default(),
        };
        change(&mut source);
        Self {
            clock,
            script,
            events,
            source: Arc::new(source),
            slot: Arc::new(Slot::new(Arc::new(Connection::new(scope.connection(&tenant("acme")))))),
        }
    }

    fn plain() -> Self {
        Self::new(|_| ())
    }

    fn with_keys(keys: impl KeyStore + 'static) -> Self {
        Self::new(|source| source.keys = Arc::new(keys))
    }

    fn with_strategy(strategy: impl BindingStrategy + 'static) -> Self {
        Self::new(|source| source.strategy = Arc::new(strategy))
    }

    fn at_issuer(issuer: &str, change: impl FnOnce(&mut TokenSource)) -> Self {
        let issuer = Issuer::new(issuer).unwrap();
        Self::new(|source| {
            source.at = Place::Issuer(issuer);
            change(source);
        })
    }

    /// A lease from the slot, or from a flight in which nothing waits.
    fn lease(&self, steps: impl IntoIterator<Item = Step>) -> Result<Arc<Lease>, Error> {
        self.script.add(steps);
        let leased = self.slot.lease(&self.source, LATE);
        leased.now_or_never().expect("nothing waits")
    }

    /// The lifetimes of the tokens that were issued, in seconds.
    fn lifetimes(&self) -> Vec<u64> {
        let lifetime = |kind: &EventKind| match kind {
            EventKind::TokenIssued { lifetime, .. } => Some(lifetime.as_secs()),
            _ => None,
        };
        self.events
            .events()
            .iter()
            .filter_map(|event| lifetime(&event.kind))
            .collect()
    }
}

#[test]
fn what_was_asked_for_is_granted_and_only_scopes_of_the_api_count() {
    let asked = ["openid", "offline_access", "ship:write", "ship:read"]
        .iter()
        .fold(TokenRequest::new(), |request, scope| request.scope(scope).unwrap());
    for granted in [
        None,
        Some(""),
        Some("ship:read ship:write"),
        Some("offline_access openid ship:read ship:void ship:write"),
    ] {
        assert_eq!(asked.check_granted(granted), Ok(()), "{granted:?}");
    }
    for granted in [
        "ship:read",
        "openid offline_access",
        "ship:read SHIP:WRITE",
        "ship:readship:write",
    ] {
        let refused = Err(super::answer::TokenAnswerError::ScopeNotGranted);
        assert_eq!(asked.check_granted(Some(granted)), refused, "{granted}");
    }
}

#[test]
fn a_resource_is_any_absolute_uri_without_a_fragment() {
    for resource in [
        "https://api.carrier.example/ship",
        "urn:example:ship",
        "tag:carrier.example,2026:ship",
        "api://abc",
    ] {
        assert!(TokenRequest::new().resource(resource).is_ok(), "{resource}");
    }
    for resource in [
        "",
        "null",
        "/ship",
        "https:",
        "1a:b",
        "https://a.example/#x",
        "https://a.example/\u{fc}",
        "a b:c",
    ] {
        assert_eq!(
            TokenRequest::new().resource(resource),
            Err(super::InvalidRequest::Resource),
            "{resource}"
        );
    }
}

#[test]
fn no_parameter_is_sent_beside_one_that_the_library_sets() {
    let refused = |name: &str| TokenRequest::new().parameter(name, "x").is_err();
    for name in [
        "",
        "client_secret",
        "code_verifier",
        "state",
        "code_challenge",
        "dpop_jkt",
        "request_uri",
        "scope",
    ] {
        assert!(refused(name), "{name}");
    }
    assert!(!refused("audience") && !refused("Scope"));
    let twice = TokenRequest::new()
        .parameter("a", "1")
        .and_then(|request| request.parameter("a", "2"));
    assert_eq!(twice, Err(super::InvalidRequest::Parameter));
}
