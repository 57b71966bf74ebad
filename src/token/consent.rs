//! A shipper's consent: the authorization code grant (RFC 6749 4.1) with PKCE (RFC 7636), pushed where the issuer offers it
//! (RFC 9126), bound to the proof key from the start (RFC 9449 10).
//!
//! The library makes the address that the shipper's browser is sent to, and later exchanges what the browser brings back. The
//! web page around it, and the session that ties the two to one shipper, are the application's.

mod answer;
mod pending;

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use thiserror::Error as ThisError;

use crate::binding::{Confirmation, Role};
use crate::clock::{Clock, Monotonic};
use crate::crypto;
use crate::error::{Awaited, Error, ErrorKind, OAuthCode};
use crate::exchange::connection::Connection;
use crate::grants::{Grant, GrantError, Grants};
use crate::jose::base64url;
use crate::journal::{EventKind, KeyChange, KeyEvent};
use crate::json::{Object, Value};
use crate::keys::{HELD_FOR, KeyError, KeyHandle, Purpose};
use crate::owner::Owner;
use crate::target::Target;
use crate::transport::Stage;

use super::answer::{Granted, Successor, TokenAnswerError, refusal};
use super::client_auth::ClientAuth;
use super::discovery::Found;
use super::form::Form;
use super::metadata::{IssuerEndpoint, MetadataError};
use super::slot::Landed;
use super::source::{Prepared, TokenSource};

use self::answer::Callback;

pub use self::pending::PendingConsent;

/// How long a shipper may take to consent.
const CONSENT_TIME: Duration = Duration::from_secs(30 * 60);

/// How long a grant store that does not answer is left alone.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// Where to send the shipper's browser, and what to keep until it comes back.
#[derive(Debug)]
#[non_exhaustive]
pub struct Authorization {
    /// The address of the issuer's page. Good once, and for this shipper alone.
    pub url: AuthorizationUrl,
    /// To be kept in the shipper's session, on the server.
    pub pending: PendingConsent,
}

/// An address that a browser is to be sent to. Its `Debug` shows the origin: the rest names the request that is under way.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthorizationUrl {
    place: Target,
    text: String,
}

impl AuthorizationUrl {
    /// The URL, for a `Location` header.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl std::fmt::Debug for AuthorizationUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AuthorizationUrl({})", self.place.origin())
    }
}

/// Why a consent could not be asked for or was not given.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum ConsentError {
    /// The redirection address is not an absolute URI without a fragment (RFC 6749 3.1.2), or not `https` where FAPI 2.0 is held
    /// to. User action: give the address as it is registered at the issuer.
    #[error("the redirection address is not an absolute URI without a fragment")]
    RedirectUri,
    /// The issuer lists how it takes PKCE, and S256 is not among it (RFC 7636 4.2). User action: ask the issuer's operator.
    #[error("the issuer does not take PKCE with S256")]
    NoS256,
    /// The browser came back to another address than the one that was asked for (RFC 9700 4.4.2.2). Nothing was exchanged. User
    /// action: give the whole address that it came back to; use a redirection address of its own for each client.
    #[error("the browser came back to another address")]
    Place,
    /// What the browser brought has a parameter twice, or is too long. User action: give the address that the browser came back
    /// to, as it is.
    #[error("the answer that the browser brought cannot be read")]
    Malformed,
    /// The answer has no `state`, or that of another request. Nothing was exchanged. User action: look whose session it is
    /// (somebody may be trying to slip their own consent in, RFC 9700 4.7), and begin anew.
    #[error("the answer does not belong to this request")]
    State,
    /// The answer is another issuer's, or does not say whose it is though this issuer always does (RFC 9207). Nothing was
    /// exchanged. User action: begin anew; if it stays, somebody mixes issuers up.
    #[error("the answer is not this issuer's")]
    Issuer,
    /// The shipper or the issuer refused, `access_denied` for instance (RFC 6749 4.1.2.1). User action: tell the shipper.
    #[error("the consent was refused: {0}")]
    Refused(OAuthCode),
    /// The answer has neither a code nor an error. User action: begin anew.
    #[error("the answer has no code")]
    NoCode,
    /// The shipper took more than half an hour. User action: begin anew.
    #[error("the consent took too long")]
    Expired,
    /// What was kept belongs to another client: another carrier, account, environment or issuer. User action: finish a consent
    /// with the client that began it.
    #[error("the consent was begun by another client")]
    OtherClient,
    /// The text is none of a pending consent. User action: keep the text as it was given.
    #[error("this is no pending consent")]
    NotPending,
    /// The issuer gave no refresh token, so the consent ends with the first token. User action: ask for the scope that the
    /// issuer wants for it, `offline_access` for instance.
    #[error("the issuer gave no refresh token")]
    NoRefreshToken,
}

impl TokenSource {
    /// Makes the address that the shipper of `connection` consents at. `client` tells this client from others.
    pub(crate) async fn authorize(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        client: [u8; 32],
        redirect_uri: &str,
    ) -> Result<Authorization, Error> {
        // What the shipper will consent to could not be stored otherwise.
        let _store = self.grants()?;
        // FAPI 2.0 5.3.3.2: https alone.
        if !super::is_absolute_uri(redirect_uri) || (self.fapi && !redirect_uri.starts_with("https://")) {
            return Err(refused(ConsentError::RedirectUri));
        }
        let deadline = self.clock.monotonic() + self.limits.token_exchange;
        let begun = async {
            let prepared = self.prepared(connection, deadline).await?;
            let place = self.endpoint(&prepared.found, IssuerEndpoint::Authorization)?;
            if !prepared.found.takes_s256() {
                return Err(refused(ConsentError::NoS256));
            }
            let confirmations = prepared.binding.confirmations();
            let pending = PendingConsent {
                tenant: connection.id.tenant().clone(),
                client,
                state: random()?,
                verifier: random()?,
                redirect_uri: redirect_uri.to_owned(),
                jkt: Confirmation::jkt(confirmations),
                x5t: Confirmation::x5t(confirmations),
                until: self.clock.now() + CONSENT_TIME,
            };
            let request = self.authorization_request(&pending);
            let query = match self.is_pushed(&prepared.found)? {
                true => self.push(&prepared, request, connection, deadline).await?,
                false => request,
            };
            let query = query.with("client_id", prepared.current.credential.client_id());
            // RFC 6749 3.1: a query that the endpoint has already stays.
            let joint = if place.query().is_some() { '&' } else { '?' };
            let text = format!("{}{joint}{}", place.as_str(), query.text());
            Ok(Authorization {
                url: AuthorizationUrl { place, text },
                pending,
            })
        };
        self.in_time(deadline, Awaited::Answer, begun).await
    }

    /// The parameters of the request, but for the client's id.
    fn authorization_request(&self, pending: &PendingConsent) -> Form {
        let challenge = base64url::encode(&crypto::sha256(pending.verifier.as_bytes()));
        let mut form = Form::new()
            .with("response_type", "code")
            .with("redirect_uri", pending.redirect_uri.as_str())
            .with("state", pending.state.as_str())
            .with("code_challenge", challenge)
            .with("code_challenge_method", "S256");
        if let Some(jkt) = pending.jkt {
            form.add("dpop_jkt", jkt.to_string());
        }
        self.request.describe(&mut form);
        form
    }

    /// Whether the request is pushed: where the issuer offers it, and it must where FAPI 2.0 is wanted.
    fn is_pushed(&self, found: &Found<'_>) -> Result<bool, Error> {
        let offered = self.has(found, IssuerEndpoint::PushedAuthorization);
        let wanted = match found {
            Found::Described(metadata) => metadata.capabilities.requires_pushed_authorization || self.fapi,
            Found::Fixed(_) => false,
        };
        if wanted && !offered {
            let missing = MetadataError::NotOffered(IssuerEndpoint::PushedAuthorization);
            return Err(Error::before(ErrorKind::Metadata(missing)).of(Role::AuthorizationServer));
        }
        Ok(offered)
    }

    /// Hands the request to the issuer, and gives what stands for it in the browser's address (RFC 9126 2).
    async fn push(
        &self,
        prepared: &Prepared<'_>,
        mut request: Form,
        connection: &Connection,
        deadline: Monotonic,
    ) -> Result<Form, Error> {
        if self.auth == ClientAuth::Basic {
            // RFC 9126 2.1: the id is a parameter of the request as well. Other ways to authenticate have it in the form.
            request.add("client_id", prepared.current.credential.client_id());
        }
        let response = self
            .post(
                prepared,
                IssuerEndpoint::PushedAuthorization,
                request,
                connection,
                deadline,
            )
            .await?;
        let failed = |kind| Error::new(kind, Stage::Answered).of(Role::AuthorizationServer);
        if response.status != StatusCode::CREATED && response.status != StatusCode::OK {
            return Err(failed(match refusal(response.status, &response.body) {
                TokenAnswerError::OAuth(code) => ErrorKind::TokenRefused(code),
                other => ErrorKind::TokenAnswer(other),
            }));
        }
        let answer =
            Object::parse(&response.body).map_err(|_| failed(ErrorKind::TokenAnswer(TokenAnswerError::NotJson)))?;
        let request_uri = answer.get("request_uri").and_then(Value::as_str);
        let request_uri = request_uri.filter(|uri| super::is_absolute_uri(uri));
        let request_uri = request_uri.ok_or_else(|| failed(ErrorKind::TokenAnswer(TokenAnswerError::WrongType)))?;
        Ok(Form::new().with("request_uri", request_uri))
    }

    /// Exchanges what the browser brought to `place`, and stores what the shipper consented to before the first token is used.
    pub(crate) async fn consented(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        client: [u8; 32],
        pending: PendingConsent,
        place: &str,
    ) -> Result<Landed, Error> {
        let grants = self.grants()?;
        if pending.client != client || pending.tenant != *connection.id.tenant() {
            return Err(refused(ConsentError::OtherClient));
        }
        let callback = Callback::read(place, &pending.redirect_uri).map_err(refused)?;
        callback.check_state(&pending.state).map_err(refused)?;
        if self.clock.now() >= pending.until {
            return Err(refused(ConsentError::Expired));
        }
        let deadline = self.clock.monotonic() + self.limits.token_exchange;
        // What the issuer gave is stored, however long the store takes.
        let end = deadline + self.settling();
        let landed = async {
            let mut prepared = self.prepared(connection, deadline).await?;
            callback
                .check_issuer(self.issuer_text(), self.names_itself(&prepared.found))
                .map_err(refused)?;
            let code = callback.code().map_err(refused)?;
            self.show_asked_key(&pending, &mut prepared, connection, deadline)
                .await?;
            self.check_key(&pending, &prepared)?;
            let form = Form::of_grant("authorization_code")
                .with("code", code)
                .with("redirect_uri", pending.redirect_uri.as_str())
                .with("code_verifier", pending.verifier.as_str());
            let auth = match self.quirks.code_without_authentication {
                true => &ClientAuth::None,
                false => &self.auth,
            };
            let asked = self.clock.monotonic();
            let response = self
                .token_response(&prepared, IssuerEndpoint::Token, (form, auth), connection, deadline)
                .await?;
            let successor = self.successor(&response);
            let granted = self.granted(response, &prepared, connection)?;
            let grant = self.grant(successor, &granted, &prepared)?;
            let consent = store(&grants, connection, grant, &*self.clock, end).await?;
            self.hold_if_replaced(connection, &prepared).await;
            let landed = self.landed((granted, consent), &prepared, connection, asked)?;
            if self.confirm {
                self.confirm(&landed.lease, &prepared, connection, deadline).await?;
            }
            Ok(landed)
        };
        self.in_time(end, Awaited::Token, landed).await
    }

    /// Takes the key that the code was asked for with, where another has taken its place meanwhile. The refresh token of a public
    /// client will be bound to that key, so it is taken for one only if it can be held as long as that.
    async fn show_asked_key(
        &self,
        pending: &PendingConsent,
        prepared: &mut Prepared<'_>,
        connection: &Connection,
        deadline: Monotonic,
    ) -> Result<(), Error> {
        let shown = Confirmation::jkt(prepared.binding.confirmations());
        let Some(asked) = pending.jkt.filter(|asked| shown != Some(*asked)) else {
            return Ok(());
        };
        if self.auth == ClientAuth::None {
            let held = async {
                let owner = Owner::from(connection.id.clone());
                let old = self.keys.with_thumbprint(&owner, Purpose::Proof, &asked).await;
                Ok(matches!(old, Ok(Some(old)) if self.held(&old).await))
            };
            if !self.in_time(deadline, Awaited::Key, held).await? {
                return Ok(());
            }
        }
        // Where that key has ended the check that follows says so.
        let _found = self.bind_to(prepared, &asked, connection, deadline).await?;
        Ok(())
    }

    /// Has this replaced key go on signing, since a refresh token is bound to it, or will be. Rotation sees to it from then on.
    /// `false` where it does not drain, or its store cannot do that.
    async fn held(&self, old: &KeyHandle) -> bool {
        let until = self.clock.now() + HELD_FOR;
        let held = self.keys.prolong(old.owner(), &old.id(), until).await;
        held.unwrap_or(false)
    }

    /// A code is bound to the proof key that it was asked for with (RFC 9449 10), and the refresh token of a public client to
    /// what its request shows.
    fn check_key(&self, pending: &PendingConsent, prepared: &Prepared<'_>) -> Result<(), Error> {
        let shown = prepared.binding.confirmations();
        let is_public = self.auth == ClientAuth::None;
        if Confirmation::jkt(shown) != pending.jkt || (is_public && Confirmation::x5t(shown) != pending.x5t) {
            return Err(Error::before(ErrorKind::Key(KeyError::Mismatch)).of(Role::AuthorizationServer));
        }
        Ok(())
    }

    /// A rotation that saw no consent may have replaced the key meanwhile: the old one is held, and that is told. One that looks
    /// after this sees the consent, and does so by itself.
    async fn hold_if_replaced(&self, connection: &Connection, prepared: &Prepared<'_>) {
        let (ClientAuth::None, Some(bound)) = (&self.auth, Confirmation::jkt(prepared.binding.confirmations())) else {
            return;
        };
        let owner = Owner::from(connection.id.clone());
        let Ok(Some(active)) = self.keys.active(&owner, Purpose::Proof).await else {
            return;
        };
        if active.jkt() == bound {
            return;
        }
        if let Ok(Some(old)) = self.keys.with_thumbprint(&owner, Purpose::Proof, &bound).await {
            // A store that cannot, or does not answer, lets it drain: rotation tries again, and the event is told all the same.
            let _held = self.held(&old).await;
            self.journal.record(&connection.id, || {
                EventKind::Key(KeyEvent {
                    key: old.id(),
                    purpose: Purpose::Proof,
                    jkt: bound,
                    change: KeyChange::HeldByGrant { age: Duration::ZERO },
                    act: None,
                })
            });
        }
    }

    /// What is to be stored of a consent.
    fn grant(&self, successor: Option<Successor>, granted: &Granted, prepared: &Prepared<'_>) -> Result<Grant, Error> {
        let missing = || {
            Error::new(ErrorKind::Consent(ConsentError::NoRefreshToken), Stage::Answered).of(Role::AuthorizationServer)
        };
        let mut successor = successor.ok_or_else(missing)?;
        let refresh_token = successor.refresh_token.take().ok_or_else(missing)?;
        let mut grant = Grant::new(refresh_token, self.clock.now());
        if let Some(scope) = &granted.scope {
            grant = grant.with_scope(scope);
        }
        if let Some(end) = self.ends(&successor) {
            grant = grant.with_expiry(end);
        }
        if self.auth == ClientAuth::None {
            // RFC 9449 5: the refresh token of a public client is bound to its key.
            grant = grant.with_confirmations(prepared.binding.confirmations().iter().copied());
        }
        Ok(grant)
    }

    /// Whether this issuer says in each answer who it is (RFC 9207 3).
    fn names_itself(&self, found: &Found<'_>) -> bool {
        match found {
            Found::Described(metadata) => metadata.capabilities.iss_parameter || self.fapi,
            Found::Fixed(_) => false,
        }
    }
}

/// Stores a consent, and again while the store does not answer, until `end`. Gives its revision.
async fn store(
    grants: &Grants,
    connection: &Connection,
    grant: Grant,
    clock: &dyn Clock,
    end: Monotonic,
) -> Result<u64, Error> {
    loop {
        match grants.put(&connection.id, grant.clone()).await {
            Ok(consent) => return Ok(consent.as_u64()),
            Err(GrantError::Unavailable) if clock.monotonic() + STORE_PAUSE < end => {
                clock.sleep_until(clock.monotonic() + STORE_PAUSE).await;
            }
            Err(error) => {
                return Err(Error::new(ErrorKind::Grant(error), Stage::Answered).of(Role::AuthorizationServer));
            }
        }
    }
}

/// 256 bits that nobody guesses: a `state`, or a `code_verifier` (RFC 7636 4.1).
fn random() -> Result<String, Error> {
    let mut octets = [0; 32];
    crypto::random(&mut octets).map_err(|_failed| Error::before(ErrorKind::Key(KeyError::Randomness)))?;
    Ok(base64url::encode(&octets))
}

fn refused(error: ConsentError) -> Error {
    Error::before(ErrorKind::Consent(error)).of(Role::AuthorizationServer)
}
