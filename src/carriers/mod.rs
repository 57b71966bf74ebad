//! What is known of a carrier, as data: where it is, how it authenticates, throttles and fails, how it differs from the RFCs.
//!
//! A profile has no flow of its own: what happens to a request is decided elsewhere, the same for all. Whoever writes one for
//! another carrier uses the same words as the files here.

mod amazon_shipping;
#[cfg(feature = "mtls")]
mod bnsf;
mod bring;
mod calls;
mod canada_post;
mod cargoson;
mod dhl_ecommerce_americas;
mod dhl_express;
mod dhl_parcel_de;
mod dhl_parcel_nl;
mod dhl_tracking;
mod dpd;
mod easypost;
mod fact;
mod fedex;
mod gls;
mod ishare;
mod known;
mod maskinporten;
mod nshift;
mod one_record;
mod postnord;
mod profile;
mod route;
mod sendcloud;
mod shipengine;
#[cfg(test)]
mod tests;
mod ups;
mod usps;

use crate::owner::Environment;

pub use self::calls::{LookUp, Replacement, TestCall, TracingHeader, TracingValue};
pub use self::fact::{Certainty, Fact, Topic};
pub use self::profile::CarrierProfile;
pub use self::route::{CredentialRoute, Route, RouteClass, SegmentClass};
pub use crate::exchange::fault::{CarrierFault, FaultKind, FaultPlace, FaultShape};

pub use self::amazon_shipping::{AmazonRegion, amazon_shipping};
#[cfg(feature = "mtls")]
pub use self::bnsf::bnsf;
pub use self::bring::bring;
pub use self::canada_post::canada_post;
pub use self::cargoson::cargoson;
pub use self::dhl_ecommerce_americas::dhl_ecommerce_americas;
pub use self::dhl_express::dhl_express;
pub use self::dhl_parcel_de::dhl_parcel_de;
pub use self::dhl_parcel_nl::dhl_parcel_nl;
pub use self::dhl_tracking::dhl_tracking;
pub use self::dpd::dpd;
pub use self::easypost::easypost;
pub use self::fedex::{fedex, fedex_csp, fedex_parent_child};
pub use self::gls::gls;
pub use self::ishare::ishare;
pub use self::maskinporten::maskinporten;
pub use self::nshift::{nshift, nshift_delivery};
pub use self::one_record::one_record;
pub use self::postnord::postnord;
pub use self::sendcloud::{sendcloud, sendcloud_key};
pub use self::shipengine::shipengine;
pub use self::ups::ups;
pub use self::usps::{usps, usps_labels};

pub(crate) use self::known::shown;

/// Every profile of this crate that needs nothing but an environment. [`amazon_shipping`], [`one_record`], [`ishare`] and
/// [`maskinporten`] need more.
pub fn all(environment: Environment) -> Vec<CarrierProfile> {
    ALL.iter().map(|(_, profile)| profile(environment)).collect()
}

/// The profile of this name: that of its function, with `-` for `_`. A carrier may have several: `fedex` and `fedex-csp`.
///
/// ```
/// use shipbound::carriers;
/// use shipbound::owner::Environment;
///
/// let parcels = carriers::named("dhl-parcel-de", Environment::Sandbox);
/// assert_eq!(parcels.map(|profile| profile.name().to_owned()).as_deref(), Some("DHL Parcel DE"));
/// ```
pub fn named(name: &str, environment: Environment) -> Option<CarrierProfile> {
    let (_, profile) = ALL.iter().find(|(known, _)| *known == name)?;
    Some(profile(environment))
}

/// The names that [`named`] knows, in the order of [`all`].
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|(name, _)| *name)
}

type OfEnvironment = fn(Environment) -> CarrierProfile;

/// One line for each profile, in the order of the alphabet.
const ALL: &[(&str, OfEnvironment)] = &[
    #[cfg(feature = "mtls")]
    ("bnsf", bnsf),
    ("bring", bring),
    ("canada-post", canada_post),
    ("cargoson", cargoson),
    ("dhl-ecommerce-americas", dhl_ecommerce_americas),
    ("dhl-express", dhl_express),
    ("dhl-parcel-de", dhl_parcel_de),
    ("dhl-parcel-nl", dhl_parcel_nl),
    ("dhl-tracking", dhl_tracking),
    ("dpd", dpd),
    ("easypost", easypost),
    ("fedex", fedex),
    ("fedex-csp", fedex_csp),
    ("fedex-parent-child", fedex_parent_child),
    ("gls", gls),
    ("nshift", nshift),
    ("nshift-delivery", nshift_delivery),
    ("postnord", postnord),
    ("sendcloud", sendcloud),
    ("sendcloud-key", sendcloud_key),
    ("shipengine", shipengine),
    ("ups", ups),
    ("usps", usps),
    ("usps-labels", usps_labels),
];
