//! Requests of one tenant, built step by step.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use serde::Serialize;

use crate::error::{Error, ErrorKind};
use crate::owner::{Tenant, TenantId};
use crate::target::TargetError;

use super::{CarrierClient, Client, Response};

/// A [`Client`] for one tenant.
#[derive(Clone, Debug)]
pub struct TenantClient {
    client: Client,
    tenant: Tenant,
    /// Whether the tenant's incarnation is still to be found.
    to_be_found: bool,
}

impl TenantClient {
    pub(super) fn new(client: Client, tenant: Tenant) -> Self {
        Self {
            client,
            tenant,
            to_be_found: false,
        }
    }

    pub(super) fn to_be_found(client: Client, id: TenantId) -> Self {
        Self {
            to_be_found: true,
            ..Self::new(client, id.into())
        }
    }

    /// The tenant that a request goes for.
    async fn found(&self) -> Result<Cow<'_, Tenant>, Error> {
        match self.to_be_found {
            true => self.client.0.find(self.tenant.id()).await.map(Cow::Owned),
            false => Ok(Cow::Borrowed(&self.tenant)),
        }
    }

    /// The tenant; its incarnation is the first one's where this process did not know the connection yet.
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// A request with this method to a path from the profile's base, or to a URL within the profile's origins.
    pub fn request(&self, method: Method, path_or_url: &str) -> RequestBuilder<'_> {
        RequestBuilder {
            client: self,
            method,
            // `http::Uri` drops a fragment and would let `//host` through as a path; a path is judged as it was written.
            target: path_or_url.to_owned(),
            headers: HeaderMap::new(),
            body: Ok(Bytes::new()),
            credential_route: false,
        }
    }

    /// A `GET` request.
    pub fn get(&self, path_or_url: &str) -> RequestBuilder<'_> {
        self.request(Method::GET, path_or_url)
    }

    /// A `POST` request.
    pub fn post(&self, path_or_url: &str) -> RequestBuilder<'_> {
        self.request(Method::POST, path_or_url)
    }

    /// A `PUT` request.
    pub fn put(&self, path_or_url: &str) -> RequestBuilder<'_> {
        self.request(Method::PUT, path_or_url)
    }

    /// A `DELETE` request.
    pub fn delete(&self, path_or_url: &str) -> RequestBuilder<'_> {
        self.request(Method::DELETE, path_or_url)
    }

    /// Sends a request that was built elsewhere.
    ///
    /// # Errors
    /// As [`CarrierClient::send`].
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response, Error> {
        self.client.send(&*self.found().await?, request).await
    }
}

/// One request of a tenant.
///
/// `Debug` shows the tenant and the method: address, headers and body hold personal data.
#[must_use = "nothing is sent until send() is awaited"]
pub struct RequestBuilder<'a> {
    client: &'a TenantClient,
    method: Method,
    target: String,
    headers: HeaderMap,
    body: Result<Bytes, ErrorKind>,
    credential_route: bool,
}

/// In the extensions of a request for [`CarrierClient::send`]: it may go to a credential route, as with
/// [`RequestBuilder::allow_credential_route`].
#[derive(Clone, Copy, Debug)]
pub struct AllowCredentialRoute;

impl RequestBuilder<'_> {
    /// Lets this request go to a part of the API that gives credentials out or changes them
    /// ([`CredentialRoute`](crate::carriers::CredentialRoute)): what comes back may be a secret. Default: such a path is refused. The
    /// issuer's own endpoints are refused even so: tokens are this library's to ask for.
    pub fn allow_credential_route(mut self) -> Self {
        self.credential_route = true;
        self
    }

    /// Sets a header, in the place of an earlier one of that name.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Ok(body.into());
        self
    }

    /// Sets the body to `value` as JSON, and `Content-Type` where none was set.
    pub fn json(mut self, value: &(impl Serialize + ?Sized)) -> Self {
        self.body = serde_json::to_vec(value)
            .map(Bytes::from)
            .map_err(|_category_only| ErrorKind::NotSerializable);
        self.headers
            .entry(http::header::CONTENT_TYPE)
            .or_insert(HeaderValue::from_static("application/json"));
        self
    }

    /// Sends it.
    ///
    /// # Errors
    /// As [`CarrierClient::send`].
    pub async fn send(self) -> Result<Response, Error> {
        let Self {
            client,
            method,
            target,
            headers,
            body,
            credential_route,
        } = self;
        let body = body.map_err(Error::before)?;
        let tenant = client.found().await?;
        client
            .client
            .0
            .send_parts(&tenant, method, &target, headers, body, credential_route)
            .await
    }
}

impl fmt::Debug for RequestBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBuilder")
            .field("client", self.client)
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

/// The text of a request's URI, as [`RequestBuilder`] takes it.
pub(super) fn text_of(uri: &Uri) -> Result<String, Error> {
    if uri.scheme().is_some() {
        return Ok(uri.to_string());
    }
    match (uri.authority(), uri.path_and_query()) {
        (None, Some(path)) => Ok(path.as_str().to_owned()),
        _ => Err(Error::before(ErrorKind::Target(TargetError::Scheme))),
    }
}
