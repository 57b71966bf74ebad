//! Keys that a holder has, as a store would make handles of them, and proofs that they sign.
#![allow(dead_code, unreachable_pub)]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, header};
use shipbound::binding::dpop::{Dpop, DpopBinding};
use shipbound::binding::{Attempt, Role, TokenBinding};
use shipbound::clock::{Clock, ManualClock, SystemClock};
use shipbound::jose::{Algorithm, ath};
use shipbound::keys::{KeyError, KeyHandle, KeyHolder, KeyId, KeySpec, KeyStore, Purpose, StoredKey};
use shipbound::owner::{AccountId, CarrierId, ConnectionId, DeploymentId, Environment, Owner, TenantId};
use shipbound::sandbox::{Canned, Endpoint, Sandbox};
use shipbound::target::Target;
use shipbound::verify::{MemoryReplayLog, ProofVerifier, Received, TokenConfirmation, TokenFacts};
use shipbound::{Client, Parts, carriers};

pub const ES256: KeySpec = KeySpec {
    purpose: Purpose::Proof,
    algorithm: Algorithm::Es256,
};

pub fn owner(tenant: &str) -> Owner {
    let tenant = TenantId::new(tenant).unwrap().into();
    ConnectionId::new(
        DeploymentId::default_deployment(),
        tenant,
        CarrierId::new("acme-freight").unwrap(),
        Environment::Sandbox,
        AccountId::main(),
    )
    .into()
}

pub async fn make(holder: &dyn KeyHolder, spec: KeySpec) -> Result<StoredKey, KeyError> {
    let now = SystemClock::new().now();
    holder.make(&owner("acme"), KeyId::random().unwrap(), spec, now).await
}

/// A handle of the key, which is active.
pub async fn handle(holder: &dyn KeyHolder, stored: &StoredKey) -> Result<KeyHandle, KeyError> {
    let signer = holder.signer(stored).await?;
    let record = &stored.record;
    let public = record.public.clone();
    Ok(KeyHandle::new(
        record.owner.clone(),
        record.id,
        record.purpose,
        public,
        signer,
    ))
}

/// Signs a proof and has it verified, with the token that is bound to the key.
pub async fn prove(handle: &KeyHandle) -> Result<(), KeyError> {
    let binding = DpopBinding::new(handle.clone(), None)?;
    let (target, token) = (
        Target::parse("https://api.carrier.example/ship/v1").unwrap(),
        "token-of-acme",
    );
    let now = SystemClock::new().now();
    let attempt = Attempt {
        role: Role::ResourceServer,
        method: &Method::POST,
        target: &target,
        ath: Some(&ath(token)),
        now,
        nonce: None,
    };
    let proof = binding.prove(&attempt).await?.unwrap();
    let mut headers = HeaderMap::new();
    proof.attach(&mut headers);
    headers.insert(
        header::AUTHORIZATION,
        HeaderValue::from_str(&format!("DPoP {token}")).unwrap(),
    );
    let log = MemoryReplayLog::starting(now.offset_seconds(-60)).unwrap();
    let verifier = ProofVerifier::builder(Arc::new(ManualClock::at(now)), Arc::new(log))
        .build()
        .unwrap();
    let jkt = handle.jkt().to_string();
    let facts = TokenFacts::active(TokenConfirmation::from_members(Some(&jkt), None)).client("acme");
    let received = Received::new(&Method::POST, target.as_str(), &headers);
    let verified = verifier.verify_resource(&received, &facts).await.unwrap();
    assert_eq!(verified.jkt(), handle.jkt());
    Ok(())
}

/// A client makes its key by this store, gets a token that is bound to it, and calls a server that checks every proof.
pub async fn called_by_a_client(keys: impl KeyStore + 'static) {
    let sandbox = Sandbox::start().await.unwrap();
    let profile = sandbox.profile(carriers::fedex(Environment::Sandbox));
    let globex = TenantId::new("globex").unwrap();
    let parts = Parts::builder()
        .keys(keys)
        .credentials(sandbox.credentials(&profile, [&globex]))
        .transport(sandbox.transport().unwrap())
        .build()
        .unwrap();
    let fedex = Client::builder(profile, &parts).binding(Dpop::es256()).build().unwrap();
    let label = serde_json::json!({ "label": "JVBERi0xLjQK" });
    sandbox.route(Method::POST, "/ship/v1/shipments", Canned::json(201, &label));
    let answer = fedex
        .for_tenant(globex)
        .post("/ship/v1/shipments")
        .json(&label)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 201);
    let calls = sandbox.requests_at(Endpoint::Api);
    assert_eq!(
        calls.last().unwrap().checks(),
        ["signature", "htm", "htu", "iat", "jti", "ath", "cnf"]
    );
    sandbox.shutdown().await;
}
