//! What a removal did, and what remained.

use crate::owner::ConnectionId;

/// What a removal did. Its fields are plain values, to be written into a report as they are; nothing in them is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Removal {
    /// Which connection.
    pub connection: ConnectionId,
    /// Whether it is removed. Else it stays [`Removing`](crate::directory::Standing::Removing), no call goes out for it, and the
    /// removal goes on with the next [`Remover::resume`](super::Remover::resume).
    pub finished: bool,
    /// What was done, in this order. Of a connection that had been removed before: what this process still had of it, if anything.
    pub steps: Vec<StepReport>,
}

impl Removal {
    /// What this run did in a step; `None` where it did not come so far.
    pub fn step(&self, step: Step) -> Option<&StepReport> {
        self.steps.iter().find(|report| report.step == step)
    }

    /// Whether anything remained.
    pub fn has_remains(&self) -> bool {
        self.steps.iter().any(|report| report.remained > 0)
    }
}

/// One step of a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StepReport {
    /// Which one.
    pub step: Step,
    /// How many this run did away with.
    pub done: u64,
    /// How many remained. Of tokens: also those of which other processes, or earlier runs, could not tell the issuer (`untold`), and
    /// one for each process that had some and was not heard of again (`other_process`).
    pub remained: u64,
    /// Why something remained, as a short name: an [error's code](crate::Error::code), where there is one.
    pub code: Option<&'static str>,
}

impl StepReport {
    pub(super) fn new(step: Step) -> Self {
        Self {
            step,
            done: 0,
            remained: 0,
            code: None,
        }
    }

    pub(super) fn remains(mut self, count: u64, code: &'static str) -> Self {
        self.remained += count;
        self.code = Some(code);
        self
    }

    /// With what a store said that takes one thing away.
    pub(super) fn taken(mut self, outcome: Result<bool, &'static str>) -> Self {
        match outcome {
            Ok(taken) => self.done += u64::from(taken),
            Err(code) => return self.remains(1, code),
        }
        self
    }
}

/// The steps of a removal, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// Calls under way in this process end. Those that remain when their time is over are on their own: their tokens are revoked.
    Calls,
    /// The issuer is told of tokens, of the refresh token as well; they are counted by client.
    Tokens,
    /// The shipper's consent is forgotten.
    Grant,
    /// Keys are destroyed.
    Keys,
    /// The credential is taken away.
    Credential,
    /// Tokens, bindings and nonces in the memory of this process are dropped.
    Memory,
    /// The tenant's salt is erased when this was its last connection, so that fingerprints of it say nothing any more.
    Fingerprints,
    /// The tenant's data key is erased where nothing of any of its connections is sealed with it any more.
    DataKey,
    /// The connection is written down as removed.
    Tombstone,
}

impl Step {
    /// A short name, `tokens` for instance. It does not change between patch releases.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Tokens => "tokens",
            Self::Grant => "grant",
            Self::Keys => "keys",
            Self::Credential => "credential",
            Self::Memory => "memory",
            Self::Fingerprints => "fingerprints",
            Self::DataKey => "data_key",
            Self::Tombstone => "tombstone",
        }
    }
}
