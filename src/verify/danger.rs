//! Verifiers with a check left out, to show what that check is for. For teaching and for tests; never for a service.

use super::ProofVerifierBuilder;

/// A check that [`leave_out`] leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Check {
    /// Single use: a captured proof can be sent again.
    Jti,
    /// The URI: a proof for one resource counts at another.
    Htu,
    /// The token's hash: a proof made for one token counts with another.
    Ath,
    /// The token's confirmation: a stolen token counts with the thief's own key.
    Confirmation,
    /// The signature: anybody can write a proof.
    Signature,
}

/// A verifier without this check. Whoever builds it gives up what the check keeps out.
#[must_use]
pub fn leave_out(mut builder: ProofVerifierBuilder, check: Check) -> ProofVerifierBuilder {
    let left_out = builder.left_out_mut();
    match check {
        Check::Jti => left_out.jti = true,
        Check::Htu => left_out.htu = true,
        Check::Ath => left_out.ath = true,
        Check::Confirmation => left_out.confirmation = true,
        Check::Signature => left_out.signature = true,
    }
    builder
}
