//! Short-lived client certificates from the PKI engine of HashiCorp Vault or OpenBao.
//!
//! ```no_run
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use shipbound::binding::mtls::vault::{Subject, VaultPki};
//! use shipbound::clock::SystemClock;
//! use shipbound::secret::VaultToken;
//! use shipbound::target::Target;
//! use shipbound::transport::Transport;
//!
//! # fn make(transport: Arc<dyn Transport>, token: VaultToken) -> Result<(), Box<dyn std::error::Error>> {
//! let certificates = VaultPki::builder(Target::parse("https://vault.shipper.example:8200")?, "pki", "carriers", token)
//!     .subject_of(|connection| Subject::new(format!("{}.shipper.example", connection.tenant().id())))
//!     .ttl(Duration::from_secs(24 * 60 * 60))
//!     .build(transport, Arc::new(SystemClock::new()))?;
//! # Ok(())
//! # }
//! ```

mod failure;
mod issue;
mod slot;

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use http::HeaderValue;
use thiserror::Error;

pub use self::failure::VaultFailure;
pub use self::issue::Subject;

use crate::clock::{Clock, Timestamp, within};
use crate::owner::ConnectionId;
use crate::pause::spread;
use crate::secret::VaultToken;
use crate::target::{Target, TargetError};
use crate::transport::identity::{ClientIdentity, IdentityError};
use crate::transport::{Transport, TransportErrorKind};
use crate::vault::{is_mount, is_name};

use self::issue::Endpoint;
use self::slot::{Issued, Outcome, Pause, Slot};
use super::{CertificateSource, Exchanged};

/// How many connections can have a certificate of their own in one source.
pub const MAX_CONNECTIONS: usize = 100_000;

/// How many requests one [`reload`](CertificateSource::reload) has on their way at a time.
const AT_A_TIME: usize = 8;

/// How long one request may take if nothing else is said.
const DEADLINE: Duration = Duration::from_secs(10);

/// The next certificate is asked for at this share of the life, in percent, give or take [`RENEW_JITTER`].
const RENEW_AT: f64 = 200.0 / 3.0;
const RENEW_JITTER: f64 = 5.0;

/// Why a [`VaultPki`] cannot be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum VaultPkiError {
    /// A mount or a role is empty or has other characters than `A-Z a-z 0-9 . _ -`; a mount may also have `/` inside.
    ///
    /// User action: write them as `vault secrets list` and `vault list pki/roles` show them.
    #[error("the mount or the role is not a name")]
    Name,
    /// Address, mount and role do not make a URL.
    ///
    /// User action: as [`TargetError`] says.
    #[error("the address cannot be used")]
    Address(#[source] TargetError),
    /// The namespace cannot stand in a header.
    ///
    /// User action: correct the namespace.
    #[error("the namespace has a character that a header cannot carry")]
    Namespace,
    /// It was not said whom certificates are for.
    ///
    /// User action: call [`VaultPkiBuilder::subject`] or [`VaultPkiBuilder::subject_of`].
    #[error("there is no subject for certificates")]
    Subject,
}

/// Client certificates that a Vault or OpenBao server issues (`POST {address}/v1/{mount}/issue/{role}`): one for all
/// connections, or one for each.
///
/// - **When.** A certificate is issued when it is first asked for. When two thirds of its life are over, give or take 5 %,
///   [`reload`](CertificateSource::reload) has the next one issued and [retires](ClientIdentity::retire) the old one. One
///   that has ended all the same, or that the application has retired, is replaced when it is next asked for. One that
///   nobody has asked for since it was issued is not renewed, and dropped when it ends.
/// - **Once.** However many callers wait for one certificate, there is one request; a caller that goes away holds nobody up.
/// - **Failures.** What there is stays until it ends. After a failure nothing is asked for a second, then two, up to a minute:
///   for this connection if the role refused it or there is no subject for it, for all of them otherwise. Those who need a
///   certificate meanwhile get [`IdentityError::Unavailable`]; [`VaultPki::failure`] says why. Where some certificates are
///   exchanged and others fail, [`reload`](CertificateSource::reload) reports the exchanges, and the failure the next time it
///   is met.
/// - **Keys** are made by the server and come with the answer, over TLS alone. Both our copies are wiped. Nothing is written
///   to disk: a process that starts again has new certificates issued.
///
/// The token needs the capability `update` on `{mount}/issue/{role}`. This source does not renew the token; hand in a new one
/// with [`VaultPki::set_token`] before it ends.
///
/// Certificates that change every few hours suit issuers that compare the subject (`tls_client_auth`, RFC 8705 2.1), not
/// those where each certificate is registered (2.2).
#[derive(Clone)]
pub struct VaultPki(Arc<Inner>);

struct Inner {
    endpoint: Endpoint,
    token: RwLock<VaultToken>,
    subjects: Subjects,
    deadline: Duration,
    transport: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    /// By connection; by none where there is one certificate for all.
    slots: Mutex<HashMap<Option<ConnectionId>, Arc<Slot>>>,
    /// After a failure that every connection would meet.
    pause: Mutex<Pause>,
    /// Whether the last reload met a failure and reported exchanges in its place.
    failure_hidden: AtomicBool,
}

enum Subjects {
    One(Subject),
    Each(Box<dyn Fn(&ConnectionId) -> Subject + Send + Sync>),
}

impl VaultPki {
    /// A source of certificates from the server at `address` (`https://vault.example:8200`), from the PKI engine at this mount
    /// and from this role of it.
    pub fn builder(address: Target, mount: &str, role: &str, token: impl Into<VaultToken>) -> VaultPkiBuilder {
        VaultPkiBuilder {
            address,
            mount: mount.to_owned(),
            role: role.to_owned(),
            token: token.into(),
            namespace: None,
            subjects: None,
            ttl: None,
            deadline: DEADLINE,
        }
    }

    /// Uses this token from the next request on, which need not wait for a pause of the whole source to end.
    /// The pause of a connection whose role or subject was refused goes on.
    pub fn set_token(&self, token: impl Into<VaultToken>) {
        *self.0.token.write().unwrap_or_else(PoisonError::into_inner) = token.into();
        *self.0.pause() = Pause::default();
    }

    /// Why the newest request for this connection's certificate failed; else why the source as a whole pauses, if it does.
    pub fn failure(&self, connection: &ConnectionId) -> Option<VaultFailure> {
        let slot = self.0.slots().get(&self.0.key(connection)).cloned();
        let own = slot.and_then(|slot| slot.failure());
        own.or_else(|| self.0.pause().last())
    }

    /// Retires the certificate of a connection that is not there any more. Where one certificate serves all connections
    /// this does nothing.
    pub fn forget(&self, connection: &ConnectionId) {
        let Some(own) = self.0.key(connection) else { return };
        let slot = self.0.slots().remove(&Some(own));
        slot.iter().for_each(|slot| slot.close());
    }
}

#[async_trait]
impl CertificateSource for VaultPki {
    async fn identity(&self, connection: &ConnectionId) -> Result<ClientIdentity, IdentityError> {
        let slot = self.0.slot(connection)?;
        if let Some(held) = slot.ask(self.0.clock.now()) {
            return Ok(held);
        }
        let issued = fly(Arc::clone(&self.0), Arc::clone(&slot), self.0.key(connection)).await?;
        slot.asked();
        Ok(issued.identity)
    }

    async fn reload(&self, now: Timestamp) -> Result<Vec<Exchanged>, IdentityError> {
        let monotonic = self.0.clock.monotonic();
        let due: Vec<_> = {
            let mut slots = self.0.slots();
            slots.values().for_each(|slot| slot.drop_idle(now));
            // A caller between finding its slot and boarding its flight holds it.
            slots.retain(|_, slot| Arc::strong_count(slot) > 1 || !slot.is_empty(monotonic));
            let due = slots.iter().filter(|(_, slot)| slot.is_due(now));
            due.map(|(key, slot)| fly(Arc::clone(&self.0), Arc::clone(slot), key.clone()))
                .collect()
        };
        let failure = stream::iter(due)
            .buffer_unordered(AT_A_TIME)
            .fold(None, async |first: Option<VaultFailure>, outcome| {
                first.or(outcome.err())
            })
            .await;
        let was_hidden = self.0.failure_hidden.swap(false, Ordering::Relaxed);
        if let Some(failure) = failure
            && was_hidden
        {
            // What was exchanged waits for the next time.
            return Err(failure.into());
        }
        let exchanged: Vec<_> = self
            .0
            .slots()
            .values()
            .filter_map(|slot| slot.take_exchanged())
            .collect();
        match failure {
            Some(failure) if exchanged.is_empty() => Err(failure.into()),
            Some(_) => {
                self.0.failure_hidden.store(true, Ordering::Relaxed);
                Ok(exchanged)
            }
            None => Ok(exchanged),
        }
    }

    async fn renew(
        &self,
        which: &(dyn for<'a> Fn(Option<&'a ConnectionId>) -> bool + Send + Sync),
        distrusted: bool,
    ) -> Result<usize, IdentityError> {
        let mut chosen = Vec::new();
        for (key, slot) in self.0.slots().iter() {
            if which(key.as_ref()) && slot.holds(distrusted) {
                chosen.push((key.clone(), Arc::clone(slot)));
            }
        }
        let (exchanged, failure) = stream::iter(chosen)
            .map(async |(key, slot)| {
                let outcome = fly(Arc::clone(&self.0), Arc::clone(&slot), key).await;
                // Somebody uses it, so it is renewed when its own time comes.
                outcome.map(|_issued| slot.asked())
            })
            .buffer_unordered(AT_A_TIME)
            .fold((0, None), async |(exchanged, first), outcome| match outcome {
                Ok(()) => (exchanged + 1, first),
                Err(failure) => (exchanged, first.or(Some(failure))),
            })
            .await;
        match failure {
            Some(failure) => Err(failure.into()),
            None => Ok(exchanged),
        }
    }

    /// Without those that are let go: their end is no matter for a warning.
    fn held(&self) -> Vec<ClientIdentity> {
        let now = self.0.clock.now();
        self.0.slots().values().filter_map(|slot| slot.kept(now)).collect()
    }
}

impl fmt::Debug for VaultPki {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultPki")
            .field("endpoint", &self.0.endpoint)
            .field("certificates", &self.0.slots().len())
            .finish_non_exhaustive()
    }
}

/// Makes a [`VaultPki`].
#[must_use]
pub struct VaultPkiBuilder {
    address: Target,
    mount: String,
    role: String,
    token: VaultToken,
    namespace: Option<String>,
    subjects: Option<Subjects>,
    ttl: Option<Duration>,
    deadline: Duration,
}

impl VaultPkiBuilder {
    /// One certificate for all connections, for this subject.
    pub fn subject(mut self, subject: impl Into<Subject>) -> Self {
        self.subjects = Some(Subjects::One(subject.into()));
        self
    }

    /// A certificate and a key of its own for each connection, for the subject that this function gives. Two connections
    /// with one subject have two certificates all the same. At most [`MAX_CONNECTIONS`].
    pub fn subject_of(mut self, subject: impl Fn(&ConnectionId) -> Subject + Send + Sync + 'static) -> Self {
        self.subjects = Some(Subjects::Each(Box::new(subject)));
        self
    }

    /// How long certificates live, to the second. Default: as the role says. The server cuts what the role does not allow.
    pub fn ttl(mut self, life: Duration) -> Self {
        self.ttl = Some(life);
        self
    }

    /// The namespace that the mount is in (`X-Vault-Namespace`). Default: the root.
    pub fn namespace(mut self, path: impl Into<String>) -> Self {
        self.namespace = Some(path.into());
        self
    }

    /// How long one request may take, the answer included. Default: 10 s.
    pub fn deadline(mut self, limit: Duration) -> Self {
        self.deadline = limit;
        self
    }

    /// The source. Its requests go out by `transport`, which must trust the server's certificate and may reach its address
    /// (the default transport refuses private addresses that it was not told of). Nothing is asked yet.
    ///
    /// # Errors
    /// [`VaultPkiError`] says what to change.
    pub fn build(self, transport: Arc<dyn Transport>, clock: Arc<dyn Clock>) -> Result<VaultPki, VaultPkiError> {
        if !is_mount(&self.mount) || !is_name(&self.role) {
            return Err(VaultPkiError::Name);
        }
        let path = format!("/v1/{}/issue/{}", self.mount, self.role);
        let target = self.address.join_path(&path).map_err(VaultPkiError::Address)?;
        let namespace = self.namespace.map(HeaderValue::try_from).transpose();
        Ok(VaultPki(Arc::new(Inner {
            endpoint: Endpoint {
                target,
                namespace: namespace.map_err(|_| VaultPkiError::Namespace)?,
                ttl: self.ttl,
            },
            token: RwLock::new(self.token),
            subjects: self.subjects.ok_or(VaultPkiError::Subject)?,
            deadline: self.deadline,
            transport,
            clock,
            slots: Mutex::default(),
            pause: Mutex::default(),
            failure_hidden: AtomicBool::new(false),
        })))
    }
}

impl fmt::Debug for VaultPkiBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultPkiBuilder")
            .field("address", &self.address)
            .field("mount", &self.mount)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn key(&self, connection: &ConnectionId) -> Option<ConnectionId> {
        match self.subjects {
            Subjects::One(_) => None,
            Subjects::Each(_) => Some(connection.clone()),
        }
    }

    fn slot(&self, connection: &ConnectionId) -> Result<Arc<Slot>, VaultFailure> {
        let key = self.key(connection);
        let mut slots = self.slots();
        if let Some(slot) = slots.get(&key) {
            return Ok(Arc::clone(slot));
        }
        if slots.len() >= MAX_CONNECTIONS {
            return Err(VaultFailure::Full);
        }
        Ok(Arc::clone(slots.entry(key).or_default()))
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Option<ConnectionId>, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pause(&self) -> MutexGuard<'_, Pause> {
        self.pause.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the server once.
    async fn issue(&self, key: Option<&ConnectionId>) -> Outcome {
        let subject = match (&self.subjects, key) {
            // Its panic is this connection's own failure, and pauses nobody else.
            (Subjects::Each(subject), Some(connection)) => {
                catch_unwind(AssertUnwindSafe(|| subject(connection))).map_err(|_panic| VaultFailure::Subject)?
            }
            (Subjects::One(subject), _) => subject.clone(),
            (Subjects::Each(_), None) => return Err(VaultFailure::Subject),
        };
        let token = self.token.read().unwrap_or_else(PoisonError::into_inner).clone();
        let identity = self.endpoint.issue(&*self.transport, &token, &subject).await?;
        let now = self.clock.now();
        identity.check_valid(now).map_err(VaultFailure::Identity)?;
        let life = identity.not_after().unix_micros().saturating_sub(now.unix_micros());
        let life = Duration::from_micros(u64::try_from(life).unwrap_or(0));
        let share = (RENEW_AT + RENEW_JITTER * spread()) / 100.0;
        Ok(Issued {
            identity,
            renew_from: now + life.mul_f64(share),
        })
    }

    fn begin(self: &Arc<Self>, key: Option<ConnectionId>) -> BoxFuture<'static, Outcome> {
        let source = Arc::clone(self);
        let deadline = self.clock.monotonic() + self.deadline;
        async move {
            let issued = within(&*source.clock, deadline, source.issue(key.as_ref()));
            // A panic of what was handed in would otherwise be everybody's who waits for this flight.
            match AssertUnwindSafe(issued).catch_unwind().await {
                Ok(Some(outcome)) => outcome,
                Ok(None) => Err(VaultFailure::Late),
                Err(_panic) => Err(VaultFailure::Transport(TransportErrorKind::Other)),
            }
        }
        .boxed()
    }
}

/// Joins the flight that fetches this certificate, or begins one.
async fn fly(source: Arc<Inner>, slot: Arc<Slot>, key: Option<ConnectionId>) -> Outcome {
    let boarding = slot.board(source.clock.monotonic(), source.deadline, || {
        match source.pause().holds(source.clock.monotonic()) {
            Some(failure) => Err(failure),
            None => Ok(source.begin(key)),
        }
    });
    let (number, flight) = boarding?;
    let outcome = flight.await;
    let now = source.clock.monotonic();
    if slot.land(number, &outcome, now) {
        match &outcome {
            Ok(_) => *source.pause() = Pause::default(),
            Err(failure) if failure.is_of_the_server() => source.pause().begin(*failure, now),
            Err(_of_the_slot) => {}
        }
    }
    outcome
}
