//! Mutual TLS (RFC 8705): the mTLS host, certificate-bound tokens, authentication by certificate.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use shipbound::carriers;
use shipbound::clock::{Clock, ManualClock, SystemClock};
use shipbound::owner::Environment;
use shipbound::sandbox::{
    Answer, Canned, CertificateFor, Check, ClientCertificate, Endpoint, Registration, Sandbox, SandboxBuilder,
    SandboxError, Verdict,
};
use shipbound::transport::reqwest::TlsVersion;

use crate::caller::{Caller, Claims, new_key, tenant};
use crate::certified::{Certified, basic};

const GRANT: &str = "grant_type=client_credentials&client_id=acme";

async fn start(builder: SandboxBuilder) -> Sandbox {
    let sandbox = builder.mtls(true).start().await.unwrap();
    sandbox.route(Method::GET, "/x", Canned::empty(204));
    sandbox
}

/// The client `acme`, known by a certificate of the sandbox's authority, with tokens bound to it.
async fn acme(sandbox: &Sandbox) -> ClientCertificate {
    sandbox.register(Registration::tls_client_auth("acme", "acme").certificate_bound_tokens());
    sandbox.client_certificate("acme").unwrap()
}

fn at(sandbox: &Sandbox, path: &str) -> String {
    format!("{}{path}", sandbox.mtls_api().unwrap())
}

fn token(got: &crate::caller::Got) -> String {
    assert_eq!(got.status, 200, "{got:?}");
    got.json()["access_token"].as_str().unwrap().to_owned()
}

async fn metadata(sandbox: &Sandbox) -> Value {
    let url = format!("{}/.well-known/oauth-authorization-server", sandbox.issuer());
    Certified::new(sandbox, None)
        .send(Method::GET, &url, &[], "")
        .await
        .json()
}

#[tokio::test]
async fn a_token_is_bound_to_the_certificate_it_was_asked_for_with() {
    for version in [TlsVersion::Tls13, TlsVersion::Tls12] {
        let sandbox = start(Sandbox::builder().tls_version(version)).await;
        let own = acme(&sandbox).await;
        let client = Certified::new(&sandbox, Some(&own));
        let got = client.ask(&at(&sandbox, "/token"), &[], GRANT).await;
        assert_eq!(got.json()["token_type"], "Bearer");
        let token = token(&got);
        let url = at(&sandbox, "/x");
        assert_eq!(client.call(&url, "Bearer", &token, None).await.status, 204);
        assert_eq!(sandbox.requests().last().unwrap().checks(), ["x5t"]);

        let other = sandbox.client_certificate("acme").unwrap();
        for (thief, url) in [
            (Certified::new(&sandbox, Some(&other)), url.clone()),
            (Certified::new(&sandbox, None), url),
            (Certified::new(&sandbox, Some(&own)), format!("{}/x", sandbox.api())),
        ] {
            let got = thief.call(&url, "Bearer", &token, None).await;
            assert_eq!((got.status, got.error().as_str()), (401, "invalid_token"));
            assert_eq!(got.header("www-authenticate"), Some("Bearer error=\"invalid_token\""));
            let refused = Verdict::Refused("E_KEY_BINDING".into());
            assert_eq!(sandbox.requests().last().unwrap().verdict(), &refused);
        }
        let requests = sandbox.requests();
        let shown: Vec<_> = requests.iter().map(|request| request.certificate()).collect();
        let (own, other) = (Some(own.x5t()), Some(other.x5t()));
        assert_eq!(shown, [own, own, other, None, None]);
        assert!(
            sandbox
                .handshakes()
                .iter()
                .all(|handshake| handshake.version() == version)
        );
    }
}

#[tokio::test]
async fn without_its_check_a_bound_token_comes_on_any_connection() {
    let sandbox = start(Sandbox::builder().without(Check::Certificate)).await;
    let (own, key) = (acme(&sandbox).await, new_key().await);
    let url = at(&sandbox, "/token");
    let client = Certified::new(&sandbox, Some(&own));
    let bound = token(&client.ask(&url, &[], GRANT).await);
    let proof = Claims::new("POST", &url).sign(&key).await;
    let to_both = token(&client.ask(&url, &[("dpop", &proof)], GRANT).await);

    let (thief, url) = (Certified::new(&sandbox, None), at(&sandbox, "/x"));
    assert_eq!(thief.call(&url, "Bearer", &bound, None).await.status, 204);
    let proof = Claims::new("GET", &url).for_token(&to_both).sign(&key).await;
    assert_eq!(thief.call(&url, "DPoP", &to_both, Some(&proof)).await.status, 204);
    // The other checks are made all the same.
    let checks = ["signature", "htm", "htu", "iat", "jti", "ath", "cnf"];
    assert_eq!(sandbox.requests().last().unwrap().checks(), checks);
    assert_eq!(thief.call(&url, "Bearer", &to_both, None).await.status, 401);
}

#[tokio::test]
async fn sessions_are_resumed_with_the_certificate_they_began_with() {
    for version in [TlsVersion::Tls13, TlsVersion::Tls12] {
        let sandbox = start(Sandbox::builder().tls_version(version)).await;
        let own = acme(&sandbox).await;
        let client = Certified::new(&sandbox, Some(&own));
        let token = token(&client.ask(&at(&sandbox, "/token"), &[], GRANT).await);
        for _ in 0..2 {
            assert_eq!(
                client.call(&at(&sandbox, "/x"), "Bearer", &token, None).await.status,
                204
            );
        }
        let requests = sandbox.requests();
        assert_eq!(
            requests.iter().map(|request| request.resumed()).collect::<Vec<_>>(),
            [false, true, true]
        );
        let handshakes = sandbox.handshakes();
        assert_eq!(handshakes.len(), 3);
        for (handshake, request) in handshakes.iter().zip(&requests) {
            assert_eq!(handshake.connection(), request.connection());
            assert_eq!(handshake.certificate(), Some(own.x5t()));
            assert_eq!(handshake.resumed(), request.resumed());
            assert_eq!(handshake.origin(), sandbox.mtls_api().unwrap());
        }
        sandbox.clear();
        assert!(sandbox.handshakes().is_empty());
    }
}

#[tokio::test]
async fn a_proof_beside_the_certificate_binds_to_both() {
    let sandbox = start(Sandbox::builder()).await;
    let own = acme(&sandbox).await;
    let (client, key) = (Certified::new(&sandbox, Some(&own)), new_key().await);
    let url = at(&sandbox, "/token");
    let proof = Claims::new("POST", &url).sign(&key).await;
    let got = client.ask(&url, &[("dpop", &proof)], GRANT).await;
    assert_eq!(got.json()["token_type"], "DPoP");
    let token = token(&got);

    sandbox.register(Registration::secret("reader", "sEcReTmArKeR-reader"));
    let told = Certified::new(&sandbox, None)
        .ask(
            &format!("{}/introspect", sandbox.issuer()),
            &[("authorization", &basic("reader", "sEcReTmArKeR-reader"))],
            &format!("token={token}"),
        )
        .await
        .json();
    assert_eq!(
        told["cnf"],
        json!({"jkt": key.jkt().to_string(), "x5t#S256": own.x5t().to_string()})
    );
    assert_eq!(told["token_type"], "DPoP");

    let url = at(&sandbox, "/x");
    let proof = async || Claims::new("GET", &url).for_token(&token).sign(&key).await;
    assert_eq!(
        client.call(&url, "DPoP", &token, Some(&proof().await)).await.status,
        204
    );
    assert_eq!(
        sandbox.requests().last().unwrap().checks(),
        ["signature", "htm", "htu", "iat", "jti", "ath", "cnf", "x5t"]
    );
    // The right key on another connection, and the right connection without the key.
    let other = sandbox.client_certificate("acme").unwrap();
    for stranger in [Some(&other), None] {
        let stranger = Certified::new(&sandbox, stranger);
        let got = stranger.call(&url, "DPoP", &token, Some(&proof().await)).await;
        assert_eq!((got.status, got.error().as_str()), (401, "invalid_token"));
        assert!(got.header("www-authenticate").unwrap().starts_with("DPoP"));
    }
    assert_eq!(client.call(&url, "Bearer", &token, None).await.status, 401);
}

#[tokio::test]
async fn tokens_of_clients_that_did_not_ask_for_it_are_bound_to_nothing() {
    let sandbox = start(Sandbox::builder()).await;
    sandbox.register(Registration::tls_client_auth("acme", "acme"));
    let own = sandbox.client_certificate("acme").unwrap();
    let token = token(
        &Certified::new(&sandbox, Some(&own))
            .ask(&at(&sandbox, "/token"), &[], GRANT)
            .await,
    );
    let url = format!("{}/x", sandbox.api());
    assert_eq!(
        Certified::new(&sandbox, None)
            .call(&url, "Bearer", &token, None)
            .await
            .status,
        204
    );
    assert!(sandbox.requests().last().unwrap().checks().is_empty());
}

#[tokio::test]
async fn a_bound_clients_request_without_a_certificate_is_refused() {
    let sandbox = start(Sandbox::builder()).await;
    sandbox.register(Registration::secret("acme", "sEcReTmArKeR-1").certificate_bound_tokens());
    let headers = basic("acme", "sEcReTmArKeR-1");
    let client = Certified::new(&sandbox, None);
    for url in [at(&sandbox, "/token"), format!("{}/token", sandbox.issuer())] {
        let got = client.ask(&url, &[("authorization", &headers)], GRANT).await;
        assert_eq!((got.status, got.error().as_str()), (400, "invalid_request"));
    }
    // A secret and a certificate: known by the one, bound to the other.
    let any = sandbox
        .client_certificate(CertificateFor::from("whoever").self_signed())
        .unwrap();
    let client = Certified::new(&sandbox, Some(&any));
    let bound = token(
        &client
            .ask(&at(&sandbox, "/token"), &[("authorization", &headers)], GRANT)
            .await,
    );
    assert_eq!(
        client.call(&at(&sandbox, "/x"), "Bearer", &bound, None).await.status,
        204
    );
    // A token that says it is bound and is not: the answer looks the same (RFC 8705 3).
    sandbox.script(tenant("acme"), Endpoint::Token, [Answer::unbound()]);
    let unbound = token(
        &client
            .ask(&at(&sandbox, "/token"), &[("authorization", &headers)], GRANT)
            .await,
    );
    let stranger = Certified::new(&sandbox, None);
    assert_eq!(
        stranger
            .call(&at(&sandbox, "/x"), "Bearer", &unbound, None)
            .await
            .status,
        204
    );
}

#[tokio::test]
async fn tls_client_auth_wants_the_authority_the_name_and_a_valid_certificate() {
    let clock = Arc::new(ManualClock::at(SystemClock::new().now()));
    let sandbox = start(Sandbox::builder().clock(clock.clone())).await;
    let own = acme(&sandbox).await;
    let now = clock.now();
    let status = async |certificate: Option<&ClientCertificate>| {
        let client = Certified::new(&sandbox, certificate);
        client.ask(&at(&sandbox, "/token"), &[], GRANT).await.status
    };
    assert_eq!(status(Some(&own)).await, 200);
    assert_eq!(status(None).await, 401);
    let (other_name, self_signed) = ("other", CertificateFor::from("acme").self_signed());
    let expired = CertificateFor::from("acme").valid(now.offset_seconds(-20), now.offset_seconds(-10));
    let early = CertificateFor::from("acme").valid(now.offset_seconds(10), now.offset_seconds(20));
    for wrong in [other_name.into(), self_signed, expired, early] {
        let wrong = sandbox.client_certificate(wrong).unwrap();
        assert_eq!(status(Some(&wrong)).await, 401);
    }
    let elsewhere = start(Sandbox::builder()).await;
    assert_eq!(status(Some(&elsewhere.client_certificate("acme").unwrap())).await, 401);
    clock.advance(Duration::from_secs(400 * 86_400));
    assert_eq!(status(Some(&own)).await, 401);
}

#[tokio::test]
async fn self_signed_certificates_are_registered_one_by_one_and_rotate() {
    let sandbox = start(Sandbox::builder()).await;
    let [old, new] = [(), ()].map(|()| {
        let wanted = CertificateFor::from("acme").self_signed();
        sandbox.client_certificate(wanted).unwrap()
    });
    let register = |known: &[&ClientCertificate]| {
        let known = known.iter().map(|certificate| certificate.x5t());
        sandbox.register(Registration::self_signed_tls_client_auth("acme", known).certificate_bound_tokens());
    };
    let status = async |certificate: &ClientCertificate| {
        let client = Certified::new(&sandbox, Some(certificate));
        client.ask(&at(&sandbox, "/token"), &[], GRANT).await.status
    };
    register(&[&old]);
    assert_eq!((status(&old).await, status(&new).await), (200, 401));
    register(&[&old, &new]);
    assert_eq!((status(&old).await, status(&new).await), (200, 200));
    register(&[&new]);
    assert_eq!((status(&old).await, status(&new).await), (401, 200));
    // At the usual host nobody asks for it.
    let client = Certified::new(&sandbox, Some(&new));
    assert_eq!(
        client
            .ask(&format!("{}/token", sandbox.issuer()), &[], GRANT)
            .await
            .status,
        401
    );
    assert_eq!(old.identity().unwrap().x5t(), old.x5t());
}

#[tokio::test]
async fn metadata_has_aliases_where_there_is_an_mtls_host_and_tests_change_it() {
    let plain = Sandbox::start().await.unwrap();
    let document = metadata(&plain).await;
    assert!(document.get("mtls_endpoint_aliases").is_none());
    assert!(document.get("tls_client_certificate_bound_access_tokens").is_none());
    assert_eq!(plain.mtls_api(), None);
    assert_eq!(plain.loopbacks().len(), 2);

    let sandbox = start(Sandbox::builder().metadata_with(json!({"scopes_supported": ["rates"]}))).await;
    assert_eq!(sandbox.loopbacks().len(), 3);
    let document = metadata(&sandbox).await;
    assert_eq!(document["scopes_supported"], json!(["rates"]));
    assert_eq!(document["tls_client_certificate_bound_access_tokens"], true);
    let aliases = &document["mtls_endpoint_aliases"];
    for (name, path) in [
        ("token_endpoint", "/token"),
        ("revocation_endpoint", "/revoke"),
        ("introspection_endpoint", "/introspect"),
    ] {
        assert_eq!(aliases[name], at(&sandbox, path));
        assert_eq!(document[name], format!("{}{path}", sandbox.issuer()));
    }
    let methods = document["token_endpoint_auth_methods_supported"].as_array().unwrap();
    assert!(methods.contains(&json!("tls_client_auth")) && methods.contains(&json!("self_signed_tls_client_auth")));

    sandbox.metadata_with(json!({
        "tls_client_certificate_bound_access_tokens": false,
        "mtls_endpoint_aliases": {"token_endpoint": at(&sandbox, "/token")},
        "dpop_signing_alg_values_supported": null,
    }));
    let document = metadata(&sandbox).await;
    assert_eq!(document["tls_client_certificate_bound_access_tokens"], false);
    assert_eq!(document["mtls_endpoint_aliases"].as_object().unwrap().len(), 1);
    assert!(document.get("dpop_signing_alg_values_supported").is_none());
}

#[tokio::test]
async fn revocation_and_introspection_take_certificates() {
    let sandbox = start(Sandbox::builder()).await;
    let own = acme(&sandbox).await;
    let client = Certified::new(&sandbox, Some(&own));
    let token = token(&client.ask(&at(&sandbox, "/token"), &[], GRANT).await);
    let about = format!("client_id=acme&token={token}");
    let told = client.ask(&at(&sandbox, "/introspect"), &[], &about).await.json();
    assert_eq!(told["cnf"], json!({"x5t#S256": own.x5t().to_string()}));
    assert_eq!(told["token_type"], "Bearer");
    let refused = client.ask(&format!("{}/revoke", sandbox.issuer()), &[], &about).await;
    assert_eq!((refused.status, refused.error().as_str()), (401, "invalid_client"));
    assert_eq!(client.ask(&at(&sandbox, "/revoke"), &[], &about).await.status, 200);
    let told = client.ask(&at(&sandbox, "/introspect"), &[], &about).await.json();
    assert_eq!(told, json!({"active": false}));
}

#[tokio::test]
async fn carriers_move_to_the_mtls_host_with_their_token_endpoints() {
    let sandbox = start(Sandbox::builder()).await;
    let mtls = sandbox.mtls_api().unwrap();
    let profile = sandbox.mtls_profile(carriers::fedex(Environment::Sandbox));
    assert!(profile.base().starts_with(mtls), "{profile:?}");
    let usual = sandbox.profile(carriers::fedex(Environment::Sandbox));
    assert!(usual.base().starts_with(sandbox.api()));

    let own = sandbox.client_certificate("acme").unwrap();
    sandbox.register(Registration::secret("acme", "sEcReTmArKeR-1").certificate_bound_tokens());
    let client = Certified::new(&sandbox, Some(&own));
    let body = "grant_type=client_credentials&client_id=acme&client_secret=sEcReTmArKeR-1";
    let token = token(&client.ask(&at(&sandbox, "/oauth/token"), &[], body).await);
    let authorization = format!("Bearer {token}");
    let rate = |base: &str| format!("{base}/rate/v1/rates/quotes");
    let headers = [("authorization", authorization.as_str())];
    assert_eq!(client.send(Method::POST, &rate(mtls), &headers, "{}").await.status, 200);
    assert_eq!(
        client
            .send(Method::POST, &rate(sandbox.api()), &headers, "{}")
            .await
            .status,
        401
    );
}

#[tokio::test]
async fn there_is_no_mutual_tls_without_tls() {
    let refused = Sandbox::builder().tls(false).mtls(true).start().await.err();
    assert_eq!(refused, Some(SandboxError::MtlsWithoutTls));
    // And where it is off a bound client gets no token.
    let sandbox = Sandbox::start().await.unwrap();
    sandbox.register(Registration::secret("acme", "sEcReTmArKeR-1").certificate_bound_tokens());
    let caller = Caller::new(&sandbox, "acme").await;
    assert_eq!(caller.ask(&caller.token_url(), &[], GRANT).await.status, 400);
}
