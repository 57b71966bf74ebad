//! The one stream of events: logs, metrics, audit and detectors read it.
//!
//! Events carry connections, origins, thumbprints, timings and codes. They carry no token, proof, secret, path, query or
//! text that a server chose.

pub mod fingerprint;
mod keys;
pub mod memory;
pub mod tracing;
pub mod webhook;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};

use crate::act::Act;
use crate::binding::nonce::NonceRefused;
use crate::binding::{BindingKind, Role};
use crate::clock::{Clock, Timestamp};
use crate::exchange::fault::FaultKind;
use crate::jose::Thumbprint;
use crate::owner::{CarrierId, ConnectionId, DeploymentId, Environment, Owner};
use crate::target::Origin;
use crate::throttle::CountedBy;
use crate::transport::Stage;

use self::fingerprint::Fingerprint;
pub use self::keys::{KeyChange, KeyEvent, RotationRun};

/// Something that happened to a connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// To which connection; `None` for what concerns a client as a whole.
    pub connection: Option<ConnectionId>,
    /// What.
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum EventKind {
    /// One request went out, and came to an end.
    Attempt(AttemptRecord),
    /// A call of the application came to an end.
    Call(CallRecord),
    /// A token was issued.
    TokenIssued {
        /// What it is tied to.
        binding: BindingKind,
        /// The thumbprint of its proof key.
        jkt: Option<Thumbprint>,
        /// The thumbprint of the client certificate that was shown. Beside a proof key the issuer may have bound it to that alone.
        x5t: Option<Thumbprint>,
        /// Its lifetime as it is believed.
        lifetime: Duration,
    },
    /// No token could be had.
    TokenFailed {
        /// The error's code.
        code: &'static str,
        /// How long the issuer is left alone now.
        pause: Duration,
    },
    /// The issuer gave an unbound token where a binding is required: it was neither stored nor used.
    UnboundTokenRefused,
    /// A server refused a token that the cache held.
    TokenRefused,
    /// A token was asked for with an assertion that is weaker than it could be, since its profile says so: the token endpoint as
    /// its audience, a `typ` that is not explicit, or RS256.
    LegacyAssertion,
    /// A carrier answers that it blocks whoever it counts so: nothing is sent to this server until that is over, for this tenant
    /// or for all, as the [`Budget`](crate::throttle::Budget) judges.
    Blocked {
        /// Which server.
        role: Role,
        /// Whose requests it counts together.
        counted_by: CountedBy,
        /// For how long.
        lasts: Duration,
    },
    /// Whoever keeps the budget did not take the word of a block in time.
    BudgetUnavailable,
    /// A credential that takes another's place was refused; the one that it replaces goes on
    /// ([`Credential::replacing`](crate::credentials::Credential::replacing)).
    CredentialNotTaken,
    /// A path that says something of a person stood in a proof.
    PersonalPath {
        /// The route.
        route: Arc<str>,
    },
    /// Somebody added the connection, or changed how it stands or what was set.
    ConnectionChanged {
        /// What was done.
        change: ConnectionChange,
        /// The revision of its record since then.
        revision: u64,
        /// Who did it, and why.
        act: Act,
    },
    /// A removal of the connection could not be ended; it is tried again.
    RemovalUnfinished {
        /// What it waits for, as a short name.
        step: &'static str,
        /// Why, as a short name.
        code: &'static str,
    },
    /// A record of the store of connections cannot be read: malformed, or written by a newer version. Its connection does not call;
    /// where not even that is known, the event names none. Told once by each process.
    ConnectionUnreadable {
        /// The number of the record's last change.
        number: u64,
    },
    /// The store of connections does not answer. Those that are known go on meanwhile.
    ConnectionsUnavailable,
    /// The store of connections has not answered for too long: no connection's calls are let through until it does.
    ConnectionsStale,
    /// An endpoint of alerts was not told of something. User action: look at the endpoint; what it missed is in the other sinks.
    AlertsUndelivered {
        /// Why: `gone` (it answered 410, and nothing is sent any more), `refused` or `unanswered` (an event was given up).
        code: &'static str,
    },
    /// A server's clock was found to differ, and proofs to it follow.
    ClockOffset {
        /// Which server.
        role: Role,
        /// Its clock less ours, in seconds.
        offset_seconds: i64,
    },
    /// The issuer is not told any more that a token of this connection is revoked: it refuses for good, or did not listen for
    /// hours. The token is good there until it ends; revoke the client's credential instead.
    RevocationGivenUp,
    /// A client certificate took another's place: new connections show it, tokens of the old one were dropped.
    CertificateExchanged {
        /// The thumbprint of the old one.
        old: Thumbprint,
        /// The thumbprint of the new one.
        new: Thumbprint,
        /// Until when the new one is valid.
        not_after: Timestamp,
    },
    /// A newer client certificate could not be taken; the old one goes on.
    CertificateNotTaken {
        /// Why, as a short name.
        code: &'static str,
    },
    /// A client certificate ends soon, or has ended.
    CertificateEnding {
        /// Its thumbprint.
        x5t: Thumbprint,
        /// Until when it is valid.
        not_after: Timestamp,
    },
    /// A client certificate is old, or too old, by the policy of rotation, however long it is valid.
    CertificateDue {
        /// Its thumbprint.
        x5t: Thumbprint,
        /// Time since it became valid.
        age: Duration,
        /// When it is, or was, too old.
        due: Timestamp,
        /// Whether it is too old. Told daily.
        overdue: bool,
    },
    /// Something happened to a key.
    Key(KeyEvent),
    /// Keys were rotated.
    RotationRun(RotationRun),
    /// Rotation could not find out which keys there are, or who leads (`lead_unknown`): by the short name of the error.
    RotationBlind {
        /// Why, as a short name.
        code: &'static str,
    },
    /// An issuer offers to bind tokens to something that it did not offer before, or that this client does not use.
    BindingOffered {
        /// The carrier.
        carrier: CarrierId,
        /// Which of its systems.
        environment: Environment,
        /// What the issuer binds tokens to.
        binding: BindingKind,
    },
    /// The database shows an older state than it has shown before, or one that was changed behind the library's back: no key of
    /// this deployment signs any more.
    StateRolledBack {
        /// Which deployment's.
        deployment: DeploymentId,
        /// What was found: `behind`, `forked`, `changed`, or `row put back` where one row alone is an old one.
        code: &'static str,
    },
    /// Somebody took the database's state as it is, without an anchor that vouches for it.
    AnchorAdopted {
        /// Which deployment's.
        deployment: DeploymentId,
        /// Who, why and under which ticket.
        act: Act,
    },
    /// Somebody accepted a backup that was restored: the keys in it have ended, shippers have to consent again.
    RestoreAccepted {
        /// Which deployment's.
        deployment: DeploymentId,
        /// Who, why and under which ticket.
        act: Act,
    },
    /// Somebody did something to a store. The same stands in the table of acts.
    Acted {
        /// What, as a short name: `put-credential`, `rotate-kek`.
        what: &'static str,
        /// Who, why and under which ticket.
        act: Act,
    },
    /// A `DPoP-Nonce` was not taken.
    NonceIgnored {
        /// Which server gave it.
        role: Role,
        /// Why.
        reason: NonceRefused,
    },
}

/// What somebody did with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectionChange {
    /// It was added.
    Added,
    /// Its settings were changed.
    Changed,
    /// It was suspended.
    Suspended,
    /// It was resumed.
    Resumed,
    /// Its removal has begun.
    Removing,
    /// It was removed.
    Removed,
}

impl ConnectionChange {
    /// A short name, `suspended` for instance.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Suspended => "suspended",
            Self::Resumed => "resumed",
            Self::Removing => "removing",
            Self::Removed => "removed",
        }
    }
}

/// One request of an exchange.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AttemptRecord {
    /// Who received it.
    pub role: Role,
    /// Scheme, host and port; never the path.
    pub origin: Origin,
    /// The method.
    pub method: Method,
    /// The answer's status; `None` where none came.
    pub status: Option<StatusCode>,
    /// How far it came.
    pub stage: Stage,
    /// Why the request was repeated; `None` for the first attempt.
    pub repeat: Option<Repeat>,
    /// What the credential is tied to.
    pub binding: BindingKind,
    /// From hand-over to the last octet of the answer.
    pub took: Duration,
}

/// Why an exchange repeated its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Repeat {
    /// The server asked for a nonce.
    Nonce,
    /// The server refused the token.
    Renewal,
    /// The server's clock differs.
    ClockOffset,
    /// The server does not answer for this address on that connection (421).
    Misdirected,
    /// The connection was lost, and the method is safe.
    Lost,
}

/// A call of the application.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CallRecord {
    /// The method.
    pub method: Method,
    /// The carrier's route, `/track/v1/details/{id}` for instance; `{unclassified}` where the profile does not know it.
    pub route: Arc<str>,
    /// A keyed digest of the proof's `htu`: equal for equal addresses of one tenant in one month, and not to be enumerated
    /// without the key. `None` where the tenant's were erased.
    pub address: Option<Fingerprint>,
    /// The last answer's status.
    pub status: Option<StatusCode>,
    /// How far the call came.
    pub stage: Stage,
    /// The error's code; `None` for an answer that was given to the caller.
    pub error: Option<&'static str>,
    /// What the carrier's refusal means.
    pub fault: Option<FaultKind>,
    /// Requests sent to the API.
    pub attempts: u32,
    /// What the token was tied to.
    pub binding: Option<BindingKind>,
    /// The thumbprint of the proof key.
    pub jkt: Option<Thumbprint>,
    /// The thumbprint of the client certificate that was shown.
    pub x5t: Option<Thumbprint>,
    /// The whole call.
    pub took: Duration,
}

/// Where events go.
///
/// Called on the path of every request: hand the event over and return. A sink that blocks makes every call wait.
pub trait Sink: fmt::Debug + Send + Sync {
    /// Takes an event.
    fn record(&self, event: &Event);
}

/// The journal of a process: events of all connections, to every sink.
#[derive(Clone, Debug)]
pub struct Journal {
    clock: Arc<dyn Clock>,
    sinks: Arc<[Arc<dyn Sink>]>,
}

impl Journal {
    /// A journal that writes to `sinks`.
    pub fn new(clock: Arc<dyn Clock>, sinks: impl IntoIterator<Item = Arc<dyn Sink>>) -> Self {
        Self {
            clock,
            sinks: sinks.into_iter().collect(),
        }
    }

    /// The same one, which writes to these sinks too.
    pub(crate) fn and(self, sinks: Vec<Arc<dyn Sink>>) -> Self {
        match sinks.is_empty() {
            true => self,
            false => Self {
                sinks: self.sinks.iter().cloned().chain(sinks).collect(),
                clock: self.clock,
            },
        }
    }

    /// Whether there is a sink at all.
    pub(crate) fn is_heard(&self) -> bool {
        !self.sinks.is_empty()
    }

    /// Records what `kind` makes; it is not called where nobody listens.
    pub(crate) fn record(&self, connection: &ConnectionId, kind: impl FnOnce() -> EventKind) {
        if !self.is_heard() {
            return;
        }
        self.tell(Some(connection.clone()), kind());
    }

    /// Records something that happened to what `owner` has.
    pub(crate) fn record_of(&self, owner: &Owner, kind: impl FnOnce() -> EventKind) {
        if self.is_heard() {
            self.tell(owner.connection().cloned(), kind());
        }
    }

    /// Records something that concerns no connection in particular.
    pub(crate) fn record_at_large(&self, kind: EventKind) {
        self.tell(None, kind);
    }

    fn tell(&self, connection: Option<ConnectionId>, kind: EventKind) {
        let event = Event {
            at: self.clock.now(),
            connection,
            kind,
        };
        for sink in self.sinks.iter() {
            sink.record(&event);
        }
    }
}
