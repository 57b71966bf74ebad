//! Keys of connections on a token.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use cryptoki::object::ObjectHandle;
use futures_util::FutureExt;

use super::failure::{Fault, Pkcs11Failure};
use super::objects::{self, Name};
use super::sessions::{At, Sessions};
use crate::clock::{Clock, Timestamp};
use crate::crypto;
use crate::jose::{Algorithm, PublicJwk};
use crate::keys::{
    KeyError, KeyHolder, KeyId, KeyRecord, KeySpec, Material, Signature, Signer, Signing, StoredKey, key_digest,
    key_name,
};
use crate::owner::Owner;
use crate::secret::TokenPin;

/// How many sessions a token has if nothing else is said.
const SESSIONS: usize = 4;

/// How long one call may take if nothing else is said.
const LIMIT: Duration = Duration::from_secs(10);

/// By what a token is known among those of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenName {
    /// Its label. Two tokens with this label are refused.
    Label(String),
    /// Its serial number.
    Serial(String),
}

/// A token of a PKCS#11 module: keys that it has made sign, and never leave it.
///
/// See the [module](super) for roles, limits and what it costs. Cheap to clone; clones share sessions. All calls must be made
/// inside a Tokio runtime.
#[derive(Clone)]
pub struct Pkcs11Token(Arc<Sessions>);

impl Pkcs11Token {
    /// The token of this name behind the module (a shared library) at this path, whose user logs in with `pin`.
    ///
    /// ```no_run
    /// use std::sync::Arc;
    ///
    /// use shipbound::clock::SystemClock;
    /// use shipbound::secret::TokenPin;
    /// use shipbound::store::pkcs11::{Pkcs11Token, TokenName};
    ///
    /// # fn make(pin: TokenPin) -> Pkcs11Token {
    /// Pkcs11Token::builder("/usr/lib/softhsm/libsofthsm2.so", TokenName::Label("shipbound".into()), pin)
    ///     .sessions(8)
    ///     .build(Arc::new(SystemClock::new()))
    /// # }
    /// ```
    pub fn builder(module: impl Into<PathBuf>, token: TokenName, pin: impl Into<TokenPin>) -> Pkcs11TokenBuilder {
        Pkcs11TokenBuilder {
            module: module.into(),
            token,
            pin: pin.into(),
            sessions: SESSIONS,
            limit: LIMIT,
        }
    }

    /// Logs in with this PIN from now on. Sessions that are open stay so.
    pub fn set_pin(&self, pin: impl Into<TokenPin>) {
        self.0.set_pin(pin.into());
    }

    /// Why the newest call failed; `None` when it did not, or when the token answered and the answer was about a key.
    pub fn failure(&self) -> Option<Pkcs11Failure> {
        self.0.failure()
    }

    #[cfg(feature = "sealed")]
    pub(super) fn sessions(&self) -> &Arc<Sessions> {
        &self.0
    }
}

impl fmt::Debug for Pkcs11Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pkcs11Token").field(&self.0).finish()
    }
}

/// Makes a [`Pkcs11Token`].
#[must_use]
pub struct Pkcs11TokenBuilder {
    module: PathBuf,
    token: TokenName,
    pin: TokenPin,
    sessions: usize,
    limit: Duration,
}

impl Pkcs11TokenBuilder {
    /// How many sessions there are at most, and so how many calls at a time; others wait for their turn. Default: 4, at least 1.
    pub fn sessions(mut self, most: usize) -> Self {
        self.sessions = most;
        self
    }

    /// How long a call may take, the wait for its turn included. Default: 10 s.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The token. Neither the module nor the token is touched before the first call.
    pub fn build(self, clock: Arc<dyn Clock>) -> Pkcs11Token {
        let sessions = Sessions::new(self.module, self.token, self.pin, self.sessions, self.limit, clock);
        Pkcs11Token(Arc::new(sessions))
    }
}

impl fmt::Debug for Pkcs11TokenBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pkcs11TokenBuilder")
            .field("module", &self.module)
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl KeyHolder for Pkcs11Token {
    async fn make(&self, owner: &Owner, id: KeyId, spec: KeySpec, now: Timestamp) -> Result<StoredKey, KeyError> {
        let algorithm = spec.algorithm;
        if !matches!(algorithm, Algorithm::Es256 | Algorithm::Ps256) {
            return Err(unsupported(algorithm));
        }
        let name = key_digest(owner, spec.purpose, id);
        // For people. Nothing is found by it.
        let label = format!("shipbound {} {id}", spec.purpose);
        let generate = move |at: &At<'_>| {
            if at.again {
                // What the first try left behind.
                objects::destroy(at.session, &name)?;
            }
            objects::generate(at.session, &name, &label, algorithm)
        };
        let unwanted = move |at: &At<'_>| {
            let _stays_without_a_record = objects::destroy(at.session, &name);
        };
        let public = match self.0.run(generate, unwanted).await {
            Err(Fault::Failed(Pkcs11Failure::Unsupported)) => return Err(unsupported(algorithm)),
            made => made?,
        };
        Ok(StoredKey {
            record: KeyRecord::pending(owner.clone(), id, spec.purpose, public, now),
            material: Some(Material::new(&key_name(owner, spec.purpose, id))),
        })
    }

    async fn signer(&self, stored: &StoredKey) -> Result<Arc<dyn Signer>, KeyError> {
        let record = &stored.record;
        let material = stored.material.as_ref().ok_or(KeyError::Missing)?;
        let name = key_name(&record.owner, record.purpose, record.id);
        if material.as_str() != name {
            return Err(KeyError::Mismatch);
        }
        let signer = TokenSigner {
            sessions: Arc::clone(&self.0),
            name: key_digest(&record.owner, record.purpose, record.id),
            public: record.public.clone(),
            found: Arc::default(),
        };
        signer.find().await?;
        Ok(Arc::new(signer))
    }

    async fn destroy(&self, record: &KeyRecord) -> Result<(), KeyError> {
        let name = key_digest(&record.owner, record.purpose, record.id);
        let destroy = move |at: &At<'_>| objects::destroy(at.session, &name);
        Ok(self.0.run(destroy, |_| {}).await?)
    }
}

/// One key, found and compared with its record once in each generation of sessions.
struct TokenSigner {
    sessions: Arc<Sessions>,
    name: Name,
    public: PublicJwk,
    found: Arc<Mutex<Option<(u64, ObjectHandle)>>>,
}

impl TokenSigner {
    async fn find(&self) -> Result<(), Fault> {
        let look = self.look();
        self.sessions.run(move |at| look(at).map(|_handle| ()), |_| {}).await
    }

    /// Where the private half is. Its handle may belong to another object by the time that it is used, so signatures are
    /// verified before they are released, by whoever has the key's handle.
    fn look(&self) -> impl Fn(&At<'_>) -> Result<ObjectHandle, Fault> + Send + 'static {
        let (name, public, found) = (self.name, self.public.clone(), Arc::clone(&self.found));
        move |at| {
            let lock = || found.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((generation, handle)) = *lock()
                && generation == at.generation
            {
                return Ok(handle);
            }
            let (handle, half) = objects::look_up(at.session, &name, public.algorithm())?;
            if half != public {
                return Err(Fault::Mismatch);
            }
            *lock() = Some((at.generation, handle));
            Ok(handle)
        }
    }

    async fn sign_digest(&self, digest: [u8; 32]) -> Result<Signature, KeyError> {
        let (look, algorithm) = (self.look(), self.public.algorithm());
        let sign = move |at: &At<'_>| objects::sign(at.session, look(at)?, algorithm, &digest);
        Ok(self.sessions.run(sign, |_| {}).await?)
    }
}

impl Signer for TokenSigner {
    fn sign<'a>(&'a self, message: &'a [u8]) -> Signing<'a> {
        Signing::Later(self.sign_digest(crypto::sha256(message)).boxed())
    }
}

impl fmt::Debug for TokenSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenSigner({})", self.public.thumbprint())
    }
}

fn unsupported(algorithm: Algorithm) -> KeyError {
    KeyError::Unsupported {
        algorithm,
        hint: "keys on tokens sign ES256 or PS256, where the token can",
    }
}
