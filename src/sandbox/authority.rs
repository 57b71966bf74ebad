//! The sandbox's certificate authority: it vouches for the servers, and makes client certificates for tests.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::Sandbox;
use super::builder::SandboxError;
use crate::clock::{Clock, Timestamp};
use crate::jose::Thumbprint;
use crate::secret::KeyMaterial;
use crate::transport::identity::{ClientIdentity, IdentityError};

/// How long a client certificate is valid where nothing else is said, and how long before now it began.
const VALID_FOR: i64 = 365 * 86_400;
const VALID_SINCE: i64 = 86_400;

/// What a client certificate is to be like; given to [`Sandbox::client_certificate`].
///
/// ```
/// use shipbound::clock::Timestamp;
/// use shipbound::sandbox::CertificateFor;
///
/// let usual = CertificateFor::from("acme"); // of the sandbox's authority, valid since yesterday and for a year
/// let own = CertificateFor::from("acme").self_signed();
/// let expired = CertificateFor::from("acme").valid(Timestamp::from_unix_seconds(0), Timestamp::from_unix_seconds(1));
/// # let _ = (usual, own, expired);
/// ```
#[derive(Clone, Debug)]
pub struct CertificateFor {
    name: String,
    validity: Option<(Timestamp, Timestamp)>,
    self_signed: bool,
}

impl From<&str> for CertificateFor {
    fn from(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            validity: None,
            self_signed: false,
        }
    }
}

impl CertificateFor {
    /// Signed with its own key and not by the authority, as `self_signed_tls_client_auth` has it (RFC 8705 2.2).
    #[must_use]
    pub fn self_signed(mut self) -> Self {
        self.self_signed = true;
        self
    }

    /// Valid from this second to that one. Default: by the sandbox's clock, since a day ago and for a year.
    #[must_use]
    pub fn valid(mut self, from: Timestamp, until: Timestamp) -> Self {
        self.validity = Some((from, until));
        self
    }
}

/// A client certificate with its key (P-256).
pub struct ClientCertificate {
    certificate: CertificateDer<'static>,
    pem: String,
    key_pem: Zeroizing<String>,
}

impl ClientCertificate {
    /// The certificate in PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The certificate in DER.
    pub fn der(&self) -> &[u8] {
        &self.certificate
    }

    /// The private key in PEM (PKCS#8, unencrypted).
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// The certificate's thumbprint, `x5t#S256` (RFC 8705 3.1).
    pub fn x5t(&self) -> Thumbprint {
        Thumbprint::of_certificate(&self.certificate)
    }

    /// Both as an identity that connections can show. Each call makes another one.
    ///
    /// # Errors
    /// As [`ClientIdentity::from_pem`].
    pub fn identity(&self) -> Result<ClientIdentity, IdentityError> {
        ClientIdentity::from_pem(self.pem.as_bytes(), &KeyMaterial::new(self.key_pem.as_bytes()))
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientCertificate({})", self.x5t())
    }
}

impl Sandbox {
    /// A new client certificate with this common name, and its key.
    ///
    /// # Errors
    /// [`SandboxError::Certificate`] when it cannot be made: for times beyond the year 9999.
    pub fn client_certificate(&self, wanted: impl Into<CertificateFor>) -> Result<ClientCertificate, SandboxError> {
        self.shared.authority.client(&wanted.into(), self.shared.clock.now())
    }
}

/// A root certificate with its key, both made at the start and nowhere but in memory.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pub(super) pem: String,
}

fn failed(_: rcgen::Error) -> SandboxError {
    SandboxError::Certificate
}

fn named(name: &str, alternatives: Vec<String>) -> Result<CertificateParams, SandboxError> {
    let mut params = CertificateParams::new(alternatives).map_err(failed)?;
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

impl Authority {
    pub(super) fn new() -> Result<Self, SandboxError> {
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = named("shipbound sandbox authority", Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root = params.self_signed(&key).map_err(failed)?;
        Ok(Self {
            pem: root.pem(),
            certificate: root.der().clone(),
            issuer: Issuer::new(params, key),
        })
    }

    /// A certificate for `127.0.0.1`, `::1` and `localhost`, and its key.
    pub(super) fn server(&self) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), SandboxError> {
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = named("shipbound sandbox", vec!["localhost".to_owned()])?;
        for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            params.subject_alt_names.push(SanType::IpAddress(address));
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        let private = PrivatePkcs8KeyDer::from(key.serialize_der());
        Ok((certificate.der().clone(), PrivateKeyDer::Pkcs8(private)))
    }

    fn client(&self, wanted: &CertificateFor, now: Timestamp) -> Result<ClientCertificate, SandboxError> {
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = named(&wanted.name, Vec::new())?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let usual = (now.offset_seconds(-VALID_SINCE), now.offset_seconds(VALID_FOR));
        let (from, until) = wanted.validity.unwrap_or(usual);
        let date = |at: Timestamp| {
            OffsetDateTime::from_unix_timestamp(at.unix_seconds()).map_err(|_| SandboxError::Certificate)
        };
        (params.not_before, params.not_after) = (date(from)?, date(until)?);
        let certificate = match wanted.self_signed {
            true => params.self_signed(&key),
            false => params.signed_by(&key, &self.issuer),
        };
        let certificate = certificate.map_err(failed)?;
        Ok(ClientCertificate {
            certificate: certificate.der().clone(),
            pem: certificate.pem(),
            key_pem: Zeroizing::new(key.serialize_pem()),
        })
    }

    /// Whether a client's certificate is of this authority and valid at this time (RFC 8705 2.1).
    pub(super) fn vouches_for(&self, chain: &[CertificateDer<'static>], now: Timestamp) -> bool {
        let Some((own, others)) = chain.split_first() else {
            return false;
        };
        let mut roots = RootCertStore::empty();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let seconds = Duration::from_secs(u64::try_from(now.unix_seconds()).unwrap_or_default());
        roots.add(self.certificate.clone()).is_ok()
            && WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .is_ok_and(|verifier| {
                    let now = UnixTime::since_unix_epoch(seconds);
                    verifier.verify_client_cert(own, others, now).is_ok()
                })
    }
}
