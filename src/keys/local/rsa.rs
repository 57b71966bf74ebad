//! PS256, and RS256 where it must be. aws-lc-rs makes the keys and signs, in constant time; the rsa crate (RUSTSEC-2023-0071) only reads and checks
//! numbers.

use ::rsa::pkcs1::der::Decode;
use ::rsa::traits::PrivateKeyParts;
use ::rsa::{BigUint, RsaPrivateKey, pkcs1};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeyPairComponents, KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256};
use zeroize::Zeroizing;

use super::RsaSize;
use crate::jose::{Algorithm, PublicJwk};
use crate::keys::{KeyError, KeyImportError, Signature};

type Number = Zeroizing<Vec<u8>>;

/// The numbers of an RSA key, big-endian.
pub(super) struct Numbers {
    pub(super) n: Number,
    pub(super) e: Number,
    pub(super) d: Number,
    pub(super) factors: Option<Factors>,
}

pub(super) struct Factors {
    pub(super) p: Number,
    pub(super) q: Number,
    pub(super) dp: Number,
    pub(super) dq: Number,
    pub(super) qi: Number,
}

impl Numbers {
    /// Reads an `RSAPrivateKey` (RFC 8017 A.1.2) with two primes.
    pub(super) fn from_pkcs1(octets: &[u8]) -> Result<Self, KeyImportError> {
        let key = pkcs1::RsaPrivateKey::from_der(octets).map_err(|error| match error.kind() {
            pkcs1::der::ErrorKind::TrailingData { .. } => KeyImportError::TrailingData,
            _ => KeyImportError::Malformed,
        })?;
        if key.other_prime_infos.is_some() {
            return Err(KeyImportError::UnsupportedKey);
        }
        let number = |value: pkcs1::UintRef<'_>| Zeroizing::new(value.as_bytes().to_vec());
        Ok(Self {
            n: number(key.modulus),
            e: number(key.public_exponent),
            d: number(key.private_exponent),
            factors: Some(Factors {
                p: number(key.prime1),
                q: number(key.prime2),
                dp: number(key.exponent1),
                dq: number(key.exponent2),
                qi: number(key.coefficient),
            }),
        })
    }

    /// What the rsa crate finds right; fills in the factors where they were not given.
    fn check(&self) -> Result<Factors, KeyImportError> {
        let bits = self.n.len().saturating_mul(8) - self.n.first().map_or(0, |first| first.leading_zeros() as usize);
        if !(2048..=8192).contains(&bits) {
            return Err(KeyImportError::RsaSize);
        }
        PublicJwk::rsa(&self.n, &self.e).map_err(|_| KeyImportError::InvalidPublicKey)?;
        let read = |number: &Number| BigUint::from_bytes_be(number);
        let (n, d) = (read(&self.n), read(&self.d));
        // Also what keeps the search for the factors from going below zero.
        if d < BigUint::from(2_u8) || d >= n {
            return Err(KeyImportError::Degenerate);
        }
        let primes = match &self.factors {
            Some(factors) => {
                let primes = vec![read(&factors.p), read(&factors.q)];
                if primes.iter().any(|prime| *prime < BigUint::from(3_u8) || *prime >= n) {
                    return Err(KeyImportError::Degenerate);
                }
                primes
            }
            None => Vec::new(),
        };
        let key = RsaPrivateKey::from_components(n, read(&self.e), d, primes).map_err(|error| match error {
            ::rsa::Error::InvalidModulus | ::rsa::Error::InvalidExponent => KeyImportError::Mismatch,
            _ => KeyImportError::Degenerate,
        })?;
        let written = |number: &BigUint| Zeroizing::new(number.to_bytes_be());
        if let Some(given) = &self.factors {
            let copy = |number: &Number| Zeroizing::new(number.to_vec());
            return Ok(Factors {
                p: copy(&given.p),
                q: copy(&given.q),
                dp: copy(&given.dp),
                dq: copy(&given.dq),
                qi: copy(&given.qi),
            });
        }
        match (key.primes(), key.dp(), key.dq(), key.crt_coefficient()) {
            ([p, q], Some(dp), Some(dq), Some(qi)) => Ok(Factors {
                p: written(p),
                q: written(q),
                dp: written(dp),
                dq: written(dq),
                qi: written(&qi),
            }),
            _ => Err(KeyImportError::Degenerate),
        }
    }
}

pub(super) struct RsaKey(KeyPair);

impl RsaKey {
    pub(super) fn generate(size: RsaSize) -> Result<Self, KeyError> {
        let size = match size {
            RsaSize::Bits2048 => KeySize::Rsa2048,
            RsaSize::Bits3072 => KeySize::Rsa3072,
            RsaSize::Bits4096 => KeySize::Rsa4096,
        };
        KeyPair::generate(size).map(Self).map_err(|_| KeyError::OperationFailed)
    }

    pub(super) fn new(numbers: &Numbers) -> Result<Self, KeyImportError> {
        let factors = numbers.check()?;
        KeyPair::from_components(&KeyPairComponents {
            public_key: PublicKeyComponents {
                n: numbers.n.as_slice(),
                e: numbers.e.as_slice(),
            },
            d: numbers.d.as_slice(),
            p: factors.p.as_slice(),
            q: factors.q.as_slice(),
            dP: factors.dp.as_slice(),
            dQ: factors.dq.as_slice(),
            qInv: factors.qi.as_slice(),
        })
        .map(Self)
        .map_err(|_| KeyImportError::Mismatch)
    }

    pub(super) fn public(&self) -> Result<PublicJwk, KeyError> {
        let public =
            pkcs1::RsaPublicKey::from_der(self.0.public_key().as_ref()).map_err(|_| KeyError::OperationFailed)?;
        PublicJwk::rsa(public.modulus.as_bytes(), public.public_exponent.as_bytes())
            .map_err(|_| KeyError::OperationFailed)
    }

    pub(super) fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Result<Signature, KeyError> {
        let encoding = match algorithm {
            Algorithm::Ps256 => &RSA_PSS_SHA256,
            Algorithm::Rs256 => &RSA_PKCS1_SHA256,
            Algorithm::Es256 | Algorithm::Ed25519 => return Err(KeyError::OperationFailed),
        };
        let mut octets = vec![0; self.0.public_modulus_len()];
        self.0
            .sign(encoding, &SystemRandom::new(), message, &mut octets)
            .map_err(|_| KeyError::SignerFailed)?;
        Ok(Signature::from(octets))
    }

    pub(super) fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let document: Pkcs8V1Der<'_> = self.0.as_der().map_err(|_| KeyError::OperationFailed)?;
        Ok(Zeroizing::new(document.as_ref().to_vec()))
    }
}
