//! The contract of each carrier: what its file in `tests/data/carriers` says is what goes over the wire. The same assertions
//! for all.
#![cfg(feature = "rsa")]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod checks;
mod data;
#[path = "../support/patient.rs"]
mod patient;
#[path = "../support/profiles.rs"]
mod profiles;
mod scene;

use data::File;
use shipbound::carriers::{self, CarrierProfile};
use shipbound::owner::Environment;

async fn keeps_to(name: &str) {
    let (known, file) = (profiles::known(name), File::read(name));
    checks::a_call_arrives_as_the_carrier_wants_it(known, &file).await;
    checks::the_test_call_shows_a_good_credential(known, &file).await;
    for fault in &file.faults {
        checks::a_fault_means_what_the_file_says(known, &file, fault).await;
    }
    if let Some(throttled) = &file.throttled {
        checks::nothing_is_sent_before_the_carrier_wants_it(known, &file, throttled).await;
    }
    checks::routes_are_known(known, &file).await;
    checks::credential_routes_are_asked_for_by_name(known, &file).await;
    checks::locked_headers_are_refused(known, &file).await;
}

/// A test for each profile.
macro_rules! contracts {
    ($($test:ident $name:literal,)*) => {
        const NAMES: &[&str] = &[$($name),*];
        $(
            #[tokio::test]
            async fn $test() {
                keeps_to($name).await;
            }
        )*
    };
}

contracts! {
    amazon_shipping "amazon-shipping",
    bnsf "bnsf",
    bring "bring",
    canada_post "canada-post",
    cargoson "cargoson",
    dhl_ecommerce_americas "dhl-ecommerce-americas",
    dhl_express "dhl-express",
    dhl_parcel_de "dhl-parcel-de",
    dhl_parcel_nl "dhl-parcel-nl",
    dhl_tracking "dhl-tracking",
    dpd "dpd",
    easypost "easypost",
    fedex "fedex",
    fedex_csp "fedex-csp",
    fedex_parent_child "fedex-parent-child",
    gls "gls",
    ishare "ishare",
    maskinporten "maskinporten",
    nshift "nshift",
    nshift_delivery "nshift-delivery",
    one_record "one-record",
    postnord "postnord",
    sendcloud "sendcloud",
    sendcloud_key "sendcloud-key",
    shipengine "shipengine",
    ups "ups",
    usps "usps",
    usps_labels "usps-labels",
}

#[test]
fn every_profile_has_a_file_and_a_test_and_every_file_a_profile() {
    let mut tested = NAMES.to_vec();
    tested.sort_unstable();
    let mut table: Vec<_> = profiles::KNOWN.iter().map(|known| known.name).collect();
    table.sort_unstable();
    assert_eq!(tested, table, "tests, and the table of profiles");
    assert_eq!(tested, data::names(), "tests, and files");
    // Profiles have no names of their own: there are as many of each carrier in the table as there are.
    let ids = |profiles: Vec<CarrierProfile>| {
        let mut ids: Vec<_> = profiles
            .iter()
            .map(|profile| profile.id().as_str().to_owned())
            .collect();
        ids.sort();
        ids
    };
    for environment in [Environment::Sandbox, Environment::Production] {
        let table = profiles::KNOWN.iter().map(|known| (known.profile)(environment));
        let mut table = ids(table.collect());
        for id in ids(carriers::all(environment)) {
            let at = table.iter().position(|known| *known == id);
            table.remove(at.unwrap_or_else(|| panic!("a profile of {id} is not in the table")));
        }
        // What is left takes more than an environment.
        let left = ["airline", "amazon-shipping", "ishare-party", "maskinporten"];
        assert_eq!(table, left);
    }
}

/// Whoever builds a client of a profile finds no fault in it, in either environment.
#[test]
fn every_profile_makes_a_client() {
    for environment in [Environment::Sandbox, Environment::Production] {
        for known in profiles::KNOWN {
            scene::builds(known, environment);
        }
    }
}
