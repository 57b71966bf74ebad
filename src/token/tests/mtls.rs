//! Clients that show a certificate: which endpoints they use, what tokens they take, and for how long.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use serde_json::Value;

use super::{ISSUER, LATE, NOW, World, origin};
use crate::binding::bearer::Bearer;
use crate::binding::dpop::Dpop;
use crate::binding::mtls::{CertificateSource, DpopMtls, Mtls};
use crate::binding::{
    Answered, Attempt, BindContext, BindError, BindingKind, BindingStrategy, Confirmation, Learned, Proof, TokenBinding,
};
use crate::error::{Error, ErrorKind};
use crate::keys::{KeyError, LocalKey, MemoryKeyStore, Purpose};
use crate::owner::{ConnectionId, Owner};
use crate::testing::{Seen, Step, id, identity};
use crate::token::assertion::AssertionProfile;
use crate::token::client_auth::ClientAuth;
use crate::token::metadata::{IssuerEndpoint, MetadataError};
use crate::token::revocation::TokenHint;
use crate::token::source::{Place, TokenSource};
use crate::transport::identity::{ClientIdentity, IdentityError};
use crate::transport::{Body, Outgoing, Route, Transport, TransportError};

const ALIAS: &str = "https://mtls.auth.carrier.example";

/// A certificate that is valid for an hour from [`NOW`].
fn hour() -> ClientIdentity {
    identity(NOW, NOW.offset_seconds(3600))
}

pub(super) fn strategy() -> Mtls {
    Mtls::new(hour())
}

fn both() -> DpopMtls {
    strategy().and_dpop(Dpop::es256())
}

fn token(kind: &str, lifetime: u64) -> Step {
    let body = format!(r#"{{"access_token":"t","token_type":"{kind}","expires_in":{lifetime}}}"#);
    Step::json(200, &body)
}

fn document(extra: &str) -> Step {
    let body = format!(
        r#"{{"issuer":"{ISSUER}","token_endpoint":"{ISSUER}/token","revocation_endpoint":"{ISSUER}/revoke",
            "introspection_endpoint":"{ISSUER}/introspect","authorization_endpoint":"{ISSUER}/authorize",
            "pushed_authorization_request_endpoint":"{ISSUER}/par"{extra}}}"#
    );
    Step::json(200, &body)
}

/// The aliases of these endpoints.
fn aliases(of: &[&str]) -> String {
    let members: Vec<_> = of.iter().map(|name| format!(r#""{name}":"{ALIAS}/{name}""#)).collect();
    format!(r#","mtls_endpoint_aliases":{{{}}}"#, members.join(","))
}

const OURS: [&str; 4] = [
    "token_endpoint",
    "revocation_endpoint",
    "introspection_endpoint",
    "pushed_authorization_request_endpoint",
];

/// The script, as a transport that shows certificates: it writes down which.
#[derive(Debug)]
struct Showing(Arc<dyn Transport>);

#[async_trait]
impl Transport for Showing {
    async fn send(&self, request: Outgoing, route: &Route) -> Result<http::Response<Body>, TransportError> {
        self.0.send(request, route).await
    }

    fn shows_certificates(&self) -> bool {
        true
    }
}

fn show(source: &mut TokenSource) {
    source.transport = Arc::new(Showing(Arc::clone(&source.transport)));
}

fn with_strategy(strategy: impl BindingStrategy + 'static) -> World {
    World::new(|source| {
        source.strategy = Arc::new(strategy);
        show(source);
    })
}

fn at_issuer(change: impl FnOnce(&mut TokenSource)) -> World {
    World::at_issuer(ISSUER, |source| {
        show(source);
        source.strategy = Arc::new(strategy());
        source.auth = ClientAuth::Tls;
        source.origins = vec![origin(ALIAS)];
        change(source);
    })
}

/// Gives the source a key for its assertions.
fn with_assertions(source: &mut TokenSource) {
    let keys = MemoryKeyStore::new();
    let owner = Owner::from(super::scope().connection(&super::tenant("acme")));
    let key = LocalKey::generate(crate::jose::Algorithm::Es256, Default::default()).unwrap();
    let key = keys.import(&owner, Purpose::ClientAssertion, key).unwrap();
    let promoted = crate::keys::KeyStore::promote(&keys, &owner, &key.id(), None, NOW).now_or_never();
    assert!(promoted.unwrap().unwrap());
    source.keys = Arc::new(keys);
    source.auth = ClientAuth::PrivateKeyJwt(AssertionProfile::new());
}

/// A vector of metadata for a client that shows its certificate.
pub(super) fn metadata(vector: &Value) {
    let (id, input, expect) = (id(vector), &vector["input"], &vector["expect"]);
    let world = World::at_issuer(input["issuer"].as_str().unwrap(), |source| {
        let allowed = input["allowed_origins"].as_array().cloned().unwrap_or_default();
        source.origins = allowed.iter().map(|url| origin(url.as_str().unwrap())).collect();
        with_assertions(source);
        source.strategy = Arc::new(strategy());
        show(source);
    });
    let outcome = world.lease([Step::json(200, &input["document"].to_string()), token("Bearer", 60)]);
    let seen = world.script.seen();
    if expect["outcome"] == "reject" {
        let error = outcome.unwrap_err();
        assert_eq!(seen.len(), 1, "{id}: no token was asked for");
        let partial = matches!(error.kind(), ErrorKind::Metadata(MetadataError::PartialAliases(_)));
        assert_eq!(partial, expect["error"] == "partial_aliases", "{id}");
        assert_eq!(error.code(), "metadata", "{id}");
        return;
    }
    outcome.unwrap();
    assert_eq!(expect["endpoint_url"], seen[1].target.as_str(), "{id}");
    assert_eq!(
        expect["client_assertion_aud"],
        seen[1].assertion().claims["aud"],
        "{id}"
    );
    // The certificate is shown where the token is asked for, and not where the metadata is read.
    assert!(seen[0].x5t.is_none() && seen[1].x5t.is_some(), "{id}");
}

/// The script, as a transport that never looks at the identity of a route.
#[derive(Debug)]
struct Blind(Arc<dyn Transport>);

#[async_trait]
impl Transport for Blind {
    async fn send(&self, request: Outgoing, route: &Route) -> Result<http::Response<Body>, TransportError> {
        self.0.send(request, route).await
    }
}

/// Says that it is by certificate, and has none.
#[derive(Debug)]
struct Hollow;

#[async_trait]
impl TokenBinding for Hollow {
    fn kind(&self) -> BindingKind {
        BindingKind::Mtls
    }

    fn confirmations(&self) -> &[Confirmation] {
        &[]
    }

    fn is_usable(&self) -> bool {
        true
    }

    async fn prove(&self, _attempt: &Attempt<'_>) -> Result<Option<Proof>, KeyError> {
        Ok(None)
    }

    fn learn(&self, _attempt: &Attempt<'_>, _answer: &Answered<'_>) -> Learned {
        Learned::Nothing
    }
}

#[async_trait]
impl BindingStrategy for Hollow {
    fn kind(&self) -> BindingKind {
        BindingKind::Mtls
    }

    async fn bind(&self, _context: &BindContext<'_>) -> Result<Arc<dyn TokenBinding>, BindError> {
        Ok(Arc::new(Hollow))
    }
}

#[test]
fn nothing_is_sent_without_the_certificate_that_it_is_bound_by() {
    let blind = |strategy: Arc<dyn BindingStrategy>| {
        World::new(|source| {
            source.strategy = strategy;
            source.transport = Arc::new(Blind(Arc::clone(&source.transport)));
        })
    };
    for strategy in [Arc::new(strategy()) as Arc<dyn BindingStrategy>, Arc::new(both())] {
        let world = blind(strategy);
        let error = world.lease([token("DPoP", 60)]).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Build(_)), "{error}");
        assert!(world.script.seen().is_empty());
    }
    blind(Arc::new(Dpop::es256())).lease([Step::token("t", "60")]).unwrap();

    let world = with_strategy(Hollow);
    let error = world.lease([token("Bearer", 60)]).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Build(_)), "{error}");
    assert!(world.script.seen().is_empty());
}

fn revoked(world: &World, answer: Step) -> Seen {
    world.script.add([answer]);
    let revoked = world.source.revoke(&world.slot.connection, "t", TokenHint::Access);
    assert!(revoked.now_or_never().unwrap().unwrap());
    world.script.seen().pop().unwrap()
}

#[test]
fn aliases_are_used_for_every_endpoint_but_the_one_that_browsers_go_to() {
    let world = at_issuer(|_| ());
    let lease = world.lease([document(&aliases(&OURS)), token("Bearer", 3600)]).unwrap();
    let asked = world.script.seen().pop().unwrap();
    let revoked = revoked(&world, Step::json(200, ""));
    world.script.add([Step::json(200, r#"{"active":true}"#)]);
    let told = world.source.introspect(&lease, &world.slot.connection);
    told.now_or_never().unwrap().unwrap();
    let looked_up = world.script.seen().pop().unwrap();
    world
        .script
        .add([Step::json(201, r#"{"request_uri":"urn:example:1","expires_in":60}"#)]);
    let begun = world
        .source
        .authorize(&world.slot.connection, [0; 32], "https://app.example/back");
    let begun = begun.now_or_never().unwrap().unwrap();
    let pushed = world.script.seen().pop().unwrap();
    for (seen, name) in [&asked, &revoked, &looked_up, &pushed].into_iter().zip(OURS) {
        assert_eq!(seen.target.as_str(), format!("{ALIAS}/{name}"));
        assert_eq!(seen.x5t, Confirmation::x5t(lease.confirmations()), "{name}");
        assert_eq!(seen.form()["client_id"], "client", "{name}");
    }
    let browser = format!("{ISSUER}/authorize?");
    assert!(begun.url.as_str().starts_with(&browser), "{}", begun.url.as_str());
}

#[test]
fn aliases_are_not_for_clients_without_a_certificate() {
    for of in [&OURS[..], &OURS[1..]] {
        let world = World::at_issuer(ISSUER, |_| ());
        world.lease([document(&aliases(of)), Step::token("t", "60")]).unwrap();
        assert_eq!(world.script.seen()[1].target.as_str(), format!("{ISSUER}/token"));
    }
}

fn refused(extra: &str) -> MetadataError {
    let world = at_issuer(|_| ());
    let error = world.lease([document(extra), token("Bearer", 60)]).unwrap_err();
    assert_eq!(
        world.script.seen().len(),
        1,
        "{extra}: nothing but the document was asked for"
    );
    match error.kind() {
        ErrorKind::Metadata(error) => *error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_alias_that_is_missing_is_an_error_before_a_token_is_asked_for() {
    for missing in 0..OURS.len() {
        let there = OURS.iter().enumerate().filter(|(number, _)| *number != missing);
        let there: Vec<_> = there.map(|(_, name)| *name).collect();
        assert!(matches!(refused(&aliases(&there)), MetadataError::PartialAliases(_)));
    }
    assert_eq!(
        refused(&aliases(&[OURS[1]])),
        MetadataError::PartialAliases(IssuerEndpoint::Token)
    );
}

#[test]
fn an_alias_elsewhere_gets_neither_certificate_nor_credential() {
    let rest = aliases(&OURS[1..]);
    let with = |url: &str| refused(&rest.replacen('{', &format!(r#"{{"token_endpoint":"{url}","#), 1));
    for foreign in [
        "https://evil.example/token",
        "https://mtls.auth.carrier.example:8443/token",
    ] {
        assert_eq!(
            with(foreign),
            MetadataError::ForeignEndpoint(IssuerEndpoint::Token),
            "{foreign}"
        );
    }
    for unusable in [
        "http://mtls.auth.carrier.example/token",
        "https://169.254.169.254/token#",
        "",
    ] {
        assert!(
            matches!(with(unusable), MetadataError::Endpoint(IssuerEndpoint::Token, _)),
            "{unusable}"
        );
    }
    // Also where it is not needed for the token.
    let rest = aliases(&[OURS[0], OURS[2], OURS[3]]);
    for (url, foreign) in [("https://evil.example/revoke", true), ("http://x", false)] {
        let error = refused(&rest.replacen('{', &format!(r#"{{"revocation_endpoint":"{url}","#), 1));
        let revocation = IssuerEndpoint::Revocation;
        match foreign {
            true => assert_eq!(error, MetadataError::ForeignEndpoint(revocation)),
            false => assert!(matches!(error, MetadataError::Endpoint(which, _) if which == revocation)),
        }
    }
    assert_eq!(refused(r#","mtls_endpoint_aliases":[]"#), MetadataError::WrongType);
}

#[test]
fn an_issuer_that_binds_nothing_to_certificates_is_told_so() {
    let says = |bound: &str| format!(r#","tls_client_certificate_bound_access_tokens":{bound}"#);
    assert_eq!(refused(&says("false")), MetadataError::NoCertificateBinding);
    assert_eq!(refused(&says("\"true\"")), MetadataError::WrongType);
    for bound in ["true", "null"] {
        at_issuer(|_| ())
            .lease([document(&says(bound)), token("Bearer", 60)])
            .unwrap();
    }
    // Nor does whoever takes tokens that are bound to a proof key.
    let world = at_issuer(|source| source.strategy = Arc::new(both()));
    world.lease([document(&says("false")), token("DPoP", 60)]).unwrap();
    // Whoever shows no certificate does not mind.
    let world = World::at_issuer(ISSUER, |_| ());
    world.lease([document(&says("false")), Step::token("t", "60")]).unwrap();
}

#[test]
fn what_a_token_of_each_type_is_bound_to() {
    let kind = |world: World, kind: &str| {
        let leased = world.lease([token(kind, 60)]);
        leased.map(|lease| lease.binding()).map_err(|error| error.code())
    };
    assert_eq!(kind(with_strategy(both()), "DPoP"), Ok(BindingKind::DpopMtls));
    assert_eq!(kind(with_strategy(both()), "bearer"), Ok(BindingKind::Mtls));
    assert_eq!(kind(with_strategy(both()), "mac"), Err("unbound_token"));
    assert_eq!(kind(with_strategy(strategy()), "BEARER"), Ok(BindingKind::Mtls));
    assert_eq!(kind(with_strategy(strategy()), "DPoP"), Err("token_answer"));
    assert_eq!(kind(with_strategy(Bearer), "DPoP"), Err("token_answer"));
}

#[test]
fn a_bearer_token_of_a_client_with_both_is_bound_to_the_certificate_alone() {
    let world = with_strategy(both());
    let lease = world.lease([token("Bearer", 60)]).unwrap();
    assert_eq!(lease.authorization().unwrap(), "Bearer t");
    assert!(matches!(lease.confirmations(), [Confirmation::X5t(_)]));
    // The proof was shown all the same: it is the issuer who chooses.
    assert!(world.script.seen()[0].proof().is_some());
    let lease = with_strategy(both()).lease([token("DPoP", 60)]).unwrap();
    assert!(matches!(
        lease.confirmations(),
        [Confirmation::Jkt(_), Confirmation::X5t(_)]
    ));
}

fn end(lease: &crate::token::Lease) -> u64 {
    lease.usable_until().since_origin().as_secs()
}

#[test]
fn no_token_outlives_its_certificate() {
    let ends_in = |seconds, lifetime| {
        let certificate = identity(NOW.offset_seconds(-60), NOW.offset_seconds(seconds));
        let world = with_strategy(Mtls::new(certificate));
        let lease = world.lease([token("Bearer", lifetime)]).unwrap();
        (end(&lease), world.lifetimes())
    };
    assert_eq!(ends_in(600, 3600), (595, vec![600]));
    assert_eq!(ends_in(600, 60), (55, vec![60]));
    // Nobody else gets a token that ends with its certificate at once.
    let certificate = identity(NOW.offset_seconds(-60), NOW);
    let world = with_strategy(Mtls::new(certificate));
    world.lease([token("Bearer", 3600)]).unwrap();
    assert!(world.slot.held().is_none());
    for (from, until) in [(-60, -1), (1, 60)] {
        let world = with_strategy(Mtls::new(identity(NOW.offset_seconds(from), NOW.offset_seconds(until))));
        assert_eq!(world.lease([]).unwrap_err().code(), "client_certificate");
        assert!(world.script.seen().is_empty());
    }
}

/// What is in the place of a certificate now.
#[derive(Debug, Default)]
struct Exchangeable(std::sync::Mutex<Option<ClientIdentity>>);

#[async_trait]
impl CertificateSource for Exchangeable {
    async fn identity(&self, _connection: &ConnectionId) -> Result<ClientIdentity, IdentityError> {
        self.0.lock().unwrap().clone().ok_or(IdentityError::Missing)
    }
}

fn reviewed(world: &World, lease: &Arc<crate::token::Lease>) -> Result<bool, Error> {
    let reviewed = world.source.review(&world.slot, lease);
    reviewed.now_or_never().expect("nothing waits")
}

#[test]
fn a_token_goes_with_its_certificate() {
    let source = Arc::new(Exchangeable::default());
    let put = |identity: &ClientIdentity| *source.0.lock().unwrap() = Some(identity.clone());
    let (old, new) = (hour(), hour());
    let world = with_strategy(Mtls::shared(source.clone()));
    put(&old);
    let first = world.lease([token("Bearer", 3600)]).unwrap();
    // Another certificate for new tokens; the old one is good until it is retired.
    put(&new);
    assert!(reviewed(&world, &first).unwrap());
    old.retire();
    assert!(!first.is_good(world.source.generation()));
    assert!(!reviewed(&world, &first).unwrap());
    assert!(world.slot.held().is_none());
    let second = world.lease([token("Bearer", 3600)]).unwrap();
    assert_eq!(second.confirmations(), [Confirmation::X5t(new.x5t())]);
    let shown: Vec<_> = world.script.seen().iter().map(|seen| seen.x5t).collect();
    assert_eq!(shown, [Some(old.x5t()), Some(new.x5t())]);
    // A source that still has what is retired is no help, and nothing is sent.
    new.retire();
    assert!(!reviewed(&world, &second).unwrap());
    assert_eq!(world.lease([]).unwrap_err().code(), "client_certificate");
    assert!(world.script.seen().is_empty());
}

/// Gives the first certificate to whoever asks first, the second to the rest.
#[derive(Debug)]
struct Exchanging(std::sync::Mutex<Vec<ClientIdentity>>);

#[async_trait]
impl CertificateSource for Exchanging {
    async fn identity(&self, _connection: &ConnectionId) -> Result<ClientIdentity, IdentityError> {
        let mut left = self.0.lock().unwrap();
        let next = if left.len() > 1 {
            left.pop()
        } else {
            left.first().cloned()
        };
        next.ok_or(IdentityError::Missing)
    }
}

#[test]
fn a_certificate_that_is_exchanged_on_its_way_is_asked_for_once_more() {
    let (old, new) = (hour(), hour());
    old.retire();
    let source = Exchanging(std::sync::Mutex::new(vec![new.clone(), old]));
    let world = with_strategy(Mtls::new(source));
    let lease = world.lease([token("Bearer", 60)]).unwrap();
    assert_eq!(lease.confirmations(), [Confirmation::X5t(new.x5t())]);
}

#[test]
fn where_there_are_no_tokens_nobody_is_asked_for_one() {
    let source = Arc::new(Exchangeable::default());
    let (old, new) = (hour(), identity(NOW, NOW.offset_seconds(7200)));
    *source.0.lock().unwrap() = Some(old.clone());
    let world = World::new(|built| {
        built.at = Place::Nowhere;
        built.strategy = Arc::new(Mtls::shared(source.clone()));
    });
    let lease = world.lease([]).unwrap();
    assert_eq!((lease.authorization(), lease.ath(), lease.token()), (None, None, None));
    assert_eq!(end(&lease), 3600);
    assert_eq!(lease.confirmations(), [Confirmation::X5t(old.x5t())]);
    assert!(Arc::ptr_eq(&world.lease([]).unwrap(), &lease));
    *source.0.lock().unwrap() = Some(new.clone());
    world.clock.advance(Duration::from_secs(3600));
    let next = world.lease([]).unwrap();
    assert_eq!(next.confirmations(), [Confirmation::X5t(new.x5t())]);
    new.retire();
    assert!(!reviewed(&world, &next).unwrap());
    let told = world.source.introspect(&next, &world.slot.connection);
    assert!(told.now_or_never().unwrap().is_err());
    assert!(world.script.seen().is_empty());
}

#[test]
fn a_token_that_is_not_really_bound_is_not_used() {
    let with = |bound: &dyn Fn(&ClientIdentity) -> String| {
        let certificate = hour();
        let world = at_issuer(|source| {
            source.strategy = Arc::new(Mtls::new(certificate.clone()));
            source.confirm = true;
        });
        let told = format!(r#"{{"active":true{}}}"#, bound(&certificate));
        let outcome = world.lease([document(""), token("Bearer", 60), Step::json(200, &told)]);
        let seen = world.script.seen();
        assert_eq!(seen[2].target.path(), "/introspect");
        assert_eq!(seen[2].form()["token"], "t");
        assert_eq!(
            world.slot.held().is_some(),
            outcome.is_ok(),
            "what is refused is not kept"
        );
        outcome.map(drop).map_err(|error| error.code())
    };
    let x5t = |text: String| format!(r#","cnf":{{"x5t#S256":"{text}"}}"#);
    assert_eq!(with(&|own| x5t(own.x5t().to_string())), Ok(()));
    assert_eq!(with(&|_| String::new()), Err("unbound_token"));
    assert_eq!(with(&|_| x5t(hour().x5t().to_string())), Err("unbound_token"));
    assert_eq!(
        with(&|own| format!(r#","cnf":{{"jkt":"{}"}}"#, own.x5t())),
        Err("unbound_token")
    );
    assert_eq!(with(&|_| r#","cnf":{}"#.to_owned()), Err("introspection"));
}

#[test]
fn a_token_that_nobody_can_be_asked_about_is_not_used() {
    let world = World::new(|source| source.confirm = true);
    let error = world.lease([Step::token("t", "60")]).unwrap_err();
    assert!(matches!(
        error.kind(),
        ErrorKind::Metadata(MetadataError::NotOffered(IssuerEndpoint::Introspection))
    ));
    assert!(world.slot.held().is_none());
    let world = at_issuer(|source| source.confirm = true);
    let error = world
        .lease([
            document(""),
            token("Bearer", 60),
            Step::json(200, r#"{"active":false}"#),
        ])
        .unwrap_err();
    assert_eq!((error.code(), world.slot.held().is_none()), ("introspection", true));
    // The call itself was not sent.
    assert_eq!(error.stage(), crate::transport::Stage::NotSent);
    let waiting = world.slot.lease(&world.source, LATE).now_or_never().unwrap();
    assert_eq!(waiting.unwrap_err().code(), "cooling_down");
}
