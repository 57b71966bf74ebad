//! The FAPI 2.0 Security Profile, as far as it is about clients (5.3.3): what must be so, or a client is not built.

use crate::binding::{BindingKind, BindingStrategy};
use crate::carriers::CarrierProfile;
use crate::jose::Algorithm;
use crate::rollout::Mode;
use crate::token::TokenAt;
use crate::token::assertion::AssertionProfile;
use crate::token::client_auth::ClientAuth;
use crate::token::grant::GrantType;

/// Makes what is left open conform, and says what does not.
pub(super) fn conform(
    profile: &mut CarrierProfile,
    strategy: &dyn BindingStrategy,
    mode: Mode,
) -> Result<(), &'static str> {
    let TokenAt::Issuer(issuer) = &profile.token_at else {
        // 5.3.3.1 (9) to (11).
        return Err("FAPI 2.0: endpoints come from the issuer's metadata; give the profile an issuer");
    };
    let origins = profile.origins.iter().chain([issuer, &profile.base]);
    if origins.into_iter().any(|url| !url.starts_with("https://")) {
        // 5.2.1.
        return Err("FAPI 2.0: every URL is https");
    }
    if mode != Mode::Require || strategy.minimum() == BindingKind::Bearer {
        // 5.3.3.1 (1), (2).
        return Err("FAPI 2.0: tokens are bound; choose Dpop or Mtls as the binding, and Mode::Require");
    }
    if strategy.proof_algorithms().contains(&Algorithm::Rs256) {
        // 5.4.1.
        return Err("FAPI 2.0: proofs are signed with ES256, Ed25519 or PS256");
    }
    match &profile.auth {
        ClientAuth::Tls => {}
        ClientAuth::PrivateKeyJwt(assertions) if is_plain(assertions) => {}
        // 5.3.3.1 (5), 5.4.1.
        ClientAuth::PrivateKeyJwt(_) => {
            return Err("FAPI 2.0: assertions are for the issuer, explicitly typed, and not signed with RS256");
        }
        // 5.3.3.1 (4).
        ClientAuth::Basic | ClientAuth::Post | ClientAuth::Headers { .. } | ClientAuth::None => {
            return Err("FAPI 2.0: clients authenticate with PrivateKeyJwt or Tls, not with a secret");
        }
    }
    if matches!(profile.request.grant_type(), GrantType::JwtBearer(_)) {
        return Err("FAPI 2.0: the JWT-bearer grant is not part of it");
    }
    if profile.quirks.code_without_authentication {
        return Err("FAPI 2.0: codes are exchanged by authenticated clients");
    }
    if profile.quirks.token_answer.token_type_optional {
        return Err("FAPI 2.0: token answers have a token_type");
    }
    // 5.3.2.1 (9): issuers do not rotate, so a refresh whose answer was lost may be repeated.
    profile.quirks.refresh_token_stays = true;
    Ok(())
}

fn is_plain(assertions: &AssertionProfile) -> bool {
    assertions.needs_issuer() && !assertions.legacy()
}
