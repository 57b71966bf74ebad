//! Proofs and tokens, checked by the crate's own verifier.

use std::sync::Arc;

use http::{HeaderValue, StatusCode};

use super::builder::{Check, Nonces, SandboxError};
use super::canned::Canned;
use super::memory::{ServerLog, ServerNonces};
use super::record::Arrived;
use super::registry::Token;
use super::script::Endpoint;
use super::server::{Outcome, ServerClock, oauth_error};
use crate::jose::{PublicJwk, Thumbprint};
use crate::verify::htu::LoopbackHttp;
use crate::verify::{
    GrantFacts, NoncePolicy, ProofVerifier, Reason, Received, Rejection, Scheme, TokenFacts, Verified, danger,
};

/// What proofs may be signed with.
pub(super) const ALGORITHMS: [&str; 4] = ["ES256", "EdDSA", "Ed25519", "PS256"];

/// The thumbprint of a header's `jwk`, if it is a key.
pub(super) fn thumbprint_of(jwk: &serde_json::Value) -> Option<String> {
    let key = PublicJwk::from_json(jwk.to_string().as_bytes()).ok()?;
    Some(key.thumbprint().to_string())
}

/// A challenge of the scheme DPoP (RFC 9449 7.1) from a script.
pub(super) fn challenge(error: &str) -> String {
    format!("DPoP error=\"{error}\", algs=\"{}\"", ALGORITHMS.join(" "))
}

/// A refusal of the proof that nobody looked at.
pub(super) fn refused_proof(request: &Arrived, error: &str) -> Canned {
    let words = "the DPoP proof was not accepted";
    match request.endpoint {
        Endpoint::Api => {
            oauth_error(StatusCode::UNAUTHORIZED, error, words).header("www-authenticate", &challenge(error))
        }
        _ => oauth_error(StatusCode::BAD_REQUEST, error, words),
    }
}

/// Sets `DPoP-Nonce`, and that the answer is not to be kept (RFC 9449 8.2).
pub(super) fn supply(canned: Canned, nonce: Option<&HeaderValue>) -> Canned {
    let Some(nonce) = nonce else { return canned };
    let mut canned = canned.no_store();
    canned.headers.insert("dpop-nonce", nonce.clone());
    canned
}

/// What held.
pub(super) struct Passed {
    /// The key that was proved, if one was.
    pub(super) jkt: Option<Thumbprint>,
    pub(super) checks: Vec<&'static str>,
    /// The nonce that the answer is to carry.
    pub(super) nonce: Option<HeaderValue>,
}

/// What did not.
pub(super) struct Refusal {
    pub(super) reason: &'static str,
    pub(super) status: StatusCode,
    pub(super) error: Option<&'static str>,
    pub(super) challenges: Vec<HeaderValue>,
    /// Whether the caller spoke DPoP.
    pub(super) dpop: bool,
    pub(super) nonce: Option<HeaderValue>,
}

impl Refusal {
    fn from_verifier(rejection: &Rejection, dpop: bool) -> Self {
        Self {
            reason: rejection.reason().code(),
            status: rejection.status(),
            error: rejection.oauth_error(),
            challenges: rejection.www_authenticate().into_iter().collect(),
            dpop,
            nonce: rejection.nonce().cloned(),
        }
    }

    /// As a token endpoint says it (RFC 6749 5.2).
    pub(super) fn at_issuer(self) -> Outcome {
        let error = self.error.unwrap_or("temporarily_unavailable");
        let canned = oauth_error(self.status, error, "the DPoP proof was not accepted");
        Outcome::refused(supply(canned, self.nonce.as_ref()), self.reason)
    }
}

/// The checks of one server: on one or two origins, with one memory.
pub(super) struct Checker {
    verifiers: Vec<(String, ProofVerifier)>,
    log: Arc<ServerLog>,
    nonces: Arc<ServerNonces>,
    asks_nonces: bool,
    without: Vec<Check>,
}

impl Checker {
    pub(super) fn new(
        nonces: Nonces,
        without: &[Check],
        clock: &Arc<ServerClock>,
        origins: &[&str],
    ) -> Result<Self, SandboxError> {
        let log = Arc::new(ServerLog::new()?);
        let source = Arc::new(ServerNonces::new(nonces == Nonces::EveryCall)?);
        let policy = match nonces {
            Nonces::Off => NoncePolicy::Off,
            Nonces::Optional => NoncePolicy::Optional(source.clone()),
            Nonces::Required | Nonces::EveryCall => NoncePolicy::Required(source.clone()),
        };
        let mut verifiers = Vec::new();
        for origin in origins {
            let mut builder = ProofVerifier::builder(clock.clone(), log.clone()).nonces(policy.clone());
            if let Some(authority) = origin.strip_prefix("http://") {
                builder = builder.loopback(LoopbackHttp::exact(authority).map_err(|_| SandboxError::Checks)?);
            }
            for check in without.iter().filter_map(|check| left_out(*check)) {
                builder = danger::leave_out(builder, check);
            }
            verifiers.push(((*origin).to_owned(), builder.build().map_err(|_| SandboxError::Checks)?));
        }
        Ok(Self {
            verifiers,
            log,
            nonces: source,
            asks_nonces: nonces != Nonces::Off,
            without: without.to_vec(),
        })
    }

    fn verifier(&self, request: &Arrived) -> Option<&ProofVerifier> {
        self.verifiers
            .iter()
            .find_map(|(origin, verifier)| (**origin == *request.origin).then_some(verifier))
    }

    /// The proof of a token request; of this key, if there must be one.
    pub(super) async fn token_request(
        &self,
        request: &Arrived,
        client: &str,
        bound_to: Option<Thumbprint>,
    ) -> Result<Passed, Refusal> {
        let Some(verifier) = self.verifier(request) else {
            return Err(misplaced());
        };
        let uri = request.uri();
        let received = Received::new(&request.method, &uri, &request.headers);
        let facts = bound_to.map_or_else(GrantFacts::unbound, GrantFacts::bound_to);
        match verifier.verify_token_request(&received, &facts.client(client)).await {
            Ok(verified) => Ok(self.passed(&verified, request, false)),
            Err(rejection) => Err(Refusal::from_verifier(&rejection, true)),
        }
    }

    /// Token and proof of a call; `token` is the one that was presented, if it is good.
    pub(super) async fn resource(
        &self,
        request: &Arrived,
        token: Option<&Token>,
        require_dpop: bool,
    ) -> Result<Passed, Refusal> {
        let Some(verifier) = self.verifier(request) else {
            return Err(misplaced());
        };
        let without_certificate = token
            .filter(|_| self.without.contains(&Check::Certificate))
            .map(|token| Token {
                x5t: None,
                ..token.clone()
            });
        let token = without_certificate.as_ref().or(token);
        let presented = verifier
            .presented(&request.headers)
            .map_err(|rejection| Refusal::from_verifier(&rejection, request.headers.contains_key("dpop")))?;
        let dpop = presented.scheme == Scheme::Dpop;
        if let (Scheme::Bearer, false) = (presented.scheme, require_dpop) {
            match token {
                Some(token) if token.jkt.is_none() || self.without.contains(&Check::Cnf) => {
                    return self.bearer(request, token);
                }
                // A bound token as Bearer is the verifier's to refuse.
                Some(_) => {}
                None => return Err(bearer_refused(Reason::TokenInvalid.code())),
            }
        }
        let facts = match token {
            Some(token) => TokenFacts::active(token.confirmation()).client(&token.client),
            None => TokenFacts::inactive(),
        };
        let uri = request.uri();
        let mut received = Received::new(&request.method, &uri, &request.headers);
        if let Some(x5t) = request.peer.certificate {
            received = received.client_certificate(x5t);
        }
        match verifier.verify_resource(&received, &facts).await {
            Ok(verified) => {
                let mut passed = self.passed(&verified, request, true);
                if token.is_some_and(|token| token.x5t.is_some()) && !self.without.contains(&Check::Cnf) {
                    passed.checks.push("x5t");
                }
                Ok(passed)
            }
            Err(rejection) => Err(Refusal::from_verifier(&rejection, dpop)),
        }
    }

    /// A token that came as `Bearer`: one that is bound to a certificate comes on a connection which showed that one (RFC
    /// 8705 3).
    fn bearer(&self, request: &Arrived, token: &Token) -> Result<Passed, Refusal> {
        let asked = !self.without.contains(&Check::Cnf);
        let checks = match token.x5t {
            Some(x5t) if asked && request.peer.certificate != Some(x5t) => {
                return Err(bearer_refused(Reason::KeyBinding.code()));
            }
            Some(_) if asked => vec!["x5t"],
            _ => Vec::new(),
        };
        Ok(Passed {
            jkt: None,
            checks,
            nonce: None,
        })
    }

    /// A scripted nonce challenge; the nonce counts from now on.
    pub(super) fn challenge(&self, request: &Arrived, nonce: &str) -> Canned {
        self.admit(nonce);
        refused_proof(request, "use_dpop_nonce")
            .header("dpop-nonce", nonce)
            .no_store()
    }

    /// Lets a nonce count that a script gives out.
    pub(super) fn admit(&self, nonce: &str) {
        self.nonces.admit(nonce);
    }

    /// Forgets which proofs were used: the clock is being set, and a set-back clock would have all of them refused.
    pub(super) fn forget(&self) {
        self.log.forget();
    }

    fn passed(&self, verified: &Verified, request: &Arrived, resource: bool) -> Passed {
        let asked = |check: Check| !self.without.contains(&check);
        let nonce = self.asks_nonces && request.proof.as_ref().is_some_and(|proof| proof.nonce.is_some());
        let checks = [
            ("signature", asked(Check::Signature)),
            ("htm", true),
            ("htu", asked(Check::Htu)),
            ("iat", true),
            ("jti", asked(Check::Jti)),
            ("nonce", nonce),
            ("ath", resource && asked(Check::Ath)),
            ("cnf", resource && asked(Check::Cnf)),
        ];
        Passed {
            jkt: Some(verified.jkt()),
            checks: checks
                .into_iter()
                .filter_map(|(name, made)| made.then_some(name))
                .collect(),
            nonce: verified.nonce().cloned(),
        }
    }
}

/// The verifier's name of it. What a token says of a certificate is not shown to the verifier where that is left out.
fn left_out(check: Check) -> Option<danger::Check> {
    match check {
        Check::Jti => Some(danger::Check::Jti),
        Check::Htu => Some(danger::Check::Htu),
        Check::Ath => Some(danger::Check::Ath),
        Check::Cnf => Some(danger::Check::Confirmation),
        Check::Signature => Some(danger::Check::Signature),
        Check::Certificate => None,
    }
}

/// RFC 6750 3.1, for a token that is unknown, expired, revoked, or bound to another certificate.
fn bearer_refused(reason: &'static str) -> Refusal {
    Refusal {
        reason,
        status: StatusCode::UNAUTHORIZED,
        error: Some("invalid_token"),
        challenges: vec![HeaderValue::from_static("Bearer error=\"invalid_token\"")],
        dpop: false,
        nonce: None,
    }
}

/// A request at an origin that this server does not have.
fn misplaced() -> Refusal {
    Refusal {
        reason: "misdirected",
        status: StatusCode::MISDIRECTED_REQUEST,
        error: None,
        challenges: Vec::new(),
        dpop: false,
        nonce: None,
    }
}
