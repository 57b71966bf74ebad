//! What keeps keys young.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
#[cfg(not(feature = "mtls"))]
use futures_util::StreamExt;

use crate::act::Act;
#[cfg(feature = "mtls")]
use crate::binding::mtls::CertificateSource;
use crate::chore::Chore;
use crate::clock::{Clock, Timestamp};
use crate::grants::Grants;
use crate::keys::{KeyError, KeyId, KeyListing};
use crate::leader::Leadership;
use crate::owner::Owner;
use crate::parts::Parts;

use super::ages::Looked;
#[cfg(feature = "mtls")]
use super::certificates;
use super::forced::{Rotating, run};
use super::policy::RotationPolicy;
use super::round::Round;
use super::step::{Bench, Errand};
use super::{Outcome, Selection, Why};

/// Rotates keys: those that are due as a [`Chore`] of the [`Upkeep`](crate::upkeep::Upkeep), others when it is asked to. Cheap to
/// clone.
///
/// Of the processes of a deployment one at a time rotates what is due, where there is a
/// [leadership](RotatorBuilder::leadership). Rotation on demand needs no lead. Both are safe beside each other, and twice.
#[derive(Clone)]
pub struct Rotator(Arc<Inner>);

struct Inner {
    bench: Arc<Bench>,
    round: Round,
    looked: Mutex<Looked>,
    every: Duration,
    at_once: usize,
    #[cfg(feature = "mtls")]
    certificates: Vec<Arc<dyn CertificateSource>>,
}

impl Rotator {
    /// A rotator of the keys of `parts`, which are listed by `listing`: as a rule the same store. The journal, the clock, the
    /// grants and the [directory](crate::parts::PartsBuilder::directory) of `parts` are used too.
    pub fn builder(parts: &Parts, listing: Arc<dyn KeyListing>) -> RotatorBuilder {
        RotatorBuilder {
            parts: parts.clone(),
            listing,
            policy: RotationPolicy::default(),
            leadership: None,
            every: Duration::from_secs(10 * 60),
            at_once: 8,
            #[cfg(feature = "mtls")]
            certificates: Vec::new(),
        }
    }

    /// Rotates the selected keys now, due or not. `act` is part of every event.
    ///
    /// The run goes past failures: one tenant's stop no other's. What was rotated since it began is not rotated again.
    pub fn rotate(&self, selection: Selection, why: Why, act: &Act) -> Rotating {
        self.resume(selection, why, act, self.0.bench.clock.now())
    }

    /// Goes on with a run that [began](Rotating::began) at `began` and was broken off, by whatever process: what it rotated is
    /// left alone, what it left undone is done.
    pub fn resume(&self, selection: Selection, why: Why, act: &Act, began: Timestamp) -> Rotating {
        let errand = Errand {
            why,
            act: Some(act.clone()),
            began,
        };
        #[cfg(feature = "mtls")]
        let others = certificates::renewed(&self.0.certificates, &selection, &errand);
        #[cfg(not(feature = "mtls"))]
        let others = futures_util::stream::empty().boxed();
        run(Arc::clone(&self.0.bench), &selection, errand, self.0.at_once, others)
    }

    /// Makes a pending key the active one now, and lets the one before drain: for client-assertion keys that the issuer has
    /// learned [by hand](super::AssertionKeys::ByHand). Done again it does nothing.
    pub async fn promote(&self, owner: &Owner, key: KeyId, act: &Act) -> Outcome {
        let errand = Errand {
            why: Why::Routine,
            act: Some(act.clone()),
            began: self.0.bench.clock.now(),
        };
        self.0.bench.promote_known(owner, key, &errand).await
    }

    /// The policy that it keeps to.
    pub fn policy(&self) -> &RotationPolicy {
        &self.0.bench.policy
    }
}

#[async_trait]
impl Chore for Rotator {
    fn every(&self) -> Duration {
        self.0.every
    }

    async fn round(&self, goes_on: &(dyn Fn() -> bool + Send + Sync)) {
        let inner = &self.0;
        inner.round.go(&inner.bench, &inner.looked, inner.every, goes_on).await;
    }

    async fn stop(&self) {
        self.0.round.resign().await;
    }
}

impl fmt::Debug for Rotator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rotator")
            .field("policy", &self.0.bench.policy)
            .field("every", &self.0.every)
            .finish_non_exhaustive()
    }
}

/// Makes a [`Rotator`].
#[must_use]
pub struct RotatorBuilder {
    parts: Parts,
    listing: Arc<dyn KeyListing>,
    policy: RotationPolicy,
    leadership: Option<Arc<dyn Leadership>>,
    every: Duration,
    at_once: usize,
    #[cfg(feature = "mtls")]
    certificates: Vec<Arc<dyn CertificateSource>>,
}

impl RotatorBuilder {
    /// How old keys get. Default: [`RotationPolicy::default`].
    pub fn policy(mut self, policy: RotationPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Which process rotates what is due. Default: this one, as is right where no other shares the store.
    pub fn leadership(mut self, leadership: Arc<dyn Leadership>) -> Self {
        self.leadership = Some(leadership);
        self
    }

    /// How long after one round the next begins. Default: 10 minutes; 1 second to 1 hour.
    pub fn every(mut self, pause: Duration) -> Self {
        self.every = pause.clamp(Duration::from_secs(1), Duration::from_secs(3600));
        self
    }

    /// How many keys are rotated at a time. Default: 8; 1 to 256.
    pub fn at_once(mut self, keys: usize) -> Self {
        self.at_once = keys.clamp(1, 256);
        self
    }

    /// Where client certificates come from: a rotation on demand asks there for new ones. What is due the source renews by
    /// itself. Default: none.
    #[cfg(feature = "mtls")]
    pub fn certificates(mut self, source: Arc<dyn CertificateSource>) -> Self {
        self.certificates.push(source);
        self
    }

    /// The rotator. It does nothing by itself.
    ///
    /// # Errors
    /// [`KeyError::Randomness`]. User action: look at the system.
    pub fn build(self) -> Result<Rotator, KeyError> {
        let process = *KeyId::random()?.as_uuid();
        let clock: Arc<dyn Clock> = Arc::clone(&self.parts.clock);
        Ok(Rotator(Arc::new(Inner {
            round: Round::new(self.leadership, process, Arc::clone(&clock), self.at_once),
            bench: Arc::new(Bench {
                keys: self.parts.keys,
                listing: self.listing,
                grants: self.parts.grants.map(|store| Grants::new(store, Arc::clone(&clock))),
                directory: self.parts.directory,
                journal: self.parts.journal,
                clock,
                policy: self.policy,
            }),
            looked: Mutex::default(),
            every: self.every,
            at_once: self.at_once,
            #[cfg(feature = "mtls")]
            certificates: self.certificates,
        })))
    }
}

impl fmt::Debug for RotatorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RotatorBuilder")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}
