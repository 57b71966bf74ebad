//! Private keys that are taken in.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use shipbound::jose::Algorithm;
use shipbound::keys::{Backend, KeyImportError, LocalKey};
use shipbound::secret::KeyMaterial;

type Imported = Result<LocalKey, KeyImportError>;

pub(crate) fn pem(data: &[u8]) {
    both(|backend| LocalKey::from_pem(&KeyMaterial::new(data), backend));
}

pub(crate) fn jwk(data: &[u8]) {
    both(|backend| LocalKey::from_jwk(&KeyMaterial::new(data), backend));
}

/// The labels that a PEM block may have; the first octet of an input chooses.
pub(crate) const LABELS: [&str; 3] = ["PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"];

pub(crate) fn der(data: &[u8]) {
    let Some((label, der)) = data.split_first() else { return };
    let label = LABELS[usize::from(*label) % LABELS.len()];
    let mut pem = format!("-----BEGIN {label}-----\n");
    for line in STANDARD.encode(der).as_bytes().chunks(64) {
        pem.push_str(std::str::from_utf8(line).unwrap());
        pem.push('\n');
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    let wrapped = both(|backend| LocalKey::from_pem(&KeyMaterial::new(pem.as_str()), backend));
    if label == LABELS[0] {
        let bare = both(|backend| LocalKey::from_pkcs8_der(&KeyMaterial::new(der), backend));
        assert_eq!(wrapped.is_some(), bare.is_some());
    }
}

/// Both backends take the same P-256 keys in. What was taken in goes out and comes back as the same key.
fn both(import: impl Fn(Backend) -> Imported) -> Option<LocalKey> {
    let (one, other) = (import(Backend::AwsLc), import(Backend::P256));
    match (&one, &other) {
        (Ok(one), Ok(other)) => assert_eq!(one.public(), other.public()),
        (Err(one), Err(other)) => {
            let missing = matches!(other, KeyImportError::FeatureNeeded { .. });
            assert!(one == other || missing, "{one} or {other}");
        }
        (Ok(one), Err(KeyImportError::FeatureNeeded { .. })) => assert_ne!(one.algorithm(), Algorithm::Es256),
        (one, other) => panic!("{one:?} or {other:?}"),
    }
    let key = one.ok()?;
    let public = key.public().clone();
    let written = key.export_pkcs8_pem().expect("a key that was taken in can be written");
    let again = LocalKey::from_pem(&written, Backend::AwsLc).expect("a key that was written can be read");
    assert_eq!(*again.public(), public);
    Some(again)
}
