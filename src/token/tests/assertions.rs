//! Signed assertions, from the source of tokens to the wire: for whom they are, and that none is sent twice.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::FutureExt;
use serde_json::Value;

use super::{ISSUER, NOW, World, origin, scope, tenant};
use crate::credentials::{Credential, MemoryCredentials};
use crate::journal::EventKind;
use crate::keys::{LocalKey, MemoryKeyStore, Purpose};
use crate::owner::Owner;
use crate::testing::{Proof, Seen, Step, group, id};
use crate::token::TokenRequest;
use crate::token::assertion::{AssertionProfile, Audience};
use crate::token::client_auth::ClientAuth;
use crate::token::grant::GrantType;
use crate::token::revocation::TokenHint;
use crate::token::source::TokenSource;

/// Makes a source whose client `client_id` has a key for assertions.
fn signing(source: &mut TokenSource, client_id: &str) {
    let (scope, acme) = (scope(), tenant("acme"));
    let keys = MemoryKeyStore::new();
    let owner = Owner::from(scope.connection(&acme));
    let key = LocalKey::generate(crate::jose::Algorithm::Es256, Default::default()).unwrap();
    let key = keys.import(&owner, Purpose::ClientAssertion, key).unwrap();
    let promoted = crate::keys::KeyStore::promote(&keys, &owner, &key.id(), None, NOW).now_or_never();
    assert!(promoted.unwrap().unwrap());
    source.keys = Arc::new(keys);
    let credentials = MemoryCredentials::new();
    let credential = Credential::without_secret(client_id);
    credentials.put(acme, &scope.carrier, scope.environment, credential);
    source.credentials = Arc::new(credentials);
    source.auth = ClientAuth::PrivateKeyJwt(AssertionProfile::new());
}

fn challenge() -> Step {
    let headers = [("content-type", "application/json"), ("dpop-nonce", "n1")];
    Step::with(400, &headers, r#"{"error":"use_dpop_nonce"}"#)
}

/// All requests for a token and for its revocation, at endpoints that metadata names.
fn asked(vector: &Value) -> (World, Vec<Seen>) {
    let input = &vector["input"];
    let text = |name: &str, default: &'static str| input[name].as_str().unwrap_or(default).to_owned();
    let (issuer, endpoint) = (
        text("issuer", ISSUER),
        text("endpoint", "https://auth.carrier.example/token"),
    );
    let world = World::at_issuer(&issuer, |source| {
        signing(source, &text("client_id", "c1"));
        // Whoever configured the issuer allowed the origins that its endpoints are on.
        source.origins = vec![origin(&endpoint)];
        if input["legacy_token_endpoint_aud"] == true {
            let legacy = AssertionProfile::new().audience(Audience::TokenEndpoint);
            source.auth = ClientAuth::PrivateKeyJwt(legacy);
        }
        #[cfg(feature = "sandbox")]
        if endpoint.contains("//mtls.") {
            source.strategy = Arc::new(super::mtls::strategy());
        }
    });
    let conventional = endpoint.replace("//mtls.", "//");
    let of = |at: &str| format!(r#"{{"token_endpoint":"{at}","revocation_endpoint":"{at}"}}"#);
    let aliases = match conventional == endpoint {
        true => "null".to_owned(),
        false => of(&endpoint),
    };
    let document = of(&conventional).replacen(
        '{',
        &format!(r#"{{"issuer":"{issuer}","mtls_endpoint_aliases":{aliases},"#),
        1,
    );
    let certified = cfg!(feature = "sandbox") && conventional != endpoint;
    let kind = if certified { "Bearer" } else { "DPoP" };
    let token = format!(r#"{{"access_token":"t","token_type":"{kind}","expires_in":60}}"#);
    let mut steps = vec![Step::json(200, &document)];
    if !certified {
        steps.push(challenge());
    }
    steps.push(Step::json(200, &token));
    world.lease(steps).unwrap();
    world.script.add([Step::json(200, "")]);
    let revoked = world.source.revoke(&world.slot.connection, "t", TokenHint::Access);
    assert!(revoked.now_or_never().unwrap().unwrap());
    let mut seen = world.script.seen();
    seen.remove(0);
    if certified || conventional == endpoint {
        assert!(seen.iter().all(|seen| seen.target.as_str() == endpoint));
    }
    (world, seen)
}

#[test]
fn every_vector_of_client_assertions_on_the_wire() {
    for vector in group("client_assertion", 6) {
        let (id, expect) = (id(&vector), &vector["expect"]);
        let (world, seen) = asked(&vector);
        let assertions: Vec<_> = seen.iter().map(Seen::assertion).collect();
        let distinct = |values: Vec<String>| values.iter().collect::<BTreeSet<_>>().len() == values.len();
        let jti = |proof: &Proof| proof.claims["jti"].as_str().unwrap().to_owned();
        // No attempt has the assertion of another one, and none has its proof.
        assert!(
            seen.len() >= 2 && distinct(assertions.iter().map(jti).collect()),
            "{id}"
        );
        assert!(
            distinct(seen.iter().filter_map(Seen::proof).map(|proof| jti(&proof)).collect()),
            "{id}"
        );
        for assertion in &assertions {
            let claims = &assertion.claims;
            for name in ["aud", "iss", "sub"] {
                if let Some(wanted) = expect.get(name) {
                    assert_eq!(*wanted, claims[name], "{id}: {name}");
                }
            }
            if let Some(typ) = expect.get("header_typ") {
                assert_eq!(*typ, assertion.header["typ"], "{id}");
            }
            for name in expect["required"].as_array().into_iter().flatten() {
                assert!(claims.get(name.as_str().unwrap()).is_some(), "{id}: {name}");
            }
            if let Some(longest) = expect["max_lifetime_s"].as_i64() {
                let lifetime = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
                assert!((1..=longest).contains(&lifetime), "{id}");
            }
        }
        for seen in &seen {
            let form = seen.form();
            assert_eq!(
                form["client_assertion_type"],
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
            );
            assert!(
                !form.contains_key("client_secret") && seen.headers.get("authorization").is_none(),
                "{id}"
            );
        }
        let events = world.events.events();
        let warned = events
            .iter()
            .any(|event| matches!(event.kind, EventKind::LegacyAssertion));
        assert_eq!(warned, expect["warning"] == true, "{id}");
    }
}

#[test]
fn a_revocation_with_a_weaker_assertion_is_an_event_too() {
    let world = World::at_issuer(ISSUER, |source| {
        signing(source, "c1");
        source.auth = ClientAuth::PrivateKeyJwt(AssertionProfile::new().audience(Audience::TokenEndpoint));
    });
    let warnings = || {
        let events = world.events.events();
        let legacy = events
            .iter()
            .filter(|event| matches!(event.kind, EventKind::LegacyAssertion));
        legacy.count()
    };
    let document =
        format!(r#"{{"issuer":"{ISSUER}","token_endpoint":"{ISSUER}/token","revocation_endpoint":"{ISSUER}/revoke"}}"#);
    world.script.add([Step::json(200, &document), Step::json(200, "")]);
    let revoked = world.source.revoke(&world.slot.connection, "t", TokenHint::Access);
    assert!(revoked.now_or_never().unwrap().unwrap());
    assert_eq!(warnings(), 1);
}

#[test]
fn an_assertion_that_is_the_grant_is_new_for_each_attempt_too() {
    let world = World::at_issuer(ISSUER, |source| {
        signing(source, "c1");
        source.auth = ClientAuth::None;
        source.request = TokenRequest::new()
            .grant(GrantType::JwtBearer(AssertionProfile::new()))
            .scope("ship:write")
            .and_then(|request| request.resource("https://api.carrier.example/"))
            .unwrap();
    });
    let document = format!(r#"{{"issuer":"{ISSUER}","token_endpoint":"{ISSUER}/token"}}"#);
    world
        .lease([Step::json(200, &document), challenge(), Step::token("t", "60")])
        .unwrap();
    let seen = world.script.seen();
    let grants: Vec<_> = seen[1..]
        .iter()
        .map(|seen| Proof::read(&seen.form()["assertion"]))
        .collect();
    assert_eq!(grants.len(), 2);
    assert_ne!(grants[0].claims["jti"], grants[1].claims["jti"]);
    for (seen, grant) in seen[1..].iter().zip(&grants) {
        assert_eq!(seen.form()["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
        assert_eq!(grant.header["typ"], "authorization-grant+jwt");
        assert_eq!(
            (&grant.claims["aud"], &grant.claims["iss"]),
            (&ISSUER.into(), &"c1".into())
        );
        assert_eq!(grant.claims["scope"], "ship:write");
        assert_eq!(grant.claims["resource"], "https://api.carrier.example/");
    }
}

#[test]
fn without_a_key_for_assertions_nothing_is_sent() {
    let world = World::at_issuer(ISSUER, |source| {
        signing(source, "c1");
        source.keys = Arc::new(MemoryKeyStore::new());
    });
    let document = format!(r#"{{"issuer":"{ISSUER}","token_endpoint":"{ISSUER}/token"}}"#);
    let error = world.lease([Step::json(200, &document)]).unwrap_err();
    assert_eq!((error.code(), world.script.seen().len()), ("assertion", 1));
}
