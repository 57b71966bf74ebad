//! The one error of a carrier call: how far the request came, whose fault it is, and what to do.

mod kind;
mod oauth;

use std::fmt;

use crate::binding::Role;
use crate::clock::Timestamp;
use crate::credentials::CredentialError;
use crate::exchange::answer::{Report, Response};
use crate::exchange::fault::{CarrierFault, FaultKind};
use crate::grants::GrantError;
use crate::transport::{Stage, TransportErrorKind};

pub use self::kind::{Awaited, Culprit, ErrorKind};
pub use self::oauth::OAuthCode;

/// Why a call, a token request or a set-up failed.
///
/// Three questions an on-call engineer asks have an answer each: [`Error::stage`] (may the label have been bought?),
/// [`Error::culprit`] (whom do I call?) and [`Error::advice`] (what do I do?). [`Error::code`] is for logs and metrics.
///
/// Neither `Display`, `Debug` nor `source()` shows a token, a proof, a secret, a path or a text that a server chose.
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    stage: Stage,
    role: Role,
    retry_at: Option<Timestamp>,
    answer: Option<Response>,
    fault: Option<Box<CarrierFault>>,
    report: Option<Report>,
}

impl Error {
    /// An error of this kind at this stage: for [`CarrierClient`](crate::CarrierClient)s of tests.
    pub fn new(kind: ErrorKind, stage: Stage) -> Self {
        Self(Box::new(Inner {
            kind,
            stage,
            role: Role::ResourceServer,
            retry_at: None,
            answer: None,
            fault: None,
            report: None,
        }))
    }

    /// An error before anything was sent.
    pub(crate) fn before(kind: ErrorKind) -> Self {
        Self::new(kind, Stage::NotSent)
    }

    /// Whether the connection has no credential that can be used, or no consent any more, which no waiting mends.
    pub(crate) fn is_for_good(&self) -> bool {
        match self.kind() {
            ErrorKind::Credential(cause) => *cause != CredentialError::Unavailable,
            ErrorKind::Grant(cause) => matches!(cause, GrantError::Missing | GrantError::NeedsConsent),
            _ => false,
        }
    }

    /// Whether the issuer refuses the client itself: its id or secret.
    pub(crate) fn refuses_client(&self) -> bool {
        let by_code = matches!(self.kind(), ErrorKind::TokenRefused(code) if code.as_str() == "invalid_client");
        let by_fault = self
            .fault()
            .is_some_and(|fault| fault.kind() == FaultKind::WrongCredentials);
        self.0.role == Role::AuthorizationServer && (by_code || by_fault)
    }

    /// Says which server the error is about.
    #[must_use]
    pub(crate) fn of(mut self, role: Role) -> Self {
        self.0.role = role;
        self
    }

    /// An error of a preparation (a token, say) of a request that was itself not sent. What the issuer answered is not the
    /// carrier's answer, and that a token request may have arrived leaves nothing to look up.
    #[must_use]
    pub(crate) fn not_sent(mut self) -> Self {
        self.0.stage = Stage::NotSent;
        self.0.answer = None;
        self.0.kind = match self.0.kind {
            ErrorKind::OutcomeUnknown(cause) => ErrorKind::NotDelivered(cause),
            ErrorKind::AnswerIncomplete { .. } => ErrorKind::NotDelivered(TransportErrorKind::ConnectionLost),
            kind => kind,
        };
        self
    }

    /// An error of the repeat of a request that may have been carried out when it was sent first.
    #[must_use]
    pub(crate) fn maybe_sent(mut self) -> Self {
        self.0.stage = Stage::MaybeSent;
        self.0.fault = self.0.fault.map(|fault| Box::new(fault.not_retryable()));
        self.0.kind = ErrorKind::OutcomeUnknown(match self.0.kind {
            ErrorKind::NotDelivered(cause) | ErrorKind::OutcomeUnknown(cause) => cause,
            _ => TransportErrorKind::ConnectionLost,
        });
        self
    }

    #[must_use]
    pub(crate) fn retry_at_opt(mut self, at: Option<Timestamp>) -> Self {
        self.0.retry_at = at;
        self
    }

    #[must_use]
    pub(crate) fn with_answer(mut self, answer: Response) -> Self {
        // What the issuer said of a failed renewal is why the call failed.
        if self.0.fault.is_none() {
            self.0.fault.clone_from(&answer.fault);
        }
        self.0.answer = Some(answer);
        self
    }

    /// With what this answer means, and without the answer.
    #[must_use]
    pub(crate) fn with_fault_of(mut self, answer: &Response) -> Self {
        self.0.fault.clone_from(&answer.fault);
        self
    }

    /// With what the answer meant that led to `cause`.
    #[must_use]
    pub(crate) fn with_fault_as(mut self, cause: &Self) -> Self {
        self.0.fault.clone_from(&cause.0.fault);
        self
    }

    #[must_use]
    pub(crate) fn with_report(mut self, report: Report) -> Self {
        self.0.report = Some(report);
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// How far the request of this call came. Errors of a token request made for the call are [`Stage::NotSent`]: the
    /// carrier has not seen the call.
    pub fn stage(&self) -> Stage {
        self.0.stage
    }

    /// From when on a repeat makes sense; until then calls of this connection are refused without being sent. `None` where
    /// time alone does not help, or the server did not say.
    pub fn retry_at(&self) -> Option<Timestamp> {
        self.0.retry_at
    }

    /// The carrier's answer, where the call failed because of what it says. With [`Stage::NotSent`] it is the 401 for which a
    /// new token was needed that could not be had.
    pub fn response(&self) -> Option<&Response> {
        self.0.answer.as_ref()
    }

    /// What the refusal of the carrier, or of its issuer, means, as far as the profile knows it. With [`Stage::NotSent`] it is
    /// the issuer's: why there is no token.
    pub fn fault(&self) -> Option<&CarrierFault> {
        self.0.fault.as_deref()
    }

    /// What the call took, where it came as far as asking for a token.
    pub fn report(&self) -> Option<&Report> {
        self.0.report.as_ref()
    }

    /// A short name for logs and metrics. It does not change between patch releases.
    pub fn code(&self) -> &'static str {
        self.kind().code()
    }

    /// Whose fault it is.
    pub fn culprit(&self) -> Culprit {
        match (self.kind().culprit(), self.0.role) {
            (Culprit::Carrier, Role::AuthorizationServer) => Culprit::Issuer,
            (culprit, _) => culprit,
        }
    }

    /// What to do, in a sentence.
    pub fn advice(&self) -> &'static str {
        self.kind().advice()
    }
}

impl Clone for Error {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match self.0.stage {
            Stage::NotSent => "not sent",
            Stage::MaybeSent => "maybe sent",
            Stage::Answered => "answered",
        };
        write!(f, "{} ({stage})", self.0.kind)?;
        match self.0.retry_at {
            Some(at) => write!(f, ", not before {at}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("stage", &self.0.stage)
            .field("retry_at", &self.0.retry_at)
            .field("status", &self.0.answer.as_ref().map(Response::status))
            .field("fault", &self.0.fault)
            .finish_non_exhaustive()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.0.kind)
    }
}
