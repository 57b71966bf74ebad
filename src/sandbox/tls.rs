//! TLS over the servers' certificate: for everyone, and for clients that show certificates of their own.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::NoClientAuth;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use tokio_rustls::TlsAcceptor;

use super::authority::Authority;
use super::builder::{SandboxError, Settings};
use crate::transport::reqwest::TlsVersion;

/// How connections begin: at the usual servers, and at the mTLS host.
pub(super) struct ServerTls {
    pub(super) usual: TlsAcceptor,
    pub(super) mutual: TlsAcceptor,
}

/// One certificate of the authority for all servers. Each server has tickets of its own, so that a session of one is not
/// resumed at another.
pub(super) fn make(authority: &Authority, settings: &Settings) -> Result<ServerTls, SandboxError> {
    let (certificate, key) = authority.server()?;
    let acceptor = |clients: Arc<dyn ClientCertVerifier>| -> Result<TlsAcceptor, SandboxError> {
        let failed = |_: rustls::Error| SandboxError::Certificate;
        let version = match settings.tls_version {
            TlsVersion::Tls12 => &rustls::version::TLS12,
            TlsVersion::Tls13 => &rustls::version::TLS13,
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[version])
            .map_err(failed)?
            .with_client_cert_verifier(clients)
            .with_single_cert(vec![certificate.clone()], key.clone_key())
            .map_err(failed)?;
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(failed)?;
        config.alpn_protocols = match settings.http2 {
            true => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            false => vec![b"http/1.1".to_vec()],
        };
        Ok(TlsAcceptor::from(Arc::new(config)))
    };
    Ok(ServerTls {
        usual: acceptor(Arc::new(NoClientAuth))?,
        mutual: acceptor(Arc::new(AnyCertificate(
            aws_lc_rs::default_provider().signature_verification_algorithms,
        )))?,
    })
}

/// Asks for a certificate and takes any, and none as well: that the client has its key is TLS's to prove, whose it is the
/// issuer's to know, and whether it is the token's the API's to compare (RFC 8705 6.2).
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _own: &CertificateDer<'_>,
        _others: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
