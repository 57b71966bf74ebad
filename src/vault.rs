//! One request to a HashiCorp Vault or OpenBao server, whatever engine of it is meant.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use zeroize::Zeroize;

use crate::secret::VaultToken;
use crate::target::Target;
use crate::transport::{Outgoing, ReadError, Route, Transport, TransportError};

/// The longest answer that is read, in octets.
const MAX_ANSWER: usize = 256 * 1024;

/// Why there is no answer of success.
#[derive(Clone, Copy, Debug)]
pub(crate) enum VaultFault {
    /// The token cannot stand in a header.
    Token,
    Transport(TransportError),
    Status(StatusCode),
    /// The answer is longer than [`MAX_ANSWER`].
    TooLong,
}

/// Sends this once; gives the body of an answer 200, `None` for one of 204. To be given to [`wipe`] where it has secrets.
pub(crate) async fn ask(
    transport: &dyn Transport,
    (method, target): (Method, Target),
    namespace: Option<&HeaderValue>,
    token: &VaultToken,
    body: Bytes,
    route: &Route,
) -> Result<Option<Bytes>, VaultFault> {
    let outgoing = Outgoing {
        method,
        target,
        headers: headers(token, namespace)?,
        body,
    };
    let answer = transport.send(outgoing, route).await.map_err(VaultFault::Transport)?;
    match answer.status() {
        StatusCode::OK => {}
        StatusCode::NO_CONTENT => return Ok(None),
        other => return Err(VaultFault::Status(other)),
    }
    let body = answer.into_body().read_to_limit(MAX_ANSWER).await;
    body.map(Some).map_err(|error| match error {
        ReadError::TooLarge { .. } => VaultFault::TooLong,
        ReadError::Transport(error) => VaultFault::Transport(error),
    })
}

/// Wipes an answer that nobody else has a part of.
pub(crate) fn wipe(answer: Bytes) {
    if let Ok(mut own) = answer.try_into_mut() {
        own.as_mut().zeroize();
    }
}

/// Whether this is the path of a mount.
pub(crate) fn is_mount(text: &str) -> bool {
    text.split('/').all(is_name)
}

/// Whether this is one segment of a path, in which nothing is to be escaped.
pub(crate) fn is_name(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !text.is_empty() && text.bytes().all(legal)
}

fn headers(token: &VaultToken, namespace: Option<&HeaderValue>) -> Result<HeaderMap, VaultFault> {
    let mut token = HeaderValue::from_str(token.expose()).map_err(|_| VaultFault::Token)?;
    token.set_sensitive(true);
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(HeaderName::from_static("x-vault-token"), token);
    // Agents and proxies of Vault can be told to want it.
    headers.insert(
        HeaderName::from_static("x-vault-request"),
        HeaderValue::from_static("true"),
    );
    if let Some(namespace) = namespace {
        headers.insert(HeaderName::from_static("x-vault-namespace"), namespace.clone());
    }
    Ok(headers)
}
