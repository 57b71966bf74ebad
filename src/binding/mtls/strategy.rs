//! How an application chooses mutual TLS, alone or beside DPoP.

use std::sync::Arc;

use async_trait::async_trait;

use crate::binding::dpop::Dpop;
use crate::binding::{BindContext, BindError, BindingKind, BindingStrategy, TokenBinding};
use crate::jose::{Algorithm, Thumbprint};
use crate::keys::KeyError;
use crate::owner::Owner;
use crate::transport::identity::IdentityError;

use super::binding::{DpopMtlsBinding, MtlsBinding};
use super::source::CertificateSource;

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
        let mut identity = self.source.identity(context.connection).await?;
        if identity.is_retired() {
            // It was exchanged on its way here: the source has the next one by now.
            identity = self.source.identity(context.connection).await?;
        }
        identity.check_valid(context.clock.now())?;
        if identity.is_retired() {
            return Err(BindError::Identity(IdentityError::Missing));
        }
        if !identity.has_open_key() {
            return Err(BindError::Identity(IdentityError::KeyClosed));
        }
        if identity
            .owner()
            .is_some_and(|owner| *owner != Owner::from(context.connection.clone()))
        {
            return Err(BindError::Key(KeyError::WrongOwner));
        }
        Ok(Arc::new(MtlsBinding::new(identity)))
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

    fn proof_algorithms(&self) -> &[Algorithm] {
        self.dpop.proof_algorithms()
    }

    fn certificates(&self) -> Option<&Arc<dyn CertificateSource>> {
        self.mtls.certificates()
    }

    async fn bind(&self, context: &BindContext<'_>) -> Result<Arc<dyn TokenBinding>, BindError> {
        let mtls = self.mtls.certificate(context).await?;
        let dpop = self.dpop.bind_key(context).await?;
        Ok(Arc::new(DpopMtlsBinding::new(dpop, mtls)))
    }

    async fn bind_to(
        &self,
        context: &BindContext<'_>,
        jkt: &Thumbprint,
    ) -> Result<Option<Arc<dyn TokenBinding>>, BindError> {
        let Some(dpop) = self.dpop.bind_older(context, jkt).await? else {
            return Ok(None);
        };
        let mtls = self.mtls.certificate(context).await?;
        Ok(Some(Arc::new(DpopMtlsBinding::new(dpop, mtls))))
    }
}
