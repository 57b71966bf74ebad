//! A grant's record as a row.

use serde::Serialize;
use zeroize::Zeroizing;

use super::error::SqlError;
use super::value::Row;
use crate::binding::Confirmation;
use crate::clock::Timestamp;
use crate::grants::{Grant, GrantState};
use crate::jose::Thumbprint;
use crate::json::{self, Object};

/// What stands beside a sealed refresh token, and what it is sealed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stage {
    pub(super) name: &'static str,
    pub(super) consent: u64,
    /// How many consents of the owner had begun or ended, as the ledger counts.
    pub(super) life: u64,
    pub(super) until: Option<i64>,
    pub(super) second_chance: bool,
}

impl Stage {
    pub(super) fn of(state: &GrantState, consent: u64, life: u64) -> Self {
        let (name, until, second_chance) = match state {
            GrantState::Ready(_) => ("ready", None, false),
            GrantState::Claimed {
                until, second_chance, ..
            } => ("claimed", Some(until.unix_micros()), *second_chance),
            GrantState::Ended => ("ended", None, false),
        };
        Self {
            name,
            consent,
            life,
            until,
            second_chance,
        }
    }

    /// From `stage, consent, life, until, second_chance`.
    pub(super) fn read(row: &Row, at: usize) -> Result<Self, SqlError> {
        let name = match row.text(at)? {
            "ready" => "ready",
            "claimed" => "claimed",
            "ended" => "ended",
            _ => return Err(SqlError::Malformed),
        };
        Ok(Self {
            name,
            consent: row.u64(at + 1)?,
            life: row.u64(at + 2)?,
            until: row.opt_int(at + 3)?,
            second_chance: row.int(at + 4)? != 0,
        })
    }

    pub(super) fn has_ended(&self) -> bool {
        self.name == "ended"
    }

    /// What the refresh token is sealed for, beside its owner and its revision.
    pub(super) fn text(&self) -> String {
        let Self {
            name,
            consent,
            life,
            until,
            second_chance,
        } = self;
        format!("{name} {consent:016x} {life:016x} {until:?} {second_chance}")
    }

    /// The state with this grant.
    pub(super) fn state(&self, grant: Grant) -> Option<GrantState> {
        match (self.name, self.until) {
            ("ready", None) => Some(GrantState::Ready(grant)),
            ("claimed", Some(until)) => Some(GrantState::Claimed {
                grant,
                until: Timestamp::from_unix_micros(until),
                second_chance: self.second_chance,
            }),
            _ => None,
        }
    }
}

/// A row as it was read.
#[derive(PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) revision: u64,
    pub(super) stage: Stage,
    pub(super) sealed: Option<String>,
    pub(super) exposed: bool,
}

impl Kept {
    /// From `revision, stage, consent, life, until, second_chance, sealed, exposed`.
    pub(super) fn read(row: &Row) -> Result<Self, SqlError> {
        Ok(Self {
            revision: row.u64(0)?,
            stage: Stage::read(row, 1)?,
            sealed: row.opt_text(6)?.map(str::to_owned),
            exposed: row.int(7)? != 0,
        })
    }
}

/// A record that is to be written, sealed.
pub(super) struct Next {
    pub(super) revision: u64,
    pub(super) stage: Stage,
    pub(super) sealed: Option<String>,
    /// Whether a thief may have read it.
    pub(super) exposed: bool,
}

/// The refresh token, where there is one in this state.
pub(super) fn token(state: &GrantState) -> Option<&str> {
    match state {
        GrantState::Ready(grant) | GrantState::Claimed { grant, .. } => Some(grant.refresh_token().expose()),
        GrantState::Ended => None,
    }
}

#[derive(Serialize)]
struct Written<'a> {
    refresh_token: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a str>,
    /// `jkt` or `x5t#S256`, and the thumbprint.
    confirmations: Vec<[String; 2]>,
    consented_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
}

/// The grant as octets; `None` when there is none in this state. An error when it would be more than `most` octets.
pub(super) fn write(state: &GrantState, most: usize) -> Result<Option<Zeroizing<Vec<u8>>>, SqlError> {
    let (GrantState::Ready(grant) | GrantState::Claimed { grant, .. }) = state else {
        return Ok(None);
    };
    let confirmation = |one: &Confirmation| match one {
        Confirmation::Jkt(jkt) => ["jkt".to_owned(), jkt.to_string()],
        Confirmation::X5t(x5t) => ["x5t#S256".to_owned(), x5t.to_string()],
    };
    let written = Written {
        refresh_token: grant.refresh_token().expose(),
        scope: grant.scope(),
        confirmations: grant.confirmations().iter().map(confirmation).collect(),
        consented_at: grant.consented_at().unix_micros(),
        expires_at: grant.expires_at().map(Timestamp::unix_micros),
    };
    json::write(&written, most).map(Some).ok_or(SqlError::Malformed)
}

/// What [`write`] gave, and nothing else.
pub(super) fn read(octets: &[u8]) -> Option<Grant> {
    let object = Object::parse(octets).ok()?;
    let at = |name| Some(Timestamp::from_unix_micros(object.get(name)?.as_number()?.as_i64()?));
    let mut grant = Grant::new(object.get("refresh_token")?.as_str()?, at("consented_at")?);
    for (name, value) in object.iter() {
        match name {
            "refresh_token" | "consented_at" => {}
            "scope" => grant = grant.with_scope(value.as_str()?),
            "expires_at" => grant = grant.with_expiry(at("expires_at")?),
            "confirmations" => {
                let all = value.as_array()?.iter().map(confirmation).collect::<Option<Vec<_>>>()?;
                grant = grant.with_confirmations(all);
            }
            _ => return None,
        }
    }
    Some(grant)
}

fn confirmation(value: &json::Value) -> Option<Confirmation> {
    let [kind, thumbprint] = value.as_array()? else {
        return None;
    };
    let thumbprint = Thumbprint::from_base64url(thumbprint.as_str()?)?;
    match kind.as_str()? {
        "jkt" => Some(Confirmation::Jkt(thumbprint)),
        "x5t#S256" => Some(Confirmation::X5t(thumbprint)),
        _ => None,
    }
}
