//! Bad usage: exit status 2, the reason on standard error, nothing sent.

use std::net::TcpListener;

use shipbound::clock::Timestamp;
use shipbound::sandbox::{CertificateFor, Sandbox};

use crate::program::{Run, VARIABLE};
use crate::sandboxed::Dir;

const ISSUER: [&str; 2] = ["--issuer", "https://auth.carrier.example"];
const LOGIN: [&str; 4] = ["--client-id", "acme", "--client-secret-env", VARIABLE];
const DPOP: [&str; 2] = ["--binding", "dpop"];
const GET: [&str; 2] = ["GET", "https://api.carrier.example/ship"];

fn refused(run: Run, reason: &str) {
    let ran = run.run();
    assert_eq!(ran.status, 2, "{reason}: {}", ran.err);
    assert_eq!(ran.out, "", "{reason}");
    assert!(ran.err.contains(reason), "{reason} is missing: {}", ran.err);
}

fn complete() -> Run {
    Run::new().args(ISSUER).args(LOGIN).args(DPOP)
}

#[test]
fn help_is_good_usage() {
    let ran = Run::new().args(["--help"]).run();
    assert_eq!((ran.status, ran.err.as_str()), (0, ""));
    assert!(ran.out.contains("--client-secret-env VAR"));
    assert!(ran.out.lines().all(|line| line.len() <= 120));
}

#[test]
fn options_that_are_missing_or_unknown() {
    refused(Run::new(), "--issuer or --token-url");
    refused(complete().args(["--no-such-option"]).args(GET), "--no-such-option");
    refused(
        complete().args(["--client-secret", "s3cr3t"]).args(GET),
        "--client-secret",
    );
    refused(complete(), "METHOD");
    refused(complete().args(["GET"]), "URL");
    refused(complete().args(GET).args(["more"]), "more");
    refused(Run::new().args(ISSUER).args(DPOP).args(GET), "--client-id");
    refused(Run::new().args(ISSUER).args(LOGIN).args(GET), "--binding");
    refused(Run::new().args(LOGIN).args(DPOP).args(GET), "--issuer");
    refused(
        complete()
            .args(["--token-url", "https://auth.carrier.example/t"])
            .args(GET),
        "exclude",
    );
}

#[test]
fn values_that_cannot_be() {
    for (option, value, reason) in [
        ("--binding", "mac", "--binding"),
        ("--alg", "RS256", "--alg"),
        ("--auth", "digest", "--auth"),
        ("--repeat", "0", "--repeat"),
        ("--concurrency", "many", "--concurrency"),
        ("--scope", "ship\\write", "--scope"),
        ("--resource", "carrier", "--resource"),
        ("--ca", "/no/such/file", "--ca"),
        ("--body", "/no/such/file", "--body"),
        ("--allow-origin", "https://carrier.example/path", "--allow-origin"),
        ("--issuer", "https://auth.carrier.example/?a=1", "issuer"),
        ("--issuer", "auth.carrier.example", "--issuer"),
    ] {
        refused(complete().args([option, value]).args(GET), reason);
    }
    let not_pem = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    refused(complete().args(["--ca", not_pem]).args(GET), "--ca");
    refused(complete().args(["G T", GET[1]]), "METHOD");
    for url in ["https://10.0.0.1/", "https://user:pw@carrier.example/", "/ship"] {
        refused(complete().args(["GET", url]), "URL");
    }
    refused(complete().args(GET).env("RUST_LOG", "shipbound=loud"), "RUST_LOG");
}

#[test]
fn a_secret_that_is_not_there_is_named_by_its_variable() {
    refused(complete().args(GET).without_env(VARIABLE), VARIABLE);
    refused(complete().args(GET).env(VARIABLE, ""), VARIABLE);
}

#[test]
fn plain_http() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let here = format!("http://{}", listener.local_addr().unwrap());
    refused(complete().args(["GET", &here]), "--allow-http-loopback");
    refused(complete().args(["--issuer", &here]).args(GET), "--allow-http-loopback");
    refused(
        complete().args(["--allow-origin", &here]).args(GET),
        "--allow-http-loopback",
    );
    let endpoint = ["--token-url", &here];
    refused(
        Run::new().args(endpoint).args(LOGIN).args(DPOP).args(GET),
        "--allow-http-loopback",
    );
    // The flag is for loopback addresses.
    let anywhere = complete().args(["--allow-http-loopback", "GET", "http://api.carrier.example/"]);
    refused(anywhere, "loopback");
    assert!(listener.accept().is_err(), "somebody came");
}

/// Without a secret or a binding.
fn asking() -> Run {
    Run::new().args(ISSUER).args(["--client-id", "acme"])
}

fn identity(name: &str) -> String {
    format!("{}/tests/data/identities/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn key(name: &str) -> String {
    format!("{}/tests/data/keys/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn authentication_that_does_not_fit() {
    let file = key("p256-pkcs8.pem");
    let asserted = ["--auth", "private-key-jwt"];
    refused(asking().args(DPOP).args(GET), "--client-secret-env is missing");
    for auth in ["basic", "post"] {
        let run = asking().args(DPOP).args(["--auth", auth]).args(GET);
        refused(run, "--client-secret-env is missing");
    }
    refused(
        asking().args(DPOP).args(asserted).args(GET),
        "--assertion-key is missing",
    );
    let run = complete().args(["--assertion-key", &file]).args(GET);
    refused(run, "--auth private-key-jwt");
    for binding in ["dpop", "bearer"] {
        let run = asking().args(["--auth", "tls", "--binding", binding]).args(GET);
        refused(run, "choose --binding mtls or dpop+mtls");
    }
    // Nobody says who the issuer is.
    let endpoint = ["--token-url", "https://auth.carrier.example/t", "--client-id", "acme"];
    let run = Run::new().args(endpoint).args(DPOP).args(asserted);
    refused(run.args(["--assertion-key", &file]).args(GET), "--assertion-audience");
}

#[test]
fn assertion_keys_that_cannot_be_used() {
    for (file, reason) in [
        ("no-such-file", "cannot be read"),
        ("p256-encrypted.pem", "decrypt it"),
        ("p256-public.pem", "private half"),
        ("p384-pkcs8.pem", "P-256"),
        (
            "rsa1024-pkcs8.pem",
            if cfg!(feature = "rsa") {
                "2048"
            } else {
                "--features rsa"
            },
        ),
        ("README.md", "PEM or as a JWK"),
        ("rsa2048-composite-factor.json", "--assertion-key"),
    ] {
        let run = asking()
            .args(DPOP)
            .args(["--auth", "private-key-jwt", "--assertion-key", &key(file)]);
        refused(run.args(GET), reason);
    }
}

#[test]
fn certificates_that_cannot_be_used() {
    let shown = |certificate: &str, key: &str| {
        let run = asking().args(["--auth", "tls", "--binding", "mtls"]);
        run.args(["--cert", &identity(certificate), "--key", &identity(key)])
            .args(GET)
    };
    for (certificate, key, reason) in [
        ("no-such-file", "p256.key", "--cert: "),
        ("p256.pem", "no-such-file", "--key: "),
        ("p256.pem", "p384.key", "does not belong"),
        ("p256.pem", "p256-encrypted.key", "decrypt it"),
        ("p256.pem", "p256-encrypted-sec1.key", "decrypt it"),
        ("p256.key", "p256.key", "no certificate"),
        ("p256.pem", "p256.pem", "one unencrypted private key"),
        ("rsa1024.pem", "rsa2048.key", "too weak"),
        ("server-only.pem", "p256.key", "clientAuth"),
    ] {
        refused(shown(certificate, key), reason);
    }
}

#[tokio::test]
async fn an_expired_certificate() {
    let sandbox = Sandbox::builder().mtls(true).start().await.unwrap();
    let (from, until) = (
        Timestamp::from_unix_seconds(1_600_000_000),
        Timestamp::from_unix_seconds(1_600_000_100),
    );
    let expired = sandbox
        .client_certificate(CertificateFor::from("acme").valid(from, until))
        .unwrap();
    let dir = Dir::new();
    let both = dir.write("both.pem", &format!("{}{}", expired.pem(), expired.key_pem()));
    let run = asking()
        .args(["--auth", "tls", "--binding", "mtls", "--cert", &both])
        .args(GET);
    refused(run, "expired on 2020-09-13");
}

#[test]
fn certificates_that_do_not_fit() {
    let [certificate, key] = ["p256.pem", "p256.key"].map(identity);
    let cert = ["--cert", certificate.as_str(), "--key", key.as_str()];
    for binding in ["mtls", "dpop+mtls"] {
        let run = Run::new().args(ISSUER).args(LOGIN).args(["--binding", binding]);
        refused(run.args(GET), "--cert is missing");
    }
    refused(complete().args(cert).args(GET), "shows no certificate");
    refused(complete().args(["--key", &key]).args(GET), "--cert is missing");
    refused(
        complete().args(["--reload-cert-after", "2"]).args(GET),
        "--cert is missing",
    );
    let shown = || {
        Run::new()
            .args(ISSUER)
            .args(LOGIN)
            .args(["--binding", "mtls"])
            .args(cert)
    };
    refused(
        shown().args(["--reload-cert-after", "0"]).args(GET),
        "--reload-cert-after",
    );
    refused(
        shown().args(["--reload-cert-after", "5", "--repeat", "5"]).args(GET),
        "--repeat",
    );
    refused(shown().args(["--cert-password-env", VARIABLE]).args(GET), "PKCS#12");
}

#[test]
fn pkcs12_files() {
    let file = |name: &str| {
        let run = Run::new().args(ISSUER).args(LOGIN).args(["--binding", "mtls"]);
        run.args(["--cert", &identity(name)])
    };
    if !cfg!(feature = "pkcs12") {
        refused(file("new.p12").args(GET), "feature pkcs12");
        return;
    }
    refused(file("new.p12").args(GET), "--cert-password-env is missing");
    let opened = || file("new.p12").args(["--cert-password-env", "PASSWORD"]);
    refused(opened().args(GET), "PASSWORD");
    refused(
        opened().env("PASSWORD", "sEcReTmArKeR-wrong").args(GET),
        "--cert-password-env",
    );
    refused(
        opened().args(["--key", &identity("p256.key")]).args(GET),
        "leave it out",
    );
    refused(
        opened().args(["--reload-cert-after", "2", "--repeat", "5"]).args(GET),
        "in PEM",
    );
}

#[test]
fn verbs_that_do_not_fit() {
    for verb in ["probe", "revoke", "introspect"] {
        refused(complete().args([verb]).args(GET), "takes no METHOD");
        refused(complete().args([verb, GET[1]]), "takes no METHOD");
        for option in ["--repeat", "--concurrency", "--reload-cert-after", "--body"] {
            refused(complete().args([verb, option, "2"]), option);
        }
        refused(Run::new().args(DPOP).args([verb]), "--issuer or --token-url");
    }
    for verb in ["revoke", "introspect"] {
        refused(Run::new().args(ISSUER).args(LOGIN).args([verb]), "--binding is missing");
        refused(
            Run::new().args(ISSUER).args(DPOP).args([verb]),
            "--client-id is missing",
        );
        refused(asking().args(DPOP).args([verb]), "--client-secret-env is missing");
    }
    let endpoint = ["--token-url", "https://auth.carrier.example/t"];
    let fixed = || Run::new().args(endpoint).args(LOGIN).args(DPOP);
    refused(fixed().args(["revoke"]), "--revocation-url");
    refused(fixed().args(["introspect"]), "--introspection-url");
    refused(fixed().args(["--confirm-binding"]).args(GET), "--introspection-url");
    let named = ["--revocation-url", "https://auth.carrier.example/r"];
    refused(complete().args(named).args(["revoke"]), "leave it out");
}

#[test]
fn what_fapi_does_not_allow() {
    let file = key("p256-pkcs8.pem");
    let asserted = ["--fapi2", "--auth", "private-key-jwt", "--assertion-key", file.as_str()];
    refused(complete().args(["--fapi2"]).args(GET), "not with a secret");
    let bearer = ["--binding", "bearer"];
    refused(asking().args(bearer).args(asserted).args(GET), "tokens are bound");
    for audience in ["token-endpoint", "EU.EORI.NL000000004"] {
        let run = asking()
            .args(DPOP)
            .args(asserted)
            .args(["--assertion-audience", audience]);
        refused(run.args(GET), "assertions are for the issuer");
    }
    let plain = ["--allow-http-loopback", "GET", "http://127.0.0.1:9/ship"];
    refused(asking().args(DPOP).args(asserted).args(plain), "https");
}

/// `cargo test --all-features` has no such build: this runs where the tests run without `rsa`.
#[cfg(not(feature = "rsa"))]
#[test]
fn ps256_without_its_feature() {
    refused(complete().args(["--alg", "PS256"]).args(GET), "feature rsa");
}

#[cfg(not(feature = "rsa"))]
#[test]
fn an_rsa_key_for_assertions_without_its_feature() {
    let file = key("rsa2048-pkcs8.pem");
    let run = asking()
        .args(DPOP)
        .args(["--auth", "private-key-jwt", "--assertion-key", &file]);
    refused(run.args(GET), "--features rsa");
}
