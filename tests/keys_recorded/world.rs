//! Records and a holder that fail as they are told.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use shipbound::clock::{ManualClock, Timestamp};
use shipbound::jose::Algorithm;
use shipbound::keys::{
    Authority, Change, KeyError, KeyFilter, KeyHandle, KeyHolder, KeyId, KeyListing, KeyRecord, KeyRecords, KeySpec,
    KeyState, KeyStore, LocalKey, LocalKeys, Material, MemoryKeyRecords, Moved, Purpose, RecordedKeys, Signer,
    StoredKey,
};
use shipbound::owner::{AccountId, CarrierId, ConnectionId, DeploymentId, Environment, Owner, TenantId};
use tokio::sync::watch;

pub(crate) const START: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);
pub(crate) const PROOF: KeySpec = KeySpec {
    purpose: Purpose::Proof,
    algorithm: Algorithm::Es256,
};

/// How one operation goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Not done.
    Refused,
    /// Certainly not done.
    NotPersisted,
    /// Done, and the answer lost.
    Lost,
    RolledBack,
    Mismatch,
    /// Never answered.
    Hangs,
}

/// What goes wrong, shared by records and holder of a world.
pub(crate) struct Faults {
    /// The next operations; those after them go as `always` says.
    pub(crate) next: Mutex<VecDeque<Fault>>,
    pub(crate) always: Mutex<Fault>,
    pub(crate) looks: AtomicUsize,
    pub(crate) signers: AtomicUsize,
    /// Signers are given out while this is true.
    pub(crate) gives: watch::Sender<bool>,
}

impl Faults {
    pub(crate) fn always(&self, fault: Fault) {
        *self.always.lock().unwrap() = fault;
    }

    pub(crate) fn next(&self, faults: impl IntoIterator<Item = Fault>) {
        *self.next.lock().unwrap() = faults.into_iter().collect();
    }

    pub(crate) fn looks(&self) -> usize {
        self.looks.load(Ordering::SeqCst)
    }

    pub(crate) fn signers(&self) -> usize {
        self.signers.load(Ordering::SeqCst)
    }

    async fn go<T>(&self, operation: impl Future<Output = Result<T, KeyError>>) -> Result<T, KeyError> {
        let fault = self.next.lock().unwrap().pop_front();
        let fault = fault.unwrap_or(*self.always.lock().unwrap());
        match fault {
            Fault::None => operation.await,
            Fault::Refused => Err(KeyError::StoreUnavailable),
            Fault::NotPersisted => Err(KeyError::NotPersisted),
            Fault::RolledBack => Err(KeyError::RolledBack),
            Fault::Mismatch => Err(KeyError::Mismatch),
            Fault::Hangs => std::future::pending().await,
            Fault::Lost => {
                let _answer = operation.await;
                Err(KeyError::StoreUnavailable)
            }
        }
    }
}

impl std::fmt::Debug for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Faults")
    }
}

#[derive(Debug)]
pub(crate) struct Records {
    pub(crate) kept: MemoryKeyRecords,
    faults: Arc<Faults>,
}

#[async_trait]
impl KeyListing for Records {
    async fn list(&self, filter: &KeyFilter, after: Option<KeyId>, most: usize) -> Result<Vec<KeyRecord>, KeyError> {
        self.faults.go(self.kept.list(filter, after, most)).await
    }
}

#[async_trait]
impl KeyRecords for Records {
    async fn insert(&self, key: &StoredKey) -> Result<(), KeyError> {
        self.faults.go(self.kept.insert(key)).await
    }

    async fn load(&self, owner: &Owner, id: &KeyId) -> Result<Option<StoredKey>, KeyError> {
        self.faults.go(self.kept.load(owner, id)).await
    }

    async fn active(&self, owner: &Owner, purpose: Purpose) -> Result<Option<StoredKey>, KeyError> {
        self.faults.go(self.kept.active(owner, purpose)).await
    }

    async fn change(&self, owner: &Owner, changes: &[Change]) -> Result<bool, KeyError> {
        self.faults.go(self.kept.change(owner, changes)).await
    }

    async fn moved(&self, since: Option<u64>) -> Result<(u64, Vec<Moved>), KeyError> {
        self.faults.looks.fetch_add(1, Ordering::SeqCst);
        self.faults.go(self.kept.moved(since)).await
    }

    async fn to_be_wiped(&self, most: usize) -> Result<Vec<StoredKey>, KeyError> {
        self.faults.go(self.kept.to_be_wiped(most)).await
    }
}

#[derive(Debug)]
pub(crate) struct Holder {
    pub(crate) kept: LocalKeys,
    faults: Arc<Faults>,
    /// Whether private halves stay until they are destroyed, or go with the record.
    pub(crate) keeps: bool,
}

#[async_trait]
impl KeyHolder for Holder {
    async fn make(&self, owner: &Owner, id: KeyId, spec: KeySpec, now: Timestamp) -> Result<StoredKey, KeyError> {
        self.kept.make(owner, id, spec, now).await
    }

    async fn take(
        &self,
        owner: &Owner,
        id: KeyId,
        purpose: Purpose,
        key: LocalKey,
        now: Timestamp,
    ) -> Result<StoredKey, KeyError> {
        self.kept.take(owner, id, purpose, key, now).await
    }

    async fn carry(&self, stored: &StoredKey, next: &KeyRecord) -> Result<Option<Material>, KeyError> {
        let goes = next.has_ended() && !self.keeps;
        Ok(stored.material.clone().filter(|_| !goes))
    }

    async fn signer(&self, stored: &StoredKey) -> Result<Arc<dyn Signer>, KeyError> {
        self.faults.signers.fetch_add(1, Ordering::SeqCst);
        let mut gives = self.faults.gives.subscribe();
        gives.wait_for(|gives| *gives).await.unwrap();
        self.faults.go(self.kept.signer(stored)).await
    }

    async fn destroy(&self, record: &KeyRecord) -> Result<(), KeyError> {
        self.faults.go(self.kept.destroy(record)).await
    }
}

pub(crate) type Keys = RecordedKeys<Records, Holder>;

/// A database, a device and a clock, which several processes share. Faults are of one process at a time.
pub(crate) struct World {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) faults: Arc<Faults>,
    pub(crate) records: Arc<Records>,
    pub(crate) holder: Arc<Holder>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::keeping(true)
    }

    pub(crate) fn keeping(keeps: bool) -> Self {
        let faults = Arc::new(Faults {
            next: Mutex::default(),
            always: Mutex::new(Fault::None),
            looks: AtomicUsize::new(0),
            signers: AtomicUsize::new(0),
            gives: watch::Sender::new(true),
        });
        Self {
            clock: Arc::new(ManualClock::at(START)),
            records: Arc::new(Records {
                kept: MemoryKeyRecords::new(),
                faults: faults.clone(),
            }),
            holder: Arc::new(Holder {
                kept: LocalKeys::new(),
                faults: faults.clone(),
                keeps,
            }),
            faults,
        }
    }

    /// A process that begins.
    pub(crate) fn process(&self) -> Keys {
        RecordedKeys::new(
            self.records.clone(),
            self.holder.clone(),
            self.clock.clone(),
            Authority::default(),
        )
    }

    /// The record as it is kept, whatever the faults.
    pub(crate) async fn record(&self, key: &KeyHandle) -> StoredKey {
        self.records.kept.load(key.owner(), &key.id()).await.unwrap().unwrap()
    }

    pub(crate) async fn state(&self, key: &KeyHandle) -> KeyState {
        self.record(key).await.record.state
    }
}

pub(crate) fn owner(name: &str) -> Owner {
    Owner::Connection(ConnectionId::new(
        DeploymentId::default_deployment(),
        TenantId::new(name).unwrap().into(),
        CarrierId::new("ups").unwrap(),
        Environment::Production,
        AccountId::main(),
    ))
}

pub(crate) fn acme() -> Owner {
    owner("acme")
}

pub(crate) async fn sign(key: &KeyHandle) -> Result<(), KeyError> {
    let signature = key.sign(b"m").wait().await?;
    key.public().verify(b"m", signature.as_bytes()).unwrap();
    Ok(())
}

/// A key of acme that was made and promoted in place of `replaces`, which drains for an hour.
pub(crate) async fn promoted(world: &World, keys: &Keys, replaces: Option<&KeyHandle>) -> KeyHandle {
    use shipbound::clock::Clock;

    let key = keys.create(&acme(), PROOF).await.unwrap();
    let replaces = replaces.map(KeyHandle::id);
    let until = world.clock.now().offset_seconds(3_600);
    assert!(
        keys.promote(&acme(), &key.id(), replaces.as_ref(), until)
            .await
            .unwrap()
    );
    key
}
