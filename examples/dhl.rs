//! Five APIs of DHL, which share a name and little else: a question to each, as a shipping service would ask it.
//!
//! `cargo run --example dhl -- --api parcel-de` (`--help` for the APIs and their variables). With a credential in the
//! environment it talks to that API's test system, otherwise to an imitation on this machine. Express has name and password with
//! each call, Tracking an API key, Parcel NL a key that is exchanged for a token, and Parcel DE and eCommerce Americas have
//! tokens by OAuth, each in its own way; a call looks the same with all of them.

mod vendor;

use std::process::ExitCode;

use serde_json::json;
use shipbound::carriers;
use shipbound::client::{RequestBuilder, TenantClient};
use shipbound::owner::Environment;
use vendor::{Api, Variables};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let express = Api {
        name: "express",
        profile: carriers::dhl_express(Environment::Sandbox),
        variables: Variables {
            id: Some("DHL_EXPRESS_USERNAME"),
            secret: "DHL_EXPRESS_PASSWORD",
            parts: &[],
        },
        question: address,
    };
    let parcel_de = Api {
        name: "parcel-de",
        profile: carriers::dhl_parcel_de(Environment::Sandbox),
        variables: Variables {
            id: Some("DHL_PARCEL_DE_CLIENT_ID"),
            secret: "DHL_PARCEL_DE_CLIENT_SECRET",
            parts: &[
                ("username", "DHL_PARCEL_DE_USERNAME"),
                ("password", "DHL_PARCEL_DE_PASSWORD"),
            ],
        },
        question: hello,
    };
    let ecommerce_americas = Api {
        name: "ecommerce-americas",
        profile: carriers::dhl_ecommerce_americas(Environment::Sandbox),
        variables: Variables {
            id: Some("DHL_ECOMMERCE_AMERICAS_CLIENT_ID"),
            secret: "DHL_ECOMMERCE_AMERICAS_CLIENT_SECRET",
            parts: &[],
        },
        question: products,
    };
    let tracking = Api {
        name: "tracking",
        profile: carriers::dhl_tracking(Environment::Sandbox),
        variables: Variables {
            id: None,
            secret: "DHL_TRACKING_API_KEY",
            parts: &[],
        },
        question: parcel,
    };
    let parcel_nl = Api {
        name: "parcel-nl",
        profile: carriers::dhl_parcel_nl(Environment::Sandbox),
        variables: Variables {
            id: Some("DHL_PARCEL_NL_USER_ID"),
            secret: "DHL_PARCEL_NL_KEY",
            parts: &[],
        },
        question: labels,
    };
    vendor::run("dhl", [express, parcel_de, ecommerce_americas, tracking, parcel_nl]).await
}

/// Whether Express delivers there.
fn address(express: &TenantClient) -> RequestBuilder<'_> {
    express.get("/address-validate?type=delivery&countryCode=DE&postalCode=53113")
}

/// What the token is worth. It is asked beside the token endpoint, where no call gets by accident.
fn hello(parcel_de: &TenantClient) -> RequestBuilder<'_> {
    parcel_de.get("/account/auth/ropc/v1/hello").allow_credential_route()
}

/// With which products a parcel can go. An account that has no such distribution centre is told so by 400.
fn products(americas: &TenantClient) -> RequestBuilder<'_> {
    americas.post("/shipping/v4/products").json(&json!({
        "pickup": "",
        "distributionCenter": "USDFW1",
        "consigneeAddress": {
            "address1": "114 Whitney Ave",
            "city": "New Haven",
            "state": "CT",
            "postalCode": "06510",
            "country": "US",
        },
        "packageDetail": {"packageId": "TEST", "weight": {"value": 1, "unitOfMeasure": "LB"}},
        "rate": {"calculate": false},
    }))
}

/// A parcel that DHL need not know.
fn parcel(tracking: &TenantClient) -> RequestBuilder<'_> {
    tracking.get("/track/shipments?trackingNumber=00340434292135100124")
}

/// The labels of a parcel that nobody has.
fn labels(parcel_nl: &TenantClient) -> RequestBuilder<'_> {
    parcel_nl.get("/labels?trackerCodeFilter=JVGL00000000000000000000")
}
