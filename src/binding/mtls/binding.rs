//! What requests show of a client certificate.

use std::sync::Arc;

use async_trait::async_trait;

use crate::binding::dpop::DpopBinding;
use crate::binding::nonce::{Nonce, Turn};
use crate::binding::{Answered, Attempt, BindingKind, Confirmation, Learned, Proof, Role, TokenBinding};
use crate::clock::Timestamp;
use crate::keys::KeyError;
use crate::target::Origin;
use crate::transport::identity::ClientIdentity;

/// One connection, one certificate.
#[derive(Debug)]
pub(super) struct MtlsBinding {
    identity: ClientIdentity,
    confirmations: [Confirmation; 1],
}

impl MtlsBinding {
    pub(super) fn new(identity: ClientIdentity) -> Self {
        Self {
            confirmations: [Confirmation::X5t(identity.x5t())],
            identity,
        }
    }
}

#[async_trait]
impl TokenBinding for MtlsBinding {
    fn kind(&self) -> BindingKind {
        BindingKind::Mtls
    }

    fn confirmations(&self) -> &[Confirmation] {
        &self.confirmations
    }

    fn is_usable(&self) -> bool {
        self.identity.is_usable()
    }

    fn valid_until(&self) -> Option<Timestamp> {
        Some(self.identity.not_after())
    }

    fn identity(&self) -> Option<&ClientIdentity> {
        Some(&self.identity)
    }

    async fn prove(&self, _attempt: &Attempt<'_>) -> Result<Option<Proof>, KeyError> {
        Ok(None)
    }

    fn learn(&self, _attempt: &Attempt<'_>, _answer: &Answered<'_>) -> Learned {
        Learned::Nothing
    }
}

/// One connection, one proof key and one certificate.
#[derive(Debug)]
pub(super) struct DpopMtlsBinding {
    dpop: DpopBinding,
    mtls: Arc<MtlsBinding>,
    confirmations: Vec<Confirmation>,
}

impl DpopMtlsBinding {
    pub(super) fn new(dpop: DpopBinding, mtls: Arc<MtlsBinding>) -> Self {
        let confirmations = [dpop.confirmations(), mtls.confirmations()].concat();
        Self {
            dpop,
            mtls,
            confirmations,
        }
    }
}

#[async_trait]
impl TokenBinding for DpopMtlsBinding {
    fn kind(&self) -> BindingKind {
        BindingKind::DpopMtls
    }

    fn confirmations(&self) -> &[Confirmation] {
        &self.confirmations
    }

    fn algorithm(&self) -> Option<&'static str> {
        self.dpop.algorithm()
    }

    fn is_usable(&self) -> bool {
        self.dpop.is_usable() && self.mtls.is_usable()
    }

    fn valid_until(&self) -> Option<Timestamp> {
        self.mtls.valid_until()
    }

    fn identity(&self) -> Option<&ClientIdentity> {
        self.mtls.identity()
    }

    fn without_proof(&self) -> Option<Arc<dyn TokenBinding>> {
        let mtls = Arc::clone(&self.mtls);
        Some(mtls)
    }

    async fn turn(&self, role: Role, origin: &Origin, challenged: Option<&Nonce>) -> (Option<Nonce>, Turn) {
        self.dpop.turn(role, origin, challenged).await
    }

    async fn prove(&self, attempt: &Attempt<'_>) -> Result<Option<Proof>, KeyError> {
        self.dpop.prove(attempt).await
    }

    fn learn(&self, attempt: &Attempt<'_>, answer: &Answered<'_>) -> Learned {
        self.dpop.learn(attempt, answer)
    }
}
