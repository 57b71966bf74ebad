//! A store of what unguessable texts stand for. It keeps their digests, and a limited number of them.

use std::collections::{HashMap, VecDeque};

use crate::crypto;

/// How many entries a store has; the oldest goes first.
const REMEMBERED: usize = 65_536;

/// What a text is known by.
pub(super) type Digest = [u8; 32];

pub(super) fn digest(text: &str) -> Digest {
    crypto::sha256(text.as_bytes())
}

pub(super) struct Remembered<T> {
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
    pub(super) fn put(&mut self, text: &str, value: T) {
        if self.order.len() >= REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
        let digest = digest(text);
        if self.entries.insert(digest, value).is_none() {
            self.order.push_back(digest);
        }
    }

    pub(super) fn get(&mut self, text: &str) -> Option<&mut T> {
        self.entries.get_mut(&digest(text))
    }

    pub(super) fn by_digest(&self, digest: &Digest) -> Option<&T> {
        self.entries.get(digest)
    }

    /// Takes the entry out; its place in the order goes when it comes up.
    pub(super) fn take(&mut self, text: &str) -> Option<T> {
        self.entries.remove(&digest(text))
    }

    pub(super) fn forget(&mut self, digest: &Digest) {
        self.entries.remove(digest);
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.entries.retain(|_, entry| keep(entry));
    }

    pub(super) fn all(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.values_mut()
    }
}
