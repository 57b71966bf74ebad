//! A business call for each profile, and how its carrier says that it is asked too often.

use std::error::Error;

use http::{HeaderValue, Method};
use serde_json::{Value, json};
use shipbound::carriers::{self, AmazonRegion, CarrierProfile};
use shipbound::owner::{CarrierId, Environment};
use shipbound::sandbox::Canned;
use shipbound::sandbox::imitations::{
    cargoson, dhl_ecommerce_americas, dhl_express, dhl_parcel_de, dhl_parcel_nl, dhl_tracking, easypost, fedex, nshift,
    shipengine, ups, usps,
};

/// What is tried of one profile.
pub(crate) struct Call {
    pub(crate) profile: CarrierProfile,
    pub(crate) api: &'static str,
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) body: Option<Value>,
    pub(crate) throttled: Throttled,
    /// Whether the sandbox imitates the carrier. Where it does not, call and test are answered by `{}`, whoever asks.
    pub(crate) imitated: bool,
    /// The answer to a token request, where the sandbox's own issuer has another manner.
    pub(crate) token: Option<Canned>,
}

/// How a carrier says that it is asked too often.
pub(crate) enum Throttled {
    /// Its API says so.
    Api(Canned),
    /// Its token endpoint blocks the address.
    Token(Canned),
}

impl Call {
    fn get(profile: CarrierProfile, api: &'static str, path: &'static str, throttled: Canned) -> Self {
        Self {
            profile,
            api,
            method: Method::GET,
            path,
            body: None,
            throttled: Throttled::Api(throttled),
            imitated: true,
            token: None,
        }
    }

    fn post(profile: CarrierProfile, api: &'static str, path: &'static str, body: Value, throttled: Canned) -> Self {
        Self {
            method: Method::POST,
            body: Some(body),
            ..Self::get(profile, api, path, throttled)
        }
    }

    fn token(mut self, answer: Canned) -> Self {
        self.token = Some(answer);
        self
    }
}

fn too_many() -> Canned {
    Canned::json(429, &json!({"message": "Too many requests"})).header("retry-after", "30")
}

pub(crate) fn all() -> Result<Vec<Call>, Box<dyn Error>> {
    let mut calls = imitated();
    calls.extend(others()?.into_iter().map(|call| Call {
        imitated: false,
        ..call
    }));
    Ok(calls)
}

/// Carriers that the sandbox imitates.
fn imitated() -> Vec<Call> {
    let sandbox = Environment::Sandbox;
    let rates = |profile, api| Call {
        throttled: Throttled::Token(fedex::blocked()),
        ..Call::post(
            profile,
            api,
            "/rate/v1/rates/quotes",
            json!({"accountNumber": {"value": "1"}}),
            fedex::throttled(),
        )
    };
    vec![
        rates(carriers::fedex(sandbox), "Rate"),
        rates(carriers::fedex_csp(sandbox), "Rate, for a child account"),
        rates(carriers::fedex_parent_child(sandbox), "Rate, parent and child"),
        Call::post(
            carriers::ups(sandbox),
            "Rating",
            "/rating/v2409/Rate",
            json!({"RateRequest": {}}),
            ups::throttled(),
        ),
        Call::get(
            carriers::dhl_express(sandbox),
            "MyDHL rates",
            "/rates?accountNumber=1&originCountryCode=DE&destinationCountryCode=CZ",
            dhl_express::throttled(),
        ),
        Call::post(
            carriers::dhl_parcel_de(sandbox),
            "Shipping, validated",
            "/shipping/v2/orders?validate=true",
            json!({"profile": "STANDARD_GRUPPENPROFIL", "shipments": [{"product": "V01PAK"}]}),
            dhl_parcel_de::throttled(),
        ),
        Call::post(
            carriers::dhl_ecommerce_americas(sandbox),
            "Label",
            "/shipping/v4/label?format=ZPL",
            json!({"pickup": "1", "packageDetail": {"packageId": "p1"}}),
            dhl_ecommerce_americas::throttled(),
        ),
        Call::get(
            carriers::dhl_tracking(sandbox),
            "Tracking, unified",
            "/track/shipments?trackingNumber=00340434292135100124",
            dhl_tracking::throttled(),
        ),
        Call::post(
            carriers::dhl_parcel_nl(sandbox),
            "Shipments",
            "/shipments",
            json!({"shipmentId": "6f7d1a52-0000-4000-8000-000000000001"}),
            dhl_parcel_nl::throttled(),
        ),
        Call::get(
            carriers::usps(sandbox),
            "Addresses",
            "/addresses/v3/city-state?ZIPCode=30022",
            usps::throttled(30),
        ),
        Call::post(
            carriers::usps_labels(sandbox),
            "Labels",
            "/labels/v3/label",
            json!({"imageInfo": {"imageType": "PDF"}}),
            usps::throttled(30),
        ),
        Call::post(
            carriers::easypost(sandbox),
            "Shipments",
            "/shipments",
            json!({"shipment": {"reference": "order-1"}}),
            easypost::throttled(),
        ),
        Call::post(
            carriers::shipengine(sandbox),
            "Labels",
            "/v1/labels",
            json!({"shipment": {"external_shipment_id": "order-1"}}),
            shipengine::throttled(20),
        ),
        Call::post(
            carriers::nshift(sandbox),
            "Shipment data",
            "/track/shipmentdata/Operational/Shipments/ByBarcode",
            json!({"query": "373500000000000001"}),
            nshift::throttled(),
        ),
        Call::post(
            carriers::cargoson(sandbox),
            "Freight prices",
            "/freightPrices/list",
            json!({"collection_date": "30.11.2026", "collection_country": "EE", "delivery_country": "DE"}),
            cargoson::throttled(),
        ),
    ]
}

/// Carriers that have a profile and no imitation.
fn others() -> Result<Vec<Call>, Box<dyn Error>> {
    let sandbox = Environment::Sandbox;
    let header = HeaderValue::from_static("application/vnd.cpc.track+xml");
    let canada_post = carriers::canada_post(sandbox).header(http::header::ACCEPT, header);
    let dpd_token = Canned::empty(200).header("x-dpd-token", "made-up-for-the-table");
    let amazon = json!({"access_token": "Atza|made-up", "token_type": "bearer", "expires_in": 3600});
    let airline = CarrierId::new("airline")?;
    Ok(vec![
        Call::post(
            carriers::nshift_delivery(sandbox),
            "Delivery shipments",
            "/shipments?returnFile=true",
            json!({}),
            too_many(),
        ),
        Call::post(
            carriers::amazon_shipping(sandbox, AmazonRegion::NorthAmerica),
            "Shipping v2, North America",
            "/shipping/v2/shipments/rates",
            json!({}),
            too_many(),
        )
        .token(Canned::json(200, &amazon)),
        Call::get(carriers::bnsf(sandbox), "Cars", "/v1/cars", too_many()),
        Call::post(
            carriers::gls(sandbox),
            "ShipIT",
            "/shipit-farm/v1/backend/rs/shipments",
            json!({}),
            too_many(),
        ),
        Call::post(carriers::dpd(sandbox), "Shipment", "/shipment", json!({}), too_many()).token(dpd_token),
        Call::get(
            carriers::postnord(sandbox),
            "Track and trace",
            "/rest/shipment/v5/trackandtrace/findByIdentifier.json?id=1",
            too_many(),
        ),
        Call::post(
            carriers::bring(sandbox),
            "Booking",
            "/booking/api/booking",
            json!({"testIndicator": true}),
            too_many(),
        ),
        Call::get(
            canada_post,
            "Tracking",
            "/vis/track/pin/7023210039414604/detail",
            too_many(),
        ),
        Call::post(
            carriers::sendcloud(sandbox),
            "Shipments",
            "/api/v3/shipments/announce",
            json!({}),
            too_many(),
        ),
        Call::post(
            carriers::sendcloud_key(sandbox),
            "Shipments, by key pair",
            "/api/v3/shipments/announce",
            json!({}),
            too_many(),
        ),
        Call::get(
            carriers::one_record(
                airline,
                sandbox,
                "https://1r.airline.example",
                "https://auth.airline.example",
            )
            .called("An airline"),
            "ONE Record",
            "/logistics-objects/lo-1",
            too_many(),
        ),
    ])
}
