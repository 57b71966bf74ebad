//! One piece of work of a kind at a time: the others wait for it and share its failure.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::store::seal::SealError;

/// Flights by what they are about. One that nobody waits for any more is forgotten.
pub(super) struct Flights<K>(Mutex<HashMap<K, Arc<Flight>>>);

#[derive(Default)]
struct Flight {
    turn: tokio::sync::Mutex<()>,
    /// How many have failed, and how the last one did.
    failed: Mutex<(u64, Option<SealError>)>,
}

impl<K: Clone + Eq + Hash> Flights<K> {
    /// Does `work` when it is its turn. Where another's work failed while this one waited, that is its failure too; where it went
    /// well, `work` is to find what it left behind.
    pub(super) async fn run<T>(
        &self,
        key: &K,
        work: impl Future<Output = Result<T, SealError>>,
    ) -> Result<T, SealError> {
        let joined = self.join(key);
        let (before, _) = *guard(&joined.flight.failed);
        let _turn = joined.flight.turn.lock().await;
        if let (count, Some(error)) = *guard(&joined.flight.failed)
            && count != before
        {
            return Err(error);
        }
        let done = work.await;
        if let Err(error) = &done {
            let failed = &mut *guard(&joined.flight.failed);
            *failed = (failed.0 + 1, Some(*error));
        }
        done
    }

    fn join<'a>(&'a self, key: &K) -> Joined<'a, K> {
        let flight = guard(&self.0).entry(key.clone()).or_default().clone();
        Joined {
            flights: self,
            key: key.clone(),
            flight,
        }
    }
}

impl<K> Default for Flights<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K> fmt::Debug for Flights<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flights({})", guard(&self.0).len())
    }
}

struct Joined<'a, K: Eq + Hash> {
    flights: &'a Flights<K>,
    key: K,
    flight: Arc<Flight>,
}

impl<K: Eq + Hash> Drop for Joined<'_, K> {
    fn drop(&mut self) {
        let mut flights = guard(&self.flights.0);
        // The map's and this one: nobody joins while the map is locked.
        if Arc::strong_count(&self.flight) == 2 {
            flights.remove(&self.key);
        }
    }
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is half done between two statements that could panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
