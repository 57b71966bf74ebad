//! What a verifier takes, with the defaults that are safe at a carrier's API.

use std::time::Duration;

use thiserror::Error;

use crate::jose::Algorithm;

/// Why a verifier, a replay log or a nonce source cannot be set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidSetup {
    /// The age must be 1 s to 10 min.
    #[error("the greatest age of a proof must be 1 s to 10 min")]
    MaxAge,
    /// The allowance for clocks that run ahead must be 10 s to 60 s (FAPI 2.0 Security Profile 5.3.2.1, 13).
    #[error("the allowance for clocks that run ahead must be 10 s to 60 s")]
    MaxFuture,
    /// No algorithm is left.
    #[error("at least one algorithm must be allowed")]
    NoAlgorithm,
    /// This build cannot verify that algorithm: switch the feature `aws-lc-rs` on. RS256 is verified by none.
    #[error("that algorithm cannot be verified: RS256 never, Ed25519 and PS256 with the feature aws-lc-rs")]
    UnsupportedAlgorithm,
    /// The proof's size limit must be 1 to 64 KiB.
    #[error("the size limit of a proof must be 1 to 64 KiB")]
    MaxProofBytes,
    /// The length limit of `jti` must be 16 to 1024 octets.
    #[error("the length limit of jti must be 16 to 1024 octets")]
    MaxJtiBytes,
    /// A slot of stateless nonces must be 1 s to 1 h.
    #[error("a nonce slot must be 1 s to 1 h")]
    NonceSlot,
    /// A replay log needs a capacity, and no quota above it.
    #[error("a replay log's capacity must be at least 1, and its quotas 1 up to the capacity")]
    Capacity,
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness")]
    NoRandomness,
}

/// The limits of a verifier.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    pub(super) max_age: Duration,
    pub(super) max_future: Duration,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) max_proof_bytes: usize,
    pub(super) max_jti_bytes: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_age: Duration::from_secs(60),
            max_future: Duration::from_secs(10),
            algorithms: SUPPORTED.to_vec(),
            max_proof_bytes: 8 * 1024,
            max_jti_bytes: 256,
        }
    }
}

/// What this build verifies.
const SUPPORTED: &[Algorithm] = if cfg!(feature = "aws-lc-rs") {
    &[Algorithm::Es256, Algorithm::Ed25519, Algorithm::Ps256]
} else {
    &[Algorithm::Es256]
};

impl Policy {
    pub(super) fn check(&self) -> Result<(), InvalidSetup> {
        let seconds = Duration::from_secs;
        if !(seconds(1)..=seconds(600)).contains(&self.max_age) {
            return Err(InvalidSetup::MaxAge);
        }
        if !(seconds(10)..=seconds(60)).contains(&self.max_future) {
            return Err(InvalidSetup::MaxFuture);
        }
        if self.algorithms.is_empty() {
            return Err(InvalidSetup::NoAlgorithm);
        }
        if !self.algorithms.iter().all(|algorithm| SUPPORTED.contains(algorithm)) {
            return Err(InvalidSetup::UnsupportedAlgorithm);
        }
        if !(1024..=64 * 1024).contains(&self.max_proof_bytes) {
            return Err(InvalidSetup::MaxProofBytes);
        }
        if !(16..=1024).contains(&self.max_jti_bytes) {
            return Err(InvalidSetup::MaxJtiBytes);
        }
        Ok(())
    }

    /// The names for the `algs` parameter of a challenge (RFC 9449 7.1).
    pub(super) fn algorithm_names(&self) -> String {
        let names = self.algorithms.iter().flat_map(|algorithm| algorithm.jws_names());
        names.copied().collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_pass_and_every_limit_holds() {
        assert_eq!(Policy::default().check(), Ok(()));
        let with = |change: fn(&mut Policy)| {
            let mut policy = Policy::default();
            change(&mut policy);
            policy.check().expect_err("refused")
        };
        assert_eq!(with(|policy| policy.max_age = Duration::ZERO), InvalidSetup::MaxAge);
        assert_eq!(
            with(|policy| policy.max_age = Duration::from_secs(601)),
            InvalidSetup::MaxAge
        );
        assert_eq!(
            with(|policy| policy.max_future = Duration::from_secs(9)),
            InvalidSetup::MaxFuture
        );
        assert_eq!(
            with(|policy| policy.max_future = Duration::from_secs(61)),
            InvalidSetup::MaxFuture
        );
        assert_eq!(with(|policy| policy.algorithms.clear()), InvalidSetup::NoAlgorithm);
        assert_eq!(with(|policy| policy.max_proof_bytes = 0), InvalidSetup::MaxProofBytes);
        assert_eq!(with(|policy| policy.max_jti_bytes = 15), InvalidSetup::MaxJtiBytes);
    }
}
