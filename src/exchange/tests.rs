//! The vectors of challenges, and what answers mean beyond them.

use std::time::Duration;

use http::{HeaderMap, StatusCode};

use super::challenge;
use super::classify::{Facts, Verdict, classify, retry_after};
use super::connection::Connection;
use super::quirks::BodyCode;
use super::skew::{self, SkewBook};
use crate::binding::nonce::Nonce;
use crate::binding::{BindingKind, Learned, Role};
use crate::clock::{Monotonic, Timestamp};
use crate::error::ErrorKind;
use crate::owner::{AccountId, CarrierId, ConnectionId, DeploymentId, Environment, TenantId};
use crate::target::Target;
use crate::testing::{group, headers, id};

const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

fn learned(headers: &HeaderMap) -> Learned {
    match Nonce::from_headers(headers) {
        Ok(None) => Learned::Nothing,
        Ok(Some(nonce)) => Learned::Nonce(nonce),
        Err(refused) => Learned::Refused(refused),
    }
}

fn nonce(text: &str) -> Nonce {
    let mut headers = HeaderMap::new();
    headers.insert("dpop-nonce", text.parse().unwrap());
    Nonce::from_headers(&headers).unwrap().unwrap()
}

struct Answer<'a> {
    role: Role,
    binding: BindingKind,
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: &'a str,
    sent: Option<Nonce>,
    nonce_tried: bool,
    offset_seconds: i64,
}

impl Answer<'_> {
    fn verdict(&self) -> Verdict {
        let mut map = HeaderMap::new();
        for (name, value) in &self.headers {
            map.append(*name, value.parse().unwrap());
        }
        classify(&Facts {
            role: self.role,
            binding: self.binding,
            status: StatusCode::from_u16(self.status).unwrap(),
            headers: &map,
            body: self.body.as_bytes(),
            learned: &learned(&map),
            sent: self.sent.as_ref(),
            nonce_tried: self.nonce_tried,
            now: NOW,
            offset_seconds: self.offset_seconds,
            not_processed: &[BodyCode::new("/errors/0/code", "NOT.AUTHORIZED.ERROR")],
            not_processed_forbidden: &[],
            blocks: &[],
        })
    }
}

impl Default for Answer<'_> {
    fn default() -> Self {
        Self {
            role: Role::ResourceServer,
            binding: BindingKind::Dpop,
            status: 401,
            headers: Vec::new(),
            body: "",
            sent: None,
            nonce_tried: false,
            offset_seconds: 0,
        }
    }
}

fn http_date(offset_seconds: i64) -> String {
    let micros = u64::try_from(NOW.offset_seconds(offset_seconds).unix_micros()).unwrap();
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_micros(micros))
}

fn code(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Done => "done",
        Verdict::Nonce(_) => "nonce",
        Verdict::Renew { .. } => "renew",
        Verdict::Skew(_) => "skew",
        Verdict::Misdirected => "misdirected",
        Verdict::Doubt => "unauthorized",
        Verdict::Blocked(..) => "blocked",
        Verdict::Fail(kind, _) => kind.code(),
    }
}

#[test]
fn every_vector_of_www_authenticate() {
    let mut ran = 0;
    for vector in group("www_authenticate", 21) {
        let (id, input, expect) = (id(&vector), &vector["input"], &vector["expect"]);
        let mut headers = headers(&input["headers"]).unwrap();
        if let Some(offset) = input["date_offset_s"].as_i64() {
            headers.insert("date", http_date(offset).parse().unwrap());
        }

        let parsed = challenge::parse(&headers).map(|challenges| {
            let json = |challenge: &challenge::Challenge| {
                let params: serde_json::Map<_, _> = challenge
                    .params
                    .iter()
                    .map(|(name, value)| (name.clone(), value.clone().into()))
                    .collect();
                let mut json = serde_json::json!({ "scheme": challenge.scheme, "params": params });
                if let Some(token68) = &challenge.token68 {
                    json["token68"] = token68.clone().into();
                }
                json
            };
            challenges.iter().map(json).collect::<Vec<_>>()
        });
        assert_eq!(serde_json::json!(parsed), expect["challenges"], "{id}");

        let learned = learned(&headers);
        let verdict = classify(&Facts {
            role: Role::ResourceServer,
            binding: BindingKind::Dpop,
            status: StatusCode::from_u16(u16::try_from(input["status"].as_u64().unwrap()).unwrap()).unwrap(),
            headers: &headers,
            body: b"",
            learned: &learned,
            sent: None,
            nonce_tried: false,
            now: NOW,
            offset_seconds: 0,
            not_processed: &[],
            not_processed_forbidden: &[],
            blocks: &[],
        });
        let action = match &verdict {
            Verdict::Nonce(challenged) => {
                assert_eq!(learned, Learned::Nonce(challenged.clone()), "{id}");
                "nonce_retry"
            }
            Verdict::Renew { certain: true } => "refresh_token_once",
            // Either an error or the caller's answer: no repeat.
            Verdict::Fail(..) | Verdict::Doubt | Verdict::Done => "fail",
            other => panic!("{id}: {other:?}"),
        };
        assert_eq!(expect["action"], action, "{id}: {verdict:?}");
        if id == "WWW-11" {
            assert_eq!(learned, Learned::Nonce(nonce("n1")), "stored though it is no challenge");
        }
        ran += 1;
    }
    assert_eq!(ran, 21);
}

#[test]
fn only_the_scheme_of_the_request_counts() {
    let with = |binding, challenge: &str| Answer {
        binding,
        headers: vec![("www-authenticate", challenge.to_owned())],
        ..Answer::default()
    };
    let bearer = |challenge| code(&with(BindingKind::Bearer, challenge).verdict());
    assert_eq!(bearer(r#"Bearer error="invalid_token""#), "renew");
    assert_eq!(bearer(r#"DPoP error="invalid_token""#), "unauthorized");
    assert_eq!(bearer(r#"Bearer error="insufficient_scope""#), "unauthorized");
    assert_eq!(bearer(r#"Bearer error="use_dpop_nonce""#), "unauthorized");
    assert_eq!(bearer("Bearer"), "unauthorized");
    // A profile's body counts where no challenge of the request's scheme names an error.
    let fedex = |challenge: Option<&str>, body| {
        let answer = Answer {
            binding: BindingKind::Bearer,
            headers: challenge
                .map(|text| ("www-authenticate", text.to_owned()))
                .into_iter()
                .collect(),
            body,
            ..Answer::default()
        };
        code(&answer.verdict())
    };
    let not_processed = r#"{"errors":[{"code":"NOT.AUTHORIZED.ERROR"}]}"#;
    assert_eq!(fedex(None, not_processed), "renew");
    assert_eq!(fedex(Some(r#"Bearer realm="x""#), not_processed), "renew");
    assert_eq!(
        fedex(Some(r#"Bearer error="insufficient_scope""#), not_processed),
        "unauthorized"
    );
    assert_eq!(
        fedex(Some(r#"Bearer error="x"#), not_processed),
        "unauthorized",
        "malformed"
    );
    for body in ["", "{", "[]", r#"{"errors":[]}"#, r#"{"errors":[{"code":"OTHER"}]}"#] {
        assert_eq!(fedex(None, body), "unauthorized", "{body}");
    }
}

#[test]
fn statuses_have_one_meaning_whatever_the_body_says() {
    let plain = |role, status| {
        let answer = Answer {
            role,
            status,
            body: r#"{"error":"use_dpop_nonce"}"#,
            ..Answer::default()
        };
        code(&answer.verdict()).to_owned()
    };
    for role in [Role::ResourceServer, Role::AuthorizationServer] {
        for (status, meaning) in [
            (200, "done"),
            (204, "done"),
            (304, "done"),
            (301, "redirect"),
            (308, "redirect"),
            (404, "done"),
            (407, "done"),
            (421, "misdirected"),
            (422, "done"),
            (429, "rate_limited"),
            (500, "done"),
            (503, "rate_limited"),
        ] {
            assert_eq!(plain(role, status), meaning, "{role:?} {status}");
        }
    }
    // A challenge in a body is the issuer's way, never a resource's.
    assert_eq!(plain(Role::ResourceServer, 400), "done");
    assert_eq!(plain(Role::ResourceServer, 401), "unauthorized");
    assert_eq!(plain(Role::AuthorizationServer, 400), "nonce_unusable");
    assert_eq!(plain(Role::AuthorizationServer, 401), "nonce_unusable");
}

#[test]
fn a_refused_proof_follows_the_servers_clock_within_limits() {
    let refused = |date: Option<String>, offset_seconds| {
        let answer = Answer {
            role: Role::AuthorizationServer,
            status: 400,
            headers: date.map(|date| ("date", date)).into_iter().collect(),
            body: r#"{"error":"invalid_dpop_proof"}"#,
            offset_seconds,
            ..Answer::default()
        };
        answer.verdict()
    };
    for (theirs, ours, wanted) in [
        (0, 0, "invalid_dpop_proof"),
        (2, 0, "invalid_dpop_proof"),
        (-2, 0, "invalid_dpop_proof"),
        (3, 0, "skew"),
        (-3, 0, "skew"),
        (60, 0, "skew"),
        (61, 0, "clock_offset_refused"),
        (-300, 0, "skew"),
        (-301, 0, "clock_offset_refused"),
        (3600, 0, "clock_offset_refused"),
        (-1_800_000_000, 0, "clock_offset_refused"),
        // The offset was followed already: the clock is not why the proof was refused.
        (-90, -90, "invalid_dpop_proof"),
        // The server's clock was set right again.
        (0, -90, "skew"),
    ] {
        let verdict = refused(Some(http_date(theirs)), ours);
        assert_eq!(code(&verdict), wanted, "{theirs} {ours}");
        if let Verdict::Skew(offset) = verdict {
            assert_eq!(offset, theirs);
        }
    }
    for broken in [
        "",
        "yesterday",
        "Thu, 01 Jan 1970 00:00:00 GMT+1",
        "99999999999999999999",
    ] {
        assert_eq!(
            code(&refused(Some(broken.to_owned()), 0)),
            "invalid_dpop_proof",
            "{broken}"
        );
    }
    assert_eq!(code(&refused(None, 0)), "invalid_dpop_proof");
}

#[test]
fn a_new_nonce_beside_a_refused_proof_is_a_challenge() {
    let refused = |given: &str, sent: Option<&str>, error: &str| {
        let body = format!(r#"{{"error":"{error}"}}"#);
        let answer = Answer {
            role: Role::AuthorizationServer,
            status: 400,
            headers: vec![("dpop-nonce", given.to_owned())],
            body: &body,
            sent: sent.map(nonce),
            ..Answer::default()
        };
        code(&answer.verdict())
    };
    assert_eq!(refused("n2", Some("n1"), "invalid_dpop_proof"), "nonce");
    assert_eq!(refused("n1", Some("n1"), "invalid_dpop_proof"), "invalid_dpop_proof");
    assert_eq!(refused("n1", Some("n1"), "use_dpop_nonce"), "nonce_loop");
    assert_eq!(refused("a b", None, "use_dpop_nonce"), "nonce_unusable");
    assert_eq!(refused("n1", None, "invalid_client"), "done");
}

#[test]
fn retry_after_is_seconds_or_a_date_and_never_more_than_fifteen_minutes() {
    let asked = |text: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", text.parse().unwrap());
        retry_after(&headers, NOW).map(|pause| pause.as_secs())
    };
    for (text, seconds) in [
        ("0", Some(0)),
        ("30", Some(30)),
        (" 30 ", Some(30)),
        ("900", Some(900)),
        ("901", Some(900)),
        ("86400", Some(900)),
        ("18446744073709551616", Some(900)),
        ("-1", None),
        ("1.5", None),
        ("", None),
        ("soon", None),
    ] {
        assert_eq!(asked(text), seconds, "{text:?}");
    }
    assert_eq!(asked(&http_date(45)), Some(45));
    assert_eq!(asked(&http_date(86_400)), Some(900));
    assert_eq!(asked(&http_date(-45)), Some(0));
    assert_eq!(retry_after(&HeaderMap::new(), NOW), None);

    let throttled = Answer {
        status: 429,
        headers: vec![("retry-after", "7".to_owned())],
        ..Answer::default()
    };
    let verdict = throttled.verdict();
    assert!(matches!(verdict, Verdict::Fail(ErrorKind::RateLimited, Some(pause)) if pause.as_secs() == 7));
}

fn connection() -> Connection {
    Connection::new(ConnectionId::new(
        DeploymentId::default_deployment(),
        TenantId::new("acme").unwrap().into(),
        CarrierId::new("carrier").unwrap(),
        Environment::Sandbox,
        AccountId::main(),
    ))
}

fn at(seconds: u64) -> Monotonic {
    Monotonic::from_origin(Duration::from_secs(seconds))
}

#[test]
fn a_pause_belongs_to_one_role_and_ends() {
    let (connection, api, issuer) = (connection(), Role::ResourceServer, Role::AuthorizationServer);
    assert_eq!(
        connection.paused(api, || panic!("no clock is read where nothing is paused")),
        None
    );
    connection.pause_until(api, at(900));
    assert_eq!(connection.paused(api, || at(0)), Some(Duration::from_secs(900)));
    assert_eq!(connection.paused(api, || at(899)), Some(Duration::from_secs(1)));
    assert_eq!(connection.paused(api, || at(900)), None);
    assert_eq!(connection.paused(issuer, || at(0)), None);
    connection.pause_until(issuer, Monotonic::from_origin(Duration::MAX));
    assert!(connection.paused(issuer, || at(0)).is_some());
    // Of two answers on their way the longer pause counts, whichever comes last.
    let connection = self::connection();
    connection.pause_until(api, at(600));
    connection.pause_until(api, at(1));
    assert_eq!(connection.paused(api, || at(2)), Some(Duration::from_secs(598)));
}

#[test]
fn a_401_causes_one_renewal_a_minute() {
    let connection = connection();
    assert!(connection.claim_renewal(at(0)), "also at the origin of time");
    assert!(!connection.claim_renewal(at(59)));
    assert!(connection.claim_renewal(at(60)));
    assert!(!connection.claim_renewal(at(61)));
}

#[test]
fn an_offset_belongs_to_one_server_of_one_connection_and_decays() {
    let (book, other) = (SkewBook::default(), SkewBook::default());
    let origin = |host: &str| Target::parse(&format!("https://{host}/")).unwrap().origin().clone();
    let (api, issuer) = (Role::ResourceServer, Role::AuthorizationServer);
    book.learn(api, &origin("a.example"), -90, at(10));
    assert_eq!(book.offset(api, &origin("a.example"), at(10)), -90);
    assert_eq!(book.offset(issuer, &origin("a.example"), at(10)), 0);
    assert_eq!(book.offset(api, &origin("b.example"), at(10)), 0);
    assert_eq!(other.offset(api, &origin("a.example"), at(10)), 0);
    assert_eq!(book.offset(api, &origin("a.example"), at(3609)), -90);
    assert_eq!(
        book.offset(api, &origin("a.example"), at(3610)),
        0,
        "believed for an hour"
    );
    book.learn(api, &origin("a.example"), 0, at(20));
    assert_eq!(book.offset(api, &origin("a.example"), at(20)), 0);
    // A book is bounded: of many servers the newest are remembered.
    for number in 0..10_000 {
        book.learn(api, &origin(&format!("h{number}.example")), 5, at(20));
    }
    let known = (0..10_000).filter(|number| book.offset(api, &origin(&format!("h{number}.example")), at(20)) == 5);
    assert_eq!(known.collect::<Vec<_>>(), (9_992..10_000).collect::<Vec<_>>());
    assert!(skew::may_follow(60) && skew::may_follow(-300));
    assert!(!skew::may_follow(61) && !skew::may_follow(-301));
    assert!(!skew::may_follow(i64::MAX) && !skew::may_follow(i64::MIN));
}
