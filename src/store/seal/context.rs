//! What a sealed value belongs to.

use crate::crypto::Digest;
use crate::jose::Thumbprint;
use crate::keys::{KeyRecord, KeyState, Purpose};
use crate::owner::Owner;

/// Which kind of row a sealed value stands in. Values of one kind do not open as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Table {
    /// Private keys.
    Keys,
    /// Clients' credentials.
    Credentials,
    /// Refresh tokens.
    Grants,
    /// The secret under which the chain of ended things is authenticated.
    Ledger,
}

impl Table {
    /// The table's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Credentials => "credentials",
            Self::Grants => "grants",
            Self::Ledger => "ledger",
        }
    }
}

/// All that a sealed value belongs to: owner (deployment, tenant with incarnation, connection), table, of a key its purpose,
/// thumbprint, algorithm and state, of a grant how it stands, and the revision of the row.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SealContext<'a> {
    /// Whose it is.
    pub owner: &'a Owner,
    /// Where it stands.
    pub table: Table,
    /// What a key is for.
    pub purpose: Option<Purpose>,
    /// A key's thumbprint.
    pub jkt: Option<Thumbprint>,
    /// A key's state.
    pub state: Option<KeyState>,
    /// How a grant stands, by its name; of a key its algorithm.
    pub stage: Option<&'a str>,
    /// The row's revision.
    pub revision: u64,
}

impl<'a> SealContext<'a> {
    /// A value of this owner in this table, with the row's revision; the rest is `None`.
    pub fn new(owner: &'a Owner, table: Table, revision: u64) -> Self {
        Self {
            owner,
            table,
            purpose: None,
            jkt: None,
            state: None,
            stage: None,
            revision,
        }
    }

    /// The private half of the key with this record, in the state and the revision that the record has. Its times are not part
    /// of it: who can write to the row can have the key rotate, or end its draining, later.
    pub fn of_key(record: &'a KeyRecord) -> Self {
        Self {
            purpose: Some(record.purpose),
            jkt: Some(record.jkt()),
            state: Some(record.state),
            stage: Some(record.public.algorithm().name()),
            ..Self::new(&record.owner, Table::Keys, record.revision)
        }
    }

    /// The digest of every part with its length: `ctx` in the header, and what the content key is derived from.
    pub(crate) fn digest(&self) -> [u8; 32] {
        let mut parts = Digest::default();
        parts.text("shipbound seal 1");
        self.owner.digest_into(&mut parts);
        parts.text(self.table.as_str());
        parts.text(self.purpose.map_or("", Purpose::as_str));
        parts.bytes(self.jkt.as_ref().map_or(&[][..], |jkt| jkt.as_bytes()));
        parts.text(self.state.map_or("", KeyState::as_str));
        parts.text(self.stage.unwrap_or_default());
        parts.bytes(&self.revision.to_be_bytes());
        parts.finish()
    }
}
