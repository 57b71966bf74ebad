//! FedEx counts token requests by the address that they come from: what one tenant does wrong has no other pay for it.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::BodyExt;
use shipbound::binding::bearer::Bearer;
use shipbound::carriers::{self, FaultKind};
use shipbound::client::TenantClient;
use shipbound::clock::{Clock, ManualClock, Monotonic, Timestamp};
use shipbound::credentials::Credential;
use shipbound::keys::MemoryKeyStore;
use shipbound::owner::{Environment, Tenant, TenantId};
use shipbound::sandbox::imitations::fedex;
use shipbound::sandbox::{Answer, Endpoint, Sandbox, Vendors, Who};
use shipbound::transport::reqwest::ReqwestTransport;
use shipbound::transport::{Body, Outgoing, Route, Stage, Transport, TransportError};
use shipbound::{Client, Error, Parts};
use tokio::task::JoinSet;

const TOKEN: &str = "/oauth/token";
const RATES: &str = "/rate/v1/rates/quotes";

/// The block that FedEx puts on an address.
const BLOCK: Duration = Duration::from_secs(600);

/// Counts what is on the wire, and when token requests were put there.
#[derive(Debug)]
struct Counted {
    inner: ReqwestTransport,
    clock: Arc<ManualClock>,
    in_flight: Arc<AtomicUsize>,
    tokens: Arc<Mutex<Vec<Monotonic>>>,
}

#[async_trait]
impl Transport for Counted {
    async fn send(&self, request: Outgoing, route: &Route) -> Result<http::Response<Body>, TransportError> {
        if request.target.path() == TOKEN {
            self.tokens.lock().unwrap().push(self.clock.monotonic());
        }
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        let answer = match self.inner.send(request, route).await {
            Ok(answer) => {
                let (head, body) = answer.into_parts();
                let body = body.collect().await.map(|body| Body::from(body.to_bytes()));
                body.map(|body| http::Response::from_parts(head, body))
            }
            Err(error) => Err(error),
        };
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        answer
    }
}

/// FedEx with its limits, and one client for all tenants. Time goes on when nothing is on the wire.
struct World {
    sandbox: Sandbox,
    clock: Arc<ManualClock>,
    client: Client,
    in_flight: Arc<AtomicUsize>,
    tokens: Arc<Mutex<Vec<Monotonic>>>,
}

impl World {
    async fn new(good: usize) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_unix_seconds(1_800_000_000)));
        let sandbox = Sandbox::builder()
            .clock(clock.clone())
            .vendors(Vendors::AsToday)
            .start()
            .await
            .unwrap();
        let profile = sandbox.profile(carriers::fedex(Environment::Sandbox));
        let tenants: Vec<TenantId> = (0..good).map(name).collect();
        let credentials = sandbox.credentials(&profile, &tenants);
        let known = sandbox.credential(&bad());
        let wrong = Credential::new(known.client_id(), "not-the-secret");
        credentials.put(bad(), profile.id(), Environment::Sandbox, wrong);
        let (in_flight, tokens) = (Arc::default(), Arc::default());
        let transport = Counted {
            inner: sandbox.transport().unwrap(),
            clock: clock.clone(),
            in_flight: Arc::clone(&in_flight),
            tokens: Arc::clone(&tokens),
        };
        let parts = Parts::builder()
            .keys(MemoryKeyStore::new())
            .credentials(credentials)
            .clock(clock.clone())
            .transport(transport)
            .build()
            .unwrap();
        let client = Client::builder(profile, &parts).binding(Bearer).build().unwrap();
        Self {
            sandbox,
            clock,
            client,
            in_flight,
            tokens,
        }
    }

    fn of(&self, tenant: &TenantId) -> TenantClient {
        self.client.for_tenant(tenant.clone())
    }

    /// Lets the tasks run until they wait for the clock alone.
    async fn settle(&self) {
        let mut quiet = 0;
        while quiet < 200 {
            tokio::task::yield_now().await;
            quiet = match self.in_flight.load(Ordering::SeqCst) {
                0 => quiet + 1,
                _ => 0,
            };
        }
    }

    /// Moves time on in steps until all tasks have ended, at most so far.
    async fn run<T: 'static>(&self, tasks: &mut JoinSet<T>, most: Duration) -> Vec<T> {
        let step = Duration::from_millis(100);
        let end = self.clock.monotonic() + most;
        let mut ended = Vec::new();
        loop {
            self.settle().await;
            while let Some(task) = tasks.try_join_next() {
                ended.push(task.unwrap());
            }
            if tasks.is_empty() {
                return ended;
            }
            assert!(
                self.clock.monotonic() < end,
                "{} tasks wait after {most:?}",
                tasks.len()
            );
            self.clock.advance(step);
        }
    }

    fn token_times(&self) -> Vec<Monotonic> {
        self.tokens.lock().unwrap().clone()
    }
}

fn name(number: usize) -> TenantId {
    TenantId::new(&format!("good-{number}")).unwrap()
}

fn bad() -> TenantId {
    TenantId::new("bad").unwrap()
}

async fn quote(tenant: &TenantClient) -> Result<(), Error> {
    let answer = tenant.post(RATES).body("{}").send().await?;
    assert_eq!(answer.status(), 200);
    Ok(())
}

/// Calls when it may, until it gets through; gives when that was.
async fn patient(tenant: TenantClient, clock: Arc<ManualClock>) -> Monotonic {
    loop {
        let Err(error) = quote(&tenant).await else {
            return clock.monotonic();
        };
        assert_eq!(error.stage(), Stage::NotSent, "{error:?}");
        assert!(!matches!(error.code(), "blocked" | "token_refused"), "{error:?}");
        let at = error.retry_at().unwrap_or_else(|| panic!("when? {error:?}"));
        let wait = u64::try_from(at.unix_micros() - clock.now().unix_micros()).unwrap_or(0);
        clock.sleep_until(clock.monotonic() + Duration::from_micros(wait)).await;
    }
}

#[tokio::test]
async fn one_bad_tenant_never_brings_a_block_on_the_others() {
    const GOOD: usize = 40;
    let world = World::new(GOOD).await;
    let done = Arc::new(AtomicBool::new(false));

    let mut hammering = JoinSet::new();
    for number in 0..20 {
        let (tenant, clock, done) = (world.of(&bad()), Arc::clone(&world.clock), Arc::clone(&done));
        let client = world.client.clone();
        hammering.spawn(async move {
            let mut faults = Vec::new();
            while !done.load(Ordering::SeqCst) {
                let error = quote(&tenant).await.expect_err("its secret is wrong");
                assert_ne!(error.code(), "blocked");
                if number % 2 == 0 {
                    // As an application does that believes to have mended it: no failure of the past holds the next call back.
                    client.forget(&Tenant::from(bad()));
                }
                faults.extend(error.fault().map(|fault| fault.kind()));
                clock.sleep_until(clock.monotonic() + Duration::from_millis(250)).await;
            }
            faults
        });
    }
    world.settle().await;
    let mut good = JoinSet::new();
    for number in 0..GOOD {
        good.spawn(patient(world.of(&name(number)), Arc::clone(&world.clock)));
    }
    // After a start five are sent at once and the others at half of FedEx's pace of one a second: 40 take some 70 s.
    let through = world.run(&mut good, Duration::from_secs(120)).await;
    assert_eq!(through.len(), GOOD);

    // It goes on hammering long after the others have what they want.
    for _ in 0..3000 {
        world.settle().await;
        world.clock.advance(Duration::from_millis(100));
    }
    done.store(true, Ordering::SeqCst);
    let faults: Vec<FaultKind> = world.run(&mut hammering, Duration::from_secs(30)).await.concat();

    let tokens = world.sandbox.requests_at(Endpoint::Token);
    assert!(
        tokens.iter().all(|request| request.status() != Some(403)),
        "FedEx has blocked the address"
    );
    let of_bad = tokens.iter().filter(|request| request.tenant() == Some(&bad())).count();
    assert_eq!(tokens.len() - of_bad, GOOD, "one for each of the others");
    // A tenth of 119 in two minutes.
    let spans = usize::try_from(world.clock.monotonic().since_origin().as_secs() / 120 + 1).unwrap();
    assert!((1..=11 * spans).contains(&of_bad), "{of_bad} of the bad one");
    assert!(
        faults.contains(&FaultKind::WrongCredentials),
        "it was told so: {faults:?}"
    );
    let mut told = JoinSet::new();
    let client = world.client.clone();
    told.spawn(async move { client.verify_credentials(&Tenant::from(bad())).await });
    let told = world.run(&mut told, Duration::from_secs(30)).await;
    let standing = told[0].standing().as_str();
    assert!(matches!(standing, "wrong" | "refused"), "{standing}: {}", told[0]);
}

#[tokio::test]
async fn while_fedex_blocks_nobody_sends_and_then_one_after_the_other() {
    const TENANTS: usize = 20;
    let world = World::new(TENANTS).await;
    let forbidden = Answer::reply(fedex::blocked());
    world.sandbox.always(Who::Anyone, Endpoint::Token, forbidden);
    let began = world.clock.monotonic();
    let until = world.clock.now() + BLOCK;
    // One alone may have asked for it. Two are told so, and more than that are not sent.
    for number in 0..TENANTS {
        let error = quote(&world.of(&name(number)))
            .await
            .expect_err("the address is blocked");
        assert_eq!((error.code(), error.stage()), ("blocked", Stage::NotSent), "{error:?}");
        assert_eq!(error.retry_at(), Some(until));
    }
    assert_eq!(world.sandbox.token_requests(), 2);
    world.sandbox.normal_service();

    let moment = Duration::from_micros(1);
    for wait in [
        Duration::ZERO,
        Duration::from_secs(1),
        BLOCK / 2,
        BLOCK / 2 - Duration::from_secs(1) - moment,
    ] {
        world.clock.advance(wait);
        for number in 0..TENANTS {
            let error = quote(&world.of(&name(number))).await.expect_err("it is blocked still");
            assert_eq!(error.stage(), Stage::NotSent);
            let at = error.retry_at().expect("when");
            assert!(at.unix_micros() >= until.unix_micros(), "{error:?}");
        }
        assert_eq!(world.sandbox.token_requests(), 2, "sent while FedEx blocks");
    }

    world.clock.advance(moment);
    assert_eq!(world.clock.monotonic(), began + BLOCK);
    let mut tasks = JoinSet::new();
    for number in 0..TENANTS {
        tasks.spawn(patient(world.of(&name(number)), Arc::clone(&world.clock)));
    }
    world.settle().await;
    assert_eq!(world.token_times().len(), 3, "one looks whether the block is over");
    world.run(&mut tasks, Duration::from_secs(120)).await;
    let times = world.token_times();
    assert_eq!(times.len(), 2 + TENANTS);
    for two in times[2..].windows(2) {
        let between = two[1].saturating_since(two[0]);
        // FedEx's shorter limit lets one through in some 350 ms.
        assert!(
            between >= Duration::from_millis(300),
            "{between:?} between two after a block"
        );
    }
    assert!(
        world.sandbox.requests_at(Endpoint::Token)[2..]
            .iter()
            .all(|request| request.status() == Some(200))
    );
}

#[tokio::test]
async fn what_fedex_forbids_one_tenant_keeps_no_other_away() {
    const GOOD: usize = 12;
    let world = World::new(GOOD).await;
    // Its own input, answered by the status that a blocked address has as well.
    let forbidden = Answer::reply(fedex::blocked());
    world.sandbox.always(Who::Tenant(bad()), Endpoint::Token, forbidden);
    for round in 0..GOOD {
        let error = quote(&world.of(&bad())).await.expect_err("forbidden");
        assert_eq!((error.code(), error.stage()), ("blocked", Stage::NotSent), "{error:?}");
        quote(&world.of(&name(round))).await.unwrap();
        world.clock.advance(BLOCK / 4);
    }
    // Once in each ten minutes.
    let tokens = world.sandbox.requests_at(Endpoint::Token);
    let of_bad = tokens.iter().filter(|request| request.status() == Some(403)).count();
    assert_eq!((of_bad, tokens.len() - of_bad), (GOOD / 4, GOOD));
}
