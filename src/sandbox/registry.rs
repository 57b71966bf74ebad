//! What was issued to clients.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use super::builder::RefreshReuse;
use super::remembered::{Digest, Remembered, digest};

use crate::clock::{Clock, Monotonic, Timestamp};
use crate::jose::Thumbprint;
use crate::owner::TenantId;
use crate::secret::RefreshToken;
use crate::verify::TokenConfirmation;

/// What an access token is worth.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) client: String,
    pub(super) tenant: Option<TenantId>,
    /// The id of the carrier that issued it.
    pub(super) carrier: &'static str,
    /// The proof key that it is bound to.
    pub(super) jkt: Option<Thumbprint>,
    /// The client certificate that it is bound to.
    pub(super) x5t: Option<Thumbprint>,
    pub(super) scope: Option<String>,
    /// The consent that it came of.
    pub(super) family: Option<u64>,
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

/// What a refresh token is worth.
#[derive(Clone)]
pub(super) struct Grant {
    pub(super) client: String,
    pub(super) scope: Option<String>,
    /// All that came of one consent: refresh tokens one after another, and the access tokens with them.
    pub(super) family: u64,
    /// What a public client must prove to use it.
    pub(super) bound_to: BoundTo,
    /// How often the consent was refreshed.
    pub(super) count: u64,
    pub(super) expires: Option<Monotonic>,
    /// The one that took its place.
    pub(super) successor: Option<Digest>,
}

/// What a token is bound to, or must be proved to use it.
#[derive(Clone, Copy, Default)]
pub(super) struct BoundTo {
    pub(super) jkt: Option<Thumbprint>,
    pub(super) x5t: Option<Thumbprint>,
}

#[derive(Default)]
struct Issued {
    tokens: Remembered<Token>,
    grants: Remembered<Grant>,
    families: u64,
}

impl Issued {
    fn revoke_family(&mut self, family: u64) {
        self.grants.retain(|grant| grant.family != family);
        for token in self.tokens.all().filter(|token| token.family == Some(family)) {
            token.revoked = true;
        }
    }
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

    /// Revokes one token of this client, or what came of its grant where it is a refresh token; other clients' are left alone
    /// (RFC 7009 2.1).
    pub(super) fn revoke(&self, text: &str, client: &str) {
        self.with(|issued| {
            if let Some(token) = issued.tokens.get(text).filter(|token| token.client == client) {
                token.revoked = true;
            }
            let grant = issued.grants.get(text).filter(|grant| grant.client == client);
            if let Some(family) = grant.map(|grant| grant.family) {
                issued.revoke_family(family);
            }
        });
    }

    /// Revokes every access token of a tenant and says how many were not revoked before.
    pub(super) fn revoke_tenant(&self, tenant: &TenantId) -> usize {
        self.with(|issued| {
            let mut revoked = 0;
            for token in issued.tokens.all() {
                if token.tenant.as_ref() == Some(tenant) && !token.revoked {
                    token.revoked = true;
                    revoked += 1;
                }
            }
            revoked
        })
    }

    /// The number of a new family.
    pub(super) fn new_family(&self) -> u64 {
        self.with(|issued| {
            issued.families = issued.families.saturating_add(1);
            issued.families
        })
    }

    pub(super) fn revoke_family(&self, family: u64) {
        self.with(|issued| issued.revoke_family(family));
    }

    /// Whose a refresh token is, whether or not it is still good.
    pub(super) fn holder(&self, text: &str) -> Option<String> {
        self.with(|issued| issued.grants.get(text).map(|grant| grant.client.clone()))
    }

    pub(super) fn put_grant(&self, text: &RefreshToken, grant: Grant) {
        self.with(|issued| issued.grants.put(text.expose(), grant));
    }

    /// What a refresh token is worth to this client now. One that was spent may cost its family.
    pub(super) fn grant(&self, text: &str, client: &str, reuse: RefreshReuse, now: Monotonic) -> Option<Grant> {
        self.with(|issued| {
            let grant = issued.grants.get(text).filter(|grant| grant.client == client)?.clone();
            if grant.expires.is_some_and(|expires| now >= expires) {
                return None;
            }
            match (grant.successor, reuse) {
                (None, _) => Some(grant),
                (Some(_), RefreshReuse::Refused) => None,
                (Some(_), RefreshReuse::RevokesFamily) => {
                    issued.revoke_family(grant.family);
                    None
                }
                (Some(next), RefreshReuse::UntilNextIsUsed) => {
                    let unused = issued
                        .grants
                        .by_digest(&next)
                        .is_some_and(|next| next.successor.is_none());
                    unused.then_some(grant)
                }
            }
        })
    }

    /// Puts the next refresh token in the place of one, which is spent; `false` where another request was first.
    pub(super) fn rotate(&self, text: &str, next: &RefreshToken, grant: Grant, reuse: RefreshReuse) -> bool {
        self.with(|issued| {
            let Some(spent) = issued.grants.get(text) else {
                return false;
            };
            match spent.successor.replace(digest(next.expose())) {
                Some(_) if reuse != RefreshReuse::UntilNextIsUsed => return false,
                Some(other) => issued.grants.forget(&other),
                None => {}
            }
            issued.grants.put(next.expose(), grant);
            true
        })
    }
}

/// Payment authorizations, each with its client and its end.
#[derive(Default)]
pub(super) struct Payments(Mutex<Remembered<(String, Monotonic)>>);

impl Payments {
    fn with<T>(&self, act: impl FnOnce(&mut Remembered<(String, Monotonic)>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn put(&self, text: &str, client: &str, until: Monotonic) {
        self.with(|payments| payments.put(text, (client.to_owned(), until)));
    }

    /// Whether it is this client's and has not ended.
    pub(super) fn is_good(&self, text: &str, client: &str, now: Monotonic) -> bool {
        self.with(|payments| {
            payments
                .get(text)
                .is_some_and(|(own, until)| own == client && now < *until)
        })
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
