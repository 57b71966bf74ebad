//! Asking for a token with what a shipper's consent gave (RFC 6749 6).

use std::sync::Arc;

use futures_util::TryFutureExt;

use crate::binding::Role;
use crate::clock::{Monotonic, Timestamp};
use crate::error::{Awaited, Error, ErrorKind};
use crate::exchange::connection::Connection;
use crate::grants::{Claim, GrantError, Grants, Rotation};
use crate::keys::KeyError;
use crate::transport::{Stage, TransportErrorKind};

use super::answer::Granted;
use super::grant::GrantType;
use super::metadata::IssuerEndpoint;
use super::source::{Prepared, TokenSource};

impl TokenSource {
    /// Uses the connection's refresh token, once, and stores its successor before the access token is used.
    pub(super) async fn refresh(
        &self,
        prepared: &Prepared<'_>,
        connection: &Arc<Connection>,
        deadline: Monotonic,
    ) -> Result<(Granted, u64), Error> {
        let rotation = match self.quirks.refresh_token_stays {
            true => Rotation::PreviousStays,
            false => Rotation::PreviousDies,
        };
        // Last of all that is needed: from here on a crash leaves the grant claimed.
        let claim = self
            .grants()?
            .claim(&connection.id, rotation, deadline)
            .await
            .map_err(failed)?;
        if !is_shown(&claim, prepared) {
            claim.release().await.map_err(failed)?;
            return Err(Error::before(ErrorKind::Key(KeyError::Mismatch)).of(Role::AuthorizationServer));
        }
        let mut form = self.request.form();
        match claim.refresh_token() {
            Ok(token) => form.add("refresh_token", token.expose()),
            Err(error) => return Err(failed(error)),
        }
        let asked = self
            .token(
                prepared,
                IssuerEndpoint::Refresh,
                (form, &self.auth),
                connection,
                deadline,
            )
            .await;
        let granted = match asked {
            Ok(granted) => granted,
            Err(error) => return Err(self.ended(claim, error).await),
        };
        let consent = claim.consent().as_u64();
        claim
            .settle(granted.refresh_token.clone(), self.ends(&granted))
            .await
            .map_err(failed)?;
        Ok((granted, consent))
    }

    /// Ends the claim of a request that failed so, and says what the shipper's consent is worth now. A claim that cannot be
    /// ended is found by the next one: what failed first is what is told.
    async fn ended(&self, claim: Claim, error: Error) -> Error {
        let (ended, consent) = match fate(&error) {
            Fate::Unused => (claim.release().await, None),
            Fate::Dead => (claim.end().await, Some(GrantError::NeedsConsent)),
            Fate::Lost if self.quirks.refresh_token_stays => (claim.abandon().await, None),
            Fate::Lost => (claim.abandon().await, Some(GrantError::Uncertain)),
            // The request may still arrive: nobody else uses the token before the claim's time has passed.
            Fate::Late => {
                drop(claim);
                return error.not_sent();
            }
        };
        match (ended, consent) {
            (Ok(()), Some(consent)) => failed(consent),
            _ => error.not_sent(),
        }
    }

    /// When the next refresh token ends, where the issuer says so.
    pub(super) fn ends(&self, granted: &Granted) -> Option<Timestamp> {
        granted.refresh_lifetime.map(|lifetime| self.clock.now() + lifetime)
    }

    /// Which consent the connection's tokens come from; 0 where they come from none.
    pub(super) async fn consent(&self, connection: &Connection, deadline: Monotonic) -> Result<u64, Error> {
        if *self.request.grant_type() != GrantType::RefreshToken {
            return Ok(0);
        }
        let grants = self.grants()?;
        let consent = grants.consent(&connection.id).map_err(failed);
        let consent = self.in_time(deadline, Awaited::Credential, consent).await?;
        Ok(consent.as_u64())
    }

    pub(crate) fn grants(&self) -> Result<Grants, Error> {
        let store = self.grants.as_ref().ok_or_else(|| {
            Error::before(ErrorKind::Build(
                "the parts have no grant store for what shippers consent to",
            ))
        })?;
        Ok(Grants::new(Arc::clone(store), Arc::clone(&self.clock)))
    }
}

/// Whether the request shows what the refresh token is bound to (RFC 9449 5, RFC 8705 4).
fn is_shown(claim: &Claim, prepared: &Prepared<'_>) -> bool {
    let shown = prepared.binding.confirmations();
    claim.confirmations().iter().all(|wanted| shown.contains(wanted))
}

/// What is known of a refresh token after its request failed.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// It was not used.
    Unused,
    /// The issuer takes it no more.
    Dead,
    /// It may be spent, and no answer will come.
    Lost,
    /// It may be spent at any moment: the request is perhaps still on its way.
    Late,
}

fn fate(error: &Error) -> Fate {
    match (error.kind(), error.stage()) {
        (_, Stage::NotSent) => Fate::Unused,
        (ErrorKind::TokenRefused(code), _) if code.as_str() == "invalid_grant" => Fate::Dead,
        // The issuer answered, and it was a refusal of the request itself (RFC 6749 5.2) or one before it looked at the grant.
        (ErrorKind::TokenRefused(code), _) if code.as_str() != "server_error" => Fate::Unused,
        (
            ErrorKind::RateLimited
            | ErrorKind::NonceLoop
            | ErrorKind::NonceUnusable
            | ErrorKind::ProofRefused
            | ErrorKind::ClockOffsetRefused { .. }
            | ErrorKind::Misdirected
            | ErrorKind::Redirect,
            Stage::Answered,
        ) => Fate::Unused,
        (ErrorKind::Deadline(_) | ErrorKind::OutcomeUnknown(TransportErrorKind::Timeout), _) => Fate::Late,
        // A success whose body cannot be used, a gateway's 5xx, a lost connection.
        _ => Fate::Lost,
    }
}

fn failed(error: GrantError) -> Error {
    Error::before(ErrorKind::Grant(error)).of(Role::AuthorizationServer)
}
