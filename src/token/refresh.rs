//! Asking for a token with what a shipper's consent gave (RFC 6749 6).

use std::sync::Arc;
use std::time::Duration;

use futures_util::TryFutureExt;
use http::StatusCode;

use crate::binding::{Confirmation, Role};
use crate::clock::{Monotonic, Timestamp};
use crate::error::{Awaited, Error, ErrorKind};
use crate::exchange::answer::Response;
use crate::exchange::connection::Connection;
use crate::grants::{Claim, GrantError, Grants, Rotation};
use crate::keys::KeyError;
use crate::transport::{Stage, TransportErrorKind};

use super::answer::{Granted, Successor, TokenAnswerError, refusal};
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
            .token_response(
                prepared,
                IssuerEndpoint::Refresh,
                (form, &self.auth),
                connection,
                deadline,
            )
            .await;
        let response = match asked {
            Ok(response) => response,
            Err(error) => return Err(self.ended(claim, error).await),
        };
        let successor = self.successor(&response);
        let granted = self.granted(response, prepared, connection);
        match (successor, granted) {
            (Some(successor), granted) => {
                let consent = claim.consent().as_u64();
                let ends = self.ends(&successor);
                // The issuer has taken the old one, also where the token that came along is of no use here.
                claim.settle(successor.refresh_token, ends).await.map_err(failed)?;
                granted.map(|granted| (granted, consent)).map_err(Error::not_sent)
            }
            (None, Err(error)) => Err(self.ended(claim, error).await),
            (None, Ok(granted)) => {
                let consent = claim.consent().as_u64();
                claim.settle(None, None).await.map_err(failed)?;
                Ok((granted, consent))
            }
        }
    }

    /// Takes the key that the refresh token is bound to (RFC 9449 5), where that is another one than was shown and still signs:
    /// keys rotate, and a code may have been bound before that.
    pub(super) async fn shows_bound_key(
        &self,
        prepared: &mut Prepared<'_>,
        error: &Error,
        connection: &Connection,
        deadline: Monotonic,
    ) -> Result<bool, Error> {
        let is_mismatch = matches!(error.kind(), ErrorKind::Key(KeyError::Mismatch));
        if !is_mismatch || *self.request.grant_type() != GrantType::RefreshToken {
            return Ok(false);
        }
        let grants = self.grants()?;
        let bound = grants.bound_to(&connection.id).map_err(failed);
        let bound = self.in_time(deadline, Awaited::Credential, bound).await?;
        match Confirmation::jkt(&bound) {
            Some(jkt) if Confirmation::jkt(prepared.binding.confirmations()) != Some(jkt) => {
                self.bind_to(prepared, &jkt, connection, deadline).await
            }
            _ => Ok(false),
        }
    }

    /// What becomes of the refresh token by this answer.
    pub(super) fn successor(&self, response: &Response) -> Option<Successor> {
        let shape = &self.quirks.token_answer;
        Successor::read(response.status, &response.body, shape, self.clock.now())
    }

    /// How long a token request may last beyond its time, so that what the issuer gave can be stored.
    pub(super) fn settling(&self) -> Duration {
        match self.request.grant_type() {
            GrantType::RefreshToken => self.claim_time(),
            _ => Duration::ZERO,
        }
    }

    /// How long a refresh token is claimed: its second half is longer than a token exchange may take.
    fn claim_time(&self) -> Duration {
        Grants::DEFAULT_CLAIM.max(self.limits.token_exchange.saturating_mul(4))
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
            (Ok(()), Some(consent)) => failed(consent).with_fault_as(&error),
            _ => error.not_sent(),
        }
    }

    /// When the next refresh token ends, where the issuer says so.
    pub(super) fn ends(&self, successor: &Successor) -> Option<Timestamp> {
        successor.lifetime.map(|lifetime| self.clock.now() + lifetime)
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
        Ok(Grants::new(Arc::clone(store), Arc::clone(&self.clock)).claim_for(self.claim_time()))
    }
}

/// Whether the request shows what the refresh token is bound to (RFC 9449 5, RFC 8705 4).
fn is_shown(claim: &Claim, prepared: &Prepared<'_>) -> bool {
    let shown = prepared.binding.confirmations();
    claim.confirmations().iter().all(|wanted| shown.contains(wanted))
}

/// What is known of a refresh token after its request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// The status counts first: an error that a gateway makes says nothing of what stands behind it, whatever its body holds.
fn fate(error: &Error) -> Fate {
    let status = error.response().map(Response::status);
    match (error.kind(), status) {
        _ if error.stage() == Stage::NotSent => Fate::Unused,
        (ErrorKind::Deadline(_) | ErrorKind::OutcomeUnknown(TransportErrorKind::Timeout), _) => Fate::Late,
        // The server broke the handshake off, so it has not read what was sent after it (RFC 8446 4.4.2.4).
        (ErrorKind::OutcomeUnknown(TransportErrorKind::CertificateRefused), _) => Fate::Unused,
        (_, Some(StatusCode::REQUEST_TIMEOUT)) => Fate::Late,
        (_, Some(status)) if status.is_server_error() => match error.response().map(says) {
            // RFC 6749 4.1.2.1 and 5.2, as issuers use it: not now.
            Some(TokenAnswerError::OAuth(code)) if code.as_str() == "temporarily_unavailable" => Fate::Unused,
            _ => Fate::Lost,
        },
        // The second one is how USPS calls it.
        (ErrorKind::TokenRefused(code), _) if ["invalid_grant", "invalid_refresh_token"].contains(&code.as_str()) => {
            Fate::Dead
        }
        // Something went wrong on the way, at whatever point.
        (ErrorKind::TokenRefused(code), _) if code.as_str() == "server_error" => Fate::Lost,
        // A refusal of the request itself (RFC 6749 5.2), before the issuer looked at the grant.
        (ErrorKind::TokenRefused(_), _) => Fate::Unused,
        (_, Some(status)) if status.is_client_error() || status.is_redirection() => Fate::Unused,
        // A success in which no refresh token can be read, a lost connection.
        _ => Fate::Lost,
    }
}

fn says(response: &Response) -> TokenAnswerError {
    refusal(response.status, &response.body)
}

fn failed(error: GrantError) -> Error {
    Error::before(ErrorKind::Grant(error)).of(Role::AuthorizationServer)
}
