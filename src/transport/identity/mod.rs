//! Client certificates with the keys that prove them (RFC 8705): who a TLS connection speaks for.

mod certificate;
mod error;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
#[cfg(feature = "reqwest")]
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

pub use self::error::IdentityError;

use crate::clock::Timestamp;
use crate::jose::Thumbprint;
use crate::secret::KeyMaterial;

use self::certificate::Facts;

/// A client certificate, its chain, and the key that proves it in TLS handshakes. Cheap to clone; clones are one identity.
///
/// Connections and resumption tickets belong to one identity: a [`Transport`](super::Transport) never lets a request of
/// another one, or of none, ride on them.
#[derive(Clone)]
pub struct ClientIdentity(Arc<Inner>);

struct Inner {
    number: u64,
    facts: Facts,
    retired: AtomicBool,
    #[cfg(feature = "reqwest")]
    watchers: Mutex<Vec<Weak<dyn Retirement>>>,
    certified: Arc<CertifiedKey>,
}

impl ClientIdentity {
    /// The identity of these certificates in PEM, the client's own first and those of its authorities after it, and of this
    /// unencrypted private key in PEM (PKCS#8, SEC 1 or PKCS#1).
    ///
    /// # Errors
    /// [`IdentityError`] says what does not fit.
    pub fn from_pem(certificates: &[u8], key: &KeyMaterial) -> Result<Self, IdentityError> {
        let chain = CertificateDer::pem_slice_iter(certificates)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| IdentityError::Malformed)?;
        let key = PrivateKeyDer::from_pem_slice(key.expose()).map_err(|_| IdentityError::KeyMalformed)?;
        Self::assemble(chain, &key)
    }

    fn assemble(chain: Vec<CertificateDer<'static>>, key: &PrivateKeyDer<'_>) -> Result<Self, IdentityError> {
        let own = chain.first().ok_or(IdentityError::NoCertificate)?;
        let facts = Facts::of(own)?;
        let signing =
            rustls::crypto::aws_lc_rs::sign::any_supported_type(key).map_err(|_| IdentityError::KeyMalformed)?;
        let certified = CertifiedKey::new(chain, signing);
        certified.keys_match().map_err(|_| IdentityError::Mismatch)?;
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Ok(Self(Arc::new(Inner {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            facts,
            retired: AtomicBool::new(false),
            #[cfg(feature = "reqwest")]
            watchers: Mutex::default(),
            certified: Arc::new(certified),
        })))
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

    /// Whether it may still be used for new requests.
    pub(crate) fn is_usable(&self) -> bool {
        !self.is_retired()
    }

    /// Which identity of this process it is: what pools are told apart by.
    #[cfg(feature = "reqwest")]
    pub(crate) fn number(&self) -> u64 {
        self.0.number
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

    /// Whether its key makes signatures.
    pub(crate) fn has_open_key(&self) -> bool {
        true
    }

    #[cfg(feature = "reqwest")]
    pub(crate) fn certified(&self) -> &Arc<CertifiedKey> {
        &self.0.certified
    }
}

/// Whoever keeps connections of an identity.
#[cfg(feature = "reqwest")]
pub(crate) trait Retirement: Send + Sync {
    /// The identity with this number is retired.
    fn retired(&self, number: u64);
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
