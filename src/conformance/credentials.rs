//! What every credential store must do.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{Doing, Outcome, Report, Stores, demand, owners};
use crate::credentials::{Credential, CredentialError, CredentialStore};
use crate::owner::ConnectionId;

/// A credential store as one process has it, with the store's own ways to change it.
#[derive(Clone)]
pub struct OpenCredentials {
    store: Arc<dyn CredentialStore>,
    put: Doing<(ConnectionId, Credential)>,
    remove: Doing<ConnectionId>,
    look: Option<Doing<()>>,
}

impl OpenCredentials {
    /// A store whose generation moves at once, whoever changed something. `put` adds a credential in the place of an older
    /// one, `remove` takes one away; what they cannot do shows by what is read then.
    pub fn new(
        store: Arc<dyn CredentialStore>,
        put: impl Fn(ConnectionId, Credential) -> BoxFuture<'static, ()> + Send + Sync + 'static,
        remove: impl Fn(ConnectionId) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) -> Self {
        Self {
            store,
            put: Arc::new(move |(connection, credential)| put(connection, credential)),
            remove: Arc::new(remove),
            look: None,
        }
    }

    /// The same; `look` makes this process learn what others did, as its upkeep would.
    #[must_use]
    pub fn looking(mut self, look: impl Fn() -> BoxFuture<'static, ()> + Send + Sync + 'static) -> Self {
        self.look = Some(Arc::new(move |()| look()));
        self
    }

    async fn put(&self, connection: &ConnectionId, credential: Credential) {
        (self.put)((connection.clone(), credential)).await;
    }

    async fn remove(&self, connection: &ConnectionId) {
        (self.remove)(connection.clone()).await;
    }

    async fn look(&self) {
        if let Some(look) = &self.look {
            look(()).await;
        }
    }
}

impl fmt::Debug for OpenCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenCredentials")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

/// How a credential store is opened, for [`credential_store`]. One that serves one deployment does not look at that part of a
/// connection.
pub type CredentialStores = Stores<OpenCredentials>;

/// Puts a [`CredentialStore`] through its checks.
///
/// | Check | What it demands, and why |
/// |---|---|
/// | `credentials come back as they were` | Id, secret, parts, `kid`, certificates and the credential before it: a client that lacks one is refused by its issuer. |
/// | `none is missing` | Where there is none the answer is [`CredentialError::Missing`], which is what a caller can act on. |
/// | `connections are apart` | Connections that differ in tenant, incarnation, carrier, environment or account (and deployment), by octets, never get each other's credential. |
/// | `the newest is given` | After a change every process gets the new one: the old secret may be in foreign hands. |
/// | `a credential is itself` | Read again, it is the same revision: else every read drops the connection's tokens. A changed one is another. |
/// | `the generation moves` | It grows when a credential changes or goes, also for the other process after a look, so that cached tokens of the old one are not used on. Left out where there is none. |
/// | `an outage is no absence` | A store that does not answer says [`CredentialError::Unavailable`]. Left out where there is no outage to be had. |
pub async fn credential_store(stores: &CredentialStores) -> Report {
    let mut report = Report::default();
    report
        .run("credentials come back as they were", come_back(stores))
        .await;
    report.run("none is missing", missing(stores)).await;
    report.run("connections are apart", apart(stores)).await;
    report.run("the newest is given", newest(stores)).await;
    report.run("a credential is itself", itself(stores)).await;
    if stores.moves {
        report.run("the generation moves", generation(stores)).await;
    }
    if let Some(outage) = &stores.outage {
        report.run("an outage is no absence", unreachable(stores, outage)).await;
    }
    report
}

/// Whether all that a store must keep is the same.
fn is_same(one: &Credential, other: &Credential) -> bool {
    let secret = |credential: &Credential| credential.client_secret().map(|secret| secret.expose().to_owned());
    let previous = match (one.previous(), other.previous()) {
        (Some(one), Some(other)) => is_same(one, other),
        (None, None) => true,
        _ => false,
    };
    // The revision is made from all of it, with the parts and their values.
    previous
        && one.client_id() == other.client_id()
        && secret(one) == secret(other)
        && one.kid() == other.kid()
        && one.x5c() == other.x5c()
        && one.revision() == other.revision()
}

async fn come_back(stores: &CredentialStores) -> Outcome {
    let (one, other) = stores.two().await;
    let full = Credential::new("id ~!'\"\\%", "s3cr3t ~!'\"\\%")
        .with_part("child_key", "k")
        .with_part("account", "long".repeat(500))
        .key_id("2026-11")
        .certificates([vec![0, 1, 255], vec![]]);
    let all = [
        Credential::without_secret("an id alone"),
        Credential::api_key("k"),
        Credential::new("an empty secret", ""),
        full.clone(),
        Credential::new("id", "new").replacing(full),
        Credential::new("counted", "s").with_revision(u64::MAX),
    ];
    let connection = owners::fresh()?;
    for (number, credential) in all.into_iter().enumerate() {
        one.put(&connection, credential.clone()).await;
        other.look().await;
        let read = other.store.credential(&connection).await?;
        // Not what it is: it may be a real one some day.
        demand(
            is_same(&read, &credential),
            format!("credential {number} came back changed"),
        )?;
    }
    one.remove(&connection).await;
    Ok(())
}

async fn missing(stores: &CredentialStores) -> Outcome {
    let (one, other) = stores.two().await;
    let connection = owners::fresh()?;
    for open in [&one, &other] {
        let read = open.store.credential(&connection).await;
        demand(
            matches!(read, Err(CredentialError::Missing)),
            "where there is none the answer is not Missing",
        )?;
    }
    one.put(&connection, Credential::new("id", "s")).await;
    one.remove(&connection).await;
    for open in [&one, &other] {
        open.look().await;
        let read = open.store.credential(&connection).await;
        demand(
            matches!(read, Err(CredentialError::Missing)),
            "a credential that was taken away is not Missing",
        )?;
    }
    Ok(())
}

async fn apart(stores: &CredentialStores) -> Outcome {
    let (one, other) = stores.two().await;
    let all = owners::alike(stores.has_deployments)?;
    for (number, connection) in all.iter().enumerate() {
        for open in [&one, &other] {
            let read = open.store.credential(connection).await;
            demand(
                matches!(read, Err(CredentialError::Missing)),
                format!("{connection:?} has the credential of another"),
            )?;
        }
        one.put(connection, Credential::new(number.to_string(), "s")).await;
    }
    other.look().await;
    for (number, connection) in all.iter().enumerate() {
        let read = other.store.credential(connection).await?;
        demand(
            read.client_id() == number.to_string(),
            format!("{connection:?} has the credential of another"),
        )?;
    }
    for (number, connection) in all.iter().enumerate() {
        one.remove(connection).await;
        other.look().await;
        for rest in all.iter().skip(number + 1) {
            let kept = other.store.credential(rest).await.is_ok();
            demand(kept, format!("{rest:?} lost its credential with {connection:?}"))?;
        }
    }
    Ok(())
}

async fn newest(stores: &CredentialStores) -> Outcome {
    let (one, other) = stores.two().await;
    let connection = owners::fresh()?;
    for number in 0..6 {
        let (writes, reads) = if number % 2 == 0 {
            (&one, &other)
        } else {
            (&other, &one)
        };
        writes.put(&connection, Credential::new(number.to_string(), "s")).await;
        reads.look().await;
        for open in [writes, reads] {
            let read = open.store.credential(&connection).await?;
            demand(
                read.client_id() == number.to_string(),
                "an older credential was given than the newest",
            )?;
        }
    }
    one.remove(&connection).await;
    Ok(())
}

async fn itself(stores: &CredentialStores) -> Outcome {
    let (one, other) = stores.two().await;
    let connection = owners::fresh()?;
    let mut seen = Vec::new();
    for secret in ["s1", "s2", "s1 "] {
        one.put(&connection, Credential::new("id", secret).with_part("p", "v"))
            .await;
        other.look().await;
        let revision = one.store.credential(&connection).await?.revision();
        for open in [&one, &other] {
            let again = open.store.credential(&connection).await?.revision();
            demand(again == revision, "one credential has two revisions")?;
        }
        demand(
            !seen.contains(&revision),
            "a changed credential has the revision of the one before it",
        )?;
        seen.push(revision);
    }
    one.remove(&connection).await;
    Ok(())
}

async fn generation(stores: &CredentialStores) -> Outcome {
    let (one, other) = stores.two().await;
    let connection = owners::fresh()?;
    for what in [
        "a new credential",
        "a changed credential",
        "a credential that was taken away",
    ] {
        other.look().await;
        let before = (one.store.generation(), other.store.generation());
        match what {
            "a credential that was taken away" => one.remove(&connection).await,
            what => one.put(&connection, Credential::new("id", what)).await,
        }
        demand(
            one.store.generation() > before.0,
            format!("{what} did not move the generation"),
        )?;
        other.look().await;
        let moved = other.store.generation() > before.1;
        demand(moved, format!("{what} did not move the generation of another process"))?;
    }
    Ok(())
}

async fn unreachable(stores: &CredentialStores, outage: &Doing<bool>) -> Outcome {
    let (one, other) = stores.two().await;
    let (there, not_there) = (owners::fresh()?, owners::fresh()?);
    one.put(&there, Credential::new("id", "s")).await;
    outage(true).await;
    let mut answers = Vec::new();
    for open in [&one, &other] {
        for connection in [&there, &not_there] {
            answers.push(open.store.credential(connection).await);
        }
    }
    outage(false).await;
    for answer in answers {
        let is_unavailable = matches!(answer, Err(CredentialError::Unavailable));
        demand(
            is_unavailable,
            "a store that does not answer says something else than that",
        )?;
    }
    other.store.credential(&there).await?;
    one.remove(&there).await;
    Ok(())
}
