//! Asking for a token with what a shipper's consent gave (RFC 6749 6).

use std::sync::Arc;

use crate::binding::Role;
use crate::clock::{Monotonic, Timestamp};
use crate::error::{Error, ErrorKind};
use crate::exchange::connection::Connection;
use crate::grants::{Claim, GrantError, Grants, Rotation};
use crate::keys::KeyError;
use crate::transport::Stage;

use super::answer::Granted;
use super::metadata::IssuerEndpoint;
use super::source::{Prepared, TokenSource};

impl TokenSource {
    /// Uses the connection's refresh token, once, and stores its successor before the access token is used.
    pub(super) async fn refresh(
        &self,
        prepared: &Prepared<'_>,
        connection: &Arc<Connection>,
        deadline: Monotonic,
    ) -> Result<Granted, Error> {
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
        claim
            .settle(granted.refresh_token.clone(), self.ends(&granted))
            .await
            .map_err(failed)?;
        Ok(granted)
    }

    /// Ends the claim of a request that failed so, and says what the shipper's consent is worth now. A claim that cannot be
    /// ended is found by the next one: what failed first is what is told.
    async fn ended(&self, claim: Claim, error: Error) -> Error {
        let (ended, consent) = match fate(&error) {
            Fate::Unused => (claim.release().await, None),
            Fate::Dead => (claim.end().await, Some(GrantError::NeedsConsent)),
            Fate::Unknown if self.quirks.refresh_token_stays => (claim.abandon().await, None),
            Fate::Unknown => (claim.abandon().await, Some(GrantError::Uncertain)),
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
    /// It may be spent.
    Unknown,
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
        // A success whose body cannot be used, a gateway's 5xx, a lost answer: the next refresh token may be on its way to nobody.
        _ => Fate::Unknown,
    }
}

fn failed(error: GrantError) -> Error {
    Error::before(ErrorKind::Grant(error)).of(Role::AuthorizationServer)
}
