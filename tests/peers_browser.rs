//! A browser at the consent page of the test peers: `tests/peers/consent.mjs` and `as.mjs`.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::thread;

use serde_json::Value;
use support::peers;
use support::visitor::parameter;

/// Answers every request with a page of this title, for as long as the test runs.
fn page(title: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = format!("http://{}/cb", listener.local_addr().unwrap());
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let _ = socket.read(&mut [0; 8192]);
            let body = format!("<title>{title}</title><p>That was it.</p>");
            let _ = write!(
                socket,
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    place
}

#[test]
fn a_browser_allows_and_denies() {
    let callback = page("Back at the client");
    let issuer = peers::authorization_server(&[("CONSENT", "ask"), ("REDIRECT_URIS", &callback)]);
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("client_id", "code-public")
        .append_pair("response_type", "code")
        .append_pair("redirect_uri", &callback)
        .append_pair("scope", "openid ship:write")
        .append_pair("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")
        .append_pair("code_challenge_method", "S256")
        .finish();
    let url = format!("{}/auth?{query}", issuer.issuer());
    for (button, member) in [("allow", "code"), ("deny", "error")] {
        let output = Command::new("node")
            .args(["consent.mjs", &url, button, "--trust-any-certificate"])
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8(output.stdout).unwrap();
        let pages: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(pages.len(), 2, "{said}");
        assert_eq!(pages[0]["title"], "Allow access?");
        assert_eq!(pages[1]["title"], "Back at the client");
        assert_eq!(pages[1]["text"], "That was it.");
        let back = pages[1]["url"].as_str().unwrap();
        assert!(
            back.starts_with(&callback) && parameter(back, member).is_some(),
            "{back}"
        );
    }
}
