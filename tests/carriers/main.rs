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
    bnsf "bnsf",
    fedex "fedex",
    ups "ups",
    usps "usps",
}

#[test]
fn every_profile_has_a_file_and_a_test_and_every_file_a_profile() {
    let mut tested = NAMES.to_vec();
    tested.sort_unstable();
    let mut table: Vec<_> = profiles::KNOWN.iter().map(|known| known.name).collect();
    table.sort_unstable();
    assert_eq!(tested, table, "tests, and the table of profiles");
    assert_eq!(tested, data::names(), "tests, and files");
}
