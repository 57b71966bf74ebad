//! What a thief tries with a token that she has read, each time as she would: with an HTTP client of her own.

use std::error::Error;

use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method};
use shipbound::owner::TenantId;
use shipbound::sandbox::{Endpoint, Sandbox};
use shipbound::target::Target;
use shipbound::transport::{Outgoing, Route, Transport};

use crate::SHIPMENTS;

/// One attempt, and what the carrier said to it.
pub(crate) struct Theft {
    pub(crate) name: &'static str,
    pub(crate) told: &'static str,
    pub(crate) status: u16,
    /// The `error` of the challenge (RFC 6750 3.1); empty where there is none.
    pub(crate) error: String,
}

pub(crate) async fn thefts(sandbox: &Sandbox) -> Result<Vec<Theft>, Box<dyn Error>> {
    let token = token_of(sandbox, &TenantId::new("acme")?)?;
    let own = sandbox.client_certificate("mallory")?.identity()?;
    // The name is acme's, the authority is the right one. The certificate is another.
    let namesake = sandbox.client_certificate("acme")?.identity()?;
    let mtls = sandbox.mtls_api().ok_or("there is no mTLS host")?;
    let attempts = [
        ("no_certificate", "the token, without a certificate", mtls, Route::new()),
        (
            "other_host",
            "the same at the host that asks for none",
            sandbox.api(),
            Route::new(),
        ),
        (
            "own_certificate",
            "the token, with her own certificate",
            mtls,
            Route::new().identity(own),
        ),
        (
            "namesake",
            "the token, with another certificate in acme's name",
            mtls,
            Route::new().identity(namesake),
        ),
    ];
    let transport = sandbox.transport()?;
    let mut thefts = Vec::new();
    for (name, told, host, route) in attempts {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_str(&token)?);
        let request = Outgoing {
            method: Method::POST,
            target: Target::parse_allowing(&format!("{host}{SHIPMENTS}"), &sandbox.loopbacks())?,
            headers,
            body: Default::default(),
        };
        let answer = transport.send(request, &route).await?;
        let challenges = answer.headers().get_all(WWW_AUTHENTICATE).iter();
        let mut errors = challenges.filter_map(|challenge| error_of(challenge.to_str().ok()?));
        let error = errors.next().unwrap_or_default().to_owned();
        thefts.push(Theft {
            name,
            told,
            status: answer.status().as_u16(),
            error,
        });
    }
    Ok(thefts)
}

/// `Bearer` and the token that is bound to the shipper's certificate alone.
fn token_of(sandbox: &Sandbox, shipper: &TenantId) -> Result<String, Box<dyn Error>> {
    let calls = sandbox.requests_of(shipper);
    calls
        .iter()
        .filter(|call| call.endpoint() == Endpoint::Api && call.scheme() == Some("Bearer"))
        .find_map(|call| call.header("authorization").map(str::to_owned))
        .ok_or_else(|| "no call with a token was seen".into())
}

/// The `error` parameter of a challenge.
fn error_of(challenge: &str) -> Option<&str> {
    let (_, rest) = challenge.split_once("error=\"")?;
    rest.split_once('"').map(|(error, _)| error)
}
