//! A second token, which a carrier's API gives to who has the first one, and which some calls need beside it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, Method};
use zeroize::Zeroizing;

use crate::binding::{Role, TokenBinding};
use crate::clock::Monotonic;
use crate::credentials::{Credential, CredentialError};
use crate::crypto::Digest;
use crate::error::{Error, ErrorKind};
use crate::exchange::connection::Connection;
use crate::exchange::{Draft, Errand};
use crate::secret::ClientSecret;
use crate::target::Target;
use crate::transport::Stage;

use super::client_auth::header_value;
use super::form::JSON;
use super::lease::Lease;
use super::slot::Landed;
use super::source::{Prepared, TokenSource};

/// A token that is asked for at the API with each new access token, and that goes with some calls: USPS's payment
/// authorization.
///
/// It is asked for with a JSON body that the connection's credential holds as a part, and lives and ends with the access
/// token: whichever ends first renews both.
///
/// ```
/// use std::time::Duration;
/// use http::HeaderName;
/// use shipbound::token::companion::Companion;
///
/// let payment = Companion::new(
///     "/payments/v3/payment-authorization",
///     "payment_authorization",
///     "/paymentAuthorizationToken",
///     HeaderName::from_static("x-payment-authorization-token"),
///     Duration::from_secs(50 * 60),
/// )
/// .for_paths_below("/labels/v3/");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Companion {
    /// Where it is asked for: a path from the profile's base, by `POST`.
    pub path: Cow<'static, str>,
    /// The credential's part that holds the body of that request, as JSON.
    pub body_part: Cow<'static, str>,
    /// Where the answer holds it: a JSON pointer (RFC 6901).
    pub pointer: Cow<'static, str>,
    /// The header that it goes into. Refused from callers.
    pub header: HeaderName,
    /// How long it lives.
    pub lifetime: Duration,
    /// It goes with calls to paths that begin so, as they are on the wire. Default: with none.
    pub paths: Vec<Cow<'static, str>>,
}

impl Companion {
    /// A token from `path`, asked for with the credential's part `body_part`.
    pub fn new(
        path: impl Into<Cow<'static, str>>,
        body_part: impl Into<Cow<'static, str>>,
        pointer: impl Into<Cow<'static, str>>,
        header: HeaderName,
        lifetime: Duration,
    ) -> Self {
        Self {
            path: path.into(),
            body_part: body_part.into(),
            pointer: pointer.into(),
            header,
            lifetime,
            paths: Vec::new(),
        }
    }

    /// Sends it with calls to paths that begin so.
    #[must_use]
    pub fn for_paths_below(mut self, prefix: impl Into<Cow<'static, str>>) -> Self {
        self.paths.push(prefix.into());
        self
    }

    /// The body of the request for it.
    pub(super) fn body<'a>(&self, credential: &'a Credential) -> Result<&'a ClientSecret, Error> {
        let body = credential.part(&self.body_part);
        body.ok_or_else(|| {
            let missing = CredentialError::NoPart(self.body_part.clone());
            Error::before(missing.into()).of(Role::AuthorizationServer)
        })
    }

    /// Writes what tells this token from others into a digest.
    pub(crate) fn identify(&self, digest: &mut Digest) {
        let Self {
            path,
            body_part,
            pointer,
            header,
            lifetime,
            paths: _of_calls,
        } = self;
        [path, body_part, pointer].iter().for_each(|text| digest.text(text));
        digest.text(header.as_str());
        digest.count(usize::try_from(lifetime.as_secs()).unwrap_or(usize::MAX));
    }

    /// Whether calls to this path carry it.
    pub(crate) fn goes_with(&self, path: &str) -> bool {
        self.paths.iter().any(|prefix| path.starts_with(&**prefix))
    }
}

impl TokenSource {
    /// Asks the API for the second token, with the first one.
    pub(super) async fn with_companion(
        &self,
        landed: Landed,
        (companion, target): (&Companion, &Target),
        prepared: &Prepared<'_>,
        connection: &Arc<Connection>,
        deadline: Monotonic,
    ) -> Result<Landed, Error> {
        let body = companion.body(&prepared.current.credential)?;
        let asked = self.clock.monotonic();
        let mut errand = Ask {
            source: self,
            target,
            lease: &landed.lease,
            turn: prepared.turn,
            body: Bytes::from_owner(Zeroizing::new(body.expose().as_bytes().to_vec())),
        };
        let response = self
            .drive(&mut errand, connection, deadline)
            .await
            .map_err(Error::not_sent)?;
        let refused = || Error::new(ErrorKind::CompanionRefused, Stage::NotSent).with_fault_of(&response);
        if !response.status.is_success() {
            return Err(refused());
        }
        let answer: Option<serde_json::Value> = serde_json::from_slice(&response.body).ok();
        let value = answer.as_ref().and_then(|answer| answer.pointer(&companion.pointer));
        let value = value.and_then(serde_json::Value::as_str).ok_or_else(refused)?;
        let value = header_value(value).map_err(|_illegal| refused())?;
        let header = (companion.header.clone(), value);
        Ok(Landed {
            lease: Arc::new(landed.lease.beside(header, asked, companion.lifetime)),
            keep: landed.keep,
        })
    }
}

/// The request for a second token.
struct Ask<'a> {
    source: &'a TokenSource,
    target: &'a Target,
    lease: &'a Lease,
    /// How long it waits for its turn.
    turn: Duration,
    body: Bytes,
}

impl Errand for Ask<'_> {
    fn role(&self) -> Role {
        Role::ResourceServer
    }

    fn method(&self) -> &Method {
        &Method::POST
    }

    fn target(&self) -> &Target {
        self.target
    }

    fn binding(&self) -> &Arc<dyn TokenBinding> {
        &self.lease.binding
    }

    fn ath(&self) -> Option<&str> {
        self.lease.ath()
    }

    fn patience(&self, usual: Duration) -> Duration {
        self.turn.min(usual)
    }

    async fn draft(&mut self) -> Result<Draft, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, JSON);
        headers.insert(ACCEPT, JSON);
        self.lease.present(&self.source.credential_at, &mut headers, |_| true);
        Ok(Draft {
            headers,
            body: self.body.clone(),
        })
    }
}
