//! `private_key_jwt` (RFC 7523): what is accepted, and everything else.

use serde_json::{Value, json};
use shipbound::clock::{Clock, SystemClock, Timestamp};
use shipbound::sandbox::{Answer, CertificateFor, Registration, Sandbox, Verdict};

use crate::caller::{Got, tenant};
use crate::certified::{Certified, basic};
use crate::signer::{Signer, asserted};

const GRANT: &str = "grant_type=client_credentials";

async fn ask(sandbox: &Sandbox, body: &str) -> Got {
    let url = format!("{}/token", sandbox.issuer());
    Certified::new(sandbox, None).ask(&url, &[], body).await
}

/// Why the last request was refused.
fn reason(sandbox: &Sandbox) -> String {
    match sandbox.requests().last().unwrap().verdict() {
        Verdict::Refused(reason) => reason.clone(),
        other => format!("{other:?}"),
    }
}

fn es256(sandbox: &Sandbox) -> Signer {
    Signer::es256(sandbox, "acme", &sandbox.client_certificate("acme").unwrap())
}

fn register(sandbox: &Sandbox, signer: &Signer) {
    sandbox.register(Registration::private_key_jwt("acme", signer.keys()));
}

#[tokio::test]
async fn every_algorithm_authenticates_and_the_claims_are_on_record() {
    let sandbox = Sandbox::start().await.unwrap();
    let signers = [
        es256(&sandbox),
        Signer::rsa(&sandbox, "acme", "PS256"),
        Signer::rsa(&sandbox, "acme", "RS256"),
    ];
    for signer in signers {
        register(&sandbox, &signer);
        let jwt = signer.sign();
        let got = ask(&sandbox, &asserted(&jwt, GRANT)).await;
        assert_eq!(got.status, 200, "{got:?}");
        let request = sandbox.requests().last().unwrap().clone();
        assert_eq!(request.client_id(), Some("acme"));
        let claims = request.assertion().unwrap();
        assert_eq!(
            (claims.iss.as_deref(), claims.sub.as_deref()),
            (Some("acme"), Some("acme"))
        );
        assert_eq!(claims.aud, Some(json!(sandbox.issuer())));
        assert_eq!(claims.typ.as_deref(), Some("client-authentication+jwt"));
        assert_eq!(
            (claims.alg.as_deref(), claims.kid.as_deref()),
            (signer.header["alg"].as_str(), Some("k1"))
        );
        assert_eq!(claims.exp.unwrap() - claims.iat.unwrap(), 60);
        assert!(claims.jti.is_some());

        let again = ask(&sandbox, &asserted(&jwt, GRANT)).await;
        assert_eq!((again.status, again.error().as_str()), (401, "invalid_client"));
        assert_eq!(reason(&sandbox), "assertion_replay");
    }
}

#[tokio::test]
async fn an_assertion_with_one_thing_wrong_is_refused_for_it() {
    let sandbox = Sandbox::start().await.unwrap();
    let signer = es256(&sandbox);
    register(&sandbox, &signer);
    let now = SystemClock::new().now().unix_seconds();
    let (issuer, none) = (sandbox.issuer(), json!({}));
    let with = |name: &str, value: Value| json!({name: value});
    let cases = [
        (with("typ", json!("dpop+jwt")), none.clone(), "assertion_typ"),
        (with("typ", json!(1)), none.clone(), "assertion_typ"),
        (with("alg", json!("none")), none.clone(), "assertion_alg"),
        (with("alg", json!("HS256")), none.clone(), "assertion_alg"),
        (with("alg", json!("RS256")), none.clone(), "assertion_signature"),
        (with("alg", json!("PS256")), none.clone(), "assertion_signature"),
        (with("kid", json!("k2")), none.clone(), "assertion_kid"),
        (with("kid", Value::Null), none.clone(), "assertion_kid"),
        (with("crit", json!(["x"])), none.clone(), "assertion_form"),
        (with("x5c", json!(["AAAA"])), none.clone(), "assertion_x5c"),
        (none.clone(), with("iss", json!("other")), "assertion_iss"),
        (none.clone(), with("aud", json!([issuer])), "assertion_aud"),
        (none.clone(), with("aud", json!(format!("{issuer}/"))), "assertion_aud"),
        (
            none.clone(),
            with("aud", json!(format!("{issuer}/token"))),
            "assertion_aud",
        ),
        (none.clone(), with("aud", Value::Null), "assertion_aud"),
        (none.clone(), with("exp", json!(now - 1)), "assertion_exp"),
        (none.clone(), with("exp", json!(now + 400)), "assertion_exp"),
        (none.clone(), with("exp", json!("soon")), "assertion_exp"),
        (none.clone(), with("exp", Value::Null), "assertion_exp"),
        (none.clone(), with("iat", json!(now + 60)), "assertion_iat"),
        (none.clone(), with("nbf", json!(now + 60)), "assertion_nbf"),
        (none.clone(), with("jti", json!("")), "assertion_jti"),
        (none.clone(), with("jti", Value::Null), "assertion_jti"),
    ];
    for (header, claims, wrong) in cases {
        let got = ask(&sandbox, &asserted(&signer.sign_with(&header, &claims), GRANT)).await;
        assert_eq!(
            (got.status, got.error().as_str()),
            (401, "invalid_client"),
            "{header} {claims}"
        );
        assert_eq!(reason(&sandbox), wrong, "{header} {claims}");
    }
    let other = es256(&sandbox);
    ask(&sandbox, &asserted(&other.sign(), GRANT)).await;
    assert_eq!(reason(&sandbox), "assertion_signature");
    ask(&sandbox, &asserted("no.j.wt", GRANT)).await;
    assert_eq!(reason(&sandbox), "assertion_form");
    ask(&sandbox, &asserted(&signer.sign(), &format!("{GRANT}&client_id=other"))).await;
    assert_eq!(reason(&sandbox), "assertion_sub");
    // What is nearly the same, and right.
    let times = json!({"exp": now + 300, "nbf": now, "iat": null});
    let untyped = signer.sign_with(&json!({"typ": null}), &times);
    assert_eq!(
        ask(&sandbox, &asserted(&untyped, &format!("{GRANT}&client_id=acme")))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn one_way_of_authentication_is_taken_and_it_is_the_registered_one() {
    let sandbox = Sandbox::start().await.unwrap();
    let signer = es256(&sandbox);
    register(&sandbox, &signer);
    let url = format!("{}/token", sandbox.issuer());
    let client = Certified::new(&sandbox, None);
    let header = basic("acme", "sEcReTmArKeR-1");
    let twice = client
        .ask(&url, &[("authorization", &header)], &asserted(&signer.sign(), GRANT))
        .await;
    assert_eq!((twice.status, twice.error().as_str()), (400, "invalid_request"));
    let secret = format!("{GRANT}&client_id=acme&client_secret=x");
    assert_eq!(
        ask(&sandbox, &asserted(&signer.sign(), &secret)).await.error(),
        "invalid_request"
    );
    assert_eq!(ask(&sandbox, &secret).await.error(), "invalid_client");
    assert_eq!(
        client.ask(&url, &[("authorization", &header)], GRANT).await.error(),
        "invalid_client"
    );
    assert_eq!(
        ask(&sandbox, &format!("{GRANT}&client_id=acme")).await.error(),
        "invalid_client"
    );
    let untyped = format!("{GRANT}&client_assertion={}", signer.sign());
    assert_eq!(ask(&sandbox, &untyped).await.error(), "invalid_client");

    sandbox.register(Registration::secret("acme", "sEcReTmArKeR-1"));
    assert_eq!(
        ask(&sandbox, &asserted(&signer.sign(), GRANT)).await.error(),
        "invalid_client"
    );
    assert_eq!(client.ask(&url, &[("authorization", &header)], GRANT).await.status, 200);
}

#[tokio::test]
async fn older_and_newer_habits_are_a_registrations_to_say() {
    let sandbox = Sandbox::start().await.unwrap();
    let signer = es256(&sandbox);
    let registered = || Registration::private_key_jwt("acme", signer.keys());
    let status = async |header: Value, claims: Value| {
        let jwt = signer.sign_with(&header, &claims);
        ask(&sandbox, &asserted(&jwt, GRANT)).await.status
    };
    let (none, untyped) = (|| json!({}), || json!({"typ": "JWT"}));
    sandbox.register(registered().explicit_typ(true));
    assert_eq!(
        (status(none(), none()).await, status(untyped(), none()).await),
        (200, 401)
    );
    sandbox.register(registered().explicit_typ(false));
    assert_eq!(
        (status(none(), none()).await, status(untyped(), none()).await),
        (401, 200)
    );

    let at = |aud: &str| json!({"aud": aud});
    let (issuer, endpoint) = (sandbox.issuer(), format!("{}/token", sandbox.issuer()));
    sandbox.register(registered().token_endpoint_audience());
    assert_eq!(
        (status(none(), at(issuer)).await, status(none(), at(&endpoint)).await),
        (200, 200)
    );
    assert_eq!(status(none(), at("https://elsewhere.example/token")).await, 401);
    sandbox.register(registered().audience("EU.EORI.NL000000004"));
    assert_eq!(
        (
            status(none(), at(issuer)).await,
            status(none(), at("EU.EORI.NL000000004")).await
        ),
        (401, 200)
    );
}

#[tokio::test]
async fn certificates_come_along_where_they_are_wanted() {
    let sandbox = Sandbox::start().await.unwrap();
    let certificate = sandbox.client_certificate("acme").unwrap();
    let signer = Signer::es256(&sandbox, "acme", &certificate).certified(&certificate);
    sandbox.register(Registration::private_key_jwt("acme", signer.keys()).certificates());
    assert_eq!(ask(&sandbox, &asserted(&signer.sign(), GRANT)).await.status, 200);
    assert_eq!(sandbox.requests().last().unwrap().assertion().unwrap().x5c, 1);

    let plain = Signer::es256(&sandbox, "acme", &certificate);
    ask(&sandbox, &asserted(&plain.sign(), GRANT)).await;
    assert_eq!(reason(&sandbox), "assertion_x5c");
    let foreign = Signer::es256(&sandbox, "acme", &certificate).certified(&sandbox.client_certificate("acme").unwrap());
    ask(&sandbox, &asserted(&foreign.sign(), GRANT)).await;
    assert_eq!(reason(&sandbox), "assertion_x5c");

    let (past, ended) = (Timestamp::from_unix_seconds(0), Timestamp::from_unix_seconds(1));
    let ended = sandbox
        .client_certificate(CertificateFor::from("acme").valid(past, ended))
        .unwrap();
    let signer = Signer::es256(&sandbox, "acme", &ended).certified(&ended);
    sandbox.register(Registration::private_key_jwt("acme", signer.keys()).certificates());
    ask(&sandbox, &asserted(&signer.sign(), GRANT)).await;
    assert_eq!(reason(&sandbox), "assertion_x5c_ended");
}

#[tokio::test]
async fn set_clocks_let_assertions_be_used_again() {
    let sandbox = Sandbox::start().await.unwrap();
    let signer = es256(&sandbox);
    register(&sandbox, &signer);
    let body = asserted(&signer.sign(), GRANT);
    assert_eq!(
        (ask(&sandbox, &body).await.status, ask(&sandbox, &body).await.status),
        (200, 401)
    );
    sandbox.skew(1);
    assert_eq!(ask(&sandbox, &body).await.status, 200);
    sandbox.skew(90);
    assert_eq!(ask(&sandbox, &asserted(&signer.sign(), GRANT)).await.status, 401);
    assert_eq!(reason(&sandbox), "assertion_exp");
}

#[tokio::test]
async fn every_endpoint_of_the_issuer_takes_assertions() {
    let sandbox = Sandbox::start().await.unwrap();
    let signer = es256(&sandbox);
    register(&sandbox, &signer);
    let client = Certified::new(&sandbox, None);
    let got = ask(&sandbox, &asserted(&signer.sign(), GRANT)).await;
    let about = format!("token={}", got.json()["access_token"].as_str().unwrap());
    let at = |path: &str| format!("{}{path}", sandbox.issuer());
    for (path, active) in [("/introspect", true), ("/revoke", true), ("/introspect", false)] {
        assert_eq!(client.ask(&at(path), &[], &about).await.error(), "invalid_client");
        let other_audience = signer.sign_with(&json!({}), &json!({"aud": at(path)}));
        assert_eq!(
            client
                .ask(&at(path), &[], &asserted(&other_audience, &about))
                .await
                .status,
            401
        );
        let got = client.ask(&at(path), &[], &asserted(&signer.sign(), &about)).await;
        assert_eq!(got.status, 200);
        if path == "/introspect" {
            assert_eq!(got.json()["active"], active);
        }
        let scripted = [Answer::retry_after(503, "3")];
        let endpoint = sandbox.requests().last().unwrap().endpoint();
        sandbox.script(tenant("acme"), endpoint, scripted);
        let busy = client.ask(&at(path), &[], &asserted(&signer.sign(), &about)).await;
        assert_eq!((busy.status, busy.header("retry-after")), (503, Some("3")));
    }
}
