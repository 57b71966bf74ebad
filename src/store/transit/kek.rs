//! Key-encryption keys in a Transit engine.

use std::fmt;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::json;
use zeroize::Zeroizing;

use super::TransitError;
use super::engine::Engine;
use super::failure::TransitFailure;
use super::key;
use super::server::{Payload, VaultServer};
use crate::json::{Object, Value};
use crate::store::seal::{DataKey, KekError, KekId, KekProvider, WrapContext, Wrapped};
use crate::target::Target;
use crate::vault::is_name;

/// Types of keys that take associated data.
const TYPES: [&str; 3] = ["aes256-gcm96", "aes128-gcm96", "chacha20-poly1305"];

/// Wraps data keys under one key of a Transit engine, with the [context](WrapContext::digest) as associated data.
///
/// The key is made by an administrator (`bao write -f transit/keys/shipbound-kek`). An id is `name:vN`, one version of it:
/// after `bao write -f transit/keys/shipbound-kek/rotate` new data keys are wrapped under the new version, and old ones are
/// unwrapped with theirs until it is forbidden (`min_decryption_version`) or trimmed, which is to follow their re-wrapping. A
/// key that was imported, or that can be exported or backed up in plain text, is refused: looked at before each wrapping.
///
/// ```no_run
/// use shipbound::store::transit::{TransitError, TransitKek, VaultServer};
///
/// # fn make(server: &VaultServer) -> Result<TransitKek, TransitError> {
/// TransitKek::new(server, "transit", "shipbound-kek")
/// # }
/// ```
pub struct TransitKek {
    engine: Engine,
    name: String,
    encrypt: Target,
    decrypt: Target,
}

impl TransitKek {
    /// The key of this name in the engine at this mount. Nothing is asked yet.
    ///
    /// # Errors
    /// [`TransitError::Name`] for other characters than a mount or a name has, or more than 100; [`TransitError::Address`].
    pub fn new(server: &VaultServer, mount: &str, name: &str) -> Result<Self, TransitError> {
        if !is_name(name) || name.len() > 100 {
            return Err(TransitError::Name);
        }
        let engine = Engine::new(server, mount)?;
        let at = |what: &str| server.at(&format!("/v1/{mount}/{what}/{name}"));
        Ok(Self {
            encrypt: at("encrypt")?,
            decrypt: at("decrypt")?,
            name: name.to_owned(),
            engine,
        })
    }

    /// The version that this id names, of this key and no other.
    fn version(&self, kek: &KekId) -> Result<u64, KekError> {
        let version = kek.as_str().strip_prefix(&self.name);
        let version = version.and_then(|rest| rest.strip_prefix(":v"));
        let number = version
            .and_then(|digits| digits.parse().ok())
            .ok_or(KekError::Unknown)?;
        // One version has one id.
        if self.id(number)? == *kek {
            Ok(number)
        } else {
            Err(KekError::Unknown)
        }
    }

    fn id(&self, version: u64) -> Result<KekId, KekError> {
        KekId::new(&format!("{}:v{version}", self.name))
    }

    async fn key(&self) -> Result<Object, KekError> {
        let key = self.engine.key(&self.name).await.map_err(unavailable)?;
        let key = key.ok_or(KekError::Unknown)?;
        if key::is_kept(&key, &TYPES) {
            Ok(key)
        } else {
            Err(KekError::Invalid(
                "the key was imported, can be exported or backed up, or is not of a type that takes associated data",
            ))
        }
    }

    /// What a refusal means, asked of the engine: the version is gone, or the input is not of this key and context.
    async fn refusal(&self, failure: TransitFailure, version: u64, least: &str) -> KekError {
        if !matches!(failure, TransitFailure::Refused | TransitFailure::NotFound) {
            return unavailable(failure);
        }
        let key = match self.key().await {
            Ok(key) => key,
            Err(error) => return error,
        };
        let from = key::number(&key, least)
            .unwrap_or(0)
            .max(key::number(&key, "min_available_version").unwrap_or(0));
        let to = key::number(&key, "latest_version").unwrap_or(0);
        if (from.max(1)..=to).contains(&version) {
            KekError::Refused
        } else {
            KekError::Unknown
        }
    }
}

#[async_trait]
impl KekProvider for TransitKek {
    async fn current(&self) -> Result<KekId, KekError> {
        let latest = key::number(&self.key().await?, "latest_version");
        self.id(latest.ok_or(KekError::Unavailable)?)
    }

    async fn wrap(&self, kek: &KekId, key: &DataKey, context: &WrapContext<'_>) -> Result<Wrapped, KekError> {
        let version = self.version(kek)?;
        // Nothing is given into the hands of a key that others may have.
        self.key().await?;
        let plain = Zeroizing::new(STANDARD.encode(key.expose()));
        let data = STANDARD.encode(context.digest());
        let payload = Payload::secret(Zeroizing::new(format!(
            r#"{{"plaintext":"{}","associated_data":"{data}","key_version":{version}}}"#,
            *plain
        )));
        let answer = match self.engine.ask(Method::POST, &self.encrypt, &payload).await {
            Err(failure) => return Err(self.refusal(failure, version, "min_encryption_version").await),
            Ok(answer) => answer,
        };
        let text = answer
            .get("ciphertext")
            .and_then(Value::as_str)
            .ok_or(KekError::Unavailable)?;
        if !text.starts_with(&format!("vault:v{version}:")) {
            return Err(KekError::Refused);
        }
        Ok(Wrapped {
            kek: kek.clone(),
            text: text.to_owned(),
        })
    }

    async fn unwrap(&self, wrapped: &Wrapped, context: &WrapContext<'_>) -> Result<DataKey, KekError> {
        let version = self.version(&wrapped.kek)?;
        if !wrapped.text.starts_with(&format!("vault:v{version}:")) {
            return Err(KekError::Refused);
        }
        let payload = Payload::from(json!({
            "ciphertext": wrapped.text,
            "associated_data": STANDARD.encode(context.digest()),
        }));
        let answer = match self.engine.ask(Method::POST, &self.decrypt, &payload).await {
            Err(failure) => return Err(self.refusal(failure, version, "min_decryption_version").await),
            Ok(answer) => answer,
        };
        let text = answer
            .get("plaintext")
            .and_then(Value::as_str)
            .ok_or(KekError::Unavailable)?;
        // All of its room from the start: growing would leave copies behind.
        let mut octets = Zeroizing::new([0; 48]);
        let length = STANDARD
            .decode_slice(text, &mut octets[..])
            .map_err(|_| KekError::Refused)?;
        match octets.first_chunk() {
            Some(key) if length == 32 => Ok(DataKey::new(Zeroizing::new(*key))),
            _ => Err(KekError::Refused),
        }
    }
}

fn unavailable(_any: TransitFailure) -> KekError {
    KekError::Unavailable
}

impl fmt::Debug for TransitKek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransitKek")
            .field("engine", &self.engine)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
