//! Keys by filter, a page at a time, out of a table of a million.
//!
//! Each statement names the columns that its filter sets and no others, so that an index leads to the rows, in the order of their
//! ids. The planner of either database is left no choice by which it could read the whole table: where an owner, tenant or id
//! leads there, the state is compared by an expression that no index has; where nothing does, each state is a statement of its
//! own.

use std::fmt::Write as _;
use std::sync::Arc;

use async_trait::async_trait;

use super::columns::owner_key;
use super::error::SqlError;
use super::key_rows::{key_columns, stored_of};
use super::keys::{MOST_ROWS, SqlKeyRecords, unavailable};
use super::value::Value;
use crate::keys::{KeyError, KeyFilter, KeyId, KeyListing, KeyRecord, KeyState, Purpose};
use crate::owner::Environment;

/// What is looked for, the same for every page.
const ALL: &str = concat!(
    "SELECT 0, 0, ",
    key_columns!(),
    " FROM sb_keys k WHERE k.deployment = $1"
);

/// A statement that grows with its values.
struct Statement {
    sql: String,
    values: Vec<Value>,
}

impl Statement {
    /// One more condition, in which `$` stands for the value.
    fn and(&mut self, condition: &'static str, value: impl Into<Value>) {
        self.values.push(value.into());
        let (before, after) = condition.split_once('$').unwrap_or((condition, ""));
        // Writing into a text does not fail.
        let _written = write!(self.sql, " {before}${}{after}", self.values.len());
    }
}

/// The keys in `state` that `filter` takes, or in any of its states where `None`.
fn statement(
    deployment: Value,
    filter: &KeyFilter,
    state: Option<KeyState>,
    after: Option<KeyId>,
    most: usize,
) -> Statement {
    let mut statement = Statement {
        sql: ALL.to_owned(),
        values: vec![deployment],
    };
    let micros = |at: crate::clock::Timestamp| at.unix_micros();
    if let Some(after) = after {
        statement.and("AND k.id > $", *after.as_uuid());
    }
    if let Some(id) = filter.key {
        statement.and("AND k.id = $", *id.as_uuid());
    }
    if let Some(owner) = &filter.owner {
        statement.and("AND k.owner = $", owner_key(owner));
    }
    if let Some(tenant) = &filter.tenant {
        statement.and("AND k.tenant = $", tenant.as_str());
    }
    if let Some(purpose) = filter.purpose {
        statement.and("AND COALESCE(k.purpose, '') = $", Purpose::as_str(purpose));
    }
    if let Some(state) = state {
        statement.and("AND k.state = $", state.as_str());
    } else if let [first, others @ ..] = &filter.states[..] {
        statement.and("AND COALESCE(k.state, '') IN ($", first.as_str());
        others.iter().for_each(|state| statement.and(", $", state.as_str()));
        statement.sql.push(')');
    }
    if let Some(at) = filter.activated_since {
        statement.and("AND k.activated_at >= $", micros(at));
    }
    if let Some(at) = filter.activated_before {
        statement.and("AND k.activated_at < $", micros(at));
    }
    if let Some(at) = filter.drained_before {
        statement.and("AND k.drain_until < $", micros(at));
    }
    if let Some(environment) = filter.environment {
        let kind = "AND CASE k.environment WHEN 'sandbox' THEN 'sandbox' ELSE 'production' END = $";
        statement.and(kind, Environment::as_str(environment));
    }
    statement.and("ORDER BY k.id LIMIT $", i64::try_from(most).unwrap_or(i64::MAX));
    statement
}

/// The statements whose rows together are the page.
fn statements(deployment: &Value, filter: &KeyFilter, after: Option<KeyId>, most: usize) -> Vec<Statement> {
    let is_found_otherwise = filter.owner.is_some() || filter.tenant.is_some() || filter.key.is_some();
    let mut states = filter.states.clone();
    states.sort_unstable();
    states.dedup();
    let of = |state| statement(deployment.clone(), filter, state, after, most);
    match is_found_otherwise || states.is_empty() {
        true => vec![of(None)],
        false => states.into_iter().map(|state| of(Some(state))).collect(),
    }
}

impl SqlKeyRecords {
    async fn page(&self, filter: &KeyFilter, after: Option<KeyId>, most: usize) -> Result<Vec<KeyRecord>, SqlError> {
        let most = most.min(MOST_ROWS);
        let mut page = Vec::new();
        for Statement { sql, values } in statements(&self.deployment(), filter, after, most) {
            let rows = self.database.composed(&Arc::from(sql), &values).await?;
            self.follow_restored().await?;
            for row in rows {
                let (mut stored, buried) = stored_of(&row)?;
                if self.is_dead(&stored.record, buried) && !stored.record.has_ended() {
                    // An old row that was put back: it is shown for what it is.
                    stored.record.state = KeyState::Compromised;
                }
                page.push(stored.record);
            }
        }
        page.sort_unstable_by_key(|record| record.id);
        // One that changed its state between two statements is there once.
        page.dedup_by_key(|record| record.id);
        page.truncate(most);
        Ok(page)
    }
}

#[async_trait]
impl KeyListing for SqlKeyRecords {
    async fn list(&self, filter: &KeyFilter, after: Option<KeyId>, most: usize) -> Result<Vec<KeyRecord>, KeyError> {
        self.page(filter, after, most).await.map_err(unavailable)
    }
}

#[cfg(test)]
#[path = "../../../tests/support/postgres.rs"]
mod postgres;

#[cfg(test)]
mod tests {
    use super::super::database::Database;
    use super::*;
    use crate::clock::Timestamp;
    use crate::owner::{DeploymentId, Owner, TenantId};

    /// Of 20 000 keys all but few are active, and those few come last.
    const KEYS: &str = "
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
        INSERT INTO sb_keys (deployment, owner, tenant, incarnation, carrier, environment, account, id, purpose, algorithm,
            state, revision, jkt, public, created_at, activated_at, moved)
        SELECT 'default', 'o' || i, 't' || (i / 10), '', 'ups', 'production', 'main', 'k' || (100000 + i), 'proof', 'ES256',
            CASE WHEN i < 19980 THEN 'active' WHEN i < 19990 THEN 'pending' ELSE 'draining' END, 0, 'j' || i, '', 0, i, i
        FROM n";

    async fn plan(database: &Database, explain: &str, statement: &Statement) -> String {
        let sql = Arc::from(format!("{explain} {}", statement.sql));
        let rows = database.composed(&sql, &statement.values).await.unwrap();
        let lines = rows.iter().flat_map(|row| &row.0).filter_map(|value| match value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    async fn an_index_leads_to_every_page(database: &Database, is_sqlite: bool) {
        database.migrate().await.unwrap();
        let mut tx = database.begin().await.unwrap();
        tx.script(KEYS).await.unwrap();
        tx.commit().await.unwrap();
        if !is_sqlite {
            let mut tx = database.begin().await.unwrap();
            tx.script("ANALYZE sb_keys").await.unwrap();
            tx.commit().await.unwrap();
        }
        let owner = Owner::Deployment(DeploymentId::default_deployment());
        let id = KeyId::random().unwrap();
        let all = KeyFilter::default;
        let both = || all().in_state(KeyState::Draining).in_state(KeyState::Pending);
        let early = Timestamp::from_unix_micros(3);
        let cases = [
            (all(), ""),
            (all().with_id(id), ""),
            (all().of_owner(owner.clone()), "sb_keys_owner"),
            (
                all().of_owner(owner.clone()).in_state(KeyState::Active),
                "sb_keys_owner",
            ),
            (both().of_owner(owner).for_purpose(Purpose::Proof), "sb_keys_owner"),
            (
                all().of_tenant(TenantId::new("t7").unwrap()).in_state(KeyState::Active),
                "sb_keys_tenant",
            ),
            (both(), "sb_keys_state"),
            (
                both().for_purpose(Purpose::Proof).in_environment(Environment::Sandbox),
                "sb_keys_state",
            ),
            (all().in_state(KeyState::Active).activated_before(early), ""),
            (all().in_state(KeyState::Active).activated_since(early), ""),
            (
                all().in_state(KeyState::Draining).drained_before(early),
                "sb_keys_state",
            ),
        ];
        let explain = if is_sqlite { "EXPLAIN QUERY PLAN" } else { "EXPLAIN" };
        let deployment = || Value::from("default");
        for (filter, index) in cases {
            for after in [None, Some(id)] {
                for statement in statements(&deployment(), &filter, after, 500) {
                    let plan = plan(database, explain, &statement).await;
                    assert!(plan.contains("sb_keys_"), "{filter:?}: {plan}");
                    for full in ["SCAN k", "Seq Scan on sb_keys"] {
                        assert!(!plan.contains(full), "{filter:?}: {plan}");
                    }
                    // With an id to begin after either index may be the shorter way.
                    assert!(after.is_some() || plan.contains(index), "{filter:?}: {plan}");
                }
            }
        }
    }

    #[tokio::test]
    async fn an_index_leads_to_every_page_in_sqlite() {
        let path = std::env::temp_dir().join(format!("shipbound-plans-{}.db", std::process::id()));
        an_index_leads_to_every_page(&Database::sqlite(&path).build().unwrap(), true).await;
        for ending in ["db", "db-wal", "db-shm"] {
            let _gone = std::fs::remove_file(path.with_extension(ending));
        }
    }

    #[tokio::test]
    async fn an_index_leads_to_every_page_in_postgres() {
        let server = postgres::Postgres::start();
        an_index_leads_to_every_page(&Database::postgres(&server.url("postgres")).build().unwrap(), false).await;
    }
}
