//! The order of the checks.
//!
//! Form and header come first, then the signature, so that every later refusal is about a proof that its key's holder did
//! make; the nonce and the replay log come last, so that nobody can use up a nonce or an id that is not theirs.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::header::HeaderMap;

use super::claims::Claims;
use super::htu::{self, HtuMatch, LoopbackHttp};
use super::nonce::{NonceCheck, NonceContext, NoncePolicy, NonceSource};
use super::policy::{InvalidSetup, Policy};
use super::proof::Proof;
use super::rejection::{self, Reason, Rejection};
use super::replay::{ReplayEntry, ReplayLog, ReplayRefusal};
use super::request::{self, GrantFacts, Presented, Received, Role, Scheme, TokenConfirmation, TokenFacts};
use crate::clock::{Clock, Timestamp};
use crate::jose::{Algorithm, Thumbprint, ath};

/// Checks left out; all are made unless `danger` says otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LeftOut {
    pub(super) jti: bool,
    pub(super) htu: bool,
    pub(super) ath: bool,
    pub(super) confirmation: bool,
    pub(super) signature: bool,
}

/// Checks proofs. One per service; cheap to share in an `Arc`.
#[derive(Debug)]
pub struct ProofVerifier {
    clock: Arc<dyn Clock>,
    log: Arc<dyn ReplayLog>,
    policy: Policy,
    nonces: NoncePolicy,
    loopback: Option<LoopbackHttp>,
    algorithms: Arc<str>,
    left_out: LeftOut,
}

/// Sets up a [`ProofVerifier`].
#[derive(Clone, Debug)]
pub struct ProofVerifierBuilder {
    clock: Arc<dyn Clock>,
    log: Arc<dyn ReplayLog>,
    policy: Policy,
    nonces: NoncePolicy,
    loopback: Option<LoopbackHttp>,
    left_out: LeftOut,
}

impl ProofVerifierBuilder {
    /// How old a proof may be, 60 s by default, 1 s to 10 min. The end counts.
    #[must_use]
    pub fn max_age(mut self, span: Duration) -> Self {
        self.policy.max_age = span;
        self
    }

    /// How far ahead a client's clock may be, 10 s by default, 10 s to 60 s. The end counts.
    #[must_use]
    pub fn max_future(mut self, span: Duration) -> Self {
        self.policy.max_future = span;
        self
    }

    /// Which algorithms are taken: by default all that this build verifies, which is ES256, and with the feature
    /// `aws-lc-rs` also Ed25519 and PS256.
    #[must_use]
    pub fn algorithms(mut self, allowed: impl IntoIterator<Item = Algorithm>) -> Self {
        self.policy.algorithms = allowed.into_iter().collect();
        self
    }

    /// How long a proof may be, 8192 octets by default, 1 to 64 KiB.
    #[must_use]
    pub fn max_proof_bytes(mut self, octets: usize) -> Self {
        self.policy.max_proof_bytes = octets;
        self
    }

    /// How long a `jti` may be, 256 octets by default, 16 to 1024.
    #[must_use]
    pub fn max_jti_bytes(mut self, octets: usize) -> Self {
        self.policy.max_jti_bytes = octets;
        self
    }

    /// Whether nonces are asked for; off by default.
    #[must_use]
    pub fn nonces(mut self, policy: NoncePolicy) -> Self {
        self.nonces = policy;
        self
    }

    /// Takes `http` URIs of this one loopback authority as well as `https`. None by default.
    #[must_use]
    pub fn loopback(mut self, authority: LoopbackHttp) -> Self {
        self.loopback = Some(authority);
        self
    }

    #[cfg(feature = "sandbox")]
    pub(super) fn left_out_mut(&mut self) -> &mut LeftOut {
        &mut self.left_out
    }

    /// The verifier.
    ///
    /// # Errors
    /// [`InvalidSetup`] names the limit that was left.
    pub fn build(self) -> Result<ProofVerifier, InvalidSetup> {
        self.policy.check()?;
        Ok(ProofVerifier {
            algorithms: self.policy.algorithm_names().into(),
            clock: self.clock,
            log: self.log,
            policy: self.policy,
            nonces: self.nonces,
            loopback: self.loopback,
            left_out: self.left_out,
        })
    }
}

impl ProofVerifier {
    /// A verifier with the default policy, to be changed or built.
    pub fn builder(clock: Arc<dyn Clock>, log: Arc<dyn ReplayLog>) -> ProofVerifierBuilder {
        ProofVerifierBuilder {
            clock,
            log,
            policy: Policy::default(),
            nonces: NoncePolicy::default(),
            loopback: None,
            left_out: LeftOut::default(),
        }
    }

    /// The access token of a request, to be validated before [`verify_resource`](Self::verify_resource).
    ///
    /// # Errors
    /// A [`Rejection`] when there is not exactly one `Authorization` field with the scheme `DPoP` or `Bearer` and a token.
    pub fn presented<'a>(&self, headers: &'a HeaderMap) -> Result<Presented<'a>, Rejection> {
        request::presented(headers).map_err(|reason| self.reject(Role::Resource, reason, None))
    }

    /// Checks a request at a resource: the token came as `DPoP`, the proof is made for this request and this token, by the
    /// key that the token is bound to, and for the first time.
    ///
    /// A certificate-bound token without a proof comes as `Bearer` and is refused here:
    /// [`verify_certificate`](super::verify_certificate) takes it.
    ///
    /// # Errors
    /// A [`Rejection`]: log its reason, answer with what it says.
    pub async fn verify_resource(&self, request: &Received<'_>, token: &TokenFacts<'_>) -> Result<Verified, Rejection> {
        let refuse = |reason| self.reject(Role::Resource, reason, None);
        let presented = request::presented(request.headers).map_err(refuse)?;
        if presented.scheme == Scheme::Bearer {
            return Err(refuse(Reason::Downgrade));
        }
        if !token.active {
            return Err(refuse(Reason::TokenInvalid));
        }
        let jkt = self.expected_key(request, token).map_err(refuse)?;
        let expected = Expected {
            role: Role::Resource,
            jkt,
            token: Some(presented.token),
            client: token.client,
        };
        self.verify(request, &expected).await
    }

    /// Checks a request at a token endpoint or one for pushed requests: the proof is made for this request, by the key
    /// that the grant is bound to if it is bound, and for the first time. Bind the token to
    /// [`Verified::jkt`].
    ///
    /// Authenticate the client first: proofs that pass take room in the replay log.
    ///
    /// # Errors
    /// A [`Rejection`], also when there is no proof: whether one is needed is for the caller to ask before.
    pub async fn verify_token_request(
        &self,
        request: &Received<'_>,
        grant: &GrantFacts<'_>,
    ) -> Result<Verified, Rejection> {
        let expected = Expected {
            role: Role::Token,
            jkt: grant.bound_to,
            token: None,
            client: grant.client,
        };
        self.verify(request, &expected).await
    }

    /// The key that must have made the proof; `None` when the check is left out.
    fn expected_key(&self, request: &Received<'_>, token: &TokenFacts<'_>) -> Result<Option<Thumbprint>, Reason> {
        if self.left_out.confirmation {
            return Ok(None);
        }
        match token.confirmation {
            TokenConfirmation::Jkt(jkt) => Ok(Some(jkt)),
            TokenConfirmation::Both { jkt, x5t } if request.certificate == Some(x5t) => Ok(Some(jkt)),
            TokenConfirmation::Both { .. } | TokenConfirmation::Unreadable => Err(Reason::KeyBinding),
            TokenConfirmation::X5t(_) | TokenConfirmation::Unbound => Err(Reason::TokenUnbound),
        }
    }

    async fn verify(&self, request: &Received<'_>, expected: &Expected<'_>) -> Result<Verified, Rejection> {
        let refuse = |reason| self.reject(expected.role, reason, None);
        let now = self.clock.now();
        let proof = Proof::read(request.headers, &self.policy).map_err(refuse)?;
        let claims = self.check(&proof, request, expected, now).map_err(refuse)?;
        let jkt = proof.key.thumbprint();
        if expected.jkt.is_some_and(|bound_to| bound_to != jkt) {
            return Err(refuse(Reason::KeyBinding));
        }
        let context = NonceContext {
            role: expected.role,
            jkt,
            now,
        };
        let nonce = self
            .check_nonce(&claims, &context)
            .map_err(|(reason, fresh)| self.reject(expected.role, reason, fresh))?;
        if !self.left_out.jti {
            let entry = ReplayEntry {
                client: expected.client,
                jkt: &jkt,
                jti: claims.jti,
                issued_at: claims.issued_at,
            };
            let expires_at = claims.issued_at + self.policy.max_age;
            self.log
                .check_and_insert(&entry, now, expires_at)
                .await
                .map_err(|refusal| refuse(reason_of(refusal)))?;
        }
        Ok(Verified {
            jkt,
            algorithm: proof.key.algorithm(),
            issued_at: claims.issued_at,
            nonce,
        })
    }

    /// The checks that need nothing but the proof and the request.
    fn check<'p>(
        &self,
        proof: &'p Proof<'_>,
        request: &Received<'_>,
        expected: &Expected<'_>,
        now: Timestamp,
    ) -> Result<Claims<'p>, Reason> {
        if !self.left_out.signature {
            proof.verify_signature()?;
        }
        let claims = Claims::read(&proof.claims, &self.policy)?;
        if claims.htm != request.method.as_str() {
            return Err(Reason::Method);
        }
        let same = htu::compare(claims.htu, request.uri, self.loopback.as_ref()) == HtuMatch::Match;
        if !same && !self.left_out.htu {
            return Err(Reason::Uri);
        }
        claims.check_time(now, &self.policy)?;
        if let Some(token) = expected.token
            && !self.left_out.ath
        {
            claims.check_ath(&ath(token))?;
        }
        Ok(claims)
    }

    /// A newer nonce for the answer, if there is to be one; or why not, with the nonce that the peer is to use.
    fn check_nonce(
        &self,
        claims: &Claims<'_>,
        context: &NonceContext,
    ) -> Result<Option<HeaderValue>, (Reason, Option<HeaderValue>)> {
        let (source, required): (&dyn NonceSource, bool) = match &self.nonces {
            NoncePolicy::Off => return Ok(None),
            NoncePolicy::Optional(source) => (&**source, false),
            NoncePolicy::Required(source) => (&**source, true),
        };
        let verdict = match claims.nonce() {
            None if required => return Err((Reason::NonceMissing, source.issue(context))),
            None => NonceCheck::Aging,
            Some(Some(nonce)) => source.check(nonce, context),
            Some(None) => NonceCheck::Refused,
        };
        match verdict {
            NonceCheck::Current => Ok(None),
            NonceCheck::Aging => Ok(source.issue(context)),
            NonceCheck::Refused => Err((Reason::NonceMismatch, source.issue(context))),
        }
    }

    fn reject(&self, role: Role, reason: Reason, nonce: Option<HeaderValue>) -> Rejection {
        Rejection::new(role, reason, &self.algorithms, nonce)
    }
}

/// What a proof is held against besides the request.
struct Expected<'a> {
    role: Role,
    jkt: Option<Thumbprint>,
    token: Option<&'a str>,
    client: Option<&'a str>,
}

fn reason_of(refusal: ReplayRefusal) -> Reason {
    match refusal {
        ReplayRefusal::Replayed => Reason::Replay,
        ReplayRefusal::BeforeStart => Reason::IssuedBefore,
        ReplayRefusal::Quota => Reason::Quota,
        ReplayRefusal::ClockMovedBack => Reason::Clock,
        ReplayRefusal::Unavailable => Reason::Unavailable,
    }
}

/// Who sent the request: the holder of this key. A fact to decide with, and no permission.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Verified {
    jkt: Thumbprint,
    algorithm: Algorithm,
    issued_at: Timestamp,
    nonce: Option<HeaderValue>,
}

impl Verified {
    /// The thumbprint of the key that made the proof.
    pub fn jkt(&self) -> Thumbprint {
        self.jkt
    }

    /// The algorithm of its signature.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The proof's `iat`: compared with the verifier's clock it tells how far the client's is off.
    pub fn issued_at(&self) -> Timestamp {
        self.issued_at
    }

    /// The nonce that the answer should carry, if there is a newer one.
    pub fn nonce(&self) -> Option<&HeaderValue> {
        self.nonce.as_ref()
    }

    /// Sets the answer's `DPoP-Nonce`, and `Cache-Control: no-store` with it (RFC 9449 8.2), if there is a newer nonce.
    pub fn fill_headers(&self, headers: &mut HeaderMap) {
        if let Some(nonce) = &self.nonce {
            rejection::fill_nonce(headers, nonce);
        }
    }
}
