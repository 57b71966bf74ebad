//! KEKs that count how often they are asked, and stand still where a test wants them to.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use shipbound::store::seal::{DataKey, KekError, KekId, KekProvider, KekSecret, LocalKek, WrapContext, Wrapped};
use tokio::sync::Notify;

/// `k1`, `k2`, `k3`: the first named is the current one.
pub(crate) fn keks(names: &[&str]) -> LocalKek {
    let secret = |name: &str| KekSecret::parse(&format!("{}{}", "a0".repeat(31), &name.replace('k', "0"))).unwrap();
    let mut names = names.iter();
    let first = names.next().unwrap();
    let keks = LocalKek::new(kek(first), secret(first));
    names.fold(keks, |keks, name| keks.with_older(kek(name), secret(name)))
}

pub(crate) fn kek(name: &str) -> KekId {
    KekId::new(name).unwrap()
}

/// What a provider does when it is asked to wrap under a KEK, after it has wrapped.
pub(crate) type Hook = Box<dyn Fn(&KekId) + Send + Sync>;

#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) wraps: AtomicUsize,
    pub(crate) unwraps: AtomicUsize,
    pub(crate) fails: Mutex<Option<KekError>>,
    /// Set: the next wrap stands still after it has wrapped, until it is let go.
    stop_next_wrap: Mutex<bool>,
    pub(crate) stopped: Notify,
    pub(crate) go_on: Notify,
}

pub(crate) struct Provider {
    keks: LocalKek,
    pub(crate) seen: Arc<Seen>,
    pub(crate) after_wrap: Option<Hook>,
}

impl Provider {
    pub(crate) fn new(names: &[&str]) -> Self {
        Self {
            keks: keks(names),
            seen: Arc::default(),
            after_wrap: None,
        }
    }

    pub(crate) fn stop_next_wrap(&self) {
        *self.seen.stop_next_wrap.lock().unwrap() = true;
    }

    fn failure(&self) -> Result<(), KekError> {
        match &*self.seen.fails.lock().unwrap() {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }
}

#[async_trait]
impl KekProvider for Provider {
    async fn current(&self) -> Result<KekId, KekError> {
        self.keks.current().await
    }

    async fn wrap(&self, kek: &KekId, key: &DataKey, context: &WrapContext<'_>) -> Result<Wrapped, KekError> {
        self.seen.wraps.fetch_add(1, Ordering::SeqCst);
        self.failure()?;
        let wrapped = self.keks.wrap(kek, key, context).await?;
        let stop = std::mem::take(&mut *self.seen.stop_next_wrap.lock().unwrap());
        if stop {
            self.seen.stopped.notify_one();
            self.seen.go_on.notified().await;
        }
        if let Some(hook) = &self.after_wrap {
            hook(kek);
        }
        Ok(wrapped)
    }

    async fn unwrap(&self, wrapped: &Wrapped, context: &WrapContext<'_>) -> Result<DataKey, KekError> {
        self.seen.unwraps.fetch_add(1, Ordering::SeqCst);
        self.failure()?;
        // Others get a turn while it is asked.
        tokio::task::yield_now().await;
        self.keks.unwrap(wrapped, context).await
    }
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Provider")
    }
}
