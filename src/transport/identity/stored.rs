//! Keys of a key store, as rustls takes them.

use std::sync::Arc;

use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::sign::{Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};

use super::IdentityError;
use super::certificate::PublicKey;
use crate::jose::Algorithm;
use crate::keys::{KeyHandle, Purpose, Signing};

/// What the key signs to show that it signs at once. No handshake's transcript starts like this.
const PROBE: &[u8] = b"shipbound: does this key sign at once";

/// `key` for handshakes that show the certificate with this public key.
pub(super) fn signing_key(key: &KeyHandle, public: PublicKey) -> Result<Arc<dyn SigningKey>, IdentityError> {
    if key.purpose() != Purpose::Tls {
        return Err(IdentityError::KeyPurpose);
    }
    if public.jwk.as_ref() != Some(key.public()) {
        return Err(IdentityError::Mismatch);
    }
    match key.sign(PROBE) {
        Signing::Now(Ok(signature)) => key
            .public()
            .verify(PROBE, signature.as_bytes())
            .map_err(|_| IdentityError::Mismatch)?,
        Signing::Now(Err(_)) => return Err(IdentityError::KeyClosed),
        Signing::Later(_) => return Err(IdentityError::KeySignsLater),
    }
    Ok(Arc::new(StoredKey {
        handle: key.clone(),
        spki: public.spki.into(),
    }))
}

#[derive(Debug)]
struct StoredKey {
    handle: KeyHandle,
    spki: SubjectPublicKeyInfoDer<'static>,
}

impl SigningKey for StoredKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let scheme = match self.handle.algorithm() {
            Algorithm::Es256 => SignatureScheme::ECDSA_NISTP256_SHA256,
            Algorithm::Ed25519 => SignatureScheme::ED25519,
            Algorithm::Ps256 => SignatureScheme::RSA_PSS_SHA256,
        };
        offered.contains(&scheme).then(|| {
            let handle = self.handle.clone();
            Box::new(StoredSigner { handle, scheme }) as Box<dyn Signer>
        })
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(SubjectPublicKeyInfoDer::from(self.spki.as_ref()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.handle.algorithm() {
            Algorithm::Es256 => SignatureAlgorithm::ECDSA,
            Algorithm::Ed25519 => SignatureAlgorithm::ED25519,
            Algorithm::Ps256 => SignatureAlgorithm::RSA,
        }
    }
}

#[derive(Debug)]
struct StoredSigner {
    handle: KeyHandle,
    scheme: SignatureScheme,
}

impl Signer for StoredSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let failed = || rustls::Error::General("the key does not sign".to_owned());
        let Signing::Now(Ok(signature)) = self.handle.sign(message) else {
            return Err(failed());
        };
        match self.scheme {
            // JWS has R and S side by side, TLS has them in ASN.1 (RFC 7518 3.4, RFC 8446 4.2.3).
            SignatureScheme::ECDSA_NISTP256_SHA256 => p256::ecdsa::Signature::from_slice(signature.as_bytes())
                .map(|signature| signature.to_der().as_bytes().to_vec())
                .map_err(|_| failed()),
            _ => Ok(signature.as_bytes().to_vec()),
        }
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}
