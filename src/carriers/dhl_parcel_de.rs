//! DHL Parcel DE: shipping, pickup and returns of Post & Parcel Germany.

use std::time::Duration;

use http::Method;

use crate::binding::Role;
use crate::credentials::{CredentialPart, PartAt};
use crate::exchange::fault::{FaultKind, FaultPlace, FaultShape};
use crate::exchange::quirks::{BodyCode, Quirks};
use crate::owner::{CarrierId, Environment};
use crate::throttle::{CountedBy, Limit, Throttling};
use crate::token::client_auth::ClientAuth;
use crate::token::grant::{CarrierGrant, GrantType};
use crate::token::{TokenAt, TokenRequest};

use super::{CarrierProfile, Fact, LookUp, Replacement, Route, TestCall, Topic};

/// DHL Parcel DE: a token for four values, opaque and good for half an hour.
///
/// The credential's id and secret are the key and secret of an application at developer.dhl.com; the parts `username` and
/// `password` are a user of the shipper's business customer portal. DHL asks for the grant `password`, which OAuth has given
/// up (RFC 9700 2.4): make a user for this alone, with no more rights than shipping needs.
///
/// Paths start at `/parcel/de`, where all of DHL's products for it are: `/shipping/v2/orders` for instance.
///
/// A 401 of the API is a token that is not good, before anything is processed: the call is repeated once with a new one. A
/// 401 of the token endpoint is a wrong value of the four, and too many of them may lock the portal's user; a 403 is a product
/// that the application does not have. DHL asks for one token in half an hour. Six are allowed here, so that a changed
/// password can be tried.
///
/// There is no idempotency key and no search by reference. `POST /shipping/v2/orders?validate=true` is a dry run, and an order
/// can be deleted until the day is closed.
pub fn dhl_parcel_de(environment: Environment) -> CarrierProfile {
    let host = match environment {
        Environment::Sandbox => "https://api-sandbox.dhl.com",
        Environment::Production => "https://api-eu.dhl.com",
    };
    let base = format!("{host}/parcel/de");
    let token = TokenAt::Endpoint(format!("{base}/account/auth/ropc/v1/token"));
    let grant = GrantType::OfCarrier(CarrierGrant::of_profile("password"));
    CarrierProfile::custom(CarrierId::of_profile("dhl-parcel-de"), environment, base, token)
        .called("DHL Parcel DE")
        .client_auth(ClientAuth::Post)
        .token_request(TokenRequest::new().grant(grant))
        .part(CredentialPart::required(
            "username",
            PartAt::TokenForm("username".into()),
        ))
        .part(CredentialPart::required(
            "password",
            PartAt::TokenForm("password".into()),
        ))
        .quirks(
            Quirks::new()
                .not_processed(BodyCode::new("/title", "Unauthorized"))
                .not_processed(BodyCode::new("/status/title", "Unauthorized")),
        )
        .routes(routes())
        // Not for the token alone: `hello` answers with the portal's user and password.
        .credential_routes(["/parcel/de/account/auth"])
        .faults(faults())
        .throttling(
            Throttling::default()
                // Not 1: a token is renewed before its half hour is over.
                .token(Limit::new(6, Duration::from_secs(30 * 60), CountedBy::Connection))
                .pause(Duration::from_secs(30)),
        )
        .look_up(LookUp::None {
            instead: "look for the order's refNo in the shipper's business customer portal before the order is sent again. What \
                      is there twice can be deleted with DELETE /parcel/de/shipping/v2/orders until the day is closed"
                .into(),
        })
        .replacement(Replacement::by_hand([
            "Find out what got out: the application's key and secret, the portal's user and password, or all four.",
            "Portal user: have the shipper's administrator sign in at the Post & DHL business customer portal and set a new password \
             for the user, or lock it and make another with the same rights. The old password is of no use from then on.",
            "Application: sign in at developer.dhl.com, open it under My Apps, make a new one with the same APIs, and wait for DHL to \
             approve it. The sandbox approves at once, production may take days: do this first if it is needed.",
            "Put the new values into the credential store: id and secret, and the parts username and password.",
            "Run the test of the connection. Do not try by hand what does not work: failed logins may lock the user.",
            "Tokens that were given out cannot be revoked: they end within half an hour. Delete the old application after that.",
            "Compare the orders in the portal with your own since then, and delete what is not yours before the day is closed.",
        ]))
        .test_call(TestCall::get("/account/auth/ropc/v1/hello"))
        .facts(facts())
}

fn routes() -> Vec<Route> {
    let get = |route: Route| route.only(Method::GET);
    let post = |route: Route| route.only(Method::POST);
    let delete = |route: Route| route.only(Method::DELETE);
    vec![
        post(Route::label("/parcel/de/shipping/v2/orders")),
        get(Route::read("/parcel/de/shipping/v2/orders")),
        delete(Route::label("/parcel/de/shipping/v2/orders")),
        post(Route::label("/parcel/de/shipping/v2/manifests")),
        get(Route::read("/parcel/de/shipping/v2/manifests")),
        get(Route::read("/parcel/de/shipping/v2/labels")),
        get(Route::read("/parcel/de/shipping/v2/")),
        post(Route::label("/parcel/de/shipping/returns/v1/orders")),
        get(Route::read("/parcel/de/shipping/returns/v1/locations")),
        post(Route::label("/parcel/de/transportation/pickup/v3/orders")),
        get(Route::read("/parcel/de/transportation/pickup/v3/orders")),
        delete(Route::label("/parcel/de/transportation/pickup/v3/orders")),
        get(Route::read("/parcel/de/transportation/pickup/v3/locations")),
        get(Route::read("/parcel/de/tracking/v0/shipments")),
        get(Route::read("/parcel/de/account/auth/ropc/v1/hello")),
    ]
}

fn faults() -> FaultShape {
    FaultShape::at(FaultPlace::body("/statusCode", "/detail"))
        .or_at(FaultPlace::body("/status/statusCode", "/status/detail"))
        .vague("400")
        .vague("401")
        .vague("403")
        .vague("404")
        .vague("422")
        .vague("429")
        .status(Role::ResourceServer, 401, [FaultKind::BadToken])
        .status(Role::ResourceServer, 403, [FaultKind::NotEntitled])
        .status(Role::AuthorizationServer, 400, [FaultKind::Invalid])
        .status(Role::AuthorizationServer, 401, [FaultKind::WrongCredentials])
        .status(Role::AuthorizationServer, 403, [FaultKind::NotEntitled])
}

fn facts() -> Vec<Fact> {
    let login = "DHL Parcel Germany account authorization specification 2.0.5, as kept in \
                 kruegge82/dhl-authentication-oauth-api";
    let read = "2026-11-22";
    let looked = "2026-11-27";
    vec![
        Fact::documented(Topic::Hosts, login, looked),
        Fact::documented(Topic::Credential, login, looked),
        Fact::documented(Topic::TokenAnswer, login, looked),
        Fact::documented(
            Topic::Placement,
            "Parcel DE shipping specification 2.1.13, as kept in karrio, connector dhl_parcel_de; the same accepts Basic beside \
             dhl-api-key, which DHL is taking away",
            read,
        ),
        Fact::documented(
            Topic::Routes,
            "Parcel DE shipping 2.1.13, pickup 3.0.0 and returns 1.0.9, as kept in karrio, connector dhl_parcel_de",
            looked,
        ),
        Fact::documented(
            Topic::Faults,
            "Parcel DE shipping specification 2.1.13; karrio, connector dhl_parcel_de",
            looked,
        ),
        Fact::documented(
            Topic::Refusal,
            "account authorization specification 2.0.5: 401 is no authentication, 403 no authorization",
            looked,
        ),
        Fact::inferred(Topic::Refusal, "a 401 comes before an order is processed", looked),
        Fact::inferred(
            Topic::Refusal,
            "failed logins can lock the portal's user: the tracking API has a code for too many",
            read,
        ),
        Fact::documented(
            Topic::TokenLimits,
            "developer.dhl.com, Parcel DE authentication: one call in 30 minutes is asked for; six are held here",
            read,
        ),
        Fact::inferred(
            Topic::ApiLimits,
            "429 is listed, no limit is told; the pause of 30 s is ours",
            read,
        ),
        Fact::inferred(Topic::Idempotency, "none found; validate=true is a dry run", read),
        Fact::inferred(Topic::LookUp, "the specification has no search by refNo", looked),
        Fact::unverified(
            Topic::Replacement,
            "no revocation is documented; the steps in the portals are general knowledge",
            read,
        ),
        Fact::documented(Topic::Test, login, looked),
        Fact::inferred(
            Topic::Binding,
            "nothing on DPoP, certificates or FAPI in DHL's documents",
            read,
        ),
    ]
}
