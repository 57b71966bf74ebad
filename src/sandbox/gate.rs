//! A signal that tests open: what holds an answer back until the test has seen enough.

use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

/// Holds answers back until a test lets them go: the way to be sure that a request is under way, without sleeping.
///
/// Closed at first. Clones are one gate.
///
/// ```
/// use shipbound::sandbox::{Answer, Gate};
///
/// let gate = Gate::new();
/// let answer = Answer::normal().held(&gate); // arrives, and waits
/// gate.pass(1); // lets one answer (or one chunk of a slow one) go
/// gate.open(); // and now all of them
/// # let _ = answer;
/// ```
#[derive(Clone, Debug)]
pub struct Gate {
    permits: Arc<Semaphore>,
    open: Arc<watch::Sender<bool>>,
    waiting: Arc<watch::Sender<usize>>,
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self {
            permits: Arc::new(Semaphore::new(0)),
            open: Arc::new(watch::Sender::new(false)),
            waiting: Arc::new(watch::Sender::new(0)),
        }
    }

    /// Lets everything through, now and later.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// Lets `count` answers or chunks through, those that wait first.
    pub fn pass(&self, count: usize) {
        self.permits.add_permits(count.min(Semaphore::MAX_PERMITS >> 8));
    }

    /// How many wait at this moment.
    pub fn waiting(&self) -> usize {
        *self.waiting.borrow()
    }

    /// Ends when at least `count` wait.
    pub async fn reached(&self, count: usize) {
        let mut waiting = self.waiting.subscribe();
        // The sender lives in `self`, so the channel cannot close meanwhile.
        let _seen = waiting.wait_for(|now| *now >= count).await;
    }

    pub(super) async fn wait(&self) {
        let mut open = self.open.subscribe();
        let _counted = Waiting::at(&self.waiting);
        tokio::select! {
            biased;
            () = async { let _open = open.wait_for(|open| *open).await; } => {}
            permit = self.permits.acquire() => {
                if let Ok(permit) = permit {
                    permit.forget();
                }
            }
        }
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

/// Counts a waiter, also when its future is dropped because the connection went away.
struct Waiting<'a>(&'a watch::Sender<usize>);

impl<'a> Waiting<'a> {
    fn at(count: &'a watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count = count.saturating_add(1));
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}
