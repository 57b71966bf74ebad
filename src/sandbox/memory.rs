//! What the servers remember between requests: proofs that were used, nonces that they gave out.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use async_trait::async_trait;
use http::HeaderValue;

use super::builder::SandboxError;
use crate::clock::Timestamp;
use crate::verify::{
    MemoryReplayLog, NonceCheck, NonceContext, NonceSource, ReplayEntry, ReplayLog, ReplayRefusal, SingleUseNonces,
    StatelessNonces,
};

/// How many scripted nonces count at a time; the oldest lapses first.
const SCRIPTED: usize = 1024;

/// A replay log that can be emptied. It takes proofs from before its start: nobody has used one at these servers.
#[derive(Debug)]
pub(super) struct ServerLog(RwLock<Arc<MemoryReplayLog>>);

fn empty() -> Result<Arc<MemoryReplayLog>, SandboxError> {
    MemoryReplayLog::starting(Timestamp::UNIX_EPOCH)
        .map(Arc::new)
        .map_err(|_| SandboxError::Checks)
}

impl ServerLog {
    pub(super) fn new() -> Result<Self, SandboxError> {
        Ok(Self(RwLock::new(empty()?)))
    }

    pub(super) fn forget(&self) {
        // Without randomness the old log stays, and refuses what it would have refused.
        if let Ok(fresh) = empty() {
            *self.0.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        }
    }
}

#[async_trait]
impl ReplayLog for ServerLog {
    async fn check_and_insert(
        &self,
        entry: &ReplayEntry<'_>,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<(), ReplayRefusal> {
        let log = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        log.check_and_insert(entry, now, expires_at).await
    }
}

/// The nonces of one server: stateless or for one request each, and those that scripts gave out.
pub(super) struct ServerNonces {
    own: Box<dyn NonceSource>,
    single_use: bool,
    scripted: Mutex<VecDeque<String>>,
}

impl ServerNonces {
    pub(super) fn new(single_use: bool) -> Result<Self, SandboxError> {
        let own: Box<dyn NonceSource> = match single_use {
            true => Box::new(SingleUseNonces::new()),
            false => Box::new(StatelessNonces::generate().map_err(|_| SandboxError::Random)?),
        };
        Ok(Self {
            own,
            single_use,
            scripted: Mutex::default(),
        })
    }

    /// Lets a nonce count that a script gives out.
    pub(super) fn admit(&self, nonce: &str) {
        let mut scripted = self.scripted.lock().unwrap_or_else(PoisonError::into_inner);
        if scripted.len() >= SCRIPTED {
            scripted.pop_front();
        }
        scripted.push_back(nonce.to_owned());
    }
}

impl NonceSource for ServerNonces {
    fn issue(&self, context: &NonceContext) -> Option<HeaderValue> {
        self.own.issue(context)
    }

    fn check(&self, nonce: &str, context: &NonceContext) -> NonceCheck {
        let mut scripted = self.scripted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = scripted.iter().position(|known| known == nonce) {
            if self.single_use {
                scripted.remove(place);
            }
            return NonceCheck::Aging;
        }
        drop(scripted);
        match self.own.check(nonce, context) {
            NonceCheck::Refused => NonceCheck::Refused,
            // Every answer carries one, also where the old one would do.
            _ => NonceCheck::Aging,
        }
    }
}

impl fmt::Debug for ServerNonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerNonces")
            .field("single_use", &self.single_use)
            .finish_non_exhaustive()
    }
}
