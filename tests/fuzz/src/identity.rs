//! Client certificates that are taken in.

use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use shipbound::jose::Thumbprint;
use shipbound::secret::KeyMaterial;
use shipbound::transport::identity::{ClientIdentity, chain_from_pem};

use crate::cut;

/// What separates certificates and key in an input.
pub(crate) const BETWEEN: &[u8] = b"\n#\n";

/// Certificates and key in PEM.
pub(crate) fn pem(data: &[u8]) {
    let (certificates, key) = cut(data, BETWEEN);
    let read = ClientIdentity::from_pem(certificates, &KeyMaterial::new(key));
    let Ok(identity) = read else { return };
    if identity.not_before() <= identity.not_after() {
        assert_eq!(identity.check_valid(identity.not_before()), Ok(()));
    }
    let chain = chain_from_pem(certificates).expect("what was read has a chain");
    assert!(!chain.is_empty() && chain.len() <= 10);
}

/// One certificate in DER, for a key that is always the same.
pub(crate) fn der(data: &[u8]) {
    static KEY: OnceLock<Vec<u8>> = OnceLock::new();
    let key = KEY.get_or_init(|| {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/identities/p256.key");
        let text = std::fs::read_to_string(path).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('-'));
        STANDARD.decode(lines.collect::<String>()).unwrap()
    });
    if let Ok(identity) = ClientIdentity::from_der([data], &KeyMaterial::new(key.as_slice())) {
        assert_eq!(identity.x5t(), Thumbprint::of_certificate(data));
    }
}
