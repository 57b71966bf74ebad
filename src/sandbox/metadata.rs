//! The issuer's metadata (RFC 8414).

use std::sync::{Mutex, PoisonError};

use http::Method;
use serde_json::{Map, Value, json};

use super::builder::MetadataAt;
use super::canned::Canned;
use super::record::Arrived;
use super::server::{Outcome, Shared};

/// Members of the document that tests have put in the place of its own.
pub(super) struct Overrides(Mutex<Map<String, Value>>);

impl Overrides {
    pub(super) fn new(members: Value) -> Self {
        let overrides = Self(Mutex::default());
        overrides.add(members);
        overrides
    }

    pub(super) fn add(&self, members: Value) {
        if let Value::Object(members) = members {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(members);
        }
    }

    fn apply(&self, document: &mut Map<String, Value>) {
        for (name, value) in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            match value {
                Value::Null => document.remove(name),
                value => document.insert(name.clone(), value.clone()),
            };
        }
    }
}

/// Serves a request for the document.
pub(super) fn serve(shared: &Shared, request: &Arrived) -> Outcome {
    let path = &shared.settings.issuer_path;
    let here = match shared.settings.metadata {
        MetadataAt::OAuth => format!("/.well-known/oauth-authorization-server{path}"),
        MetadataAt::OpenId => format!("{path}/.well-known/openid-configuration"),
        MetadataAt::Nowhere => String::new(),
    };
    if request.method != Method::GET || request.path != here {
        return Outcome::refused(Canned::empty(404), "not_found");
    }
    Outcome::accepted(Canned::json(200, &document(shared)), Vec::new())
}

fn document(shared: &Shared) -> Map<String, Value> {
    let issuer = &shared.issuer;
    let mut methods = vec!["client_secret_basic", "client_secret_post", "private_key_jwt", "none"];
    if shared.mtls.is_some() {
        methods.extend(["tls_client_auth", "self_signed_tls_client_auth"]);
    }
    let mut document = Map::new();
    let mut add = |name: &str, value: Value| document.insert(name.to_owned(), value);
    add("issuer", json!(issuer));
    for (name, path) in ENDPOINTS {
        add(name, json!(format!("{issuer}{path}")));
    }
    add("authorization_endpoint", json!(format!("{issuer}/authorize")));
    add("response_types_supported", json!(["code"]));
    add("grant_types_supported", json!(super::grants::TYPES));
    add("code_challenge_methods_supported", json!(["S256"]));
    add("authorization_response_iss_parameter_supported", json!(true));
    add(
        "require_pushed_authorization_requests",
        json!(shared.settings.require_par),
    );
    for endpoint in ["token", "revocation", "introspection"] {
        let methods: Vec<_> = methods
            .iter()
            .filter(|method| endpoint != "introspection" || **method != "none")
            .collect();
        add(&format!("{endpoint}_endpoint_auth_methods_supported"), json!(methods));
        let algorithms = json!(super::assertion::ALGORITHMS);
        add(
            &format!("{endpoint}_endpoint_auth_signing_alg_values_supported"),
            algorithms,
        );
    }
    add("dpop_signing_alg_values_supported", json!(super::check::ALGORITHMS));
    if let Some(mtls) = shared.mtls_issuer() {
        let aliases = ENDPOINTS.map(|(name, path)| (name.to_owned(), json!(format!("{mtls}{path}"))));
        add("mtls_endpoint_aliases", Value::Object(aliases.into_iter().collect()));
        add("tls_client_certificate_bound_access_tokens", json!(true));
    }
    shared.metadata.apply(&mut document);
    document
}

/// The endpoints that clients call themselves, below the issuer: those that RFC 8705 5 gives aliases.
const ENDPOINTS: [(&str, &str); 4] = [
    ("token_endpoint", "/token"),
    ("revocation_endpoint", "/revoke"),
    ("introspection_endpoint", "/introspect"),
    ("pushed_authorization_request_endpoint", "/par"),
];
