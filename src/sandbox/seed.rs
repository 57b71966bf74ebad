//! Where the sandbox's secrets come from.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::crypto;
use crate::jose::base64url;

/// What every secret that the sandbox makes begins with: client secrets, parts of credentials, access tokens, refresh tokens,
/// authorization codes. In API keys it stands behind the carrier's prefix, in payment authorizations within JSON. Whoever searches logs,
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

    /// An unguessable text that is no secret: a reference which a browser's address line shows.
    pub(super) fn text(&self, octets: usize) -> String {
        let mut drawn = Vec::with_capacity(octets + 32);
        while drawn.len() < octets {
            let number = self.drawn.fetch_add(1, Ordering::SeqCst);
            drawn.extend_from_slice(&crypto::hmac_sha256(&self.key, &number.to_be_bytes()));
        }
        drawn.truncate(octets);
        base64url::encode(&drawn)
    }
}
