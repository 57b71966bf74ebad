//! Records and private halves that outlive a process, and processes that rotate them.

use std::sync::Arc;
use std::time::Duration;

use shipbound::Parts;
use shipbound::act::Act;
use shipbound::chore::Chore;
use shipbound::clock::{Clock, ManualClock, Timestamp};
use shipbound::credentials::MemoryCredentials;
use shipbound::grants::{GrantStore, MemoryGrants};
use shipbound::jose::Algorithm;
use shipbound::journal::memory::MemorySink;
use shipbound::journal::{EventKind, KeyChange, KeyEvent};
use shipbound::keys::{
    Authority, KeyFilter, KeyHandle, KeyListing, KeyRecord, KeySpec, KeyState, KeyStore, LocalKeys, MemoryKeyRecords,
    Purpose, RecordedKeys,
};
use shipbound::owner::{AccountId, CarrierId, ConnectionId, DeploymentId, Environment, Owner, TenantId};
use shipbound::rotation::{AssertionKeys, RotationPolicy, Rotator, RotatorBuilder};

pub(crate) const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);
pub(crate) const HOUR: Duration = Duration::from_secs(3_600);
pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// By this age every key of production is due, whatever it draws.
pub(crate) const LATE: Duration = Duration::from_secs(89 * 86_400 + 86_400 / 5);

pub(crate) type Keys = RecordedKeys<MemoryKeyRecords, LocalKeys>;

/// What stays when a process ends.
pub(crate) struct World {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) records: Arc<MemoryKeyRecords>,
    pub(crate) holder: Arc<LocalKeys>,
    pub(crate) grants: Arc<MemoryGrants>,
    pub(crate) sink: Arc<MemorySink>,
}

pub(crate) fn world() -> World {
    World {
        clock: Arc::new(ManualClock::at(NOW)),
        records: Arc::new(MemoryKeyRecords::new()),
        holder: Arc::new(LocalKeys::new()),
        grants: Arc::new(MemoryGrants::new()),
        sink: Arc::new(MemorySink::new(1_000_000)),
    }
}

pub(crate) fn connection(tenant: &str, environment: Environment) -> ConnectionId {
    ConnectionId::new(
        DeploymentId::default_deployment(),
        TenantId::new(tenant).unwrap().into(),
        CarrierId::new("acme-freight").unwrap(),
        environment,
        AccountId::main(),
    )
}

pub(crate) fn production(tenant: &str) -> Owner {
    connection(tenant, Environment::Production).into()
}

pub(crate) fn act() -> Act {
    Act::new("maria", "a laptop was stolen", "SEC-12").unwrap()
}

/// The issuers of these tests fetch client-assertion keys.
pub(crate) fn published() -> RotationPolicy {
    RotationPolicy::builder()
        .assertion_keys(AssertionKeys::Published)
        .build()
        .unwrap()
}

impl World {
    /// The keys as a new process sees them.
    pub(crate) fn keys(&self) -> Keys {
        RecordedKeys::new(
            Arc::clone(&self.records),
            Arc::clone(&self.holder),
            self.shared_clock(),
            Authority::default(),
        )
    }

    pub(crate) fn shared_clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    pub(crate) fn parts(&self, keys: Arc<dyn KeyStore>) -> Parts {
        let grants: Arc<dyn GrantStore> = self.grants.clone();
        Parts::builder()
            .shared_keys(keys)
            .credentials(MemoryCredentials::new())
            .shared_grants(grants)
            .shared_sink(self.sink.clone())
            .clock(self.shared_clock())
            .build()
            .unwrap()
    }

    /// A rotator of a process that has its keys from `keys`.
    pub(crate) fn rotator_of(&self, keys: Arc<dyn KeyStore>) -> RotatorBuilder {
        Rotator::builder(&self.parts(keys), Arc::new(self.keys())).policy(published())
    }

    pub(crate) fn rotator(&self) -> Rotator {
        self.rotator_of(Arc::new(self.keys())).build().unwrap()
    }

    /// One key, made and promoted, of whichever process.
    pub(crate) async fn key(&self, owner: &Owner, purpose: Purpose) -> KeyHandle {
        let keys = self.keys();
        let spec = KeySpec {
            purpose,
            algorithm: Algorithm::Es256,
        };
        let key = keys.create(owner, spec).await.unwrap();
        assert!(keys.promote(owner, &key.id(), None, NOW).await.unwrap());
        key
    }

    pub(crate) async fn all(&self, filter: KeyFilter) -> Vec<KeyRecord> {
        let mut keys = self.keys().list(&filter, None, 100_000).await.unwrap();
        keys.sort_by_key(|key| (key.created_at, key.id));
        keys
    }

    pub(crate) async fn of(&self, owner: &Owner, state: KeyState) -> Vec<KeyRecord> {
        self.all(KeyFilter::default().of_owner(owner.clone()).in_state(state))
            .await
    }

    /// The owner's one active key, which signs in a process that has just started.
    pub(crate) async fn active(&self, owner: &Owner) -> KeyRecord {
        let mut active = self.of(owner, KeyState::Active).await;
        assert_eq!(active.len(), 1, "{active:?}");
        let record = active.remove(0);
        let handle = self.keys().get(owner, &record.id).await.unwrap().unwrap();
        handle.sign(b"m").wait().await.unwrap();
        record
    }

    pub(crate) fn events(&self) -> Vec<KeyEvent> {
        let of_key = |event: shipbound::journal::Event| match event.kind {
            EventKind::Key(key) => Some(key),
            _ => None,
        };
        self.sink.events().into_iter().filter_map(of_key).collect()
    }

    pub(crate) fn count(&self, wanted: impl Fn(&KeyChange) -> bool) -> usize {
        self.events().iter().filter(|event| wanted(&event.change)).count()
    }
}

/// One round, undisturbed.
pub(crate) async fn round(rotator: &Rotator) {
    rotator.round(&|| true).await;
}
