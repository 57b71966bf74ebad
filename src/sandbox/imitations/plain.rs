//! The sandbox's own issuer and API, which speak as the RFCs have it: what there is where nobody is imitated.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::super::canned::Canned;
use super::super::grants;
use super::super::script::Endpoint;
use super::super::server::oauth_error;
use super::{Call, Callers, ClientShown, Imitation, Issued, Refresh, TokenEndpoint};

pub(in crate::sandbox) struct Plain;

const TOKENS: TokenEndpoint = TokenEndpoint {
    client: ClientShown::AsRegistered,
    grants: &grants::SERVED,
    lifetime: None,
    octets: 32,
    refresh: Refresh::OfConsent(None),
    answer,
};

impl Imitation for Plain {
    /// No profile has it.
    fn id(&self) -> &'static str {
        ""
    }

    /// Its paths depend on how the sandbox is set up.
    fn at(&self, _path: &str) -> Option<Endpoint> {
        None
    }

    fn callers(&self) -> Callers {
        Callers::Tokens(&TOKENS)
    }

    fn bad_credentials(&self) -> Canned {
        oauth_error(
            StatusCode::UNAUTHORIZED,
            "invalid_client",
            "unknown client, or not authenticated as it is registered",
        )
    }

    fn refused(&self) -> Canned {
        oauth_error(StatusCode::UNAUTHORIZED, "invalid_token", "the token is refused")
    }

    fn throttled(&self, wait: Duration) -> Canned {
        Canned::empty(429).header("retry-after", &wait.as_secs().to_string())
    }

    fn not_found(&self, _method: &Method) -> Canned {
        Canned::json(404, &json!({"error": "not_found"}))
    }

    fn serve(&self, _call: &Call<'_>) -> Option<Canned> {
        None
    }
}

/// RFC 6749 5.1.
fn answer(issued: &Issued<'_>) -> Value {
    let mut body = json!({
        "access_token": issued.token,
        "token_type": issued.kind("Bearer"),
        "expires_in": issued.lifetime.as_secs(),
    });
    let further = [
        ("scope", issued.scope.map(Value::from)),
        (
            "issued_token_type",
            issued.exchanged.then(|| json!(grants::ACCESS_TOKEN)),
        ),
        ("refresh_token", issued.refresh.map(|(token, _)| json!(token.expose()))),
    ];
    if let Some(members) = body.as_object_mut() {
        let further = further.into_iter();
        members.extend(further.filter_map(|(name, value)| Some((name.to_owned(), value?))));
    }
    body
}
