//! ES256 by the p256 crate: where aws-lc-rs is off, or where deterministic signatures (RFC 6979) are wanted.

use ::p256::ecdsa::signature::Signer as _;
use ::p256::ecdsa::{self, SigningKey};
use ::p256::elliptic_curve::Generate;
use ::p256::pkcs8::EncodePrivateKey;
use zeroize::Zeroizing;

use crate::keys::{KeyError, Signature};

/// A private key that is wiped when it goes.
pub(super) struct P256Key(SigningKey);

impl P256Key {
    pub(super) fn generate() -> Result<Self, KeyError> {
        let secret = ::p256::SecretKey::try_generate().map_err(|_| KeyError::Randomness)?;
        Ok(Self(secret.into()))
    }

    pub(super) fn new(secret: ::p256::SecretKey) -> Self {
        Self(secret.into())
    }

    /// The uncompressed point of SEC 1 2.3.3.
    pub(super) fn point(&self) -> Vec<u8> {
        self.0.verifying_key().to_sec1_point(false).as_bytes().to_vec()
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Signature, KeyError> {
        let signature: ecdsa::Signature = self.0.try_sign(message).map_err(|_| KeyError::SignerFailed)?;
        Ok(Signature::from(<[u8; 64]>::from(signature.to_bytes())))
    }

    pub(super) fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let document = self.0.to_pkcs8_der().map_err(|_| KeyError::OperationFailed)?;
        Ok(document.to_bytes())
    }
}
