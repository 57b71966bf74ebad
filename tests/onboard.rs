//! The example `onboard`: a shipper's consent in a real browser, and what others try with the answer.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is wrong"
)]

mod support;

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use support::examples::example;

/// The example while it runs. Killed when dropped.
struct Onboard {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    url: String,
}

impl Onboard {
    fn start(arguments: &[&str]) -> Self {
        let mut child = example("onboard")
            .arg("--json")
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(first["event"], "listening");
        let url = first["url"].as_str().unwrap().to_owned();
        Self { child, lines, url }
    }

    /// Waits for its end: the exit status, and what it printed.
    fn end(mut self) -> (i32, Vec<Value>) {
        let lines = self.lines.by_ref();
        let lines = lines
            .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
            .collect();
        (self.child.wait().unwrap().code().unwrap(), lines)
    }
}

impl Drop for Onboard {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Opens a page in Chromium and presses these buttons: the pages that were seen.
fn browser(url: &str, buttons: &[&str]) -> Vec<Value> {
    let output = Command::new("node")
        .arg("consent.mjs")
        .arg(url)
        .args(buttons)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers"))
        .output()
        .expect("node does not start: run tests/all.sh, which installs what tests need");
    assert!(
        output.status.success(),
        "no browser, or it failed; run tests/all.sh, which installs Node, its packages and Chromium: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text(page: &Value) -> &str {
    page["text"].as_str().unwrap()
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.find_map(|(own, value)| own.eq_ignore_ascii_case(name).then_some(value))
    }

    fn location(&self) -> &str {
        self.header("location").unwrap_or_else(|| panic!("{self:?}"))
    }

    /// The cookie that it sets, without its attributes.
    fn cookie(&self) -> &str {
        self.header("set-cookie").unwrap().split(';').next().unwrap()
    }
}

/// One request of a browser that does as it is told.
fn ask(method: &str, url: &str, fields: &str, body: &str) -> Answer {
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let host_field = if fields.contains("Host: ") {
        String::new()
    } else {
        format!("Host: {host}\r\n")
    };
    let mut stream = TcpStream::connect(host).unwrap();
    write!(
        stream,
        "{method} /{path} HTTP/1.1\r\n{host_field}{fields}Connection: close\r\nContent-Length: {}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

/// A browser with a session of its own.
struct Shipper<'a> {
    site: &'a Onboard,
    cookie: String,
}

impl<'a> Shipper<'a> {
    fn new(site: &'a Onboard) -> Self {
        let answer = ask("GET", &format!("{}/", site.url), "", "");
        assert_eq!(answer.status, 200);
        let cookie = format!("Cookie: other=1; {}\r\n", answer.cookie());
        Self { site, cookie }
    }

    fn get(&self, url: &str) -> Answer {
        ask("GET", url, &self.cookie, "")
    }

    fn home(&self) -> String {
        self.get(&format!("{}/", self.site.url)).body
    }

    /// Presses the button: the address of the carrier's page.
    fn connect(&self) -> String {
        let answer = ask("POST", &format!("{}/connect", self.site.url), &self.cookie, "");
        assert_eq!(answer.status, 303, "{answer:?}");
        answer.location().to_owned()
    }

    /// Presses the button, and allows what the carrier's page asks: the address that the browser is sent back to.
    fn allow(&self) -> String {
        let page = self.connect();
        let ticket = ask("GET", &page, "", "").body;
        let ticket = ticket.split("name=\"ticket\" value=\"").nth(1).unwrap();
        let ticket = ticket.split('"').next().unwrap();
        let action = page.split('?').next().unwrap();
        let answer = ask("POST", action, "", &format!("ticket={ticket}&decision=allow"));
        answer.location().to_owned()
    }
}

#[test]
fn a_shipper_allows_and_labels_are_bought_with_the_first_and_a_refreshed_token() {
    for (carrier, name) in [("ups", "UPS"), ("usps", "USPS"), ("issuer", "Acme Freight")] {
        let site = Onboard::start(&["--wait-for-one", "--carrier", carrier]);
        let home = format!("{}/", site.url);
        let pages = browser(&home, &[&format!("Connect {name}"), "Allow"]);
        assert!(text(&pages[0]).contains(&format!("Connect your {name} account")));
        assert!(text(&pages[1]).contains("The client parcel-desk wants to act for you"));
        assert_eq!(pages[2]["url"], home, "neither code nor state stays in the address");
        for part in [
            "account is connected",
            "1Z999AA10000000001",
            "first token",
            "refreshed token",
        ] {
            assert!(text(&pages[2]).contains(part), "{part}");
        }

        let (status, lines) = site.end();
        let events: Vec<_> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
        assert_eq!(events, ["connected", "label", "label", "summary"]);
        assert_eq!(
            (&lines[1]["status"], &lines[1]["token"]),
            (&json!(201), &json!("first"))
        );
        assert_eq!(
            (&lines[2]["status"], &lines[2]["token"]),
            (&json!(201), &json!("refreshed"))
        );
        for (member, value) in [("codes", 1), ("refreshes", 1), ("labels", 2), ("tokens", 2)] {
            assert_eq!(lines[3][member], value, "{member}");
        }
        assert_eq!((status, &lines[3]["ok"]), (0, &json!(true)));
    }
}

#[test]
fn a_shipper_denies_and_is_told_so() {
    let site = Onboard::start(&["--wait-for-one"]);
    let pages = browser(&site.url, &["Connect", "Deny"]);
    assert!(text(&pages[2]).contains("You did not allow the connection at UPS. Nothing was changed."));
    assert!(text(&pages[2]).contains("Try again"));
    let (status, lines) = site.end();
    assert_eq!(lines[0]["event"], "not_connected");
    assert_eq!(lines[0]["cause"], "the consent was refused: access_denied");
    assert_eq!((status, &lines[1]["ok"]), (1, &json!(false)));
}

#[test]
fn an_answer_is_good_in_the_session_that_asked_for_it_and_once() {
    let site = Onboard::start(&[]);
    let acme = Shipper::new(&site);
    let callback = acme.allow();

    // In a browser without a session, in one that has begun nothing, and in one that has.
    let pages = browser(&callback, &[]);
    assert!(text(&pages[0]).contains("No connection to UPS is under way in this browser"));
    let mallory = Shipper::new(&site);
    let refused = mallory.get(&callback);
    assert_eq!((refused.status, refused.header("location")), (400, None));
    mallory.connect();
    assert_eq!(mallory.get(&callback).location(), "/");
    assert!(
        mallory
            .home()
            .contains("The answer did not belong to the connection that you began here")
    );
    // What she had begun is over.
    assert_eq!(mallory.get(&callback).status, 400);

    assert_eq!(acme.get(&callback).location(), "/");
    assert!(acme.home().contains("Your UPS account is connected"));
    assert_eq!(acme.get(&callback).status, 400);
    assert!(acme.home().contains("Your UPS account is connected"));
}

#[test]
fn nobody_else_begins_a_consent_or_says_where_it_leads() {
    let site = Onboard::start(&[]);
    // Other sites' forms are sent without the cookie.
    let connect = format!("{}/connect", site.url);
    assert_eq!(ask("POST", &connect, "", "").status, 400);
    assert_eq!(ask("POST", &connect, "Cookie: session=guessed\r\n", "").status, 400);
    assert_eq!(ask("GET", &connect, "", "").status, 405);

    let shipper = Shipper::new(&site);
    let fields = format!("Host: evil.example\r\n{}", shipper.cookie);
    let query = "?redirect_uri=https%3A%2F%2Fevil.example&next=https%3A%2F%2Fevil.example";
    let answer = ask("POST", &format!("{connect}{query}"), &fields, "");
    let own = form_urlencoded::byte_serialize(format!("{}/callback", site.url).as_bytes()).collect::<String>();
    assert!(
        answer.location().contains(&format!("redirect_uri={own}&")),
        "{answer:?}"
    );
    assert!(!answer.head.contains("evil"), "{answer:?}");
    let answer = shipper.get(&format!("{}/callback{query}", site.url));
    assert_eq!(answer.location(), "/");
}

#[test]
fn what_comes_in_is_text_on_the_page() {
    let site = Onboard::start(&[]);
    let shipper = Shipper::new(&site);
    let sent = shipper.connect();
    let state = sent.split("state=").nth(1).unwrap().split('&').next().unwrap();
    let evil = "%3Cscript%3Ealert(1)%3C%2Fscript%3E";
    shipper.get(&format!(
        "{}/callback?state={state}&error={evil}&error_description={evil}",
        site.url
    ));
    let page = shipper.home();
    assert!(page.contains("UPS refused the connection"), "{page}");
    assert!(!page.contains("<script"), "{page}");
}

#[test]
fn answers_are_hardened() {
    let site = Onboard::start(&[]);
    let answer = ask("GET", &format!("{}/", site.url), "", "");
    let cookie = answer.header("set-cookie").unwrap();
    assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{cookie}");
    let id = answer.cookie().strip_prefix("session=").unwrap();
    assert_eq!(id.len(), 43, "256 bits");
    assert_ne!(ask("GET", &format!("{}/", site.url), "", "").cookie(), answer.cookie());

    let style = answer
        .body
        .split("<style>")
        .nth(1)
        .unwrap()
        .split("</style>")
        .next()
        .unwrap();
    let policy = answer.header("content-security-policy").unwrap();
    let hash = STANDARD.encode(Sha256::digest(style));
    assert!(policy.contains(&format!("style-src 'sha256-{hash}'")), "{policy}");
    assert!(policy.starts_with("default-src 'none'; ") && policy.ends_with("frame-ancestors 'none'"));
    for path in ["/", "/callback?code=1", "/nowhere"] {
        let answer = ask("GET", &format!("{}{path}", site.url), "", "");
        for (name, value) in [
            ("cache-control", "no-store"),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", policy),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path}");
        }
    }
}

#[test]
fn bad_usage_is_told_apart() {
    for arguments in [&["--carrier", "fedex"][..], &["--yes"]] {
        let output = example("onboard").args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
    }
}
