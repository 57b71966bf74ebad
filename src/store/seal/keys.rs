//! Private keys that stand sealed in their own records.

use std::sync::Arc;

use async_trait::async_trait;

use super::context::SealContext;
use super::sealer::{SealError, Sealer};
use crate::clock::Timestamp;
use crate::jose::Algorithm;
use crate::keys::{
    Backend, KeyError, KeyHolder, KeyId, KeyRecord, KeySpec, LocalKey, Material, Purpose, Signer, StoredKey,
};
use crate::owner::Owner;
use crate::secret::KeyMaterial;

/// A [`KeyHolder`] whose private halves stand in the records of keys, each as PKCS#8, sealed for exactly this version of its
/// record: owner, purpose, thumbprint, state and revision. A record that was changed behind the library's back, or a sealed key
/// that was put beside another record, does not open.
///
/// A signer has the opened key in memory as long as its handle lives. With the record's end the sealed key is gone.
///
/// ```
/// use std::sync::Arc;
///
/// use shipbound::keys::{MemoryKeyRecords, RecordedKeys};
/// use shipbound::store::seal::{SealedKeys, Sealer};
///
/// # fn keys(sealer: Arc<dyn Sealer>) {
/// let holder = SealedKeys::new(sealer);
/// # }
/// ```
#[derive(Debug)]
pub struct SealedKeys {
    sealer: Arc<dyn Sealer>,
    backend: Backend,
}

impl SealedKeys {
    /// Seals keys with `sealer`, and makes them with the default backend.
    pub fn new(sealer: Arc<dyn Sealer>) -> Self {
        Self {
            sealer,
            backend: Backend::default(),
        }
    }

    /// Makes its keys with `backend`, and signs with it.
    #[must_use]
    pub fn with_backend(mut self, backend: Backend) -> Self {
        self.backend = backend;
        self
    }

    async fn sealed(&self, record: KeyRecord, key: LocalKey) -> Result<StoredKey, KeyError> {
        let sealed = self.sealer.seal(&SealContext::of_key(&record), &key.to_pkcs8()?).await;
        let material = Some(Material::new(&sealed.map_err(not_sealed)?));
        Ok(StoredKey { record, material })
    }
}

#[async_trait]
impl KeyHolder for SealedKeys {
    async fn make(&self, owner: &Owner, id: KeyId, spec: KeySpec, now: Timestamp) -> Result<StoredKey, KeyError> {
        let key = LocalKey::generate_aside(spec.algorithm, self.backend).await?;
        self.take(owner, id, spec.purpose, key, now).await
    }

    async fn take(
        &self,
        owner: &Owner,
        id: KeyId,
        purpose: Purpose,
        key: LocalKey,
        now: Timestamp,
    ) -> Result<StoredKey, KeyError> {
        let record = KeyRecord::pending(owner.clone(), id, purpose, key.public().clone(), now);
        self.sealed(record, key).await
    }

    async fn carry(&self, stored: &StoredKey, next: &KeyRecord) -> Result<Option<Material>, KeyError> {
        let before = &stored.record;
        let Some(material) = stored.material.as_ref().filter(|_| !next.has_ended()) else {
            return Ok(None);
        };
        // A key's private half never comes to stand beside another key's record.
        if (&before.owner, before.id, before.purpose, &before.public)
            != (&next.owner, next.id, next.purpose, &next.public)
        {
            return Err(KeyError::Mismatch);
        }
        let opened = self.sealer.open(&SealContext::of_key(before), material.as_str()).await;
        let der = opened.map_err(not_opened)?;
        let sealed = self
            .sealer
            .seal(&SealContext::of_key(next), &der)
            .await
            .map_err(not_sealed)?;
        Ok(Some(Material::new(&sealed)))
    }

    async fn signer(&self, stored: &StoredKey) -> Result<Arc<dyn Signer>, KeyError> {
        let record = &stored.record;
        let material = stored.material.as_ref().ok_or(KeyError::Missing)?;
        let opened = self.sealer.open(&SealContext::of_key(record), material.as_str()).await;
        let der = KeyMaterial::new(std::mem::take(&mut *opened.map_err(not_opened)?));
        let algorithm = record.public.algorithm();
        let key = read(der, algorithm, self.backend).await?;
        if *key.public() != record.public {
            return Err(KeyError::Mismatch);
        }
        Ok(Arc::new(key))
    }

    async fn destroy(&self, _record: &KeyRecord) -> Result<(), KeyError> {
        // What there was went with the record's material.
        Ok(())
    }
}

/// Reads a key, an RSA key on a blocking thread: checking its primes takes a while.
async fn read(der: KeyMaterial, algorithm: Algorithm, backend: Backend) -> Result<LocalKey, KeyError> {
    let read = move || {
        let key = LocalKey::from_pkcs8_der(&der, backend)?;
        if algorithm == Algorithm::Rs256 {
            key.into_rs256()
        } else {
            Ok(key)
        }
    };
    match algorithm {
        Algorithm::Ps256 | Algorithm::Rs256 => tokio::task::spawn_blocking(read)
            .await
            .map_err(|_| KeyError::OperationFailed)?,
        _ => read(),
    }
}

fn not_sealed(error: SealError) -> KeyError {
    match error {
        SealError::Randomness => KeyError::Randomness,
        SealError::TooLarge => KeyError::OperationFailed,
        SealError::Refused | SealError::Unavailable => KeyError::SignerFailed,
    }
}

fn not_opened(error: SealError) -> KeyError {
    match error {
        SealError::Refused => KeyError::Mismatch,
        SealError::Randomness => KeyError::Randomness,
        SealError::Unavailable | SealError::TooLarge => KeyError::SignerFailed,
    }
}
