//! What signs: a key of one owner, as far as anybody outside its store gets to see it.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use futures_util::future::BoxFuture;

use super::gate::{Gate, KeyState};
use super::{KeyError, KeyId, Purpose, Retired, Signature};
use crate::clock::{Clock, Timestamp};
use crate::jose::{Algorithm, BadSignature, PublicJwk, Thumbprint};
use crate::owner::Owner;

/// A signature, at once or later.
#[must_use]
pub enum Signing<'a> {
    /// The private key is in this process: here is the result.
    Now(Result<Signature, KeyError>),
    /// The private key is elsewhere (HSM, Vault): the result when it has answered.
    Later(BoxFuture<'a, Result<Signature, KeyError>>),
}

impl Signing<'_> {
    /// The result, waited for where need be.
    ///
    /// # Errors
    /// What the key or its signer says.
    pub async fn wait(self) -> Result<Signature, KeyError> {
        match self {
            Self::Now(result) => result,
            Self::Later(result) => result.await,
        }
    }
}

impl fmt::Debug for Signing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now(result) => f.debug_tuple("Now").field(result).finish(),
            Self::Later(_) => f.write_str("Later"),
        }
    }
}

/// Signs with one private key, wherever that key is.
///
/// An implementation is pinned to one key: a signer whose key is replaced behind its back makes signatures that nobody can
/// verify. Its `Debug` shows nothing of the key.
pub trait Signer: fmt::Debug + Send + Sync {
    /// Signs `message` (the message itself, not its digest) in the form that [`Signature`] describes.
    fn sign<'a>(&'a self, message: &'a [u8]) -> Signing<'a>;
}

/// A key that can sign and be asked who it is, and that gives nothing else away.
///
/// Clones are cheap and share one gate: once [`KeyHandle::close`] has returned, no clone of the handle releases a signature,
/// not even one that was being made in the meantime. The public half is frozen in the handle, so that the header of a proof
/// and its signature cannot come from two keys while keys rotate.
#[derive(Clone)]
pub struct KeyHandle(Arc<Inner>);

struct Inner {
    id: KeyId,
    purpose: Purpose,
    gate: Gate,
    owner: Owner,
    public: PublicJwk,
    jkt: Thumbprint,
    signer: Arc<dyn Signer>,
    /// Set once, just before the gate steps to draining.
    drain: OnceLock<Box<Drain>>,
}

/// When a draining key stops, in microseconds. Both clocks count, so that a wall clock that is set back does not prolong a key's
/// life. Only ever later.
struct Drain {
    clock: Arc<dyn Clock>,
    wall: AtomicI64,
    monotonic: AtomicU64,
}

impl Drain {
    fn until(until: Timestamp, clock: &Arc<dyn Clock>) -> Self {
        let drain = Self {
            clock: Arc::clone(clock),
            wall: AtomicI64::new(i64::MIN),
            monotonic: AtomicU64::new(0),
        };
        drain.prolong(until);
        drain
    }

    fn prolong(&self, until: Timestamp) {
        let left = until.unix_micros().saturating_sub(self.clock.now().unix_micros());
        let monotonic = self.monotonic_now().saturating_add(u64::try_from(left).unwrap_or(0));
        // Who looks in between sees the earlier end of the two.
        self.monotonic.fetch_max(monotonic, Ordering::SeqCst);
        self.wall.fetch_max(until.unix_micros(), Ordering::SeqCst);
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_unix_micros(self.wall.load(Ordering::SeqCst))
    }

    fn is_over(&self) -> bool {
        self.clock.now() >= self.wall() || self.monotonic_now() >= self.monotonic.load(Ordering::SeqCst)
    }

    fn monotonic_now(&self) -> u64 {
        let since = self.clock.monotonic().since_origin().as_micros();
        u64::try_from(since).unwrap_or(u64::MAX)
    }
}

impl KeyHandle {
    /// The handle of an active key: for anyone who writes a [`KeyStore`](super::KeyStore).
    pub fn new(owner: Owner, id: KeyId, purpose: Purpose, public: PublicJwk, signer: Arc<dyn Signer>) -> Self {
        Self::in_state(KeyState::Active, owner, id, purpose, public, signer)
    }

    /// The handle of a key that does not sign until [`KeyHandle::open`] is called.
    pub fn pending(owner: Owner, id: KeyId, purpose: Purpose, public: PublicJwk, signer: Arc<dyn Signer>) -> Self {
        Self::in_state(KeyState::Pending, owner, id, purpose, public, signer)
    }

    fn in_state(
        state: KeyState,
        owner: Owner,
        id: KeyId,
        purpose: Purpose,
        public: PublicJwk,
        signer: Arc<dyn Signer>,
    ) -> Self {
        let jkt = public.thumbprint();
        Self(Arc::new(Inner {
            id,
            purpose,
            gate: Gate::new(state),
            owner,
            public,
            jkt,
            signer,
            drain: OnceLock::new(),
        }))
    }

    /// Whose key it is.
    pub fn owner(&self) -> &Owner {
        &self.0.owner
    }

    /// The key's id in its store.
    pub fn id(&self) -> KeyId {
        self.0.id
    }

    /// What the key was made for.
    pub fn purpose(&self) -> Purpose {
        self.0.purpose
    }

    /// The public half.
    pub fn public(&self) -> &PublicJwk {
        &self.0.public
    }

    /// The algorithm that the key signs with.
    pub fn algorithm(&self) -> Algorithm {
        self.0.public.algorithm()
    }

    /// The RFC 7638 SHA-256 thumbprint of the public half (RFC 9449 6.1).
    pub fn jkt(&self) -> Thumbprint {
        self.0.jkt
    }

    /// Refuses a handle that is about to be used for another owner or purpose than its own, and an RS256 key for anything
    /// but client assertions.
    ///
    /// # Errors
    /// [`KeyError::WrongOwner`], [`KeyError::WrongPurpose`], [`KeyError::Unsupported`].
    pub fn check(&self, owner: &Owner, purpose: Purpose) -> Result<(), KeyError> {
        if self.0.owner != *owner {
            return Err(KeyError::WrongOwner);
        }
        if self.0.purpose != purpose {
            return Err(KeyError::WrongPurpose {
                wanted: purpose,
                found: self.0.purpose,
            });
        }
        if self.algorithm() == Algorithm::Rs256 && purpose != Purpose::ClientAssertion {
            return Err(KeyError::Unsupported {
                algorithm: Algorithm::Rs256,
                hint: "it signs client assertions and nothing else",
            });
        }
        Ok(())
    }

    /// Signs `message`. Ready at once when the key is in this process; nothing is boxed then, and ES256 and Ed25519 signatures
    /// are handed over without an allocation of ours.
    ///
    /// The key's state is looked at before signing and again after it. What a signer elsewhere has made is verified with the
    /// handle's public half before it is released; of one that signs at once, only the signature's form is checked.
    ///
    /// Errors in the result: [`KeyError::Closed`] when the key does not sign (any more), [`KeyError::Mismatch`] when the
    /// signer's key is not this one, and what the signer says.
    pub fn sign<'a>(&'a self, message: &'a [u8]) -> Signing<'a> {
        if let Err(closed) = self.admit() {
            return Signing::Now(Err(closed));
        }
        match self.0.signer.sign(message) {
            Signing::Now(made) => Signing::Now(made.and_then(|signature| self.release(signature))),
            Signing::Later(made) => Signing::Later(Box::pin(async move {
                let signature = made.await?;
                match self.0.public.verify(message, signature.as_bytes()) {
                    Ok(()) => self.release(signature),
                    Err(BadSignature::Unsupported) => Err(KeyError::Unsupported {
                        algorithm: self.algorithm(),
                        hint: "enable the feature aws-lc-rs",
                    }),
                    Err(_) => Err(KeyError::Mismatch),
                }
            })),
        }
    }

    /// Where the key is in its life. A draining key whose time is over is destroyed by this look.
    pub fn state(&self) -> KeyState {
        let state = self.0.gate.state();
        if state == KeyState::Draining && self.0.drain.get().is_none_or(|drain| drain.is_over()) {
            self.0.gate.close(KeyState::Destroyed);
            return self.0.gate.state();
        }
        state
    }

    /// Whether the key would sign now.
    pub fn is_usable(&self) -> bool {
        self.admit().is_ok()
    }

    /// Pending to active. `false` if the key is not pending: it then stays as it is.
    pub fn open(&self) -> bool {
        self.0.gate.step(KeyState::Pending, KeyState::Active)
    }

    /// Active to draining: the key signs until `until`, by the wall or by the monotonic time of `clock`, whichever comes
    /// first. `false` if the key is not active: it then stays as it is.
    pub fn drain(&self, until: Timestamp, clock: &Arc<dyn Clock>) -> bool {
        if self.0.gate.state() != KeyState::Active {
            return false;
        }
        let _first_one_stays = self.0.drain.set(Box::new(Drain::until(until, clock)));
        self.0.gate.step(KeyState::Active, KeyState::Draining)
    }

    /// The draining key signs until `until`, where it would end earlier. `false` if the key does not drain: it then stays as it
    /// is, and one whose time is over never signs again.
    pub fn prolong(&self, until: Timestamp) -> bool {
        if self.state() != KeyState::Draining {
            return false;
        }
        if let Some(drain) = self.0.drain.get() {
            drain.prolong(until);
        }
        self.state() == KeyState::Draining
    }

    /// Ends the key. Once this has returned, no clone of this handle releases a signature any more. `true` if this call
    /// changed the state; a compromised key stays compromised.
    pub fn close(&self, reason: Retired) -> bool {
        self.0.gate.close(reason.into())
    }

    /// Until when the key drains by the wall clock; `None` while it does not.
    pub(super) fn drain_until(&self) -> Option<Timestamp> {
        self.0.drain.get().map(|drain| drain.wall())
    }

    /// The same key, for whoever finds handles that others hold and holds none itself.
    pub(super) fn downgrade(&self) -> WeakKeyHandle {
        WeakKeyHandle(Arc::downgrade(&self.0))
    }

    fn admit(&self) -> Result<(), KeyError> {
        match self.state() {
            KeyState::Active | KeyState::Draining => Ok(()),
            state => Err(KeyError::Closed { state }),
        }
    }

    fn release(&self, signature: Signature) -> Result<Signature, KeyError> {
        let octets = signature.as_bytes().len();
        let fits = match self.algorithm() {
            // ASN.1 is no signature of JWS (RFC 7518 3.4).
            Algorithm::Es256 | Algorithm::Ed25519 => octets == 64,
            Algorithm::Ps256 | Algorithm::Rs256 => (256..=1024).contains(&octets),
        };
        if !fits {
            return Err(KeyError::Mismatch);
        }
        self.admit()?;
        Ok(signature)
    }
}

/// A key of which handles exist, or did.
pub(super) struct WeakKeyHandle(Weak<Inner>);

impl WeakKeyHandle {
    /// A handle, while anybody else has one.
    pub(super) fn upgrade(&self) -> Option<KeyHandle> {
        self.0.upgrade().map(KeyHandle)
    }

    /// Whether nobody has a handle any more.
    pub(super) fn is_gone(&self) -> bool {
        self.0.strong_count() == 0
    }
}

impl fmt::Debug for KeyHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyHandle")
            .field("owner", &self.0.owner)
            .field("id", &self.0.id)
            .field("purpose", &self.0.purpose)
            .field("algorithm", &self.algorithm())
            .field("jkt", &self.0.jkt)
            .field("state", &self.0.gate.state())
            .finish()
    }
}
