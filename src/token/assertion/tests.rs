//! The vectors of client assertions; what is in a header and in claims; signatures; refusals.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::credentials::Credential;
use crate::jose::{Algorithm, base64url, verify_compact};
use crate::keys::{Backend, KeyError, KeyHandle, KeyId, KeyState, LocalKey, Purpose, Retired, Signer, Signing};
use crate::owner::{AccountId, CarrierId, ConnectionId, DeploymentId, Environment, Owner, TenantId};
use crate::testing::{Proof, group, id};

use super::*;

const NOW: i64 = 1_800_000_000;
const ISSUER: &str = "https://auth.carrier.example";
const ENDPOINT: &str = "https://auth.carrier.example/token";

fn connection(tenant: &str) -> ConnectionId {
    ConnectionId::new(
        DeploymentId::default_deployment(),
        TenantId::new(tenant).unwrap().into(),
        CarrierId::new("carrier").unwrap(),
        Environment::Sandbox,
        AccountId::main(),
    )
}

fn owner() -> Owner {
    connection("acme").into()
}

fn generate(algorithm: Algorithm) -> LocalKey {
    LocalKey::generate(algorithm, Backend::default()).unwrap()
}

fn handle(key: LocalKey) -> KeyHandle {
    let public = key.public().clone();
    KeyHandle::new(
        owner(),
        KeyId::random().unwrap(),
        Purpose::ClientAssertion,
        public,
        Arc::new(key),
    )
}

fn es256() -> KeyHandle {
    handle(generate(Algorithm::Es256))
}

/// One assertion at [`ISSUER`], half a second after [`NOW`].
fn make(
    profile: &AssertionProfile,
    key: &KeyHandle,
    credential: &Credential,
    kind: Kind<'_>,
) -> Result<String, AssertionError> {
    make_at(Some(ISSUER), ENDPOINT, profile, key, credential, kind)
}

fn make_at(
    issuer: Option<&str>,
    endpoint: &str,
    profile: &AssertionProfile,
    key: &KeyHandle,
    credential: &Credential,
    kind: Kind<'_>,
) -> Result<String, AssertionError> {
    let occasion = Occasion {
        profile,
        owner: &owner(),
        key,
        credential,
        issuer,
        endpoint,
        now: Timestamp::from_unix_micros(NOW * 1_000_000 + 500_000),
    };
    let made = Assertion::make(&occasion, kind).now_or_never().unwrap()?;
    Ok(made.expose().to_owned())
}

fn authentication(profile: &AssertionProfile) -> Proof {
    let made = make(
        profile,
        &es256(),
        &Credential::without_secret("c1"),
        Kind::ClientAuthentication,
    );
    Proof::read(&made.unwrap())
}

/// The members' names, sorted: a feature of some crate decides on their order.
fn names(claims: &Value) -> Vec<&str> {
    let mut names: Vec<_> = claims.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

#[test]
fn vectors() {
    let key = es256();
    for vector in group("client_assertion", 6) {
        let (input, expect) = (&vector["input"], &vector["expect"]);
        if expect["distinct_jti"] == true {
            let attempts = usize::try_from(input["attempts"].as_u64().unwrap()).unwrap();
            let jti = |_| {
                authentication(&AssertionProfile::new()).claims["jti"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            };
            assert_eq!((0..attempts).map(jti).collect::<BTreeSet<_>>().len(), attempts);
            continue;
        }
        let text = |name: &str| input[name].as_str().unwrap();
        let profile = match input.get("legacy_token_endpoint_aud") {
            Some(_) => AssertionProfile::new().audience(Audience::TokenEndpoint),
            None => AssertionProfile::new(),
        };
        let credential = Credential::without_secret(text("client_id"));
        let made = make_at(
            Some(text("issuer")),
            text("endpoint"),
            &profile,
            &key,
            &credential,
            Kind::ClientAuthentication,
        )
        .unwrap();
        verify_compact(&made, key.public()).unwrap();
        let Proof { header, claims } = Proof::read(&made);
        // A string, not an array of one.
        assert_eq!(claims["aud"], expect["aud"], "{}", id(&vector));
        assert_eq!(profile.legacy(), expect["warning"] == true, "{}", id(&vector));
        for name in ["iss", "sub"] {
            if let Some(expected) = expect.get(name) {
                assert_eq!(claims[name], *expected, "{}", id(&vector));
            }
        }
        if let Some(typ) = expect.get("header_typ") {
            assert_eq!(header["typ"], *typ);
        }
        for name in expect["required"].as_array().into_iter().flatten() {
            assert!(claims.get(name.as_str().unwrap()).is_some(), "{name}");
        }
        if let Some(most) = expect["max_lifetime_s"].as_i64() {
            assert!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap() <= most);
        }
    }
}

#[test]
fn an_assertion_says_who_and_until_when_and_no_more() {
    let key = es256();
    let credential = Credential::without_secret("c1");
    let made = make(&AssertionProfile::new(), &key, &credential, Kind::ClientAuthentication).unwrap();
    let Proof { header, claims } = Proof::read(&made);
    assert_eq!(
        header,
        json!({"typ": "client-authentication+jwt", "alg": "ES256", "kid": key.jkt().to_string()})
    );
    assert_eq!(names(&claims), ["aud", "exp", "iat", "iss", "jti", "sub"]);
    assert_eq!(
        (&claims["iat"], &claims["exp"]),
        (&json!(NOW), &json!(NOW + 60)),
        "whole seconds"
    );
    let jti = base64url::decode(claims["jti"].as_str().unwrap()).unwrap();
    assert_eq!(jti.len(), 16);
}

#[test]
fn a_grant_speaks_for_whom_it_says_and_lists_what_is_wanted() {
    let key = es256();
    let credential = Credential::without_secret("c1");
    let claims = |grant| {
        let made = make(&AssertionProfile::new(), &key, &credential, Kind::Grant(grant)).unwrap();
        let Proof { header, claims } = Proof::read(&made);
        assert_eq!(header["typ"], "authorization-grant+jwt");
        assert_eq!((&claims["iss"], &claims["aud"]), (&json!("c1"), &json!(ISSUER)));
        claims
    };
    let bare = claims(Grant::default());
    assert_eq!(names(&bare), ["aud", "exp", "iat", "iss", "jti"]);
    let one = claims(Grant {
        scope: Some("toll:movement/road/v2 toll:x"),
        resources: &["https://api.carrier.example/"],
    });
    assert_eq!(one["scope"], "toll:movement/road/v2 toll:x");
    assert_eq!(one["resource"], "https://api.carrier.example/");
    assert!(one.get("sub").is_none());
    let more = claims(Grant {
        scope: None,
        resources: &["urn:a", "urn:b"],
    });
    assert_eq!(more["resource"], json!(["urn:a", "urn:b"]));
}

#[test]
fn a_profile_decides_on_audience_and_type() {
    let exactly = AssertionProfile::new().audience(Audience::Exactly("EU.EORI.NL000000004".into()));
    assert!(!exactly.legacy());
    assert_eq!(authentication(&exactly).claims["aud"], "EU.EORI.NL000000004");
    let jwt = AssertionProfile::new().typ(AssertionTyp::Jwt);
    assert_eq!(authentication(&jwt).header["typ"], "JWT");
    let none = AssertionProfile::new().typ(AssertionTyp::None);
    assert!(authentication(&none).header.get("typ").is_none());
    for weaker in [jwt, none, AssertionProfile::new().legacy_rs256()] {
        assert!(weaker.legacy());
    }
    assert_eq!(AssertionProfile::default(), AssertionProfile::new());
    assert!(!AssertionProfile::new().x5c().key_of(KeyOf::Deployment).legacy());
}

#[test]
fn lifetimes_stay_within_their_bounds() {
    for (asked, seconds) in [
        (0, 5),
        (4_999, 5),
        (5_000, 5),
        (30_999, 30),
        (120_000, 120),
        (3_600_000, 120),
    ] {
        let profile = AssertionProfile::new().lifetime(Duration::from_millis(asked));
        let claims = authentication(&profile).claims;
        assert_eq!(claims["exp"], json!(NOW + seconds), "{asked} ms");
    }
    let longest = AssertionProfile::new().lifetime(Duration::MAX);
    assert_eq!(authentication(&longest).claims["exp"], json!(NOW + 120));
}

#[test]
fn the_kid_is_the_credentials_or_the_thumbprint() {
    let key = es256();
    let named = Credential::without_secret("c1").key_id("2026-11");
    let made = make(&AssertionProfile::new(), &key, &named, Kind::ClientAuthentication).unwrap();
    assert_eq!(Proof::read(&made).header["kid"], "2026-11");
}

#[test]
fn nothing_from_configuration_breaks_out_of_its_string() {
    let nasty = "a\"},\"iss\":\"b\\\n\u{0}\u{1f}\u{2028}\u{e9}\u{1f4e6}";
    let key = es256();
    let credential = Credential::without_secret(nasty).key_id(nasty);
    let profile = AssertionProfile::new().audience(Audience::Exactly(nasty.to_owned()));
    let grant = Grant {
        scope: Some(nasty),
        resources: &[nasty],
    };
    let made = make(&profile, &key, &credential, Kind::Grant(grant)).unwrap();
    // Read with the strict parser as well: no member is there twice.
    let payload = verify_compact(&made, key.public()).unwrap();
    let strict = crate::json::Object::parse(&payload).unwrap();
    for name in ["iss", "aud", "scope", "resource"] {
        assert_eq!(strict.get(name).unwrap().as_str(), Some(nasty), "{name}");
    }
    assert_eq!(Proof::read(&made).header["kid"], nasty);
}

#[test]
fn every_algorithm_of_fapi_signs() {
    let mut algorithms = vec![(Algorithm::Es256, "ES256")];
    #[cfg(feature = "aws-lc-rs")]
    algorithms.push((Algorithm::Ed25519, "EdDSA"));
    #[cfg(feature = "rsa")]
    algorithms.push((Algorithm::Ps256, "PS256"));
    let credential = Credential::without_secret("c1");
    for (algorithm, name) in algorithms {
        let key = handle(generate(algorithm));
        let made = make(&AssertionProfile::new(), &key, &credential, Kind::ClientAuthentication).unwrap();
        assert_eq!(Proof::read(&made).header["alg"], name);
        verify_compact(&made, key.public()).unwrap();
        assert!(verify_compact(&made, es256().public()).is_err(), "{name}");
    }
}

/// Signs when it is asked a second time, as an HSM does.
#[derive(Debug)]
struct Elsewhere(LocalKey);

impl Signer for Elsewhere {
    fn sign<'a>(&'a self, message: &'a [u8]) -> Signing<'a> {
        let signing = self.0.sign(message);
        Signing::Later(Box::pin(async move {
            tokio::task::yield_now().await;
            signing.wait().await
        }))
    }
}

fn elsewhere(key: LocalKey) -> KeyHandle {
    let public = key.public().clone();
    KeyHandle::new(
        owner(),
        KeyId::random().unwrap(),
        Purpose::ClientAssertion,
        public,
        Arc::new(Elsewhere(key)),
    )
}

#[tokio::test]
async fn a_key_may_be_elsewhere() {
    let key = elsewhere(generate(Algorithm::Es256));
    let occasion = Occasion {
        profile: &AssertionProfile::new(),
        owner: &owner(),
        key: &key,
        credential: &Credential::without_secret("c1"),
        issuer: Some(ISSUER),
        endpoint: ENDPOINT,
        now: Timestamp::from_unix_seconds(NOW),
    };
    let made = Assertion::make(&occasion, Kind::ClientAuthentication).await.unwrap();
    verify_compact(made.expose(), key.public()).unwrap();
}

#[test]
fn an_audience_must_be_known() {
    let (key, credential) = (es256(), Credential::without_secret("c1"));
    let without = |profile: AssertionProfile, issuer| {
        let kind = Kind::ClientAuthentication;
        make_at(issuer, ENDPOINT, &profile, &key, &credential, kind)
    };
    let empty = AssertionProfile::new().audience(Audience::Exactly(String::new()));
    for (profile, issuer) in [
        (AssertionProfile::new(), None),
        (AssertionProfile::new(), Some("")),
        (empty, Some(ISSUER)),
    ] {
        assert_eq!(without(profile, issuer).unwrap_err(), AssertionError::NoAudience);
    }
    let endpoint = AssertionProfile::new().audience(Audience::TokenEndpoint);
    assert_eq!(Proof::read(&without(endpoint, None).unwrap()).claims["aud"], ENDPOINT);
}

#[test]
fn keys_of_others_for_other_things_or_at_their_end_do_not_sign() {
    let credential = Credential::without_secret("c1");
    let with = |key: &KeyHandle| {
        make(&AssertionProfile::new(), key, &credential, Kind::ClientAuthentication).map_err(|error| match error {
            AssertionError::Key(cause) => cause,
            other => panic!("{other}"),
        })
    };
    let other = |owner: Owner, purpose| {
        let key = generate(Algorithm::Es256);
        let public = key.public().clone();
        KeyHandle::new(owner, KeyId::random().unwrap(), purpose, public, Arc::new(key))
    };
    let of_another = other(connection("other").into(), Purpose::ClientAssertion);
    assert_eq!(with(&of_another), Err(KeyError::WrongOwner));
    for found in [Purpose::Proof, Purpose::Tls] {
        let wanted = Purpose::ClientAssertion;
        assert_eq!(
            with(&other(owner(), found)),
            Err(KeyError::WrongPurpose { wanted, found })
        );
    }
    let closed = es256();
    closed.close(Retired::Compromised);
    let state = KeyState::Compromised;
    assert_eq!(with(&closed), Err(KeyError::Closed { state }));
}

#[test]
fn the_key_is_the_connections_unless_it_is_the_deployments() {
    let acme = connection("acme");
    assert_eq!(AssertionProfile::new().owner(&acme), Owner::Connection(acme.clone()));
    let shared = AssertionProfile::new().key_of(KeyOf::Deployment);
    for tenant in ["acme", "other"] {
        let deployment = Owner::Deployment(DeploymentId::default_deployment());
        assert_eq!(shared.owner(&connection(tenant)), deployment);
    }
}

/// Certificates are made by rcgen.
#[cfg(feature = "sandbox")]
mod certificates {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use rcgen::CertificateParams;

    use super::*;

    /// A key, and a certificate for it by itself.
    fn certified(key: LocalKey) -> (KeyHandle, Vec<u8>) {
        let pem = key.export_pkcs8_pem().unwrap();
        let signer = rcgen::KeyPair::from_pem(std::str::from_utf8(pem.expose()).unwrap()).unwrap();
        let certificate = CertificateParams::default().self_signed(&signer).unwrap();
        let again = LocalKey::from_pem(&pem, Backend::default()).unwrap();
        (handle(again), certificate.der().to_vec())
    }

    fn with_chain(key: &KeyHandle, credential: &Credential) -> Result<Proof, AssertionError> {
        let profile = AssertionProfile::new().x5c();
        make(&profile, key, credential, Kind::ClientAuthentication).map(|made| Proof::read(&made))
    }

    #[test]
    fn certificates_travel_in_standard_base64_in_their_order() {
        for algorithm in [
            Algorithm::Es256,
            Algorithm::Ed25519,
            #[cfg(feature = "rsa")]
            Algorithm::Ps256,
        ] {
            let (key, own) = certified(generate(algorithm));
            // Octets that standard base64 and base64url write differently, with padding.
            let above = vec![0xfb, 0xff, 0xfe, 0x3f];
            let credential = Credential::without_secret("c1").certificates([own.clone(), above]);
            let header = with_chain(&key, &credential).unwrap().header;
            assert_eq!(header["x5c"], json!([STANDARD.encode(own), "+//+Pw=="]));
            assert!(header.get("kid").is_none(), "the certificate says it");
            let named = with_chain(&key, &credential.key_id("k")).unwrap().header;
            assert_eq!(named["kid"], "k");
        }
    }

    #[test]
    fn certificates_must_be_there_and_the_keys_own() {
        let (key, own) = certified(generate(Algorithm::Es256));
        let (_, other) = certified(generate(Algorithm::Es256));
        let (_, of_ed25519) = certified(generate(Algorithm::Ed25519));
        let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let p384 = CertificateParams::default().self_signed(&p384).unwrap().der().to_vec();
        let refused = |chain: Vec<Vec<u8>>| {
            let credential = Credential::without_secret("c1").certificates(chain);
            with_chain(&key, &credential).map(|_| ()).unwrap_err()
        };
        let none = Credential::without_secret("c1");
        assert_eq!(
            with_chain(&key, &none).map(|_| ()).unwrap_err(),
            AssertionError::NoCertificates
        );
        assert_eq!(refused(Vec::new()), AssertionError::NoCertificates);
        for foreign in [vec![other, own.clone()], vec![of_ed25519], vec![p384]] {
            assert_eq!(refused(foreign), AssertionError::CertificateMismatch);
        }
        let (mut longer, mut cut) = (own.clone(), own.clone());
        longer.push(0);
        cut.pop();
        let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n", STANDARD.encode(&own));
        for length in 0..own.len() {
            assert_eq!(crate::jose::x5c::certifies(&own[..length], key.public()), None);
        }
        for damaged in [Vec::new(), longer, cut, pem.into_bytes(), vec![0x30, 0x80]] {
            assert_eq!(refused(vec![damaged]), AssertionError::CertificateMalformed);
        }
    }

    #[cfg(feature = "rsa")]
    #[test]
    fn a_certificate_fits_an_rs256_key_too() {
        let pem = generate(Algorithm::Ps256).export_pkcs8_pem().unwrap();
        let key = || LocalKey::from_pem(&pem, Backend::default()).unwrap();
        let (_, own) = certified(key());
        let credential = Credential::without_secret("c1").certificates([own]);
        let profile = AssertionProfile::new().x5c().legacy_rs256();
        let rs256 = handle(key().into_rs256().unwrap());
        let made = make(&profile, &rs256, &credential, Kind::ClientAuthentication).unwrap();
        assert_eq!(Proof::read(&made).header["alg"], "RS256");
    }
}

#[cfg(feature = "rsa")]
mod rs256 {
    use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};

    use super::*;
    use crate::binding::dpop::DpopBinding;

    fn rs256() -> LocalKey {
        generate(Algorithm::Ps256).into_rs256().unwrap()
    }

    #[tokio::test]
    async fn only_a_profile_that_says_so_lets_it_sign() {
        let credential = Credential::without_secret("c1");
        for key in [handle(rs256()), elsewhere(rs256())] {
            let make = async |profile: &AssertionProfile| {
                let occasion = Occasion {
                    profile,
                    owner: &owner(),
                    key: &key,
                    credential: &credential,
                    issuer: Some(ISSUER),
                    endpoint: ENDPOINT,
                    now: Timestamp::from_unix_seconds(NOW),
                };
                Assertion::make(&occasion, Kind::ClientAuthentication).await
            };
            assert_eq!(make(&AssertionProfile::new()).await.err(), Some(AssertionError::Rs256));
            let made = make(&AssertionProfile::new().legacy_rs256()).await.unwrap();
            let text = made.expose();
            assert_eq!(Proof::read(text).header["alg"], "RS256");

            let jwk: Value = serde_json::from_str(&key.public().to_json()).unwrap();
            let number = |name: &str| base64url::decode(jwk[name].as_str().unwrap()).unwrap();
            let (signed, signature) = text.rsplit_once('.').unwrap();
            let signature = base64url::decode(signature).unwrap();
            RsaPublicKeyComponents {
                n: number("n"),
                e: number("e"),
            }
            .verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &signature)
            .unwrap();
            // What reads JWS does not take it, whichever half it is given.
            assert!(verify_compact(text, key.public()).is_err());
            let as_read = crate::jose::PublicJwk::from_json(key.public().to_json().as_bytes()).unwrap();
            assert_eq!(as_read.algorithm(), Algorithm::Ps256);
            assert!(verify_compact(text, &as_read).is_err());
        }
        let other = handle(generate(Algorithm::Ps256));
        let profile = AssertionProfile::new().legacy_rs256();
        let made = make(&profile, &other, &credential, Kind::ClientAuthentication).unwrap();
        assert_eq!(Proof::read(&made).header["alg"], "PS256", "allowed is not demanded");
    }

    #[test]
    fn no_proof_is_signed_with_it() {
        let key = rs256();
        let public = key.public().clone();
        let key = KeyHandle::new(owner(), KeyId::random().unwrap(), Purpose::Proof, public, Arc::new(key));
        let refused = DpopBinding::new(key, None).unwrap_err();
        assert!(matches!(
            refused,
            KeyError::Unsupported {
                algorithm: Algorithm::Rs256,
                ..
            }
        ));
    }
}
