//! How often a carrier may be asked: limits that it tells, held here before they are met.
//!
//! Token endpoints come first. Some count by the address that requests come from, so one shipper's wrong secret can have every
//! shipper behind that address blocked: FedEx does so for ten minutes, and longer while requests go on. So a request to such an
//! endpoint is taken out of a [`Budget`] before it is sent, no tenant gets more than a tenth of a budget that all share, and
//! while a carrier blocks nothing is sent at all.

mod local;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;

use crate::binding::Role;
use crate::clock::Timestamp;
use crate::exchange::quirks::BodyCode;
use crate::owner::{CarrierId, ConnectionId, Environment};

pub use self::local::LocalBudget;

/// At most so many requests in any span of time of this length.
///
/// ```
/// use std::time::Duration;
/// use shipbound::throttle::{CountedBy, Limit};
///
/// let limit = Limit::new(14, Duration::from_secs(5), CountedBy::Address);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limit {
    /// How many requests.
    pub requests: u32,
    /// In which time.
    pub window: Duration,
    /// Whose requests are counted together.
    pub counted_by: CountedBy,
}

impl Limit {
    /// At most `requests` in any `window`.
    pub const fn new(requests: u32, window: Duration, counted_by: CountedBy) -> Self {
        Self {
            requests,
            window,
            counted_by,
        }
    }
}

/// Whose requests a carrier counts together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CountedBy {
    /// All that come from one address: whatever this process, or a fleet behind one NAT, sends for all tenants.
    Address,
    /// Those of one connection: a client id, a project, an API key.
    Connection,
}

/// What is known of a carrier's limits, and how it shows that they were crossed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Throttling {
    /// Of its token endpoint. Held here.
    pub token: Vec<Limit>,
    /// Of its API. Those with a window of at most [`LONGEST_HELD`] are held here; longer ones are the carrier's to count, who
    /// knows what other processes and earlier runs have used.
    pub api: Vec<Limit>,
    /// Answers by which the carrier says that it blocks.
    pub blocks: Vec<Block>,
    /// How long the API is left alone after a 429 without `Retry-After`. Default: not at all.
    pub pause: Option<Duration>,
}

/// The longest window of an API's limit that is held here.
pub const LONGEST_HELD: Duration = Duration::from_secs(60);

impl Throttling {
    /// Adds a limit of the token endpoint.
    #[must_use]
    pub fn token(mut self, limit: Limit) -> Self {
        self.token.push(limit);
        self
    }

    /// Adds a limit of the API.
    #[must_use]
    pub fn api(mut self, limit: Limit) -> Self {
        self.api.push(limit);
        self
    }

    /// Adds an answer that means a block.
    #[must_use]
    pub fn block(mut self, block: Block) -> Self {
        self.blocks.push(block);
        self
    }

    /// Says how long the API is left alone after a 429 without `Retry-After`.
    #[must_use]
    pub fn pause(mut self, pause: Duration) -> Self {
        self.pause = Some(pause);
        self
    }

    /// What of it is held here.
    pub(crate) fn held(&self) -> Self {
        let mut held = self.clone();
        held.api.retain(|limit| limit.window <= LONGEST_HELD);
        held
    }

    /// The limits of requests to this server.
    pub(crate) fn of(&self, role: Role) -> &[Limit] {
        match role {
            Role::AuthorizationServer => &self.token,
            Role::ResourceServer => &self.api,
        }
    }

    /// How long the server is left alone after an answer that does not say so itself.
    pub(crate) fn pause_after(&self, role: Role, status: StatusCode) -> Option<Duration> {
        let counts = role == Role::ResourceServer && status == StatusCode::TOO_MANY_REQUESTS;
        self.pause.filter(|_| counts)
    }

    /// Whether requests to this server are to be counted at all.
    pub(crate) fn concerns(&self, role: Role) -> bool {
        !self.of(role).is_empty() || self.blocks.iter().any(|block| block.role == role)
    }
}

/// An answer by which a carrier says that it blocks: that nothing of what is sent is looked at any more, for a while.
///
/// Where the carrier gives the same answer to one tenant's bad request, list it even so: with [`CountedBy::Address`] whoever keeps
/// the [`Budget`] judges whether everybody is meant ([`Budget::blocked`]). He does so by the limits of the address, so name them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Block {
    /// Which server says so.
    pub role: Role,
    /// By this status.
    pub status: StatusCode,
    /// And by this code in the body, where the status alone does not tell.
    pub code: Option<BodyCode>,
    /// Who is blocked.
    pub counted_by: CountedBy,
    /// For how long. With [`CountedBy::Address`] nothing is sent to this server in that time, for any tenant, once it is believed
    /// that the address is meant.
    pub lasts: Duration,
}

impl Block {
    /// This status of this server is a block that lasts so long.
    pub const fn new(role: Role, status: StatusCode, counted_by: CountedBy, lasts: Duration) -> Self {
        Self {
            role,
            status,
            code: None,
            counted_by,
            lasts,
        }
    }

    /// Only with this code in the body.
    #[must_use]
    pub fn with_code(mut self, code: BodyCode) -> Self {
        self.code = Some(code);
        self
    }
}

/// One request that somebody wants to send.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Demand<'a> {
    /// For whom.
    pub connection: &'a ConnectionId,
    /// To which server.
    pub role: Role,
    /// What it is to be kept to: all of these.
    pub limits: &'a [Limit],
    /// How long the request can wait.
    pub patience: Duration,
}

impl<'a> Demand<'a> {
    /// One request of this connection to this server, to be kept to all of these limits.
    pub const fn new(connection: &'a ConnectionId, role: Role, limits: &'a [Limit], patience: Duration) -> Self {
        Self {
            connection,
            role,
            limits,
            patience,
        }
    }
}

/// Why a request may not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Spent {
    /// After what time it may be asked for again.
    pub after: Duration,
    /// Why.
    pub cause: Cause,
}

impl Spent {
    /// Not before this time has passed.
    pub const fn new(after: Duration, cause: Cause) -> Self {
        Self { after, cause }
    }

    /// It cannot be told whether a request may be sent: asked again in a second, perhaps.
    pub(crate) const fn unavailable() -> Self {
        Self::new(Duration::from_secs(1), Cause::Unavailable)
    }
}

/// Why a request may not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The carrier blocks.
    Blocked,
    /// The budget that all tenants share is used up for longer than the request can wait.
    Shared,
    /// The tenant's share of it is.
    Tenant,
    /// The connection's own budget is.
    Connection,
    /// Whoever keeps the budget does not answer, or has no room to count for one more. Requests are not sent on a guess.
    Unavailable,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Blocked => "the carrier blocks requests for a while",
            Self::Shared => "the requests that all tenants may send for now are used up",
            Self::Tenant => "the requests that this tenant may send for now are used up",
            Self::Connection => "the requests that this connection may send for now are used up",
            Self::Unavailable => "it cannot be told whether a request may be sent now",
        })
    }
}

/// A block of the address that is not over, as one process hands it to the next ([`LocalBudget::blocks`]). Write it down as it
/// suits: it has no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenBlock {
    /// Which carrier blocks.
    pub carrier: CarrierId,
    /// In which environment.
    pub environment: Environment,
    /// Which of its servers.
    pub role: Role,
    /// Until when.
    pub until: Timestamp,
}

impl OpenBlock {
    /// This server of the carrier blocks the address until then.
    pub const fn new(carrier: CarrierId, environment: Environment, role: Role, until: Timestamp) -> Self {
        Self {
            carrier,
            environment,
            role,
            until,
        }
    }
}

/// Keeps count of requests. [`LocalBudget`] does so for this process; a fleet behind one address needs one that all its
/// processes share.
#[async_trait]
pub trait Budget: fmt::Debug + Send + Sync {
    /// Takes a request out of all limits that `demand` names, or out of none: gives how long to wait, from this answer on, before
    /// it is sent. Who is told to wait has a place; those who come later are sent earlier only where that does not cost him his
    /// place. A place that is given up stays taken.
    ///
    /// # Errors
    /// [`Spent`] when the wait would be longer than `demand.patience`, when too many wait, or while the carrier blocks. Nothing
    /// was taken.
    async fn take(&self, demand: &Demand<'_>) -> Result<Duration, Spent>;

    /// Whether a request that has waited for its place may be sent now: a block that has begun meanwhile does not call places
    /// back. Nothing is taken.
    ///
    /// # Errors
    /// [`Spent`] with [`Cause::Blocked`] when the carrier has begun to block meanwhile.
    async fn look(&self, demand: &Demand<'_>) -> Result<(), Spent>;

    /// The carrier has answered that it blocks: whoever it counts with `demand` by `counted_by` gets [`Cause::Blocked`] until
    /// that is over. Of [`CountedBy::Address`] it may judge: as long as so few requests were sent that the address can hardly be
    /// meant, the one tenant of `demand` gets [`Cause::Blocked`], until another tenant is told the same. Of two blocks the one that ends later counts. What is granted after a block begins with one request and
    /// goes on evenly, since the carrier may block still.
    async fn blocked(&self, demand: &Demand<'_>, counted_by: CountedBy, lasts: Duration);
}
