//! Keys of connections in a Transit engine.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use futures_util::FutureExt;
use http::Method;
use serde_json::json;

use super::TransitError;
use super::engine::Engine;
use super::failure::TransitFailure;
use super::key;
use super::server::{Payload, VaultServer};
use crate::clock::Timestamp;
use crate::crypto;
use crate::jose::{Algorithm, PublicJwk};
use crate::json::Value;
use crate::keys::{
    KeyError, KeyHolder, KeyId, KeyRecord, KeySpec, Material, Signature, Signer, Signing, StoredKey, key_name,
};
use crate::owner::Owner;
use crate::target::Target;

/// What signatures begin with: keys have one version, which is this.
const VERSION: &str = "vault:v1:";

/// The Transit engine of an OpenBao or Vault server: keys that it has made sign, and never leave it.
///
/// See the [module](super) for policies, limits and what it costs. Cheap to clone.
#[derive(Clone)]
pub struct Transit(Engine);

impl Transit {
    /// The engine at this mount, `transit` as a rule.
    ///
    /// # Errors
    /// [`TransitError::Name`], [`TransitError::Address`].
    pub fn new(server: &VaultServer, mount: &str) -> Result<Self, TransitError> {
        Ok(Self(Engine::new(server, mount)?))
    }
}

impl fmt::Debug for Transit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Transit").field(&self.0).finish()
    }
}

impl Engine {
    /// The public half of a key that is as it was made.
    async fn public(&self, name: &str, algorithm: Algorithm) -> Result<PublicJwk, KeyError> {
        let key = self.key(name).await?.ok_or(KeyError::Missing)?;
        match key::public(&key, algorithm)? {
            Ok(public) => Ok(public),
            Err(key::Changed) => Err(KeyError::Mismatch),
        }
    }

    /// Destroys a key; one that is gone is destroyed.
    async fn destroy(&self, name: &str) -> Result<(), KeyError> {
        if self.key(name).await?.is_none() {
            return Ok(());
        }
        let allow = Payload::from(json!({ "deletion_allowed": true }));
        let allowed = self
            .ask(Method::POST, &self.at("keys", &format!("{name}/config"))?, &allow)
            .await;
        let deleted = match allowed {
            Ok(_) => {
                self.ask(Method::DELETE, &self.at("keys", name)?, &Payload::none())
                    .await
            }
            Err(failure) => Err(failure),
        };
        match deleted {
            Ok(_) => Ok(()),
            // Perhaps another process was first.
            Err(TransitFailure::Refused | TransitFailure::NotFound) if self.key(name).await?.is_none() => Ok(()),
            Err(failure) => Err(failure.into()),
        }
    }
}

#[async_trait]
impl KeyHolder for Transit {
    async fn make(&self, owner: &Owner, id: KeyId, spec: KeySpec, now: Timestamp) -> Result<StoredKey, KeyError> {
        let engine = &self.0;
        let kind = key::type_of(spec.algorithm)?;
        let name = key_name(owner, spec.purpose, id);
        let wanted = Payload::from(json!({
            "type": kind, "derived": false, "exportable": false, "allow_plaintext_backup": false, "auto_rotate_period": "0",
        }));
        // For a key that is there already this does nothing, and what is there is looked at.
        engine.ask(Method::POST, &engine.at("keys", &name)?, &wanted).await?;
        let public = match engine.public(&name, spec.algorithm).await {
            Ok(public) => public,
            Err(error) => {
                // No record will ever name it.
                let _stays_where_the_server_is_gone = engine.destroy(&name).await;
                return Err(error);
            }
        };
        Ok(StoredKey {
            record: KeyRecord::pending(owner.clone(), id, spec.purpose, public, now),
            material: Some(Material::new(&name)),
        })
    }

    async fn signer(&self, stored: &StoredKey) -> Result<Arc<dyn Signer>, KeyError> {
        let record = &stored.record;
        let material = stored.material.as_ref().ok_or(KeyError::Missing)?;
        let name = key_name(&record.owner, record.purpose, record.id);
        if material.as_str() != name {
            return Err(KeyError::Mismatch);
        }
        let signer = TransitSigner {
            engine: self.0.clone(),
            target: self.0.at("sign", &name)?,
            public: record.public.clone(),
            name,
        };
        signer.check().await?;
        Ok(Arc::new(signer))
    }

    async fn destroy(&self, record: &KeyRecord) -> Result<(), KeyError> {
        let name = key_name(&record.owner, record.purpose, record.id);
        self.0.destroy(&name).await
    }
}

/// The first version of one key, whose public half was compared with the record.
struct TransitSigner {
    engine: Engine,
    target: Target,
    name: String,
    public: PublicJwk,
}

impl TransitSigner {
    async fn check(&self) -> Result<(), KeyError> {
        if self.engine.public(&self.name, self.public.algorithm()).await? == self.public {
            Ok(())
        } else {
            Err(KeyError::Mismatch)
        }
    }

    async fn sign_remotely(&self, message: &[u8]) -> Result<Signature, KeyError> {
        let payload = match self.public.algorithm() {
            // Signs the message itself: the engine hashes it as RFC 8032 says.
            Algorithm::Ed25519 => json!({ "input": STANDARD.encode(message), "key_version": 1 }),
            algorithm => json!({
                "input": STANDARD.encode(crypto::sha256(message)),
                "prehashed": true,
                "hash_algorithm": "sha2-256",
                "marshaling_algorithm": "jws",
                "signature_algorithm": if algorithm == Algorithm::Ps256 { "pss" } else { "" },
                "salt_length": "hash",
                "key_version": 1,
            }),
        };
        let answer = match self
            .engine
            .ask(Method::POST, &self.target, &Payload::from(payload))
            .await
        {
            Err(TransitFailure::Refused | TransitFailure::NotFound | TransitFailure::Status(_)) => {
                // It may say so because the key is gone, or its first version is.
                self.check().await?;
                return Err(KeyError::SignerFailed);
            }
            answer => answer?,
        };
        let signature = answer.get("signature").and_then(Value::as_str);
        let text = signature.ok_or(KeyError::SignerFailed)?;
        let text = text.strip_prefix(VERSION).ok_or(KeyError::Mismatch)?;
        // Ed25519 has no marshaling of JWS: it is base64.
        let octets = URL_SAFE_NO_PAD.decode(text).or_else(|_| STANDARD.decode(text));
        Ok(Signature::from(octets.map_err(|_| KeyError::Mismatch)?))
    }
}

impl Signer for TransitSigner {
    fn sign<'a>(&'a self, message: &'a [u8]) -> Signing<'a> {
        Signing::Later(self.sign_remotely(message).boxed())
    }
}

impl fmt::Debug for TransitSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TransitSigner({})", self.public.thumbprint())
    }
}
