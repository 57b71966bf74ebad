//! What is in a proof, who is named in it, and how much of servers' nonces is kept.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;

use futures_util::FutureExt;
use http::{HeaderMap, Method, StatusCode};

use super::dpop::DpopBinding;
use super::nonce::{MAX_NONCE, MAX_ORIGINS, Nonce, NonceBook, NonceRefused};
use super::{Answered, Attempt, Learned, Role, TokenBinding};
use crate::clock::Timestamp;
use crate::jose::{Algorithm, ath, verify_compact};
use crate::keys::{Backend, KeyError, KeyHandle, KeyId, LocalKey, Purpose, Signature, Signer, Signing};
use crate::owner::{DeploymentId, Owner};
use crate::target::Target;
use crate::testing::{Proof, group, headers, id};

const NOW: Timestamp = Timestamp::from_unix_micros(1_800_000_000_999_999);

fn handle(key: LocalKey, purpose: Purpose) -> KeyHandle {
    let owner = Owner::Deployment(DeploymentId::default_deployment());
    KeyHandle::new(
        owner,
        KeyId::random().unwrap(),
        purpose,
        key.public().clone(),
        Arc::new(key),
    )
}

fn algorithms() -> Vec<Algorithm> {
    let mut all = vec![Algorithm::Es256];
    #[cfg(feature = "aws-lc-rs")]
    all.push(Algorithm::Ed25519);
    #[cfg(feature = "rsa")]
    all.push(Algorithm::Ps256);
    all
}

fn binding(algorithm: Algorithm) -> DpopBinding {
    let key = LocalKey::generate(algorithm, Backend::default()).unwrap();
    DpopBinding::new(handle(key, Purpose::Proof), None).unwrap()
}

fn target(url: &str) -> Target {
    Target::parse(url).unwrap()
}

fn nonce(text: &str) -> Nonce {
    Nonce::from_headers(&nonce_header(text)).unwrap().unwrap()
}

fn nonce_header(text: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("dpop-nonce", text.parse().unwrap());
    headers
}

fn attempt<'a>(role: Role, method: &'a Method, target: &'a Target) -> Attempt<'a> {
    Attempt {
        role,
        method,
        target,
        ath: None,
        now: NOW,
        nonce: None,
    }
}

fn prove(binding: &DpopBinding, attempt: &Attempt<'_>) -> String {
    let proof = binding.prove(attempt).now_or_never().unwrap().unwrap().unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("dpop", "another".parse().unwrap());
    proof.attach(&mut headers);
    let mut values = headers.get_all("dpop").iter();
    let value = values.next().unwrap();
    assert!(values.next().is_none(), "one proof, in the place of any other");
    assert!(value.is_sensitive());
    value.to_str().unwrap().to_owned()
}

fn names(value: &serde_json::Value) -> Vec<&str> {
    let mut names: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

#[test]
fn every_vector_of_nonce_headers() {
    let mut ran = 0;
    for vector in group("nonce_headers", 17) {
        let id = id(&vector);
        let taken = match headers(&vector["input"]["headers"]) {
            Some(headers) => Nonce::from_headers(&headers),
            // The http crate lets no such value come up from the wire.
            None => Err(NonceRefused::Syntax),
        };
        let outcome = match &taken {
            Ok(Some(nonce)) => {
                let given = crate::testing::text(&vector["input"]["headers"][0][1]);
                assert_eq!(nonce.as_str(), given, "{id}: not an octet is changed");
                "store"
            }
            Ok(None) => "absent",
            Err(_) => "reject",
        };
        assert_eq!(vector["expect"]["outcome"], outcome, "{id}: {taken:?}");

        // What is refused is not stored, and what was known stays.
        if let Some(headers) = headers(&vector["input"]["headers"]) {
            let (binding, target) = (binding(Algorithm::Es256), target("https://a.example/"));
            let attempt = attempt(Role::ResourceServer, &Method::GET, &target);
            binding.learn(&attempt, &ok(&nonce_header("known")));
            let learned = binding.learn(&attempt, &ok(&headers));
            let next = Proof::read(&prove(&binding, &attempt));
            match taken {
                Ok(Some(nonce)) => assert_eq!(next.nonce(), Some(nonce.as_str()), "{id}"),
                Ok(None) => assert_eq!((learned, next.nonce()), (Learned::Nothing, Some("known")), "{id}"),
                Err(why) => assert_eq!((learned, next.nonce()), (Learned::Refused(why), Some("known")), "{id}"),
            }
        }
        ran += 1;
    }
    assert_eq!(ran, 17);
}

#[test]
fn a_proof_says_what_the_rfc_asks_for_and_nothing_else() {
    for algorithm in algorithms() {
        let binding = binding(algorithm);
        let target = target("https://api.carrier.example/track/v1/details/1Z%2f9?email=jane@example.org#x");
        let hash = ath("token");
        let bare = attempt(Role::AuthorizationServer, &Method::POST, &target);
        let full = Attempt {
            ath: Some(&hash),
            nonce: Some(&nonce("n1,~")),
            ..attempt(Role::ResourceServer, &Method::GET, &target)
        };
        for attempt in [&bare, &full] {
            let jws = prove(&binding, attempt);
            let public = binding.key().public();
            verify_compact(&jws, public).unwrap();
            let proof = Proof::read(&jws);

            assert_eq!(names(&proof.header), ["alg", "jwk", "typ"]);
            assert_eq!(proof.header["typ"], "dpop+jwt");
            assert_eq!(proof.header["alg"], algorithm.jws_names()[0]);
            let members: &[&str] = match algorithm {
                Algorithm::Es256 => &["crv", "kty", "x", "y"],
                Algorithm::Ed25519 => &["crv", "kty", "x"],
                Algorithm::Ps256 | Algorithm::Rs256 => &["e", "kty", "n"],
            };
            assert_eq!(names(&proof.header["jwk"]), members);
            assert_eq!(proof.header["jwk"].to_string(), public.to_json());

            let mut claims = vec!["htm", "htu", "iat", "jti"];
            if attempt.ath.is_some() {
                assert_eq!(proof.claims["ath"], hash);
                assert_eq!(proof.claims["nonce"], "n1,~");
                claims = vec!["ath", "htm", "htu", "iat", "jti", "nonce"];
            }
            assert_eq!(names(&proof.claims), claims);
            assert_eq!(proof.claims["htm"], attempt.method.as_str());
            assert_eq!(
                proof.claims["htu"],
                "https://api.carrier.example/track/v1/details/1Z%2f9"
            );
            assert_eq!(
                proof.claims["iat"],
                serde_json::json!(1_800_000_000),
                "whole seconds, rounded down"
            );
            assert_eq!(proof.claims["jti"].as_str().unwrap().len(), 22, "128 bits");
        }
    }
}

#[test]
fn the_method_is_named_as_it_is_sent() {
    let (binding, target) = (binding(Algorithm::Es256), target("https://a.example/"));
    for method in [
        "GET",
        "POST",
        "PATCH",
        "QUERY",
        "get",
        "M-SEARCH",
        "!#$%&'*+-.^_`|~",
        "A-method-of-more-than-fifteen",
    ] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let proof = Proof::read(&prove(&binding, &attempt(Role::ResourceServer, &method, &target)));
        assert_eq!(proof.claims["htm"], method.as_str());
    }
}

#[test]
fn times_far_away_are_written_as_numbers() {
    let (binding, target) = (binding(Algorithm::Es256), target("https://a.example/"));
    for micros in [i64::MIN, -1, 0, i64::MAX] {
        let now = Timestamp::from_unix_micros(micros);
        let attempt = Attempt {
            now,
            ..attempt(Role::ResourceServer, &Method::GET, &target)
        };
        let proof = Proof::read(&prove(&binding, &attempt));
        assert_eq!(proof.claims["iat"].as_i64(), Some(now.unix_seconds()));
    }
}

/// Signs nothing: for tests that look at what is signed.
#[derive(Debug)]
struct Zeros;

impl Signer for Zeros {
    fn sign<'a>(&'a self, _message: &'a [u8]) -> Signing<'a> {
        Signing::Now(Ok(Signature::from([0; 64])))
    }
}

#[test]
fn no_two_proofs_have_the_same_jti() {
    let public = LocalKey::generate(Algorithm::Es256, Backend::default())
        .unwrap()
        .public()
        .clone();
    let owner = Owner::Deployment(DeploymentId::default_deployment());
    let key = KeyHandle::new(owner, KeyId::random().unwrap(), Purpose::Proof, public, Arc::new(Zeros));
    let binding = DpopBinding::new(key, None).unwrap();
    let target = target("https://a.example/");
    let attempt = attempt(Role::ResourceServer, &Method::GET, &target);
    let mut seen = HashSet::with_capacity(100_000);
    for _ in 0..100_000 {
        let proof = Proof::read(&prove(&binding, &attempt));
        let jti = crate::jose::base64url::decode(proof.claims["jti"].as_str().unwrap()).unwrap();
        assert!(seen.insert(<[u8; 16]>::try_from(jti).unwrap()));
    }
    // Every bit of them is drawn: over so many, each is set about half of the time.
    for bit in 0..128 {
        let set = seen.iter().filter(|jti| jti[bit / 8] >> (bit % 8) & 1 == 1).count();
        assert!((45_000..55_000).contains(&set), "bit {bit}: {set}");
    }
}

#[test]
fn a_proof_fills_its_buffer_to_the_last_octet() {
    let hash = ath("token");
    let long = format!("https://a.example/{}?q=1", "a".repeat(7_000));
    for algorithm in algorithms() {
        let binding = binding(algorithm);
        for url in ["https://a.example", "https://a.example/bb/c?d=e", &long] {
            for method in ["GET", "DELETE", "X"] {
                for ath in [None, Some(hash.as_str())] {
                    for nonce in [None, Some(nonce("n")), Some(nonce(&"n".repeat(MAX_NONCE)))] {
                        for now in [0, 1_800_000_000, -5] {
                            let (target, method) = (target(url), Method::from_bytes(method.as_bytes()).unwrap());
                            let attempt = Attempt {
                                ath,
                                now: Timestamp::from_unix_seconds(now),
                                nonce: nonce.as_ref(),
                                ..attempt(Role::ResourceServer, &method, &target)
                            };
                            let input = binding.signing_input(&attempt, nonce.as_ref()).unwrap();
                            let octets = crate::jose::base64url::encoded_len(binding.key().public().signature_len());
                            assert_eq!(input.capacity(), input.len() + 1 + octets, "{attempt:?}");
                        }
                    }
                }
            }
        }
        let target = target("https://a.example/");
        let attempt = attempt(Role::ResourceServer, &Method::GET, &target);
        let input = binding.signing_input(&attempt, None).unwrap();
        assert_eq!(prove(&binding, &attempt).len(), input.capacity(), "{algorithm:?}");
    }
}

#[cfg(feature = "aws-lc-rs")]
#[test]
fn ed25519_is_named_as_the_issuer_names_it() {
    let target = target("https://a.example/");
    let attempt = attempt(Role::ResourceServer, &Method::GET, &target);
    let named = |listed: Option<&[&str]>| {
        let listed = listed.map(|names| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let key = LocalKey::generate(Algorithm::Ed25519, Backend::default()).unwrap();
        let binding = DpopBinding::new(handle(key, Purpose::Proof), listed.as_deref()).unwrap();
        let proof = prove(&binding, &attempt);
        verify_compact(&proof, binding.key().public()).unwrap();
        Proof::read(&proof).header["alg"].as_str().unwrap().to_owned()
    };
    assert_eq!(named(None), "EdDSA");
    assert_eq!(named(Some(&[])), "EdDSA");
    assert_eq!(named(Some(&["EdDSA"])), "EdDSA");
    assert_eq!(named(Some(&["Ed25519", "EdDSA"])), "EdDSA");
    assert_eq!(named(Some(&["ES256", "Ed25519"])), "Ed25519");
}

#[test]
fn only_a_proof_key_makes_proofs_and_only_while_it_lives() {
    let made = || LocalKey::generate(Algorithm::Es256, Backend::default()).unwrap();
    let other = DpopBinding::new(handle(made(), Purpose::ClientAssertion), None);
    assert!(matches!(other, Err(KeyError::WrongPurpose { .. })));

    let (binding, target) = (binding(Algorithm::Es256), target("https://a.example/"));
    let attempt = attempt(Role::ResourceServer, &Method::GET, &target);
    assert!(binding.is_usable());
    binding.key().close(crate::keys::Retired::Compromised);
    assert!(!binding.is_usable());
    let proof = binding.prove(&attempt).now_or_never().unwrap();
    assert!(matches!(proof, Err(KeyError::Closed { .. })));
}

#[test]
fn a_nonce_goes_back_to_the_server_that_gave_it_alone() {
    let binding = binding(Algorithm::Es256);
    let (here, there) = (target("https://a.example/x"), target("https://b.example/x"));
    let port = target("https://a.example:8443/x");
    let at = |role, target| {
        binding
            .prove(&attempt(role, &Method::GET, target))
            .now_or_never()
            .unwrap()
    };
    let known = |role, target| {
        let proof = at(role, target).unwrap().unwrap();
        proof.nonce().map(|nonce| nonce.as_str().to_owned())
    };
    let (api, issuer) = (Role::ResourceServer, Role::AuthorizationServer);
    assert_eq!(known(api, &here), None, "no nonce where none was given");
    binding.learn(&attempt(api, &Method::GET, &here), &ok(&nonce_header("r1")));
    assert_eq!(known(api, &here).as_deref(), Some("r1"));
    for (role, target) in [(issuer, &here), (api, &there), (api, &port)] {
        assert_eq!(known(role, target), None);
    }
    binding.learn(&attempt(api, &Method::GET, &here), &ok(&nonce_header("r2")));
    assert_eq!(known(api, &here).as_deref(), Some("r2"), "the newest one counts");

    // The nonce of a challenge goes before what another request has learned meanwhile.
    let challenged = Attempt {
        nonce: Some(&nonce("mine")),
        ..attempt(api, &Method::GET, &here)
    };
    assert_eq!(Proof::read(&prove(&binding, &challenged)).nonce(), Some("mine"));
}

#[test]
fn the_book_of_nonces_is_bounded_and_the_least_used_gives_way() {
    let book = NonceBook::default();
    let role = Role::ResourceServer;
    let origins: Vec<_> = (0..10_000)
        .map(|number| target(&format!("https://h{number}.example/")).origin().clone())
        .collect();
    let put = |origin, text| book.answered(role, origin, StatusCode::OK, None, Some(&nonce(text)));
    let get = |origin| book.turn(role, origin, None).now_or_never().unwrap().0;
    put(&origins[0], "first");
    for origin in &origins[1..] {
        assert!(get(&origins[0]).is_some(), "what is used stays");
        put(origin, "n");
    }
    let known: Vec<_> = (0..10_000).filter(|at| get(&origins[*at]).is_some()).collect();
    assert_eq!(known.len(), MAX_ORIGINS);
    let newest: Vec<_> = std::iter::once(0).chain(10_001 - MAX_ORIGINS..10_000).collect();
    assert_eq!(known, newest);
    assert_eq!(
        format!("{book:?} {:?}", nonce("secret")),
        "NonceBook Nonce(6 characters)"
    );
}

/// The head of a 200 answer to a proof without a nonce.
fn ok(headers: &HeaderMap) -> Answered<'_> {
    Answered {
        status: StatusCode::OK,
        headers,
        sent: None,
    }
}

#[test]
fn repeats_go_alone_where_nonces_are_spent_and_together_where_they_last() {
    let (role, api) = (Role::ResourceServer, target("https://a.example/").origin().clone());
    let (n1, n2, n3) = (nonce("n1"), nonce("n2"), nonce("n3"));
    let refused = |book: &NonceBook, sent, given: &Nonce| {
        book.answered(role, &api, StatusCode::UNAUTHORIZED, sent, Some(given));
    };

    // Three cold requests were refused with the same nonce. The first repeat goes alone.
    let book = NonceBook::default();
    (0..3).for_each(|_| refused(&book, None, &n1));
    let (used, first) = book.turn(role, &api, Some(&n1)).now_or_never().unwrap();
    assert_eq!(used, Some(n1.clone()));
    let mut second = pin!(book.turn(role, &api, Some(&n1)));
    let mut fresh = pin!(book.turn(role, &api, None));
    assert!(second.as_mut().now_or_never().is_none() && fresh.as_mut().now_or_never().is_none());

    // Its answer gave another nonce: the server takes each once, so the next repeat has the newest one, and goes alone too.
    book.answered(role, &api, StatusCode::CREATED, Some(&n1), Some(&n2));
    drop(first);
    let (used, second) = second.now_or_never().unwrap();
    assert_eq!(used, Some(n2.clone()));
    assert!(fresh.as_mut().now_or_never().is_none());
    // A late refusal of the first nonce does not hide the newest.
    book.answered(role, &api, StatusCode::CREATED, Some(&n2), Some(&n3));
    refused(&book, Some(&n1), &n2);
    drop(second);
    assert_eq!(fresh.now_or_never().unwrap().0, Some(n3.clone()));

    // Where the answer gave none, nonces last: all go at once, each with the nonce of its own challenge.
    let book = NonceBook::default();
    refused(&book, None, &n1);
    let first = book.turn(role, &api, Some(&n1)).now_or_never().unwrap();
    book.answered(role, &api, StatusCode::CREATED, Some(&n1), None);
    drop(first);
    let together: Vec<_> = (0..3)
        .map(|_| book.turn(role, &api, Some(&n1)).now_or_never().unwrap())
        .collect();
    assert!(together.iter().all(|(used, _)| used.as_ref() == Some(&n1)));
}
