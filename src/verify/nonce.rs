//! Nonces that a server hands out, so that proofs cannot be made ahead of time (RFC 9449 8, 9, 11.3).

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use zeroize::Zeroizing;

use super::{InvalidSetup, Role};
use crate::clock::Timestamp;
use crate::crypto::{constant_time_eq, hmac_sha256_128, random};
use crate::jose::{Thumbprint, base64url};

/// Whether a verifier asks for nonces.
#[derive(Clone, Debug, Default)]
pub enum NoncePolicy {
    /// It does not, and ignores a nonce that a proof has anyway. The default.
    #[default]
    Off,
    /// A proof may come without one, and the answer then carries one; a nonce that is there must be right. For the time
    /// in which clients learn to use nonces: it does not keep anybody from leaving the nonce out.
    Optional(Arc<dyn NonceSource>),
    /// Every proof needs one.
    Required(Arc<dyn NonceSource>),
}

/// What a nonce is issued for or checked against.
#[derive(Clone, Copy, Debug)]
pub struct NonceContext {
    /// Where the proof is used: nonces of a token endpoint don't count at a resource.
    pub role: Role,
    /// The key of the proof.
    pub jkt: Thumbprint,
    /// The verifier's time.
    pub now: Timestamp,
}

/// What checking a nonce gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonceCheck {
    /// It counts.
    Current,
    /// It counts, and the answer should carry a newer one.
    Aging,
    /// It is none of this server's, or too old.
    Refused,
}

/// Issues and knows nonces. Asked only for proofs whose signature and claims hold.
pub trait NonceSource: fmt::Debug + Send + Sync {
    /// A nonce for the next proof, unpredictable, of `1*NQCHAR` (RFC 9449 8.1); `None` if there is none to give, which
    /// leaves the peer with a refusal that it cannot cure.
    fn issue(&self, context: &NonceContext) -> Option<HeaderValue>;

    /// Whether this nonce counts. An implementation compares in constant time.
    fn check(&self, nonce: &str, context: &NonceContext) -> NonceCheck;
}

const MAC_OCTETS: usize = 16;

/// Nonces without memory: a time slot and a MAC over it, so every instance with the same key knows every nonce.
///
/// Three slots are live: the current one, the one before (its nonces still count, and the answer carries a newer one), and
/// the next, for instances whose clocks run ahead. A nonce therefore counts for one to two slots after it was issued.
pub struct StatelessNonces {
    key: Zeroizing<[u8; 32]>,
    slot_micros: i64,
    per_key: bool,
}

impl StatelessNonces {
    /// Nonces under this key, in slots of 60 s. Use a random key of this one purpose, the same for all instances of a
    /// service and another one for each deployment and for each service.
    pub fn new(key: [u8; 32]) -> Self {
        Self {
            key: Zeroizing::new(key),
            slot_micros: 60 * 1_000_000,
            per_key: false,
        }
    }

    /// Nonces under a new random key, for a service that is one process: after a restart clients are asked once more.
    ///
    /// # Errors
    /// [`InvalidSetup::NoRandomness`].
    pub fn generate() -> Result<Self, InvalidSetup> {
        let mut key = Zeroizing::new([0; 32]);
        random(key.as_mut_slice()).map_err(|_| InvalidSetup::NoRandomness)?;
        Ok(Self::new(*key))
    }

    /// Sets the length of a slot, 60 s by default.
    ///
    /// # Errors
    /// [`InvalidSetup::NonceSlot`] unless it is 1 s to 1 h.
    pub fn slot(mut self, length: Duration) -> Result<Self, InvalidSetup> {
        if !(Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&length) {
            return Err(InvalidSetup::NonceSlot);
        }
        self.slot_micros = i64::try_from(length.as_micros()).map_err(|_| InvalidSetup::NonceSlot)?;
        Ok(self)
    }

    /// Ties every nonce to the key that it was issued to, so that one client cannot use another's.
    #[must_use]
    pub fn per_key(mut self) -> Self {
        self.per_key = true;
        self
    }

    fn slot_of(&self, now: Timestamp) -> i64 {
        now.unix_micros().div_euclid(self.slot_micros)
    }

    fn mac(&self, slot: i64, context: &NonceContext) -> [u8; MAC_OCTETS] {
        let mut message = b"shipbound nonce 1".to_vec();
        message.push(match context.role {
            Role::Resource => b'r',
            Role::Token => b't',
        });
        message.extend_from_slice(&slot.to_be_bytes());
        if self.per_key {
            message.extend_from_slice(context.jkt.as_bytes());
        }
        hmac_sha256_128(self.key.as_slice(), &message)
    }
}

impl NonceSource for StatelessNonces {
    fn issue(&self, context: &NonceContext) -> Option<HeaderValue> {
        let slot = self.slot_of(context.now);
        let mut nonce = slot.to_be_bytes().to_vec();
        nonce.extend_from_slice(&self.mac(slot, context));
        HeaderValue::try_from(base64url::encode(&nonce)).ok()
    }

    fn check(&self, nonce: &str, context: &NonceContext) -> NonceCheck {
        let Some(octets) = base64url::decode_array::<{ 8 + MAC_OCTETS }>(nonce) else {
            return NonceCheck::Refused;
        };
        let Some((slot, mac)) = octets.split_first_chunk() else {
            return NonceCheck::Refused;
        };
        let slot = i64::from_be_bytes(*slot);
        let age = self.slot_of(context.now).saturating_sub(slot);
        if !(-1..=1).contains(&age) || !constant_time_eq(mac, &self.mac(slot, context)) {
            NonceCheck::Refused
        } else if age == 1 {
            NonceCheck::Aging
        } else {
            NonceCheck::Current
        }
    }
}

impl fmt::Debug for StatelessNonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatelessNonces")
            .field("slot_micros", &self.slot_micros)
            .field("per_key", &self.per_key)
            .finish_non_exhaustive()
    }
}

/// A fixed list of nonces, the first of which is issued: for tests against given proofs.
#[derive(Clone, Debug)]
pub struct FixedNonces(Vec<String>);

impl FixedNonces {
    /// These nonces, the newest first.
    pub fn new<T: Into<String>>(nonces: impl IntoIterator<Item = T>) -> Self {
        Self(nonces.into_iter().map(Into::into).collect())
    }
}

impl NonceSource for FixedNonces {
    fn issue(&self, _: &NonceContext) -> Option<HeaderValue> {
        HeaderValue::try_from(self.0.first()?).ok()
    }

    fn check(&self, nonce: &str, _: &NonceContext) -> NonceCheck {
        let is = |known: &String| constant_time_eq(known.as_bytes(), nonce.as_bytes());
        match self.0.iter().position(is) {
            Some(0) => NonceCheck::Current,
            Some(_) => NonceCheck::Aging,
            None => NonceCheck::Refused,
        }
    }
}

/// A new nonce for every request: each counts once. In memory and bounded, the strictest server that a client may meet.
#[derive(Debug, Default)]
pub struct SingleUseNonces {
    issued: Mutex<Issued>,
}

#[derive(Debug, Default)]
struct Issued {
    live: HashSet<String>,
    order: VecDeque<String>,
}

impl SingleUseNonces {
    /// How many nonces may be out; the oldest lapse beyond that.
    pub const CAPACITY: usize = 10_000;

    /// No nonce is out yet.
    pub fn new() -> Self {
        Self::default()
    }
}

impl NonceSource for SingleUseNonces {
    fn issue(&self, _: &NonceContext) -> Option<HeaderValue> {
        let mut octets = [0; 16];
        random(&mut octets).ok()?;
        let nonce = base64url::encode(&octets);
        let header = HeaderValue::try_from(&nonce).ok()?;
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        issued.live.insert(nonce.clone());
        issued.order.push_back(nonce);
        if issued.order.len() > Self::CAPACITY
            && let Some(oldest) = issued.order.pop_front()
        {
            issued.live.remove(&oldest);
        }
        Some(header)
    }

    fn check(&self, nonce: &str, _: &NonceContext) -> NonceCheck {
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        if issued.live.remove(nonce) {
            NonceCheck::Aging
        } else {
            NonceCheck::Refused
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(role: Role, seconds: i64) -> NonceContext {
        NonceContext {
            role,
            jkt: Thumbprint::from_bytes([7; 32]),
            now: Timestamp::from_unix_seconds(seconds),
        }
    }

    fn issue(source: &dyn NonceSource, context: &NonceContext) -> String {
        source.issue(context).unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn three_slots_live_and_the_boundaries_are_exact() {
        let source = StatelessNonces::new([1; 32]);
        let nonce = issue(&source, &context(Role::Resource, 6000));
        for (now, verdict) in [
            (5939, NonceCheck::Refused),
            (5940, NonceCheck::Current),
            (6000, NonceCheck::Current),
            (6059, NonceCheck::Current),
            (6060, NonceCheck::Aging),
            (6119, NonceCheck::Aging),
            (6120, NonceCheck::Refused),
        ] {
            assert_eq!(source.check(&nonce, &context(Role::Resource, now)), verdict, "{now}");
        }
    }

    #[test]
    fn forged_truncated_and_foreign_nonces_are_refused() {
        let source = StatelessNonces::new([1; 32]);
        let here = context(Role::Resource, 6000);
        let nonce = issue(&source, &here);
        assert_eq!(source.check(&nonce, &here), NonceCheck::Current);
        for length in 0..nonce.len() {
            assert_eq!(source.check(&nonce[..length], &here), NonceCheck::Refused);
        }
        for at in 0..nonce.len() {
            let mut forged = nonce.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            assert_eq!(source.check(&forged, &here), NonceCheck::Refused, "{at}");
        }
        assert_eq!(source.check(&format!("{nonce}A"), &here), NonceCheck::Refused);
        assert_eq!(source.check(&nonce, &context(Role::Token, 6000)), NonceCheck::Refused);
        assert_eq!(StatelessNonces::new([2; 32]).check(&nonce, &here), NonceCheck::Refused);
    }

    #[test]
    fn a_nonce_per_key_does_not_count_for_another_key() {
        let source = StatelessNonces::new([1; 32]).per_key();
        let here = context(Role::Resource, 6000);
        let nonce = issue(&source, &here);
        assert_eq!(source.check(&nonce, &here), NonceCheck::Current);
        let other = NonceContext {
            jkt: Thumbprint::from_bytes([8; 32]),
            ..here
        };
        assert_eq!(source.check(&nonce, &other), NonceCheck::Refused);
    }

    #[test]
    fn a_single_use_nonce_counts_once_and_the_memory_is_bounded() {
        let source = SingleUseNonces::new();
        let here = context(Role::Resource, 0);
        let first = issue(&source, &here);
        assert_eq!(source.check(&first, &here), NonceCheck::Aging);
        assert_eq!(source.check(&first, &here), NonceCheck::Refused);
        let lapsed = issue(&source, &here);
        for _ in 0..SingleUseNonces::CAPACITY {
            issue(&source, &here);
        }
        assert_eq!(source.check(&lapsed, &here), NonceCheck::Refused);
        let issued = source.issued.lock().unwrap();
        assert!(issued.live.len() <= SingleUseNonces::CAPACITY);
        assert_eq!(issued.order.len(), SingleUseNonces::CAPACITY);
    }

    #[test]
    fn debug_shows_no_key() {
        assert!(!format!("{:?}", StatelessNonces::new([0xab; 32])).contains("171"));
    }

    #[test]
    fn slots_have_limits() {
        let source = || StatelessNonces::new([1; 32]);
        assert!(source().slot(Duration::from_millis(999)).is_err());
        assert!(source().slot(Duration::from_secs(3601)).is_err());
        assert!(source().slot(Duration::from_secs(1)).is_ok());
    }
}
