//! What went wrong, each kind with its code, its culprit and what to do.

use std::fmt;

use http::{HeaderName, StatusCode};
use thiserror::Error as ThisError;

use crate::binding::BindError;
use crate::credentials::CredentialError;
use crate::directory::NotAdmitted;
use crate::grants::GrantError;
use crate::keys::KeyError;
use crate::owner::InvalidId;
use crate::target::TargetError;
use crate::throttle::Cause;
use crate::token::answer::TokenAnswerError;
use crate::token::assertion::AssertionError;
use crate::token::consent::ConsentError;
use crate::token::introspection::IntrospectionError;
use crate::token::metadata::MetadataError;
use crate::transport::TransportErrorKind;
#[cfg(feature = "mtls")]
use crate::transport::identity::IdentityError;

use super::OAuthCode;

/// What went wrong. Each kind says what the user should do about it.
#[derive(Clone, Debug, ThisError)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The address was refused before anything was sent. User action: correct the URL or path that was given.
    #[error("the address of the request is not one that can be used")]
    Target(#[source] TargetError),
    /// A tenant, account, carrier or deployment id has characters that are not allowed. User action: encode the
    /// application's id.
    #[error("not an id")]
    Id(#[source] InvalidId),
    /// The address lies outside the origins of the carrier's profile, so no credential may go there. User action: correct
    /// the URL, or add the origin to the profile if it is the carrier's.
    #[error("the address lies outside the carrier's origins")]
    ForeignOrigin,
    /// The caller set a header that only the library or the HTTP stack may set. User action: drop it.
    #[error("the header {0} must not be set by the caller")]
    HeaderRefused(HeaderName),
    /// The path belongs to a part of the API that gives credentials out or changes them. Nothing was sent. User action: if
    /// that is meant, say so with [`allow_credential_route`](crate::client::RequestBuilder::allow_credential_route).
    #[error("the path belongs to the carrier's credential routes")]
    CredentialRoute,
    /// The path says something of a person and would stand in a proof, which the connection's
    /// [`PiiPolicy`](crate::client::PiiPolicy) refuses. User action: use a route that has it in the query or body, or allow it.
    #[error("a personal path would stand in a proof")]
    PersonalPath,
    /// What the token is tied to is less than this class of routes demands
    /// ([`minimum_binding`](crate::client::ClientBuilder::minimum_binding)). Nothing was sent. User action: as with an unbound token.
    #[error("the token is not bound as this route demands")]
    BelowMinimum,
    /// The directory of connections does not let this connection's calls through. Nothing was sent. User action: see the cause.
    #[error("the connection's calls are not let through")]
    Connection(#[source] NotAdmitted),
    /// The method is `CONNECT` or `TRACE`, which are not for requests with credentials. User action: use another method.
    #[error("the method must not be CONNECT or TRACE")]
    MethodRefused,
    /// The request's body is over the limit. User action: send less, or raise `Limits::request_body`.
    #[error("the body of the request is over the limit")]
    RequestTooLarge,
    /// The body could not be written as JSON. User action: correct the value that was given.
    #[error("the body of the request cannot be written as JSON")]
    NotSerializable,
    /// The client was built with values that do not fit together. User action: see the text.
    #[error("the client cannot be built: {0}")]
    Build(&'static str),
    /// The credential store has none for this connection, or failed. User action: see the cause.
    #[error("no credential for this connection")]
    Credential(#[source] CredentialError),
    /// The key of this connection cannot be had or cannot sign. User action: see the cause.
    #[error("the key of this connection cannot be used")]
    Key(#[source] KeyError),
    /// The client certificate of this connection cannot be had or used. User action: see the cause.
    #[cfg(feature = "mtls")]
    #[error("the client certificate of this connection cannot be used")]
    Identity(#[source] IdentityError),
    /// No assertion can be made for this client. User action: see the cause.
    #[error("the client's assertion cannot be made")]
    Assertion(#[source] AssertionError),
    /// The shipper's consent cannot be used. User action: see the cause.
    #[error("the shipper's consent cannot be used")]
    Grant(#[source] GrantError),
    /// A shipper's consent could not be asked for or was not given. User action: see the cause.
    #[error("no consent")]
    Consent(#[source] ConsentError),
    /// The issuer lists none of the algorithms that are allowed. User action: allow one of the issuer's algorithms.
    #[error("the issuer accepts none of the proof algorithms that are allowed here")]
    NoCommonAlgorithm,
    /// The issuer's metadata cannot be used (RFC 8414). User action: see the cause; check the issuer's URL.
    #[error("the issuer's metadata cannot be used")]
    Metadata(#[source] MetadataError),
    /// The issuer's answer holds no token that can be used. User action: see the cause.
    #[error("the issuer's answer cannot be used")]
    TokenAnswer(#[source] TokenAnswerError),
    /// The issuer gave a token that is not bound, though a binding is required (RFC 9449 5). It was not stored and not
    /// used. User action: switch the client's registration at the issuer to DPoP, or choose `Mode::Off` knowingly.
    #[error("the issuer gave an unbound token where a binding is required")]
    UnboundToken,
    /// The carrier gave no second token
    /// ([`Companion`](crate::token::companion::Companion)) to who has the first. User action: see [`Error::fault`](crate::Error::fault);
    /// check the credential's part that it is asked for with.
    #[error("the carrier gave no second token")]
    CompanionRefused,
    /// The issuer's answer about a token does not let the token be used (RFC 7662). User action: see the cause.
    #[error("the issuer's answer about the token")]
    Introspection(#[source] IntrospectionError),
    /// The issuer refused a request with an OAuth error (RFC 6749 5.2). User action: `invalid_client` and
    /// `unauthorized_client` mean wrong or expired credentials; `invalid_scope` and `invalid_target` a wrong set-up.
    #[error("the issuer refused the request: {0}")]
    TokenRefused(OAuthCode),
    /// The carrier refused the token for good: it was renewed if that was allowed, or the refusal is not about the token.
    /// User action: check that the credential is entitled to this API.
    #[error("the carrier refused the token")]
    Unauthorized,
    /// The server asked for another nonce right after it had got the one it gave. User action: tell its operator; the call
    /// may be repeated later.
    #[error("the server does not accept the nonce that it gave")]
    NonceLoop,
    /// The server asked for a nonce and gave none that RFC 9449 8.1 allows. User action: tell its operator.
    #[error("the server asked for a nonce but gave none that can be used")]
    NonceUnusable,
    /// The server refused the proof, and its clock agrees with ours. User action: check that the URL which the server sees
    /// equals the one that was called (a gateway may rewrite it), and that it accepts the key's algorithm.
    #[error("the server refused the proof")]
    ProofRefused,
    /// The server refused the proof, and its clock is too far from ours to be followed. User action: set the clock of this
    /// machine, or tell the server's operator.
    #[error("the server's clock differs by {offset_seconds} s, which is too much to follow")]
    ClockOffsetRefused {
        /// The server's clock less ours, in seconds.
        offset_seconds: i64,
    },
    /// The server redirects. Requests with credentials are never redirected. User action: call the new address, if it is
    /// the carrier's.
    #[error("the server redirects, which is not followed")]
    Redirect,
    /// The server asks for a pause (429, 503), or asked for one and it is not over. User action: repeat at
    /// [`Error::retry_at`](crate::Error::retry_at); until then calls of this connection are refused without being sent.
    #[error("the server asks for a pause")]
    RateLimited,
    /// The carrier blocks this account, or the address that requests come from, and nothing is sent until that is over: every
    /// request would prolong it. User action: repeat at [`Error::retry_at`](crate::Error::retry_at); find out who asked too
    /// often.
    #[error("the carrier blocks requests for a while")]
    Blocked,
    /// The carrier limits how often it may be asked, and the request's turn would come too late. Nothing was sent. User action:
    /// repeat at [`Error::retry_at`](crate::Error::retry_at), or wait longer ([`Limits::turn`](crate::exchange::budget::Limits::turn)).
    #[error("{0}")]
    OverBudget(Cause),
    /// The server says twice that it does not answer for this address (421). User action: tell its operator.
    #[error("the server does not answer for this address")]
    Misdirected,
    /// The last attempts for a token failed, and the next is not yet due. User action: mend what the given code names;
    /// calls go on by themselves at [`Error::retry_at`](crate::Error::retry_at).
    #[error("no token: the last attempt failed with {code}, and the next is not yet due")]
    CoolingDown {
        /// The code of the failure.
        code: &'static str,
        /// Whose fault that failure is.
        culprit: Culprit,
    },
    /// Something did not come in time. User action: repeat if [`Error::stage`](crate::Error::stage) allows it, or raise the limit.
    #[error("{0} did not come in time")]
    Deadline(Awaited),
    /// The request may have been processed: the connection ended before an answer came. User action: ask the carrier (a
    /// look-up by your own reference) before sending a label purchase again.
    #[error("it is not known whether the request was processed")]
    OutcomeUnknown(#[source] TransportErrorKind),
    /// The request did not reach the carrier; or the one for its token did not reach the issuer, or was not answered to the
    /// end. User action: see the cause; it is safe to repeat.
    #[error("the request did not reach the server")]
    NotDelivered(#[source] TransportErrorKind),
    /// The server answered, but its body broke off. User action: as the status tells; look the shipment up before repeating.
    #[error("the server answered {status}, but the body broke off")]
    AnswerIncomplete {
        /// The status that was answered.
        status: StatusCode,
    },
    /// The server answered, but its body is over the limit. User action: as the status tells; look the shipment up before
    /// repeating. Ask for less, or raise the limit.
    #[error("the server answered {status}, with a body over the limit")]
    AnswerTooLarge {
        /// The status that was answered.
        status: StatusCode,
    },
    /// The caller gave the call up: its future was dropped. Seen in the journal alone. User action: as the stage tells.
    #[error("the caller gave the call up")]
    Cancelled,
    /// A store, sink, transport or strategy that was handed in panicked. User action: mend it; its message is where the
    /// process writes panics.
    #[error("something that was handed in panicked")]
    Panicked,
    /// The answer's body is not the JSON that was asked for. User action: look at the body.
    #[error("the answer is not the JSON that was expected")]
    NotJson,
}

/// What was waited for when a deadline came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Awaited {
    /// The server's answer to one request.
    Answer,
    /// A token: key, credential, metadata and the issuer's answer together.
    Token,
    /// A key from the key store.
    Key,
    /// A credential from the credential store.
    Credential,
    /// A proof: the key's signature, or the turn to use a nonce.
    Proof,
    /// The whole call.
    Call,
}

impl fmt::Display for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Answer => "the server's answer",
            Self::Token => "a token",
            Self::Key => "a key from the key store",
            Self::Credential => "a credential from the credential store",
            Self::Proof => "a proof",
            Self::Call => "the end of the call",
        })
    }
}

/// Whose fault it is: whom to call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Culprit {
    /// The code that made the call.
    Application,
    /// The set-up of this connection: credentials, registration, profile.
    Configuration,
    /// The key store.
    KeyStore,
    /// The store of credentials, grants or connections, or the source of client certificates.
    CredentialStore,
    /// The issuer of tokens.
    Issuer,
    /// The carrier's API.
    Carrier,
    /// What lies between.
    Network,
}

impl Culprit {
    /// A short name for logs and metrics, `key_store` for instance. It does not change between patch releases.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Application => "application",
            Self::Configuration => "configuration",
            Self::KeyStore => "key_store",
            Self::CredentialStore => "credential_store",
            Self::Issuer => "issuer",
            Self::Carrier => "carrier",
            Self::Network => "network",
        }
    }
}

impl ErrorKind {
    /// See [`Error::code`](crate::Error::code).
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Target(_) => "invalid_target_url",
            Self::Id(_) => "invalid_id",
            Self::ForeignOrigin => "foreign_origin",
            Self::HeaderRefused(_) => "header_refused",
            Self::CredentialRoute => "credential_route",
            Self::PersonalPath => "personal_path",
            Self::BelowMinimum => "below_minimum",
            Self::Connection(cause) => cause.code(),
            Self::MethodRefused => "method_refused",
            Self::RequestTooLarge => "request_too_large",
            Self::NotSerializable => "not_serializable",
            Self::Build(_) => "invalid_configuration",
            Self::Credential(_) => "credential",
            Self::Key(_) => "key",
            #[cfg(feature = "mtls")]
            Self::Identity(_) => "client_certificate",
            Self::Assertion(_) => "assertion",
            Self::Grant(GrantError::Missing | GrantError::NeedsConsent) => "needs_consent",
            Self::Grant(GrantError::Uncertain) => "grant_uncertain",
            Self::Grant(_) => "grant",
            Self::Consent(_) => "consent",
            Self::NoCommonAlgorithm => "no_common_alg",
            Self::Metadata(_) => "metadata",
            Self::TokenAnswer(_) => "token_answer",
            Self::CompanionRefused => "companion_refused",
            Self::Introspection(_) => "introspection",
            Self::UnboundToken => "unbound_token",
            Self::TokenRefused(_) => "token_refused",
            Self::Unauthorized => "unauthorized",
            Self::NonceLoop => "nonce_loop",
            Self::NonceUnusable => "nonce_unusable",
            Self::ProofRefused => "invalid_dpop_proof",
            Self::ClockOffsetRefused { .. } => "clock_offset_refused",
            Self::Redirect => "redirect",
            Self::RateLimited => "rate_limited",
            Self::Blocked => "blocked",
            Self::OverBudget(_) => "over_budget",
            Self::Misdirected => "misdirected",
            Self::CoolingDown { .. } => "cooling_down",
            Self::Deadline(_) => "deadline",
            Self::OutcomeUnknown(_) => "outcome_unknown",
            Self::NotDelivered(_) => "not_delivered",
            Self::AnswerIncomplete { .. } => "answer_incomplete",
            Self::AnswerTooLarge { .. } => "answer_too_large",
            Self::Cancelled => "cancelled",
            Self::Panicked => "panicked",
            Self::NotJson => "not_json",
        }
    }

    /// See [`Error::culprit`](crate::Error::culprit).
    pub(super) fn culprit(&self) -> Culprit {
        match self {
            Self::Target(_)
            | Self::Id(_)
            | Self::ForeignOrigin
            | Self::HeaderRefused(_)
            | Self::CredentialRoute
            | Self::PersonalPath
            | Self::OverBudget(_)
            | Self::MethodRefused
            | Self::RequestTooLarge
            | Self::NotSerializable
            | Self::Cancelled
            | Self::Panicked
            | Self::NotJson => Culprit::Application,
            Self::Build(_)
            | Self::NoCommonAlgorithm
            | Self::TokenRefused(_)
            | Self::UnboundToken
            | Self::BelowMinimum
            | Self::CompanionRefused
            | Self::Unauthorized => Culprit::Configuration,
            Self::Connection(NotAdmitted::Unreadable | NotAdmitted::Unavailable) => Culprit::CredentialStore,
            Self::Connection(_) => Culprit::Configuration,
            Self::CoolingDown { culprit, .. } => *culprit,
            Self::Credential(error) if error.is_missing() => Culprit::Configuration,
            Self::Credential(_) => Culprit::CredentialStore,
            #[cfg(feature = "mtls")]
            Self::Identity(IdentityError::Unavailable) => Culprit::CredentialStore,
            #[cfg(feature = "mtls")]
            Self::Identity(_) => Culprit::Configuration,
            Self::OutcomeUnknown(TransportErrorKind::CertificateRefused)
            | Self::NotDelivered(TransportErrorKind::CertificateRefused) => Culprit::Configuration,
            Self::Assertion(_) => Culprit::Configuration,
            Self::Grant(GrantError::Missing | GrantError::NeedsConsent) => Culprit::Configuration,
            Self::Grant(_) => Culprit::CredentialStore,
            Self::Consent(ConsentError::Issuer | ConsentError::NoRefreshToken) => Culprit::Issuer,
            Self::Consent(_) => Culprit::Application,
            Self::Key(_) => Culprit::KeyStore,
            Self::TokenAnswer(TokenAnswerError::ScopeNotGranted) => Culprit::Configuration,
            Self::Metadata(_) | Self::TokenAnswer(_) | Self::Introspection(_) => Culprit::Issuer,
            Self::NonceLoop
            | Self::NonceUnusable
            | Self::ProofRefused
            | Self::ClockOffsetRefused { .. }
            | Self::Redirect
            | Self::RateLimited
            | Self::Blocked
            | Self::Misdirected
            | Self::AnswerTooLarge { .. } => Culprit::Carrier,
            Self::Deadline(Awaited::Key | Awaited::Proof) => Culprit::KeyStore,
            Self::Deadline(Awaited::Credential) => Culprit::CredentialStore,
            Self::Deadline(_) | Self::OutcomeUnknown(_) | Self::NotDelivered(_) | Self::AnswerIncomplete { .. } => {
                Culprit::Network
            }
        }
    }

    /// See [`Error::advice`](crate::Error::advice).
    pub(super) fn advice(&self) -> &'static str {
        match self {
            Self::Target(_) => "correct the URL or path that was given",
            Self::Id(_) => "encode the application's id with A-Z a-z 0-9 . _ -",
            Self::ForeignOrigin => "correct the URL, or add the origin to the profile if it is the carrier's",
            Self::HeaderRefused(_) => "drop the header: the library or the HTTP stack sets it",
            Self::CredentialRoute => "say that it is meant, with allow_credential_route",
            Self::PersonalPath => "use a route with that in the query or body, or allow personal paths",
            Self::BelowMinimum => "bind the connection's tokens, or demand less of these routes",
            Self::Connection(NotAdmitted::Unknown) => "add the connection to the registry",
            Self::Connection(NotAdmitted::Suspended) => "find out why the connection is suspended, then resume it",
            Self::Connection(NotAdmitted::Removing) => {
                "wait until the connection is removed, and add it anew if it is meant"
            }
            Self::Connection(NotAdmitted::Incarnation) => {
                "call for the tenant's present incarnation, if that is who is meant"
            }
            Self::Connection(NotAdmitted::Unreadable) => {
                "mend the connection's row, or call with the version that wrote it"
            }
            Self::Connection(NotAdmitted::Unavailable) => "mend the registry's store",
            Self::MethodRefused => "use another method",
            Self::RequestTooLarge => "send less, or raise Limits::request_body",
            Self::NotSerializable => "correct the value that was to be sent as JSON",
            Self::Build(_) => "correct the client's configuration as the text says",
            Self::Credential(_) => "put the connection's credential into the credential store, or mend the store",
            Self::Key(_) => "mend the key store, or rotate the connection's key",
            #[cfg(feature = "mtls")]
            Self::Identity(IdentityError::Unavailable) => {
                "mend the file or the service that client certificates come from"
            }
            #[cfg(feature = "mtls")]
            Self::Identity(_) => "renew or correct the client certificate as the cause says",
            Self::Assertion(_) => "correct the client's assertion key or profile as the cause says",
            Self::Grant(GrantError::Missing | GrantError::NeedsConsent | GrantError::Uncertain) => {
                "ask the shipper for consent again"
            }
            Self::Grant(_) => "mend the grant store, or repeat",
            Self::Consent(_) => "begin the consent anew; tell the shipper if it was refused",
            Self::NoCommonAlgorithm => "allow one of the issuer's algorithms",
            Self::CompanionRefused => "check the credential's part that the second token is asked for with",
            Self::Introspection(_) => "ask for a new token, or look at the issuer",
            Self::Metadata(_) => "check the issuer's URL and its metadata",
            Self::TokenAnswer(TokenAnswerError::ScopeNotGranted) => "ask for fewer scopes, or have them granted",
            Self::TokenAnswer(TokenAnswerError::Unexplained(status)) if status.is_server_error() => {
                "repeat later; tell the issuer's operator if it stays"
            }
            Self::TokenAnswer(_) => "tell the issuer's operator; the answer breaks RFC 6749",
            Self::UnboundToken => "have the client registered for DPoP at the issuer, or choose Mode::Off knowingly",
            Self::TokenRefused(_) => "check the credential, scopes and resources of this connection",
            Self::Unauthorized => "check that the credential is entitled to this API",
            Self::NonceLoop | Self::NonceUnusable => "tell the server's operator; repeat later",
            Self::ProofRefused => "check that no gateway rewrites the URL, and that the server accepts the algorithm",
            Self::ClockOffsetRefused { .. } => "set this machine's clock, or tell the server's operator",
            Self::Redirect => "call the new address, if it is the carrier's",
            Self::RateLimited => "repeat when the pause is over",
            Self::Blocked => "wait until the block is over; find out who asked too often",
            Self::OverBudget(_) => "repeat later, or let requests wait longer for their turn",
            Self::Misdirected => "tell the server's operator",
            Self::CoolingDown { .. } => "mend what the code names; calls go on by themselves",
            Self::Deadline(_) => "repeat if the stage allows it, or raise the limit",
            Self::OutcomeUnknown(TransportErrorKind::CertificateRefused) => {
                "ask the carrier which client certificates it accepts, and renew this one if it has expired; look the \
                 shipment up before sending it again"
            }
            Self::OutcomeUnknown(_) => "look the shipment up before sending it again",
            Self::NotDelivered(TransportErrorKind::Tls) => {
                "check the server's certificate, and the roots and TLS versions that the transport trusts"
            }
            Self::NotDelivered(TransportErrorKind::CertificateRefused) => {
                "ask the carrier which client certificates it accepts, and renew this one if it has expired"
            }
            Self::NotDelivered(TransportErrorKind::AddressRefused) => {
                "check what the host's name resolves to; allow a private host by name if it is meant"
            }
            Self::NotDelivered(_) => "repeat: the carrier has not seen the request",
            Self::AnswerIncomplete { .. } => "look the shipment up before sending it again",
            Self::AnswerTooLarge { .. } => "look the shipment up before sending it again; raise the limit",
            Self::Cancelled => "look the shipment up before sending it again if the stage is not not_sent",
            Self::Panicked => "mend the store, sink, transport or strategy that panicked",
            Self::NotJson => "look at the answer's body",
        }
    }
}

impl From<BindError> for ErrorKind {
    fn from(error: BindError) -> Self {
        match error {
            BindError::Key(error) => Self::Key(error),
            #[cfg(feature = "mtls")]
            BindError::Identity(error) => Self::Identity(error),
            BindError::NoCommonAlgorithm => Self::NoCommonAlgorithm,
        }
    }
}

impl From<CredentialError> for ErrorKind {
    fn from(error: CredentialError) -> Self {
        Self::Credential(error)
    }
}

impl From<AssertionError> for ErrorKind {
    fn from(error: AssertionError) -> Self {
        Self::Assertion(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_certificate_is_the_set_ups_fault_at_each_stage() {
        let refused = TransportErrorKind::CertificateRefused;
        for kind in [ErrorKind::NotDelivered(refused), ErrorKind::OutcomeUnknown(refused)] {
            assert_eq!(kind.culprit(), Culprit::Configuration);
            assert!(kind.advice().contains("client certificate"), "{}", kind.advice());
        }
        assert!(
            ErrorKind::OutcomeUnknown(refused)
                .advice()
                .contains("look the shipment up")
        );
    }

    #[cfg(feature = "mtls")]
    #[test]
    fn a_source_that_is_not_there_is_no_fault_of_the_set_up() {
        let culprit = |error| ErrorKind::Identity(error).culprit();
        assert_eq!(culprit(IdentityError::Unavailable), Culprit::CredentialStore);
        assert_eq!(culprit(IdentityError::Missing), Culprit::Configuration);
    }
}
