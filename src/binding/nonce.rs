//! Server-provided nonces (RFC 9449 8 and 9): their syntax, and the book in which a binding keeps them.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, HeaderName, StatusCode};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

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

/// The newest nonce of each server that one binding talks to, and how that server treats nonces.
///
/// A book belongs to one connection and one key, so nonces of two connections, or of a key and its successor, never mix.
#[derive(Default)]
pub(crate) struct NonceBook(Mutex<Vec<Page>>);

struct Page {
    role: Role,
    origin: Origin,
    nonce: Nonce,
    habit: Habit,
    gate: Arc<RwLock<()>>,
}

/// How a server treats a nonce that was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    /// Not known: no answer to a proof with a nonce has told.
    Unknown,
    /// It is good for more requests.
    Kept,
    /// It is spent: the answer gave another one.
    Spent,
}

/// The right to use a nonce until the answer has been learned from. To be held that long.
///
/// A server that takes each nonce once refuses requests that were made with the same one. A repeat that answers such a
/// refusal therefore goes alone, after the requests that are on their way, since an exchange has one repeat for this cause.
/// Servers whose nonces last are not affected.
#[derive(Debug, Default)]
pub struct Turn {
    _held: Option<Held>,
}

#[derive(Debug)]
enum Held {
    Shared { _gate: OwnedRwLockReadGuard<()> },
    Alone { _gate: OwnedRwLockWriteGuard<()> },
}

impl NonceBook {
    /// The newest nonce of a server.
    pub(crate) fn newest(&self, role: Role, origin: &Origin) -> Option<Nonce> {
        self.page(role, origin, |page| page.nonce.clone())
    }

    /// The nonce to use, and the turn to use it in. `challenged` is the nonce of the challenge that is being answered.
    pub(crate) async fn turn(&self, role: Role, origin: &Origin, challenged: Option<&Nonce>) -> (Option<Nonce>, Turn) {
        let Some((gate, habit)) = self.page(role, origin, |page| (Arc::clone(&page.gate), page.habit)) else {
            return (challenged.cloned(), Turn::default());
        };
        let held = if challenged.is_some() && habit != Habit::Kept {
            let gate = gate.write_owned().await;
            // Those before may have found out that nonces last, so that nobody need wait.
            match self.page(role, origin, |page| page.habit) {
                Some(Habit::Kept) => Held::Shared {
                    _gate: gate.downgrade(),
                },
                _ => Held::Alone { _gate: gate },
            }
        } else {
            Held::Shared {
                _gate: gate.read_owned().await,
            }
        };
        // The nonce of the challenge itself, unless another request has spent it meanwhile.
        let newest = self.page(role, origin, |page| (page.nonce.clone(), page.habit));
        let nonce = match (challenged, newest) {
            (Some(_), Some((newest, Habit::Spent))) if matches!(held, Held::Alone { .. }) => Some(newest),
            (Some(challenged), _) => Some(challenged.clone()),
            (None, newest) => newest.map(|(newest, _)| newest),
        };
        (nonce, Turn { _held: Some(held) })
    }

    /// Takes in what an answer said: `given` is its nonce, `sent` the one that the proof held.
    pub(crate) fn answered(
        &self,
        role: Role,
        origin: &Origin,
        status: StatusCode,
        sent: Option<&Nonce>,
        given: Option<&Nonce>,
    ) {
        let refused = matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED);
        let mut pages = self.lock();
        let Some(page) = pages
            .iter_mut()
            .find(|page| page.role == role && page.origin == *origin)
        else {
            if let Some(nonce) = given {
                if pages.len() >= MAX_ORIGINS {
                    pages.remove(0);
                }
                let (origin, nonce) = (origin.clone(), nonce.clone());
                pages.push(Page {
                    role,
                    origin,
                    nonce,
                    habit: Habit::Unknown,
                    gate: Arc::default(),
                });
            }
            return;
        };
        if refused {
            // A late refusal of an old nonce tells nothing newer than what the book has.
            if let Some(nonce) = given.filter(|_| sent.is_none_or(|sent| page.nonce == *sent)) {
                page.nonce = nonce.clone();
            }
            return;
        }
        if let Some(sent) = sent {
            page.habit = if given.is_none_or(|given| given == sent) {
                Habit::Kept
            } else {
                Habit::Spent
            };
        }
        if let Some(nonce) = given {
            page.nonce = nonce.clone();
        }
    }

    fn page<T>(&self, role: Role, origin: &Origin, read: impl FnOnce(&Page) -> T) -> Option<T> {
        let mut pages = self.lock();
        let at = pages
            .iter()
            .position(|page| page.role == role && page.origin == *origin)?;
        // Last used, last to give way.
        pages.get_mut(at..)?.rotate_left(1);
        pages.last().map(read)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Page>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for NonceBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NonceBook")
    }
}
