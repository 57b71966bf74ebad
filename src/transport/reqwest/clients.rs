//! HTTP clients of one TLS configuration.

use std::sync::OnceLock;

use ::reqwest::Client;

use super::builder::{Blueprint, BuildError};

/// The client for ordinary requests, and the one whose connections are used once, made when it is first needed.
pub(super) struct Clients {
    pooled: Client,
    unpooled: OnceLock<Client>,
}

impl Clients {
    pub(super) fn new(pooled: Client) -> Self {
        Self {
            pooled,
            unpooled: OnceLock::new(),
        }
    }

    pub(super) fn get(
        &self,
        blueprint: &Blueprint,
        tls: &rustls::ClientConfig,
        fresh: bool,
    ) -> Result<Client, BuildError> {
        if !fresh {
            return Ok(self.pooled.clone());
        }
        if let Some(client) = self.unpooled.get() {
            return Ok(client.clone());
        }
        let client = blueprint.client(tls.clone(), 0)?;
        Ok(self.unpooled.get_or_init(|| client).clone())
    }
}
