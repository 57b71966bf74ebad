//! How a connection's record stands in its row.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::columns::connection_in;
use super::error::SqlError;
use super::ledger::{Digested, Seen};
use super::value::{Row, Value};
use crate::act::Act;
use crate::clock::Timestamp;
use crate::directory::{ConnectionRecord, PiiPolicy, Settings, Standing, Untold};
use crate::owner::{ConnectionId, DeploymentId, Owner, Region};

/// What stands in the column `settings`, as JSON. What people wrote may need escapes; then it is not borrowed.
#[derive(Serialize, Deserialize)]
struct Written<'a> {
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    region: Option<&'a str>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    personal_paths: Option<&'a str>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    telling: Vec<u64>,
    #[serde(default, skip_serializing_if = "is_zero")]
    untold: u64,
    #[serde(borrow)]
    actor: Cow<'a, str>,
    #[serde(borrow)]
    reason: Cow<'a, str>,
    #[serde(borrow)]
    ticket: Cow<'a, str>,
}

/// The members that this version knows: those that are not written are gone.
const KNOWN: [&str; 7] = [
    "region",
    "personal_paths",
    "telling",
    "untold",
    "actor",
    "reason",
    "ticket",
];

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references in")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// `state, revision, settings, changed, changed_at`. What stands in the settings `before` and only a newer version knows stays.
pub(super) fn row_of(record: &ConnectionRecord, number: u64, before: Option<&str>) -> Result<[Value; 5], SqlError> {
    let written = Written {
        region: record.region.as_ref().map(Region::as_str),
        personal_paths: record.settings.personal_paths.map(policy_name),
        telling: record.untold.telling.clone(),
        untold: record.untold.lost,
        actor: record.act.actor().into(),
        reason: record.act.reason().into(),
        ticket: record.act.ticket().into(),
    };
    let settings = merged(&written, before).map_err(|_error| SqlError::Malformed)?;
    Ok([
        record.standing.as_str().into(),
        record.revision.into(),
        settings.into(),
        number.into(),
        record.changed_at.unix_micros().into(),
    ])
}

fn merged(written: &Written<'_>, before: Option<&str>) -> Result<String, serde_json::Error> {
    let mut unknown: Map<String, Json> = match before {
        Some(before) => serde_json::from_str(before)?,
        None => Map::new(),
    };
    unknown.retain(|member, _| !KNOWN.contains(&member.as_str()));
    if unknown.is_empty() {
        return serde_json::to_string(written);
    }
    if let Json::Object(members) = serde_json::to_value(written)? {
        unknown.extend(members);
    }
    serde_json::to_string(&unknown)
}

/// The connection in one column ([`connection_in`]), then what [`reads`] reads.
macro_rules! records {
    ($which:literal) => {
        concat!(
            "SELECT owner || ' ' || tenant || ' ' || incarnation || ' ' || carrier || ' ' || environment || ' ' || account, \
             state, revision, settings, changed, changed_at FROM sb_connections WHERE deployment = $1 AND ",
            $which
        )
    };
}

pub(super) const OF_TENANT: &str = records!("tenant = $2");

pub(super) const CHANGES: &str = records!("changed > $2 ORDER BY changed LIMIT $3");

const STATE: usize = 1;
const REVISION: usize = 2;
const SETTINGS: usize = 3;
/// The column of the number of a record's last change.
pub(super) const NUMBER: usize = 4;
const CHANGED_AT: usize = 5;

/// Whether the chain has the record as its row reads, and no end of it.
pub(super) fn is_sound(record: &ConnectionRecord, row: &Row, seen: &Seen<'_>) -> Result<bool, SqlError> {
    let owner = Owner::from(record.connection.clone());
    Ok(seen.has(&reads(&owner, row, STATE)?) && !seen.has(&Digested::connection(&owner, record.revision)))
}

/// That the columns `state, revision, settings, changed, changed_at`, which begin at `from`, read so.
pub(super) fn reads(owner: &Owner, row: &Row, from: usize) -> Result<Digested, SqlError> {
    let numbers = [row.u64(from + 1)?, row.u64(from + 3)?, row.u64(from + 4)?];
    Ok(Digested::connection_reads(
        owner,
        &[row.text(from)?, row.text(from + 2)?],
        &numbers,
    ))
}

/// The record in a row. An error says that not even its connection can be read; else the record says that it cannot.
pub(super) fn record_of(deployment: &DeploymentId, row: &Row) -> Result<ConnectionRecord, SqlError> {
    let connection = connection_in(deployment, row.text(0)?)?;
    let number = row.u64(NUMBER)?;
    let read = read(&connection, number, row);
    Ok(read.unwrap_or_else(|_unreadable| ConnectionRecord::unreadable(connection, number)))
}

fn read(connection: &ConnectionId, number: u64, row: &Row) -> Result<ConnectionRecord, SqlError> {
    let written: Written<'_> = serde_json::from_str(row.text(SETTINGS)?).map_err(|_error| SqlError::Malformed)?;
    let act = Act::new(&written.actor, &written.reason, &written.ticket).map_err(|_error| SqlError::Malformed)?;
    let region = written.region.map(Region::new).transpose();
    let region = region.map_err(|_error| SqlError::Malformed)?;
    let settings = Settings {
        personal_paths: written.personal_paths.map(policy).transpose()?,
    };
    let at = Timestamp::from_unix_micros(row.int(CHANGED_AT)?);
    let record = ConnectionRecord::new(connection.clone(), settings, region, at, act);
    Ok(ConnectionRecord {
        standing: standing(row.text(STATE)?)?,
        revision: row.u64(REVISION)?,
        number,
        untold: Untold {
            telling: written.telling,
            lost: written.untold,
        },
        ..record
    })
}

fn standing(text: &str) -> Result<Standing, SqlError> {
    let all = [
        Standing::Active,
        Standing::Suspended,
        Standing::Removing,
        Standing::Removed,
    ];
    all.into_iter()
        .find(|one| one.as_str() == text)
        .ok_or(SqlError::Malformed)
}

fn policy_name(policy: PiiPolicy) -> &'static str {
    match policy {
        PiiPolicy::Allow => "allow",
        PiiPolicy::Warn => "warn",
        PiiPolicy::Refuse => "refuse",
    }
}

fn policy(text: &str) -> Result<PiiPolicy, SqlError> {
    let all = [PiiPolicy::Allow, PiiPolicy::Warn, PiiPolicy::Refuse];
    all.into_iter()
        .find(|one| policy_name(*one) == text)
        .ok_or(SqlError::Malformed)
}
