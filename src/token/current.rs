//! Which credential a connection uses now: the store's, or the one that it replaces while the carrier does not take it.

use std::sync::Arc;

use futures_util::TryFutureExt;
use http::{HeaderName, HeaderValue};

use crate::binding::Role;
use crate::clock::Monotonic;
use crate::credentials::{Credential, CredentialError, KeyForm};
use crate::error::{Awaited, Error, ErrorKind};
use crate::exchange::connection::Connection;
use crate::journal::EventKind;

use super::lease::{Carries, Lease};
use super::placed;
use super::slot::Landed;
use super::source::{Place, Prepared, TokenSource};

/// The credential that a connection uses now.
pub(super) struct Current {
    pub(super) credential: Credential,
    /// What to use where that is refused: the one that it replaces, or the one that replaces it.
    pub(super) other: Option<Credential>,
    /// Whether it is the store's, and not the one that it replaces.
    pub(super) is_new: bool,
    /// The revision of the store's.
    pub(super) revision: u64,
}

impl TokenSource {
    pub(super) async fn credential(&self, connection: &Connection, deadline: Monotonic) -> Result<Credential, Error> {
        let credential = self
            .credentials
            .credential(&connection.id)
            .map_err(|error| Error::before(ErrorKind::Credential(error)).of(Role::AuthorizationServer));
        let credential = self.in_time(deadline, Awaited::Credential, credential).await?;
        self.check(&credential)
            .map_err(|error| Error::before(error.into()).of(Role::AuthorizationServer))?;
        // One that is not to be sent does not go on either.
        let sound = credential
            .previous()
            .is_none_or(|previous| self.check(previous).is_ok());
        Ok(if sound {
            credential
        } else {
            credential.without_previous()
        })
    }

    /// Whether a credential may be sent to this environment of the carrier.
    fn check(&self, credential: &Credential) -> Result<(), CredentialError> {
        let secret = credential.client_secret().map_or("", |secret| secret.expose());
        // Servers drop blanks at the ends, so the form that they see is another one.
        if secret.trim() != secret {
            return Err(CredentialError::Syntax);
        }
        match KeyForm::environment_of(&self.key_forms, secret) {
            Some(other) if other != self.environment => Err(CredentialError::OtherEnvironment),
            _ => Ok(()),
        }
    }

    pub(super) async fn current(&self, connection: &Connection, deadline: Monotonic) -> Result<Current, Error> {
        let credential = self.credential(connection, deadline).await?;
        let revision = credential.revision();
        connection.asks_with(revision);
        let goes_back = connection.is_not_taken(revision, self.clock.monotonic());
        let (credential, other) = match credential.previous().cloned() {
            Some(previous) if goes_back => (previous, Some(credential)),
            previous => (credential, previous),
        };
        Ok(Current {
            is_new: !goes_back || other.is_none(),
            credential,
            other,
            revision,
        })
    }

    /// Whether the connection's credential is another one than what was last asked with.
    pub(crate) async fn has_other_credential(&self, connection: &Connection) -> Result<bool, Error> {
        let deadline = self.clock.monotonic() + self.limits.token_exchange;
        let credential = self.credential(connection, deadline).await?;
        Ok(connection.asked_with_other(credential.revision()))
    }

    /// Takes the other credential where this one was refused.
    pub(super) fn swaps(&self, prepared: &mut Prepared<'_>, error: &Error, connection: &Connection) -> bool {
        if !error.refuses_client() {
            return false;
        }
        let Some(other) = prepared.current.other.take() else {
            return false;
        };
        self.goes_over(prepared.current.is_new, prepared.current.revision, connection);
        prepared.current.credential = other;
        prepared.current.is_new = !prepared.current.is_new;
        true
    }

    /// Notes that the carrier did not take this one of two credentials, so that the other one is used.
    fn goes_over(&self, is_new: bool, revision: u64, connection: &Connection) {
        if !is_new {
            // The old one is refused as well: the new one may be good by now.
            connection.try_again();
        } else if connection.took_not(revision, self.clock.monotonic()) {
            self.journal.record(&connection.id, || EventKind::CredentialNotTaken);
        }
    }

    /// What calls need that carry the credential itself.
    pub(super) async fn by_credential(
        &self,
        connection: &Arc<Connection>,
        deadline: Monotonic,
    ) -> Result<Landed, Error> {
        let failed = |kind| Error::before(kind).of(Role::AuthorizationServer);
        let bound = self.bind(connection, None, deadline).await?;
        let binding = connection.bind(bound);
        let generation = self.generation();
        let current = self.current(connection, deadline).await?;
        let mut headers: Vec<(HeaderName, HeaderValue)> =
            placed::without_token(&self.credential_at, &current.credential).map_err(failed)?;
        headers.extend(placed::with_calls(&self.parts, &current.credential).map_err(failed)?);
        let carries = match (current.other.is_some(), current.is_new) {
            (false, _) => Carries::Only,
            (true, true) => Carries::New,
            (true, false) => Carries::Old,
        };
        Ok(self.without_token(binding, connection, (current.revision, generation), headers, carries))
    }

    /// Whether a lease that the carrier refuses can be replaced by another. A credential that goes with calls itself is always
    /// the same, unless there is another one to use.
    pub(crate) async fn may_replace(&self, lease: &Lease, deadline: Monotonic) -> Result<bool, Error> {
        match self.at {
            Place::Endpoints(_) | Place::Issuer(_) => return Ok(true),
            Place::Nowhere => return Ok(false),
            Place::Credential => {}
        }
        let credential = self.credential(&lease.connection, deadline).await?;
        // Or it was changed meanwhile.
        Ok(self.refused(lease) || credential.revision() != lease.revision)
    }

    /// The carrier refused what this lease carries; `false` where there is nothing else to use.
    pub(crate) fn refused(&self, lease: &Lease) -> bool {
        match lease.carries() {
            Carries::Only => return false,
            Carries::New => self.goes_over(true, lease.revision, &lease.connection),
            Carries::Old => self.goes_over(false, lease.revision, &lease.connection),
        }
        true
    }
}
