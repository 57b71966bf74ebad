//! What happened to keys.

use std::time::Duration;

use crate::act::Act;
use crate::clock::Timestamp;
use crate::jose::Thumbprint;
use crate::keys::{KeyEnds, KeyId, KeyRecord, Purpose};

use super::{EventKind, Journal};

/// Something that happened to one key, or that is about to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KeyEvent {
    /// Which key.
    pub key: KeyId,
    /// What it is for.
    pub purpose: Purpose,
    /// Its thumbprint.
    pub jkt: Thumbprint,
    /// What happened.
    pub change: KeyChange,
    /// Who wanted it; `None` where it was due.
    pub act: Option<Act>,
}

/// What happened to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyChange {
    /// It was made, and does not sign yet.
    Made,
    /// It is the active one.
    Promoted {
        /// The one that was active until now.
        replaces: Option<KeyId>,
        /// Until when that one goes on signing for the tokens that are bound to it.
        drain_until: Timestamp,
    },
    /// It is due, and a shipper's consent is bound to it (RFC 9449 5): it stays until that ends. Told daily. Told of a key that
    /// drains: the consent came while another key was promoted. It drains for as long as the consent lasts, where a
    /// [`Rotator`](crate::rotation::Rotator) does rounds and the store can [prolong](crate::keys::KeyStore::prolong) it. User
    /// action: let the shipper consent anew, or rotate it as compromised, which ends the consent.
    HeldByGrant {
        /// Time since it was promoted; zero where a consent was stored a moment too late to hold it.
        age: Duration,
    },
    /// It is not needed any more and never signs again. Stores end drained keys by themselves too: told where they were given
    /// [a journal](crate::keys::RecordedKeys::telling), as those in SQL are.
    Destroyed,
    /// It was ended as one in foreign hands.
    Compromised,
    /// By its record it was promoted in the future: a clock was ahead. It is rotated as if it were due, where it is rotated.
    /// User action: look at the clocks; if the key may be in foreign hands it is selected as all others are.
    FromTheFuture {
        /// When it was promoted, by that clock.
        promoted: Timestamp,
    },
    /// Its time is over soon, and rotation does not replace it, or has not when it should have.
    DueSoon {
        /// Time since it was promoted.
        age: Duration,
        /// When it will be too old.
        due: Timestamp,
    },
    /// It is older than its policy allows. Told daily. User action: look why rotation does not reach it
    /// ([`KeyChange::RotationFailed`], or no upkeep runs).
    Overdue {
        /// Time since it was promoted.
        age: Duration,
        /// Since when it is too old.
        due: Timestamp,
    },
    /// It could not be rotated. It is tried again in the next round.
    RotationFailed {
        /// At which step: `list`, `grant`, `create`, `promote` or `retire`.
        step: &'static str,
        /// Why, as a short name.
        code: &'static str,
    },
}

impl KeyChange {
    /// A short name: `made`, `promoted`, `held-by-grant`, `destroyed`, `compromised`, `from-the-future`, `due-soon`,
    /// `overdue` or `rotation-failed`.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Made => "made",
            Self::Promoted { .. } => "promoted",
            Self::HeldByGrant { .. } => "held-by-grant",
            Self::Destroyed => "destroyed",
            Self::Compromised => "compromised",
            Self::FromTheFuture { .. } => "from-the-future",
            Self::DueSoon { .. } => "due-soon",
            Self::Overdue { .. } => "overdue",
            Self::RotationFailed { .. } => "rotation-failed",
        }
    }
}

/// Keys were rotated, and the run has come to its end.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RotationRun {
    /// How many keys have a successor now, or have ended as compromised.
    pub rotated: u64,
    /// How many could not be rotated.
    pub failed: u64,
    /// How many are held by a shipper's consent.
    pub held: u64,
    /// How many have a successor whose public half is published, and that will be promoted later.
    pub waiting: u64,
    /// Who wanted it; `None` where keys were due.
    pub act: Option<Act>,
}

impl KeyEnds for Journal {
    fn destroyed(&self, key: &KeyRecord) {
        self.record_of(&key.owner, || {
            EventKind::Key(KeyEvent {
                key: key.id,
                purpose: key.purpose,
                jkt: key.jkt(),
                change: KeyChange::Destroyed,
                act: None,
            })
        });
    }
}
