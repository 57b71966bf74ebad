//! One issue request: what goes out, and what is read of the answer.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use zeroize::Zeroizing;

use crate::json::{Object, Value};
use crate::secret::{KeyMaterial, VaultToken};
use crate::target::Target;
use crate::transport::identity::ClientIdentity;
use crate::transport::{Route, Transport};
use crate::vault::{self, VaultFault};

use super::failure::VaultFailure;

/// Whom a certificate is issued for. Issuers that know clients by `tls_client_auth` (RFC 8705 2.1) compare one of these with
/// what they have registered.
///
/// ```
/// use shipbound::binding::mtls::vault::Subject;
///
/// let subject = Subject::new("shipper-17").uri("spiffe://shipper.example/17");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    common_name: String,
    alt_names: Vec<String>,
    uris: Vec<String>,
    addresses: Vec<String>,
}

impl Subject {
    /// The subject with this common name.
    pub fn new(common_name: impl Into<String>) -> Self {
        Self {
            common_name: common_name.into(),
            ..Self::default()
        }
    }

    /// With this DNS name or mail address among its alternative names.
    #[must_use]
    pub fn alt_name(mut self, name: impl Into<String>) -> Self {
        self.alt_names.push(name.into());
        self
    }

    /// With this URI among its alternative names.
    #[must_use]
    pub fn uri(mut self, uri: impl Into<String>) -> Self {
        self.uris.push(uri.into());
        self
    }

    /// With this IP address among its alternative names.
    #[must_use]
    pub fn address(mut self, address: std::net::IpAddr) -> Self {
        self.addresses.push(address.to_string());
        self
    }
}

impl From<&str> for Subject {
    fn from(common_name: &str) -> Self {
        Self::new(common_name)
    }
}

impl From<String> for Subject {
    fn from(common_name: String) -> Self {
        Self::new(common_name)
    }
}

/// Where and how certificates are asked for.
pub(super) struct Endpoint {
    pub(super) target: Target,
    pub(super) namespace: Option<HeaderValue>,
    pub(super) ttl: Option<Duration>,
}

impl Endpoint {
    /// Asks once.
    pub(super) async fn issue(
        &self,
        transport: &dyn Transport,
        token: &VaultToken,
        subject: &Subject,
    ) -> Result<ClientIdentity, VaultFailure> {
        let body = self.body(subject);
        let request = (Method::POST, self.target.clone());
        let route = Route::new();
        let answer = vault::ask(transport, request, self.namespace.as_ref(), token, body, &route);
        let body = answer.await.map_err(failure)?;
        let body = body.ok_or(VaultFailure::Status(StatusCode::NO_CONTENT))?;
        let identity = read(&body);
        vault::wipe(body);
        identity
    }

    fn body(&self, subject: &Subject) -> Bytes {
        // In DER a key is one word of base64 without escapes, of which the parser makes no copy that is not wiped.
        let mut members = serde_json::json!({
            "common_name": subject.common_name,
            "format": "der",
            "private_key_format": "pkcs8",
        });
        let mut add = |name: &str, value: String| {
            if let Some(members) = members.as_object_mut()
                && !value.is_empty()
            {
                members.insert(name.to_owned(), value.into());
            }
        };
        add("alt_names", subject.alt_names.join(","));
        add("uri_sans", subject.uris.join(","));
        add("ip_sans", subject.addresses.join(","));
        add(
            "ttl",
            self.ttl.map(|ttl| format!("{}s", ttl.as_secs())).unwrap_or_default(),
        );
        Bytes::from(members.to_string())
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({})", self.target.htu())
    }
}

fn failure(fault: VaultFault) -> VaultFailure {
    match fault {
        VaultFault::Token => VaultFailure::Token,
        VaultFault::Transport(error) => VaultFailure::Transport(error.kind()),
        VaultFault::TooLong => VaultFailure::Answer,
        VaultFault::Status(status) => match status {
            StatusCode::BAD_REQUEST => VaultFailure::Refused,
            StatusCode::FORBIDDEN => VaultFailure::Denied,
            StatusCode::NOT_FOUND => VaultFailure::NotFound,
            StatusCode::TOO_MANY_REQUESTS => VaultFailure::Busy,
            StatusCode::SERVICE_UNAVAILABLE => VaultFailure::Sealed,
            other => VaultFailure::Status(other),
        },
    }
}

fn read(body: &[u8]) -> Result<ClientIdentity, VaultFailure> {
    let answer = Object::parse(body).map_err(|_category| VaultFailure::Answer)?;
    let data = answer
        .get("data")
        .and_then(Value::as_object)
        .ok_or(VaultFailure::Answer)?;
    let text = |name: &str| data.get(name).and_then(Value::as_str);
    let own = text("certificate").ok_or(VaultFailure::Answer)?;
    let key = text("private_key").ok_or(VaultFailure::Answer)?;
    let authorities = match data.get("ca_chain").and_then(Value::as_array) {
        Some(chain) => chain.iter().filter_map(Value::as_str).collect(),
        None => Vec::from_iter(text("issuing_ca")),
    };
    let chain = [own].into_iter().chain(authorities).map(decode);
    let chain = chain.collect::<Result<Vec<_>, _>>()?;
    let key = KeyMaterial::new(decode(key)?);
    ClientIdentity::from_der(chain, &key).map_err(VaultFailure::Identity)
}

fn decode(base64: &str) -> Result<Vec<u8>, VaultFailure> {
    // All of its room from the start: growing would leave copies behind.
    let mut octets = Zeroizing::new(vec![0; base64::decoded_len_estimate(base64.len())]);
    let length = STANDARD
        .decode_slice(base64, &mut octets)
        .map_err(|_| VaultFailure::Answer)?;
    octets.truncate(length);
    Ok(std::mem::take(&mut *octets))
}
