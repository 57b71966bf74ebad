//! The chain itself: how a row is bound to all rows before it.

use std::collections::{HashSet, VecDeque};

use foldhash::fast::RandomState;
use zeroize::Zeroizing;

use super::super::error::SqlError;
use super::super::value::Row;
use crate::crypto;
use crate::jose::Thumbprint;
use crate::keys::KeyId;
use crate::owner::{DeploymentId, Owner};
use crate::store::anchor::Anchored;
use crate::store::seal::DataKeyId;
use crate::store::sql::columns::hex;

/// Something that ends for good, by a kind and a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dead {
    pub(super) kind: &'static str,
    pub(super) digest: String,
}

impl Dead {
    /// A key.
    pub(crate) fn key(jkt: &Thumbprint) -> Self {
        Self {
            kind: KEY,
            digest: jkt.to_string(),
        }
    }

    /// That a key was made in this epoch: no end, but what neither a row of a lost state has nor one of a backup.
    pub(crate) fn key_made(epoch: u64, jkt: &Thumbprint) -> Self {
        Self {
            kind: KEY_MADE,
            digest: format!("{epoch} {jkt}"),
        }
    }

    /// A key of which nothing is known but its name: its record was gone when it ended.
    pub(crate) fn key_id(owner: &Owner, id: &KeyId) -> Self {
        let mut parts = crypto::Digest::default();
        parts.text(KEY_ID);
        owner.digest_into(&mut parts);
        parts.bytes(id.as_uuid().as_bytes());
        Self {
            kind: KEY_ID,
            digest: hex(&parts.finish()),
        }
    }

    /// One revision of an owner's credential.
    pub(crate) fn credential(owner: &Owner, revision: u64) -> Self {
        Self::revision_of("credential", owner, revision)
    }

    /// One consent of an owner's shipper.
    pub(crate) fn consent(owner: &Owner, consent: u64) -> Self {
        Self::revision_of(CONSENT, owner, consent)
    }

    /// One revision of a connection's settings.
    pub(crate) fn connection(owner: &Owner, revision: u64) -> Self {
        Self::revision_of(CONNECTION, owner, revision)
    }

    /// That a connection's record reads so: no end, but what nobody else can write down either.
    pub(crate) fn connection_reads(digest: &Digested) -> Self {
        Self {
            kind: CONNECTION_READS,
            digest: hex(&digest.0),
        }
    }

    /// A data key: nothing more is sealed under it.
    pub(crate) fn data_key(id: DataKeyId) -> Self {
        Self {
            kind: DATA_KEY,
            digest: id.as_uuid().to_string(),
        }
    }

    /// The epoch that a restored backup begins.
    pub(super) fn epoch(number: u64) -> Self {
        Self {
            kind: EPOCH,
            digest: number.to_string(),
        }
    }

    /// The secret that authenticates rows from this one on, counted from 1.
    pub(super) fn secret(number: usize) -> Self {
        Self {
            kind: SECRET,
            digest: number.to_string(),
        }
    }

    fn revision_of(kind: &'static str, owner: &Owner, revision: u64) -> Self {
        Self {
            kind,
            digest: hex(&Digested::revision_of(kind, owner, revision).0),
        }
    }

    /// What is kept in memory of it: 16 octets that nobody can choose.
    pub(super) fn mark(&self) -> u128 {
        mark(self.kind, &self.digest)
    }
}

/// The digest of a key is its thumbprint, as it stands in the table of keys, so that a statement can look for it.
const KEY: &str = "key";
const KEY_MADE: &str = "key-made";
const CONNECTION: &str = "connection";
const CONNECTION_READS: &str = "connection-reads";
const KEY_ID: &str = "key-id";
/// The digest of a data key is its id, as it stands in the table of data keys, so that a statement can look for it.
const DATA_KEY: &str = "data-key";
const CONSENT: &str = "consent";
pub(super) const EPOCH: &str = "epoch";
pub(super) const SECRET: &str = "secret";

fn mark(kind: &str, digest: &str) -> u128 {
    // What is a digest of its kind already needs no other one.
    let is_digest = digest.len() == 64 && kind != KEY;
    if let Some(Ok(mark)) = digest
        .get(..32)
        .filter(|_| is_digest)
        .map(|half| u128::from_str_radix(half, 16))
    {
        return mark;
    }
    let mut parts = crypto::Digest::default();
    parts.text(kind);
    parts.text(digest);
    first_half(&parts.finish())
}

fn first_half(digest: &[u8; 32]) -> u128 {
    let half = digest.iter().take(16);
    half.fold(0, |mark, octet| mark << 8 | u128::from(*octet))
}

/// The digest of something that may have ended, for a look that needs no text.
pub(crate) struct Digested([u8; 32]);

impl Digested {
    /// That a connection's record reads so.
    pub(crate) fn connection_reads(owner: &Owner, record: &[&str], numbers: &[u64]) -> Self {
        let mut parts = crypto::Digest::default();
        parts.text(CONNECTION_READS);
        owner.digest_into(&mut parts);
        record.iter().for_each(|text| parts.text(text));
        numbers.iter().for_each(|number| parts.bytes(&number.to_be_bytes()));
        Self(parts.finish())
    }

    /// One revision of a connection's settings.
    pub(crate) fn connection(owner: &Owner, revision: u64) -> Self {
        Self::revision_of(CONNECTION, owner, revision)
    }

    fn revision_of(kind: &'static str, owner: &Owner, revision: u64) -> Self {
        let mut parts = crypto::Digest::default();
        parts.text(kind);
        owner.digest_into(&mut parts);
        parts.bytes(&revision.to_be_bytes());
        Self(parts.finish())
    }

    /// As [`Dead::mark`].
    pub(super) fn mark(&self) -> u128 {
        first_half(&self.0)
    }
}

/// How many octets authenticate rows at a time.
pub(super) const LENGTH: usize = 32;

/// What authenticates the rows: one secret after the other, each from the row on that begins it.
pub(super) struct Secret {
    octets: Zeroizing<Vec<u8>>,
    /// Of each, made once for all the rows that it authenticates.
    keys: Vec<crypto::HmacKey>,
}

impl Secret {
    pub(super) fn new(octets: Zeroizing<Vec<u8>>) -> Option<Self> {
        if octets.is_empty() || !octets.len().is_multiple_of(LENGTH) {
            return None;
        }
        let keys = octets.chunks_exact(LENGTH).map(crypto::HmacKey::new).collect();
        Some(Self { octets, keys })
    }

    pub(super) fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// The number of the one that authenticates the newest rows.
    pub(super) fn last(&self) -> usize {
        self.keys.len().saturating_sub(1)
    }

    /// Before the first row.
    pub(super) fn beginning(&self, deployment: &DeploymentId) -> Option<Place> {
        let mut parts = crypto::Digest::default();
        parts.text("shipbound ledger 1");
        parts.text(deployment.as_str());
        let at = Anchored {
            epoch: 1,
            rows: 0,
            mac: self.keys.first()?.sign(&parts.finish()),
        };
        Some(Place { at, secret: 0 })
    }

    /// The place after one more row.
    pub(super) fn after(&self, before: &Place, kind: &str, digest: &str) -> Option<Place> {
        let rows = before.at.rows.checked_add(1)?;
        let epoch = if kind == EPOCH {
            digest.parse().ok().filter(|epoch| *epoch > before.at.epoch)?
        } else {
            before.at.epoch
        };
        // Who knows the one before cannot write this row, nor any other way to it.
        let secret = before.secret.checked_add(usize::from(kind == SECRET))?;
        let mut row = Vec::with_capacity(192);
        row.extend_from_slice(&before.at.mac);
        row.extend_from_slice(&rows.to_be_bytes());
        for part in [kind, digest] {
            row.extend_from_slice(&(part.len() as u64).to_be_bytes());
            row.extend_from_slice(part.as_bytes());
        }
        let mac = self.keys.get(secret)?.sign(&row);
        let at = Anchored { epoch, rows, mac };
        Some(Place { at, secret })
    }
}

/// A place in the chain, and which of the secrets authenticates the row after it.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) at: Anchored,
    pub(super) secret: usize,
}

/// How far a process has followed the chain, and what it has seen end.
#[derive(Clone)]
pub(super) struct Followed {
    pub(super) place: Place,
    pub(super) dead: HashSet<u128, RandomState>,
    /// The last places that it came by.
    recent: VecDeque<Anchored>,
    /// The epochs that restored backups have begun, in order.
    pub(super) epochs: Vec<u64>,
}

/// How many places are remembered: anchors are seldom further behind.
const RECENT: usize = 1_024;

impl Followed {
    pub(super) fn from(place: Place) -> Self {
        Self {
            place,
            dead: HashSet::default(),
            recent: VecDeque::from([place.at]),
            epochs: Vec::new(),
        }
    }

    /// One row further: `n, kind, digest, mac`. `Ok(false)`: it is not the row that belongs here.
    pub(super) fn take(&mut self, secret: &Secret, row: &Row) -> Result<bool, SqlError> {
        let (kind, digest, mac) = (row.text(1)?, row.text(2)?, row.bytes(3)?);
        let Some(next) = secret.after(&self.place, kind, digest) else {
            return Ok(false);
        };
        if row.u64(0)? != next.at.rows || !crypto::constant_time_eq(&next.at.mac, mac) {
            return Ok(false);
        }
        if next.at.epoch != self.place.at.epoch {
            self.epochs.push(next.at.epoch);
        }
        self.place = next;
        self.dead.insert(mark(kind, digest));
        self.came_by(next.at);
        Ok(true)
    }

    /// What was followed from where this one ends.
    pub(super) fn go_on(&mut self, further: Self) {
        self.place = further.place;
        self.dead.extend(further.dead);
        self.epochs.extend(further.epochs);
        further.recent.into_iter().for_each(|at| self.came_by(at));
    }

    /// The MAC of the row with this number, if it is one of the last.
    pub(super) fn mac_at(&self, rows: u64) -> Option<[u8; 32]> {
        let at = self.recent.iter().rev().find(|at| at.rows == rows);
        at.map(|at| at.mac)
    }

    fn came_by(&mut self, at: Anchored) {
        if self.recent.len() >= RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(at);
    }
}
