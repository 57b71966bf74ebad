//! Paths of one Transit engine, and what is told of its keys.

use http::Method;

use super::TransitError;
use super::failure::TransitFailure;
use super::server::{Payload, Repeat, VaultServer};
use crate::json::Object;
use crate::target::Target;
use crate::vault::is_mount;

/// The Transit engine at a mount of a server.
#[derive(Clone, Debug)]
pub(super) struct Engine {
    server: VaultServer,
    mount: String,
}

impl Engine {
    pub(super) fn new(server: &VaultServer, mount: &str) -> Result<Self, TransitError> {
        if !is_mount(mount) {
            return Err(TransitError::Name);
        }
        let server = server.clone();
        server.at(&format!("/v1/{mount}"))?;
        Ok(Self {
            server,
            mount: mount.to_owned(),
        })
    }

    /// Where `what` is done with the key of this name, which needs no escapes.
    pub(super) fn at(&self, what: &str, name: &str) -> Result<Target, TransitFailure> {
        let path = format!("/v1/{}/{what}/{name}", self.mount);
        self.server.at(&path).map_err(|_too_long| TransitFailure::NotFound)
    }

    /// Asks for something that may be done twice.
    pub(super) async fn ask(
        &self,
        method: Method,
        target: &Target,
        payload: &Payload,
    ) -> Result<Object, TransitFailure> {
        self.server.ask(method, target, payload, Repeat::Safe).await
    }

    /// What the engine tells of the key of this name; `None` when there is none.
    pub(super) async fn key(&self, name: &str) -> Result<Option<Object>, TransitFailure> {
        let target = self.at("keys", name)?;
        match self.ask(Method::GET, &target, &Payload::none()).await {
            Ok(key) => Ok(Some(key)),
            Err(TransitFailure::NotFound) => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}
