//! What calls notice of rotation, with a real issuer and a real API that check every proof.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::Method;
use shipbound::binding::Confirmation;
use shipbound::binding::dpop::Dpop;
use shipbound::carriers::CarrierProfile;
use shipbound::chore::Chore;
use shipbound::keys::{KeyListing, KeyState, Purpose};
use shipbound::owner::{AccountId, CarrierId, ConnectionId, DeploymentId, Environment, Owner, TenantId};
use shipbound::rotation::{Rotator, Selection, Why};
use shipbound::sandbox::{Canned, Sandbox};
use shipbound::token::TokenAt;
use shipbound::{Client, Parts};
use tokio::sync::RwLock;

use crate::stops::{Stop, Stopping};
use crate::world::{DAY, HOUR, World, act, round, world};

const TENANTS: usize = 12;

struct Calls {
    world: World,
    sandbox: Sandbox,
    parts: Parts,
    client: Client,
    /// Calls have their time, which passes at once where the clock is moved by much.
    time_stands: RwLock<()>,
}

fn tenant(number: usize) -> TenantId {
    TenantId::new(&format!("t{number}")).unwrap()
}

impl Calls {
    async fn new() -> Self {
        let world = world();
        let sandbox = Sandbox::builder()
            .clock(world.shared_clock())
            .require_dpop(true)
            .start()
            .await
            .unwrap();
        sandbox.route(Method::POST, "/v1/shipments", Canned::empty(201));
        let profile = sandbox.profile(CarrierProfile::custom(
            CarrierId::new("acme-freight").unwrap(),
            Environment::Sandbox,
            "https://api.carrier.example",
            TokenAt::Issuer("https://auth.carrier.example".into()),
        ));
        let tenants: Vec<_> = (0..TENANTS).map(tenant).collect();
        let parts = Parts::builder()
            .shared_keys(Arc::new(world.keys()))
            .credentials(sandbox.credentials(&profile, &tenants))
            .transport(sandbox.transport().unwrap())
            .shared_sink(world.sink.clone())
            .clock(world.shared_clock())
            .build()
            .unwrap();
        let client = Client::builder(profile, &parts).binding(Dpop::es256()).build().unwrap();
        Self {
            world,
            sandbox,
            parts,
            client,
            time_stands: RwLock::new(()),
        }
    }

    fn rotator(&self) -> Rotator {
        let listing: Arc<dyn KeyListing> = Arc::new(self.world.keys());
        Rotator::builder(&self.parts, listing).build().unwrap()
    }

    async fn ship(&self, tenant: TenantId) {
        let shipped = self
            .client
            .for_tenant(tenant.clone())
            .post("/v1/shipments")
            .send()
            .await;
        assert_eq!(shipped.map(|answer| answer.status().as_u16()).unwrap(), 201, "{tenant}");
    }

    async fn all_ship(&self) {
        for number in 0..TENANTS {
            self.ship(tenant(number)).await;
        }
    }

    fn owner(number: usize) -> Owner {
        ConnectionId::new(
            DeploymentId::default_deployment(),
            tenant(number).into(),
            CarrierId::new("acme-freight").unwrap(),
            Environment::Sandbox,
            AccountId::main(),
        )
        .into()
    }

    /// Whether the tenant's token is bound to its active key.
    async fn is_new(&self, number: usize) -> bool {
        let lease = self.client.lease(&tenant(number).into()).unwrap();
        let active = self.world.active(&Self::owner(number)).await;
        lease.confirmations() == [Confirmation::Jkt(active.jkt())]
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_while_all_keys_rotate() {
    let calls = Arc::new(Calls::new().await);
    calls.all_ship().await;
    calls.world.clock.advance(HOUR / 2);
    let (done, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let callers: Vec<_> = (0..TENANTS)
        .map(|number| {
            let (calls, done, made) = (Arc::clone(&calls), Arc::clone(&done), Arc::clone(&made));
            tokio::spawn(async move {
                while !done.load(Ordering::SeqCst) {
                    let _on_its_way = calls.time_stands.read().await;
                    calls.ship(tenant(number)).await;
                    made.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let rotator = calls.rotator();
    for _ in 0..10 {
        let before = made.load(Ordering::SeqCst);
        let run = rotator.rotate(Selection::All, Why::Routine, &act()).finish().await;
        assert_eq!((run.rotated, run.failed), (TENANTS as u64, 0));
        while made.load(Ordering::SeqCst) < before + 20 {
            tokio::task::yield_now().await;
        }
        calls.world.clock.advance(Duration::from_secs(1));
    }
    // Old tokens, old keys; the next token comes with the new key.
    for number in 0..TENANTS {
        assert!(!calls.is_new(number).await);
    }
    {
        let _nothing_on_its_way = calls.time_stands.write().await;
        calls.world.clock.advance(HOUR / 2);
    }
    let before = made.load(Ordering::SeqCst);
    while made.load(Ordering::SeqCst) < before + 200 {
        tokio::task::yield_now().await;
    }
    done.store(true, Ordering::SeqCst);
    for caller in callers {
        caller.await.unwrap();
    }
    calls.all_ship().await;
    for number in 0..TENANTS {
        assert!(calls.is_new(number).await);
    }
    // Drained, and nobody misses them.
    calls.world.clock.advance(2 * DAY);
    round(&rotator).await;
    calls.all_ship().await;
    for number in 0..TENANTS {
        assert!(
            calls
                .world
                .of(&Calls::owner(number), KeyState::Draining)
                .await
                .is_empty()
        );
    }
    Arc::into_inner(calls).unwrap().sandbox.shutdown().await;
}

#[tokio::test]
async fn a_compromised_key_is_not_used_by_the_next_call_which_gets_through_with_a_new_one() {
    let calls = Calls::new().await;
    calls.all_ship().await;
    calls.world.clock.advance(HOUR / 2);
    let before = calls.sandbox.token_requests();
    let old = calls.world.active(&Calls::owner(0)).await;
    let run = calls
        .rotator()
        .rotate(Selection::Tenant(tenant(0)), Why::Compromised, &act())
        .finish()
        .await;
    assert_eq!((run.rotated, run.failed), (1, 0));
    calls.all_ship().await;
    assert_eq!(calls.sandbox.token_requests(), before + 1, "one tenant asked anew");
    assert!(calls.is_new(0).await);
    assert_ne!(calls.world.active(&Calls::owner(0)).await.id, old.id);
    calls.sandbox.shutdown().await;
}

#[tokio::test]
async fn calls_go_on_when_a_rotation_ends_at_any_step() {
    for stop in [Stop::Before, Stop::After] {
        for at in 0..3 {
            let calls = Calls::new().await;
            for number in 0..2 {
                calls.ship(tenant(number)).await;
            }
            let stopping = Arc::new(Stopping::new(calls.world.keys(), at, stop));
            calls.world.clock.advance(6 * DAY + 23 * HOUR);
            for number in 0..2 {
                calls.ship(tenant(number)).await;
            }
            let rotator = calls.world.rotator_of(stopping.clone()).build().unwrap();
            tokio::select! {
                () = round(&rotator) => panic!("not stopped"),
                () = stopping.stopped.notified() => {}
            }
            let next = calls.rotator();
            for _ in 0..50 {
                for number in 0..2 {
                    calls.ship(tenant(number)).await;
                }
                calls.world.clock.advance(HOUR);
                next.round(&|| true).await;
            }
            for number in 0..2 {
                let owner = Calls::owner(number);
                assert!(calls.world.of(&owner, KeyState::Pending).await.is_empty());
                assert!(calls.world.of(&owner, KeyState::Draining).await.is_empty());
                let active = calls.world.active(&owner).await;
                assert_eq!(active.purpose, Purpose::Proof);
                assert!(active.created_at > crate::world::NOW + 6 * DAY);
            }
            calls.sandbox.shutdown().await;
        }
    }
}
