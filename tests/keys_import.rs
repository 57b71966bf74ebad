//! Private keys from outside: what is taken in, and what is refused and why.
#![cfg(feature = "rsa")]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use shipbound::jose::{Algorithm, PublicJwk};
use shipbound::keys::{Backend, KeyError, KeyImportError, LocalKey, Signer, Signing};
use shipbound::secret::KeyMaterial;

fn file(name: &str) -> String {
    let path = format!("{}/tests/data/keys/{name}.pem", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

fn vectors() -> Value {
    let path = format!("{}/tests/data/vectors.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn from_pem(pem: &str) -> Result<LocalKey, KeyImportError> {
    LocalKey::from_pem(&KeyMaterial::new(pem), Backend::AwsLc)
}

fn from_der(der: &[u8]) -> Result<LocalKey, KeyImportError> {
    LocalKey::from_pkcs8_der(&KeyMaterial::new(der), Backend::AwsLc)
}

fn from_jwk(jwk: &Value) -> Result<LocalKey, KeyImportError> {
    LocalKey::from_jwk(&KeyMaterial::new(jwk.to_string()), Backend::AwsLc)
}

fn der(pem: &str) -> Vec<u8> {
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    STANDARD.decode(body).unwrap()
}

fn to_pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = (0..text.len())
        .step_by(64)
        .map(|at| &text[at..text.len().min(at + 64)])
        .collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn position(within: &[u8], what: &[u8]) -> usize {
    within.windows(what.len()).position(|window| window == what).unwrap()
}

fn sign(key: &LocalKey, message: &[u8]) -> Vec<u8> {
    match key.sign(message) {
        Signing::Now(signature) => signature.unwrap().as_bytes().to_vec(),
        Signing::Later(_) => panic!("a local key signs at once"),
    }
}

#[track_caller]
fn refused(result: Result<LocalKey, KeyImportError>, why: KeyImportError) {
    match result {
        Err(error) => assert_eq!(error, why),
        Ok(key) => panic!("{key:?} was taken in, not refused: {why}"),
    }
}

/// The private JWK of this name in the vectors.
fn jwk(name: &str) -> Value {
    vectors()["keys"][name]["private_jwk"].clone()
}

fn with(mut jwk: Value, name: &str, value: impl Into<Value>) -> Value {
    jwk[name] = value.into();
    jwk
}

#[test]
fn every_container_of_a_key_gives_the_same_key() {
    let cases: [(&str, Algorithm, &[&str]); 6] = [
        (
            "p256-pkcs8",
            Algorithm::Es256,
            &["p256-sec1", "p256-sec1-no-public", "p256-sec1-compressed"],
        ),
        ("p256-sec1-with-parameters", Algorithm::Es256, &[]),
        ("ed25519-pkcs8", Algorithm::Ed25519, &[]),
        ("rsa2048-pkcs8", Algorithm::Ps256, &["rsa2048-pkcs1"]),
        ("rsa3072-pkcs8", Algorithm::Ps256, &[]),
        ("rsa8192-pkcs1", Algorithm::Ps256, &[]),
    ];
    for (name, algorithm, same) in cases {
        let key = from_pem(&file(name)).unwrap();
        assert_eq!(key.algorithm(), algorithm, "{name}");
        key.public()
            .verify(name.as_bytes(), &sign(&key, name.as_bytes()))
            .unwrap();
        key.public()
            .verify(b"another", &sign(&key, name.as_bytes()))
            .unwrap_err();
        for other in same {
            let other = from_pem(&file(other)).unwrap();
            assert_eq!(other.public(), key.public());
            key.public().verify(b"m", &sign(&other, b"m")).unwrap();
        }
        if name.ends_with("pkcs8") {
            assert_eq!(from_der(&der(&file(name))).unwrap().public(), key.public());
        }
    }
    let windows = file("p256-pkcs8").replace('\n', "\r\n");
    from_pem(&windows).unwrap();
}

#[test]
fn foreign_encrypted_and_weak_keys_are_refused_by_category() {
    use KeyImportError as Error;
    for (name, why) in [
        ("p256-encrypted", Error::Encrypted),
        ("p256-sec1-encrypted", Error::Encrypted),
        ("rsa2048-pkcs1-encrypted", Error::Encrypted),
        ("p384-pkcs8", Error::UnsupportedKey),
        ("p384-sec1", Error::UnsupportedKey),
        ("secp256k1-pkcs8", Error::UnsupportedKey),
        ("p256-explicit-curve", Error::UnsupportedKey),
        ("ed448-pkcs8", Error::UnsupportedKey),
        ("x25519-pkcs8", Error::UnsupportedKey),
        ("rsa2048-pss-only", Error::UnsupportedKey),
        ("rsa2048-three-primes", Error::UnsupportedKey),
        ("rsa1024-pkcs1", Error::RsaSize),
        ("rsa1024-pkcs8", Error::RsaSize),
        ("p256-public", Error::NotPrivate),
    ] {
        match from_pem(&file(name)) {
            Err(error) => assert_eq!(error, why, "{name}"),
            Ok(key) => panic!("{name} was taken in: {key:?}"),
        }
    }
    refused(from_der(&der(&file("p256-encrypted"))), Error::Encrypted);
}

#[test]
fn one_block_and_nothing_else() {
    use KeyImportError as Error;
    let key = file("p256-pkcs8");
    refused(from_pem(&format!("{key}{key}")), Error::TrailingData);
    refused(from_pem(&format!("{key}more")), Error::TrailingData);
    refused(from_pem(&format!("Bag Attributes\n{key}")), Error::UnknownFormat);
    refused(from_pem(""), Error::UnknownFormat);
    refused(
        from_pem(&key.replace("PRIVATE KEY", "OPENSSH PRIVATE KEY")),
        Error::UnknownFormat,
    );
    refused(
        from_pem(&key.replace("END PRIVATE", "END EC PRIVATE")),
        Error::Malformed,
    );
    refused(from_pem(&key[..key.len() / 2]), Error::Malformed);
    refused(from_pem(&key.replacen('M', "*", 1)), Error::Malformed);
    refused(from_pem(&" ".repeat(16 * 1024 + 1)), Error::TooLarge);
    refused(from_der(&[0x30; 16 * 1024 + 1]), Error::TooLarge);
    let material = KeyMaterial::new([0xff; 64]);
    refused(LocalKey::from_pem(&material, Backend::AwsLc), Error::UnknownFormat);
    // A label that promises another structure.
    refused(from_pem(&to_pem("EC PRIVATE KEY", &der(&key))), Error::Malformed);
    refused(
        from_pem(&to_pem("PRIVATE KEY", &der(&file("p256-sec1")))),
        Error::Malformed,
    );
}

#[test]
fn der_that_is_cut_or_continued_is_refused() {
    for (label, name) in [
        ("PRIVATE KEY", "p256-pkcs8"),
        ("EC PRIVATE KEY", "p256-sec1"),
        ("PRIVATE KEY", "ed25519-pkcs8"),
        ("RSA PRIVATE KEY", "rsa2048-pkcs1"),
    ] {
        let whole = der(&file(name));
        for length in 0..whole.len() {
            assert!(
                from_pem(&to_pem(label, &whole[..length])).is_err(),
                "{name} cut to {length}"
            );
        }
        let longer = [whole.as_slice(), &[0]].concat();
        refused(from_pem(&to_pem(label, &longer)), KeyImportError::TrailingData);
    }
}

#[test]
fn der_whose_halves_differ_is_refused() {
    let sec1 = der(&file("p256-sec1"));
    let own = from_pem(&file("p256-sec1")).unwrap();
    let other = from_pem(&file("p256-sec1-with-parameters")).unwrap();
    let point = |key: &LocalKey| {
        let jwk: Value = serde_json::from_str(&key.public().to_json()).unwrap();
        let part = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
        [part("x"), part("y")].concat()
    };
    let at = position(&sec1, &point(&own));
    let mut mixed = sec1.clone();
    mixed[at..at + 64].copy_from_slice(&point(&other));
    refused(from_pem(&to_pem("EC PRIVATE KEY", &mixed)), KeyImportError::Mismatch);
    let mut off_curve = sec1;
    off_curve[at + 63] ^= 1;
    refused(
        from_pem(&to_pem("EC PRIVATE KEY", &off_curve)),
        KeyImportError::InvalidPublicKey,
    );

    let rsa = der(&file("rsa2048-pkcs1"));
    let jwk: Value = serde_json::from_str(&from_pem(&file("rsa2048-pkcs1")).unwrap().public().to_json()).unwrap();
    let modulus = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().unwrap()).unwrap();
    let mut mixed = rsa;
    let at = position(&mixed, &modulus);
    mixed[at + 100] ^= 1;
    refused(from_pem(&to_pem("RSA PRIVATE KEY", &mixed)), KeyImportError::Mismatch);
}

#[test]
fn pkcs8_of_version_two_has_to_have_the_right_public_half() {
    let coordinate = |key: &LocalKey, name: &str| {
        let jwk: Value = serde_json::from_str(&key.public().to_json()).unwrap();
        URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap()
    };
    for (name, other) in [
        ("ed25519-pkcs8", None),
        ("p256-pkcs8", Some("p256-sec1-with-parameters")),
    ] {
        let one = der(&file(name));
        let key = from_pem(&file(name)).unwrap();
        let point = |key: &LocalKey| match other {
            None => coordinate(key, "x"),
            Some(_) => [vec![4], coordinate(key, "x"), coordinate(key, "y")].concat(),
        };
        // RFC 5958: version 1 instead of 0, and at the end the public key as an implicit [1] BIT STRING.
        let with_public = |point: &[u8]| {
            let content = match one[1] {
                0x81 => &one[3..],
                _ => &one[2..],
            };
            let added = [&[0x81, u8::try_from(point.len() + 1).unwrap(), 0], point].concat();
            let length = u8::try_from(content.len() + added.len()).unwrap();
            let header: &[u8] = if length < 0x80 {
                &[0x30, length]
            } else {
                &[0x30, 0x81, length]
            };
            let mut two = [header, content, &added].concat();
            two[header.len() + 2] = 1;
            two
        };
        assert_eq!(from_der(&with_public(&point(&key))).unwrap().public(), key.public());
        let foreign = match other {
            None => LocalKey::generate(Algorithm::Ed25519, Backend::AwsLc).unwrap(),
            Some(other) => from_pem(&file(other)).unwrap(),
        };
        refused(from_der(&with_public(&point(&foreign))), KeyImportError::Mismatch);
        refused(
            from_der(&with_public(&point(&foreign)[1..])),
            match other {
                None => KeyImportError::InvalidPublicKey,
                Some(_) => KeyImportError::Mismatch,
            },
        );
    }
}

#[test]
fn jwks_of_the_vectors_are_taken_in_with_their_thumbprints() {
    let vectors = vectors();
    for name in [
        "rfc7515_a3_p256",
        "rfc7515_a2_rsa2048",
        "rfc8037_a1_ed25519",
        "test_p256_b",
        "test_rsa2048_e3",
        "test_p256_x_leading_zero",
    ] {
        let key = from_jwk(&jwk(name)).unwrap();
        let thumbprint = &vectors["keys"][name]["thumbprint_sha256"];
        assert_eq!(
            key.public().thumbprint().to_string(),
            thumbprint.as_str().unwrap(),
            "{name}"
        );
        key.public().verify(b"m", &sign(&key, b"m")).unwrap();
    }
    refused(from_jwk(&jwk("test_p384")), KeyImportError::UnsupportedKey);
    refused(from_jwk(&jwk("test_secp256k1")), KeyImportError::UnsupportedKey);
    refused(from_jwk(&jwk("test_rsa1024")), KeyImportError::RsaSize);
}

#[test]
fn an_imported_ed25519_key_reproduces_rfc_8037_a_4() {
    let vectors = vectors();
    let jws = vectors["jws"]
        .as_array()
        .unwrap()
        .iter()
        .find(|case| case["id"] == "JWS-02")
        .unwrap()["input"]["jws"]
        .as_str()
        .unwrap()
        .to_owned();
    let (signed, signature) = jws.rsplit_once('.').unwrap();
    let key = from_jwk(&jwk("rfc8037_a1_ed25519")).unwrap();
    assert_eq!(URL_SAFE_NO_PAD.encode(sign(&key, signed.as_bytes())), signature);
}

#[test]
fn degenerate_and_mixed_jwks_are_refused() {
    use KeyImportError as Error;
    let (a, b) = (jwk("rfc7515_a3_p256"), jwk("test_p256_b"));
    let zero = URL_SAFE_NO_PAD.encode([0; 32]);
    let order = "_____wAAAAD__________7zm-q2nF56E87nKwvxjJVE";
    refused(from_jwk(&with(a.clone(), "d", zero.as_str())), Error::Degenerate);
    refused(from_jwk(&with(a.clone(), "d", order)), Error::Degenerate);
    refused(from_jwk(&with(a.clone(), "d", b["d"].clone())), Error::Mismatch);
    refused(from_jwk(&with(a.clone(), "y", b["y"].clone())), Error::InvalidPublicKey);
    refused(
        from_jwk(&with(a.clone(), "d", &a["d"].as_str().unwrap()[..42])),
        Error::Malformed,
    );
    refused(
        from_jwk(&with(a.clone(), "d", format!("{}=", a["d"].as_str().unwrap()))),
        Error::Malformed,
    );
    refused(from_jwk(&with(a.clone(), "d", 7)), Error::Malformed);
    refused(from_jwk(&with(a.clone(), "kty", "oct")), Error::UnsupportedKey);
    let mut public = a;
    public.as_object_mut().unwrap().remove("d");
    refused(from_jwk(&public), Error::NotPrivate);

    let ed = jwk("rfc8037_a1_ed25519");
    let small_order = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    refused(from_jwk(&with(ed.clone(), "x", small_order)), Error::InvalidPublicKey);
    let foreign = "0_9tCFPWhThfjVTG2-QbvCpF2gqMp7Ya8NBbmmt_6_8";
    assert!(from_jwk(&with(ed.clone(), "x", foreign)).is_err());
    refused(from_jwk(&with(ed.clone(), "d", ed["x"].clone())), Error::Mismatch);
    refused(from_jwk(&with(ed, "crv", "X25519")), Error::UnsupportedKey);
}

#[test]
fn degenerate_and_mixed_rsa_jwks_are_refused() {
    use KeyImportError as Error;
    let (rsa, other) = (jwk("rfc7515_a2_rsa2048"), jwk("test_rsa2048_e3"));
    refused(from_jwk(&with(rsa.clone(), "n", other["n"].clone())), Error::Mismatch);
    refused(from_jwk(&with(rsa.clone(), "d", other["d"].clone())), Error::Mismatch);
    refused(from_jwk(&with(rsa.clone(), "dp", rsa["dq"].clone())), Error::Mismatch);
    refused(from_jwk(&with(rsa.clone(), "qi", rsa["dq"].clone())), Error::Mismatch);
    refused(from_jwk(&with(rsa.clone(), "d", "AA")), Error::Degenerate);
    refused(from_jwk(&with(rsa.clone(), "d", rsa["n"].clone())), Error::Degenerate);
    refused(from_jwk(&with(rsa.clone(), "p", "AQ")), Error::Degenerate);
    refused(from_jwk(&with(rsa.clone(), "e", "AQ")), Error::InvalidPublicKey);
    refused(from_jwk(&with(rsa.clone(), "e", "AQAA")), Error::InvalidPublicKey);
    let padded = format!("AA{}", rsa["n"].as_str().unwrap());
    assert!(from_jwk(&with(rsa.clone(), "n", padded)).is_err());
    let huge = URL_SAFE_NO_PAD.encode([0xff; 1025]);
    refused(from_jwk(&with(rsa.clone(), "n", huge)), Error::RsaSize);
    refused(from_jwk(&with(rsa.clone(), "oth", json!([]))), Error::UnsupportedKey);
    let mut some = rsa.clone();
    some.as_object_mut().unwrap().remove("qi");
    refused(from_jwk(&some), Error::Malformed);

    // All congruences hold, but one factor is no prime: only its signature shows it.
    let path = format!(
        "{}/tests/data/keys/rsa2048-composite-factor.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let composite: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    refused(from_jwk(&composite), Error::Degenerate);

    // Without any of the factors they are found again, and only from a `d` that has them.
    let bare = |jwk: &Value| json!({"kty": "RSA", "n": jwk["n"], "e": jwk["e"], "d": jwk["d"]});
    let key = from_jwk(&bare(&rsa)).unwrap();
    assert_eq!(key.public(), from_jwk(&rsa).unwrap().public());
    for d in ["AA", "AQ", "Ag", "AQAB"] {
        assert!(from_jwk(&with(bare(&rsa), "d", d)).is_err(), "{d}");
    }
    refused(from_jwk(&with(bare(&rsa), "d", other["d"].clone())), Error::Degenerate);
}

#[test]
fn a_jwk_that_is_marked_for_something_else_is_left_to_that() {
    let key = jwk("rfc7515_a3_p256");
    for (name, value) in [
        ("alg", json!("ES256")),
        ("use", json!("sig")),
        ("key_ops", json!(["sign", "verify"])),
        ("kid", json!("any")),
    ] {
        from_jwk(&with(key.clone(), name, value)).unwrap();
    }
    for (name, value) in [
        ("alg", json!("ES384")),
        ("alg", json!("none")),
        ("alg", json!(1)),
        ("use", json!("enc")),
        ("key_ops", json!(["verify"])),
        ("key_ops", json!("sign")),
    ] {
        refused(
            from_jwk(&with(key.clone(), name, value)),
            KeyImportError::UnsupportedKey,
        );
    }
    refused(
        from_jwk(&with(jwk("rfc7515_a2_rsa2048"), "alg", "RS256")),
        KeyImportError::UnsupportedKey,
    );
    let twice = key.to_string().replacen('{', "{\"d\":\"AA\",", 1);
    refused(
        LocalKey::from_jwk(&KeyMaterial::new(twice), Backend::AwsLc),
        KeyImportError::Malformed,
    );
}

#[test]
fn the_two_backends_verify_each_other() {
    let pem = file("p256-pkcs8");
    let key = |backend| LocalKey::from_pem(&KeyMaterial::new(pem.as_str()), backend).unwrap();
    let (aws, soft) = (key(Backend::AwsLc), key(Backend::P256));
    assert_eq!(aws.public(), soft.public());
    for message in [&b""[..], b"m", &[7; 10_000]] {
        soft.public().verify(message, &sign(&aws, message)).unwrap();
        aws.public().verify(message, &sign(&soft, message)).unwrap();
    }
    // RFC 6979: the same message, the same signature.
    assert_eq!(sign(&soft, b"m"), sign(&soft, b"m"));
    for (made, other) in [(Backend::AwsLc, Backend::P256), (Backend::P256, Backend::AwsLc)] {
        let made = LocalKey::generate(Algorithm::Es256, made).unwrap();
        let public = made.public().clone();
        let pem = made.export_pkcs8_pem().unwrap();
        let read = LocalKey::from_pem(&pem, other).unwrap();
        assert_eq!(*read.public(), public);
        public.verify(b"m", &sign(&read, b"m")).unwrap();
    }
}

#[test]
fn what_a_backend_cannot_do_it_says() {
    for algorithm in [Algorithm::Ed25519, Algorithm::Ps256] {
        let error = LocalKey::generate(algorithm, Backend::P256).unwrap_err();
        assert!(
            matches!(error, KeyError::Unsupported { algorithm: named, hint } if named == algorithm && hint.contains("AwsLc")),
            "{error}"
        );
    }
    for name in ["ed25519-pkcs8", "rsa2048-pkcs8"] {
        let error = LocalKey::from_pem(&KeyMaterial::new(file(name)), Backend::P256).unwrap_err();
        assert!(matches!(error, KeyImportError::FeatureNeeded { .. }), "{error}");
    }
}

#[test]
fn made_keys_go_out_and_come_back() {
    for algorithm in [Algorithm::Es256, Algorithm::Ed25519, Algorithm::Ps256] {
        let key = LocalKey::generate(algorithm, Backend::AwsLc).unwrap();
        assert_eq!(key.algorithm(), algorithm);
        let public: PublicJwk = key.public().clone();
        public.verify(b"m", &sign(&key, b"m")).unwrap();
        let pem = key.export_pkcs8_pem().unwrap();
        assert!(pem.expose().starts_with(b"-----BEGIN PRIVATE KEY-----\n"));
        let again = LocalKey::from_pem(&pem, Backend::AwsLc).unwrap();
        assert_eq!(*again.public(), public);
        public.verify(b"m", &sign(&again, b"m")).unwrap();
    }
}

#[test]
fn debug_shows_nothing_of_the_private_half() {
    for name in ["rfc7515_a3_p256", "rfc7515_a2_rsa2048", "rfc8037_a1_ed25519"] {
        let jwk = jwk(name);
        let key = from_jwk(&jwk).unwrap();
        let shown = format!("{key:?} {key:#?} {:?}", KeyMaterial::new(jwk.to_string()));
        let private = URL_SAFE_NO_PAD.decode(jwk["d"].as_str().unwrap()).unwrap();
        let hex: String = private[..4].iter().map(|octet| format!("{octet:02x}")).collect();
        let list = format!("{}, {}", private[0], private[1]);
        for trace in [&jwk["d"].as_str().unwrap()[..8], &hex, &list] {
            assert!(!shown.contains(trace), "{shown}");
        }
        assert!(shown.contains("redacted"));
    }
}

#[test]
fn an_rsa_key_can_be_made_to_sign_rs256() {
    let key = from_pem(&file("rsa2048-pkcs8")).unwrap();
    let ps256 = key.public().clone();
    let key = key.into_rs256().unwrap();
    assert_eq!(key.algorithm(), Algorithm::Rs256);
    assert_eq!(format!("{key:?}"), "LocalKey(RS256, redacted)");
    // One key: one JWK and one thumbprint, yet two public halves that verify different signatures.
    let public = key.public().clone();
    assert_eq!(public.to_json(), ps256.to_json());
    assert_eq!(public.thumbprint(), ps256.thumbprint());
    assert_ne!(public, ps256);
    let signature = sign(&key, b"m");
    assert_eq!(signature, sign(&key, b"m"), "no salt");
    public.verify(b"m", &signature).unwrap();
    assert!(public.verify(b"n", &signature).is_err());
    assert!(ps256.verify(b"m", &signature).is_err());
    // Written out it is an RSA key like any other.
    let pem = key.export_pkcs8_pem().unwrap();
    let again = LocalKey::from_pem(&pem, Backend::AwsLc).unwrap();
    assert_eq!(*again.public(), ps256);
}

#[test]
fn keys_of_other_types_do_not_sign_rs256_and_none_is_made_for_it() {
    let unsupported = |error: KeyError, what: &str| {
        assert!(
            matches!(error, KeyError::Unsupported { algorithm: Algorithm::Rs256, hint } if hint.contains(what)),
            "{error}"
        );
    };
    for (algorithm, backend) in [
        (Algorithm::Es256, Backend::AwsLc),
        (Algorithm::Es256, Backend::P256),
        (Algorithm::Ed25519, Backend::AwsLc),
    ] {
        let key = LocalKey::generate(algorithm, backend).unwrap();
        unsupported(key.into_rs256().unwrap_err(), "RSA");
    }
    for backend in [Backend::AwsLc, Backend::P256] {
        let refused = LocalKey::generate(Algorithm::Rs256, backend).unwrap_err();
        unsupported(refused, "into_rs256");
    }
}

#[test]
fn a_jwk_hands_its_kid_on() {
    let key = jwk("rfc8037_a1_ed25519");
    assert_eq!(
        from_jwk(&with(key.clone(), "kid", "2026-11")).unwrap().kid(),
        Some("2026-11")
    );
    let mut nameless = key.clone();
    nameless.as_object_mut().unwrap().remove("kid");
    assert_eq!(from_jwk(&nameless).unwrap().kid(), None);
    refused(from_jwk(&with(key, "kid", 7)), KeyImportError::Malformed);
    let rsa = with(jwk("rfc7515_a2_rsa2048"), "kid", "r");
    assert_eq!(from_jwk(&rsa).unwrap().into_rs256().unwrap().kid(), Some("r"));
    assert_eq!(from_pem(&file("p256-pkcs8")).unwrap().kid(), None);
}
