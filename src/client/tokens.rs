//! What a client does with tokens beside calling with them: revoking, asking about them, handing them on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::error::{Error, ErrorKind};
use crate::exchange::connection::Connection;
use crate::grants::{GrantError, Rotation};
use crate::owner::{ConnectionId, Tenant};
use crate::secret::{RefreshToken, SubjectToken};
use crate::token::Lease;
use crate::token::grant::SubjectTokens;
use crate::token::introspection::Introspection;
use crate::token::revocation::{Revocation, TokenHint};

use super::Client;
use super::pipeline::Pipeline;

/// How many tokens may wait for their revocation in one client, and how many of one tenant. Beyond that the oldest is given up:
/// it ends by itself.
const MOST_WAITING: usize = 4096;
const MOST_OF_ONE: usize = 16;

/// Tokens that this process does not use any more and that the issuer is still to be told of.
#[derive(Debug, Default)]
pub(super) struct Revoked(Mutex<HashMap<Tenant, Vec<Token>>>);

/// One such token.
#[derive(Clone, Debug)]
enum Token {
    Access(Arc<Lease>),
    Refresh(RefreshToken),
}

impl Token {
    fn parts(&self) -> Option<(&str, TokenHint)> {
        match self {
            Self::Access(lease) => Some((lease.token()?, TokenHint::Access)),
            Self::Refresh(token) => Some((token.expose(), TokenHint::Refresh)),
        }
    }
}

impl Revoked {
    fn add(&self, tenant: &Tenant, token: Token) {
        let mut waiting = self.lock();
        if waiting.len() >= MOST_WAITING && !waiting.contains_key(tenant) {
            let Some(other) = waiting.keys().next().cloned() else {
                return;
            };
            waiting.remove(&other);
        }
        let tokens = waiting.entry(tenant.clone()).or_default();
        if tokens.len() >= MOST_OF_ONE {
            tokens.remove(0);
        }
        tokens.push(token);
    }

    fn take(&self, tenant: &Tenant) -> Vec<Token> {
        self.lock().remove(tenant).unwrap_or_default()
    }

    /// The tenants whose tokens wait.
    fn tenants(&self) -> Vec<Tenant> {
        self.lock().keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Tenant, Vec<Token>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pipeline {
    /// Ends what the tenant's connection has: here at once, then at the issuer.
    pub(super) async fn revoke(&self, tenant: &Tenant) -> Result<Revocation, Error> {
        let slot = self.parts.tokens.slot(&self.scope, tenant);
        // Nobody uses the token from here on, whatever becomes of the rest (RFC 7009 2).
        if let Some(lease) = slot.clear() {
            self.revoked.add(tenant, Token::Access(lease));
        }
        self.parts.tokens.show(&self.scope, tenant);
        if let Some(token) = self.end_consent(&slot.connection).await? {
            self.revoked.add(tenant, Token::Refresh(token));
        }
        self.tell(tenant, &slot.connection).await
    }

    /// Tells the issuer of the tenant's tokens that wait for it. What it could not be told of goes on waiting.
    async fn tell(&self, tenant: &Tenant, connection: &Arc<Connection>) -> Result<Revocation, Error> {
        let mut outcome = Revocation::Nothing;
        let mut failure = None;
        for token in self.revoked.take(tenant) {
            let Some((text, hint)) = token.parts() else { continue };
            match self.source.revoke(connection, text, hint).await {
                Ok(true) if outcome != Revocation::LocalOnly => outcome = Revocation::Revoked,
                Ok(true) => {}
                Ok(false) => outcome = Revocation::LocalOnly,
                Err(error) => {
                    self.revoked.add(tenant, token);
                    failure = Some(error);
                }
            }
        }
        failure.map_or(Ok(outcome), Err)
    }

    /// Ends what the shipper consented to, where tokens come from that, and gives the refresh token.
    async fn end_consent(&self, connection: &Arc<Connection>) -> Result<Option<RefreshToken>, Error> {
        if self.source.grants.is_none() {
            return Ok(None);
        }
        let failed = |error| Error::before(ErrorKind::Grant(error));
        let deadline = self.parts.clock.monotonic() + self.limits.token_exchange;
        let claim = self
            .source
            .grants()?
            .claim(&connection.id, Rotation::PreviousStays, deadline)
            .await;
        let claim = match claim {
            Ok(claim) => claim,
            Err(GrantError::Missing | GrantError::NeedsConsent | GrantError::Uncertain) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let token = claim.refresh_token().map_err(failed)?.clone();
        claim.end().await.map_err(failed)?;
        Ok(Some(token))
    }

    /// Tells the issuer of all tokens that wait for it; failures wait for the next time.
    pub(crate) async fn tell_all(&self) {
        for tenant in self.revoked.tenants() {
            let slot = self.parts.tokens.slot(&self.scope, &tenant);
            let _next_time = self.tell(&tenant, &slot.connection).await;
        }
    }

    pub(super) async fn introspect(&self, tenant: &Tenant) -> Result<Introspection, Error> {
        let (lease, connection) = self.held(tenant).await?;
        self.source.introspect(&lease, &connection).await
    }

    /// The lease that a call would go with, fetched where there is none.
    async fn held(&self, tenant: &Tenant) -> Result<(Arc<Lease>, Arc<Connection>), Error> {
        let now = self.parts.clock.monotonic();
        let lease = match self.lease_at_hand(tenant, now) {
            Some(lease) => lease,
            None => self.lease(tenant, now + self.limits.call).await?,
        };
        let connection = Arc::clone(&lease.connection);
        Ok((lease, connection))
    }
}

#[async_trait]
impl SubjectTokens for Client {
    /// The token that this client would call with, for the same tenant.
    async fn subject_token(&self, connection: &ConnectionId) -> Result<SubjectToken, Error> {
        let (lease, _) = self.0.held(connection.tenant()).await?;
        let token = lease
            .token()
            .ok_or_else(|| Error::before(ErrorKind::Build("there are no tokens to exchange")))?;
        Ok(SubjectToken::new(token))
    }
}
