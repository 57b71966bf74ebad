//! What a shipper's consent gave: refresh tokens (RFC 6749 6), kept so that each is used by one process at a time.
//!
//! Some issuers rotate: a refresh brings the next refresh token, and the previous one is dead. Two refreshers at once, or an
//! answer that nobody stored, then cost the shipper's consent. So a refresh token is *claimed* in a [`GrantStore`] before it
//! is sent, by compare-and-set, and its successor is stored before anything is done with the access token. [`Grants`] does
//! that over any store; [`Claim`] is the right to use one refresh token once.
//!
//! ```text
//!              put (a new consent), from anywhere
//!                ▼
//!    ┌────────► Ready ──claim──► Claimed ──end (invalid_grant)──► Ended
//!    │                            │   │
//!    └──── settle, release ───────┘   └─ its time passes, or abandon ──► uncertain
//! ```
//!
//! A claim whose holder never ended it (a crash, a process that stands still, a lost answer) is *uncertain* once its time
//! has passed: nobody knows whether the issuer has seen the token. Where the issuer's [`Rotation`] leaves the previous
//! token valid it may be claimed a second time; else the shipper must consent again, and [`GrantError::Uncertain`] says so.
//! A holder that wakes up late still settles if nobody has taken its place, and changes nothing if somebody has.
//!
//! ```
//! use std::sync::Arc;
//!
//! use shipbound::clock::{Clock, SystemClock};
//! use shipbound::grants::{Grant, Grants, MemoryGrants, Rotation};
//! use shipbound::owner::{AccountId, CarrierId, ConnectionId, DeploymentId, Environment, TenantId};
//! use shipbound::secret::RefreshToken;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let clock = Arc::new(SystemClock::new());
//! let grants = Grants::new(Arc::new(MemoryGrants::new()), clock.clone());
//! let connection = ConnectionId::new(
//!     DeploymentId::default_deployment(),
//!     TenantId::new("acme")?.into(),
//!     CarrierId::new("ups")?,
//!     Environment::Production,
//!     AccountId::main(),
//! );
//! // The shipper has consented.
//! grants.put(&connection, Grant::new("r1..", clock.now())).await?;
//!
//! // A refresh: claim, send, store what came back.
//! let claim = grants.claim(&connection, Rotation::PreviousDies, clock.monotonic()).await?;
//! let _send_this = claim.refresh_token()?.expose();
//! claim.settle(Some(RefreshToken::new("r2..")), None).await?;
//! # Ok(())
//! # }
//! ```

mod claim;
mod error;
mod memory;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::binding::Confirmation;
use crate::clock::Timestamp;
use crate::crypto;
use crate::owner::ConnectionId;
use crate::secret::RefreshToken;

pub use self::claim::{Claim, Grants, Rotation};
pub use self::error::GrantError;
pub use self::memory::MemoryGrants;

/// What a shipper's consent gave for one connection: a refresh token and what is known about it.
///
/// ```
/// use shipbound::clock::Timestamp;
/// use shipbound::grants::Grant;
///
/// let consented_at = Timestamp::from_unix_seconds(1_800_000_000);
/// let grant = Grant::new("r1..", consented_at)
///     .with_scope("shipping tracking")
///     .with_expiry(consented_at.offset_seconds(90 * 86_400));
/// assert_eq!(grant.scope(), Some("shipping tracking"));
/// ```
#[derive(Clone, Debug)]
pub struct Grant {
    refresh_token: RefreshToken,
    scope: Option<Arc<str>>,
    confirmations: Arc<[Confirmation]>,
    consented_at: Timestamp,
    expires_at: Option<Timestamp>,
}

impl Grant {
    /// A refresh token of a consent that was given at `consented_at`: not bound, its scope and its end not known.
    pub fn new(refresh_token: impl Into<RefreshToken>, consented_at: Timestamp) -> Self {
        Self {
            refresh_token: refresh_token.into(),
            scope: None,
            confirmations: Arc::default(),
            consented_at,
            expires_at: None,
        }
    }

    /// The scope as granted (RFC 6749 3.3), which no refresh changes.
    #[must_use]
    pub fn with_scope(mut self, scope: &str) -> Self {
        self.scope = Some(scope.into());
        self
    }

    /// The keys that the refresh token is bound to, as those of public clients are (RFC 9449 5, RFC 8705 4): it can only be
    /// used with these, so they must outlive it. Default: none.
    #[must_use]
    pub fn with_confirmations(mut self, confirmations: impl IntoIterator<Item = Confirmation>) -> Self {
        self.confirmations = confirmations.into_iter().collect();
        self
    }

    /// When the refresh token ends, where the issuer says so.
    #[must_use]
    pub fn with_expiry(mut self, expires_at: Timestamp) -> Self {
        self.expires_at = Some(expires_at);
        self
    }

    /// The refresh token, for stores to write down. Whoever means to send it uses [`Claim::refresh_token`].
    pub fn refresh_token(&self) -> &RefreshToken {
        &self.refresh_token
    }

    /// The scope as granted; `None` where it is not known.
    pub fn scope(&self) -> Option<&str> {
        self.scope.as_deref()
    }

    /// What the refresh token is bound to; empty where it is not.
    pub fn confirmations(&self) -> &[Confirmation] {
        &self.confirmations
    }

    /// When the shipper consented.
    pub fn consented_at(&self) -> Timestamp {
        self.consented_at
    }

    /// When the refresh token ends; `None` where the issuer did not say.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }

    /// This grant after a refresh: the scope and the keys stay (RFC 6749 6). Without a next token the present one stays.
    fn refreshed(&self, next: Option<RefreshToken>, expires_at: Option<Timestamp>) -> Self {
        let kept_end = self.expires_at.filter(|_| next.is_none());
        Self {
            refresh_token: next.unwrap_or_else(|| self.refresh_token.clone()),
            expires_at: expires_at.or(kept_end),
            ..self.clone()
        }
    }

    /// The same for the same grant, so that a grant which is put a second time is known. It is stored in the clear: a MAC that
    /// is keyed by the refresh token gives nothing of it away.
    fn consent(&self) -> Revision {
        let at = self.consented_at.unix_micros().to_be_bytes();
        let digest = crypto::hmac_sha256_128(self.refresh_token.expose().as_bytes(), &at);
        Revision::of(&digest)
    }
}

/// Which version of a record it is. Equal means the same version; there is no order.
///
/// Revisions are random and not counted, so that none returns after a record was removed and put anew.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Revision(u64);

impl Revision {
    /// The revision that a store has written down.
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// The revision, to write it down. All 64 bits count.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    fn random() -> Result<Self, GrantError> {
        let mut octets = [0; 8];
        crypto::random(&mut octets).map_err(|_failed| GrantError::Randomness)?;
        Ok(Self::of(&octets))
    }

    fn of(octets: &[u8]) -> Self {
        let number = octets.iter().take(8);
        Self(number.fold(0, |number, octet| number << 8 | u64::from(*octet)))
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What a [`GrantStore`] keeps for one connection. All of it must come back as it was.
#[derive(Clone, Debug)]
pub struct Record {
    /// Which version of the record this is: what compare-and-set compares.
    pub revision: Revision,
    /// Which consent it is about; refreshes leave it as it is.
    pub consent: Revision,
    /// How the grant stands.
    pub state: GrantState,
}

/// How a grant stands.
#[derive(Clone, Debug)]
pub enum GrantState {
    /// Nobody uses the refresh token.
    Ready(Grant),
    /// Somebody may be using it, or may have used it.
    Claimed {
        /// The grant as it was when it was claimed.
        grant: Grant,
        /// When the holder's time ends. After that it is not known whether the token was sent.
        until: Timestamp,
        /// Whether the token was claimed before, by a holder that never came back.
        second_chance: bool,
    },
    /// The issuer takes the refresh token no more (RFC 6749 5.2 `invalid_grant`). It is not kept.
    Ended,
}

/// Where grants are kept. A store knows nothing of what a record means: it reads, and it writes with compare-and-set.
///
/// # Writing one
///
/// - **Durable.** When [`put`](Self::put), [`replace`](Self::replace) or [`remove`](Self::remove) has returned `Ok`, a crash
///   or a fail-over of the store undoes nothing of it: a claim that is forgotten is a refresh token that is used twice. A
///   store that acknowledges before it has written, or replicates behind its acknowledgements, is not one for grants.
/// - **Compare-and-set.** [`replace`](Self::replace) compares and writes in one step. Of any number at once that expect the
///   same revision at most one is done.
/// - **Current.** [`load`](Self::load) reads what was last written, not a replica that lags behind.
/// - **Unknown outcomes.** [`GrantError::Unavailable`] from a write says that it was done or not. The caller finds out, since
///   each write has a revision of its own; a store needs no repeats inside.
/// - **Apart.** The whole connection is the key, all six parts with the incarnation, compared by octets: two connections that
///   differ anywhere never see each other's record. Columns with a collation that folds case do not do.
/// - **Sealed.** Refresh tokens are secrets that live long. Encrypt them, with the connection as associated data.
///
/// In SQL, with one row for a connection, `replace` is
/// `UPDATE grants SET revision = :next, .. WHERE connection = :connection AND revision = :expected` and `Ok(true)` if one row
/// was changed; `put` is an upsert.
#[async_trait]
pub trait GrantStore: fmt::Debug + Send + Sync {
    /// The record of this connection, if there is one. May be repeated.
    ///
    /// # Errors
    /// [`GrantError::Unavailable`] when that cannot be told: that is not the same as having none.
    async fn load(&self, connection: &ConnectionId) -> Result<Option<Record>, GrantError>;

    /// Stores the record in the place of whatever is there.
    ///
    /// Not to be repeated after an error without a look at what is there: by then the record may have been stored, used and
    /// replaced. [`Grants::put`] takes care of that.
    ///
    /// # Errors
    /// [`GrantError::Unavailable`]: stored or not. [`GrantError::Full`]: not stored.
    async fn put(&self, connection: &ConnectionId, record: &Record) -> Result<(), GrantError>;

    /// Stores the record in the place of the one with the revision `expected`. `Ok(false)`: nothing was done, because there
    /// is another record, or none. May be repeated: a second time does nothing.
    ///
    /// # Errors
    /// [`GrantError::Unavailable`]: stored or not.
    async fn replace(&self, connection: &ConnectionId, expected: Revision, record: &Record)
    -> Result<bool, GrantError>;

    /// Forgets the connection's record and its refresh token. `Ok(false)`: there was none. May be repeated.
    ///
    /// # Errors
    /// [`GrantError::Unavailable`]: forgotten or not.
    async fn remove(&self, connection: &ConnectionId) -> Result<bool, GrantError>;

    /// A number that grows whenever a consent comes or goes: looked at on every call, so it must be as cheap as an atomic
    /// load. An end ([`GrantState::Ended`]) counts as a change, also where [`replace`](Self::replace) wrote it: other clients
    /// of the connection go on with its tokens until the number moves. Claims and refreshes need not move it.
    ///
    /// When it has moved, what was learned before is looked at again: a new consent takes effect at once, though an old one
    /// has just failed. A store that always gives 0, the default, says that it takes effect with the next token request.
    fn generation(&self) -> u64 {
        0
    }
}
