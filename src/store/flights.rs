//! One look-up for all who ask for the same thing at the same time.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};

use crate::keys::KeyError;

type Looking<T> = BoxFuture<'static, Result<T, KeyError>>;

/// Look-ups that are under way, by name. Whoever waits drives one, it ends for all of them alike, and it is forgotten with the
/// last of them: no outcome is remembered, a failure least of all. Holds no more than there are callers who wait.
pub(super) struct Flights<T: Clone>(Mutex<HashMap<String, Flight<T>>>);

struct Flight<T: Clone> {
    waiting: usize,
    looking: Shared<Looking<T>>,
}

impl<T: Clone> Flights<T> {
    /// The outcome of the look-up of this name that is under way, or of the one that `begin` gives.
    pub(super) async fn join(&self, name: &str, begin: impl FnOnce() -> Looking<T>) -> Result<T, KeyError> {
        let looking = {
            let mut flights = self.lock();
            let flight = flights.entry(name.to_owned()).or_insert_with(|| Flight {
                waiting: 0,
                looking: begin().shared(),
            });
            flight.waiting += 1;
            flight.looking.clone()
        };
        let _seat = Seat { flights: self, name };
        looking.await
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Flight<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone> Default for Flights<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> fmt::Debug for Flights<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flights({})", self.lock().len())
    }
}

/// Somebody who waits. The last one who leaves, cancelled or not, takes the flight along.
struct Seat<'a, T: Clone> {
    flights: &'a Flights<T>,
    name: &'a str,
}

impl<T: Clone> Drop for Seat<'_, T> {
    fn drop(&mut self) {
        let mut flights = self.flights.lock();
        let ended = match flights.get_mut(self.name) {
            Some(flight) if flight.waiting > 1 => {
                flight.waiting -= 1;
                None
            }
            _ => flights.remove(self.name),
        };
        // What it holds is dropped when nobody has the lock.
        drop(flights);
        drop(ended);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;
    use tokio::sync::oneshot;

    use super::*;

    fn counted(begun: &Arc<AtomicUsize>, outcome: oneshot::Receiver<Result<u8, KeyError>>) -> Looking<u8> {
        begun.fetch_add(1, Ordering::SeqCst);
        outcome.map(|sent| sent.unwrap()).boxed()
    }

    #[tokio::test]
    async fn callers_share_what_is_under_way_and_nothing_is_remembered() {
        let (flights, begun) = (Flights::default(), Arc::new(AtomicUsize::new(0)));
        for outcome in [Err(KeyError::SignerFailed), Ok(7)] {
            let (send, receive) = oneshot::channel();
            let mut receive = Some(receive);
            let mut callers: Vec<_> = (0..64)
                .map(|_| flights.join("one", || counted(&begun, receive.take().unwrap())).boxed())
                .collect();
            for caller in &mut callers {
                assert!(caller.now_or_never().is_none());
            }
            // The first one goes away, and the others get what it began.
            drop(callers.remove(0));
            send.send(outcome).unwrap();
            assert!(join_all(callers).await.into_iter().all(|got| got == outcome));
            assert_eq!(format!("{flights:?}"), "Flights(0)");
        }
        assert_eq!(begun.load(Ordering::SeqCst), 2);
    }
}
