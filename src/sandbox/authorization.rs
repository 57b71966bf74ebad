//! The authorization endpoint (RFC 6749 4.1, RFC 7636, RFC 9207): requests, the decision, and the codes that come of it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::Method;
use serde_json::{Map, Value};

use super::Sandbox;
use super::canned::Canned;
use super::form::Fields;
use super::imitations::Imitation;
use super::imitations::plain::Plain;
use super::locate::locate;
use super::page;
use super::profiles::{origin_of, path_of};
use super::record::Arrived;
use super::registration::Registration;
use super::remembered::Remembered;
use super::script::{Endpoint, Says};
use super::server::{Outcome, Place, Shared};
use crate::clock::{Clock, Monotonic};
use crate::jose::Thumbprint;

/// What every reference to a pushed request begins with (RFC 9126 2.2).
const PUSHED: &str = "urn:ietf:params:oauth:request_uri:";

/// An authorization request that a person may decide about.
#[derive(Clone)]
pub(super) struct Request {
    client_id: String,
    pub(super) redirect_uri: String,
    state: Option<String>,
    pub(super) scope: Option<String>,
    /// S256 of the verifier; the imitations do without.
    pub(super) challenge: Option<String>,
    /// The key that the code is bound to (RFC 9449 10).
    pub(super) dpop_jkt: Option<Thumbprint>,
    /// Whether the answer names the issuer (RFC 9207).
    names_issuer: bool,
}

/// An authorization code.
#[derive(Clone)]
pub(super) struct Code {
    pub(super) request: Request,
    pub(super) family: u64,
    pub(super) used: bool,
    expires: Monotonic,
}

/// A page that waits for a decision.
struct Ticket {
    request: Request,
    /// Parameters of the redirect that a script has put in the place of the right ones.
    tampered: Map<String, Value>,
}

#[derive(Default)]
struct Pending {
    pushed: Remembered<(Request, Monotonic)>,
    tickets: Remembered<Ticket>,
    codes: Remembered<Code>,
}

/// What is under way at the authorization endpoint.
#[derive(Default)]
pub(super) struct Authorizations(Mutex<Pending>);

impl Authorizations {
    fn with<T>(&self, act: impl FnOnce(&mut Pending) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The code, used or not, if it is this client's and has not expired.
    pub(super) fn code(&self, text: &str, client_id: &str, now: Monotonic) -> Option<Code> {
        self.with(|pending| pending.codes.get(text).cloned())
            .filter(|code| code.request.client_id == client_id && now < code.expires)
    }

    /// Whose request a page's ticket is for.
    pub(super) fn client_of(&self, ticket: &str) -> Option<String> {
        self.with(|pending| Some(pending.tickets.get(ticket)?.request.client_id.clone()))
    }

    /// Uses a code up; `false` where it was.
    pub(super) fn use_code(&self, text: &str) -> bool {
        self.with(|pending| {
            let code = pending.codes.get(text);
            code.is_some_and(|code| !std::mem::replace(&mut code.used, true))
        })
    }
}

/// Why a request is not shown to a person.
pub(super) enum Failure {
    /// It is not known whose it is or where to go: the browser is not sent on.
    Page(&'static str),
    Redirect {
        to: Box<Request>,
        error: &'static str,
    },
}

/// Reads the parameters of a request of this client.
pub(super) fn read(client: &Registration, imitation: &dyn Imitation, fields: &Fields) -> Result<Request, Failure> {
    if fields.repeated() {
        return Err(Failure::Page("repeated_parameter"));
    }
    let redirect_uri = fields.get("redirect_uri").unwrap_or_default();
    if !client.redirect_uris.iter().any(|own| is_registered(own, redirect_uri)) {
        return Err(Failure::Page("redirect_uri"));
    }
    let own = imitation.id() == Plain.id();
    let text = |name: &str| fields.get(name).map(str::to_owned);
    let mut request = Request {
        client_id: client.client_id.clone(),
        redirect_uri: redirect_uri.to_owned(),
        state: text("state"),
        scope: text("scope"),
        challenge: text("code_challenge"),
        dpop_jkt: None,
        names_issuer: own,
    };
    let error = match (fields.get("response_type"), fields.get("dpop_jkt")) {
        (Some("code"), None) => None,
        (Some("code"), Some(jkt)) => {
            request.dpop_jkt = Thumbprint::from_base64url(jkt);
            request.dpop_jkt.is_none().then_some("invalid_request")
        }
        (Some(_), _) => Some("unsupported_response_type"),
        (None, _) => Some("invalid_request"),
    };
    // S256 of anything is 32 octets in base64url, as a thumbprint is.
    let challenged = match &request.challenge {
        Some(challenge) => {
            Thumbprint::from_base64url(challenge).is_some() && fields.get("code_challenge_method") == Some("S256")
        }
        None => !own,
    };
    match error.or((!challenged).then_some("invalid_request")) {
        Some(error) => Err(Failure::Redirect {
            to: Box::new(request),
            error,
        }),
        None => Ok(request),
    }
}

/// As texts (RFC 9700 2.1), with any port at a loopback address that was registered without one (RFC 8252 7.3).
fn is_registered(own: &str, given: &str) -> bool {
    let loopback = ["http://127.0.0.1", "http://[::1]"];
    let flexible = loopback.iter().any(|host| {
        let (Some(own), Some(given)) = (own.strip_prefix(host), given.strip_prefix(host)) else {
            return false;
        };
        let port = given
            .strip_prefix(':')
            .map(|rest| rest.split('/').next().unwrap_or_default());
        port.is_some_and(|port| {
            let digits = port.bytes().all(|byte| byte.is_ascii_digit());
            digits && port.parse::<u16>().is_ok() && own.starts_with('/') && given.get(1 + port.len()..) == Some(own)
        })
    });
    own == given || flexible
}

/// Keeps a pushed request, and gives its reference and how long that is good.
pub(super) fn push(shared: &Shared, request: Request) -> (String, Duration) {
    let uri = format!("{PUSHED}{}", shared.seed.text(32));
    let lifetime = shared.settings.code_lifetime;
    let until = shared.clock.monotonic() + lifetime;
    shared
        .authorizations
        .with(|pending| pending.pushed.put(&uri, (request, until)));
    (uri, lifetime)
}

/// Serves the page (`GET`), or takes the decision that was made there (`POST`).
pub(super) fn serve(shared: &Shared, arrived: &Arrived, says: &Says) -> Outcome {
    let tampered = match says {
        Says::RedirectWith(Value::Object(parameters)) => parameters.clone(),
        _ => Map::new(),
    };
    match arrived.method {
        Method::GET => {
            let fields = Fields::of_query(arrived.query.as_deref());
            match requested(shared, arrived.imitation, &fields) {
                Ok(request) => {
                    let ticket = shared.seed.text(32);
                    let (scope, uri) = (request.scope.as_deref(), &request.redirect_uri);
                    let page = page::consent(&request.client_id, scope, uri, &arrived.path, &ticket);
                    let kept = Ticket { request, tampered };
                    shared.authorizations.with(|pending| pending.tickets.put(&ticket, kept));
                    Outcome::accepted(page, Vec::new())
                }
                Err(failure) => fail(shared, failure, &tampered),
            }
        }
        Method::POST => {
            let fields = Fields::read(&arrived.headers, &arrived.body);
            let ticket = fields.get("ticket").unwrap_or_default();
            let taken = shared.authorizations.with(|pending| pending.tickets.take(ticket));
            match (taken, fields.get("decision")) {
                (Some(mut ticket), Some(decision @ ("allow" | "deny"))) => {
                    ticket.tampered.extend(tampered);
                    let to = decided(shared, &ticket.request, decision == "allow", &ticket.tampered);
                    Outcome::accepted(sent_to(&to), Vec::new())
                }
                _ => fail(shared, Failure::Page("ticket"), &tampered),
            }
        }
        _ => Outcome::refused(Canned::empty(405).header("allow", "GET, POST"), "method_not_allowed"),
    }
}

/// The request that a browser brings: by value, or by the reference that it was pushed for.
fn requested(shared: &Shared, imitation: &dyn Imitation, fields: &Fields) -> Result<Request, Failure> {
    let client = fields.get("client_id").and_then(|id| shared.clients.find(id));
    let client = client.ok_or(Failure::Page("client_id"))?;
    if let Some(uri) = fields.get("request_uri") {
        let now = shared.clock.monotonic();
        return shared
            .authorizations
            .with(|pending| pending.pushed.take(uri))
            .filter(|(request, until)| request.client_id == client.client_id && now < *until)
            .map(|(request, _)| request)
            .ok_or(Failure::Page("request_uri"));
    }
    let request = read(&client, imitation, fields)?;
    match shared.settings.require_par && imitation.id() == Plain.id() {
        true => Err(Failure::Redirect {
            to: Box::new(request),
            error: "invalid_request",
        }),
        false => Ok(request),
    }
}

fn fail(shared: &Shared, failure: Failure, tampered: &Map<String, Value>) -> Outcome {
    match failure {
        Failure::Page(error) => Outcome::refused(page::problem(error), error),
        Failure::Redirect { to, error } => {
            let to = redirect(shared, &to, ("error", error.to_owned()), tampered);
            Outcome::refused(sent_to(&to), error)
        }
    }
}

fn sent_to(url: &str) -> Canned {
    Canned::empty(303).header("location", url).no_store()
}

/// Where the browser goes with a decision.
fn decided(shared: &Shared, request: &Request, allowed: bool, tampered: &Map<String, Value>) -> String {
    if !allowed {
        return redirect(shared, request, ("error", "access_denied".to_owned()), tampered);
    }
    let text = shared.seed.secret(32);
    let code = Code {
        request: request.clone(),
        family: shared.tokens.new_family(),
        used: false,
        expires: shared.clock.monotonic() + shared.settings.code_lifetime,
    };
    shared.authorizations.with(|pending| pending.codes.put(&text, code));
    redirect(shared, request, ("code", text), tampered)
}

fn redirect(
    shared: &Shared,
    request: &Request,
    (name, value): (&str, String),
    tampered: &Map<String, Value>,
) -> String {
    let mut parameters = vec![(name.to_owned(), value)];
    parameters.extend(request.state.clone().map(|state| ("state".to_owned(), state)));
    if request.names_issuer {
        parameters.push(("iss".to_owned(), shared.issuer.clone()));
    }
    for (name, value) in tampered {
        parameters.retain(|(own, _)| own != name);
        parameters.extend(value.as_str().map(|value| (name.clone(), value.to_owned())));
    }
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(parameters)
        .finish();
    let joint = if request.redirect_uri.contains('?') { '&' } else { '?' };
    format!("{}{joint}{query}", request.redirect_uri)
}

impl Sandbox {
    /// Opens an authorization URL and allows what it asks for, as a person would: gives the URL that the browser is sent to.
    /// `None` where there would be no page to decide on.
    ///
    /// A script for [`Endpoint::Authorization`] counts where it [tampers with the redirect](super::Answer::redirect_with).
    pub fn allow(&self, authorization_url: &str) -> Option<String> {
        self.decide(authorization_url, true)
    }

    /// As [`allow`](Self::allow), with the other decision.
    pub fn deny(&self, authorization_url: &str) -> Option<String> {
        self.decide(authorization_url, false)
    }

    fn decide(&self, url: &str, allowed: bool) -> Option<String> {
        let shared = &self.shared;
        let origin = origin_of(url);
        let place = Place {
            origin: origin.into(),
            issuer: origin == origin_of(self.issuer()),
            api: origin == self.api(),
        };
        let (Endpoint::Authorization, imitation) = locate(shared, &place, path_of(url)) else {
            return None;
        };
        let query = url.split_once('?').map(|(_, query)| query);
        let request = requested(shared, imitation, &Fields::of_query(query)).ok()?;
        let tenant = shared.clients.tenant_of(&request.client_id);
        let tampered = match shared.scripts.take(tenant.as_ref(), Endpoint::Authorization) {
            Some(super::Answer {
                says: Says::RedirectWith(Value::Object(parameters)),
                ..
            }) => parameters,
            _ => Map::new(),
        };
        Some(decided(shared, &request, allowed, &tampered))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_free_at_loopback_addresses_alone() {
        let own = "http://127.0.0.1/back";
        assert!(is_registered(own, own));
        assert!(is_registered(own, "http://127.0.0.1:8080/back"));
        assert!(is_registered("http://[::1]/", "http://[::1]:1/"));
        for other in [
            "http://127.0.0.1:8080/back/",
            "http://127.0.0.1:8080/back?x=y",
            "http://127.0.0.1:/back",
            "http://127.0.0.1:80@evil.example/back",
            "http://127.0.0.1:99999/back",
            "http://127.0.0.1:+80/back",
            "http://127.0.0.1.evil.example/back",
            "http://localhost:8080/back",
            "https://127.0.0.1:8080/back",
        ] {
            assert!(!is_registered(own, other), "{other}");
        }
        assert!(!is_registered("http://127.0.0.1:1/back", "http://127.0.0.1:2/back"));
        assert!(!is_registered("https://app.example/back", "https://app.example:1/back"));
    }
}
