//! DPoP (RFC 9449): each request carries a proof, signed by the key that the token is bound to.

use std::io::Write;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use crate::crypto;
use crate::jose::{Algorithm, Thumbprint, base64url};
use crate::keys::{KeyError, KeyHandle, KeySpec, Purpose, Retired, Signing};
use crate::owner::Owner;
use crate::target::Origin;

use super::nonce::{Nonce, NonceBook, Turn};
use super::{
    Answered, Attempt, BindContext, BindError, BindingKind, BindingStrategy, Confirmation, Learned, Proof, Role,
    TokenBinding,
};

/// The request header that carries a proof.
const DPOP: HeaderName = HeaderName::from_static("dpop");

/// How often the key store may have been quicker in another process before this one gives up.
const PROMOTIONS: usize = 4;

// The members of a proof's payload, up to where their values begin.
const JTI: &str = r#"{"jti":""#;
const HTM: &str = r#"","htm":""#;
const HTU: &str = r#"","htu":""#;
const IAT: &str = r#"","iat":"#;
const ATH: &str = r#","ath":""#;
const NONCE: &str = r#","nonce":""#;

/// Binds tokens to a proof key of the connection's own (RFC 9449).
///
/// Clients of one connection should allow the same algorithms: keys that only some of them accept replace each other.
///
/// The key is made at first use, or ahead of it by `Client::prepare`, and is durable in the key store before a token is
/// asked for. Tokens that the issuer declares unbound are refused (RFC 9449 5).
///
/// ```
/// use shipbound::binding::dpop::Dpop;
/// use shipbound::jose::Algorithm;
///
/// let usual = Dpop::es256();
/// let choosy = Dpop::preferring([Algorithm::Ed25519, Algorithm::Es256]);
/// ```
#[derive(Clone, Debug)]
pub struct Dpop {
    algorithms: Vec<Algorithm>,
}

impl Dpop {
    /// ECDSA with P-256 and SHA-256: the default, which every issuer accepts.
    pub fn es256() -> Self {
        Self::preferring([Algorithm::Es256])
    }

    /// Ed25519. Its proofs say `EdDSA` unless the issuer lists `Ed25519` and not `EdDSA` (RFC 9864).
    pub fn ed25519() -> Self {
        Self::preferring([Algorithm::Ed25519])
    }

    /// RSA-PSS with SHA-256. Making such keys needs the feature `rsa`.
    pub fn ps256() -> Self {
        Self::preferring([Algorithm::Ps256])
    }

    /// The first of `algorithms` that the issuer lists, or the first of all where it lists none (RFC 9449 5.1). A key that
    /// the connection has already is kept as long as its algorithm is among them.
    pub fn preferring(algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        Self {
            algorithms: algorithms.into_iter().collect(),
        }
    }

    fn acceptable(&self, listed: Option<&[String]>) -> Vec<Algorithm> {
        let offered = |algorithm: &Algorithm| {
            listed.is_none_or(|names| {
                names
                    .iter()
                    .any(|name| Algorithm::from_jws_name(name) == Some(*algorithm))
            })
        };
        self.algorithms.iter().copied().filter(offered).collect()
    }
}

#[async_trait]
impl BindingStrategy for Dpop {
    fn kind(&self) -> BindingKind {
        BindingKind::Dpop
    }

    fn proof_algorithms(&self) -> &[Algorithm] {
        &self.algorithms
    }

    async fn bind(&self, context: &BindContext<'_>) -> Result<Arc<dyn TokenBinding>, BindError> {
        Ok(Arc::new(self.bind_key(context).await?))
    }

    async fn bind_to(
        &self,
        context: &BindContext<'_>,
        jkt: &Thumbprint,
    ) -> Result<Option<Arc<dyn TokenBinding>>, BindError> {
        let bound = self.bind_older(context, jkt).await?;
        Ok(bound.map(|bound| -> Arc<dyn TokenBinding> { Arc::new(bound) }))
    }
}

impl Dpop {
    /// The binding to the connection's proof key, made and promoted where there is none that the issuer takes.
    pub(super) async fn bind_key(&self, context: &BindContext<'_>) -> Result<DpopBinding, BindError> {
        let acceptable = self.acceptable(context.algorithms);
        let preferred = *acceptable.first().ok_or(BindError::NoCommonAlgorithm)?;
        let owner = Owner::from(context.connection.clone());
        let keys = context.keys;
        for _ in 0..PROMOTIONS {
            let active = keys.active(&owner, Purpose::Proof).await?;
            if let Some(key) = &active
                && acceptable.contains(&key.algorithm())
            {
                key.check(&owner, Purpose::Proof)?;
                return Ok(DpopBinding::new(key.clone(), context.algorithms)?);
            }
            let made = keys
                .create(
                    &owner,
                    KeySpec {
                        purpose: Purpose::Proof,
                        algorithm: preferred,
                    },
                )
                .await?;
            made.check(&owner, Purpose::Proof)?;
            let drained = context.clock.now() + context.drain;
            if keys
                .promote(&owner, &made.id(), active.as_ref().map(KeyHandle::id).as_ref(), drained)
                .await?
            {
                return Ok(DpopBinding::new(made, context.algorithms)?);
            }
            // Another process was first: ours was never used, so nothing is lost with it, or with a store that keeps it.
            let _kept = keys.retire(&owner, &made.id(), Retired::Destroyed).await;
        }
        Err(BindError::Key(KeyError::Contended))
    }

    /// The binding to the connection's proof key with this thumbprint, while it signs.
    pub(super) async fn bind_older(
        &self,
        context: &BindContext<'_>,
        jkt: &Thumbprint,
    ) -> Result<Option<DpopBinding>, BindError> {
        let owner = Owner::from(context.connection.clone());
        let Some(key) = context.keys.with_thumbprint(&owner, Purpose::Proof, jkt).await? else {
            return Ok(None);
        };
        key.check(&owner, Purpose::Proof)?;
        let is_meant = key.jkt() == *jkt && self.acceptable(context.algorithms).contains(&key.algorithm());
        Ok(match is_meant {
            true => Some(DpopBinding::new(key, context.algorithms)?),
            false => None,
        })
    }
}

/// One connection, one proof key.
#[derive(Debug)]
pub struct DpopBinding {
    key: KeyHandle,
    confirmations: [Confirmation; 1],
    algorithm: &'static str,
    /// The base64url of the JOSE header, with the dot behind it: the same for every proof of a key.
    header: Box<str>,
    signature: usize,
    nonces: NonceBook,
}

impl DpopBinding {
    /// The binding to `key`, for an issuer that lists `algorithms` (RFC 9449 5.1).
    ///
    /// # Errors
    /// [`KeyError`] when the key is not a proof key.
    pub fn new(key: KeyHandle, algorithms: Option<&[String]>) -> Result<Self, KeyError> {
        key.check(key.owner(), Purpose::Proof)?;
        let name = match key.algorithm() {
            Algorithm::Ed25519 if !lists_only_ed25519(algorithms) => "EdDSA",
            algorithm => algorithm.name(),
        };
        let jose = format!(
            r#"{{"typ":"dpop+jwt","alg":"{name}","jwk":{}}}"#,
            key.public().to_json()
        );
        let mut header = base64url::encode(jose.as_bytes());
        header.push('.');
        Ok(Self {
            confirmations: [Confirmation::Jkt(key.jkt())],
            algorithm: name,
            header: header.into_boxed_str(),
            signature: base64url::encoded_len(key.public().signature_len()),
            nonces: NonceBook::default(),
            key,
        })
    }

    /// The key that proofs are signed with.
    pub fn key(&self) -> &KeyHandle {
        &self.key
    }

    /// Header, dot and payload of a proof, in a buffer that has room for the signature: the one allocation of a proof.
    pub(super) fn signing_input(&self, attempt: &Attempt<'_>, nonce: Option<&Nonce>) -> Result<Vec<u8>, KeyError> {
        let mut random = [0; 16];
        crypto::random(&mut random).map_err(|_failed| KeyError::Randomness)?;
        let mut jti = [0; 22];
        base64url::encode_to(&random, &mut jti);

        let htm = attempt.method.as_str();
        let htu = attempt.target.htu();
        let mut iat = [0; 20];
        let iat = decimal(attempt.now.unix_seconds(), &mut iat);
        let ath = attempt.ath.unwrap_or_default();
        let nonce = nonce.map(Nonce::as_str).unwrap_or_default();

        // The exact length, so that the buffer becomes the header's value without another allocation.
        let optional = |name: &str, value: &str| {
            if value.is_empty() {
                0
            } else {
                name.len() + value.len() + 1
            }
        };
        let members = JTI.len() + jti.len() + HTM.len() + htm.len() + HTU.len() + htu.len() + IAT.len() + iat.len();
        let payload = members + optional(ATH, ath) + optional(NONCE, nonce) + 1;
        let room = self.header.len() + base64url::encoded_len(payload) + 1 + self.signature;
        let mut proof = Vec::with_capacity(room);
        proof.extend_from_slice(self.header.as_bytes());

        // No value needs escaping: a method is a token, a Target has only URI characters, a nonce only NQCHAR, the others
        // are base64url. So the payload is written as it is, without a JSON tree.
        let mut out = Encoder::new(&mut proof);
        for piece in [
            JTI.as_bytes(),
            &jti,
            HTM.as_bytes(),
            htm.as_bytes(),
            HTU.as_bytes(),
            htu.as_bytes(),
        ] {
            out.write(piece);
        }
        out.write(IAT.as_bytes());
        out.write(iat);
        for (name, value) in [(ATH, ath), (NONCE, nonce)] {
            if !value.is_empty() {
                out.write(name.as_bytes());
                out.write(value.as_bytes());
                out.write(b"\"");
            }
        }
        out.write(b"}");
        out.flush();
        Ok(proof)
    }
}

#[async_trait]
impl TokenBinding for DpopBinding {
    fn kind(&self) -> BindingKind {
        BindingKind::Dpop
    }

    fn confirmations(&self) -> &[Confirmation] {
        &self.confirmations
    }

    fn algorithm(&self) -> Option<&'static str> {
        Some(self.algorithm)
    }

    fn is_usable(&self) -> bool {
        self.key.is_usable()
    }

    async fn turn(&self, role: Role, origin: &Origin, challenged: Option<&Nonce>) -> (Option<Nonce>, Turn) {
        self.nonces.turn(role, origin, challenged).await
    }

    async fn prove(&self, attempt: &Attempt<'_>) -> Result<Option<Proof>, KeyError> {
        let nonce = match attempt.nonce {
            Some(nonce) => Some(nonce.clone()),
            None => self.nonces.newest(attempt.role, attempt.target.origin()),
        };
        let mut proof = self.signing_input(attempt, nonce.as_ref())?;
        let signature = match self.key.sign(&proof) {
            Signing::Now(signature) => signature?,
            Signing::Later(signature) => signature.await?,
        };
        proof.push(b'.');
        base64url::encode_into(signature.as_bytes(), &mut proof);
        let value =
            HeaderValue::from_maybe_shared(Bytes::from(proof)).map_err(|_not_a_header| KeyError::SignerFailed)?;
        Ok(Some(Proof::new(DPOP, value, nonce)))
    }

    fn learn(&self, attempt: &Attempt<'_>, answer: &Answered<'_>) -> Learned {
        let (nonce, learned) = match Nonce::from_headers(answer.headers) {
            Ok(None) => (None, Learned::Nothing),
            Ok(Some(nonce)) => (Some(nonce.clone()), Learned::Nonce(nonce)),
            Err(refused) => (None, Learned::Refused(refused)),
        };
        let origin = attempt.target.origin();
        self.nonces
            .answered(attempt.role, origin, answer.status, answer.sent, nonce.as_ref());
        learned
    }
}

/// How many octets of a payload are encoded at a time: a multiple of three, so that nothing but the end has a remainder.
const GATHERED: usize = 384;

/// Appends the base64url of pieces to a buffer. They are gathered first, so that a usual payload is encoded in one go.
struct Encoder<'a> {
    out: &'a mut Vec<u8>,
    gathered: [u8; GATHERED],
    length: usize,
}

impl<'a> Encoder<'a> {
    fn new(out: &'a mut Vec<u8>) -> Self {
        Self {
            out,
            gathered: [0; GATHERED],
            length: 0,
        }
    }

    fn write(&mut self, piece: &[u8]) {
        let mut left = piece;
        while !left.is_empty() {
            let (now, later) = left.split_at(left.len().min(GATHERED - self.length));
            if let Some(room) = self.gathered.get_mut(self.length..self.length + now.len()) {
                room.copy_from_slice(now);
            }
            self.length += now.len();
            left = later;
            if self.length == GATHERED {
                self.flush();
            }
        }
    }

    /// Encodes what is gathered. To be called once more at the end.
    fn flush(&mut self) {
        base64url::encode_into(self.gathered.get(..self.length).unwrap_or_default(), self.out);
        self.length = 0;
    }
}

fn lists_only_ed25519(algorithms: Option<&[String]>) -> bool {
    algorithms.is_some_and(|names| {
        let lists = |wanted: &str| names.iter().any(|name| name == wanted);
        lists("Ed25519") && !lists("EdDSA")
    })
}

/// `number` in decimal digits, at the front of `buffer`.
fn decimal(number: i64, buffer: &mut [u8; 20]) -> &[u8] {
    let mut left: &mut [u8] = &mut buffer[..];
    // 20 characters hold every i64.
    let _written = write!(left, "{number}");
    let unused = left.len();
    buffer.get(..20 - unused).unwrap_or_default()
}
