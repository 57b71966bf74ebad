//! Pictures of the two paths that every call takes: a look-up of its lease, and its proof.
//!
//! ```text
//! cargo bench --bench criterion
//! ```
//!
//! Figures that decide come from `benches/peers`, which measures cases in turns.
#![allow(missing_docs, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderValue, Method, Response, header};
use shipbound::act::Act;
use shipbound::binding::bearer::Bearer;
use shipbound::binding::dpop::{Dpop, DpopBinding};
use shipbound::binding::{Attempt, Proof, Role, TokenBinding};
use shipbound::carriers::CarrierProfile;
use shipbound::clock::{Clock, SystemClock};
use shipbound::credentials::{Credential, CredentialError, CredentialStore};
use shipbound::directory::MemoryConnections;
use shipbound::jose::Algorithm;
use shipbound::keys::{Backend, KeyHandle, KeyId, LocalKey, MemoryKeyStore, Purpose, Signature, Signer, Signing};
use shipbound::owner::{CarrierId, ConnectionId, DeploymentId, Environment, Owner, Tenant, TenantId};
use shipbound::registry::{NewConnection, Registry};
use shipbound::target::Target;
use shipbound::token::TokenAt;
use shipbound::transport::{Body, Outgoing, Route, Transport, TransportError};
use shipbound::{Client, Parts};

criterion_group!(benches, proof, lease);
criterion_main!(benches);

fn proof(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("proof");
    let key = Arc::new(LocalKey::generate(Algorithm::Es256, Backend::default()).unwrap());
    let signer = handle(&key, Arc::clone(&key) as Arc<dyn Signer>);
    group.bench_function("signature alone", |bencher| {
        bencher.iter(|| match signer.sign(black_box(&[0x5a; 497])) {
            Signing::Now(signature) => signature.unwrap(),
            Signing::Later(_) => panic!("a local key signs at once"),
        });
    });
    for (name, key) in [
        ("es256", signer.clone()),
        ("everything but the signature", handle(&key, Arc::new(Fixed))),
    ] {
        let binding = DpopBinding::new(key, None).unwrap();
        let target = Target::parse("https://apis.carrier.example/rate/v1/rates/quotes").unwrap();
        let clock = SystemClock::new();
        group.bench_function(name, |bencher| bencher.iter(|| prove(&binding, &target, &clock)));
    }
}

fn prove(binding: &DpopBinding, target: &Target, clock: &SystemClock) -> Proof {
    let attempt = Attempt {
        role: Role::ResourceServer,
        method: &Method::POST,
        target,
        ath: Some("fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"),
        now: clock.now(),
        nonce: None,
    };
    ready(binding.prove(&attempt)).unwrap().unwrap()
}

fn handle(key: &LocalKey, signer: Arc<dyn Signer>) -> KeyHandle {
    let owner = Owner::Deployment(DeploymentId::default_deployment());
    KeyHandle::new(
        owner,
        KeyId::random().unwrap(),
        Purpose::Proof,
        key.public().clone(),
        signer,
    )
}

/// A signer whose signature is there already.
#[derive(Debug)]
struct Fixed;

impl Signer for Fixed {
    fn sign<'a>(&'a self, _message: &'a [u8]) -> Signing<'a> {
        Signing::Now(Ok(Signature::from([0x5a; 64])))
    }
}

fn lease(criterion: &mut Criterion) {
    const CONNECTIONS: usize = 10_000;
    let mut group = criterion.benchmark_group("lease");
    for (name, dpop, listed) in [
        ("hit, bearer", false, false),
        ("hit, dpop", true, false),
        ("hit, dpop, listed", true, true),
    ] {
        let registry = listed.then(|| registry(CONNECTIONS));
        let client = client(dpop, registry);
        let tenants: Vec<Tenant> = (0..CONNECTIONS)
            .map(|number| TenantId::new(&format!("tenant-{number}")).unwrap().into())
            .collect();
        for tenant in &tenants {
            ready(client.for_tenant(tenant.clone()).get("/rates").send()).unwrap();
        }
        let mut next = 0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                // A prime stride: no two hits in a row are neighbours.
                next = (next + 7919) % CONNECTIONS;
                client.lease(&tenants[next]).unwrap()
            });
        });
    }
}

/// A registry that lists all tenants.
fn registry(connections: usize) -> Arc<Registry> {
    let registry = ready(Registry::builder(MemoryConnections::new()).open()).unwrap();
    let act = Act::new("bench", "bench", "bench").unwrap();
    for number in 0..connections {
        let tenant = TenantId::new(&format!("tenant-{number}")).unwrap();
        let new = NewConnection::new(tenant, &CarrierId::new("carrier").unwrap(), Environment::Production);
        ready(registry.add(&new, &act)).unwrap();
    }
    Arc::new(registry)
}

fn client(dpop: bool, registry: Option<Arc<Registry>>) -> Client {
    let profile = CarrierProfile::custom(
        CarrierId::new("carrier").unwrap(),
        Environment::Production,
        "https://api.carrier.example",
        TokenAt::Endpoint("https://auth.carrier.example/token".into()),
    );
    let parts = Parts::builder().keys(MemoryKeyStore::new()).credentials(OneForAll);
    let parts = match registry {
        Some(registry) => parts.directory(registry),
        None => parts,
    };
    let parts = parts.transport(Issuing).build().unwrap();
    let builder = Client::builder(profile, &parts);
    if dpop {
        builder.binding(Dpop::es256()).build().unwrap()
    } else {
        builder.binding(Bearer).build().unwrap()
    }
}

#[derive(Debug)]
struct OneForAll;

#[async_trait]
impl CredentialStore for OneForAll {
    async fn credential(&self, _connection: &ConnectionId) -> Result<Credential, CredentialError> {
        Ok(Credential::new("client", "secret").with_revision(1))
    }
}

/// Issuer and API in one: a token for whoever asks, an empty answer for everything else.
#[derive(Debug)]
struct Issuing;

#[async_trait]
impl Transport for Issuing {
    async fn send(&self, request: Outgoing, _route: &Route) -> Result<Response<Body>, TransportError> {
        if request.target.path() != "/token" {
            return Ok(Response::new(Body::empty()));
        }
        let kind = if request.headers.contains_key("dpop") {
            "DPoP"
        } else {
            "Bearer"
        };
        let answer = serde_json::json!({ "access_token": "a".repeat(700), "token_type": kind, "expires_in": 86_400 });
        let mut response = Response::new(Body::from(bytes::Bytes::from(answer.to_string())));
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        Ok(response)
    }
}

/// The output of a future that never waits.
fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a future that should be ready at once was pending"),
    }
}
