//! Mutual TLS (RFC 8705): connections show the client certificate that the token is bound to.
//!
//! The issuer learns the certificate from the connection that the token request comes on, and binds the token to its
//! thumbprint, `x5t#S256`. Every call then goes on a connection that shows the same certificate. Certificates come from a
//! [`CertificateSource`], which exchanges them while the process runs: new connections, full handshakes and resumed ones, then
//! show the new certificate, tokens that are bound to the old one are not used any more, calls on their way finish.

mod source;

use std::sync::Arc;

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::keys::KeyError;
use crate::owner::Owner;
use crate::target::Origin;
use crate::transport::identity::{ClientIdentity, IdentityError};

use super::dpop::{Dpop, DpopBinding};
use super::nonce::{Nonce, Turn};
use super::{
    Answered, Attempt, BindContext, BindError, BindingKind, BindingStrategy, Confirmation, Learned, Proof, Role,
    TokenBinding,
};

pub use self::source::{CertificateSource, Exchanged};

/// Binds tokens to the client certificate of the connection (RFC 8705 3).
///
/// Requests for tokens and calls show the certificate that the source has for the connection at that time. With an issuer
/// that has `mtls_endpoint_aliases` (RFC 8705 5) those are used, every one of them.
///
/// A certificate-bound token has the type `Bearer`, so an answer cannot declare that it is not bound. What is bound is said
/// by the client's registration at the issuer, and by introspection (`ClientBuilder::confirm_binding`).
///
/// ```
/// use shipbound::binding::mtls::Mtls;
/// use shipbound::secret::KeyMaterial;
/// use shipbound::transport::identity::{ClientIdentity, IdentityError};
///
/// # fn binding(certificate: &[u8], key: &KeyMaterial) -> Result<(), IdentityError> {
/// // One certificate for all shippers, for as long as the process runs.
/// let binding = Mtls::new(ClientIdentity::from_pem(certificate, key)?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Mtls {
    source: Arc<dyn CertificateSource>,
}

impl Mtls {
    /// Certificates come from `source`.
    pub fn new(source: impl CertificateSource + 'static) -> Self {
        Self::shared(Arc::new(source))
    }

    /// As [`Mtls::new`], for a source that the application holds too.
    pub fn shared(source: Arc<dyn CertificateSource>) -> Self {
        Self { source }
    }

    /// Shows a proof beside the certificate. The issuer decides what it binds the token to: a token of type `DPoP` is used
    /// with proof and certificate, one of type `Bearer` with the certificate alone. Which it was stands in the journal and
    /// in the report of each call.
    pub fn and_dpop(self, dpop: Dpop) -> DpopMtls {
        DpopMtls { dpop, mtls: self }
    }

    async fn certificate(&self, context: &BindContext<'_>) -> Result<Arc<MtlsBinding>, BindError> {
        let identity = self.source.identity(context.connection).await?;
        identity.check_valid(context.clock.now())?;
        if !identity.is_usable() {
            return Err(BindError::Identity(IdentityError::Missing));
        }
        if identity
            .owner()
            .is_some_and(|owner| *owner != Owner::from(context.connection.clone()))
        {
            return Err(BindError::Key(KeyError::WrongOwner));
        }
        Ok(Arc::new(MtlsBinding {
            confirmations: [Confirmation::X5t(identity.x5t())],
            identity,
        }))
    }
}

#[async_trait]
impl BindingStrategy for Mtls {
    fn kind(&self) -> BindingKind {
        BindingKind::Mtls
    }

    fn certificates(&self) -> Option<&Arc<dyn CertificateSource>> {
        Some(&self.source)
    }

    async fn bind(&self, context: &BindContext<'_>) -> Result<Arc<dyn TokenBinding>, BindError> {
        let bound = self.certificate(context).await?;
        Ok(bound)
    }
}

/// Shows a proof and a client certificate with every request: [`Mtls::and_dpop`].
#[derive(Clone, Debug)]
pub struct DpopMtls {
    dpop: Dpop,
    mtls: Mtls,
}

#[async_trait]
impl BindingStrategy for DpopMtls {
    fn kind(&self) -> BindingKind {
        BindingKind::DpopMtls
    }

    /// Either confirmation is accepted.
    fn minimum(&self) -> BindingKind {
        BindingKind::Dpop
    }

    fn proof_algorithms(&self) -> &[crate::jose::Algorithm] {
        self.dpop.proof_algorithms()
    }

    fn certificates(&self) -> Option<&Arc<dyn CertificateSource>> {
        self.mtls.certificates()
    }

    async fn bind(&self, context: &BindContext<'_>) -> Result<Arc<dyn TokenBinding>, BindError> {
        let mtls = self.mtls.certificate(context).await?;
        let dpop = self.dpop.bind_key(context).await?;
        let mut confirmations = Vec::with_capacity(2);
        confirmations.extend_from_slice(dpop.confirmations());
        confirmations.extend_from_slice(mtls.confirmations());
        Ok(Arc::new(DpopMtlsBinding {
            dpop,
            mtls,
            confirmations,
        }))
    }
}

/// One connection, one certificate.
#[derive(Debug)]
struct MtlsBinding {
    identity: ClientIdentity,
    confirmations: [Confirmation; 1],
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
struct DpopMtlsBinding {
    dpop: DpopBinding,
    mtls: Arc<MtlsBinding>,
    confirmations: Vec<Confirmation>,
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
