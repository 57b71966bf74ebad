//! All profiles, each with what a test needs to make a client of it.
#![allow(dead_code, unreachable_pub)]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use shipbound::carriers::{self, CarrierProfile};
use shipbound::owner::Environment;

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
    by_credential("fedex", carriers::fedex),
    by_credential("ups", carriers::ups),
    by_credential("usps", carriers::usps),
    Known {
        name: "bnsf",
        profile: carriers::bnsf,
        login: Login::Certificate,
    },
];

/// The profile of this name.
pub fn known(name: &str) -> &'static Known {
    let mut found = KNOWN.iter().filter(|known| known.name == name);
    found.next().unwrap_or_else(|| panic!("no profile {name} in the table"))
}
