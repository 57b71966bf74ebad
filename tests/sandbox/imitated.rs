//! Profiles of imitated carriers as far as the sandbox looks at them, and requests in these carriers' manner.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, Method};
use shipbound::carriers::CarrierProfile;
use shipbound::credentials::{Credential, CredentialAt, CredentialPart, KeyForm, PartAt};
use shipbound::owner::{CarrierId, Environment};
use shipbound::sandbox::Sandbox;
use shipbound::token::TokenAt;

use crate::caller::{Caller, Got, tenant};

pub(crate) type Fields = Vec<(&'static str, String)>;

fn custom(id: &str, environment: Environment, token_at: TokenAt) -> CarrierProfile {
    let id = CarrierId::new(id).unwrap();
    CarrierProfile::custom(id, environment, "https://api.carrier.example", token_at)
}

/// A carrier that gives tokens, with these required parts.
pub(crate) fn with_tokens(id: &str, parts: &[(&'static str, &'static str)]) -> CarrierProfile {
    let token_at = TokenAt::Endpoint("https://api.carrier.example/token".into());
    parts.iter().fold(
        custom(id, Environment::Sandbox, token_at),
        |profile, (name, parameter)| {
            profile.part(CredentialPart::required(*name, PartAt::TokenForm((*parameter).into())))
        },
    )
}

/// A carrier that knows callers by their keys, with the forms of these keys.
pub(crate) fn with_keys(id: &str, environment: Environment) -> CarrierProfile {
    let profile = custom(id, environment, TokenAt::Credential);
    let header = |name| CredentialAt::Header(HeaderName::from_static(name));
    match id {
        "dhl-express" => profile.credential_at(CredentialAt::Basic),
        "dhl-tracking" => profile.credential_at(header("dhl-api-key")),
        "easypost" => profile
            .key_form(KeyForm::new("EZTK", Environment::Sandbox))
            .key_form(KeyForm::new("EZAK", Environment::Production)),
        "shipengine" => profile
            .credential_at(header("api-key"))
            .key_form(KeyForm::new("TEST_", Environment::Sandbox))
            .part(CredentialPart::optional(
                "account",
                PartAt::CallHeader(HeaderName::from_static("on-behalf-of")),
            )),
        _ => profile,
    }
}

pub(crate) fn secret(credential: &Credential) -> &str {
    credential.client_secret().unwrap().expose()
}

pub(crate) fn part<'a>(credential: &'a Credential, name: &str) -> &'a str {
    credential.part(name).unwrap().expose()
}

pub(crate) fn bearer(key: &str) -> (&'static str, String) {
    ("authorization", format!("Bearer {key}"))
}

pub(crate) fn basic(name: &str, password: &str) -> (&'static str, String) {
    let pair = STANDARD.encode(format!("{name}:{password}"));
    ("authorization", format!("Basic {pair}"))
}

/// A request at the API's origin, with these header fields.
pub(crate) async fn send(caller: &Caller, method: Method, path: &str, fields: &[(&str, String)], body: &str) -> Got {
    let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let url = caller.api_url(path);
    caller.try_send(method, &url, &fields, body.to_owned()).await.unwrap()
}

/// A form for a token endpoint.
pub(crate) async fn ask(caller: &Caller, path: &str, fields: &[(&str, String)], form: &[(&str, &str)]) -> Got {
    let body: Vec<_> = form.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut all = vec![("content-type", "application/x-www-form-urlencoded".to_owned())];
    all.extend_from_slice(fields);
    send(caller, Method::POST, path, &all, &body.join("&")).await
}

/// A caller, and the credential of its tenant `acme` for this profile.
pub(crate) async fn acme(sandbox: &Sandbox, profile: &CarrierProfile) -> (Caller, Credential) {
    let caller = Caller::new(sandbox, "acme").await;
    (caller, sandbox.credential_for(profile, &tenant("acme")))
}
