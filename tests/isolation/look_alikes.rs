//! Ids that look alike are strangers to each other, and so are two holders of one id.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use shipbound::binding::dpop::Dpop;
use shipbound::carriers;
use shipbound::clock::{Clock, SystemClock};
use shipbound::credentials::MemoryCredentials;
use shipbound::keys::{KeyStore, MemoryKeyStore, Purpose};
use shipbound::owner::{AccountId, CarrierId, ConnectionId, DeploymentId, Environment, Owner, Tenant, TenantId};
use shipbound::sandbox::{Nonces, SECRET_MARK, Sandbox};
use shipbound::transport::Stage;
use shipbound::{CarrierClient, Client, Parts};
use uuid::Uuid;

use crate::judge::{CALLER, judge};
use crate::world::{Make, World};

fn named(id: &str) -> Tenant {
    TenantId::new(id).unwrap().into()
}

/// Ids that a careless comparison takes for one, and one id held by several.
pub(crate) fn look_alikes() -> Vec<Tenant> {
    let ids = [
        "acme",
        "Acme",
        "ACME",
        "ac.me",
        "a.cme",
        "acme.",
        ".acme",
        "acme-",
        "acme_",
        "ac-me",
        "acme.main",
        "acme-main",
        "acme.fedex",
        "acme.fedex.main",
        "acme1",
        "acmel",
        "acmeI",
        "0",
        "00",
        "000",
    ];
    let mut tenants: Vec<_> = ids.into_iter().map(named).collect();
    for incarnation in [Uuid::from_u128(1), Uuid::from_u128(2), Uuid::max()] {
        tenants.push(Tenant::new(TenantId::new("acme").unwrap(), incarnation));
    }
    tenants
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn look_alikes_share_neither_keys_nor_tokens_nor_nonces() {
    let tenants = look_alikes();
    let world = World::start(&tenants, |_, _| true, Make::usual(Nonces::Required)).await;
    for _ in 0..2 {
        for shipper in &*world.shippers {
            assert_eq!(world.call(shipper).await, "ok");
        }
    }
    let found = judge(&world.sandbox.requests());
    assert_eq!(found.violations, []);
    assert_eq!(found.keys.len(), 3 * tenants.len());
    assert_eq!(found.keys.values().collect::<HashSet<_>>().len(), 3 * tenants.len());
    let tokens: HashSet<_> = found.tokens.values().flatten().collect();
    assert_eq!(tokens.len(), 3 * tenants.len(), "one token for each connection");
}

/// Everything that tells two connections apart, used through one cache and one key store.
#[tokio::test]
async fn a_warm_cache_gives_nothing_to_whom_has_no_credential() {
    let sandbox = Sandbox::builder().vendor_limits(false).start().await.unwrap();
    let profile = sandbox.profile(carriers::fedex(Environment::Sandbox));
    let acme = TenantId::new("acme").unwrap();
    let keys = Arc::new(MemoryKeyStore::new());
    let parts = Parts::builder()
        .shared_keys(keys.clone())
        .credentials(sandbox.credentials(&profile, [&acme]))
        .transport(sandbox.transport().unwrap())
        .build()
        .unwrap();
    let client = |account: AccountId| {
        Client::builder(profile.clone(), &parts)
            .binding(Dpop::es256())
            .account(account)
            .build()
            .unwrap()
    };
    let main = client(AccountId::main());
    assert_eq!(send(&main, &named("acme")).await, Ok(()));
    let arrived = sandbox.requests().len();

    for tenant in look_alikes().into_iter().filter(|tenant| *tenant != named("acme")) {
        assert_eq!(send(&main, &tenant).await, Err("credential"), "{tenant:?}");
    }
    for account in ["Main", "main.", "track"] {
        let client = client(AccountId::new(account).unwrap());
        assert_eq!(send(&client, &named("acme")).await, Err("credential"), "{account}");
    }
    assert_eq!(sandbox.requests().len(), arrived, "nothing was sent for them");
}

/// A customer leaves, and another gets the same id.
#[tokio::test]
async fn the_next_holder_of_an_id_finds_nothing_of_the_last_one() {
    let sandbox = Sandbox::builder().vendor_limits(false).start().await.unwrap();
    let profile = sandbox.profile(carriers::fedex(Environment::Sandbox));
    let acme = TenantId::new("acme").unwrap();
    let (old, new) = (
        Tenant::new(acme.clone(), Uuid::from_u128(1)),
        Tenant::new(acme.clone(), Uuid::from_u128(2)),
    );
    let (keys, store) = (Arc::new(MemoryKeyStore::new()), Arc::new(MemoryCredentials::new()));
    let put = |tenant: &Tenant, id: &str| {
        let credential = sandbox.add_client(&acme, id, format!("{SECRET_MARK}-{id}").into());
        store.put(tenant.clone(), profile.id(), profile.environment(), credential);
    };
    let parts = Parts::builder()
        .shared_keys(keys.clone())
        .shared_credentials(store.clone())
        .transport(sandbox.transport().unwrap())
        .build()
        .unwrap();
    let client = Client::builder(profile.clone(), &parts)
        .binding(Dpop::es256())
        .build()
        .unwrap();
    let owner = |tenant: &Tenant| {
        Owner::from(ConnectionId::new(
            DeploymentId::default_deployment(),
            tenant.clone(),
            CarrierId::new("fedex").unwrap(),
            Environment::Sandbox,
            AccountId::main(),
        ))
    };

    put(&old, "old");
    assert_eq!(send(&client, &old).await, Ok(()));
    let Owner::Connection(connection) = owner(&old) else {
        panic!("an owner that is no connection")
    };
    store.remove(&connection);
    assert_eq!(
        send(&client, &old).await,
        Err("credential"),
        "its token is not used any more"
    );

    put(&new, "new");
    assert_eq!(send(&client, &new).await, Ok(()));
    let log = sandbox.requests();
    let (first, last) = (&log[1], &log[log.len() - 1]);
    assert_eq!((first.client_id(), last.client_id()), (Some("old"), Some("new")));
    assert_ne!(first.claims().unwrap().jkt, last.claims().unwrap().jkt);
    assert_ne!(first.header("authorization"), last.header("authorization"));

    // The key store agrees: each has a key of its own, and none gets at the other's by its id.
    let active = async |tenant: &Tenant| keys.active(&owner(tenant), Purpose::Proof).await.unwrap().unwrap();
    let (theirs, ours) = (active(&old).await, active(&new).await);
    assert_ne!(theirs.jkt(), ours.jkt());
    assert!(keys.get(&owner(&new), &theirs.id()).await.unwrap().is_none());
    let soon = SystemClock::new().now();
    assert!(keys.promote(&owner(&new), &theirs.id(), None, soon).await.is_err());
}

async fn send(client: &Client, tenant: &Tenant) -> Result<(), &'static str> {
    let request = Request::post("/rate/v1/rates/quotes")
        .header(CALLER, tenant.id().as_str())
        .body(Bytes::from_static(b"{}"))
        .unwrap();
    match client.send(tenant, request).await {
        Ok(answer) => {
            assert_eq!(answer.status(), 200);
            Ok(())
        }
        Err(error) => {
            assert_eq!(error.stage(), Stage::NotSent);
            Err(error.code())
        }
    }
}
