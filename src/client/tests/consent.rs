//! A shipper's consent, from the address of the issuer's page to the first token.

use std::time::Duration;

use futures_util::FutureExt;

use crate::binding::dpop::Dpop;
use crate::carriers::CarrierProfile;
use crate::client::{Client, ClientBuilder};
use crate::crypto;
use crate::error::{Error, ErrorKind, OAuthCode};
use crate::exchange::quirks::Quirks;
use crate::grants::{GrantError, GrantState, MemoryGrants};
use crate::jose::base64url;
use crate::keys::{KeyError, KeyStore, Purpose, Retired};
use crate::owner::{AccountId, Owner, Tenant, TenantId};
use crate::testing::{Seen, Step};
use crate::token::TokenRequest;
use crate::token::client_auth::ClientAuth;
use crate::token::consent::{Authorization, ConsentError, PendingConsent};
use crate::token::metadata::{IssuerEndpoint, MetadataError};

use super::setup::{ISSUER, Setup, at_issuer, document, tenant};

const BACK: &str = "https://app.example/ups/callback?a=b";

/// An issuer with a page, and these members more.
fn page(extra: &str) -> Step {
    document(&format!(r#","authorization_endpoint":"{ISSUER}/authorize"{extra}"#))
}

const BY_KEY: &str = r#","token_endpoint_auth_methods_supported":["private_key_jwt"]"#;
const PAR: &str = r#","pushed_authorization_request_endpoint":"https://auth.carrier.example/par""#;

fn of_shippers() -> CarrierProfile {
    at_issuer()
        .token_request(TokenRequest::new().scope("ship").unwrap())
        .by_consent()
}

fn dpop(builder: ClientBuilder) -> ClientBuilder {
    builder.binding(Dpop::es256())
}

/// A shipper who has been sent to the issuer's page.
struct Begun {
    setup: Setup,
    client: Client,
    authorization: Authorization,
}

impl Begun {
    fn at(setup: Setup, profile: CarrierProfile, steps: impl IntoIterator<Item = Step>) -> Result<Self, Error> {
        let client = setup.build(profile, dpop).unwrap();
        setup.script.add(steps);
        let authorization = client.authorize(&tenant(), BACK).now_or_never().unwrap()?;
        Ok(Self {
            setup,
            client,
            authorization,
        })
    }

    fn new() -> Self {
        Self::with("")
    }

    fn with(extra: &str) -> Self {
        let begun = Self::at(Setup::new(), of_shippers(), [page(extra)]).unwrap();
        begun.setup.script.seen();
        begun
    }

    fn query(&self) -> Vec<(String, String)> {
        let (_, query) = self.authorization.url.as_str().split_once('?').unwrap();
        form_urlencoded::parse(query.as_bytes()).into_owned().collect()
    }

    fn asked(&self, name: &str) -> String {
        let mut found = self.query().into_iter().filter(|(known, _)| known == name);
        let (_, value) = found.next().unwrap_or_else(|| panic!("no {name}"));
        assert!(found.next().is_none(), "{name} twice");
        value
    }

    /// What is kept, as it comes back from a session.
    fn pending(&self) -> PendingConsent {
        PendingConsent::from_text(&self.authorization.pending.to_text()).unwrap()
    }

    /// The browser is back with this query, in which `{state}` stands for the right one.
    fn back(&self, query: &str, steps: impl IntoIterator<Item = Step>) -> (Result<(), Error>, Vec<Seen>) {
        self.setup.script.add(steps);
        let address = format!("{BACK}&{}", query.replace("{state}", &self.asked("state")));
        let consented = self
            .client
            .consented(&tenant(), self.pending(), &address)
            .now_or_never();
        (consented.expect("nothing waits"), self.setup.script.seen())
    }

    fn refused(&self, query: &str) -> ConsentError {
        let (outcome, seen) = self.back(query, []);
        assert!(seen.is_empty(), "{query}: nothing was exchanged");
        assert!(self.setup.consented(&self.client).is_none() && self.client.lease(&tenant()).is_none());
        match outcome.unwrap_err().kind() {
            ErrorKind::Consent(error) => error.clone(),
            other => panic!("{other:?}"),
        }
    }
}

fn tokens(extra: &str) -> Step {
    let body = format!(r#"{{"access_token":"t","token_type":"DPoP","expires_in":3600{extra}}}"#);
    Step::json(200, &body)
}

const NEXT: &str = r#","refresh_token":"r1""#;

#[test]
fn the_address_says_what_is_asked_for_and_nothing_secret() {
    let begun = Begun::at(Setup::new(), of_shippers(), [page("")]).unwrap();
    let url = begun.authorization.url.as_str();
    assert!(url.starts_with("https://auth.carrier.example/authorize?"), "{url}");
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "id"),
        ("redirect_uri", BACK),
        ("scope", "ship"),
        ("code_challenge_method", "S256"),
    ] {
        assert_eq!(begun.asked(name), value, "{name}");
    }
    let key = begun.setup.keys.active(&begun.owner(), Purpose::Proof).now_or_never();
    assert_eq!(
        begun.asked("dpop_jkt"),
        key.unwrap().unwrap().unwrap().jkt().to_string()
    );
    for secret in ["state", "code_challenge"] {
        assert_eq!(begun.asked(secret).len(), 43, "256 bits: {secret}");
    }
    assert!(!url.contains("sEcReTmArKeR") && !url.contains("client_secret") && !url.contains("code_verifier"));
    assert_eq!(begun.setup.paths(), ["/.well-known/oauth-authorization-server"]);
    // The next one is another.
    let next = begun.client.authorize(&tenant(), BACK).now_or_never().unwrap().unwrap();
    assert_ne!(next.url.as_str(), url);
    let shown = format!("{:?}", begun.authorization);
    assert!(!shown.contains(&begun.asked("state")), "{shown}");
}

#[test]
fn a_pushed_request_leaves_its_reference_in_the_address_alone() {
    let pushed = Step::json(201, r#"{"request_uri":"urn:example:abc","expires_in":60}"#);
    let begun = Begun::at(Setup::new(), of_shippers(), [page(PAR), pushed]).unwrap();
    assert_eq!(
        begun.authorization.url.as_str(),
        "https://auth.carrier.example/authorize?request_uri=urn%3Aexample%3Aabc&client_id=id"
    );
    let seen = begun.setup.script.seen();
    let form = seen[1].form();
    assert_eq!(seen[1].target.path(), "/par");
    assert!(
        seen[1].headers.contains_key("authorization"),
        "RFC 9126 2: authenticated"
    );
    for name in [
        "response_type",
        "redirect_uri",
        "state",
        "code_challenge",
        "dpop_jkt",
        "scope",
    ] {
        assert!(form.contains_key(name), "{name}");
    }
    assert!(!form.contains_key("request_uri") && !form.contains_key("code_verifier"));
}

#[test]
fn a_pushed_request_that_fails_is_no_address() {
    for (step, code) in [
        (Step::json(400, r#"{"error":"invalid_request"}"#), "token_refused"),
        (Step::json(500, ""), "token_answer"),
        (Step::json(201, "[]"), "token_answer"),
        (Step::json(201, r#"{"request_uri":"/relative"}"#), "token_answer"),
        (Step::json(201, r#"{"expires_in":60}"#), "token_answer"),
        (Step::with(503, &[], ""), "rate_limited"),
    ] {
        let failed = Begun::at(Setup::new(), of_shippers(), [page(PAR), step]);
        assert_eq!(failed.err().unwrap().code(), code);
    }
}

#[test]
fn who_must_push_and_cannot_does_not_ask() {
    let missing = |outcome: Result<Authorization, Error>| match outcome.unwrap_err().kind() {
        ErrorKind::Metadata(error) => *error,
        other => panic!("{other:?}"),
    };
    let setup = Setup::new();
    let client = setup.build(of_shippers(), dpop).unwrap();
    setup
        .script
        .add([page(r#","require_pushed_authorization_requests":true"#)]);
    let not_offered = MetadataError::NotOffered(IssuerEndpoint::PushedAuthorization);
    assert_eq!(
        missing(client.authorize(&tenant(), BACK).now_or_never().unwrap()),
        not_offered
    );
    // FAPI 2.0 5.3.3.2 wants it even where the issuer does not.
    let setup = Setup::new();
    let profile = of_shippers().client_auth(ClientAuth::PrivateKeyJwt(Default::default()));
    let client = setup.build(profile, |builder| dpop(builder).fapi2()).unwrap();
    setup.script.add([page(BY_KEY)]);
    assert_eq!(
        missing(client.authorize(&tenant(), BACK).now_or_never().unwrap()),
        not_offered
    );
    // And an issuer without a page has none to go to.
    let setup = Setup::new();
    let client = setup.build(of_shippers(), dpop).unwrap();
    setup.script.add([document("")]);
    let no_page = MetadataError::NotOffered(IssuerEndpoint::Authorization);
    assert_eq!(
        missing(client.authorize(&tenant(), BACK).now_or_never().unwrap()),
        no_page
    );
}

#[test]
fn an_address_to_come_back_to_is_absolute() {
    for wrong in ["", "/callback", "https://app.example/#x"] {
        let setup = Setup::new();
        let client = setup.build(of_shippers(), dpop).unwrap();
        let error = client.authorize(&tenant(), wrong).now_or_never().unwrap().unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Consent(ConsentError::RedirectUri)),
            "{wrong}"
        );
        assert!(setup.script.seen().is_empty());
    }
}

impl Begun {
    fn owner(&self) -> Owner {
        Owner::from(self.client.0.scope.connection(&tenant()))
    }
}

#[test]
fn a_code_is_exchanged_with_the_key_and_the_verifier_that_it_was_asked_for_with() {
    let begun = Begun::new();
    let (outcome, seen) = begun.back("code=c%2B1&state={state}", [tokens(NEXT)]);
    outcome.unwrap();
    let form = seen[0].form();
    assert_eq!((seen.len(), seen[0].target.path()), (1, "/token"));
    assert_eq!((&*form["grant_type"], &*form["code"]), ("authorization_code", "c+1"));
    assert_eq!(form["redirect_uri"], BACK);
    let challenge = base64url::encode(&crypto::sha256(form["code_verifier"].as_bytes()));
    assert_eq!(begun.asked("code_challenge"), challenge);
    let key = begun.setup.keys.active(&begun.owner(), Purpose::Proof).now_or_never();
    let jkt = key.unwrap().unwrap().unwrap().jkt().to_string();
    assert_eq!(begun.asked("dpop_jkt"), jkt);
    let lease = begun.client.lease(&tenant()).expect("the first token is at hand");
    assert!(matches!(lease.confirmations(), [crate::binding::Confirmation::Jkt(own)] if own.to_string() == jkt));
    begun.setup.call(&begun.client, [Step::json(200, "{}")]).unwrap();
    assert_eq!(begun.setup.paths(), ["/rates"]);
    let Some(GrantState::Ready(grant)) = begun.setup.consented(&begun.client) else {
        panic!("no consent")
    };
    // A confidential client's refresh token is bound by its authentication.
    assert_eq!((grant.refresh_token().expose(), grant.confirmations()), ("r1", &[][..]));
}

#[test]
fn what_does_not_belong_to_the_request_is_not_exchanged() {
    let begun = Begun::with(r#","authorization_response_iss_parameter_supported":true"#);
    let iss = "&iss=https%3A%2F%2Fauth.carrier.example";
    for query in [
        format!("code=c{iss}"),
        format!("code=c&state=A{iss}"),
        format!("code=c&state={iss}"),
        "error=access_denied".to_owned(),
    ] {
        assert_eq!(begun.refused(&query), ConsentError::State, "{query}");
    }
    for query in [
        "code=c&state={state}".to_owned(),
        "code=c&state={state}&iss=https://evil.example".to_owned(),
        "error=access_denied&state={state}".to_owned(),
    ] {
        assert_eq!(begun.refused(&query), ConsentError::Issuer, "{query}");
    }
    for query in [
        format!("code=c&code=d&state={{state}}{iss}"),
        format!("code=c&state={{state}}&state={{state}}{iss}"),
        format!("code=c&state={{state}}{iss}{iss}"),
    ] {
        assert_eq!(begun.refused(&query), ConsentError::Malformed, "{query}");
    }
    let denied = ConsentError::Refused(OAuthCode::new("access_denied"));
    assert_eq!(
        begun.refused(&format!("error=access_denied&code=c&state={{state}}{iss}")),
        denied
    );
    assert_eq!(begun.refused(&format!("state={{state}}{iss}")), ConsentError::NoCode);
    // None of this used the consent up.
    begun
        .back(&format!("code=c&state={{state}}{iss}"), [tokens(NEXT)])
        .0
        .unwrap();
}

#[test]
fn a_shipper_has_half_an_hour() {
    let begun = Begun::new();
    begun
        .setup
        .clock
        .advance(Duration::from_secs(1800) - Duration::from_micros(1));
    begun.back("code=c&state={state}", [tokens(NEXT)]).0.unwrap();
    let begun = Begun::new();
    begun.setup.clock.advance(Duration::from_secs(1800));
    assert_eq!(begun.refused("code=c&state={state}"), ConsentError::Expired);
}

#[test]
fn a_consent_is_finished_by_the_client_that_began_it() {
    let begun = Begun::new();
    let account = AccountId::new("other").unwrap();
    let others = [
        begun
            .setup
            .build(of_shippers(), |builder| dpop(builder).account(account)),
        begun.setup.build(of_shippers().client_auth(ClientAuth::Post), dpop),
        begun
            .setup
            .build(of_shippers().token_request(TokenRequest::new()).by_consent(), dpop),
    ];
    for other in others {
        let address = format!("{BACK}&code=c&state={}", begun.asked("state"));
        let outcome = other
            .unwrap()
            .consented(&tenant(), begun.pending(), &address)
            .now_or_never()
            .unwrap();
        assert!(matches!(
            outcome.unwrap_err().kind(),
            ErrorKind::Consent(ConsentError::OtherClient)
        ));
    }
    // Nor in another shipper's session, nor at another address.
    let address = format!("{BACK}&code=c&state={}", begun.asked("state"));
    let globex: Tenant = TenantId::new("globex").unwrap().into();
    for (whose, address, wanted) in [
        (globex, address.clone(), ConsentError::OtherClient),
        (tenant(), address.replace("https://", "https://x."), ConsentError::Place),
    ] {
        let outcome = begun.client.consented(&whose, begun.pending(), &address).now_or_never();
        match outcome.unwrap().unwrap_err().kind() {
            ErrorKind::Consent(error) => assert_eq!(*error, wanted),
            other => panic!("{other:?}"),
        }
    }
    assert!(begun.setup.script.seen().is_empty());
}

#[test]
fn a_key_that_was_exchanged_meanwhile_cannot_have_the_code() {
    let begun = Begun::new();
    let key = begun.setup.keys.active(&begun.owner(), Purpose::Proof).now_or_never();
    key.unwrap().unwrap().unwrap().close(Retired::Compromised);
    let (outcome, seen) = begun.back("code=c&state={state}", []);
    assert!(matches!(
        outcome.unwrap_err().kind(),
        ErrorKind::Key(KeyError::Mismatch)
    ));
    assert!(seen.is_empty() && begun.setup.consented(&begun.client).is_none());
}

#[test]
fn what_a_code_did_not_bring_is_not_used() {
    let begun = Begun::new();
    let (outcome, _) = begun.back("code=c&state={state}", [tokens("")]);
    assert!(matches!(
        outcome.unwrap_err().kind(),
        ErrorKind::Consent(ConsentError::NoRefreshToken)
    ));
    for (step, code) in [
        (Step::json(400, r#"{"error":"invalid_grant"}"#), "token_refused"),
        (
            Step::json(
                200,
                r#"{"access_token":"t","token_type":"Bearer","refresh_token":"r1"}"#,
            ),
            "unbound_token",
        ),
        (tokens(r#","refresh_token":"r1","scope":"track""#), "token_answer"),
        (Step::Lost, "outcome_unknown"),
    ] {
        let begun = Begun::new();
        assert_eq!(begun.back("code=c&state={state}", [step]).0.unwrap_err().code(), code);
        assert!(begun.client.lease(&tenant()).is_none(), "{code}");
        assert!(begun.setup.consented(&begun.client).is_none(), "{code}");
    }
}

#[test]
fn a_consent_that_cannot_be_stored_gives_no_token() {
    let full = Setup::with_grants(MemoryGrants::new().with_limit(0));
    let begun = Begun::at(full, of_shippers(), [page("")]).unwrap();
    let (outcome, _) = begun.back("code=c&state={state}", [tokens(NEXT)]);
    assert!(matches!(
        outcome.unwrap_err().kind(),
        ErrorKind::Grant(GrantError::Full { limit: 0 })
    ));
    assert!(begun.client.lease(&tenant()).is_none());
}

#[test]
fn a_new_consent_takes_the_place_of_the_old_one_and_its_token() {
    let begun = Begun::new();
    begun.back("code=c&state={state}", [tokens(NEXT)]).0.unwrap();
    let old = begun.client.lease(&tenant()).unwrap();
    let again = Step::json(
        200,
        r#"{"access_token":"u","token_type":"DPoP","expires_in":3600,"refresh_token":"r2"}"#,
    );
    begun.back("code=d&state={state}", [again]).0.unwrap();
    let new = begun.client.lease(&tenant()).unwrap();
    assert_eq!((old.token(), new.token()), (Some("t"), Some("u")));
    assert!(!old.is_good(begun.client.0.source.generation()));
}

#[test]
fn public_clients_give_their_id_alone_and_are_bound_to_their_key() {
    let public = of_shippers().client_auth(ClientAuth::None);
    let quirks = Quirks {
        code_without_authentication: true,
        ..Quirks::default()
    };
    for (profile, bound) in [(public, true), (of_shippers().quirks(quirks), false)] {
        let begun = Begun::at(Setup::new(), profile, [page("")]).unwrap();
        begun.setup.script.seen();
        let (outcome, seen) = begun.back("code=c&state={state}", [tokens(NEXT)]);
        outcome.unwrap();
        assert_eq!(seen[0].form()["client_id"], "id");
        assert!(!seen[0].headers.contains_key("authorization") && !seen[0].form().contains_key("client_secret"));
        let Some(GrantState::Ready(grant)) = begun.setup.consented(&begun.client) else {
            panic!("no consent")
        };
        assert_eq!(grant.confirmations().len(), usize::from(bound));
    }
}

#[test]
fn fapi_pushes_and_wants_the_issuer_named() {
    let setup = Setup::new();
    let profile = of_shippers().client_auth(ClientAuth::PrivateKeyJwt(Default::default()));
    let client = setup.build(profile, |builder| dpop(builder).fapi2()).unwrap();
    setup.may_sign(&client);
    let pushed = Step::json(201, r#"{"request_uri":"urn:example:abc","expires_in":60}"#);
    setup.script.add([page(&format!("{PAR}{BY_KEY}")), pushed]);
    let authorization = client.authorize(&tenant(), BACK).now_or_never().unwrap().unwrap();
    let seen = setup.script.seen();
    let (state, first) = (seen[1].form()["state"].clone(), seen[1].assertion());
    let back = |iss: &str, steps: Vec<Step>| {
        let pending = PendingConsent::from_text(&authorization.pending.to_text()).unwrap();
        setup.script.add(steps);
        let address = format!("{BACK}&code=c&state={state}{iss}");
        client.consented(&tenant(), pending, &address).now_or_never().unwrap()
    };
    let error = back("", Vec::new()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Consent(ConsentError::Issuer)));
    assert!(setup.script.seen().is_empty());
    back("&iss=https://auth.carrier.example", vec![tokens(NEXT)]).unwrap();
    let second = setup.script.seen()[0].assertion();
    assert_eq!(
        (&first.claims["aud"], &second.claims["aud"]),
        (&ISSUER.into(), &ISSUER.into())
    );
    assert_ne!(first.claims["jti"], second.claims["jti"]);
}

#[test]
fn a_first_token_that_is_not_really_bound_is_not_used() {
    for (bound, code) in [(true, None), (false, Some("unbound_token"))] {
        let setup = Setup::new();
        let client = setup
            .build(of_shippers(), |builder| dpop(builder).confirm_binding())
            .unwrap();
        let asks = r#","introspection_endpoint":"https://auth.carrier.example/introspect""#;
        setup.script.add([page(asks)]);
        let authorization = client.authorize(&tenant(), BACK).now_or_never().unwrap().unwrap();
        let begun = Begun {
            setup,
            client,
            authorization,
        };
        begun.setup.script.seen();
        let cnf = match bound {
            true => format!(r#","cnf":{{"jkt":"{}"}}"#, begun.asked("dpop_jkt")),
            false => String::new(),
        };
        let told = Step::json(200, &format!(r#"{{"active":true{cnf}}}"#));
        let (outcome, seen) = begun.back("code=c&state={state}", [tokens(NEXT), told]);
        assert_eq!(outcome.err().map(|error| error.code()), code);
        assert_eq!(seen.len(), 2);
        assert_eq!(begun.client.lease(&tenant()).is_some(), bound);
    }
}
