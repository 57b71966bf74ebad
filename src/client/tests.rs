//! The vectors of cache keys: which two clients and tenants share a token, and which never do.

mod build;
mod carried;
mod consent;
mod ending;
mod guarded;
mod probe;
mod replaced;
mod setup;
mod turns;
mod verified;

use std::sync::Arc;

use futures_util::FutureExt;
use serde_json::Value;
use uuid::Uuid;

use crate::binding::BindingStrategy;
use crate::binding::bearer::Bearer;
use crate::binding::dpop::Dpop;
#[cfg(feature = "mtls")]
use crate::binding::mtls::{MemoryCertificates, Mtls};
use crate::carriers::CarrierProfile;
use crate::clock::{ManualClock, Timestamp};
use crate::credentials::{Credential, MemoryCredentials};
use crate::keys::{KeyStore, MemoryKeyStore, Purpose, Retired};
use crate::owner::{AccountId, CarrierId, DeploymentId, Environment, Owner, Tenant, TenantId};
use crate::parts::Parts;
use crate::testing::{Script, Step, group, id};
use crate::token::cache::TokenCache;
use crate::token::client_auth::ClientAuth;
use crate::token::{TokenAt, TokenRequest};

use super::Client;

/// What differs inside one slot: the lease in it is looked at, not the key.
const BY_LEASE: [&str; 2] = ["CK-14", "CK-21"];

/// Where one side is bound to a certificate.
const BY_CERTIFICATE: &str = "CK-15";

/// A client and a tenant as one side of a vector describes them; `None` where one of its parts is refused.
fn side(side: &Value) -> Option<(Client, Tenant)> {
    let text = |name: &str| side[name].as_str();
    let or = |name: &str, default: &'static str| text(name).unwrap_or(default).to_owned();
    let mut request = TokenRequest::new();
    for scope in side["scopes"].as_array().unwrap() {
        request = request.scope(scope.as_str().unwrap()).ok()?;
    }
    if let Some(resource) = text("resource") {
        request = request.resource(resource).ok()?;
    }
    let tenant = TenantId::new(text("tenant").unwrap()).ok()?;
    let incarnation = text("incarnation").map_or(Uuid::nil(), |id| id.parse().unwrap());
    let environment = match text("environment").unwrap() {
        "prod" => Environment::Production,
        "sandbox" => Environment::Sandbox,
        other => panic!("{other}"),
    };
    assert_eq!(text("grant"), Some("client_credentials"));
    let profile = CarrierProfile::custom(
        CarrierId::new(text("carrier").unwrap()).ok()?,
        environment,
        "https://api.carrier.example",
        TokenAt::Issuer(text("issuer").unwrap().to_owned()),
    )
    .token_request(request);
    let parts = Parts::builder()
        .keys(MemoryKeyStore::new())
        .credentials(MemoryCredentials::new())
        .deployment(DeploymentId::new(&or("deployment", "default")).unwrap())
        .transport(Script::default())
        .build()
        .unwrap();
    let builder = Client::builder(profile, &parts).account(AccountId::new(&or("account", "main")).unwrap());
    let (bound, _) = text("binding").unwrap().split_once(':').unwrap();
    let builder = match (text("minimum_binding").unwrap_or("dpop"), bound) {
        ("bearer", _) => builder.binding(Bearer),
        ("dpop", "jkt") => builder.binding(Dpop::es256()),
        #[cfg(feature = "mtls")]
        ("dpop", "x5t") => builder.binding(Mtls::new(MemoryCertificates::new())),
        other => panic!("{other:?}"),
    };
    Some((builder.build().unwrap(), Tenant::new(tenant, incarnation)))
}

/// Whether both sides are served by one slot of a cache that they share.
fn share_a_slot(a: &(Client, Tenant), b: &(Client, Tenant)) -> bool {
    let cache = TokenCache::default();
    let slot = |(client, tenant): &(Client, Tenant)| cache.slot(&client.0.scope, tenant);
    Arc::ptr_eq(&slot(a), &slot(b))
}

#[test]
fn every_vector_of_cache_keys() {
    let mut ran = 0;
    for vector in group("cache_keys", 22) {
        let (id, input, expect) = (id(&vector), &vector["input"], &vector["expect"]);
        ran += 1;
        if cfg!(not(feature = "mtls")) && id == BY_CERTIFICATE {
            continue;
        }
        let sides = [("a", side(&input["a"])), ("b", side(&input["b"]))];
        let refused: Vec<_> = sides
            .iter()
            .filter(|(_, side)| side.is_none())
            .map(|(name, _)| *name)
            .collect();
        match (&expect["refused"], &expect["equal"]) {
            (Value::Array(_), _) => assert_eq!(expect["refused"], serde_json::json!(refused), "{id}"),
            (_, Value::Bool(equal)) => {
                let [(_, Some(a)), (_, Some(b))] = &sides else {
                    panic!("{id}: {refused:?}")
                };
                if BY_LEASE.contains(&id) {
                    assert!(!equal && share_a_slot(a, b), "{id}");
                } else {
                    assert_eq!(share_a_slot(a, b), *equal, "{id}");
                }
            }
            _ => panic!("{id}"),
        }
    }
    assert_eq!(ran, 22);
}

/// What else tells two token requests apart.
#[test]
fn clients_that_ask_for_something_else_share_nothing() {
    let client = |change: &dyn Fn(CarrierProfile) -> CarrierProfile| {
        let profile = CarrierProfile::custom(
            CarrierId::new("c1").unwrap(),
            Environment::Sandbox,
            "https://api.carrier.example",
            TokenAt::Endpoint("https://auth.carrier.example".to_owned()),
        );
        let parts = Parts::builder()
            .keys(MemoryKeyStore::new())
            .credentials(MemoryCredentials::new());
        let parts = parts.transport(Script::default()).build().unwrap();
        let client = Client::builder(change(profile), &parts)
            .binding(Dpop::es256())
            .build()
            .unwrap();
        (client, Tenant::from(TenantId::new("t1").unwrap()))
    };
    let request = |change: fn(TokenRequest) -> TokenRequest| {
        client(&move |profile: CarrierProfile| profile.token_request(change(TokenRequest::new())))
    };
    let all = [
        client(&|profile| profile),
        client(&|mut profile| {
            profile.token_at = TokenAt::Issuer("https://auth.carrier.example".to_owned());
            profile
        }),
        client(&|profile| profile.client_auth(ClientAuth::Post)),
        client(&|profile| profile.allow_origin("https://other.example")),
        request(|request| request.scope("a").unwrap()),
        request(|request| request.resource("https://a.example/").unwrap()),
        request(|request| request.parameter("a", "").unwrap()),
        request(|request| request.parameter("a", "b").unwrap()),
        request(|request| request.parameter("ab", "").unwrap()),
    ];
    for (number, one) in all.iter().enumerate() {
        for (other_number, other) in all.iter().enumerate() {
            assert_eq!(
                share_a_slot(one, other),
                number == other_number,
                "{number} {other_number}"
            );
        }
    }
    assert!(share_a_slot(&client(&|profile| profile), &all[0]));
}

/// One tenant of one carrier, whose issuer and API are scripted.
struct World {
    client: Client,
    clock: Arc<ManualClock>,
    script: Script,
    keys: Arc<MemoryKeyStore>,
    credentials: Arc<MemoryCredentials>,
    carrier: CarrierId,
}

impl World {
    fn new(strategy: impl BindingStrategy + 'static) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_unix_seconds(1_800_000_000)));
        let (script, carrier) = (Script::default(), CarrierId::new("c1").unwrap());
        let keys = Arc::new(MemoryKeyStore::with_clock(clock.clone()));
        let credentials = Arc::new(MemoryCredentials::new());
        let profile = CarrierProfile::custom(
            carrier.clone(),
            Environment::Sandbox,
            "https://api.carrier.example",
            TokenAt::Endpoint("https://auth.carrier.example/token".to_owned()),
        );
        let parts = Parts::builder()
            .shared_keys(keys.clone())
            .shared_credentials(credentials.clone())
            .clock(clock.clone())
            .transport(script.clone())
            .build()
            .unwrap();
        let client = Client::builder(profile, &parts).binding(strategy).build().unwrap();
        let world = Self {
            client,
            clock,
            script,
            keys,
            credentials,
            carrier,
        };
        world.credential(1);
        world
    }

    fn credential(&self, revision: u64) {
        let credential = Credential::new("id", "s3cr3t").with_revision(revision);
        let tenant = TenantId::new("t1").unwrap();
        self.credentials
            .put(tenant, &self.carrier, Environment::Sandbox, credential);
    }

    fn owner(&self) -> Owner {
        let tenant = TenantId::new("t1").unwrap();
        Owner::from(self.client.0.scope.connection(&tenant.into()))
    }

    /// A call that meets these steps: the paths that were asked for, the thumbprint of the API's proof, and the error.
    fn call(&self, steps: impl IntoIterator<Item = Step>) -> (Vec<String>, Option<String>, Option<&'static str>) {
        self.script.add(steps);
        let tenant = self.client.tenant("t1").unwrap();
        let outcome = tenant.get("/rates").send().now_or_never().expect("nothing waits");
        let report = match &outcome {
            Ok(response) => Some(response.report().clone()),
            Err(error) => error.report().cloned(),
        };
        let paths = self
            .script
            .seen()
            .iter()
            .map(|seen| seen.target.path().to_owned())
            .collect();
        let jkt = report.and_then(|report| report.jkt).map(|jkt| jkt.to_string());
        (paths, jkt, outcome.err().map(|error| error.code()))
    }
}

const FRESH: [&str; 2] = ["/token", "/rates"];
const CACHED: [&str; 1] = ["/rates"];

fn served() -> [Step; 2] {
    [Step::token("t", "3600"), Step::json(200, "{}")]
}

/// CK-14: a token is used with the key it was issued to, and a key that ended takes its tokens with it.
#[test]
fn a_lease_carries_the_key_it_was_issued_to() {
    let world = World::new(Dpop::es256());
    let (paths, first, _) = world.call(served());
    assert_eq!(paths, FRESH);
    // Rotation: the old key drains, and goes on with its token.
    let active = |world: &World| {
        world
            .keys
            .active(&world.owner(), Purpose::Proof)
            .now_or_never()
            .unwrap()
            .unwrap()
    };
    let old = active(&world).unwrap();
    assert_eq!(first, Some(old.jkt().to_string()));
    let spec = crate::keys::KeySpec {
        purpose: Purpose::Proof,
        algorithm: crate::jose::Algorithm::Es256,
    };
    let new = world.keys.create(&world.owner(), spec).now_or_never().unwrap().unwrap();
    let until = Timestamp::from_unix_seconds(1_800_086_400);
    let (owner, key, replaced) = (world.owner(), new.id(), old.id());
    let promoted = world.keys.promote(&owner, &key, Some(&replaced), until).now_or_never();
    assert!(promoted.unwrap().unwrap());
    let (paths, jkt, _) = world.call([Step::json(200, "{}")]);
    assert_eq!((paths, jkt), (CACHED.map(str::to_owned).to_vec(), first.clone()));
    // The next token is the new key's.
    world.client.forget(&TenantId::new("t1").unwrap().into());
    let (paths, jkt, _) = world.call(served());
    assert_eq!(
        (paths, jkt),
        (FRESH.map(str::to_owned).to_vec(), Some(new.jkt().to_string()))
    );

    // A closed key is not used again, not for a token that is still good.
    new.close(Retired::Compromised);
    let (paths, jkt, error) = world.call(served());
    assert_eq!((paths, error), (FRESH.map(str::to_owned).to_vec(), None));
    let third = active(&world).unwrap().jkt().to_string();
    assert_eq!(jkt, Some(third.clone()));
    assert!(third != new.jkt().to_string() && Some(third) != first);
}

/// CK-21: a token is used as long as its credential is the connection's.
#[test]
fn a_changed_credential_takes_effect_on_the_next_call() {
    let world = World::new(Bearer);
    let served = || {
        [
            Step::json(200, r#"{"access_token":"t","token_type":"Bearer","expires_in":3600}"#),
            Step::json(200, "{}"),
        ]
    };
    assert_eq!(world.call(served()).0, FRESH);
    assert_eq!(world.call([Step::json(200, "{}")]).0, CACHED);
    world.credential(2);
    assert_eq!(world.call(served()).0, FRESH);
    // A change of somebody else's credential, or of nothing, costs no token.
    world.credential(2);
    assert_eq!(world.call([Step::json(200, "{}")]).0, CACHED);
    let other = TenantId::new("t2").unwrap();
    world
        .credentials
        .put(other, &world.carrier, Environment::Sandbox, Credential::new("x", "y"));
    assert_eq!(world.call([Step::json(200, "{}")]).0, CACHED);
    let Owner::Connection(connection) = world.owner() else {
        panic!()
    };
    world.credentials.remove(&connection);
    assert_eq!(world.call([]), (Vec::new(), None, Some("credential")));
    world.credential(2);
    // Without a pause: nobody was asked.
    assert_eq!(world.call(served()).0, FRESH);
}

/// A request that waits for another one's answer, since it has the nonce, is dated when it goes out; and it does not go out
/// if that answer asks for a pause.
#[test]
fn a_proof_is_dated_when_it_is_sent_however_long_its_turn_was_in_coming() {
    for throttled in [false, true] {
        let world = World::new(Dpop::es256());
        let challenge = [
            ("www-authenticate", r#"DPoP error="use_dpop_nonce""#),
            ("dpop-nonce", "n1"),
        ];
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let given = if throttled {
            Step::with(429, &[("retry-after", "60")], "")
        } else {
            Step::with(200, &[("dpop-nonce", "n2")], "")
        };
        world
            .script
            .add([Step::token("t", "3600"), Step::with(401, &challenge, "")]);
        world
            .script
            .add([Step::After(receiver, Box::new(given)), Step::json(200, "")]);
        let tenant = world.client.tenant("t1").unwrap();
        let mut first = Box::pin(tenant.get("/rates").send());
        assert!((&mut first).now_or_never().is_none());
        let mut second = Box::pin(tenant.get("/rates").send());
        assert!((&mut second).now_or_never().is_none());
        assert_eq!(world.script.seen().len(), 3, "the second one waits for its turn");

        world.clock.advance(std::time::Duration::from_secs(25));
        sender.send(()).unwrap();
        assert_eq!(first.now_or_never().unwrap().is_err(), throttled);
        let outcome = second.now_or_never().unwrap();
        let seen = world.script.seen();
        if throttled {
            assert_eq!((outcome.unwrap_err().code(), seen.len()), ("rate_limited", 0));
        } else {
            outcome.unwrap();
            let proof = seen[0].proof().unwrap();
            assert_eq!(
                (proof.nonce(), &proof.claims["iat"]),
                (Some("n2"), &serde_json::json!(1_800_000_025))
            );
        }
    }
}
