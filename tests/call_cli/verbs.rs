//! probe, revoke and introspect.

use http::Method;
use serde_json::{Value, json};
use shipbound::sandbox::{Answer, Canned, Endpoint, Registration, Sandbox, Verdict, Who};

use crate::program::{Ran, Run, VARIABLE};
use crate::sandboxed::{Dir, certified, start};
use crate::support::marker::MARKER;
use crate::support::peers::{self, AuthorizationServer};

fn looking(issuer: &AuthorizationServer) -> Run {
    Run::new()
        .args([
            "probe",
            "--issuer",
            issuer.issuer(),
            "--ca",
            issuer.ca_pem().to_str().unwrap(),
        ])
        .args(["--allow-origin", issuer.mtls_base()])
}

#[test]
fn a_probe_needs_the_issuer_alone() {
    let issuer = peers::authorization_server(&[]);
    let ran = looking(&issuer).args(["--json"]).without_env(VARIABLE).run();
    assert_eq!(ran.status, 0, "{}{}", ran.out, ran.err);
    let (objects, summary) = ran.verb("probe");
    assert_eq!((&summary["error"], &summary["stage"]), (&Value::Null, &Value::Null));
    let [probe] = objects.as_slice() else {
        panic!("{}", ran.out)
    };
    assert_eq!(probe["issuer"], issuer.issuer());
    assert_eq!(
        (&probe["outlook"], &probe["binding"]),
        (&json!("bound"), &json!("dpop"))
    );
    assert_eq!(probe["authenticates_by"], json!(["client_secret_basic"]));
    let told = &probe["capabilities"];
    assert_eq!(told["offers"], json!(["dpop", "mtls"]));
    assert_eq!(
        (&told["mtls_aliases"], &told["certificate_bound_tokens"]),
        (&json!(true), &json!(true))
    );
    assert!(
        told["endpoints"]
            .as_array()
            .unwrap()
            .contains(&json!("revocation endpoint"))
    );

    let ran = looking(&issuer).run();
    assert_eq!((ran.status, ran.err.as_str()), (0, ""));
    for words in [
        issuer.issuer(),
        "tokens bound to a proof key",
        "client_secret_basic, which is among them",
    ] {
        assert!(ran.out.contains(words), "{words} is missing: {}", ran.out);
    }
    // Metadata was read, twice, and nothing else was asked; nobody showed who asks.
    for entry in issuer.log() {
        assert!(entry["path"].as_str().unwrap().starts_with("/.well-known/"), "{entry}");
        assert_eq!((&entry["client_id"], &entry["cert_x5t"]), (&Value::Null, &Value::Null));
    }
    assert_eq!(issuer.log().len(), 2);
}

#[test]
fn a_probe_of_other_ways() {
    let issuer = peers::authorization_server(&[("DPOP_ALGS", "PS256")]);
    let probe = |run: Run| {
        let ran = run.args(["--json"]).run();
        let (objects, _summary) = ran.verb("probe");
        (ran.status, objects[0]["outlook"].clone(), objects[0]["binding"].clone())
    };
    let bearer = looking(&issuer).args(["--binding", "bearer"]);
    assert_eq!(probe(bearer), (0, json!("unbound"), json!("bearer")));
    let mtls = looking(&issuer).certificate(&issuer, "client-ca");
    let mtls = mtls.args(["--binding", "mtls", "--auth", "tls", "--fapi2"]);
    assert_eq!(probe(mtls), (0, json!("bound"), json!("mtls")));
    // ES256 is not among what this issuer takes.
    assert_eq!(probe(looking(&issuer)), (1, json!("no_common_algorithm"), Value::Null));

    let endpoint = format!("{}/token", issuer.issuer());
    let ran = Run::new().args(["probe", "--token-url", &endpoint, "--json"]).run();
    let (objects, _summary) = ran.verb("probe");
    assert_eq!(
        (&objects[0]["issuer"], &objects[0]["capabilities"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(objects[0]["outlook"], "untold");
}

#[test]
fn a_probe_of_what_is_no_issuer() {
    let issuer = peers::authorization_server(&[]);
    let url = format!("{}/nobody", issuer.issuer());
    let run = || Run::new().args(["probe", "--issuer", &url, "--ca", issuer.ca_pem().to_str().unwrap()]);
    let ran = run().args(["--json"]).run();
    let (objects, summary) = ran.verb("probe");
    assert_eq!((objects.len(), ran.status), (0, 1));
    assert_eq!(summary["error"], "metadata");
    let ran = run().run();
    assert_eq!((ran.status, ran.out.as_str()), (1, ""));
    assert!(ran.err.contains("advice"), "{}", ran.err);
}

/// Each way to authenticate, each binding; this issuer revokes and looks up opaque tokens.
fn ways(issuer: &AuthorizationServer) -> [(Run, &'static str, &'static str); 4] {
    let run = |client| Run::of(issuer, client).args(["--resource", issuer.resource_opaque()]);
    let secret = |run: Run| run.args(["--client-secret-env", VARIABLE]);
    [
        (secret(run("basic")).args(["--binding", "dpop"]), "dpop", "DPoP"),
        (secret(run("basic")).args(["--binding", "bearer"]), "bearer", "Bearer"),
        (
            run("pkjwt-dpop").assertions(issuer).args(["--binding", "dpop"]),
            "dpop",
            "DPoP",
        ),
        (
            run("tls-ca")
                .certificate(issuer, "client-ca")
                .args(["--binding", "mtls", "--auth", "tls"]),
            "mtls",
            "Bearer",
        ),
    ]
}

#[test]
fn a_token_is_revoked() {
    let issuer = peers::authorization_server(&[]);
    for (run, binding, token_type) in ways(&issuer) {
        let ran = run.args(["revoke", "--json"]).run();
        assert_eq!(ran.status, 0, "{binding}: {}{}", ran.out, ran.err);
        let (objects, _summary) = ran.verb("revoke");
        let [token, revocation] = objects.as_slice() else {
            panic!("{}", ran.out)
        };
        assert_eq!(
            (&token["binding"], &token["token_type"]),
            (&json!(binding), &json!(token_type))
        );
        assert_eq!(
            (token["jkt"].is_string(), token["x5t"].is_string()),
            (binding == "dpop", binding == "mtls")
        );
        assert_eq!(revocation, &json!({"revocation": "revoked"}));
        let log = issuer.log();
        let last = log.last().unwrap();
        assert_eq!(
            (&last["path"], &last["status"]),
            (&json!("/token/revocation"), &json!(200))
        );
        assert_eq!(last["cert_x5t"], token["x5t"]);
    }
}

#[test]
fn a_token_that_the_issuer_does_not_revoke() {
    let issuer = peers::authorization_server(&[]);
    // A JWT: 400 unsupported_token_type.
    let ran = Run::at(&issuer).args(["revoke", "--json"]).run();
    assert_eq!(ran.status, 1);
    let (objects, summary) = ran.verb("revoke");
    assert_eq!(objects[1], json!({"revocation": "local_only"}));
    assert_eq!(summary["error"], Value::Null);

    let ran = Run::at(&issuer).args(["revoke"]).run();
    assert_eq!(ran.status, 1);
    assert!(ran.out.contains("until it ends"), "{}", ran.out);

    let ran = Run::at(&issuer)
        .env(VARIABLE, "sEcReTmArKeR-wrong")
        .args(["revoke", "--json"])
        .run();
    let (objects, summary) = ran.verb("revoke");
    assert_eq!((objects.len(), &summary["error"]), (0, &json!("token_refused")));
}

#[test]
fn without_metadata_the_command_line_names_the_endpoints() {
    let issuer = peers::authorization_server(&[]);
    let before = issuer.log().len();
    let [token, revocation, introspection] =
        ["", "/revocation", "/introspection"].map(|path| format!("{}/token{path}", issuer.issuer()));
    let run = || {
        Run::new()
            .args([
                "--token-url",
                &token,
                "--client-id",
                "basic",
                "--client-secret-env",
                VARIABLE,
            ])
            .args(["--binding", "dpop", "--resource", issuer.resource_opaque(), "--json"])
            .args(["--ca", issuer.ca_pem().to_str().unwrap()])
    };
    run()
        .args(["revoke", "--revocation-url", &revocation])
        .run()
        .verb("revoke");
    let ran = run().args(["introspect", "--introspection-url", &introspection]).run();
    assert_eq!(ran.status, 0, "{}{}", ran.out, ran.err);
    let log = issuer.log().split_off(before);
    assert!(
        log.iter()
            .all(|entry| entry["path"].as_str().unwrap().starts_with("/token"))
    );
    assert_eq!(
        log.iter().filter(|entry| entry["path"] == "/token/revocation").count(),
        1
    );
}

#[test]
fn a_token_is_looked_up() {
    let issuer = peers::authorization_server(&[]);
    for (run, binding, _token_type) in ways(&issuer) {
        let ran = run.args(["introspect", "--json"]).run();
        assert_eq!(ran.status, 0, "{binding}: {}{}", ran.out, ran.err);
        let (objects, _summary) = ran.verb("introspect");
        let [token, told] = objects.as_slice() else {
            panic!("{}", ran.out)
        };
        assert_eq!((&told["active"], &told["bound_as_used"]), (&json!(true), &json!(true)));
        let cnf = match binding {
            "dpop" => json!({"jkt": token["jkt"]}),
            "mtls" => json!({"x5t#S256": token["x5t"]}),
            _ => Value::Null,
        };
        assert_eq!(told["cnf"], cnf);
        assert!(told["expires_at"].is_string());
    }
    let ran = Run::at(&issuer)
        .args(["--resource", issuer.resource_opaque(), "introspect"])
        .run();
    assert_eq!((ran.status, ran.err.as_str()), (0, ""));
    for words in ["active      yes", "bound to jkt ", "bound as used: yes"] {
        assert!(ran.out.contains(words), "{words} is missing: {}", ran.out);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_issuer_says_of_a_token_may_not_be_as_it_is_used() {
    let sandbox = start(Sandbox::builder()).await;
    let dir = Dir::new();
    dir.put(&sandbox.client_certificate("acme").unwrap());
    // Not bound, whatever the client shows: a certificate-bound token has no type of its own that would tell.
    sandbox.register(Registration::tls_client_auth("acme", "acme"));
    let introspect = || {
        let run = certified(&sandbox, &dir).args(["--auth", "tls", "--binding", "mtls"]);
        run.args(["introspect", "--json"]).run()
    };
    let told = |ran: &Ran| ran.verb("introspect").0.last().unwrap().clone();
    let ran = introspect();
    assert_eq!(ran.status, 1, "{}", ran.out);
    let unbound = told(&ran);
    assert_eq!(
        (&unbound["active"], &unbound["bound_as_used"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(unbound["cnf"], Value::Null);

    let inactive = Canned::json(200, &json!({"active": false}));
    sandbox.always(Who::Anyone, Endpoint::Introspection, Answer::reply(inactive));
    let ran = introspect();
    assert_eq!(ran.status, 1, "{}", ran.out);
    assert_eq!(
        (&told(&ran)["active"], &told(&ran)["bound_as_used"]),
        (&json!(false), &json!(false))
    );
}

/// Tokens of the sandbox bear the mark that logs are searched for.
#[tokio::test(flavor = "multi_thread")]
async fn no_verb_prints_a_token() {
    let sandbox = start(Sandbox::builder()).await;
    sandbox.route(Method::GET, "/x", Canned::empty(204));
    sandbox.register(Registration::tls_client_auth("acme", "acme").certificate_bound_tokens());
    let dir = Dir::new();
    let certificate = sandbox.client_certificate("acme").unwrap();
    dir.put(&certificate);
    let url = format!("{}/x", sandbox.mtls_api().unwrap());
    for verb in [&["revoke"][..], &["introspect"], &["probe"], &["GET", &url]] {
        let run = certified(&sandbox, &dir).args(["--auth", "tls", "--binding", "dpop+mtls"]);
        let ran = run.args(verb.iter().copied()).env("RUST_LOG", "trace").run();
        assert_eq!(ran.status, 0, "{verb:?}: {}{}", ran.out, ran.err);
        assert!(ran.err.contains(" TRACE "), "{}", ran.err);
        let key: String = certificate.key_pem().lines().skip(1).take(1).collect();
        for text in [&ran.out, &ran.err] {
            assert!(!text.contains(MARKER) && !text.contains(&key));
        }
    }
    assert!(
        sandbox
            .requests()
            .iter()
            .all(|request| !matches!(request.verdict(), Verdict::Refused(_)))
    );
}
