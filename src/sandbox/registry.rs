//! What was issued to clients.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::clock::{Clock, Monotonic, Timestamp};
use crate::crypto;
use crate::jose::Thumbprint;
use crate::jose::base64url;
use crate::owner::TenantId;
use crate::secret::RefreshToken;
use crate::verify::TokenConfirmation;

/// How many access tokens, and how many refresh tokens, are remembered; the oldest goes first.
const REMEMBERED: usize = 65_536;

/// What an access token is worth.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) client: String,
    pub(super) tenant: Option<TenantId>,
    /// The proof key that it is bound to.
    pub(super) jkt: Option<Thumbprint>,
    /// The client certificate that it is bound to.
    pub(super) x5t: Option<Thumbprint>,
    pub(super) scope: Option<String>,
    pub(super) issued_at: Timestamp,
    pub(super) expires_at: Timestamp,
    pub(super) expires: Monotonic,
    pub(super) revoked: bool,
}

impl Token {
    pub(super) fn active(&self, clock: &dyn Clock) -> bool {
        !self.revoked && clock.monotonic() < self.expires
    }

    pub(super) fn confirmation(&self) -> TokenConfirmation {
        match (self.jkt, self.x5t) {
            (None, None) => TokenConfirmation::Unbound,
            (Some(jkt), None) => TokenConfirmation::Jkt(jkt),
            (None, Some(x5t)) => TokenConfirmation::X5t(x5t),
            (Some(jkt), Some(x5t)) => TokenConfirmation::Both { jkt, x5t },
        }
    }
}

#[derive(Clone)]
pub(super) struct Grant {
    pub(super) client: String,
    pub(super) scope: Option<String>,
}

type Digest = [u8; 32];

struct Remembered<T> {
    entries: HashMap<Digest, T>,
    order: VecDeque<Digest>,
}

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            order: VecDeque::new(),
        }
    }
}

impl<T> Remembered<T> {
    fn put(&mut self, text: &str, value: T) {
        if self.order.len() >= REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
        let digest = crypto::sha256(text.as_bytes());
        if self.entries.insert(digest, value).is_none() {
            self.order.push_back(digest);
        }
    }

    fn get(&mut self, text: &str) -> Option<&mut T> {
        self.entries.get_mut(&crypto::sha256(text.as_bytes()))
    }

    /// Takes the entry out; its place in the order goes when it comes up.
    fn take(&mut self, text: &str) -> Option<T> {
        self.entries.remove(&crypto::sha256(text.as_bytes()))
    }
}

#[derive(Default)]
struct Issued {
    tokens: Remembered<Token>,
    grants: Remembered<Grant>,
}

/// The tokens that were issued.
#[derive(Default)]
pub(super) struct Tokens(Mutex<Issued>);

impl Tokens {
    fn with<T>(&self, act: impl FnOnce(&mut Issued) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn put(&self, text: &str, token: Token) {
        self.with(|issued| issued.tokens.put(text, token));
    }

    pub(super) fn find(&self, text: &str) -> Option<Token> {
        self.with(|issued| issued.tokens.get(text).cloned())
    }

    /// Revokes one token or grant of this client; other clients' are left alone (RFC 7009 2.1).
    pub(super) fn revoke(&self, text: &str, client: &str) {
        self.with(|issued| {
            if let Some(token) = issued.tokens.get(text).filter(|token| token.client == client) {
                token.revoked = true;
            }
            if issued.grants.get(text).is_some_and(|grant| grant.client == client) {
                issued.grants.take(text);
            }
        });
    }

    /// Revokes every access token of a tenant and says how many were not revoked before.
    pub(super) fn revoke_tenant(&self, tenant: &TenantId) -> usize {
        self.with(|issued| {
            let mut revoked = 0;
            for token in issued.tokens.entries.values_mut() {
                if token.tenant.as_ref() == Some(tenant) && !token.revoked {
                    token.revoked = true;
                    revoked += 1;
                }
            }
            revoked
        })
    }

    pub(super) fn put_grant(&self, text: &RefreshToken, grant: Grant) {
        self.with(|issued| issued.grants.put(text.expose(), grant));
    }

    pub(super) fn grant(&self, text: &str, client: &str) -> Option<Grant> {
        self.with(|issued| issued.grants.get(text).filter(|grant| grant.client == client).cloned())
    }

    pub(super) fn spend_grant(&self, text: &str) {
        self.with(|issued| issued.grants.take(text));
    }
}

/// Further paths where the issuer's token endpoint answers, on both origins.
pub(super) struct TokenPaths(Mutex<HashSet<String>>);

impl TokenPaths {
    pub(super) fn new(paths: &[String]) -> Self {
        Self(Mutex::new(paths.iter().cloned().collect()))
    }

    pub(super) fn add(&self, path: &str) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(path.to_owned());
    }

    pub(super) fn holds(&self, path: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(path)
    }
}

/// What every secret that the sandbox makes begins with: client secrets, access tokens, refresh tokens. Whoever searches logs,
/// errors or outputs for this text, and for its base64, finds what should not be there.
pub const SECRET_MARK: &str = "sEcReTmArKeR";

/// How many octets the mark stands for in base64url.
const MARK_OCTETS: usize = 9;

/// Where unguessable texts come from: randomness of the start, stretched by HMAC, so that nothing can fail later.
pub(super) struct Seed {
    key: [u8; 32],
    drawn: AtomicU64,
}

impl Seed {
    pub(super) fn new() -> Result<Self, crypto::RandomFailed> {
        let mut key = [0; 32];
        crypto::random(&mut key)?;
        Ok(Self {
            key,
            drawn: AtomicU64::new(0),
        })
    }

    /// A new secret as long as the base64url of `octets` octets, and itself base64url. It begins with [`SECRET_MARK`].
    pub(super) fn secret(&self, octets: usize) -> String {
        let mut secret = SECRET_MARK.to_owned();
        secret.push_str(&self.text(octets.saturating_sub(MARK_OCTETS)));
        secret
    }

    fn text(&self, octets: usize) -> String {
        let mut drawn = Vec::with_capacity(octets + 32);
        while drawn.len() < octets {
            let number = self.drawn.fetch_add(1, Ordering::SeqCst);
            drawn.extend_from_slice(&crypto::hmac_sha256(&self.key, &number.to_be_bytes()));
        }
        drawn.truncate(octets);
        base64url::encode(&drawn)
    }
}
