//! A credential goes to the origins of its profile and nowhere else, and to a credential route on purpose alone: whatever a
//! URL, a header, a redirect, an alias or an issuer's metadata says. Servers inside and outside write down every octet.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod grammar;
mod headers;
#[path = "../identity_support/mod.rs"]
mod identity_support;
#[path = "../support/marker.rs"]
mod marker;
mod metadata;
#[path = "../support/profiles.rs"]
mod profiles;
#[path = "../support/random.rs"]
mod random;
mod recorder;
mod redirects;
#[path = "../transport_support/mod.rs"]
mod transport_support;
mod urls;
mod world;
