//! ES256 and Ed25519 by aws-lc-rs. Keys are parsed once; AWS-LC wipes its own copies.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use zeroize::Zeroizing;

use crate::keys::{KeyError, KeyImportError, Signature};

pub(super) struct Es256Key(EcdsaKeyPair);

impl Es256Key {
    pub(super) fn generate() -> Result<Self, KeyError> {
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .map(Self)
            .map_err(|_| KeyError::OperationFailed)
    }

    /// The key with this scalar, big-endian, and its uncompressed point.
    pub(super) fn new(scalar: &[u8; 32], point: &[u8]) -> Result<Self, KeyImportError> {
        EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P256_SHA256_FIXED_SIGNING, scalar, point)
            .map(Self)
            .map_err(|_| KeyImportError::Mismatch)
    }

    /// The uncompressed point of SEC 1 2.3.3.
    pub(super) fn point(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Signature, KeyError> {
        self.0
            .sign(&SystemRandom::new(), message)
            .map(|signature| Signature::from(signature.as_ref()))
            .map_err(|_| KeyError::SignerFailed)
    }

    pub(super) fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let document = self.0.to_pkcs8v1().map_err(|_| KeyError::OperationFailed)?;
        Ok(Zeroizing::new(document.as_ref().to_vec()))
    }
}

pub(super) struct Ed25519Key(Ed25519KeyPair);

impl Ed25519Key {
    pub(super) fn generate() -> Result<Self, KeyError> {
        Ed25519KeyPair::generate()
            .map(Self)
            .map_err(|_| KeyError::OperationFailed)
    }

    pub(super) fn new(seed: &[u8; 32]) -> Result<Self, KeyImportError> {
        Ed25519KeyPair::from_seed_unchecked(seed)
            .map(Self)
            .map_err(|_| KeyImportError::Degenerate)
    }

    pub(super) fn point(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Signature, KeyError> {
        self.0
            .try_sign(message)
            .map(|signature| Signature::from(signature.as_ref()))
            .map_err(|_| KeyError::SignerFailed)
    }

    pub(super) fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        // Version 1: OpenSSL does not read version 2.
        let document = self.0.to_pkcs8v1().map_err(|_| KeyError::OperationFailed)?;
        Ok(Zeroizing::new(document.as_ref().to_vec()))
    }
}
