//! Key stores that do something at the steps that change keys, and leave all else to another store.

/// A step that changes keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyStep {
    Create,
    Promote,
    Retire,
}

/// Makes a type with a field `keys` a key store over those. Its method `step` is given the step, the owner, and the work,
/// which is done where it awaits it. The store cannot have a draining key go on, whatever `keys` can.
macro_rules! key_store_by_steps {
    ($store:ty) => {
        const _: () = {
            use shipbound::clock::Timestamp;
            use shipbound::jose::Thumbprint;
            use shipbound::keys::{KeyError, KeyHandle, KeyId, KeySpec, KeyStore, Purpose, Retired};
            use shipbound::owner::Owner;

            use crate::steps::KeyStep;

            #[async_trait::async_trait]
            impl KeyStore for $store {
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
                    self.step(KeyStep::Create, owner, self.keys.create(owner, spec))
                        .await
                }

                async fn promote(
                    &self,
                    owner: &Owner,
                    key: &KeyId,
                    replaces: Option<&KeyId>,
                    drain_until: Timestamp,
                ) -> Result<bool, KeyError> {
                    let work = self.keys.promote(owner, key, replaces, drain_until);
                    self.step(KeyStep::Promote, owner, work).await
                }

                async fn retire(&self, owner: &Owner, key: &KeyId, to: Retired) -> Result<bool, KeyError> {
                    self.step(KeyStep::Retire, owner, self.keys.retire(owner, key, to))
                        .await
                }
            }
        };
    };
}
pub(crate) use key_store_by_steps;
