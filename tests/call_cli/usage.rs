//! Bad usage: exit status 2, the reason on standard error, nothing sent.

use std::net::TcpListener;

use crate::program::{Run, VARIABLE};

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
        ("--auth", "none", "--auth"),
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

/// `cargo test --all-features` has no such build: this runs where the tests run without `rsa`.
#[cfg(not(feature = "rsa"))]
#[test]
fn ps256_without_its_feature() {
    refused(complete().args(["--alg", "PS256"]).args(GET), "feature rsa");
}
