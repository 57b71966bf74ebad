//! Key stores that are broken on purpose.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use shipbound::clock::{ManualClock, Timestamp};
use shipbound::conformance::{self, KeyStores, OpenKeys};
use shipbound::jose::Thumbprint;
use shipbound::keys::{
    Authority, Change, KeyError, KeyFilter, KeyHandle, KeyId, KeyListing, KeyRecord, KeyRecords, KeySpec, KeyState,
    KeyStore, LocalKeys, MemoryKeyRecords, Moved, Purpose, RecordedKeys, Retired, StoredKey,
};
use shipbound::owner::{AccountId, CarrierId, ConnectionId, DeploymentId, Environment, Owner, Tenant, TenantId};
use uuid::Uuid;

use super::stores::START;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Break {
    Nothing,
    // Records.
    InsertIsForgotten,
    EndIsForgotten,
    OldStaysActive,
    OldEndsAtOnce,
    DrainsForEver,
    PageIsShort,
    PageIsUnordered,
    TimesAreForgotten,
    NothingMoves,
    OutageIsAbsence,
    // Owners.
    FoldsCase,
    IgnoresIncarnation,
    IgnoresDeployment,
    IgnoresCarrier,
    IgnoresEnvironment,
    IgnoresAccount,
    // The store itself.
    PendingSigns,
    PurposeIsIgnored,
    WhoeverPromotes,
    LosersWin,
    RetiresTheRecordAlone,
    RetiresAgainAndAgain,
    HandlesAreApart,
    OneKeyForAll,
}

/// Each break with a check that must find it.
const BREAKS: [(Break, &str); 25] = [
    (Break::InsertIsForgotten, "pending keys do not sign"),
    (Break::InsertIsForgotten, "keys outlive their process"),
    (Break::EndIsForgotten, "ended keys never return"),
    (Break::OldStaysActive, "promotion is both or neither"),
    (Break::OldEndsAtOnce, "draining ends by the clock"),
    (Break::DrainsForEver, "draining ends by the clock"),
    (Break::PageIsShort, "the list is whole"),
    (Break::PageIsUnordered, "the list is whole"),
    (Break::TimesAreForgotten, "the list is whole"),
    (Break::NothingMoves, "retiring closes every handle"),
    (Break::OutageIsAbsence, "an outage is no absence"),
    (Break::FoldsCase, "owners are apart"),
    (Break::IgnoresIncarnation, "owners are apart"),
    (Break::IgnoresDeployment, "owners are apart"),
    (Break::IgnoresCarrier, "owners are apart"),
    (Break::IgnoresEnvironment, "owners are apart"),
    (Break::IgnoresAccount, "owners are apart"),
    (Break::PendingSigns, "pending keys do not sign"),
    (Break::PurposeIsIgnored, "purposes are apart"),
    (Break::WhoeverPromotes, "one of many promotes"),
    (Break::LosersWin, "what was done may be repeated"),
    (Break::RetiresTheRecordAlone, "retiring closes every handle"),
    (Break::RetiresAgainAndAgain, "what was done may be repeated"),
    (Break::HandlesAreApart, "many read one key at once"),
    (Break::OneKeyForAll, "keys are made apart"),
];

#[tokio::test]
async fn broken_key_stores_are_found_out() {
    for (broken, check) in BREAKS {
        let report = conformance::key_store(&recorded(broken)).await;
        assert!(report.has_failed(check), "{broken:?} passes {check:?}; {report}");
    }
}

/// Recorded keys over memory that are broken so.
pub(crate) fn recorded(how: Break) -> KeyStores {
    let clock = Arc::new(ManualClock::at(START));
    let down = Arc::new(AtomicBool::new(false));
    let records = Arc::new(Records {
        kept: MemoryKeyRecords::new(),
        how,
        down: down.clone(),
    });
    let holder = Arc::new(LocalKeys::new());
    let of = clock.clone();
    let open = move || {
        let (records, holder, clock) = (records.clone(), holder.clone(), of.clone());
        let new = move || RecordedKeys::new(records.clone(), holder.clone(), clock.clone(), Authority::default());
        let keys = new();
        async move {
            let store = Store {
                keys: keys.clone(),
                how,
                new: Box::new(new),
            };
            match how {
                Break::Nothing => OpenKeys::from(keys),
                _ => {
                    let looked = keys.clone();
                    OpenKeys::new(Arc::new(store)).listed(Arc::new(keys)).looking(move || {
                        let keys = looked.clone();
                        Box::pin(async move { keys.sync().await.unwrap_or_default() })
                    })
                }
            }
        }
    };
    KeyStores::new(clock, open).with_outage(move |is_down| {
        down.store(is_down, Ordering::SeqCst);
        Box::pin(async {})
    })
}

#[derive(Debug)]
pub(crate) struct Records {
    kept: MemoryKeyRecords,
    how: Break,
    down: Arc<AtomicBool>,
}

impl Records {
    fn is_up(&self) -> Result<(), KeyError> {
        match self.down.load(Ordering::SeqCst) {
            true => Err(KeyError::StoreUnavailable),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl KeyListing for Records {
    async fn list(&self, filter: &KeyFilter, after: Option<KeyId>, most: usize) -> Result<Vec<KeyRecord>, KeyError> {
        self.is_up()?;
        let mut page = self.kept.list(filter, after, most).await?;
        match self.how {
            Break::PageIsShort if after.is_some() => page.clear(),
            Break::PageIsUnordered => page.reverse(),
            Break::TimesAreForgotten => page.iter_mut().for_each(|record| record.drain_until = None),
            _ => {}
        }
        Ok(page)
    }
}

#[async_trait]
impl KeyRecords for Records {
    async fn insert(&self, key: &StoredKey) -> Result<(), KeyError> {
        self.is_up()?;
        match self.how {
            Break::InsertIsForgotten => Ok(()),
            _ => self.kept.insert(key).await,
        }
    }

    async fn load(&self, owner: &Owner, id: &KeyId) -> Result<Option<StoredKey>, KeyError> {
        self.is_up()?;
        self.kept.load(owner, id).await
    }

    async fn active(&self, owner: &Owner, purpose: Purpose) -> Result<Option<StoredKey>, KeyError> {
        self.is_up()?;
        self.kept.active(owner, purpose).await
    }

    async fn change(&self, owner: &Owner, changes: &[Change]) -> Result<bool, KeyError> {
        self.is_up()?;
        let mut changes = changes.to_vec();
        match self.how {
            Break::EndIsForgotten if changes.iter().all(|change| change.next.record.has_ended()) => return Ok(true),
            // As if the two were written one after the other, and the process died in between.
            Break::OldStaysActive if changes.len() == 2 => drop(changes.remove(0)),
            Break::OldEndsAtOnce if changes.len() == 2 => {
                changes[0].next.record.state = KeyState::Destroyed;
            }
            Break::DrainsForEver if changes.len() == 2 => {
                let until = changes[0].next.record.drain_until.unwrap();
                changes[0].next.record.drain_until = Some(until.offset_seconds(86_400));
            }
            _ => {}
        }
        self.kept.change(owner, &changes).await
    }

    async fn moved(&self, since: Option<u64>) -> Result<(u64, Vec<Moved>), KeyError> {
        self.is_up()?;
        let (number, moved) = self.kept.moved(since).await?;
        match self.how {
            Break::NothingMoves => Ok((number, Vec::new())),
            _ => Ok((number, moved)),
        }
    }

    async fn to_be_wiped(&self, most: usize) -> Result<Vec<StoredKey>, KeyError> {
        self.is_up()?;
        self.kept.to_be_wiped(most).await
    }
}

type Recorded = RecordedKeys<Records, LocalKeys>;

struct Store {
    keys: Recorded,
    how: Break,
    new: Box<dyn Fn() -> Recorded + Send + Sync>,
}

impl Store {
    /// The owner that this store takes for `owner`.
    fn taken(&self, owner: &Owner) -> Owner {
        let Owner::Connection(connection) = owner else {
            return owner.clone();
        };
        let tenant = connection.tenant();
        let (mut deployment, mut name, mut incarnation) = (
            connection.deployment().clone(),
            tenant.id().clone(),
            tenant.incarnation(),
        );
        let (mut carrier, mut environment, mut account) = (
            connection.carrier().clone(),
            connection.environment(),
            connection.account().clone(),
        );
        match self.how {
            Break::FoldsCase => name = TenantId::new(&name.as_str().to_lowercase()).unwrap(),
            Break::IgnoresIncarnation => incarnation = Uuid::nil(),
            Break::IgnoresDeployment => deployment = DeploymentId::default_deployment(),
            Break::IgnoresCarrier => carrier = CarrierId::new("ups").unwrap(),
            Break::IgnoresEnvironment => environment = Environment::Production,
            Break::IgnoresAccount => account = AccountId::main(),
            _ => {}
        }
        let tenant = Tenant::new(name, incarnation);
        Owner::Connection(ConnectionId::new(deployment, tenant, carrier, environment, account))
    }
}

#[async_trait]
impl KeyStore for Store {
    async fn active(&self, owner: &Owner, purpose: Purpose) -> Result<Option<KeyHandle>, KeyError> {
        let purpose = if self.how == Break::PurposeIsIgnored {
            Purpose::Proof
        } else {
            purpose
        };
        let owner = self.taken(owner);
        match self.how {
            Break::HandlesAreApart => (self.new)().active(&owner, purpose).await,
            Break::OutageIsAbsence => Ok(self.keys.active(&owner, purpose).await.unwrap_or(None)),
            _ => self.keys.active(&owner, purpose).await,
        }
    }

    async fn get(&self, owner: &Owner, key: &KeyId) -> Result<Option<KeyHandle>, KeyError> {
        self.keys.get(&self.taken(owner), key).await
    }

    async fn with_thumbprint(
        &self,
        owner: &Owner,
        purpose: Purpose,
        jkt: &Thumbprint,
    ) -> Result<Option<KeyHandle>, KeyError> {
        self.keys.with_thumbprint(&self.taken(owner), purpose, jkt).await
    }

    async fn create(&self, owner: &Owner, spec: KeySpec) -> Result<KeyHandle, KeyError> {
        let owner = self.taken(owner);
        if self.how == Break::OneKeyForAll {
            let all = KeyFilter::default().of_owner(owner.clone()).in_state(KeyState::Pending);
            if let Some(record) = self.keys.list(&all, None, 1).await?.pop() {
                return Ok(self.keys.get(&owner, &record.id).await?.unwrap());
            }
        }
        let key = self.keys.create(&owner, spec).await?;
        if self.how == Break::PendingSigns {
            key.open();
        }
        Ok(key)
    }

    async fn promote(
        &self,
        owner: &Owner,
        key: &KeyId,
        replaces: Option<&KeyId>,
        drain_until: Timestamp,
    ) -> Result<bool, KeyError> {
        let owner = self.taken(owner);
        if self.how == Break::WhoeverPromotes {
            let active = self.keys.active(&owner, Purpose::Proof).await?.map(|key| key.id());
            return self.keys.promote(&owner, key, active.as_ref(), drain_until).await;
        }
        let won = self.keys.promote(&owner, key, replaces, drain_until).await?;
        Ok(won || self.how == Break::LosersWin)
    }

    async fn retire(&self, owner: &Owner, key: &KeyId, to: Retired) -> Result<bool, KeyError> {
        let owner = self.taken(owner);
        let keys = match self.how {
            Break::RetiresTheRecordAlone => (self.new)(),
            _ => self.keys.clone(),
        };
        let retired = keys.retire(&owner, key, to).await?;
        Ok(retired || self.how == Break::RetiresAgainAndAgain)
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({:?})", self.how)
    }
}
