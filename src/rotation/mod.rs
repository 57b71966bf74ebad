//! Keys get old, and others take their place: when it is time, or at once when somebody says so.
//!
//! A [`RotationPolicy`] says how old keys get. A [`Rotator`] keeps to it: it is a [`Chore`](crate::chore::Chore) of the
//! [`Upkeep`](crate::upkeep::Upkeep), and rotates on demand. Each rotation takes the steps of the table, each of them durable
//! before the next, so that a process that ends anywhere leaves nothing that the next round does not take up.
//!
//! | Step | Proof keys (RFC 9449) | Client-assertion keys (RFC 7523) that issuers fetch ([`AssertionKeys::Published`]) |
//! |---|---|---|
//! | create | a pending key; one that is there already is used | the same; [`Jwks`](crate::keys::Jwks) publishes it from now on |
//! | wait | not at all | [`publish_ahead`](RotationPolicy::publish_ahead), so that the issuer knows it |
//! | promote | new tokens are bound to the new key; tokens that there are go on with the old one | assertions are signed by the new key |
//! | drain | the old key signs until no token can be bound to it ([`drain`](RotationPolicy::drain)) | it stays published so long |
//! | destroy | its private half is gone | and its public half is not published any more |
//!
//! Client-assertion keys that somebody registers with an issuer, as is the default, are left alone: their age is told, and
//! [`Rotator::promote`] makes one the active key once the issuer knows it.
//!
//! Keys of certificates change with their certificates, which their sources renew; `RotatorBuilder::certificates` has a rotation
//! on demand ask them (feature `mtls`), and `Upkeep::rotation_policy` holds certificates to the maximum ages.
//!
//! # What it does to calls
//!
//! Nothing. Whoever has a token has the key that it is bound to; the next token comes with the new one. A key that is rotated as
//! [compromised](Why::Compromised) ends at once: its tokens are dropped, and the next call asks for a new one. A call that is
//! just being signed may fail then.
//!
//! # Refresh tokens that are bound to a key
//!
//! The refresh token of a public client can be used with one key alone (RFC 9449 5), and what it brings is bound to that key. Such
//! a key is not rotated before the grant ends or the shipper consents anew; [`KeyChange::HeldByGrant`](crate::journal::KeyChange)
//! says so daily. Where a consent was given just while its key was replaced, the old key drains for as long as the refresh token
//! is bound to it, and up to two days longer: rounds prolong it, so one has to come within the last 12 hours of each such span.
//!
//! # Connections that are suspended or removed
//!
//! Where the parts have a [directory](crate::parts::PartsBuilder::directory) it is asked before a key is made or promoted, and
//! again when one was made. Keys of a connection that is being removed, or that the directory does not list in this incarnation
//! and deployment, get no successors ([`Outcome::Removed`]): a removal ends what there is, and nothing new comes after it. Keys
//! of a suspended connection rotate like all others, since nothing is sent to the carrier for that, and none is too old when it
//! is resumed. While the directory cannot tell, no key is made.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use futures_util::StreamExt;
//! use shipbound::Parts;
//! use shipbound::act::Act;
//! use shipbound::keys::{KeyListing, Purpose};
//! use shipbound::rotation::{Rotator, Selection, Why};
//! use shipbound::upkeep::Upkeep;
//!
//! # async fn run(parts: Parts, listing: Arc<dyn KeyListing>) -> Result<(), Box<dyn std::error::Error>> {
//! let rotator = Rotator::builder(&parts, listing).build()?;
//! let upkeep = Upkeep::new(&parts).chore(Arc::new(rotator.clone()));
//!
//! let act = Act::new("maria@platform.example", "laptop was stolen", "SEC-12")?;
//! let mut run = rotator.rotate(Selection::Purpose(Purpose::Proof), Why::Compromised, &act);
//! while let Some(progress) = run.next().await {
//!     println!("{} done, {} failed, {} left", progress.done, progress.failed, progress.left);
//! }
//! # let _ = upkeep;
//! # Ok(())
//! # }
//! ```

mod ages;
#[cfg(feature = "mtls")]
mod certificates;
mod endings;
mod forced;
mod policy;
mod rotator;
mod round;
mod served;
mod step;

use crate::clock::Timestamp;
use crate::keys::{KeyId, Purpose};
use crate::owner::{ConnectionId, TenantId};

pub use self::forced::{Finished, Progress, Rotating};
#[cfg(feature = "mtls")]
pub(crate) use self::policy::span;
pub use self::policy::{Alert, AssertionKeys, PolicyError, RotationPolicy, RotationPolicyBuilder};
pub use self::rotator::{Rotator, RotatorBuilder};

/// Which keys are rotated.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Selection {
    /// Those of one connection.
    Connection(ConnectionId),
    /// Those of all connections of this tenant, in all its incarnations.
    Tenant(TenantId),
    /// This one.
    Key(KeyId),
    /// Those that were made for this. Of [`Purpose::Tls`], and of connections, tenants and all, certificates are among them, where
    /// their sources are [known](RotatorBuilder).
    Purpose(Purpose),
    /// All that the store lists.
    All,
}

/// Why keys are rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Why {
    /// As if they were due: old keys drain, client-assertion keys are published ahead.
    Routine,
    /// They are in foreign hands, or may be: nothing of them is trusted any more. Each active key gets a successor at once and
    /// ends, also if there can be none (a client-assertion key that is learned [by hand](AssertionKeys::ByHand) is to be
    /// registered then: until that the issuer refuses what it signs); draining and pending keys end. What consents are bound to an ended key ends with it.
    Compromised,
}

/// A step of rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// Finding out which keys there are.
    List,
    /// Finding out whether its connection is to have keys.
    Connection,
    /// Finding out whether a refresh token is bound to the key.
    Grant,
    /// Making a successor.
    Create,
    /// Promoting it.
    Promote,
    /// Ending a key.
    Retire,
    /// Asking a source for a new certificate.
    Certificate,
    /// Any of them: what was handed in panicked.
    Any,
}

impl Step {
    /// `list`, `connection`, `grant`, `create`, `promote`, `retire`, `certificate` or `any`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Connection => "connection",
            Self::Grant => "grant",
            Self::Create => "create",
            Self::Promote => "promote",
            Self::Retire => "retire",
            Self::Certificate => "certificate",
            Self::Any => "any",
        }
    }
}

/// What became of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It has a successor.
    Rotated {
        /// The new active key.
        successor: KeyId,
    },
    /// Its successor is published, and will be promoted by the first round after this time.
    Published {
        /// The pending key.
        successor: KeyId,
        /// From when on it signs.
        signs_from: Timestamp,
    },
    /// A refresh token is bound to it: it stays. User action: rotate it as compromised if it must go, or let the shipper consent
    /// anew.
    Held,
    /// Issuers learn client-assertion keys [by hand](AssertionKeys::ByHand): it stays. User action: register a new key, and
    /// [promote](Rotator::promote) it.
    ByHand,
    /// Its connection is being removed, or is not listed: it stays until its removal ends it, and gets no successor. User action:
    /// none; of a connection that is to go on, [add](crate::registry::Registry::add) it.
    Removed,
    /// Another process was first.
    Overtaken,
    /// It has ended, and needed no successor.
    Ended,
    /// It was not rotated. User action: look at the store, and [resume](Rotator::resume) the run. After [`Why::Compromised`] the
    /// key has ended all the same: a run that is resumed makes up for its successor, a new one does not see it.
    Failed {
        /// At which step.
        step: Step,
        /// Why, as a short name.
        code: &'static str,
    },
}
