//! The end of keys: their records say so, and their private halves go.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::{fmt, mem};

use super::{ATTEMPTS, RecordedKeys, Shared, next_of};
use crate::clock::Timestamp;
use crate::keys::{Change, KeyError, KeyFilter, KeyHolder, KeyId, KeyRecord, KeyRecords, KeyState, Retired, StoredKey};
use crate::owner::Owner;

/// How long a key may stay pending, in seconds: 90 days. Issuers that learn of keys by mail take their time.
const PENDING_FOR: i64 = 90 * 86_400;

/// How long the record of a key stays after its end, in seconds: 90 days.
const REMEMBERED_FOR: i64 = 90 * 86_400;

/// How many private halves that cannot be wiped are passed over at most.
const MOST_PASSED: usize = 4_096;

/// Hears of keys that a store ends by itself. A [`Journal`](crate::journal::Journal) does.
pub trait KeyEnds: fmt::Debug + Send + Sync {
    /// This key, as it was listed, has just been destroyed: it had drained, or nobody had promoted it. Called once for each key, in
    /// the process that ended it.
    fn destroyed(&self, key: &KeyRecord);
}

impl<R: KeyRecords + ?Sized + 'static, H: KeyHolder + ?Sized + 'static> RecordedKeys<R, H> {
    /// Ends keys whose time of draining is over, and pending ones that nobody has promoted for 90 days, and has the private
    /// halves of ended keys wiped: `most` records are looked at, and as many wiped. Records of keys that ended 90 days ago and have
    /// been wiped are forgotten, `most` of them. Gives how many were ended or wiped. The next call goes on where this one ended.
    ///
    /// Nothing is ended in the first five minutes of a process, nor for five minutes after its wall clock jumped: a clock that
    /// is ahead for a while would end the draining keys of the whole fleet.
    ///
    /// The upkeep does this. Two processes may do it at once, and one may stop anywhere: what is left is done the next time.
    ///
    /// # Errors
    /// [`KeyError::StoreUnavailable`], [`KeyError::RolledBack`]. A private half whose holder does not answer is no error: it is
    /// tried again the next time.
    pub async fn tidy(&self, most: usize, goes_on: &(dyn Fn() -> bool + Send + Sync)) -> Result<usize, KeyError> {
        let shared = &self.0;
        let mut done = 0;
        let now = shared.even.now();
        for record in shared.next_page(most).await? {
            if goes_on() && now.is_some_and(|now| is_over(&record, now)) && shared.end_as_listed(&record).await? {
                done += 1;
                if let Some(told) = shared.told.get() {
                    told.destroyed(&record);
                }
            }
        }
        done += shared.wipe_some(most, goes_on).await?;
        if goes_on() {
            let before = shared.clock.now().offset_seconds(-REMEMBERED_FOR);
            shared.noting(shared.records.forget(before, most).await)?;
        }
        Ok(done)
    }
}

impl<R: KeyRecords + ?Sized + 'static, H: KeyHolder + ?Sized + 'static> Shared<R, H> {
    /// Writes a key's end. `false`: there is no such key, or it had ended so, or worse, before.
    pub(super) async fn end(&self, owner: &Owner, id: &KeyId, to: Retired) -> Result<bool, KeyError> {
        for _attempt in 0..ATTEMPTS {
            let Some(stored) = self.load(owner, id).await? else {
                // Whoever has deleted its record may put it back.
                self.noting(self.records.bury(owner, id).await)?;
                return Ok(false);
            };
            if stored.record.state >= KeyState::from(to) {
                return Ok(false);
            }
            if self.end_now(&stored, to).await? {
                return Ok(true);
            }
        }
        Err(KeyError::StoreUnavailable)
    }

    /// Ends the version of a key that was read; `false` when there is a newer one.
    async fn end_now(&self, stored: &StoredKey, to: Retired) -> Result<bool, KeyError> {
        let record = &stored.record;
        let next = KeyRecord {
            state: to.into(),
            ended_at: record.ended_at.or_else(|| Some(self.clock.now())),
            ..next_of(record)
        };
        // A holder that does not answer does not keep a key alive. What it needs to wipe the key stays.
        let carried = self.holder.carry(stored, &next).await;
        let ended = StoredKey {
            material: carried.unwrap_or_else(|_later| stored.material.clone()),
            record: next,
        };
        let change = Change {
            expected: record.revision,
            next: ended.clone(),
        };
        if !self.change(&record.owner, &[change]).await? {
            return Ok(false);
        }
        self.live.follow(&ended.record);
        if ended.material.is_some() {
            let _next_time = self.wipe(&ended).await;
        }
        Ok(true)
    }

    /// Has the private half of an ended key destroyed, and then says so in its record.
    async fn wipe(&self, ended: &StoredKey) -> Result<bool, KeyError> {
        // Whatever the store means: a living key is not destroyed.
        if !ended.record.has_ended() {
            return Ok(false);
        }
        self.holder.destroy(&ended.record).await?;
        let wiped = StoredKey {
            record: next_of(&ended.record),
            material: None,
        };
        let change = Change {
            expected: ended.record.revision,
            next: wiped,
        };
        self.change(&ended.record.owner, &[change]).await
    }

    /// Has `most` private halves wiped, behind those that could not be wiped in earlier rounds: one that a holder never gives
    /// up, or takes for ever about, holds up no other.
    async fn wipe_some(&self, most: usize, goes_on: &(dyn Fn() -> bool + Send + Sync)) -> Result<usize, KeyError> {
        let behind = self.unwiped.load(Ordering::Relaxed);
        let wanted = behind.saturating_add(most);
        let page = self.noting(self.records.to_be_wiped(wanted).await)?;
        let (mut done, mut passed) = (0, behind);
        for ended in page.iter().skip(behind) {
            if !goes_on() {
                return Ok(done);
            }
            // If this round ends here, the next one begins behind it.
            self.unwiped.store(passed + 1, Ordering::Relaxed);
            match self.wipe(ended).await {
                Ok(true) => done += 1,
                Ok(false) | Err(_) => passed += 1,
            }
            self.unwiped.store(passed, Ordering::Relaxed);
        }
        if page.len() < wanted || passed >= MOST_PASSED {
            // All were tried, so it begins anew.
            self.unwiped.store(0, Ordering::Relaxed);
        }
        Ok(done)
    }

    /// The next records that may be over, by turns.
    async fn next_page(&self, most: usize) -> Result<Vec<KeyRecord>, KeyError> {
        let filter = KeyFilter::default()
            .in_state(KeyState::Draining)
            .in_state(KeyState::Pending);
        let place = || self.tidied.lock().unwrap_or_else(PoisonError::into_inner);
        let after = mem::take(&mut *place());
        let page = self.noting(self.records.list(&filter, after, most).await)?;
        // At the end it begins anew.
        *place() = page.last().filter(|_| page.len() >= most).map(|record| record.id);
        Ok(page)
    }

    /// Ends a key as it was listed: one that was changed since is looked at in another round.
    async fn end_as_listed(&self, record: &KeyRecord) -> Result<bool, KeyError> {
        match self.load(&record.owner, &record.id).await? {
            Some(stored) if stored.record.revision == record.revision => {
                self.end_now(&stored, Retired::Destroyed).await
            }
            _ => Ok(false),
        }
    }
}

fn is_over(record: &KeyRecord, now: Timestamp) -> bool {
    match record.state {
        KeyState::Pending => now.seconds_since(record.created_at) >= PENDING_FOR,
        _ => record.state == KeyState::Draining && record.drain_until.is_none_or(|until| until <= now),
    }
}
