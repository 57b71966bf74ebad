//! Public keys and compact JWS.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use shipbound::jose::{Algorithm, PublicJwk, Thumbprint, verify_compact};

use crate::cut;

/// Whatever is read as a key has one form, one thumbprint, no private part, and no signature of zeros.
pub(crate) fn jwk(data: &[u8]) {
    let Ok(key) = PublicJwk::from_json(data) else { return };
    let json = key.to_json();
    assert_eq!(PublicJwk::from_json(json.as_bytes()).as_ref(), Ok(&key));
    let shown = key.thumbprint().to_string();
    assert_eq!(shown.len(), 43);
    assert_eq!(Thumbprint::from_base64url(&shown), Some(key.thumbprint()));

    // Another parser, which is not strict, finds the same members.
    let given: serde_json::Value = serde_json::from_slice(data).expect("JSON to others as well");
    let canonical: serde_json::Value = serde_json::from_str(&json).unwrap();
    for (name, value) in canonical.as_object().unwrap() {
        assert_eq!(given.get(name), Some(value), "{name}");
    }
    for private in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
        assert!(given.get(private).is_none(), "{private}");
    }

    let length = match key.algorithm() {
        Algorithm::Ps256 => URL_SAFE_NO_PAD.decode(canonical["n"].as_str().unwrap()).unwrap().len(),
        _ => 64,
    };
    for length in [length, 0, 1, length - 1, length + 1] {
        assert!(key.verify(b"message", &vec![0; length]).is_err());
    }
}

/// A key in the first line, a JWS in what follows. What verifies has three segments, each in its one encoding.
pub(crate) fn jws(data: &[u8]) {
    let (key, jws) = cut(data, b"\n");
    let (Ok(key), Ok(jws)) = (PublicJwk::from_json(key), std::str::from_utf8(jws)) else {
        return;
    };
    let Ok(payload) = verify_compact(jws, &key) else { return };
    let segments: Vec<Vec<u8>> = jws
        .split('.')
        .map(|segment| URL_SAFE_NO_PAD.decode(segment).expect("canonical base64url"))
        .collect();
    let [header, second, signature] = segments.as_slice() else {
        panic!("{} segments", segments.len());
    };
    assert_eq!(*second, payload);
    let header: serde_json::Value = serde_json::from_slice(header).expect("JSON to others as well");
    let name = header["alg"].as_str().unwrap();
    assert_eq!(Algorithm::from_jws_name(name), Some(key.algorithm()));
    let (signed, _) = jws.rsplit_once('.').unwrap();
    assert_eq!(key.verify(signed.as_bytes(), signature), Ok(()));
}
