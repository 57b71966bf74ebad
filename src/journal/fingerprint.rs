//! Keyed digests: records that can be matched with each other, but not read back.
//!
//! Addresses hold tracking numbers, and an unkeyed digest of a tracking number is found by trying them all. The key is
//! made from a secret, the connection's tenant and the month, so digests of two tenants or two months say nothing of each
//! other, and whoever forgets the secret has erased what they stand for.

use std::fmt;

use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::crypto::{self, RandomFailed};
use crate::owner::ConnectionId;

/// The digest of something that must not be written down.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 16]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Makes fingerprints under one secret.
#[derive(Clone)]
pub struct Fingerprints(Zeroizing<[u8; 32]>);

impl Fingerprints {
    /// Under a secret that is handed in, so that several processes make the same fingerprints.
    pub fn new(secret: [u8; 32]) -> Self {
        Self(Zeroizing::new(secret))
    }

    /// Under a secret of this process.
    pub(crate) fn random() -> Result<Self, RandomFailed> {
        let mut secret = Zeroizing::new([0; 32]);
        crypto::random(&mut secret[..])?;
        Ok(Self(secret))
    }

    /// The fingerprint of `text` for this connection's tenant, in the month of `at`.
    pub fn of(&self, connection: &ConnectionId, at: Timestamp, text: &str) -> Fingerprint {
        let month = time::OffsetDateTime::from_unix_timestamp(at.unix_seconds())
            .map_or((0, 0), |date| (date.year(), u8::from(date.month())));
        let tenant = connection.tenant();
        let mut context = Vec::with_capacity(64);
        context.extend_from_slice(&month.0.to_be_bytes());
        context.push(month.1);
        context.extend_from_slice(tenant.incarnation().as_bytes());
        context.extend_from_slice(tenant.id().as_str().as_bytes());
        let key = Zeroizing::new(crypto::hmac_sha256(&self.0[..], &context));
        let digest = crypto::hmac_sha256(&key[..], text.as_bytes());
        let mut fingerprint = [0; 16];
        fingerprint.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        Fingerprint(fingerprint)
    }
}

impl fmt::Debug for Fingerprints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprints(redacted)")
    }
}
