//! The anchor of a chain of ended things, in a KV engine.

use std::fmt;

use async_trait::async_trait;
use http::Method;
use serde_json::json;

use super::TransitError;
use super::failure::TransitFailure;
use super::key::number;
use super::server::{Payload, Repeat, VaultServer};
use crate::json::{Object, Value};
use crate::store::anchor::{AnchorError, Anchored, EpochAnchor};
use crate::target::Target;
use crate::vault::is_mount;

/// How often a raise meets that of another process.
const ATTEMPTS: usize = 8;

/// The anchor of one deployment in a KV engine of version 2, written by check and set.
///
/// Keep the server's storage out of the backups that the database is restored from. A secret that was deleted there is no
/// anchor that never was: it is [`AnchorError::Malformed`].
///
/// ```no_run
/// use shipbound::store::transit::{KvAnchor, TransitError, VaultServer};
///
/// # fn make(server: &VaultServer) -> Result<KvAnchor, TransitError> {
/// KvAnchor::new(server, "secret", "shipbound/anchor")
/// # }
/// ```
#[derive(Clone)]
pub struct KvAnchor {
    server: VaultServer,
    data: Target,
    metadata: Target,
}

impl KvAnchor {
    /// The anchor at this path of the KV engine at this mount. Nothing is asked yet.
    ///
    /// # Errors
    /// [`TransitError::Name`], [`TransitError::Address`].
    pub fn new(server: &VaultServer, mount: &str, path: &str) -> Result<Self, TransitError> {
        if !is_mount(mount) || !is_mount(path) {
            return Err(TransitError::Name);
        }
        Ok(Self {
            data: server.at(&format!("/v1/{mount}/data/{path}"))?,
            metadata: server.at(&format!("/v1/{mount}/metadata/{path}"))?,
            server: server.clone(),
        })
    }

    async fn get(&self, target: &Target) -> Result<Option<Object>, AnchorError> {
        match self
            .server
            .ask(Method::GET, target, &Payload::none(), Repeat::Safe)
            .await
        {
            Ok(answer) => Ok(Some(answer)),
            Err(TransitFailure::NotFound) => Ok(None),
            Err(_failure) => Err(AnchorError::Unavailable),
        }
    }

    /// The anchor and the number of the version that it is in; 0 where there never was one.
    async fn look(&self) -> Result<(Option<Anchored>, u64), AnchorError> {
        let answer = match self.get(&self.data).await? {
            Some(answer) => answer,
            // Nothing was ever written, or what was written is deleted, which the metadata tells.
            None => match self.get(&self.metadata).await? {
                None => return Ok((None, 0)),
                Some(told) if number(&told, "current_version") == Some(0) => return Ok((None, 0)),
                // Or it was written for the first time since.
                Some(_written) => self.get(&self.data).await?.ok_or(AnchorError::Malformed)?,
            },
        };
        let member = |name: &str| answer.get(name).and_then(Value::as_object);
        let line = member("data")
            .and_then(|data| data.get("anchor"))
            .and_then(Value::as_str);
        let version = member("metadata").and_then(|metadata| number(metadata, "version"));
        match (line, version) {
            (Some(line), Some(version)) => Ok((Some(Anchored::from_line(line)?), version)),
            _ => Err(AnchorError::Malformed),
        }
    }
}

#[async_trait]
impl EpochAnchor for KvAnchor {
    async fn read(&self) -> Result<Option<Anchored>, AnchorError> {
        Ok(self.look().await?.0)
    }

    async fn raise(&self, to: &Anchored) -> Result<(), AnchorError> {
        for _ in 0..ATTEMPTS {
            let (stands, version) = self.look().await?;
            if let Some(stands) = stands
                && !stands.is_below(to)?
            {
                return Ok(());
            }
            let write = Payload::from(json!({ "options": { "cas": version }, "data": { "anchor": to.to_line() } }));
            match self.server.ask(Method::POST, &self.data, &write, Repeat::Never).await {
                Ok(_written) => return Ok(()),
                // Another process has written meanwhile.
                Err(TransitFailure::Refused) => {}
                Err(_failure) => return Err(AnchorError::Unavailable),
            }
        }
        Err(AnchorError::Unavailable)
    }
}

impl fmt::Debug for KvAnchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KvAnchor").field(&self.server).finish()
    }
}
