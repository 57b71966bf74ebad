//! Clock offsets learned from servers that refused a proof, within limits that a hostile `Date` cannot stretch.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::binding::Role;
use crate::clock::Monotonic;
use crate::target::Origin;

/// An offset below this many seconds is not why a proof was refused: `Date` has whole seconds, and answers take time.
pub(crate) const NOTICED: u64 = 3;

/// How far ahead of our clock a proof may be dated: a proof from the future is one that a thief may keep.
const FORWARD: i64 = 60;

/// How far behind our clock a proof may be dated.
const BACK: i64 = 300;

/// How long an offset is believed.
const BELIEVED: Duration = Duration::from_secs(60 * 60);

/// How many (role, origin) pairs a connection keeps an offset for.
const MAX_ORIGINS: usize = 8;

pub(crate) fn may_follow(offset_seconds: i64) -> bool {
    (-BACK..=FORWARD).contains(&offset_seconds)
}

/// The offsets that one connection has learned. They move the `iat` of its proofs to that server, and nothing else.
#[derive(Default)]
pub(crate) struct SkewBook(Mutex<Vec<Page>>);

struct Page {
    role: Role,
    origin: Origin,
    offset_seconds: i64,
    learned: Monotonic,
}

impl SkewBook {
    pub(crate) fn offset(&self, role: Role, origin: &Origin, now: Monotonic) -> i64 {
        let pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pages
            .iter()
            .find(|page| page.role == role && page.origin == *origin)
            .filter(|page| now.saturating_since(page.learned) < BELIEVED)
            .map_or(0, |page| page.offset_seconds)
    }

    pub(crate) fn learn(&self, role: Role, origin: &Origin, offset_seconds: i64, now: Monotonic) {
        let mut pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pages.retain(|page| page.role != role || page.origin != *origin);
        if pages.len() >= MAX_ORIGINS {
            pages.remove(0);
        }
        pages.push(Page {
            role,
            origin: origin.clone(),
            offset_seconds,
            learned: now,
        });
    }
}

impl fmt::Debug for SkewBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SkewBook")
    }
}
