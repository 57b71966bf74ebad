//! Certificates made at the start, and TLS 1.3 over them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

use super::builder::SandboxError;

/// A TLS server and the authority that vouches for it.
pub(super) struct ServerTls {
    pub(super) acceptor: TlsAcceptor,
    pub(super) ca_pem: String,
}

/// A new authority and a certificate of it for `127.0.0.1`, `::1` and `localhost`. Keys live in memory alone.
pub(super) fn make(http2: bool) -> Result<ServerTls, SandboxError> {
    let failed = |_: rcgen::Error| SandboxError::Certificate;

    let ca_key = KeyPair::generate().map_err(failed)?;
    let mut ca = CertificateParams::new(Vec::new()).map_err(failed)?;
    ca.distinguished_name
        .push(rcgen::DnType::CommonName, "shipbound sandbox authority");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_pem = ca.self_signed(&ca_key).map_err(failed)?.pem();

    let key = KeyPair::generate().map_err(failed)?;
    let mut leaf = CertificateParams::new(vec!["localhost".to_owned()]).map_err(failed)?;
    leaf.distinguished_name
        .push(rcgen::DnType::CommonName, "shipbound sandbox");
    for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        leaf.subject_alt_names.push(SanType::IpAddress(address));
    }
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let leaf = leaf.signed_by(&key, &Issuer::new(ca, ca_key)).map_err(failed)?;

    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|_| SandboxError::Certificate)?
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], private)
        .map_err(|_| SandboxError::Certificate)?;
    config.alpn_protocols = match http2 {
        true => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        false => vec![b"http/1.1".to_vec()],
    };
    Ok(ServerTls {
        acceptor: TlsAcceptor::from(Arc::new(config)),
        ca_pem,
    })
}
