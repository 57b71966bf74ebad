//! What a call brought: the carrier's answer, and what it took to get it.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::binding::BindingKind;
use crate::error::{Error, ErrorKind};
use crate::jose::Thumbprint;
use crate::transport::Stage;

use super::fault::CarrierFault;

/// The carrier's answer: status, headers, and the whole body.
///
/// Its `Debug` shows the status and sizes only: bodies hold addresses and labels.
#[derive(Clone)]
pub struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) fault: Option<Box<CarrierFault>>,
    pub(crate) report: Report,
}

impl Response {
    /// The status of the last attempt.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The headers of the last attempt.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The whole body, as it came: not decompressed.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// [`ErrorKind::NotJson`] when it is not the JSON that `T` asks for. The error does not show the body.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|_category_only| Error::new(ErrorKind::NotJson, Stage::Answered))
    }

    /// What a refusal means, as far as the carrier's profile knows it; `None` for an answer that refuses nothing.
    pub fn fault(&self) -> Option<&CarrierFault> {
        self.fault.as_deref()
    }

    /// What the call took.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The answer as a value of the `http` crate.
    pub fn into_http(self) -> http::Response<Bytes> {
        let mut response = http::Response::new(self.body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

impl From<http::Response<Bytes>> for Response {
    /// An answer as it came, for [`CarrierClient`](crate::CarrierClient)s of tests. Its report is empty.
    fn from(response: http::Response<Bytes>) -> Self {
        let (head, body) = response.into_parts();
        Self {
            status: head.status,
            headers: head.headers,
            body,
            fault: None,
            report: Report::default(),
        }
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("headers", &self.headers.len())
            .field("body", &self.body.len())
            .field("fault", &self.fault)
            .field("report", &self.report)
            .finish()
    }
}

/// What one call took: for logs, metrics and curious engineers. Nothing in it is secret or personal.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// What the token of the call was tied to; `None` where the call did not come as far as having one.
    pub binding: Option<BindingKind>,
    /// The thumbprint of the proof key.
    pub jkt: Option<Thumbprint>,
    /// The thumbprint of the client certificate that was shown. Beside a proof key the issuer may have bound the token to
    /// that alone.
    pub x5t: Option<Thumbprint>,
    /// Requests sent to the API for this call.
    pub attempts: u32,
    /// How many of them answered a nonce challenge.
    pub nonce_retries: u32,
    /// How many of them came after a new token, because the old one was refused.
    pub renewals: u32,
    /// Time spent waiting for a token.
    pub token_wait: Duration,
    /// Time spent making proofs, all attempts together.
    pub proof_time: Duration,
    /// The id that the carrier got in its tracing header; `None` where it has none, or the caller set that.
    pub call_id: Option<Uuid>,
    /// The key with which the carrier carries the call out once however often it is sent; `None` where it has no such header, or
    /// the caller set that. Send the same key again after [`Stage::MaybeSent`].
    pub idempotency_key: Option<Uuid>,
    /// Time spent waiting for a turn, where the carrier limits how often it may be asked.
    pub turn_wait: Duration,
    /// The whole call.
    pub total: Duration,
}
