//! All profiles, each with what a test needs to make a client of it.
#![allow(dead_code, unreachable_pub)]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use shipbound::carriers::{self, CarrierProfile};
use shipbound::owner::{CarrierId, Environment};

/// A profile by the name of its file in `tests/data/carriers`.
pub struct Known {
    pub name: &'static str,
    pub profile: fn(Environment) -> CarrierProfile,
    pub login: Login,
}

/// How its connections log in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// By the credential alone.
    Credential,
    /// By a client certificate.
    Certificate,
    /// By a signed assertion. It is another one each time, so its claims are compared and not its octets.
    Assertion {
        audience: &'static str,
        lifetime_s: i64,
        certified: bool,
    },
    /// By a shipper's consent.
    Consent,
}

const fn by_credential(name: &'static str, profile: fn(Environment) -> CarrierProfile) -> Known {
    Known {
        name,
        profile,
        login: Login::Credential,
    }
}

pub const KNOWN: &[Known] = &[
    by_credential("bring", carriers::bring),
    by_credential("canada-post", carriers::canada_post),
    by_credential("cargoson", carriers::cargoson),
    by_credential("dhl-ecommerce-americas", carriers::dhl_ecommerce_americas),
    by_credential("dhl-express", carriers::dhl_express),
    by_credential("dhl-parcel-de", carriers::dhl_parcel_de),
    by_credential("dhl-parcel-nl", carriers::dhl_parcel_nl),
    by_credential("dhl-tracking", carriers::dhl_tracking),
    by_credential("dpd", carriers::dpd),
    by_credential("easypost", carriers::easypost),
    by_credential("fedex", carriers::fedex),
    by_credential("fedex-csp", carriers::fedex_csp),
    by_credential("fedex-parent-child", carriers::fedex_parent_child),
    by_credential("gls", carriers::gls),
    by_credential("nshift", carriers::nshift),
    by_credential("nshift-delivery", carriers::nshift_delivery),
    by_credential("postnord", carriers::postnord),
    by_credential("sendcloud", carriers::sendcloud),
    by_credential("sendcloud-key", carriers::sendcloud_key),
    by_credential("shipengine", carriers::shipengine),
    by_credential("ups", carriers::ups),
    by_credential("usps", carriers::usps),
    by_credential("usps-labels", carriers::usps_labels),
    Known {
        name: "amazon-shipping",
        profile: |environment| carriers::amazon_shipping(environment, carriers::AmazonRegion::Europe),
        login: Login::Consent,
    },
    Known {
        name: "bnsf",
        profile: carriers::bnsf,
        login: Login::Certificate,
    },
    Known {
        name: "ishare",
        profile: |environment| {
            let id = CarrierId::new("ishare-party").unwrap();
            let token = "https://party.example/connect/token";
            carriers::ishare(id, environment, "https://party.example", token, "EU.EORI.NL000000004")
        },
        login: Login::Assertion {
            audience: "EU.EORI.NL000000004",
            lifetime_s: 30,
            certified: true,
        },
    },
    Known {
        name: "maskinporten",
        profile: |environment| carriers::maskinporten(environment, ["toll:movement/road/v2"]).unwrap(),
        login: Login::Assertion {
            audience: "https://test.maskinporten.no/",
            lifetime_s: 60,
            certified: false,
        },
    },
    by_credential("one-record", |environment| {
        let id = CarrierId::new("airline").unwrap();
        carriers::one_record(id, environment, "https://1r.example.com", "https://auth.example.com")
    }),
];

/// The profile of this name.
pub fn known(name: &str) -> &'static Known {
    let mut found = KNOWN.iter().filter(|known| known.name == name);
    found.next().unwrap_or_else(|| panic!("no profile {name} in the table"))
}
