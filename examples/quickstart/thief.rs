//! What a thief tries with what she has read, each time as she would: with an HTTP client of her own.

use std::error::Error;

use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use shipbound::Client;
use shipbound::binding::dpop::DpopBinding;
use shipbound::binding::{Attempt, Role, TokenBinding};
use shipbound::clock::{Clock, SystemClock};
use shipbound::jose::{Algorithm, ath};
use shipbound::keys::{KeyHandle, KeySpec, KeyStore, MemoryKeyStore, Purpose};
use shipbound::owner::{AccountId, CarrierId, ConnectionId, DeploymentId, Environment, Owner, TenantId};
use shipbound::sandbox::{Endpoint, Recorded, Sandbox};
use shipbound::target::Target;
use shipbound::transport::{Outgoing, Route, Transport};

use crate::SHIPMENTS;

const DPOP: HeaderName = HeaderName::from_static("dpop");

/// What she has in hand.
pub(crate) struct Caught {
    /// Acme's token, and the proof that went with it.
    token: String,
    used: String,
    /// A proof by acme's key that was caught on its way and has not arrived.
    unused: String,
    /// The same, made for an earlier token of acme's.
    for_earlier_token: String,
}

impl Caught {
    pub(crate) async fn from(
        sandbox: &Sandbox,
        carrier: &Client,
        keys: &MemoryKeyStore,
        shipper: &TenantId,
    ) -> Result<Self, Box<dyn Error>> {
        let earlier = token(&last_call(sandbox, shipper)?)?;
        // A second token of the same key.
        carrier.forget(&shipper.clone().into());
        carrier.for_tenant(shipper.clone()).post(SHIPMENTS).send().await?;
        let call = last_call(sandbox, shipper)?;
        let token = token(&call)?;

        let connection = ConnectionId::new(
            DeploymentId::default_deployment(),
            shipper.clone().into(),
            CarrierId::new("acme-freight")?,
            Environment::Sandbox,
            AccountId::main(),
        );
        let key = keys
            .active(&Owner::from(connection), Purpose::Proof)
            .await?
            .ok_or("acme has no key")?;
        Ok(Self {
            used: call.proof().ok_or("the call had no proof")?.to_owned(),
            unused: proof(sandbox, key.clone(), &token).await?,
            for_earlier_token: proof(sandbox, key, &earlier).await?,
            token,
        })
    }
}

/// One attempt, and what the carrier said to it.
pub(crate) struct Theft {
    pub(crate) name: &'static str,
    pub(crate) told: &'static str,
    pub(crate) status: u16,
    /// The `error` of the challenge (RFC 9449 7.1); empty where there is none.
    pub(crate) error: String,
}

pub(crate) async fn thefts(sandbox: &Sandbox, caught: &Caught) -> Result<Vec<Theft>, Box<dyn Error>> {
    let keys = MemoryKeyStore::new();
    let owner = Owner::Deployment(DeploymentId::new("mallory")?);
    let spec = KeySpec {
        purpose: Purpose::Proof,
        algorithm: Algorithm::Es256,
    };
    let hers = keys.create(&owner, spec).await?;
    keys.promote(&owner, &hers.id(), None, SystemClock::new().now()).await?;
    let own = proof(sandbox, hers.clone(), &caught.token).await?;
    let forged = forge(&caught.used, &proof(sandbox, hers, &caught.token).await?)?;

    let shipments = SHIPMENTS;
    let returns = "/v1/returns";
    sandbox.route(Method::POST, returns, shipbound::sandbox::Canned::empty(201));
    let attempts = [
        ("token_without_key", "the token alone", shipments, "Bearer", None),
        (
            "token_with_another_key",
            "the token, with a proof by her own key",
            shipments,
            "DPoP",
            Some(own.as_str()),
        ),
        (
            "proof_with_forged_signature",
            "acme's key in the proof, her signature",
            shipments,
            "DPoP",
            Some(&forged),
        ),
        (
            "captured_proof_again",
            "acme's own proof, a second time",
            shipments,
            "DPoP",
            Some(&caught.used),
        ),
        (
            "proof_at_another_url",
            "an unused proof of acme's, at another URL",
            returns,
            "DPoP",
            Some(&caught.unused),
        ),
        (
            "proof_for_another_token",
            "an unused proof of acme's, with a newer token",
            shipments,
            "DPoP",
            Some(&caught.for_earlier_token),
        ),
    ];
    let transport = sandbox.transport()?;
    let mut thefts = Vec::new();
    for (name, told, path, scheme, proof) in attempts {
        let mut headers = HeaderMap::new();
        headers.insert(
            AUTHORIZATION,
            HeaderValue::from_str(&format!("{scheme} {}", caught.token))?,
        );
        if let Some(proof) = proof {
            headers.insert(DPOP, HeaderValue::from_str(proof)?);
        }
        let request = Outgoing {
            method: Method::POST,
            target: target(sandbox, path)?,
            headers,
            body: Default::default(),
        };
        let answer = transport.send(request, &Route::new()).await?;
        let challenges = answer.headers().get_all(WWW_AUTHENTICATE).iter();
        let mut errors = challenges.filter_map(|challenge| error_of(challenge.to_str().ok()?));
        let error = errors.next().unwrap_or_default().to_owned();
        thefts.push(Theft {
            name,
            told,
            status: answer.status().as_u16(),
            error,
        });
    }
    Ok(thefts)
}

/// The `error` parameter of a challenge.
fn error_of(challenge: &str) -> Option<&str> {
    let (_, rest) = challenge.split_once("error=\"")?;
    rest.split_once('"').map(|(error, _)| error)
}

async fn proof(sandbox: &Sandbox, key: KeyHandle, token: &str) -> Result<String, Box<dyn Error>> {
    let attempt = Attempt {
        role: Role::ResourceServer,
        method: &Method::POST,
        target: &target(sandbox, SHIPMENTS)?,
        ath: Some(&ath(token)),
        now: SystemClock::new().now(),
        nonce: None,
    };
    let mut headers = HeaderMap::new();
    DpopBinding::new(key, None)?
        .prove(&attempt)
        .await?
        .ok_or("no proof")?
        .attach(&mut headers);
    Ok(headers.get(DPOP).ok_or("no proof")?.to_str()?.to_owned())
}

/// The header of one proof, which names the key, before payload and signature of another.
fn forge(names_the_key: &str, signed: &str) -> Result<String, Box<dyn Error>> {
    let (header, _) = names_the_key.split_once('.').ok_or("not a proof")?;
    let (_, rest) = signed.split_once('.').ok_or("not a proof")?;
    Ok(format!("{header}.{rest}"))
}

fn last_call(sandbox: &Sandbox, shipper: &TenantId) -> Result<Recorded, Box<dyn Error>> {
    let calls = sandbox.requests_of(shipper).into_iter();
    calls
        .rev()
        .find(|request| request.endpoint() == Endpoint::Api)
        .ok_or_else(|| "no call was seen".into())
}

fn token(call: &Recorded) -> Result<String, Box<dyn Error>> {
    let header = call.header("authorization").ok_or("the call had no token")?;
    Ok(header.split_once(' ').ok_or("the call had no token")?.1.to_owned())
}

fn target(sandbox: &Sandbox, path: &str) -> Result<Target, Box<dyn Error>> {
    Ok(Target::parse_allowing(
        &format!("{}{path}", sandbox.api()),
        &sandbox.loopbacks(),
    )?)
}
