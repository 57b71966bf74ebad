//! The chain itself: how a row is bound to all rows before it.

use std::collections::HashSet;

use zeroize::Zeroizing;

use super::super::error::SqlError;
use super::super::value::Row;
use crate::crypto;
use crate::jose::Thumbprint;
use crate::owner::{DeploymentId, Owner};
use crate::store::anchor::Anchored;
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
        Self::revision_of("connection", owner, revision)
    }

    /// The epoch that a restored backup begins.
    pub(super) fn epoch(number: u64) -> Self {
        Self {
            kind: EPOCH,
            digest: number.to_string(),
        }
    }

    fn revision_of(kind: &'static str, owner: &Owner, revision: u64) -> Self {
        let mut parts = crypto::Digest::default();
        parts.text(kind);
        owner.digest_into(&mut parts);
        parts.bytes(&revision.to_be_bytes());
        Self {
            kind,
            digest: hex(&parts.finish()),
        }
    }

    /// What is kept in memory of it: 16 octets that nobody can choose.
    pub(super) fn mark(&self) -> u128 {
        mark(self.kind, &self.digest)
    }
}

/// The digest of a key is its thumbprint, as it stands in the table of keys, so that a statement can look for it.
const KEY: &str = "key";
const CONSENT: &str = "consent";
pub(super) const EPOCH: &str = "epoch";

fn mark(kind: &str, digest: &str) -> u128 {
    let mut parts = crypto::Digest::default();
    parts.text(kind);
    parts.text(digest);
    let octets = parts.finish();
    octets
        .iter()
        .take(16)
        .fold(0, |mark, octet| mark << 8 | u128::from(*octet))
}

/// What authenticates the rows.
pub(super) struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    pub(super) fn new(octets: Zeroizing<Vec<u8>>) -> Option<Self> {
        (octets.len() == 32).then_some(Self(octets))
    }

    /// Before the first row.
    pub(super) fn beginning(&self, deployment: &DeploymentId) -> Anchored {
        let mut parts = crypto::Digest::default();
        parts.text("shipbound ledger 1");
        parts.text(deployment.as_str());
        Anchored {
            epoch: 1,
            rows: 0,
            mac: crypto::hmac_sha256(&self.0, &parts.finish()),
        }
    }

    /// The place after one more row.
    pub(super) fn after(&self, before: &Anchored, kind: &str, digest: &str) -> Option<Anchored> {
        let rows = before.rows.checked_add(1)?;
        let epoch = if kind == EPOCH {
            digest.parse().ok().filter(|epoch| *epoch > before.epoch)?
        } else {
            before.epoch
        };
        let mut row = Vec::with_capacity(128);
        row.extend_from_slice(&before.mac);
        row.extend_from_slice(&rows.to_be_bytes());
        for part in [kind, digest] {
            row.extend_from_slice(&(part.len() as u64).to_be_bytes());
            row.extend_from_slice(part.as_bytes());
        }
        let mac = crypto::hmac_sha256(&self.0, &row);
        Some(Anchored { epoch, rows, mac })
    }
}

/// How far a process has followed the chain, and what it has seen end.
#[derive(Clone)]
pub(super) struct Followed {
    pub(super) at: Anchored,
    pub(super) dead: HashSet<u128>,
}

impl Followed {
    pub(super) fn from(at: Anchored) -> Self {
        Self {
            at,
            dead: HashSet::new(),
        }
    }

    /// One row further: `n, kind, digest, mac`. `Ok(false)`: it is not the row that belongs here.
    pub(super) fn take(&mut self, secret: &Secret, row: &Row) -> Result<bool, SqlError> {
        let (kind, digest, mac) = (row.text(1)?, row.text(2)?, row.bytes(3)?);
        let Some(next) = secret.after(&self.at, kind, digest) else {
            return Ok(false);
        };
        if row.u64(0)? != next.rows || !crypto::constant_time_eq(&next.mac, mac) {
            return Ok(false);
        }
        self.at = next;
        self.dead.insert(mark(kind, digest));
        Ok(true)
    }
}
