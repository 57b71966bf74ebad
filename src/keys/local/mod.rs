//! Private keys in this process.
//!
//! A [`LocalKey`] is made ([`LocalKey::generate`]) or read ([`LocalKey::from_pem`], [`LocalKey::from_pkcs8_der`],
//! [`LocalKey::from_jwk`]), perhaps written out once ([`LocalKey::export_pkcs8_pem`]), and then given to a store. What a
//! store has does not come out again:
//!
//! ```compile_fail,E0599
//! fn export(key: shipbound::keys::KeyHandle) {
//!     let _ = key.export_pkcs8_pem();
//! }
//! ```
//!
//! Nor is it copied or shown on the way there:
//!
//! ```compile_fail,E0599
//! fn copy(key: shipbound::keys::LocalKey) {
//!     let _ = key.clone();
//! }
//! ```
//!
//! Our own buffers are wiped. What the operating system wrote to a swap file or a core dump is not: switch both off.

#[cfg(feature = "aws-lc-rs")]
mod aws_lc;
mod import;
mod jwk;
mod p256;
#[cfg(feature = "rsa")]
mod rsa;

use std::fmt;

use ::p256::pkcs8::der::pem;
use zeroize::Zeroizing;

use self::p256::P256Key;
use super::{KeyError, KeyImportError, Signature, Signer, Signing};
use crate::jose::{Algorithm, PublicJwk};
use crate::secret::KeyMaterial;

/// What does the private-key arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Backend {
    /// aws-lc-rs: all algorithms.
    #[cfg(feature = "aws-lc-rs")]
    AwsLc,
    /// The p256 crate: ES256 alone, with deterministic signatures (RFC 6979) and without a C compiler.
    P256,
}

#[cfg(feature = "aws-lc-rs")]
const DEFAULT: Backend = Backend::AwsLc;
#[cfg(not(feature = "aws-lc-rs"))]
const DEFAULT: Backend = Backend::P256;

impl Default for Backend {
    /// `AwsLc` where the feature `aws-lc-rs` is on, else `P256`.
    fn default() -> Self {
        DEFAULT
    }
}

/// The size of an RSA key that is made here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RsaSize {
    /// 2048 bits.
    #[default]
    Bits2048,
    /// 3072 bits.
    Bits3072,
    /// 4096 bits.
    Bits4096,
}

/// A private key on its way into a store. It signs, too.
///
/// Shows nothing of itself in `Debug`, cannot be cloned or serialized, and is wiped when it goes.
pub struct LocalKey {
    public: PublicJwk,
    kid: Option<Box<str>>,
    private: Private,
}

enum Private {
    P256(Box<P256Key>),
    #[cfg(feature = "aws-lc-rs")]
    Es256(aws_lc::Es256Key),
    #[cfg(feature = "aws-lc-rs")]
    Ed25519(aws_lc::Ed25519Key),
    #[cfg(feature = "rsa")]
    Rsa(Box<rsa::RsaKey>),
}

impl LocalKey {
    /// Makes a key. RSA keys get 2048 bits and take a while: keep them off async threads.
    ///
    /// # Errors
    /// [`KeyError::Unsupported`] if `backend` or this build has no such algorithm, and for RS256, to which
    /// [`LocalKey::into_rs256`] leads; [`KeyError::Randomness`], [`KeyError::OperationFailed`].
    pub fn generate(algorithm: Algorithm, backend: Backend) -> Result<Self, KeyError> {
        match (algorithm, backend) {
            (Algorithm::Es256, Backend::P256) => Self::of_p256(P256Key::generate()?),
            #[cfg(feature = "aws-lc-rs")]
            (Algorithm::Es256, Backend::AwsLc) => Self::of_es256(aws_lc::Es256Key::generate()?),
            #[cfg(feature = "aws-lc-rs")]
            (Algorithm::Ed25519, Backend::AwsLc) => Self::of_ed25519(aws_lc::Ed25519Key::generate()?),
            #[cfg(feature = "rsa")]
            (Algorithm::Ps256, Backend::AwsLc) => Self::generate_rsa(RsaSize::default()),
            (algorithm, _) => Err(unsupported(algorithm)),
        }
    }

    /// Makes a key, and an RSA key on a blocking thread: the search for primes takes up to seconds.
    pub(crate) async fn generate_aside(algorithm: Algorithm, backend: Backend) -> Result<Self, KeyError> {
        if algorithm != Algorithm::Ps256 {
            return Self::generate(algorithm, backend);
        }
        tokio::task::spawn_blocking(move || Self::generate(algorithm, backend))
            .await
            .map_err(|_| KeyError::OperationFailed)?
    }

    /// Makes an RSA key for PS256, by aws-lc-rs. Takes from a tenth of a second to some seconds: keep it off async threads.
    ///
    /// # Errors
    /// [`KeyError::Unsupported`] without the feature `rsa`, [`KeyError::OperationFailed`].
    pub fn generate_rsa(size: RsaSize) -> Result<Self, KeyError> {
        #[cfg(feature = "rsa")]
        {
            Self::of_rsa(rsa::RsaKey::generate(size)?)
        }
        #[cfg(not(feature = "rsa"))]
        {
            let _unused = size;
            Err(unsupported(Algorithm::Ps256))
        }
    }

    /// Reads one unencrypted private key in PEM (RFC 7468): PKCS#8 (`PRIVATE KEY`), SEC 1 (`EC PRIVATE KEY`, a block of
    /// `EC PARAMETERS` before it is skipped) or PKCS#1 (`RSA PRIVATE KEY`).
    ///
    /// # Errors
    /// [`KeyImportError`] says why the key was refused.
    pub fn from_pem(pem: &KeyMaterial, backend: Backend) -> Result<Self, KeyImportError> {
        Self::from_halves(import::pem(pem.expose())?, backend)
    }

    /// Reads one unencrypted private key in the DER form of PKCS#8 (RFC 5958).
    ///
    /// # Errors
    /// [`KeyImportError`] says why the key was refused.
    pub fn from_pkcs8_der(der: &KeyMaterial, backend: Backend) -> Result<Self, KeyImportError> {
        Self::from_halves(import::pkcs8(der.expose())?, backend)
    }

    /// Reads a private JWK (RFC 7518 6.2.2, 6.3.2; RFC 8037 2). `alg`, `use` and `key_ops` must allow signing with the one
    /// algorithm that the key's type has here.
    ///
    /// # Errors
    /// [`KeyImportError`] says why the key was refused.
    pub fn from_jwk(jwk: &KeyMaterial, backend: Backend) -> Result<Self, KeyImportError> {
        let (halves, kid) = jwk::read(jwk.expose())?;
        Ok(Self {
            kid,
            ..Self::from_halves(halves, backend)?
        })
    }

    /// This RSA key, signing RS256 in the place of PS256: for issuers that take nothing better in client assertions. Such a
    /// key signs nothing else; [`KeyHandle::check`](super::KeyHandle::check) refuses it for every other purpose.
    ///
    /// [`LocalKey::export_pkcs8_pem`] does not write down that the key was made for RS256.
    ///
    /// # Errors
    /// [`KeyError::Unsupported`] when it is no RSA key.
    ///
    /// ```no_run
    /// use shipbound::keys::{Backend, LocalKey};
    /// use shipbound::secret::KeyMaterial;
    ///
    /// # fn read(pem: String) -> Result<LocalKey, shipbound::keys::KeyError> {
    /// let key = LocalKey::from_pem(&KeyMaterial::new(pem), Backend::default())?.into_rs256()?;
    /// # Ok(key)
    /// # }
    /// ```
    pub fn into_rs256(self) -> Result<Self, KeyError> {
        let public = self.public.into_rs256().ok_or(KeyError::Unsupported {
            algorithm: Algorithm::Rs256,
            hint: "an RSA key signs it (feature rsa), and no other",
        })?;
        Ok(Self { public, ..self })
    }

    /// The `kid` of the JWK that the key was read from (RFC 7517 4.5): what an issuer may know it by, see
    /// [`Credential::key_id`](crate::credentials::Credential::key_id).
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The public half.
    pub fn public(&self) -> &PublicJwk {
        &self.public
    }

    /// The algorithm that the key signs with.
    pub fn algorithm(&self) -> Algorithm {
        self.public.algorithm()
    }

    /// Writes the key out as unencrypted PKCS#8 in PEM, for a backup or another system, and gives it up here.
    ///
    /// # Errors
    /// [`KeyError::OperationFailed`].
    pub fn export_pkcs8_pem(self) -> Result<KeyMaterial, KeyError> {
        pem::encode_string("PRIVATE KEY", pem::LineEnding::LF, &self.to_pkcs8()?)
            .map(KeyMaterial::new)
            .map_err(|_| KeyError::OperationFailed)
    }

    /// The key as PKCS#8 in DER, to be sealed.
    pub(crate) fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        match &self.private {
            Private::P256(key) => key.to_pkcs8(),
            #[cfg(feature = "aws-lc-rs")]
            Private::Es256(key) => key.to_pkcs8(),
            #[cfg(feature = "aws-lc-rs")]
            Private::Ed25519(key) => key.to_pkcs8(),
            #[cfg(feature = "rsa")]
            Private::Rsa(key) => key.to_pkcs8(),
        }
    }

    fn from_halves(halves: Halves, backend: Backend) -> Result<Self, KeyImportError> {
        let key = match halves {
            Halves::P256 { scalar, point } => Self::p256_from(&scalar, point.as_deref(), backend),
            Halves::Ed25519 { seed, point } => Self::ed25519_from(&seed, point.as_deref(), backend),
            #[cfg(feature = "rsa")]
            Halves::Rsa(numbers) => match backend {
                Backend::AwsLc => Self::of_rsa(rsa::RsaKey::new(&numbers)?).map_err(as_import_error),
                Backend::P256 => Err(KeyImportError::FeatureNeeded { feature: "rsa" }),
            },
        }?;
        // Whatever the encodings said: a key whose own signature does not verify is not let in.
        let probe = b"one signature before a key is trusted";
        let signed = key.sign_now(probe).map_err(|_| KeyImportError::Degenerate)?;
        match key.public.verify(probe, signed.as_bytes()) {
            Ok(()) => Ok(key),
            Err(_) => Err(KeyImportError::Mismatch),
        }
    }

    fn p256_from(scalar: &[u8], point: Option<&[u8]>, backend: Backend) -> Result<Self, KeyImportError> {
        let scalar: &[u8; 32] = scalar.try_into().map_err(|_| KeyImportError::Malformed)?;
        let secret = ::p256::SecretKey::from_slice(scalar).map_err(|_| KeyImportError::Degenerate)?;
        if let Some(point) = point {
            let given = ::p256::PublicKey::from_sec1_bytes(point).map_err(|_| KeyImportError::InvalidPublicKey)?;
            if given != secret.public_key() {
                return Err(KeyImportError::Mismatch);
            }
        }
        let key = P256Key::new(secret);
        match backend {
            Backend::P256 => Self::of_p256(key),
            #[cfg(feature = "aws-lc-rs")]
            Backend::AwsLc => Self::of_es256(aws_lc::Es256Key::new(scalar, &key.point())?),
        }
        .map_err(as_import_error)
    }

    #[cfg(feature = "aws-lc-rs")]
    fn ed25519_from(seed: &[u8], point: Option<&[u8]>, backend: Backend) -> Result<Self, KeyImportError> {
        if backend != Backend::AwsLc {
            return Err(KeyImportError::FeatureNeeded { feature: "aws-lc-rs" });
        }
        if let Some(point) = point {
            let point = point.try_into().map_err(|_| KeyImportError::InvalidPublicKey)?;
            PublicJwk::ed25519(point).map_err(|_| KeyImportError::InvalidPublicKey)?;
        }
        let key = aws_lc::Ed25519Key::new(seed.try_into().map_err(|_| KeyImportError::Malformed)?)?;
        if point.is_some_and(|point| point != key.point()) {
            return Err(KeyImportError::Mismatch);
        }
        Self::of_ed25519(key).map_err(as_import_error)
    }

    #[cfg(not(feature = "aws-lc-rs"))]
    fn ed25519_from(_seed: &[u8], _point: Option<&[u8]>, _backend: Backend) -> Result<Self, KeyImportError> {
        Err(KeyImportError::FeatureNeeded { feature: "aws-lc-rs" })
    }

    fn of_p256(key: P256Key) -> Result<Self, KeyError> {
        Ok(Self {
            public: p256_public(&key.point())?,
            kid: None,
            private: Private::P256(Box::new(key)),
        })
    }

    #[cfg(feature = "aws-lc-rs")]
    fn of_es256(key: aws_lc::Es256Key) -> Result<Self, KeyError> {
        Ok(Self {
            public: p256_public(key.point())?,
            kid: None,
            private: Private::Es256(key),
        })
    }

    #[cfg(feature = "aws-lc-rs")]
    fn of_ed25519(key: aws_lc::Ed25519Key) -> Result<Self, KeyError> {
        let point = key.point().try_into().map_err(|_| KeyError::OperationFailed)?;
        Ok(Self {
            public: PublicJwk::ed25519(point).map_err(|_| KeyError::OperationFailed)?,
            kid: None,
            private: Private::Ed25519(key),
        })
    }

    #[cfg(feature = "rsa")]
    fn of_rsa(key: rsa::RsaKey) -> Result<Self, KeyError> {
        Ok(Self {
            public: key.public()?,
            kid: None,
            private: Private::Rsa(Box::new(key)),
        })
    }

    fn sign_now(&self, message: &[u8]) -> Result<Signature, KeyError> {
        match &self.private {
            Private::P256(key) => key.sign(message),
            #[cfg(feature = "aws-lc-rs")]
            Private::Es256(key) => key.sign(message),
            #[cfg(feature = "aws-lc-rs")]
            Private::Ed25519(key) => key.sign(message),
            #[cfg(feature = "rsa")]
            Private::Rsa(key) => key.sign(self.algorithm(), message),
        }
    }
}

impl Signer for LocalKey {
    fn sign<'a>(&'a self, message: &'a [u8]) -> Signing<'a> {
        Signing::Now(self.sign_now(message))
    }
}

impl fmt::Debug for LocalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalKey({}, redacted)", self.algorithm().name())
    }
}

/// What an encoding holds, before anything is checked that concerns the key itself. Private octets stay on the heap, where
/// moving them leaves no copies behind.
enum Halves {
    P256 {
        scalar: Zeroizing<Vec<u8>>,
        point: Option<Vec<u8>>,
    },
    Ed25519 {
        seed: Zeroizing<Vec<u8>>,
        point: Option<Vec<u8>>,
    },
    #[cfg(feature = "rsa")]
    Rsa(Box<rsa::Numbers>),
}

fn p256_public(point: &[u8]) -> Result<PublicJwk, KeyError> {
    let [4, coordinates @ ..] = point else {
        return Err(KeyError::OperationFailed);
    };
    let (x, y) = coordinates.split_at_checked(32).ok_or(KeyError::OperationFailed)?;
    match (x.try_into(), y.try_into()) {
        (Ok(x), Ok(y)) => PublicJwk::p256(x, y).map_err(|_| KeyError::OperationFailed),
        _ => Err(KeyError::OperationFailed),
    }
}

fn as_import_error(error: KeyError) -> KeyImportError {
    match error {
        KeyError::Invalid(cause) => cause,
        _ => KeyImportError::Degenerate,
    }
}

fn unsupported(algorithm: Algorithm) -> KeyError {
    let hint = match algorithm {
        Algorithm::Rs256 => "make or read an RSA key and call LocalKey::into_rs256",
        Algorithm::Ps256 if !cfg!(feature = "rsa") => "enable the feature rsa",
        _ if !cfg!(feature = "aws-lc-rs") => "enable the feature aws-lc-rs",
        _ => "Backend::P256 signs ES256 alone; use Backend::AwsLc",
    };
    KeyError::Unsupported { algorithm, hint }
}
