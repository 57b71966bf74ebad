//! Client certificates with the keys that prove them (RFC 8705): who a TLS connection speaks for.

mod certificate;
mod error;
mod pem;
#[cfg(feature = "pkcs12")]
mod pkcs12;
mod stored;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
#[cfg(feature = "reqwest")]
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use x509_cert::der::asn1::AnyRef;
use x509_cert::der::{self, Decode, SliceReader, Tag, Tagged};

pub use self::error::IdentityError;

use crate::clock::Timestamp;
use crate::jose::Thumbprint;
use crate::keys::KeyHandle;
use crate::owner::Owner;
use crate::secret::KeyMaterial;
#[cfg(feature = "pkcs12")]
use crate::secret::Passphrase;

use self::certificate::{Facts, PublicKey};

/// The most certificates in a chain: TLS sends all of them with each full handshake.
const MAX_CERTIFICATES: usize = 10;

/// The most octets of a chain in DER.
const MAX_CHAIN: usize = 64 * 1024;

/// The most octets of a PEM text, a key or a PKCS#12 file.
const MAX_INPUT: usize = 128 * 1024;

/// A client certificate, its chain, and the key that proves it in TLS handshakes. Cheap to clone; clones are one identity.
///
/// Connections and resumption tickets belong to one identity: a [`Transport`](super::Transport) never lets a request of
/// another one, or of none, ride on them.
///
/// A chain has at most 10 certificates and 64 KiB in DER. What is refused when an identity is made: RSA keys outside 2048 to
/// 8192 bits, curves other than P-256, P-384 and P-521, signatures with SHA-1 or MD5 by another's key, and an extended key
/// usage without `clientAuth`. Whether it is valid now is for [`ClientIdentity::check_valid`]; who issued it, for the server.
///
/// Our own copies of private keys are wiped; those that TLS signs with are wiped by AWS-LC.
///
/// ```no_run
/// use shipbound::secret::KeyMaterial;
/// use shipbound::transport::identity::ClientIdentity;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let key = KeyMaterial::new(std::fs::read("client.key")?);
/// let identity = ClientIdentity::from_pem(&std::fs::read("client.pem")?, &key)?;
/// println!("{} until {}", identity.x5t(), identity.not_after());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ClientIdentity(Arc<Inner>);

struct Inner {
    number: u64,
    facts: Facts,
    /// Where the key is one of a store.
    handle: Option<KeyHandle>,
    retired: AtomicBool,
    #[cfg(feature = "reqwest")]
    watchers: Mutex<Vec<Weak<dyn Retirement>>>,
    certified: Arc<CertifiedKey>,
}

impl ClientIdentity {
    /// The identity of these certificates in PEM, the client's own first and those of its authorities after it, and of this
    /// unencrypted private key in PEM (PKCS#8, SEC 1 or PKCS#1; RSA, P-256, P-384, P-521 or Ed25519).
    ///
    /// Text around PEM blocks, blocks of other kinds and either form of line ends are passed over (RFC 7468 2), so that both
    /// may be one file. Two private keys are an error, since it cannot be told which one is meant.
    ///
    /// # Errors
    /// [`IdentityError`] says what does not fit.
    pub fn from_pem(certificates: &[u8], key: &KeyMaterial) -> Result<Self, IdentityError> {
        let chain = pem::certificates(certificates)?;
        let chain = Chain::new(chain)?;
        Self::from_material(chain, &pem::private_key(key.expose())?)
    }

    /// The identity of these certificates in DER, the client's own first and those of its authorities after it, and of this
    /// unencrypted private key in DER (PKCS#8, SEC 1 or PKCS#1; RSA, P-256, P-384, P-521 or Ed25519).
    ///
    /// # Errors
    /// [`IdentityError`] says what does not fit.
    pub fn from_der<C: AsRef<[u8]>>(
        chain: impl IntoIterator<Item = C>,
        key: &KeyMaterial,
    ) -> Result<Self, IdentityError> {
        let chain = Chain::from_octets(chain)?;
        if key.expose().len() > MAX_INPUT {
            return Err(IdentityError::TooLarge);
        }
        Self::from_material(chain, key.expose())
    }

    /// The identity in a PKCS#12 file (RFC 7292): one private key, its certificate and those of its authorities.
    ///
    /// Read are files encrypted with AES (PBES2, as OpenSSL 3 writes them) and with 3DES and RC2 with 40 bits (as older
    /// software does), with a check value of SHA-1 or SHA-256 or none. The key must have a local key id, as all common
    /// software writes one. Deriving the keys takes milliseconds to seconds of the calling thread, as many as the file says.
    /// Copies of the private key that `p12-keystore` makes are not wiped.
    ///
    /// Only for files of people you trust: `p12-keystore` never comes to an end with one in which authorities certify each other
    /// in a circle.
    ///
    /// # Errors
    /// [`IdentityError`] says what does not fit.
    #[cfg(feature = "pkcs12")]
    pub fn from_pkcs12(file: &KeyMaterial, password: &Passphrase) -> Result<Self, IdentityError> {
        let (chain, key) = pkcs12::read(file.expose(), password.expose())?;
        Self::from_material(Chain::new(chain)?, &key)
    }

    /// The identity of these certificates in DER, the client's own first, and of this key of a
    /// [`KeyStore`](crate::keys::KeyStore), which must have [`Purpose::Tls`](crate::keys::Purpose::Tls) and sign at once: TLS
    /// handshakes do not wait. It signs one message to show that.
    ///
    /// ES256, Ed25519 and PS256 keys sign with `ecdsa_secp256r1_sha256`, `ed25519` and `rsa_pss_rsae_sha256` (RFC 8446
    /// 4.2.3) and nothing else. To a server that offers none of that, as TLS 1.2 servers without RSASSA-PSS or Ed25519 do,
    /// no certificate is shown. Once the key is [closed](KeyHandle::close), no handshake is made with it, not even a resumed
    /// one.
    ///
    /// # Errors
    /// [`IdentityError`] says what does not fit.
    pub fn from_key<C: AsRef<[u8]>>(
        key: &KeyHandle,
        chain: impl IntoIterator<Item = C>,
    ) -> Result<Self, IdentityError> {
        let Chain {
            certificates,
            facts,
            public,
        } = Chain::from_octets(chain)?;
        let signing = stored::signing_key(key, public)?;
        Ok(Self::assemble(certificates, facts, signing, Some(key.clone())))
    }

    fn from_material(chain: Chain, key: &[u8]) -> Result<Self, IdentityError> {
        let Chain {
            certificates,
            facts,
            public,
        } = chain;
        let key = PrivateKeyDer::try_from(key).map_err(|_| unreadable(key))?;
        let signing =
            rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).map_err(|_| IdentityError::KeyMalformed)?;
        let own = signing.public_key().ok_or(IdentityError::KeyMalformed)?;
        if *own != *public.spki {
            return Err(IdentityError::Mismatch);
        }
        drop(own);
        Ok(Self::assemble(certificates, facts, signing, None))
    }

    fn assemble(
        certificates: Vec<CertificateDer<'static>>,
        facts: Facts,
        signing: Arc<dyn SigningKey>,
        handle: Option<KeyHandle>,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(Arc::new(Inner {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            facts,
            handle,
            retired: AtomicBool::new(false),
            #[cfg(feature = "reqwest")]
            watchers: Mutex::default(),
            certified: Arc::new(CertifiedKey::new(certificates, signing)),
        }))
    }

    /// The certificate's SHA-256 thumbprint, `x5t#S256` (RFC 8705 3.1): what tokens are bound to.
    pub fn x5t(&self) -> Thumbprint {
        self.0.facts.x5t
    }

    /// From when on the certificate is valid.
    pub fn not_before(&self) -> Timestamp {
        self.0.facts.not_before
    }

    /// Until when the certificate is valid.
    pub fn not_after(&self) -> Timestamp {
        self.0.facts.not_after
    }

    /// Whether the certificate is valid at this time.
    ///
    /// # Errors
    /// [`IdentityError::NotYetValid`], [`IdentityError::Expired`].
    pub fn check_valid(&self, now: Timestamp) -> Result<(), IdentityError> {
        let facts = &self.0.facts;
        if now < facts.not_before {
            return Err(IdentityError::NotYetValid {
                not_before: facts.not_before,
            });
        }
        if now > facts.not_after {
            return Err(IdentityError::Expired {
                not_after: facts.not_after,
            });
        }
        Ok(())
    }

    /// Another certificate has taken this one's place: tokens that are bound to it are not used any more, and its
    /// connections are closed once they are idle. Requests on their way finish.
    pub fn retire(&self) {
        self.0.retired.store(true, Ordering::Release);
        #[cfg(feature = "reqwest")]
        self.tell_watchers();
    }

    /// Whether [`ClientIdentity::retire`] was called.
    pub fn is_retired(&self) -> bool {
        self.0.retired.load(Ordering::Acquire)
    }

    /// Whether it may still be used for new requests: not retired, and its key signs.
    pub fn is_usable(&self) -> bool {
        !self.is_retired() && self.has_open_key()
    }

    /// Whether both show the same chain, to the octet, with a key of the same owner.
    pub(crate) fn shows_the_same_as(&self, other: &Self) -> bool {
        self.0.certified.cert == other.0.certified.cert && self.owner() == other.owner()
    }

    /// Whose key it is, where it is one of a key store.
    pub(crate) fn owner(&self) -> Option<&Owner> {
        self.0.handle.as_ref().map(KeyHandle::owner)
    }

    /// Which identity of this process it is: what a [`Transport`](super::Transport) tells pools and resumption tickets apart
    /// by. Clones have one number; the same certificate read twice has two. No number is given twice while the process runs.
    pub fn number(&self) -> u64 {
        self.0.number
    }

    /// Chain and key as `rustls` 0.23 takes them, for a [`Transport`](super::Transport) of your own that makes its handshakes
    /// with it. This ties you to that version of `rustls`, as this crate is.
    ///
    /// The private key cannot be read from it. A key of a store that is [closed](KeyHandle::close) makes no signatures
    /// any more, here as elsewhere; tickets go on without a signature, so they are for the transport to drop.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use rustls::sign::SingleCertAndKey;
    /// use shipbound::transport::identity::ClientIdentity;
    ///
    /// // One configuration for each `identity.number()`: tickets are kept in it.
    /// fn configured(without: &rustls::ClientConfig, identity: &ClientIdentity) -> rustls::ClientConfig {
    ///     let mut config = without.clone();
    ///     config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(identity.certified_key()));
    ///     // The clone would share its tickets.
    ///     config.resumption = rustls::client::Resumption::in_memory_sessions(32);
    ///     config
    /// }
    /// ```
    pub fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.certified)
    }

    /// Tells `watcher` when the certificate is retired, or at once if it is already.
    #[cfg(feature = "reqwest")]
    pub(crate) fn on_retirement(&self, watcher: Weak<dyn Retirement>) {
        let mut watchers = self.watchers();
        watchers.retain(|known| known.strong_count() > 0 && !Weak::ptr_eq(known, &watcher));
        watchers.push(watcher);
        drop(watchers);
        if self.is_retired() {
            self.tell_watchers();
        }
    }

    #[cfg(feature = "reqwest")]
    fn tell_watchers(&self) {
        let watchers = std::mem::take(&mut *self.watchers());
        for watcher in watchers.iter().filter_map(Weak::upgrade) {
            watcher.retired(self.0.number);
        }
    }

    #[cfg(feature = "reqwest")]
    fn watchers(&self) -> MutexGuard<'_, Vec<Weak<dyn Retirement>>> {
        self.0.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether its key makes signatures. Only keys of a store ever stop.
    pub(crate) fn has_open_key(&self) -> bool {
        self.0.handle.as_ref().is_none_or(KeyHandle::is_usable)
    }
}

/// Certificates that were looked at, the client's own first.
struct Chain {
    certificates: Vec<CertificateDer<'static>>,
    facts: Facts,
    public: PublicKey,
}

impl Chain {
    fn new(certificates: Vec<CertificateDer<'static>>) -> Result<Self, IdentityError> {
        let octets: usize = certificates.iter().map(|certificate| certificate.len()).sum();
        if certificates.len() > MAX_CERTIFICATES || octets > MAX_CHAIN {
            return Err(IdentityError::TooLarge);
        }
        let (own, authorities) = certificates.split_first().ok_or(IdentityError::NoCertificate)?;
        let (facts, public) = Facts::of(own, authorities)?;
        Ok(Self {
            certificates,
            facts,
            public,
        })
    }

    fn from_octets<C: AsRef<[u8]>>(chain: impl IntoIterator<Item = C>) -> Result<Self, IdentityError> {
        let mut certificates = Vec::new();
        for certificate in chain.into_iter().take(MAX_CERTIFICATES + 1) {
            certificates.push(CertificateDer::from(certificate.as_ref().to_vec()));
        }
        Self::new(certificates)
    }
}

/// Why a key in DER is not read: an `EncryptedPrivateKeyInfo` starts with a SEQUENCE, where a private key has its version.
fn unreadable(key: &[u8]) -> IdentityError {
    let encrypted = || -> der::Result<bool> {
        let outer = AnyRef::from_der(key)?;
        let first = AnyRef::decode(&mut SliceReader::new(outer.value())?)?;
        Ok(first.tag() == Tag::Sequence)
    };
    match encrypted() {
        Ok(true) => IdentityError::KeyEncrypted,
        _ => IdentityError::KeyMalformed,
    }
}

/// Whoever keeps connections of an identity.
#[cfg(feature = "reqwest")]
pub(crate) trait Retirement: Send + Sync {
    /// The identity with this number is retired.
    fn retired(&self, number: u64);
}

/// The certificates of a PEM text in DER, in their order: a chain for [`ClientIdentity::from_key`].
///
/// # Errors
/// [`IdentityError::NoCertificate`], [`IdentityError::Malformed`], [`IdentityError::TooLarge`].
pub fn chain_from_pem(text: &[u8]) -> Result<Vec<Vec<u8>>, IdentityError> {
    let chain = pem::certificates(text)?;
    if chain.is_empty() {
        return Err(IdentityError::NoCertificate);
    }
    Ok(chain.into_iter().map(|certificate| certificate.to_vec()).collect())
}

impl PartialEq for ClientIdentity {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for ClientIdentity {}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientIdentity")
            .field("x5t", &self.0.facts.x5t)
            .field("not_after", &self.0.facts.not_after)
            .field("retired", &self.is_retired())
            .finish_non_exhaustive()
    }
}
