//! Mutual TLS (RFC 8705): connections show the client certificate that the token is bound to.
//!
//! The issuer learns the certificate from the connection that the token request comes on, and binds the token to its
//! thumbprint, `x5t#S256`. Every call then goes on a connection that shows the same certificate. Certificates come from a
//! [`CertificateSource`], which exchanges them while the process runs: new connections, full handshakes and resumed ones, then
//! show the new certificate, tokens that are bound to the old one are not used any more, calls on their way finish.
//!
//! # Where certificates come from
//!
//! | Certificates are | Take |
//! |---|---|
//! | one for the whole application, for as long as the process runs | a [`ClientIdentity`](crate::transport::identity::ClientIdentity) itself |
//! | files that cert-manager, certbot, Kubernetes or an administrator renews | [`FileCertificates`] |
//! | uploaded by shippers, or kept in a database: one for each connection | [`MemoryCertificates`] |
//! | issued by HashiCorp Vault or OpenBao, for hours or days | [`vault::VaultPki`] |
//! | anything else | a [`CertificateSource`] of your own |
//!
//! # How a certificate is exchanged
//!
//! Sources look for newer certificates in [`CertificateSource::reload`]. What is newer takes the old one's place at once, and
//! the old one is [retired](crate::transport::identity::ClientIdentity::retire): tokens that are bound to it are dropped and
//! asked for anew with the next call, its idle connections are closed, requests on their way finish. A token bound to the old
//! certificate cannot be used with the new one (RFC 8705 3), so there is no time in which both serve.
//!
//! The issuer must therefore know the new certificate *before* the source has it:
//!
//! - `self_signed_tls_client_auth` (RFC 8705 2.2): the issuer knows the certificates themselves, by the client's `jwks` or
//!   `jwks_uri`. First register the new one beside the old, or publish it and wait until the issuer has read the `jwks_uri`
//!   again; then put it into the source; take the old one from the register last.
//! - `tls_client_auth` (2.1): the issuer compares the subject. A new certificate with the same subject from the same
//!   authority needs no preparation. For another authority: first have the issuer trust it.
//! - Certificates for binding alone, beside another way to authenticate: nothing is registered, nothing to prepare.

mod binding;
mod files;
mod memory;
mod source;
mod strategy;
pub mod vault;

pub use self::files::{FileCertificates, MAX_FILE};
pub use self::memory::MemoryCertificates;
pub use self::source::{CertificateSource, Exchanged};
pub use self::strategy::{DpopMtls, Mtls};
