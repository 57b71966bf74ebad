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
mod dpd;
mod fact;
mod fedex;
mod gls;
mod ishare;
mod known;
mod maskinporten;
mod one_record;
mod postnord;
mod profile;
mod route;
mod sendcloud;
mod ups;
mod usps;

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
pub use self::dpd::dpd;
pub use self::fedex::fedex;
pub use self::gls::gls;
pub use self::ishare::ishare;
pub use self::maskinporten::maskinporten;
pub use self::one_record::one_record;
pub use self::postnord::postnord;
pub use self::sendcloud::{sendcloud, sendcloud_key};
pub use self::ups::ups;
pub use self::usps::usps;

pub(crate) use self::known::shown;
