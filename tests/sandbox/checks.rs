//! Each check refuses what it is for, and lets exactly that through when it is left out.

use http::Method;
use shipbound::sandbox::{Canned, Check, Nonces, Sandbox, Verdict};

use crate::caller::{Caller, Claims, Got, new_key};

async fn sandbox(without: Option<Check>) -> Sandbox {
    let builder = without
        .into_iter()
        .fold(Sandbox::builder(), |builder, check| builder.without(check));
    let sandbox = builder.start().await.unwrap();
    sandbox.route(Method::GET, "/labels", Canned::text(200, "label"));
    sandbox.route(Method::GET, "/other", Canned::text(200, "other"));
    sandbox
}

fn last_reason(sandbox: &Sandbox) -> String {
    match sandbox.requests().last().unwrap().verdict() {
        Verdict::Refused(reason) => reason.clone(),
        other => format!("{other:?}"),
    }
}

#[tokio::test]
async fn a_bound_call_passes_every_check() {
    let sandbox = sandbox(None).await;
    let caller = Caller::new(&sandbox, "acme").await;
    let token = caller.bound_token().await;
    let got = caller.good_call(&caller.api_url("/labels"), &token).await;
    assert_eq!((got.status, &got.body[..]), (200, &b"label"[..]));
    let requests = sandbox.requests();
    assert_eq!(requests[0].checks(), ["signature", "htm", "htu", "iat", "jti"]);
    assert_eq!(
        requests[1].checks(),
        ["signature", "htm", "htu", "iat", "jti", "ath", "cnf"]
    );
    assert_eq!(requests[1].tenant().unwrap().as_str(), "acme");
    let claims = requests[1].claims().unwrap();
    assert_eq!(claims.jkt, Some(caller.key.jkt().to_string()));
    assert_eq!(claims.htu, Some(caller.api_url("/labels")));
    assert!(requests.iter().all(|request| request.accepted()));
}

/// What an attack is refused for, and the check that stops it: without that check, and with no other left out, it passes.
async fn stopped_by(check: Check, reason: &str, attack: impl AsyncFn(&Caller, &str) -> Got) {
    let guarded = sandbox(None).await;
    let caller = Caller::new(&guarded, "acme").await;
    let token = caller.bound_token().await;
    let got = attack(&caller, &token).await;
    assert_eq!(got.status, 401, "{check:?}");
    assert!(
        got.header("www-authenticate").unwrap().starts_with("DPoP error="),
        "{got:?}"
    );
    assert_eq!(last_reason(&guarded), reason);

    let checks = [
        Check::Jti,
        Check::Htu,
        Check::Ath,
        Check::Cnf,
        Check::Certificate,
        Check::Signature,
    ];
    for left_out in checks {
        let open = sandbox(Some(left_out)).await;
        let caller = Caller::new(&open, "acme").await;
        let token = caller.bound_token().await;
        let got = attack(&caller, &token).await;
        let wanted = if left_out == check { 200 } else { 401 };
        assert_eq!(got.status, wanted, "{check:?} with {left_out:?} left out");
    }
}

#[tokio::test]
async fn a_captured_proof_sent_again() {
    stopped_by(Check::Jti, "E_REPLAY", async |caller, token| {
        let url = caller.api_url("/labels");
        let proof = Claims::new("GET", &url).for_token(token).sign(&caller.key).await;
        assert_eq!(caller.call(&url, "DPoP", token, Some(&proof)).await.status, 200);
        caller.call(&url, "DPoP", token, Some(&proof)).await
    })
    .await;
}

#[tokio::test]
async fn a_proof_for_another_url() {
    stopped_by(Check::Htu, "E_HTU", async |caller, token| {
        let proof = Claims::new("GET", &caller.api_url("/labels"))
            .for_token(token)
            .sign(&caller.key)
            .await;
        caller
            .call(&caller.api_url("/other"), "DPoP", token, Some(&proof))
            .await
    })
    .await;
}

#[tokio::test]
async fn a_proof_for_another_token() {
    stopped_by(Check::Ath, "E_ATH", async |caller, token| {
        let url = caller.api_url("/labels");
        let proof = Claims::new("GET", &url).for_token("another").sign(&caller.key).await;
        caller.call(&url, "DPoP", token, Some(&proof)).await
    })
    .await;
}

#[tokio::test]
async fn a_stolen_token_with_the_thiefs_own_key() {
    stopped_by(Check::Cnf, "E_KEY_BINDING", async |caller, token| {
        let url = caller.api_url("/labels");
        let proof = Claims::new("GET", &url).for_token(token).sign(&new_key().await).await;
        caller.call(&url, "DPoP", token, Some(&proof)).await
    })
    .await;
}

#[tokio::test]
async fn a_stolen_token_as_bearer() {
    stopped_by(Check::Cnf, "E_DOWNGRADE", async |caller, token| {
        caller.call(&caller.api_url("/labels"), "Bearer", token, None).await
    })
    .await;
}

#[tokio::test]
async fn a_proof_that_its_key_did_not_sign() {
    stopped_by(Check::Signature, "E_SIGNATURE", async |caller, token| {
        let url = caller.api_url("/labels");
        let proof = Claims::new("GET", &url).for_token(token).sign(&caller.key).await;
        let changed = Claims::new("GET", &url).for_token(token).sign(&caller.key).await;
        let (head, _) = proof.rsplit_once('.').unwrap();
        let (_, signature) = changed.rsplit_once('.').unwrap();
        caller
            .call(&url, "DPoP", token, Some(&format!("{head}.{signature}")))
            .await
    })
    .await;
}

#[tokio::test]
async fn method_time_and_missing_proofs_are_checked_whatever_is_left_out() {
    let sandbox = sandbox(None).await;
    let caller = Caller::new(&sandbox, "acme").await;
    let token = caller.bound_token().await;
    let url = caller.api_url("/labels");
    let good = Claims::new("GET", &url).for_token(&token);
    let now = good.0["iat"].as_i64().unwrap();
    for (claims, reason) in [
        (good.clone().with("htm", "POST"), "E_HTM"),
        (good.clone().with("iat", now - 120), "E_IAT_OLD"),
        (good.clone().with("iat", now + 120), "E_IAT_FUTURE"),
        (Claims::new("GET", &url), "E_ATH_MISSING"),
    ] {
        let proof = claims.sign(&caller.key).await;
        let got = caller.call(&url, "DPoP", &token, Some(&proof)).await;
        assert_eq!((got.status, last_reason(&sandbox).as_str()), (401, reason));
    }
    let got = caller.call(&url, "DPoP", &token, None).await;
    assert_eq!((got.status, last_reason(&sandbox).as_str()), (401, "E_PROOF_MISSING"));
    let got = caller.send(Method::GET, &url, &[], "").await;
    assert_eq!(got.status, 401);
    assert!(!got.header("www-authenticate").unwrap().contains("error"));
}

#[tokio::test]
async fn revoked_expired_and_unknown_tokens_are_refused() {
    use std::sync::Arc;
    use std::time::Duration;

    use shipbound::clock::{Clock, ManualClock, SystemClock};

    let clock = Arc::new(ManualClock::at(SystemClock::new().now()));
    let sandbox = Sandbox::builder()
        .clock(clock.clone())
        .token_lifetime(Duration::from_secs(20))
        .start()
        .await
        .unwrap();
    sandbox.route(Method::GET, "/labels", Canned::empty(204));
    let caller = Caller::new(&sandbox, "acme").await;
    let url = caller.api_url("/labels");

    let token = caller.bound_token().await;
    assert_eq!(caller.good_call(&url, &token).await.status, 204);
    assert_eq!(sandbox.revoke_tokens(&crate::caller::tenant("other")), 0);
    assert_eq!(sandbox.revoke_tokens(&crate::caller::tenant("acme")), 1);
    let got = caller.good_call(&url, &token).await;
    assert!(
        got.header("www-authenticate").unwrap().contains("invalid_token"),
        "{got:?}"
    );

    let token = caller.bound_token().await;
    clock.advance(Duration::from_secs(19));
    assert_eq!(caller.good_call(&url, &token).await.status, 204);
    clock.advance(Duration::from_secs(1));
    assert_eq!(caller.good_call(&url, &token).await.status, 401);
    assert_eq!(last_reason(&sandbox), "E_TOKEN_INVALID");
    assert_eq!(caller.good_call(&url, "unknown").await.status, 401);
}

#[tokio::test]
async fn nonces_as_each_policy_has_them() {
    for policy in [Nonces::Required, Nonces::EveryCall, Nonces::Optional] {
        let sandbox = Sandbox::builder().api_nonces(policy).start().await.unwrap();
        sandbox.route(Method::GET, "/labels", Canned::empty(204));
        let caller = Caller::new(&sandbox, "acme").await;
        let token = caller.bound_token().await;
        let url = caller.api_url("/labels");

        let without = caller.good_call(&url, &token).await;
        let nonce = without.header("dpop-nonce").unwrap().to_owned();
        assert_eq!(without.header("cache-control"), Some("no-store"));
        if policy == Nonces::Optional {
            assert_eq!(without.status, 204);
        } else {
            assert_eq!(without.status, 401);
            assert!(without.header("www-authenticate").unwrap().contains("use_dpop_nonce"));
        }
        let with = async |nonce: &str| {
            let claims = Claims::new("GET", &url).for_token(&token).with("nonce", nonce);
            let proof = claims.sign(&caller.key).await;
            caller.call(&url, "DPoP", &token, Some(&proof)).await
        };
        let first = with(&nonce).await;
        assert_eq!(first.status, 204, "{policy:?}");
        assert!(first.header("dpop-nonce").is_some());
        assert_eq!(
            sandbox.requests().last().unwrap().checks(),
            ["signature", "htm", "htu", "iat", "jti", "nonce", "ath", "cnf"]
        );
        let again = if policy == Nonces::EveryCall { 401 } else { 204 };
        assert_eq!(with(&nonce).await.status, again, "{policy:?}");
        assert_eq!(with("made-up").await.status, 401);
    }
}
