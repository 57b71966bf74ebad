//! What a call needs of a token, made once per token.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use zeroize::Zeroizing;

use crate::binding::{BindingKind, Confirmation, TokenBinding};
use crate::clock::Monotonic;
use crate::credentials::CredentialAt;
use crate::exchange::connection::Connection;
use crate::jose;

use super::AccessToken;

/// The right to use a token until a time: its ready `Authorization` value, and the binding it was issued to.
///
/// Leases are shared and never changed. Nothing in them can be read out; a call presents them.
///
/// What a look-up reads comes first, on the cache line of the reference count.
#[repr(C)]
pub struct Lease {
    pub(crate) renew_from: Monotonic,
    flags: AtomicU8,
    /// The newest `TokenSource::admission` in which the connection's calls were seen to be let through; 0 for none yet.
    admitted: AtomicU32,
    /// The newest `TokenSource::generation` in which the token's credential and consent were seen to be the connection's.
    pub(crate) generation: AtomicU64,
    pub(crate) binding: Arc<dyn TokenBinding>,
    /// The token as calls carry it, mostly behind its scheme; `None` without a token.
    credential: Option<HeaderValue>,
    /// The same octets: scheme, space, token, then the token's `ath`; empty without a token.
    text: Bytes,
    /// What calls carry beside the token, or in its place.
    also: Option<Box<[(HeaderName, HeaderValue)]>>,
    pub(crate) connection: Arc<Connection>,
    pub(crate) usable_until: Monotonic,
    /// The credential that the token was asked for with.
    pub(crate) revision: u64,
}

/// Flags of a lease.
const EVICTED: u8 = 1;
const USED: u8 = 2;
const NEW: u8 = 4;
const OLD: u8 = 8;

/// Which credential a lease carries, where that goes with calls itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carries {
    /// The connection has no other.
    Only,
    /// One that is to replace another.
    New,
    /// One that is to be replaced.
    Old,
}

/// Length of an `ath`: base64url of 32 octets.
const ATH: usize = 43;

impl Lease {
    /// `None` where the token cannot stand in a header, which its syntax check rules out.
    pub(crate) fn new(
        token: &AccessToken,
        binding: Arc<dyn TokenBinding>,
        connection: Arc<Connection>,
        renew_from: Monotonic,
        usable_until: Monotonic,
        (revision, generation): (u64, u64),
    ) -> Option<Self> {
        let (scheme, token) = (binding.kind().scheme(), token.expose());
        let mut text = Zeroizing::new(Vec::with_capacity(scheme.len() + 1 + token.len() + ATH));
        text.extend_from_slice(scheme.as_bytes());
        text.push(b' ');
        text.extend_from_slice(token.as_bytes());
        let end = text.len();
        text.extend_from_slice(jose::ath(token).as_bytes());
        // One allocation for both, wiped when the last header that shares it is gone.
        let text = Bytes::from_owner(text);
        let mut credential = HeaderValue::from_maybe_shared(text.slice(..end)).ok()?;
        credential.set_sensitive(true);
        let generation = AtomicU64::new(generation);
        Some(Self {
            credential: Some(credential),
            text,
            also: None,
            binding,
            connection,
            usable_until,
            renew_from,
            revision,
            generation,
            admitted: AtomicU32::new(0),
            flags: AtomicU8::new(0),
        })
    }

    /// What calls need where there are no tokens.
    pub(crate) fn without_token(
        binding: Arc<dyn TokenBinding>,
        connection: Arc<Connection>,
        usable_until: Monotonic,
        (revision, generation): (u64, u64),
    ) -> Self {
        Self {
            renew_from: usable_until,
            flags: AtomicU8::new(0),
            admitted: AtomicU32::new(0),
            generation: AtomicU64::new(generation),
            binding,
            credential: None,
            text: Bytes::new(),
            also: None,
            connection,
            usable_until,
            revision,
        }
    }

    /// Whether no renewal is due, and nobody evicted it.
    #[inline]
    pub(crate) fn is_fresh(&self, now: Monotonic) -> bool {
        now < self.renew_from && self.flags.load(Ordering::Acquire) & EVICTED == 0
    }

    /// Keeps the lease from new calls. Calls that have it already end with it.
    pub(crate) fn evict(&self) {
        self.flags.fetch_or(EVICTED, Ordering::Release);
    }

    /// Notes that a call was made with it: whose token is not used is not renewed ahead of need.
    #[inline]
    pub(crate) fn touch(&self) {
        if self.flags.load(Ordering::Relaxed) & USED == 0 {
            self.flags.fetch_or(USED, Ordering::Relaxed);
        }
    }

    /// Whether a call was made with it.
    pub(crate) fn is_used(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & USED != 0
    }

    /// Whether the lease may still be used: its key signs, and its credential and consent are still the connection's.
    pub(crate) fn is_good(&self, generation: u64) -> bool {
        self.is_current(generation) && self.binding.is_usable()
    }

    /// Whether the connection's calls were let through at this `TokenSource::admission`.
    #[inline]
    pub(crate) fn is_admitted(&self, admission: u32) -> bool {
        self.admitted.load(Ordering::Relaxed) == admission
    }

    /// The connection's calls were let through at this `TokenSource::admission`.
    pub(crate) fn admit(&self, admission: u32) {
        self.admitted.store(admission, Ordering::Relaxed);
    }

    /// Whether no credential and no consent has changed since the token's were last seen.
    pub(crate) fn is_current(&self, generation: u64) -> bool {
        self.generation.load(Ordering::Relaxed) == generation
    }

    #[cfg(test)]
    pub(crate) fn authorization(&self) -> Option<&HeaderValue> {
        self.credential.as_ref()
    }

    /// This lease, with further headers of its calls.
    pub(crate) fn with(mut self, headers: Vec<(HeaderName, HeaderValue)>) -> Self {
        self.also = (!headers.is_empty()).then(|| headers.into());
        self
    }

    /// This lease, with one of two credentials.
    pub(crate) fn carrying(self, which: Carries) -> Self {
        let flag = match which {
            Carries::Only => 0,
            Carries::New => NEW,
            Carries::Old => OLD,
        };
        self.flags.fetch_or(flag, Ordering::Relaxed);
        self
    }

    /// See [`Carries`].
    pub(crate) fn carries(&self) -> Carries {
        match self.flags.load(Ordering::Relaxed) & (NEW | OLD) {
            NEW => Carries::New,
            OLD => Carries::Old,
            _ => Carries::Only,
        }
    }

    /// This lease for a carrier that wants tokens at this place. One that is bound to a proof key stays in `Authorization` (RFC
    /// 9449 7.1).
    pub(crate) fn at(mut self, at: &CredentialAt) -> Self {
        if self.is_alone_at(at).is_some() {
            let bare = self.bare().map(HeaderValue::from_maybe_shared::<Bytes>);
            if let Some(Ok(mut bare)) = bare {
                bare.set_sensitive(true);
                self.credential = Some(bare);
            }
        }
        self
    }

    /// This lease with one header more, which lives for so long from `asked` on: the lease ends with that.
    pub(crate) fn beside(&self, header: (HeaderName, HeaderValue), asked: Monotonic, lives: Duration) -> Self {
        let also = self.also.iter().flatten().cloned().chain([header]);
        let renew_from = self.renew_from.min(asked + lives.mul_f64(0.8));
        Self {
            renew_from,
            flags: AtomicU8::new(0),
            admitted: AtomicU32::new(0),
            generation: AtomicU64::new(self.generation.load(Ordering::Relaxed)),
            binding: Arc::clone(&self.binding),
            credential: self.credential.clone(),
            text: self.text.clone(),
            also: Some(also.collect()),
            connection: Arc::clone(&self.connection),
            usable_until: self.usable_until.min(asked + lives),
            revision: self.revision,
        }
    }

    /// The header in which the token stands without its scheme.
    fn is_alone_at<'a>(&self, at: &'a CredentialAt) -> Option<&'a HeaderName> {
        match at {
            CredentialAt::Header(name) if !self.binding.kind().has_proof() => Some(name),
            _ => None,
        }
    }

    /// The token's octets.
    fn bare(&self) -> Option<Bytes> {
        let start = self.binding.kind().scheme().len() + 1;
        let end = self.text.len().checked_sub(ATH)?;
        (start <= end).then(|| self.text.slice(start..end))
    }

    /// Puts what calls carry into their headers. `wanted` says whether this call is one that carries such a header.
    pub(crate) fn present(&self, at: &CredentialAt, headers: &mut HeaderMap, wanted: impl Fn(&HeaderName) -> bool) {
        if let Some(credential) = &self.credential {
            let name = self.is_alone_at(at).unwrap_or(&AUTHORIZATION);
            headers.insert(name, credential.clone());
        }
        for (name, value) in self.also.iter().flatten() {
            if wanted(name) {
                headers.insert(name, value.clone());
            }
        }
    }

    pub(crate) fn ath(&self) -> Option<&str> {
        let start = self.text.len().checked_sub(ATH)?;
        std::str::from_utf8(self.text.get(start..)?).ok()
    }

    /// The token itself, for the issuer that it is to be revoked at, looked up at or exchanged at.
    pub(crate) fn token(&self) -> Option<&str> {
        let start = self.binding.kind().scheme().len() + 1;
        let end = self.text.len().checked_sub(ATH)?;
        std::str::from_utf8(self.text.get(start..end)?).ok()
    }

    /// What the token is tied to.
    pub fn binding(&self) -> BindingKind {
        self.binding.kind()
    }

    /// The confirmations that the token carries.
    pub fn confirmations(&self) -> &[Confirmation] {
        self.binding.confirmations()
    }

    /// Until when the token may be used, on the axis of the clock that the client was built with.
    pub fn usable_until(&self) -> Monotonic {
        self.usable_until
    }

    /// From when on a new token is asked for ahead of need, on the same axis.
    pub fn renew_from(&self) -> Monotonic {
        self.renew_from
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("binding", &self.binding.kind())
            .field("usable_until", &self.usable_until)
            .finish_non_exhaustive()
    }
}
