//! Looking what other processes did to the keys that live here.

use std::sync::Arc;
use std::sync::PoisonError;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared as SharedFuture, WeakShared};

use super::{RecordedKeys, Shared};
use crate::chore::Chore;
use crate::clock::within;
use crate::keys::{KeyError, KeyHolder, KeyRecords};

pub(super) type Looking = BoxFuture<'static, Result<(), KeyError>>;

/// How often the upkeep looks.
const EVERY: Duration = Duration::from_secs(5);

/// How many keys are ended, and how many wiped, in a round of the upkeep.
const AT_ONCE: usize = 256;

impl<R: KeyRecords + ?Sized + 'static, H: KeyHolder + ?Sized + 'static> RecordedKeys<R, H> {
    /// Looks what was changed since the last look, and makes the handles in this process follow. One look is under way at a
    /// time; who asks meanwhile gets its outcome. It takes [`Authority::pause`](super::Authority::pause) at most.
    ///
    /// The upkeep does this; call it where something is to take effect in this process at once.
    ///
    /// # Errors
    /// [`KeyError::StoreUnavailable`], [`KeyError::RolledBack`].
    pub async fn sync(&self) -> Result<(), KeyError> {
        self.0.look().await
    }
}

impl<R: KeyRecords + ?Sized + 'static, H: KeyHolder + ?Sized + 'static> Shared<R, H> {
    pub(super) fn look(self: &Arc<Self>) -> SharedFuture<Looking> {
        let mut looking = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let running = looking.as_ref().and_then(WeakShared::upgrade);
        if let Some(running) = running.filter(|running| running.peek().is_none()) {
            return running;
        }
        let shared = Arc::clone(self);
        let look: Looking = Box::pin(async move { shared.look_once().await });
        let look = look.shared();
        *looking = look.downgrade();
        look
    }

    async fn look_once(&self) -> Result<(), KeyError> {
        let begun = self.watch.begin();
        let mut failing = Failing {
            of: self,
            unless: false,
        };
        let since = self.live.number();
        let told = within(&*self.clock, begun.ends(&self.watch), self.records.moved(since)).await;
        let outcome = match told {
            Some(Ok((number, moved))) if since.is_none_or(|since| since <= number) => {
                self.live.learn(number, &moved);
                self.live.close_ended(|key| self.records.has_seen_end(&key.jkt()));
                self.watch.succeeded(&begun);
                failing.unless = true;
                return Ok(());
            }
            // Its numbers went back.
            Some(Ok(_) | Err(KeyError::RolledBack)) => Err(KeyError::RolledBack),
            Some(Err(_)) | None => Err(KeyError::StoreUnavailable),
        };
        self.noting(outcome)
    }
}

/// A look that does not come to a good end has failed, also one that all who waited for it have left.
struct Failing<'a, R: ?Sized, H: ?Sized> {
    of: &'a Shared<R, H>,
    unless: bool,
}

impl<R: ?Sized, H: ?Sized> Drop for Failing<'_, R, H> {
    fn drop(&mut self) {
        if !self.unless {
            self.of.watch.failed();
        }
    }
}

/// Looks every 5 s, ends keys whose time of draining is over, and has what has ended wiped.
#[async_trait]
impl<R: KeyRecords + ?Sized + 'static, H: KeyHolder + ?Sized + 'static> Chore for RecordedKeys<R, H> {
    fn every(&self) -> Duration {
        EVERY
    }

    async fn round(&self, goes_on: &(dyn Fn() -> bool + Send + Sync)) {
        // Signers tell of a store that does not answer.
        if self.sync().await.is_ok() && goes_on() {
            // A device that does not answer must not keep this process from looking.
            let clock = &self.0.clock;
            let _next_round = within(&**clock, clock.monotonic() + EVERY, self.tidy(AT_ONCE, goes_on)).await;
        }
    }
}
