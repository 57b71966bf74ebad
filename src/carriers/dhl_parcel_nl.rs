//! DHL Parcel NL, also of Belgium and Luxembourg: My DHL Parcel, today DHL eCommerce Netherlands.

use std::time::Duration;

use http::Method;

use crate::binding::Role;
use crate::exchange::fault::{FaultKind, FaultPlace, FaultShape};
use crate::exchange::quirks::{LifetimeAt, Quirks, TokenAnswerShape, TokenRequestShape};
use crate::owner::{CarrierId, Environment};
use crate::throttle::Throttling;
use crate::token::TokenAt;
use crate::token::client_auth::ClientAuth;

use super::{CarrierProfile, Fact, LookUp, Replacement, Route, TestCall, Topic};

/// DHL Parcel NL: a user id and a key are exchanged for a bearer token of a quarter of an hour, by a JSON request that is not
/// OAuth.
///
/// The credential's id is the user id and its secret the key that My DHL Parcel shows. The answer calls things its own way, has
/// no `token_type`, and tells when the token ends as seconds since 1970, by DHL's clock. Its refresh token is not used: key and
/// id give a new token any time.
///
/// A 400 of the token endpoint is a missing user id or key, a 401 a wrong one. Bodies may be plain text. A 401 of the API is a
/// token that has ended; since its body is not documented the call is not repeated, and the next one asks for a new token.
///
/// No limits are published. There is no idempotency key: the application chooses each `shipmentId` and should keep it, so that
/// a shipment whose answer was lost is known again in My DHL Parcel.
///
/// Tracking and the list of parcel shops answer to everybody, so they show nothing of a credential.
pub fn dhl_parcel_nl(environment: Environment) -> CarrierProfile {
    let host = match environment {
        Environment::Sandbox => "https://api-gw-accept.dhlparcel.nl",
        Environment::Production => "https://api-gw.dhlparcel.nl",
    };
    let token = TokenAt::Endpoint(format!("{host}/authenticate/api-key"));
    CarrierProfile::custom(CarrierId::of_profile("dhl-parcel-nl"), environment, host, token)
        .called("DHL Parcel NL")
        .client_auth(ClientAuth::Post)
        .quirks(
            Quirks::new()
                .token_request(TokenRequestShape::new().json().named("userId", "key").without_grant_type())
                .token_answer(
                    TokenAnswerShape::new()
                        .access_token("accessToken")
                        .lifetime(LifetimeAt::unix_seconds("accessTokenExpiration"))
                        .without_type(),
                ),
        )
        .routes([
            Route::label("/shipments").only(Method::POST),
            Route::label("/labels").only(Method::POST),
            Route::read("/labels").only(Method::GET),
            Route::read("/labels/{label:personal}").only(Method::GET),
            Route::read("/capabilities/{kind:business}").only(Method::GET),
            Route::read("/track-trace").only(Method::GET),
            Route::read("/parcel-shop-locations/{country:business}").only(Method::GET),
            Route::read("/parcel-shop-locations/{country:business}/by-geo").only(Method::GET),
        ])
        .credential_routes(["/authenticate"])
        .faults(
            FaultShape::at(FaultPlace::body("/status", "/detail"))
                .vague("400")
                .vague("401")
                .vague("403")
                .vague("404")
                .status(Role::ResourceServer, 401, [FaultKind::BadToken])
                .status(Role::ResourceServer, 403, [FaultKind::NotEntitled])
                .status(Role::AuthorizationServer, 400, [FaultKind::WrongCredentials, FaultKind::Invalid])
                .status(Role::AuthorizationServer, 401, [FaultKind::WrongCredentials]),
        )
        .throttling(Throttling::default().pause(Duration::from_secs(30)))
        .look_up(LookUp::None {
            instead: "look for the shipment's reference in My DHL Parcel before it is sent again, and send it with the same \
                      shipmentId: whether DHL then makes it once is not known"
                .into(),
        })
        .replacement(Replacement::by_hand([
            "Have the shipper, or whoever manages the account, sign in at My DHL Parcel and open Settings, API keys.",
            "Make a new key for the same user id. Whether the old one serves on beside it is not known: have the credential store \
             ready.",
            "Put the new user id and key into the credential store. The next call uses them; restart nothing.",
            "Delete the old key. Tokens that were given out end within a quarter of an hour; refresh tokens of DHL live for seven \
             days, so ask DHL whether they end with the key.",
            "Run the test of the connection.",
            "Compare the labels in My DHL Parcel with your own since the key may have got out, and cancel what is not yours.",
        ]))
        .test_call(TestCall::get("/labels?trackerCodeFilter=JVGL00000000000000000000"))
        .facts(facts())
}

fn facts() -> Vec<Fact> {
    let clients = "tenicepost/api-docs; PyPI python-dhlparcel-api; Quellabs, DHL gateway for PHP";
    let read = "2026-11-22";
    let looked = "2026-11-27";
    vec![
        Fact::documented(Topic::Hosts, clients, read),
        Fact::documented(Topic::Credential, clients, read),
        Fact::documented(Topic::TokenAnswer, clients, read),
        Fact::documented(Topic::Placement, "mvdnbrk/dhlparcel-php-api, bearer token", looked),
        Fact::documented(
            Topic::Routes,
            "mvdnbrk/dhlparcel-php-api; public clients for capabilities and parcel shops",
            looked,
        ),
        Fact::documented(Topic::Faults, clients, read),
        Fact::documented(
            Topic::Refusal,
            "clients as above: 400 for a missing user id or key, 401 for a wrong one",
            read,
        ),
        Fact::inferred(Topic::Refusal, "a 401 of the API is a token that has ended", read),
        Fact::inferred(Topic::TokenLimits, "none published", read),
        Fact::inferred(Topic::ApiLimits, "none published; the pause of 30 s is ours", read),
        Fact::unverified(Topic::Idempotency, "the client chooses the shipment's id", read),
        Fact::inferred(
            Topic::LookUp,
            "no search by reference in what was read; mvdnbrk/dhlparcel-php-api chooses the shipment's id",
            looked,
        ),
        Fact::unverified(
            Topic::Replacement,
            "no revocation is documented; the steps in My DHL Parcel are general knowledge",
            read,
        ),
        Fact::documented(Topic::Test, clients, read),
        Fact::inferred(
            Topic::Binding,
            "nothing on DPoP, certificates or FAPI in DHL's documents",
            read,
        ),
    ]
}
