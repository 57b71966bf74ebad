//! Shippers who buy labels all the time, and how long that takes them.

use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Method;
use shipbound::binding::dpop::Dpop;
use shipbound::carriers::CarrierProfile;
use shipbound::clock::Clock;
use shipbound::keys::KeyStore;
use shipbound::owner::{CarrierId, Environment, TenantId};
use shipbound::sandbox::{Canned, Sandbox};
use shipbound::token::TokenAt;
use shipbound::{Client, Parts};
use tokio::task::JoinHandle;

use crate::keys;

const SHIPMENTS: &str = "/v1/shipments";

/// How many calls are on their way at a time.
const AT_ONCE: usize = 4;

/// How often one of them begins a call: enough to measure, and time left for what is measured.
const PAUSE: Duration = Duration::from_millis(10);

/// The sandbox, and the shippers who call it.
pub(crate) struct Shippers {
    sandbox: Sandbox,
    parts: Parts,
    caller: Arc<Caller>,
}

struct Caller {
    client: Client,
    tenants: Vec<TenantId>,
    clock: Arc<dyn Clock>,
    next: AtomicUsize,
    done: AtomicBool,
    seen: Mutex<Calls>,
}

/// Calls, as they went.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls {
    took: Vec<Duration>,
    pub(crate) made: usize,
    pub(crate) failed: usize,
}

/// Calls that go on.
pub(crate) struct Calling {
    caller: Arc<Caller>,
    tasks: Vec<JoinHandle<()>>,
}

impl Shippers {
    pub(crate) async fn open(
        keys: Arc<dyn KeyStore>,
        clock: &Arc<dyn Clock>,
        count: usize,
    ) -> Result<Self, Box<dyn Error>> {
        let sandbox = Sandbox::builder().require_dpop(true).start().await?;
        sandbox.route(Method::POST, SHIPMENTS, Canned::empty(201));
        let profile = sandbox.profile(CarrierProfile::custom(
            CarrierId::new("acme-freight")?,
            Environment::Sandbox,
            "https://api.carrier.example",
            TokenAt::Issuer("https://auth.carrier.example".into()),
        ));
        let tenants = (0..count).map(keys::tenant).collect::<Result<Vec<_>, _>>()?;
        let parts = Parts::builder()
            .shared_keys(keys)
            .credentials(sandbox.credentials(&profile, &tenants))
            .transport(sandbox.transport()?)
            .clock(Arc::clone(clock))
            .build()?;
        let client = Client::builder(profile, &parts).binding(Dpop::es256()).build()?;
        let shippers = Self {
            sandbox,
            parts,
            caller: Arc::new(Caller {
                client,
                tenants,
                clock: Arc::clone(clock),
                next: AtomicUsize::new(0),
                done: AtomicBool::new(false),
                seen: Mutex::default(),
            }),
        };
        // Each has a key and a token.
        for _ in 0..count {
            shippers.caller.call().await;
        }
        match shippers.take().failed {
            0 => Ok(shippers),
            failed => Err(format!("{failed} first calls failed").into()),
        }
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.parts
    }

    pub(crate) fn count(&self) -> usize {
        self.caller.tenants.len()
    }

    /// What was seen since the last time.
    pub(crate) fn take(&self) -> Calls {
        self.caller.take()
    }

    pub(crate) async fn call_for(&self, span: Duration) {
        let clock = Arc::clone(&self.caller.clock);
        let calling = self.keep_calling();
        clock.sleep_until(clock.monotonic() + span).await;
        calling.stop().await;
    }

    pub(crate) fn keep_calling(&self) -> Calling {
        self.caller.done.store(false, Ordering::SeqCst);
        let tasks = (0..AT_ONCE).map(|_| {
            let caller = Arc::clone(&self.caller);
            tokio::spawn(async move {
                while !caller.done.load(Ordering::SeqCst) {
                    caller.call().await;
                    caller.clock.sleep_until(caller.clock.monotonic() + PAUSE).await;
                }
            })
        });
        Calling {
            caller: Arc::clone(&self.caller),
            tasks: tasks.collect(),
        }
    }

    pub(crate) async fn close(self) {
        self.sandbox.shutdown().await;
    }
}

impl Calling {
    /// Ends the calls, and gives what was seen.
    pub(crate) async fn end(self) -> Calls {
        let caller = Arc::clone(&self.caller);
        self.stop().await;
        caller.take()
    }

    async fn stop(self) {
        self.caller.done.store(true, Ordering::SeqCst);
        for task in self.tasks {
            if task.await.is_err() {
                self.caller.seen().failed += 1;
            }
        }
    }
}

impl Caller {
    async fn call(&self) {
        let number = self.next.fetch_add(1, Ordering::Relaxed) % self.tenants.len().max(1);
        let Some(tenant) = self.tenants.get(number) else { return };
        let began = self.clock.monotonic();
        let answer = self.client.for_tenant(tenant.clone()).post(SHIPMENTS).send().await;
        let took = self.clock.monotonic().saturating_since(began);
        let mut seen = self.seen();
        seen.made += 1;
        seen.took.push(took);
        if !answer.is_ok_and(|answer| answer.status() == 201) {
            seen.failed += 1;
        }
    }

    fn take(&self) -> Calls {
        std::mem::take(&mut *self.seen())
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Calls> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Calls {
    /// What all but one call of a hundred took at most, in microseconds.
    pub(crate) fn p99_us(&self) -> u64 {
        let mut took = self.took.clone();
        took.sort_unstable();
        let at = (took.len() * 99).div_ceil(100).saturating_sub(1);
        took.get(at)
            .map_or(0, |took| u64::try_from(took.as_micros()).unwrap_or(u64::MAX))
    }
}
