//! Digests, MACs, randomness and comparison: the primitives that have no keys of their own.
//!
//! With aws-lc-rs digests come from it; without it from the crates that p256 brings along anyway. Randomness always comes
//! straight from the operating system, call by call: nothing is left over that a fork or a copied machine could repeat, and a
//! failure is an error (AWS-LC's own generator would end the process).

use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroizing;

/// The operating system gave no randomness. Nothing that needs it may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the operating system gave no randomness")]
pub(crate) struct RandomFailed;

/// SHA-256 of `data`.
pub(crate) fn sha256(data: &[u8]) -> [u8; 32] {
    backend::sha256(data)
}

/// HMAC-SHA-256 of `data` under `key` (RFC 2104).
pub(crate) fn hmac_sha256(key: &[u8], data: &[u8]) -> [u8; 32] {
    backend::hmac_sha256(key, data)
}

/// A key of HMAC-SHA-256 for many messages. Wiped when it is dropped.
#[cfg(feature = "sql")]
pub(crate) struct HmacKey(backend::HmacKey);

#[cfg(feature = "sql")]
impl HmacKey {
    pub(crate) fn new(key: &[u8]) -> Self {
        Self(backend::HmacKey::new(key))
    }

    /// [`hmac_sha256`] under this key.
    pub(crate) fn sign(&self, data: &[u8]) -> [u8; 32] {
        self.0.sign(data)
    }
}

/// The first half of [`hmac_sha256`], where 128 bits are enough.
pub(crate) fn hmac_sha256_128(key: &[u8], data: &[u8]) -> [u8; 16] {
    let digest = hmac_sha256(key, data);
    let mut out = [0; 16];
    for (to, octet) in out.iter_mut().zip(digest) {
        *to = octet;
    }
    out
}

/// 32 octets by HKDF-SHA-256 (RFC 5869): as many as one block of it gives.
pub(crate) fn hkdf_sha256(secret: &[u8], salt: &[u8], info: &[u8]) -> Zeroizing<[u8; 32]> {
    let extracted = Zeroizing::new(hmac_sha256(salt, secret));
    let mut block = Zeroizing::new(Vec::with_capacity(info.len() + 1));
    block.extend_from_slice(info);
    block.push(1);
    Zeroizing::new(hmac_sha256(&extracted[..], &block))
}

/// A digest of length-prefixed parts, so that no two lists of parts have the same.
pub(crate) struct Digest(Vec<u8>);

impl Default for Digest {
    fn default() -> Self {
        // Most are of an owner and little more.
        Self(Vec::with_capacity(512))
    }
}

impl Digest {
    pub(crate) fn count(&mut self, count: usize) {
        self.0.extend_from_slice(&(count as u64).to_be_bytes());
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn finish(self) -> [u8; 32] {
        sha256(&self.0)
    }
}

/// Fills `out` from the system's generator.
///
/// # Errors
/// [`RandomFailed`] when there is none; `out` is not to be used then.
pub(crate) fn random(out: &mut [u8]) -> Result<(), RandomFailed> {
    getrandom::fill(out).map_err(|_unspecified| RandomFailed)
}

/// Whether both are equal, in a time that tells the lengths alone.
pub(crate) fn constant_time_eq(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}

#[cfg(feature = "aws-lc-rs")]
mod backend {
    use aws_lc_rs::{digest, hmac};

    pub(super) fn sha256(data: &[u8]) -> [u8; 32] {
        let mut out = [0; 32];
        fill(&mut out, digest::digest(&digest::SHA256, data).as_ref());
        out
    }

    pub(super) fn hmac_sha256(key: &[u8], data: &[u8]) -> [u8; 32] {
        let mut out = [0; 32];
        fill(
            &mut out,
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data).as_ref(),
        );
        out
    }

    /// What the key makes of its two pads is computed once.
    #[cfg(feature = "sql")]
    pub(super) struct HmacKey(hmac::Key);

    #[cfg(feature = "sql")]
    impl HmacKey {
        pub(super) fn new(key: &[u8]) -> Self {
            Self(hmac::Key::new(hmac::HMAC_SHA256, key))
        }

        pub(super) fn sign(&self, data: &[u8]) -> [u8; 32] {
            let mut out = [0; 32];
            fill(&mut out, hmac::sign(&self.0, data).as_ref());
            out
        }
    }

    /// Both sides are 32 octets long: SHA-256 has no other length.
    fn fill(out: &mut [u8; 32], from: &[u8]) {
        debug_assert_eq!(from.len(), out.len());
        for (to, octet) in out.iter_mut().zip(from) {
            *to = *octet;
        }
    }
}

#[cfg(not(feature = "aws-lc-rs"))]
mod backend {
    use hmac::{Hmac, KeyInit, Mac};
    use sha2::{Digest, Sha256};

    pub(super) fn sha256(data: &[u8]) -> [u8; 32] {
        Sha256::digest(data).into()
    }

    /// The key itself: the states of these crates are not wiped.
    #[cfg(feature = "sql")]
    pub(super) struct HmacKey(zeroize::Zeroizing<Vec<u8>>);

    #[cfg(feature = "sql")]
    impl HmacKey {
        pub(super) fn new(key: &[u8]) -> Self {
            Self(key.to_vec().into())
        }

        pub(super) fn sign(&self, data: &[u8]) -> [u8; 32] {
            hmac_sha256(&self.0, data)
        }
    }

    pub(super) fn hmac_sha256(key: &[u8], data: &[u8]) -> [u8; 32] {
        // A key over one block is hashed first (RFC 2104 2), which leaves a constructor that cannot fail.
        let mut block = [0_u8; 64];
        let hashed;
        let short = if key.len() > block.len() {
            hashed = sha256(key);
            hashed.as_slice()
        } else {
            key
        };
        for (to, octet) in block.iter_mut().zip(short) {
            *to = *octet;
        }
        let mut mac = Hmac::<Sha256>::new(&block.into());
        mac.update(data);
        mac.finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(octets: &[u8]) -> String {
        octets.iter().map(|octet| format!("{octet:02x}")).collect()
    }

    #[test]
    fn digests_are_those_of_the_standards() {
        assert_eq!(
            hex(&sha256(b"abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        // RFC 4231, cases 2 and 6: a short key, and one over the block size.
        assert_eq!(
            hex(&hmac_sha256(b"Jefe", b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            hex(&hmac_sha256(
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First"
            )),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }

    #[cfg(feature = "sql")]
    #[test]
    fn a_key_for_many_messages_signs_each_as_a_key_for_one() {
        let key = HmacKey::new(b"Jefe");
        for message in [
            &b"what do ya want for nothing?"[..],
            b"",
            b"what do ya want for nothing?",
        ] {
            assert_eq!(key.sign(message), hmac_sha256(b"Jefe", message));
        }
    }

    #[test]
    fn derived_keys_are_those_of_rfc_5869() {
        // A.1, the first 32 of its 42 octets.
        let salt: Vec<u8> = (0..=0x0c).collect();
        let info: Vec<u8> = (0xf0..=0xf9).collect();
        assert_eq!(
            hex(&hkdf_sha256(&[0x0b; 22], &salt, &info)[..]),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
        );
        // A.3: neither salt nor info.
        assert_eq!(
            hex(&hkdf_sha256(&[0x0b; 22], &[], &[])[..]),
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
        );
    }

    #[test]
    fn random_octets_differ() {
        let (mut one, mut two) = ([0; 32], [0; 32]);
        random(&mut one).unwrap();
        random(&mut two).unwrap();
        assert_ne!(one, two);
    }

    #[test]
    fn comparison_sees_content_and_length() {
        assert!(constant_time_eq(b"same", b"same"));
        assert!(!constant_time_eq(b"same", b"sama"));
        assert!(!constant_time_eq(b"same", b"sam"));
    }
}
