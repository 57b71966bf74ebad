//! The whole schema. Every table begins with the deployment, so that deployments may share a database and see nothing of each
//! other.
//!
//! - `owner` is the hash of all parts of an [`Owner`](crate::owner::Owner), 64 hexadecimal digits: what rows are found by. The
//!   parts stand beside it for people and filters; a deployment's own rows have empty ones.
//! - Times are microseconds since 1970 (UTC). Ids are UUIDs as text. Text is compared by octets.
//! - `exposed` is 1 where a secret was sealed under a data key that a thief may have, and is still the same.
//! - Nothing secret stands in the clear: `material`, `sealed`, `wrapped` and `secret` are sealed or wrapped.

/// The schema that this version of the crate writes.
pub(super) const VERSION: i64 = 1;

/// The oldest version that can work with a database of [`VERSION`]: the one before, so that two versions of an application run
/// side by side while it is rolled out.
pub(super) const OLDEST: i64 = 1;

/// Where the version stands. `TEXT_`, `INT_` and `BYTES_` are replaced by what the database calls them.
pub(super) const VERSION_TABLE: &str = "
CREATE TABLE IF NOT EXISTS sb_schema (
    one INT_ NOT NULL PRIMARY KEY CHECK (one = 1),
    version INT_ NOT NULL,
    oldest INT_ NOT NULL
);
";

/// What leads from each version to the next; the first from nothing to 1. One that was released is never changed.
pub(super) const STEPS: [&str; 1] = [FIRST];

const FIRST: &str = "
-- Numbers that only grow: the order of changes, by which processes follow each other.
CREATE TABLE sb_counters (
    deployment TEXT_ NOT NULL,
    name TEXT_ NOT NULL,
    value INT_ NOT NULL,
    PRIMARY KEY (deployment, name)
);

CREATE TABLE sb_keks (
    deployment TEXT_ NOT NULL,
    id TEXT_ NOT NULL,
    state TEXT_ NOT NULL,
    revision INT_ NOT NULL,
    uses INT_ NOT NULL,
    changed_at INT_ NOT NULL,
    PRIMARY KEY (deployment, id)
);
CREATE UNIQUE INDEX sb_keks_active ON sb_keks (deployment) WHERE state = 'active';

CREATE TABLE sb_data_keys (
    deployment TEXT_ NOT NULL,
    tenant TEXT_ NOT NULL,
    incarnation TEXT_ NOT NULL,
    id TEXT_ NOT NULL,
    kek TEXT_ NOT NULL,
    wrapped TEXT_ NOT NULL,
    state TEXT_ NOT NULL,
    created_at INT_ NOT NULL,
    PRIMARY KEY (deployment, id)
);
CREATE UNIQUE INDEX sb_data_keys_active ON sb_data_keys (deployment, tenant, incarnation) WHERE state = 'active';
CREATE INDEX sb_data_keys_kek ON sb_data_keys (deployment, kek, id);

CREATE TABLE sb_keys (
    deployment TEXT_ NOT NULL,
    owner TEXT_ NOT NULL,
    tenant TEXT_ NOT NULL,
    incarnation TEXT_ NOT NULL,
    carrier TEXT_ NOT NULL,
    environment TEXT_ NOT NULL,
    account TEXT_ NOT NULL,
    id TEXT_ NOT NULL,
    purpose TEXT_ NOT NULL,
    algorithm TEXT_ NOT NULL,
    state TEXT_ NOT NULL,
    revision INT_ NOT NULL,
    jkt TEXT_ NOT NULL,
    public TEXT_ NOT NULL,
    material TEXT_,
    created_at INT_ NOT NULL,
    activated_at INT_,
    drain_until INT_,
    ended_at INT_,
    moved INT_ NOT NULL,
    exposed INT_ NOT NULL DEFAULT 0,
    PRIMARY KEY (deployment, id)
);
CREATE UNIQUE INDEX sb_keys_jkt ON sb_keys (deployment, jkt);
CREATE UNIQUE INDEX sb_keys_active ON sb_keys (deployment, owner, purpose) WHERE state = 'active';
CREATE INDEX sb_keys_owner ON sb_keys (deployment, owner, id);
CREATE INDEX sb_keys_tenant ON sb_keys (deployment, tenant, id);
-- What is old enough: SQLite looks through the first one, in the order of ids, without the rows; PostgreSQL knows when few are,
-- and takes the second one.
CREATE INDEX sb_keys_state ON sb_keys (deployment, state, id, activated_at);
CREATE INDEX sb_keys_activated ON sb_keys (deployment, activated_at) WHERE state = 'active';
CREATE INDEX sb_keys_moved ON sb_keys (deployment, moved);
CREATE INDEX sb_keys_to_be_wiped ON sb_keys (deployment, id)
    WHERE state IN ('destroyed', 'compromised') AND material IS NOT NULL;
CREATE INDEX sb_keys_to_be_forgotten ON sb_keys (deployment, ended_at)
    WHERE state IN ('destroyed', 'compromised') AND material IS NULL;

CREATE TABLE sb_credentials (
    deployment TEXT_ NOT NULL,
    owner TEXT_ NOT NULL,
    tenant TEXT_ NOT NULL,
    incarnation TEXT_ NOT NULL,
    carrier TEXT_ NOT NULL,
    environment TEXT_ NOT NULL,
    account TEXT_ NOT NULL,
    revision INT_ NOT NULL,
    sealed TEXT_,
    changed_at INT_ NOT NULL,
    exposed INT_ NOT NULL DEFAULT 0,
    PRIMARY KEY (deployment, owner)
);
CREATE INDEX sb_credentials_tenant ON sb_credentials (deployment, tenant);

CREATE TABLE sb_grants (
    deployment TEXT_ NOT NULL,
    owner TEXT_ NOT NULL,
    tenant TEXT_ NOT NULL,
    incarnation TEXT_ NOT NULL,
    carrier TEXT_ NOT NULL,
    environment TEXT_ NOT NULL,
    account TEXT_ NOT NULL,
    revision INT_ NOT NULL,
    consent INT_ NOT NULL,
    life INT_ NOT NULL,
    stage TEXT_ NOT NULL CHECK (stage IN ('ready', 'claimed', 'ended')),
    until INT_,
    second_chance INT_ NOT NULL,
    sealed TEXT_,
    changed_at INT_ NOT NULL,
    exposed INT_ NOT NULL DEFAULT 0,
    PRIMARY KEY (deployment, owner)
);
CREATE INDEX sb_grants_tenant ON sb_grants (deployment, tenant);

CREATE TABLE sb_connections (
    deployment TEXT_ NOT NULL,
    owner TEXT_ NOT NULL,
    tenant TEXT_ NOT NULL,
    incarnation TEXT_ NOT NULL,
    carrier TEXT_ NOT NULL,
    environment TEXT_ NOT NULL,
    account TEXT_ NOT NULL,
    state TEXT_ NOT NULL,
    revision INT_ NOT NULL,
    settings TEXT_ NOT NULL,
    changed INT_ NOT NULL,
    changed_at INT_ NOT NULL,
    PRIMARY KEY (deployment, owner)
);
CREATE INDEX sb_connections_tenant ON sb_connections (deployment, tenant);
CREATE INDEX sb_connections_changed ON sb_connections (deployment, changed);

-- What has ended, as a chain: no row is ever changed or deleted.
CREATE TABLE sb_ledger (
    deployment TEXT_ NOT NULL,
    n INT_ NOT NULL,
    kind TEXT_ NOT NULL,
    digest TEXT_ NOT NULL,
    mac BYTES_ NOT NULL,
    PRIMARY KEY (deployment, n)
);
CREATE INDEX sb_ledger_digest ON sb_ledger (deployment, kind, digest);

CREATE TABLE sb_ledger_heads (
    deployment TEXT_ NOT NULL PRIMARY KEY,
    n INT_ NOT NULL,
    mac BYTES_ NOT NULL,
    secret TEXT_ NOT NULL
);

CREATE TABLE sb_leads (
    deployment TEXT_ NOT NULL,
    task TEXT_ NOT NULL,
    process TEXT_ NOT NULL,
    ends_at INT_ NOT NULL,
    PRIMARY KEY (deployment, task)
);

-- Who did what, why and under which ticket. Rows are only added.
CREATE TABLE sb_acts (
    deployment TEXT_ NOT NULL,
    id TEXT_ NOT NULL,
    what TEXT_ NOT NULL,
    owner TEXT_ NOT NULL,
    actor TEXT_ NOT NULL,
    reason TEXT_ NOT NULL,
    ticket TEXT_ NOT NULL,
    at INT_ NOT NULL,
    PRIMARY KEY (deployment, id)
);
CREATE INDEX sb_acts_at ON sb_acts (deployment, at);
";

/// What SQLite calls the types of columns.
pub(super) const SQLITE_TYPES: [(&str, &str); 3] = [("TEXT_", "TEXT"), ("INT_", "INTEGER"), ("BYTES_", "BLOB")];

/// What PostgreSQL calls them.
pub(super) const POSTGRES_TYPES: [(&str, &str); 3] =
    [("TEXT_", "TEXT COLLATE \"C\""), ("INT_", "BIGINT"), ("BYTES_", "BYTEA")];

/// Rights of three roles in PostgreSQL, to be run by whoever owns the database. Members of `shipbound_migrate` run
/// [`Database::migrate`](super::Database::migrate), those of `shipbound_app` are the application, those of `shipbound_read`
/// look. Run it once before the first migration, and again after each.
///
/// The application can neither change tables nor delete or change what has ended and who did what. Whoever reads sees which
/// tenant uses which carrier, and sealed values.
pub const SQL_ROLES: &str = "
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'shipbound_migrate') THEN CREATE ROLE shipbound_migrate; END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'shipbound_app') THEN CREATE ROLE shipbound_app; END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'shipbound_read') THEN CREATE ROLE shipbound_read; END IF;
END $$;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO shipbound_migrate;
GRANT USAGE ON SCHEMA public TO shipbound_app, shipbound_read;
DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename LIKE 'sb\\_%' LOOP
        EXECUTE format('REVOKE ALL ON %I FROM PUBLIC, shipbound_app, shipbound_read', name);
        EXECUTE format('GRANT SELECT ON %I TO shipbound_app, shipbound_read', name);
        IF name IN ('sb_ledger', 'sb_acts') THEN
            EXECUTE format('GRANT INSERT ON %I TO shipbound_app', name);
        ELSIF name = 'sb_ledger_heads' THEN
            EXECUTE format('GRANT INSERT, UPDATE ON %I TO shipbound_app', name);
        ELSIF name <> 'sb_schema' THEN
            EXECUTE format('GRANT INSERT, UPDATE, DELETE ON %I TO shipbound_app', name);
        END IF;
    END LOOP;
END $$;
";
