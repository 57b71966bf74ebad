//! Carriers, imitated: each in a file of its own, which has what the carrier says and how it wants to be asked.
//!
//! The functions of the modules here make answers in the carrier's form, for [scripts](super::Answer::reply) and
//! [routes](super::Sandbox::route). What a carrier's documentation leaves open is the sandbox's own word; the sources say where.
//!
//! Another carrier is one more file with its `Imitation`, and its line in `ALL`.

pub mod cargoson;
pub mod dhl_ecommerce_americas;
pub mod dhl_express;
pub mod dhl_parcel_de;
pub mod dhl_parcel_nl;
pub mod dhl_tracking;
pub mod easypost;
pub mod fedex;
pub(super) mod limits;
pub mod nshift;
pub(super) mod plain;
pub mod shipengine;
pub mod ups;
pub mod usps;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Method, header};
use serde_json::Value;

use self::limits::{Limit, TokenLimit};
use super::accounts::Holder;
use super::canned::Canned;
use super::form::Fields;
use super::record::Recorded;
use super::registry::Token;
use super::script::Endpoint;
use super::server::{Shared, oauth_error};
use crate::clock::{Clock, Timestamp};
use crate::owner::TenantId;
use crate::secret::RefreshToken;

/// All carriers that are imitated. No two have one path.
const ALL: [&dyn Imitation; 12] = [
    &fedex::FedEx,
    &ups::Ups,
    &dhl_express::DhlExpress,
    &dhl_parcel_de::DhlParcelDe,
    &dhl_ecommerce_americas::DhlEcommerceAmericas,
    &dhl_tracking::DhlTracking,
    &dhl_parcel_nl::DhlParcelNl,
    &usps::Usps,
    &easypost::EasyPost,
    &shipengine::ShipEngine,
    &nshift::Nshift,
    &cargoson::Cargoson,
];

/// Whose this path is, and what is there.
pub(super) fn at(path: &str) -> Option<(&'static dyn Imitation, Endpoint)> {
    let mut all = ALL.iter();
    all.find_map(|imitation| Some((*imitation, imitation.at(path)?)))
}

/// The imitation of the carrier whose profile has this id.
pub(super) fn of(id: &str) -> Option<&'static dyn Imitation> {
    ALL.iter().copied().find(|imitation| imitation.id() == id)
}

/// What one carrier is like. The parts that it has in common with others are the defaults.
pub(super) trait Imitation: Sync {
    /// The id of the carrier's profile.
    fn id(&self) -> &'static str;

    /// What is at this path; `None` where that is not the carrier's.
    fn at(&self, path: &str) -> Option<Endpoint>;

    /// Whether such paths are usual elsewhere, `/labels` for instance. At a test's own route on one of them the carrier is
    /// heard by its own callers alone.
    fn has_common_paths(&self) -> bool {
        false
    }

    /// By what the API knows its callers.
    fn callers(&self) -> Callers;

    /// A part of a credential that connections may have, made up for this tenant. Those that a profile requires are secrets
    /// where there is nothing here.
    fn part(&self, _name: &str, _tenant: &TenantId, _secret: &dyn Fn() -> String) -> Option<String> {
        None
    }

    // What follows is asked of carriers with tokens alone.

    /// The parameters of a request to the token endpoint, by their names in RFC 6749.
    fn fields(&self, _path: &str, headers: &HeaderMap, body: &[u8]) -> Fields {
        Fields::read(headers, body)
    }

    /// Whether this grant is redeemed at this path.
    fn redeems(&self, _grant: &str, _path: &str) -> bool {
        true
    }

    /// The refusal where something that goes with client and grant is not the client's own.
    fn refuses_token(&self, _headers: &HeaderMap, _fields: &Fields, _holder: &Holder<'_>) -> Option<Canned> {
        None
    }

    /// How often tokens may be asked for.
    fn token_limit(&self) -> Option<TokenLimit> {
        None
    }

    /// A client that is not the one. Also what is said to a wrong API key, where there are no tokens.
    fn bad_credentials(&self) -> Canned;

    /// A client that shows nothing.
    fn no_credentials(&self) -> Canned {
        self.bad_credentials()
    }

    /// A grant that is worth nothing, by its OAuth error.
    fn bad_grant(&self, error: &str) -> Canned {
        oauth_error(http::StatusCode::BAD_REQUEST, error, "this grant cannot be used")
    }

    // And this of all.

    /// A token that is expired or unknown; a key that is nobody's.
    fn refused(&self) -> Canned {
        self.bad_credentials()
    }

    /// Too many calls; the next is taken in so long.
    fn throttled(&self, wait: Duration) -> Canned;

    /// A place where nothing is.
    fn not_found(&self, method: &Method) -> Canned;

    /// What is told to anybody.
    fn open(&self, _request: &Recorded) -> Option<Canned> {
        None
    }

    /// The limits that a call counts against.
    fn limits(&self, _call: &Call<'_>) -> Vec<Limit> {
        Vec::new()
    }

    /// The refusal where something that goes with token or key is not as it should be.
    fn refuses(&self, _call: &Call<'_>) -> Option<Canned> {
        None
    }

    /// The business routes.
    fn serve(&self, call: &Call<'_>) -> Option<Canned>;
}

/// By what an API knows its callers.
#[derive(Clone, Copy)]
pub(super) enum Callers {
    /// By tokens that it issues.
    Tokens(&'static TokenEndpoint),
    /// By credentials that go with each call, where this finds them.
    Credentials(fn(&HeaderMap) -> Option<Shown>),
}

/// A credential that goes with a call.
pub(super) enum Shown {
    /// An API key.
    Key(String),
    /// An id with its secret.
    Pair(String, String),
}

/// How a token endpoint is.
pub(super) struct TokenEndpoint {
    /// How clients show themselves there.
    pub(super) client: ClientShown,
    /// The grants that it knows.
    pub(super) grants: &'static [&'static str],
    /// How long tokens live; `None`: as the sandbox is set up.
    pub(super) lifetime: Option<Duration>,
    /// Of how many octets in base64url a token is.
    pub(super) octets: usize,
    /// Refresh tokens.
    pub(super) refresh: Refresh,
    /// The answer.
    pub(super) answer: fn(&Issued<'_>) -> Value,
}

/// How an issuer has it with refresh tokens.
#[derive(Clone, Copy)]
pub(super) enum Refresh {
    /// They come of consent alone, and live so long; `None`: for ever.
    OfConsent(Option<Duration>),
    /// They come with every token, live so long, and are redeemed without client authentication.
    Always(Duration),
}

impl Refresh {
    pub(super) fn lifetime(self) -> Option<Duration> {
        match self {
            Self::OfConsent(lifetime) => lifetime,
            Self::Always(lifetime) => Some(lifetime),
        }
    }
}

/// How clients show themselves to a token endpoint.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientShown {
    /// In any way of RFC 6749, RFC 7523 and RFC 8705, as they are registered.
    AsRegistered,
    /// By id and secret in the body.
    Body,
    /// By `Authorization: Basic`; by the id alone where a code is redeemed with PKCE.
    Basic,
    /// By either.
    BasicOrBody,
}

/// A token that was issued, for whoever writes the answer.
pub(super) struct Issued<'a> {
    pub(super) token: &'a str,
    /// Whether it is bound to a proof key.
    pub(super) bound: bool,
    pub(super) lifetime: Duration,
    pub(super) client: &'a str,
    pub(super) scope: Option<&'a str>,
    pub(super) now: Timestamp,
    /// With how often the consent was refreshed.
    pub(super) refresh: Option<&'a (RefreshToken, u64)>,
    /// How long that lives.
    pub(super) refresh_lifetime: Option<Duration>,
    /// Whether it came of an exchange (RFC 8693).
    pub(super) exchanged: bool,
}

impl Issued<'_> {
    /// `DPoP`, or what the carrier calls a bearer token.
    fn kind(&self, bearer: &'static str) -> &'static str {
        if self.bound { "DPoP" } else { bearer }
    }
}

/// A call whose token or credential was good.
pub(super) struct Call<'a> {
    pub(super) request: &'a Recorded,
    pub(super) holder: Holder<'a>,
    /// The credential, where that goes with the call.
    pub(super) shown: Option<&'a Shown>,
    /// The token, where there is one.
    pub(super) token: Option<&'a Token>,
    pub(super) shared: &'a Shared,
}

impl Call<'_> {
    fn method(&self) -> &str {
        self.request.method().as_str()
    }

    /// The first parameter of this name in the query.
    fn query(&self, name: &str) -> Option<String> {
        Fields::of_query(self.request.query()).get(name).map(str::to_owned)
    }

    /// The servers' time.
    fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }
}

/// The only value of a header.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// What stands behind this scheme in `Authorization`.
fn authorization<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a str> {
    let (shown, value) = only(headers, header::AUTHORIZATION.as_str())?.split_once(' ')?;
    shown.eq_ignore_ascii_case(scheme).then_some(value)
}

/// An API key as `Bearer`.
fn bearer_key(headers: &HeaderMap) -> Option<Shown> {
    Some(Shown::Key(authorization(headers, "bearer")?.to_owned()))
}

/// Name and password (RFC 7617).
fn basic_pair(headers: &HeaderMap) -> Option<(String, String)> {
    let pair = STANDARD.decode(authorization(headers, "basic")?.trim()).ok()?;
    let pair = String::from_utf8(pair).ok()?;
    let (name, password) = pair.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

/// Whether a path is this one or lies below it.
fn is_below(path: &str, root: &str) -> bool {
    let rest = path.strip_prefix(root);
    rest.is_some_and(|rest| rest.is_empty() || root.ends_with('/') || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Paths of each carrier.
    const PATHS: [(&str, &[&str]); 12] = [
        (
            "fedex",
            &["/oauth/token", "/rate/v1/rates/quotes", "/track/v1/trackingnumbers"],
        ),
        (
            "ups",
            &[
                "/security/v1/oauth/token",
                "/security/v1/oauth/refresh",
                "/api/track/v1/details/1Z",
            ],
        ),
        (
            "dhl-express",
            &["/mydhlapi/test/rates", "/mydhlapi/rates", "/mydhlapi/address-validate"],
        ),
        (
            "dhl-parcel-de",
            &[
                "/parcel/de/account/auth/ropc/v1/token",
                "/parcel/de/account/auth/ropc/v1/hello",
                "/parcel/de/shipping/v2/orders",
            ],
        ),
        (
            "dhl-ecommerce-americas",
            &["/auth/v4/accesstoken", "/shipping/v4/products", "/shipping/v4/label"],
        ),
        ("dhl-tracking", &["/track/shipments"]),
        (
            "dhl-parcel-nl",
            &["/authenticate/api-key", "/authenticate/refresh-token", "/labels"],
        ),
        (
            "usps",
            &[
                "/oauth2/v3/token",
                "/oauth2/v3/revoke",
                "/labels/v3/label",
                "/payments/v3/payment-authorization",
            ],
        ),
        ("easypost", &["/v2/addresses", "/v2/metadata/carriers", "/v2/shipments"]),
        ("shipengine", &["/v1/carriers", "/v1/rates", "/v1/tokens/ephemeral"]),
        (
            "nshift",
            &[
                "/idp/connect/token",
                "/checkout/v1/rates",
                "/track/shipmentdata/x",
                "/ShipServer/7/Shipments",
            ],
        ),
        (
            "cargoson",
            &["/api/services/list", "/api/freightPrices/list", "/api/bookings/B1"],
        ),
    ];

    #[test]
    fn no_path_is_claimed_by_two_and_each_has_its_own() {
        for (id, paths) in PATHS {
            for path in paths {
                let claim: Vec<_> = ALL.iter().filter(|one| one.at(path).is_some()).collect();
                let claim: Vec<_> = claim.iter().map(|one| one.id()).collect();
                assert_eq!(claim, [id], "{path}");
            }
        }
    }

    /// At the paths that the profiles know, too, where somebody imitates them.
    #[test]
    fn no_carriers_route_is_claimed_by_another() {
        use crate::carriers::{self, CarrierProfile};
        use crate::owner::Environment;

        let profiles: [fn(Environment) -> CarrierProfile; 12] = [
            carriers::fedex,
            carriers::ups,
            carriers::dhl_express,
            carriers::dhl_parcel_de,
            carriers::dhl_ecommerce_americas,
            carriers::dhl_tracking,
            carriers::dhl_parcel_nl,
            carriers::usps_labels,
            carriers::easypost,
            carriers::shipengine,
            carriers::nshift,
            carriers::cargoson,
        ];
        for profile in profiles {
            let profile = profile(Environment::Sandbox);
            let own = of(profile.id().as_str()).unwrap();
            let mut imitated = 0;
            for route in profile.known_routes() {
                let path = route.template().replace(['{', '}'], "");
                let whose = at(&path).map(|(whose, _)| whose.id());
                assert!(whose.is_none_or(|whose| whose == own.id()), "{path}: {whose:?}");
                imitated += usize::from(whose.is_some());
            }
            assert!(imitated > 0, "{}", own.id());
        }
    }

    #[test]
    fn every_carrier_is_there_once_with_a_token_endpoint_or_without() {
        let ids: HashSet<_> = ALL.iter().map(|one| one.id()).collect();
        assert_eq!(ids, PATHS.iter().map(|(id, _)| *id).collect());
        for (id, paths) in PATHS {
            let has_endpoint = paths.iter().any(|path| at(path).unwrap().1 == Endpoint::Token);
            let tokens = matches!(of(id).unwrap().callers(), Callers::Tokens(_));
            assert_eq!(has_endpoint, tokens, "{id}");
        }
    }

    #[test]
    fn what_carriers_do_not_have_stays_free() {
        for path in ["/", "/v1/cars", "/v2/labels", "/api", "/token", "/labelsx", "/tracking"] {
            assert!(at(path).is_none(), "{path}");
        }
    }
}
