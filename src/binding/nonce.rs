//! Server-provided nonces (RFC 9449 8 and 9): their syntax, and the book in which a binding keeps them.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderMap, HeaderName};

use crate::target::Origin;

use super::Role;

/// The response header in which a server provides a nonce.
pub(crate) const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// The longest nonce that is kept, in octets. RFC 9449 sets no limit.
pub const MAX_NONCE: usize = 1024;

/// How many (role, origin) pairs one binding keeps a nonce for; the one that was used longest ago gives way.
pub const MAX_ORIGINS: usize = 8;

/// A nonce that a server provided: 1 to [`MAX_NONCE`] characters `NQCHAR` (RFC 9449 8.1), otherwise opaque.
#[derive(Clone, PartialEq, Eq)]
pub struct Nonce(Arc<str>);

impl Nonce {
    /// Reads the nonce of an answer: `Ok(None)` when it provides none.
    ///
    /// # Errors
    /// [`NonceRefused`] when the header is there more than once, or its value is not one that RFC 9449 8.1 allows.
    pub fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, NonceRefused> {
        let mut values = headers.get_all(DPOP_NONCE).iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(NonceRefused::Repeated);
        }
        if value.len() > MAX_NONCE {
            return Err(NonceRefused::TooLong);
        }
        let legal = |byte: &u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        match std::str::from_utf8(value.as_bytes()) {
            Ok(text) if !text.is_empty() && text.as_bytes().iter().all(legal) => Ok(Some(Self(text.into()))),
            _ => Err(NonceRefused::Syntax),
        }
    }

    /// The nonce's text. It has no character that JSON would have to escape.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nonce({} characters)", self.0.len())
    }
}

/// Why a `DPoP-Nonce` was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NonceRefused {
    /// The header was there more than once (RFC 9449 8: MUST NOT).
    #[error("more than one DPoP-Nonce")]
    Repeated,
    /// It is longer than [`MAX_NONCE`].
    #[error("a DPoP-Nonce of more than 1024 characters")]
    TooLong,
    /// It is empty or has characters outside `NQCHAR` (RFC 9449 8.1).
    #[error("a DPoP-Nonce with characters that are not allowed")]
    Syntax,
}

/// The newest nonce of each server that one binding talks to.
///
/// A book belongs to one connection and one key, so nonces of two connections, or of a key and its successor, never mix.
#[derive(Default)]
pub(crate) struct NonceBook(Mutex<Vec<Page>>);

struct Page {
    role: Role,
    origin: Origin,
    nonce: Nonce,
}

impl NonceBook {
    pub(crate) fn get(&self, role: Role, origin: &Origin) -> Option<Nonce> {
        let mut pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = pages
            .iter()
            .position(|page| page.role == role && page.origin == *origin)?;
        // Last used, last to give way.
        pages.get_mut(at..)?.rotate_left(1);
        pages.last().map(|page| page.nonce.clone())
    }

    pub(crate) fn put(&self, role: Role, origin: &Origin, nonce: Nonce) {
        let mut pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pages.retain(|page| page.role != role || page.origin != *origin);
        if pages.len() >= MAX_ORIGINS {
            pages.remove(0);
        }
        pages.push(Page {
            role,
            origin: origin.clone(),
            nonce,
        });
    }
}

impl fmt::Debug for NonceBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NonceBook")
    }
}
