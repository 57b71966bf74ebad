//! What a profile knows of its carrier beside where it is and how to authenticate: said by whoever writes it, read by the
//! client and by people.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderName, Method};

use crate::binding::BindingKind;
use crate::credentials::{CredentialAt, CredentialPart, KeyForm, PartAt};
use crate::exchange::fault::FaultShape;
use crate::exchange::quirks::Quirks;
use crate::throttle::Throttling;
use crate::token::client_auth::ClientAuth;
use crate::token::companion::Companion;
use crate::token::grant::GrantType;

use super::calls::{LookUp, Replacement, TestCall, TracingHeader};
use super::fact::Fact;
use super::profile::CarrierProfile;
use super::route::{CredentialRoute, Route};

/// What is said.
impl CarrierProfile {
    /// Calls the carrier so in tables and words. Default: its id.
    #[must_use]
    pub fn called(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = name.into();
        self
    }

    /// Says where calls carry the token, or the credential. Default: `Authorization`.
    #[must_use]
    pub fn credential_at(mut self, at: CredentialAt) -> Self {
        self.credential_at = at;
        self
    }

    /// Wants this of a connection's credential, beside id and secret. Default: nothing more.
    #[must_use]
    pub fn part(mut self, part: CredentialPart) -> Self {
        self.parts.push(part);
        self
    }

    /// Tells by the form of a secret for which environment it is. One of another environment is refused.
    #[must_use]
    pub fn key_form(mut self, form: KeyForm) -> Self {
        self.key_forms.push(form);
        self
    }

    /// Asks for a second token with each token. Default: none.
    #[must_use]
    pub fn companion(mut self, companion: Companion) -> Self {
        self.companion = Some(companion);
        self
    }

    /// Adds routes. Calls are known by the first one that fits; paths of no route are `{unclassified}`, and count as personal.
    #[must_use]
    pub fn routes(mut self, routes: impl IntoIterator<Item = Route>) -> Self {
        self.routes.extend(routes);
        self
    }

    /// Keeps callers from these parts of the API unless they ask for them by name. The token endpoints of the profile are
    /// among them already.
    #[must_use]
    pub fn credential_routes<R: AsRef<str>>(mut self, routes: impl IntoIterator<Item = R>) -> Self {
        let routes = routes.into_iter().map(|route| CredentialRoute::new(route.as_ref()));
        self.credential_routes.extend(routes);
        self
    }

    /// Says how errors look and what they mean. Default: by status alone.
    #[must_use]
    pub fn faults(mut self, faults: FaultShape) -> Self {
        self.faults = faults;
        self
    }

    /// Says which limits there are. Default: none are known.
    #[must_use]
    pub fn throttling(mut self, throttling: Throttling) -> Self {
        self.throttling = throttling;
        self
    }

    /// Adds a header by which the carrier knows requests again.
    #[must_use]
    pub fn tracing(mut self, header: TracingHeader) -> Self {
        self.tracing.push(header);
        self
    }

    /// Requests with the same value of this header are carried out once, on routes that are [`keyed`](Route::keyed). The client
    /// gives each such call one of its own where the caller does not
    /// ([`Report::idempotency_key`](crate::client::Report::idempotency_key)), and repeats it once when its connection was lost.
    #[must_use]
    pub fn idempotency(mut self, header: HeaderName) -> Self {
        self.idempotency = Some(header);
        self
    }

    /// Says how to find out what became of a request without an answer.
    #[must_use]
    pub fn look_up(mut self, look_up: LookUp) -> Self {
        self.look_up = look_up;
        self
    }

    /// Says how a credential is revoked and replaced.
    #[must_use]
    pub fn replacement(mut self, replacement: Replacement) -> Self {
        self.replacement = replacement;
        self
    }

    /// Says which call shows whether a credential works.
    #[must_use]
    pub fn test_call(mut self, call: TestCall) -> Self {
        self.test_call = Some(call);
        self
    }

    /// What tokens can be bound to there. Default: nothing is known of it.
    #[must_use]
    pub fn binds(mut self, kinds: impl IntoIterator<Item = BindingKind>) -> Self {
        self.binds.extend(kinds);
        self
    }

    /// Says from where these things are known.
    #[must_use]
    pub fn facts(mut self, facts: impl IntoIterator<Item = Fact>) -> Self {
        self.facts.extend(facts);
        self
    }
}

/// What is read.
impl CarrierProfile {
    /// The carrier's name for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How the client authenticates to the issuer.
    pub fn authenticates(&self) -> &ClientAuth {
        &self.auth
    }

    /// By which grant tokens are asked for.
    pub fn grant_type(&self) -> &GrantType {
        self.request.grant_type()
    }

    /// Where calls carry the token, or the credential.
    pub fn placement(&self) -> &CredentialAt {
        &self.credential_at
    }

    /// What a connection's credential has beside id and secret.
    pub fn parts(&self) -> &[CredentialPart] {
        &self.parts
    }

    /// By which forms of a secret its environment is seen.
    pub fn key_forms(&self) -> &[KeyForm] {
        &self.key_forms
    }

    /// The second token, where there is one.
    pub fn second_token(&self) -> Option<&Companion> {
        self.companion.as_ref()
    }

    /// Where the carrier differs from the RFCs.
    pub fn differs(&self) -> &Quirks {
        &self.quirks
    }

    /// The origins beside that of [`CarrierProfile::base`] where credentials may go.
    pub fn further_origins(&self) -> impl Iterator<Item = &str> {
        self.origins.iter().map(String::as_str)
    }

    /// Headers that callers must not set: those that the profile locks, and all that carry a credential or a part of one.
    pub fn locked(&self) -> impl Iterator<Item = &HeaderName> {
        let placed = match &self.credential_at {
            CredentialAt::Header(name) => [Some(name), None],
            CredentialAt::Headers { id, secret } => [Some(id), Some(secret)],
            CredentialAt::Authorization | CredentialAt::Basic => [None, None],
        };
        let parts = self.parts.iter().filter_map(|part| match &part.at {
            PartAt::CallHeader(name) | PartAt::TokenHeader(name) => Some(name),
            PartAt::TokenForm(_) => None,
        });
        let companion = self.companion.iter().map(|companion| &companion.header);
        let placed = placed.into_iter().flatten();
        self.locked_headers.iter().chain(placed).chain(parts).chain(companion)
    }

    /// All routes that are known.
    pub fn known_routes(&self) -> &[Route] {
        &self.routes
    }

    /// Whether calls to this path need
    /// [`allow_credential_route`](crate::client::RequestBuilder::allow_credential_route), or are refused even so, being to one of the
    /// [endpoints](Self::is_endpoint) that the profile fixes.
    pub fn is_credential_route(&self, path: &str) -> bool {
        self.credential_routes.iter().any(|route| route.holds(path)) || self.is_endpoint(path)
    }

    /// Whether this is the path of an endpoint of the issuer that the profile fixes. Nobody but this library calls it. (Endpoints
    /// that an issuer's metadata names are refused as well.)
    pub fn is_endpoint(&self, path: &str) -> bool {
        self.endpoint_routes.iter().any(|route| route.holds(path))
    }

    /// The parts of the API that callers are kept from.
    pub fn guarded_routes(&self) -> &[CredentialRoute] {
        &self.credential_routes
    }

    /// How errors look.
    pub fn fault_shape(&self) -> &FaultShape {
        &self.faults
    }

    /// Which limits there are.
    pub fn limits(&self) -> &Throttling {
        &self.throttling
    }

    /// By which headers the carrier knows requests again.
    pub fn tracing_headers(&self) -> &[TracingHeader] {
        &self.tracing
    }

    /// The header with which a request is carried out once however often it comes.
    pub fn idempotency_header(&self) -> Option<&HeaderName> {
        self.idempotency.as_ref()
    }

    /// How to find out what became of a request without an answer.
    pub fn how_to_look_up(&self) -> &LookUp {
        &self.look_up
    }

    /// How a credential is revoked and replaced.
    pub fn how_to_replace(&self) -> &Replacement {
        &self.replacement
    }

    /// The call that shows whether a credential works.
    pub fn how_to_test(&self) -> Option<&TestCall> {
        self.test_call.as_ref()
    }

    /// What tokens can be bound to there.
    pub fn bindings(&self) -> &[BindingKind] {
        &self.binds
    }

    /// From where all this is known.
    pub fn sources(&self) -> &[Fact] {
        &self.facts
    }

    /// The route that a call belongs to; `None` for one that the profile does not know.
    pub(crate) fn route_of(&self, method: &Method, path: &str) -> Option<&Route> {
        self.routes.iter().find(|route| route.matches(method, path))
    }
}

/// How a route is shown in events: without what is personal in it.
pub(crate) fn shown(route: Option<&Route>) -> Arc<str> {
    route.map_or_else(|| Arc::from("{unclassified}"), Route::shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::owner::{CarrierId, Environment};
    use crate::token::TokenAt;

    #[test]
    fn credential_routes_may_be_computed() {
        let (id, base) = (CarrierId::of_profile("acme"), "https://api.carrier.example/v2");
        let profile = CarrierProfile::custom(id, Environment::Sandbox, base, TokenAt::Credential)
            .credential_routes([format!("{}/keys", "/v2")])
            .credential_routes(["/hooks"]);
        assert!(profile.is_credential_route("/v2/keys/1") && profile.is_credential_route("/hooks"));
        assert!(!profile.is_credential_route("/v2/rates"));
    }
}
