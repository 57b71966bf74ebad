//! A key store that fails now and then: what the example must notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use shipbound::clock::Timestamp;
use shipbound::jose::Thumbprint;
use shipbound::keys::{KeyError, KeyHandle, KeyId, KeySpec, KeyStore, Purpose, Retired};
use shipbound::owner::Owner;

/// Each promotion of so many is refused.
const REFUSED: usize = 50;

#[derive(Debug)]
pub(crate) struct Broken {
    keys: Arc<dyn KeyStore>,
    promotions: AtomicUsize,
}

impl Broken {
    pub(crate) fn new(keys: Arc<dyn KeyStore>) -> Self {
        Self {
            keys,
            promotions: AtomicUsize::new(0),
        }
    }
}

#[async_trait]
impl KeyStore for Broken {
    async fn active(&self, owner: &Owner, purpose: Purpose) -> Result<Option<KeyHandle>, KeyError> {
        self.keys.active(owner, purpose).await
    }

    async fn get(&self, owner: &Owner, key: &KeyId) -> Result<Option<KeyHandle>, KeyError> {
        self.keys.get(owner, key).await
    }

    async fn with_thumbprint(
        &self,
        owner: &Owner,
        purpose: Purpose,
        jkt: &Thumbprint,
    ) -> Result<Option<KeyHandle>, KeyError> {
        self.keys.with_thumbprint(owner, purpose, jkt).await
    }

    async fn create(&self, owner: &Owner, spec: KeySpec) -> Result<KeyHandle, KeyError> {
        self.keys.create(owner, spec).await
    }

    async fn promote(
        &self,
        owner: &Owner,
        key: &KeyId,
        replaces: Option<&KeyId>,
        drain_until: Timestamp,
    ) -> Result<bool, KeyError> {
        // First keys come through, so that there is something to rotate.
        if replaces.is_some() && self.promotions.fetch_add(1, Ordering::Relaxed).is_multiple_of(REFUSED) {
            return Err(KeyError::StoreUnavailable);
        }
        self.keys.promote(owner, key, replaces, drain_until).await
    }

    async fn retire(&self, owner: &Owner, key: &KeyId, to: Retired) -> Result<bool, KeyError> {
        self.keys.retire(owner, key, to).await
    }
}
