//! Where the secret may go: the issuer's own origin, and what the command line allows. Metadata cannot widen that.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread;

use serde_json::json;

use crate::program::{Run, VARIABLE, file};
use crate::support::peers;

/// An issuer whose metadata names this token endpoint: its URL. It ends with the test.
fn issuer_that_names(token_endpoint: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let metadata = json!({"issuer": issuer, "token_endpoint": token_endpoint}).to_string();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let mut lines = BufReader::new(socket.try_clone().unwrap()).lines();
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
            let _gone = write!(socket, "{head}\r\nContent-Length: {}\r\n\r\n{metadata}", metadata.len());
        }
    });
    issuer
}

fn asking(issuer: &str) -> Run {
    Run::new()
        .args([
            "--issuer",
            issuer,
            "--client-id",
            "basic",
            "--client-secret-env",
            VARIABLE,
        ])
        .args(["--binding", "dpop", "--json", "--allow-http-loopback"])
}

#[test]
fn a_token_endpoint_elsewhere_is_not_asked() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let endpoint = format!("http://{}/token", elsewhere.local_addr().unwrap());
    let issuer = issuer_that_names(&endpoint);
    // Neither where nothing is known of that origin, nor where it is the API's.
    let api = format!("http://{}/ship", elsewhere.local_addr().unwrap());
    for url in ["https://api.carrier.example/ship", &api] {
        let ran = asking(&issuer).args(["GET", url]).run();
        assert_eq!(ran.status, 1);
        let line = ran.line();
        assert_eq!(line["error"], "metadata");
        assert_eq!(line["stage"], "not_sent");
        assert_eq!(line["attempts"], 0);
    }
    assert!(elsewhere.accept().is_err(), "somebody came");
}

#[test]
fn a_token_endpoint_on_an_allowed_origin_is() {
    let real = peers::authorization_server(&[("AS_TLS", "0")]);
    let carrier = real.resource_server(&[("RS_TLS", "0")]);
    let issuer = issuer_that_names(&format!("{}/token", real.issuer()));
    let body = file(&real, "body.json", "{}");
    let url = format!("{}/ship/v1/shipments", carrier.base());
    let run = asking(&issuer).args(["--allow-origin", real.issuer(), "--scope", "ship:write"]);
    let ran = run.args(["--body", &body, "POST", &url]).run();
    assert_eq!(ran.status, 0, "{}{}", ran.out, ran.err);
    assert_eq!(ran.line()["token_type"], "DPoP");
    assert_eq!(real.token_requests().len(), 2);
    assert_eq!(carrier.log()[0]["htu"], url);
}
