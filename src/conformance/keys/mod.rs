//! What every key store must do.

mod apart;
mod ends;
mod listed;
mod promotes;

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{Doing, Found, Outcome, Report, Stores, demand, owners};
use crate::clock::{Clock, ManualClock, Timestamp};
use crate::jose::Algorithm;
use crate::keys::{
    KeyError, KeyHandle, KeyHolder, KeyId, KeyListing, KeyRecords, KeySpec, KeyStore, Purpose, RecordedKeys,
};
use crate::owner::Owner;

/// A key store as one process has it.
#[derive(Clone)]
pub struct OpenKeys {
    keys: Arc<dyn KeyStore>,
    listing: Option<Arc<dyn KeyListing>>,
    look: Option<Doing<()>>,
}

impl OpenKeys {
    /// A store that cannot be listed, and whose handles know at once what other processes did.
    pub fn new(keys: Arc<dyn KeyStore>) -> Self {
        Self {
            keys,
            listing: None,
            look: None,
        }
    }

    /// The same, to be listed by this.
    #[must_use]
    pub fn listed(mut self, listing: Arc<dyn KeyListing>) -> Self {
        self.listing = Some(listing);
        self
    }

    /// The same; `look` makes this process learn what others did, as its upkeep would.
    #[must_use]
    pub fn looking(mut self, look: impl Fn() -> BoxFuture<'static, ()> + Send + Sync + 'static) -> Self {
        self.look = Some(Arc::new(move |()| look()));
        self
    }

    async fn look(&self) {
        if let Some(look) = &self.look {
            look(()).await;
        }
    }
}

impl<R, H> From<RecordedKeys<R, H>> for OpenKeys
where
    R: KeyRecords + ?Sized + 'static,
    H: KeyHolder + ?Sized + 'static,
{
    /// Listed, and looking by [`RecordedKeys::sync`].
    fn from(keys: RecordedKeys<R, H>) -> Self {
        let looked = keys.clone();
        Self::new(Arc::new(keys.clone()))
            .listed(Arc::new(keys))
            .looking(move || {
                let keys = looked.clone();
                Box::pin(async move {
                    // A look that fails shows by what handles then do.
                    let _looked = keys.sync().await;
                })
            })
    }
}

impl fmt::Debug for OpenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenKeys")
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

/// How a key store is opened, for [`key_store`].
pub struct KeyStores {
    opens: Stores<OpenKeys>,
    clock: Arc<ManualClock>,
    algorithm: Algorithm,
}

impl KeyStores {
    /// A store that `open` opens as a process does that has just begun: each time the same store. Its time is `clock`, which
    /// the suite moves.
    pub fn new<F, O>(clock: Arc<ManualClock>, open: F) -> Self
    where
        F: Fn() -> O + Send + Sync + 'static,
        O: Future<Output = OpenKeys> + Send + 'static,
    {
        Self {
            opens: Stores::new(open),
            clock,
            algorithm: Algorithm::Es256,
        }
    }

    /// The store forgets with its process: opened again it is another one.
    #[must_use]
    pub fn within_one_process(mut self) -> Self {
        self.opens = self.opens.within_one_process();
        self
    }

    /// The store serves one deployment, and takes no keys of another.
    #[must_use]
    pub fn of_one_deployment(mut self) -> Self {
        self.opens = self.opens.of_one_deployment();
        self
    }

    /// Makes keys for this algorithm. Default: ES256.
    #[must_use]
    pub fn with_algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// `outage(true)` makes the store unreachable for all who have opened it, `outage(false)` reachable again.
    #[must_use]
    pub fn with_outage(mut self, outage: impl Fn(bool) -> BoxFuture<'static, ()> + Send + Sync + 'static) -> Self {
        self.opens = self.opens.with_outage(outage);
        self
    }

    async fn open(&self) -> OpenKeys {
        self.opens.open().await
    }

    async fn two(&self) -> (OpenKeys, OpenKeys) {
        self.opens.two().await
    }

    fn proof(&self) -> KeySpec {
        KeySpec {
            purpose: Purpose::Proof,
            algorithm: self.algorithm,
        }
    }

    fn in_seconds(&self, seconds: i64) -> Timestamp {
        self.clock.now().offset_seconds(seconds)
    }

    /// A key that was made and promoted in the place of `replaces`, which drains for an hour.
    async fn promoted(&self, open: &OpenKeys, owner: &Owner, replaces: Option<&KeyHandle>) -> Result<KeyHandle, Found> {
        let key = open.keys.create(owner, self.proof()).await?;
        let replaces = replaces.map(KeyHandle::id);
        let until = self.in_seconds(3_600);
        let done = open.keys.promote(owner, &key.id(), replaces.as_ref(), until).await?;
        demand(done, "a promotion that nobody disputes was not done")?;
        Ok(key)
    }
}

impl fmt::Debug for KeyStores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyStores")
            .field("algorithm", &self.algorithm)
            .field("is_shared", &self.opens.is_shared)
            .finish_non_exhaustive()
    }
}

/// Puts a [`KeyStore`] through its checks.
///
/// | Check | What it demands, and why |
/// |---|---|
/// | `pending keys do not sign` | A key signs once it is promoted and not before: no token is bound to a key that another process may yet replace. Handles from before sign then too. |
/// | `owners are apart` | Nothing of a key is seen or changed by an owner that differs in deployment, tenant, incarnation, carrier, environment or account, by octets. |
/// | `purposes are apart` | Each purpose has an active key of its own. |
/// | `promotion is both or neither` | The new key is active and the old one drains, or nothing happened: else two keys are active, or none. |
/// | `one of many promotes` | Of any number at once, in two processes, exactly one wins, and all read the winner. |
/// | `draining ends by the clock` | A replaced key signs until its time is over, and then never again, also when the wall clock is set back. |
/// | `held keys sign on` | Where a draining key can be prolonged, it signs until the new end and no longer, also by handles of before, in every process; never a shorter time, and no key that has drained. |
/// | `retiring closes every handle` | When `retire` has returned, no handle of that process signs, and none of another after a look. |
/// | `ended keys never return` | An ended key is not found, promoted or usable, in any process; a compromised one stays compromised. |
/// | `what was done may be repeated` | Whoever does not know whether it was done does it again, and nothing changes. |
/// | `many read one key at once` | All handles of a key in a process share one gate, also those that were made at the same time. |
/// | `keys outlive their process` | What was made is there, and signs, for a process that begins later. Left out within one process. |
/// | `keys are made apart` | Keys that are made at once have ids and public halves of their own. |
/// | `the list is whole` | Pages in the order of ids, with times and states, hold each key of an owner once. Left out where there is no list. |
/// | `an outage is no absence` | A store that does not answer says so: taken for "no key", every shipper would get a new one. Keys that are retired meanwhile do not sign. Left out where there is no outage to be had. |
pub async fn key_store(stores: &KeyStores) -> Report {
    let mut report = Report::default();
    report.run("pending keys do not sign", promotes::pending(stores)).await;
    report.run("owners are apart", apart::owners(stores)).await;
    report.run("purposes are apart", apart::purposes(stores)).await;
    report
        .run("promotion is both or neither", promotes::both_or_neither(stores))
        .await;
    report.run("one of many promotes", promotes::one_of_many(stores)).await;
    report.run("draining ends by the clock", ends::draining(stores)).await;
    report.run("held keys sign on", ends::held(stores)).await;
    report.run("retiring closes every handle", ends::retiring(stores)).await;
    report.run("ended keys never return", ends::never_return(stores)).await;
    report
        .run("what was done may be repeated", promotes::repeated(stores))
        .await;
    report
        .run("many read one key at once", promotes::read_at_once(stores))
        .await;
    if stores.opens.is_shared {
        report
            .run("keys outlive their process", promotes::outlive(stores))
            .await;
    }
    report.run("keys are made apart", apart::made(stores)).await;
    if stores.open().await.listing.is_some() {
        report.run("the list is whole", listed::whole(stores)).await;
    }
    if let Some(outage) = &stores.opens.outage {
        report
            .run("an outage is no absence", ends::outage(stores, outage))
            .await;
    }
    report
}

async fn sign(key: &KeyHandle) -> Result<(), KeyError> {
    let message = b"conformance";
    let signature = key.sign(message).wait().await?;
    let verified = key.public().verify(message, signature.as_bytes());
    verified.map_err(|_bad| KeyError::Mismatch)
}

fn fresh() -> Result<Owner, Found> {
    Ok(Owner::Connection(owners::fresh()?))
}

/// The active key's id, as this process reads it.
async fn active(open: &OpenKeys, owner: &Owner) -> Result<Option<KeyId>, KeyError> {
    Ok(open.keys.active(owner, Purpose::Proof).await?.map(|key| key.id()))
}
