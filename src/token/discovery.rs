//! What is known of the issuer, read when it is needed and kept for a while (RFC 8414).

use std::fmt;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, ready};
use http::StatusCode;

use crate::binding::Role;
use crate::clock::Monotonic;
use crate::error::{Error, ErrorKind};
use crate::exchange::connection::Connection;
use crate::target::Target;

use super::capabilities::Capabilities;
use super::errand::Discovery;
use super::metadata::{Issuer, IssuerEndpoint, Metadata, MetadataError};
use super::source::{Place, TokenSource};

/// How long metadata is used before it is read again.
const METADATA_LIFE: Duration = Duration::from_secs(60 * 60);

/// How long metadata goes on when it cannot be read again.
const METADATA_GRACE: Duration = Duration::from_secs(24 * 60 * 60);

/// How long reading may take while what was read before can go on: the rest of the time is for the token.
const METADATA_SHARE: Duration = Duration::from_secs(2);

/// How long the issuer is not asked again after its metadata could not be read: for those who waited meanwhile.
const METADATA_PAUSE: Duration = Duration::from_secs(1);

/// The same while what was read before can go on. The first caller after it waits [`METADATA_SHARE`] for nothing.
const METADATA_LONG_PAUSE: Duration = Duration::from_secs(30);

/// What is known of the issuer's metadata.
#[derive(Default)]
pub(crate) struct Known {
    read: Option<(Monotonic, Arc<Metadata>)>,
    /// The last failure, and until when the issuer is not asked again.
    failed: Option<(Monotonic, Error)>,
    /// One reading for all who wait, and from when on another is begun. Whoever waits drives it: one that was given up by its
    /// first caller holds nobody up.
    reading: Option<(Monotonic, Reading)>,
}

impl Known {
    /// What was read, unless it is older than this.
    fn at_most(&self, age: Duration, now: Monotonic) -> Option<Arc<Metadata>> {
        let (read, metadata) = self.read.as_ref()?;
        (now.saturating_since(*read) < age).then(|| Arc::clone(metadata))
    }
}

type Reading = Shared<BoxFuture<'static, Result<Arc<Metadata>, Error>>>;

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Known")
            .field("read", &self.read)
            .finish_non_exhaustive()
    }
}

/// The issuer, as far as a request to it needs to know.
#[derive(Clone, Debug)]
pub(super) enum Found<'a> {
    /// By fixed endpoints, without metadata.
    Fixed(&'a Place),
    Described(Arc<Metadata>),
}

/// What an issuer says of itself, whether or not this client can work with it.
pub(crate) struct Described {
    pub(crate) issuer: String,
    pub(crate) capabilities: Capabilities,
    /// Whether a client that shows certificates can.
    pub(crate) mtls: Result<(), MetadataError>,
}

impl Found<'_> {
    /// Whether the issuer takes PKCE as it is used here, or does not say how it does.
    pub(super) fn takes_s256(&self) -> bool {
        match self {
            Self::Fixed(_) => true,
            Self::Described(metadata) => {
                let listed = metadata.capabilities.challenge_methods.as_ref();
                listed.is_none_or(|listed| listed.iter().any(|method| method == "S256"))
            }
        }
    }

    /// Whether the issuer says that it binds tokens to client certificates (RFC 8705 3.3).
    pub(super) fn binds_to_certificates(&self) -> bool {
        match self {
            Self::Fixed(_) => false,
            Self::Described(metadata) => metadata.capabilities.certificate_bound_tokens == Some(true),
        }
    }

    /// The proof algorithms that the issuer lists.
    pub(super) fn algorithms(&self) -> Option<&[String]> {
        match self {
            Self::Fixed(_) => None,
            Self::Described(metadata) => metadata.capabilities.dpop_algorithms.as_deref(),
        }
    }
}

impl TokenSource {
    /// The issuer: its metadata where it has some, read anew or remembered.
    pub(super) async fn issuer(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        deadline: Monotonic,
    ) -> Result<Found<'_>, Error> {
        match &self.at {
            Place::Issuer(issuer) => Ok(Found::Described(self.metadata(issuer, connection, deadline).await?)),
            fixed => Ok(Found::Fixed(fixed)),
        }
    }

    /// Reads what the issuer says of itself now; `None` where it has no metadata. Nothing of it is kept.
    pub(crate) async fn describe(&self, connection: &Connection) -> Result<Option<Described>, Error> {
        let Place::Issuer(issuer) = &self.at else {
            return Ok(None);
        };
        let deadline = self.clock.monotonic() + self.limits.token_exchange;
        let metadata = self.fetch_metadata(issuer, connection, deadline).await?;
        Ok(Some(Described {
            issuer: issuer.as_str().to_owned(),
            mtls: metadata.check_mtls(self.strategy.minimum()),
            capabilities: metadata.capabilities,
        }))
    }

    /// Whether the issuer's metadata names this place as one of its endpoints.
    pub(crate) fn names(&self, target: &Target) -> bool {
        let Place::Issuer(issuer) = &self.at else {
            return false;
        };
        // Endpoints are on these origins alone; the API is mostly on another.
        if issuer.origin() != target.origin() && !self.origins.contains(target.origin()) {
            return false;
        }
        let known = self.known();
        let metadata = known.read.as_ref().map(|(_, metadata)| metadata);
        metadata.is_some_and(|metadata| metadata.names(target))
    }

    /// Whether the issuer has this endpoint.
    pub(super) fn has(&self, found: &Found<'_>, which: IssuerEndpoint) -> bool {
        match found {
            Found::Described(metadata) => metadata.capabilities.has(which),
            Found::Fixed(Place::Endpoints(endpoints)) => endpoints.contains_key(&which),
            Found::Fixed(_) => false,
        }
    }

    /// Where this endpoint of the issuer is.
    pub(super) fn endpoint(&self, found: &Found<'_>, which: IssuerEndpoint) -> Result<Target, Error> {
        let place = match found {
            Found::Described(metadata) => {
                // Metadata does not know of refresh endpoints: it is the token endpoint.
                let which = match which {
                    IssuerEndpoint::Refresh => IssuerEndpoint::Token,
                    which => which,
                };
                metadata.endpoint(which, self.shows_certificates())
            }
            Found::Fixed(Place::Endpoints(endpoints)) => {
                let elsewhere = (which == IssuerEndpoint::Refresh).then_some(&IssuerEndpoint::Token);
                endpoints
                    .get(&which)
                    .or_else(|| endpoints.get(elsewhere?))
                    .ok_or(MetadataError::NotOffered(which))
            }
            Found::Fixed(_) => Err(MetadataError::NotOffered(which)),
        };
        place.cloned().map_err(fault)
    }

    /// The issuer's metadata, read again when it is an hour old. While the issuer cannot be read, or only too slowly, what it
    /// last said goes on for a day; a document with a fault ends that.
    async fn metadata(
        self: &Arc<Self>,
        issuer: &Issuer,
        connection: &Arc<Connection>,
        deadline: Monotonic,
    ) -> Result<Arc<Metadata>, Error> {
        let now = self.clock.monotonic();
        let (reading, last) = {
            let mut known = self.known();
            if let Some(fresh) = known.at_most(METADATA_LIFE, now) {
                return Ok(fresh);
            }
            let last = known.at_most(METADATA_GRACE, now);
            let failed = known.failed.clone().filter(|(until, _)| now < *until);
            let reading = match (failed, &known.reading) {
                (Some((_, error)), _) => ready(Err(error)).boxed().shared(),
                (None, Some((stale, reading))) if now < *stale => reading.clone(),
                (None, _) => {
                    let half = self.limits.token_exchange / 2;
                    let (limit, stale) = match &last {
                        Some(_) => {
                            let share = METADATA_SHARE.min(half);
                            (deadline.min(now + share), share / 2)
                        }
                        None => (deadline, half),
                    };
                    let (source, issuer, connection) = (Arc::clone(self), issuer.clone(), Arc::clone(connection));
                    let reading = async move { source.read_metadata(&issuer, &connection, limit).await };
                    let reading = reading.boxed().shared();
                    known.reading = Some((now + stale, reading.clone()));
                    reading
                }
            };
            (reading, last)
        };
        match (reading.await, last) {
            (Ok(metadata), _) => Ok(metadata),
            (Err(failure), Some(last)) if is_unread(&failure) => Ok(last),
            (Err(failure), _) => Err(failure),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.metadata.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the metadata, and notes how that went.
    async fn read_metadata(
        &self,
        issuer: &Issuer,
        connection: &Connection,
        deadline: Monotonic,
    ) -> Result<Arc<Metadata>, Error> {
        let outcome = self.fetch_metadata(issuer, connection, deadline).await;
        let outcome = outcome.and_then(|metadata| self.judge(&metadata).map(|()| Arc::new(metadata)).map_err(fault));
        let now = self.clock.monotonic();
        let mut known = self.known();
        known.reading = None;
        match &outcome {
            Ok(metadata) => {
                known.read = Some((now, Arc::clone(metadata)));
                known.failed = None;
            }
            Err(error) => {
                if !is_unread(error) {
                    // The issuer has taken back what it said before.
                    known.read = None;
                }
                let goes_on = known.at_most(METADATA_GRACE, now).is_some();
                let pause = if goes_on { METADATA_LONG_PAUSE } else { METADATA_PAUSE };
                known.failed = Some((now + pause, error.clone()));
            }
        }
        outcome
    }

    /// Whether this client can work with what the issuer says of itself.
    fn judge(&self, metadata: &Metadata) -> Result<(), MetadataError> {
        if self.shows_certificates() {
            metadata.check_mtls(self.strategy.minimum())?;
        }
        if self.fapi {
            metadata.check_fapi(&self.auth, self.strategy.kind())?;
        }
        Ok(())
    }

    /// What the issuer's document says now, whether or not this client can work with it.
    async fn fetch_metadata(
        &self,
        issuer: &Issuer,
        connection: &Connection,
        deadline: Monotonic,
    ) -> Result<Metadata, Error> {
        let mut status = StatusCode::NOT_FOUND;
        for place in issuer.well_known() {
            let mut errand = Discovery::new(place);
            let response = self
                .drive(&mut errand, connection, deadline)
                .await
                .map_err(Error::not_sent)?;
            if response.status == StatusCode::OK {
                return Metadata::read(issuer, &response.headers, &response.body, &self.origins, &self.exempt)
                    .map_err(fault);
            }
            status = response.status;
        }
        Err(fault(MetadataError::NotFound(status)))
    }
}

/// Whether nothing was read that the issuer says of itself: no answer, no document, or a page that is none, as proxies
/// and maintenance give.
fn is_unread(failure: &Error) -> bool {
    match failure.kind() {
        ErrorKind::Metadata(error) => matches!(error, MetadataError::NotFound(_) | MetadataError::NotJson),
        _ => true,
    }
}

fn fault(error: MetadataError) -> Error {
    Error::before(ErrorKind::Metadata(error)).of(Role::AuthorizationServer)
}
