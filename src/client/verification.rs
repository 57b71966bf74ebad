//! Whether a tenant's credential works, in words that an onboarding page can show.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::carriers::TestCall;
use crate::clock::Timestamp;
use crate::credentials::CredentialError;
use crate::error::{Error, ErrorKind};
use crate::exchange::answer::Response;
use crate::exchange::fault::{CarrierFault, FaultKind};
use crate::grants::GrantError;
use crate::owner::{Environment, Tenant};
use crate::transport::Stage;

use super::Client;
use super::pipeline::Pipeline;

/// What [`Client::verify_credentials`] found out.
///
/// `Display` says it in a sentence for the shipper who has just entered a credential. It shows no secret and no text that a
/// server chose.
///
/// ```no_run
/// # async fn check(carrier: shipbound::Client, acme: shipbound::owner::Tenant) {
/// let verification = carrier.verify_credentials(&acme).await;
/// println!("{verification}"); // "FedEx accepts this credential."
/// if !verification.works() {
///     eprintln!("{}", verification.standing().as_str());
/// }
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Verification {
    carrier: String,
    environment: Environment,
    standing: Standing,
    fault: Option<CarrierFault>,
    error: Option<Error>,
}

/// How a credential stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// The carrier takes it, for a call that only a good credential is answered to.
    Works,
    /// The issuer gave a token for it. The profile knows no call to try that with, so what it may do is not known.
    TokenGiven,
    /// There is none for this connection, or it lacks a part that the carrier wants.
    Missing,
    /// The carrier does not know id, secret or key.
    Wrong,
    /// By its form it is for the carrier's other environment. It was not sent.
    OtherEnvironment(Environment),
    /// It is good, and may not do this: a product or permission is missing.
    NotEntitled,
    /// It is either wrong or may not do this: the carrier does not say which.
    Refused,
    /// The shipper has not consented, or not any more.
    NeedsConsent,
    /// The carrier blocks the account or our address; where it is known, until then.
    Blocked(Option<Timestamp>),
    /// The carrier, or this library's own limits, ask to wait; where it is known, until then.
    Busy(Option<Timestamp>),
    /// The carrier could not be reached, failed, or answered what cannot be read.
    Unreachable,
    /// Something on our own side: set-up, key store, credential store. Nothing is known of the credential.
    NotTried,
}

impl Standing {
    /// A short name, `not_entitled` for instance. It does not change between patch releases.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::TokenGiven => "token_given",
            Self::Missing => "missing",
            Self::Wrong => "wrong",
            Self::OtherEnvironment(_) => "other_environment",
            Self::NotEntitled => "not_entitled",
            Self::Refused => "refused",
            Self::NeedsConsent => "needs_consent",
            Self::Blocked(_) => "blocked",
            Self::Busy(_) => "busy",
            Self::Unreachable => "unreachable",
            Self::NotTried => "not_tried",
        }
    }
}

impl Verification {
    /// Whether the carrier takes the credential, as far as could be tried.
    pub fn works(&self) -> bool {
        matches!(self.standing, Standing::Works | Standing::TokenGiven)
    }

    /// How the credential stands.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// The carrier's refusal, where there is one.
    pub fn fault(&self) -> Option<&CarrierFault> {
        self.fault.as_ref()
    }

    /// The error by which it was found out, where there was one.
    pub fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, environment) = (&self.carrier, self.environment.as_str());
        match self.standing {
            Standing::Works => write!(f, "{name} accepts this credential."),
            Standing::TokenGiven => write!(f, "{name} gave a token for this credential."),
            Standing::Missing => write!(f, "Something is missing: enter all that {name} gave you."),
            Standing::Wrong => write!(
                f,
                "{name} does not know this credential. Check for typing errors, and that it is for {name}'s {environment} system."
            ),
            Standing::OtherEnvironment(other) => write!(
                f,
                "This is a {} key of {name}, and the connection is to its {environment} system. It was not sent.",
                other.as_str()
            ),
            Standing::NotEntitled => write!(
                f,
                "{name} knows this credential, but it lacks a product or permission. Add it in {name}'s portal."
            ),
            Standing::Refused => write!(
                f,
                "{name} refuses this credential: it is wrong, or it lacks a product or permission. {name} does not say which."
            ),
            Standing::NeedsConsent => write!(
                f,
                "The account is not connected to {name} yet, or not any more. Connect it again."
            ),
            Standing::Blocked(Some(until)) => {
                write!(
                    f,
                    "{name} blocks requests until {until}. Nothing is wrong with the credential as far as is known."
                )
            }
            Standing::Blocked(None) => write!(f, "{name} blocks this account. Ask {name}."),
            Standing::Busy(Some(until)) => write!(f, "{name} asks to wait. Try again after {until}."),
            Standing::Busy(None) => write!(f, "{name} asks to wait. Try again in a minute."),
            Standing::Unreachable => write!(
                f,
                "{name} cannot be reached, or does not work at the moment. Try again later."
            ),
            Standing::NotTried => write!(
                f,
                "The credential could not be tried, which is not your fault. Tell our support."
            ),
        }
    }
}

impl Client {
    /// Tries the tenant's credential as it is in the store now: asks for a token where there is none that was given for it, then
    /// makes the cheap call that the profile knows ([`CarrierProfile::how_to_test`](crate::carriers::CarrierProfile::how_to_test)).
    /// At most a few requests, out of the same budgets as calls.
    ///
    /// A credential that takes another's place ([`Credential::replacing`](crate::credentials::Credential::replacing)) is tried
    /// itself, not the one that it replaces.
    pub async fn verify_credentials(&self, tenant: &Tenant) -> Verification {
        self.0.verify(tenant).await
    }
}

/// Who refused.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Issuer,
    Api,
}

impl Pipeline {
    async fn verify(&self, tenant: &Tenant) -> Verification {
        let slot = self.parts.tokens.slot(&self.scope, tenant);
        // A token of another credential, and failures with it, tell nothing of this one. One that was refused before may be
        // good by now.
        if self.source.asks_with_credential() {
            match self.source.has_other_credential(&slot.connection).await {
                Ok(other) if slot.connection.try_again() || other => self.forget(tenant),
                Ok(_same) => {}
                Err(error) => return self.failed(error),
            }
        }
        let outcome = match self.profile.how_to_test() {
            Some(call) => self.test(tenant, call).await.map(Some),
            None => self.held(tenant).await.map(|_lease| None),
        };
        let mut verification = match outcome {
            Ok(None) => self.found(Standing::TokenGiven, None, None),
            Ok(Some(response)) => self.answered(&response),
            Err(error) => self.failed(error),
        };
        if slot.connection.goes_back(self.parts.clock.monotonic()) {
            // The carrier took the one that is to be replaced.
            verification.standing = Standing::Wrong;
        }
        verification
    }

    async fn test(&self, tenant: &Tenant, call: &TestCall) -> Result<Response, Error> {
        let today = self.parts.clock.now().to_string();
        let today = today.get(..10).unwrap_or_default();
        let filled = |text: &str| text.replace("{today}", today);
        let mut headers: HeaderMap = call.headers.iter().cloned().collect();
        let body = match &call.body {
            Some(body) => {
                headers
                    .entry(http::header::CONTENT_TYPE)
                    .or_insert(http::HeaderValue::from_static("application/json"));
                Bytes::from(filled(body))
            }
            None => Bytes::new(),
        };
        self.send_parts(tenant, call.method.clone(), &filled(&call.path), headers, body, true)
            .await
    }

    fn found(&self, standing: Standing, fault: Option<CarrierFault>, error: Option<Error>) -> Verification {
        let profile = &self.profile;
        Verification {
            carrier: profile.name().to_owned(),
            environment: profile.environment(),
            standing,
            fault,
            error,
        }
    }

    fn answered(&self, response: &Response) -> Verification {
        let proved = self.profile.how_to_test().map(|call| &call.proved_by);
        let status = response.status();
        if status.is_success() || proved.is_some_and(|proved| proved.contains(&status)) {
            return self.found(Standing::Works, None, None);
        }
        let fault = response.fault().cloned();
        self.found(self.refused(status, fault.as_ref(), By::Api), fault, None)
    }

    fn failed(&self, error: Error) -> Verification {
        let at = error.retry_at();
        let standing = match error.kind() {
            ErrorKind::Credential(CredentialError::OtherEnvironment) => {
                Standing::OtherEnvironment(match self.profile.environment() {
                    Environment::Sandbox => Environment::Production,
                    Environment::Production => Environment::Sandbox,
                })
            }
            ErrorKind::Credential(
                CredentialError::Missing
                | CredentialError::NoSecret
                | CredentialError::NoPart(_)
                | CredentialError::Syntax,
            ) => Standing::Missing,
            ErrorKind::Grant(GrantError::Missing | GrantError::NeedsConsent | GrantError::Uncertain) => {
                Standing::NeedsConsent
            }
            ErrorKind::Blocked => Standing::Blocked(at),
            ErrorKind::RateLimited | ErrorKind::OverBudget(_) => Standing::Busy(at),
            ErrorKind::TokenRefused(code) => match code.as_str() {
                "invalid_client" => Standing::Wrong,
                "unauthorized_client" | "invalid_scope" | "access_denied" => Standing::NotEntitled,
                _ => Standing::Refused,
            },
            ErrorKind::CoolingDown { code, .. } => match *code {
                "token_refused" => Standing::Refused,
                "credential" => Standing::Missing,
                _ => Standing::Busy(at),
            },
            ErrorKind::Unauthorized | ErrorKind::TokenAnswer(_) | ErrorKind::CompanionRefused => match error.fault() {
                Some(fault) => {
                    let by = if error.stage() == Stage::Answered {
                        By::Api
                    } else {
                        By::Issuer
                    };
                    self.refused(StatusCode::UNAUTHORIZED, Some(fault), by)
                }
                None if matches!(error.kind(), ErrorKind::Unauthorized) => Standing::Refused,
                None => Standing::Unreachable,
            },
            ErrorKind::NotDelivered(_)
            | ErrorKind::OutcomeUnknown(_)
            | ErrorKind::Deadline(_)
            | ErrorKind::AnswerIncomplete { .. }
            | ErrorKind::AnswerTooLarge { .. }
            | ErrorKind::Redirect
            | ErrorKind::Misdirected
            | ErrorKind::Metadata(_) => Standing::Unreachable,
            _ => Standing::NotTried,
        };
        let fault = error.fault().cloned();
        self.found(standing, fault, Some(error))
    }

    /// How a credential stands that was answered by a refusal.
    fn refused(&self, status: StatusCode, fault: Option<&CarrierFault>, by: By) -> Standing {
        let now = self.parts.clock.now();
        let until = fault.and_then(CarrierFault::retry_after).map(|wait| now + wait);
        let kinds = fault.map_or(&[][..], CarrierFault::may_mean);
        // The issuer has just given a token for the credential, so neither of these is what is wrong.
        let token_given = by == By::Api && self.source.gives_tokens();
        let ruled_out =
            |kind: &FaultKind| *kind == FaultKind::BadToken || (token_given && *kind == FaultKind::WrongCredentials);
        let left: Vec<FaultKind> = kinds.iter().copied().filter(|kind| !ruled_out(kind)).collect();
        match left.as_slice() {
            [FaultKind::Blocked, ..] => Standing::Blocked(until),
            [FaultKind::Throttled, ..] => Standing::Busy(until),
            [FaultKind::Unavailable, ..] => Standing::Unreachable,
            [FaultKind::WrongCredentials] => Standing::Wrong,
            [FaultKind::NotEntitled | FaultKind::Payment, rest @ ..]
                if !rest.contains(&FaultKind::WrongCredentials) =>
            {
                Standing::NotEntitled
            }
            _ if status.is_server_error() => Standing::Unreachable,
            // Without tokens it is the credential itself that 401 refuses (RFC 9110 15.5.2).
            [] if status == StatusCode::UNAUTHORIZED && !token_given => Standing::Wrong,
            _ => Standing::Refused,
        }
    }
}
