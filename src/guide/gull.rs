use std::time::Duration;

use http::{HeaderName, Method, StatusCode};
use shipbound::binding::Role;
use shipbound::carriers::{
    CarrierProfile, Fact, FaultKind, FaultPlace, FaultShape, LookUp, Replacement, Route, TestCall, Topic, TracingHeader,
};
use shipbound::credentials::{CredentialAt, CredentialPart, KeyForm, PartAt};
use shipbound::exchange::quirks::{BodyCode, BodyEncoding, LifetimeAt, Quirks};
use shipbound::owner::{CarrierId, Environment, InvalidId};
use shipbound::throttle::{Block, CountedBy, Limit, Throttling};
use shipbound::token::TokenAt;
use shipbound::token::client_auth::ClientAuth;

/// Gull Parcel: an API key and its secret are exchanged for a token of twenty minutes.
pub fn gull(environment: Environment) -> Result<CarrierProfile, InvalidId> {
    let (api, files) = match environment {
        Environment::Sandbox => ("https://api.test.gull.example", "https://files.test.gull.example"),
        Environment::Production => ("https://api.gull.example", "https://files.gull.example"),
    };
    let token = TokenAt::Endpoint(format!("{api}/auth/token"));
    let profile = CarrierProfile::custom(CarrierId::new("gull-parcel")?, environment, api, token)
        .called("Gull Parcel")
        // Labels are fetched from there, with the same token.
        .allow_origin(files)
        // Where the credential goes.
        .client_auth(ClientAuth::Post)
        .quirks(quirks())
        .key_form(KeyForm::new("gull_test_", Environment::Sandbox))
        .key_form(KeyForm::new("gull_live_", Environment::Production))
        .credential_at(CredentialAt::Header(HeaderName::from_static("x-gull-token")))
        .part(CredentialPart::required(
            "customer",
            PartAt::CallHeader(HeaderName::from_static("x-gull-customer")),
        ))
        // What calls do.
        .routes(routes())
        .credential_routes(["/auth", "/v1/keys", "/v1/webhooks"])
        .tracing(TracingHeader::call_id(HeaderName::from_static("x-gull-request")))
        // How it refuses.
        .faults(faults())
        .throttling(throttling())
        // What to do when an answer was lost, a key has got out, or a shipper has typed one in.
        .look_up(LookUp::Call {
            method: Method::GET,
            route: "/v1/shipments?reference={reference}".into(),
            by: "the reference that was sent with the shipment; shipments are listed within a minute".into(),
        })
        .replacement(
            Replacement::by_hand([
                "Make a second key at my.gull.example, under API keys.",
                "Put it into the credential store; the next call uses it.",
                "Delete the first key there. Its tokens end within twenty minutes.",
            ])
            .replaced_by(Method::POST, "/v1/keys"),
        )
        .test_call(TestCall::get("/v1/products"))
        .facts(facts());
    Ok(profile)
}

fn quirks() -> Quirks {
    let mut quirks = Quirks::default();
    // {"key": "..", "secret": ".."} in, {"token": "..", "validUntil": 1790000000} out.
    quirks.token_request.encoding = BodyEncoding::Json;
    quirks.token_request.client_id = "key".into();
    quirks.token_request.client_secret = "secret".into();
    quirks.token_request.grant_type = false;
    quirks.token_answer.access_token = "token".into();
    quirks.token_answer.lifetime = LifetimeAt::unix_seconds("validUntil");
    quirks.token_answer.token_type_optional = true;
    quirks.not_processed = vec![BodyCode::new("/fault/code", "E-1101")];
    quirks
}

fn routes() -> [Route; 6] {
    [
        Route::read("/v1/products").only(Method::GET),
        Route::read("/v1/rates/{product:business}").only(Method::POST),
        Route::label("/v1/shipments").only(Method::POST),
        Route::read("/v1/shipments").only(Method::GET),
        Route::label("/v1/shipments/{number:personal}").only(Method::DELETE),
        Route::payment("/v1/wallet/top-up").only(Method::POST),
    ]
}

fn faults() -> FaultShape {
    FaultShape::at(FaultPlace::body("/fault/code", "/fault/text"))
        .code("E-1101", FaultKind::BadToken)
        .code("E-1102", FaultKind::WrongCredentials)
        .code("E-1200", FaultKind::NotEntitled)
        .code("E-1409", FaultKind::Conflict)
        .code("E-1500", FaultKind::Payment)
        .status(Role::AuthorizationServer, 403, [FaultKind::Blocked])
}

fn throttling() -> Throttling {
    let five_minutes = Duration::from_secs(5 * 60);
    Throttling::default()
        .token(Limit::new(2, Duration::from_secs(1), CountedBy::Address))
        .api(Limit::new(20, Duration::from_secs(1), CountedBy::Connection))
        .block(Block::new(
            Role::AuthorizationServer,
            StatusCode::FORBIDDEN,
            CountedBy::Address,
            five_minutes,
        ))
        .pause(Duration::from_secs(1))
}

fn facts() -> Vec<Fact> {
    let (day, manual) = ("2026-11-27", "docs.gull.example, version 1.4");
    let mut facts: Vec<Fact> = [
        Topic::Hosts,
        Topic::Credential,
        Topic::TokenAnswer,
        Topic::Placement,
        Topic::Routes,
        Topic::Tracing,
        Topic::Faults,
        Topic::TokenLimits,
        Topic::ApiLimits,
        Topic::LookUp,
        Topic::Replacement,
        Topic::Test,
    ]
    .map(|topic| Fact::documented(topic, manual, day))
    .into();
    facts.extend([
        Fact::documented(
            Topic::Refusal,
            "Gull's support, by mail: E-1101 comes before anything is processed",
            day,
        ),
        Fact::inferred(
            Topic::Idempotency,
            "the manual has no such header; X-Gull-Request traces",
            day,
        ),
        Fact::inferred(
            Topic::Binding,
            "the manual says nothing of DPoP or client certificates",
            day,
        ),
    ]);
    facts
}
