//! The guarded bearer token: tied to nothing, yet kept to its origins, redacted, short-lived and watched.

use std::sync::Arc;

use async_trait::async_trait;

use crate::keys::KeyError;

use super::{
    Answered, Attempt, BindContext, BindError, BindingKind, BindingStrategy, Confirmation, Learned, Proof, TokenBinding,
};

/// Tokens that anyone may use who has them: what carriers issue today.
///
/// The client still sends them to the origins of the carrier's profile only, over TLS, and never into logs or errors.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bearer;

#[async_trait]
impl BindingStrategy for Bearer {
    fn kind(&self) -> BindingKind {
        BindingKind::Bearer
    }

    async fn bind(&self, _context: &BindContext<'_>) -> Result<Arc<dyn TokenBinding>, BindError> {
        Ok(Arc::new(Self))
    }
}

#[async_trait]
impl TokenBinding for Bearer {
    fn kind(&self) -> BindingKind {
        BindingKind::Bearer
    }

    fn confirmations(&self) -> &[Confirmation] {
        &[]
    }

    fn is_usable(&self) -> bool {
        true
    }

    async fn prove(&self, _attempt: &Attempt<'_>) -> Result<Option<Proof>, KeyError> {
        Ok(None)
    }

    fn learn(&self, _attempt: &Attempt<'_>, _answer: &Answered<'_>) -> Learned {
        Learned::Nothing
    }
}
