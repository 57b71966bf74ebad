//! Values that hold secrets, and errors about them, without any call.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method};
use serde_json::json;
use shipbound::carriers;
use shipbound::credentials::{Credential, EnvCredentials};
use shipbound::journal::fingerprint::Fingerprints;
use shipbound::keys::{Backend, LocalKey};
use shipbound::owner::{CarrierId, Environment};
use shipbound::sandbox::{Answer, Canned, Sandbox};
use shipbound::secret::{ClientSecret, KeyMaterial, RefreshToken};
use shipbound::target::Target;
use shipbound::transport::Outgoing;
use shipbound::transport::reqwest::ReqwestTransport;

use crate::marker::{Shown, marked};
use crate::stage::{KEY, acme, private_octets};

/// Keys that are taken in, and those that are not.
pub(crate) async fn keys(shown: &mut Shown) {
    use base64::Engine;
    let d = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(private_octets());
    let t = marked("key");
    let text = std::str::from_utf8(KEY).unwrap();
    let jwks = [
        json!({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "d": d}),
        json!({"kty": "EC", "crv": "P-256", "d": d, "x": {"t": t}, "y": [t]}),
        json!({"kty": t, "d": d}),
        json!({"kty": "EC", "crv": t, "d": {"d": d}}),
        json!({"kty": "OKP", "crv": "Ed25519", "x": t, "d": d}),
        json!([d]),
        json!(d),
    ];
    for jwk in jwks {
        let material = KeyMaterial::new(jwk.to_string());
        shown.debug(&material);
        shown.error(&LocalKey::from_jwk(&material, Backend::default()).unwrap_err());
    }
    let cut = text.len() - 40;
    for pem in [
        format!("{text}{t}"),
        format!("{t}\n{text}"),
        text.replace("PRIVATE KEY", &t),
        text[..cut].to_owned(),
        text.replace("-----\n", &format!("-----\nProc-Type: {t}\n")),
        format!("{d}\n"),
    ] {
        let material = KeyMaterial::new(pem);
        shown.error(&LocalKey::from_pem(&material, Backend::default()).unwrap_err());
    }
    let material = KeyMaterial::new(private_octets());
    shown.debug(&material);
    shown.error(&LocalKey::from_pkcs8_der(&material, Backend::default()).unwrap_err());
    let key = LocalKey::from_pem(&KeyMaterial::new(KEY), Backend::default()).unwrap();
    shown.debug(&key.public());
    shown.debug(&key.export_pkcs8_pem().unwrap());
}

pub(crate) fn values(shown: &mut Shown) {
    let t = marked("value");
    shown.debug(&ClientSecret::new(t.as_str()));
    shown.debug(&RefreshToken::new(t.as_str()));
    shown.debug(&Credential::new("acme", t.as_str()));
    shown.debug(&Arc::new(Credential::new("acme", t.as_str()).with_revision(7)));
    let octets: [u8; 32] = format!("{t:a<32}").into_bytes()[..32].try_into().unwrap();
    shown.debug(&Fingerprints::new(octets));
    let missing = EnvCredentials::new().client(
        acme(),
        &CarrierId::new("fedex").unwrap(),
        Environment::Sandbox,
        "SHIPBOUND_TEST_NOT_SET",
        "SHIPBOUND_TEST_NOT_SET_EITHER",
    );
    shown.error(&missing.unwrap_err());

    let target = Target::parse(&format!("https://api.carrier.example/{t}?token={t}")).unwrap();
    shown.debug(&target);
    shown.debug(&target.origin());
    shown.error(&Target::parse(&format!("https://user:{t}@api.carrier.example/")).unwrap_err());
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::from_str(&t).unwrap());
    shown.debug(&Outgoing {
        method: Method::POST,
        target,
        headers,
        body: t.clone().into(),
    });
    let api_key = HeaderValue::from_str(&t).unwrap();
    let profile = carriers::fedex(Environment::Production).header("x-api-key".parse().unwrap(), api_key);
    shown.debug(&profile);
    let builder = ReqwestTransport::builder();
    shown.debug(&builder);
    shown.error(&builder.add_root_pem(t.as_str()).build().unwrap_err());
    shown.error(
        &ReqwestTransport::builder()
            .user_agent(format!("{t}\n"))
            .build()
            .unwrap_err(),
    );
    shown.error(
        &ReqwestTransport::builder()
            .allow_private_host(&format!("{t}/"))
            .build()
            .unwrap_err(),
    );

    shown.debug(&Sandbox::builder().client("acme", ClientSecret::new(t.as_str())));
    shown.debug(&Answer::token_with(json!({"access_token": t})).header("x-token", &t));
    shown.debug(&Answer::token_body(t.as_str()));
    shown.debug(&Answer::nonce(t.as_str()));
    shown.debug(&Canned::text(200, t.as_str()).header("x-token", &t));
}
