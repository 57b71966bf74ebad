//! Why a client certificate cannot be used.

use thiserror::Error;

use crate::clock::Timestamp;

/// Why a client certificate cannot be used. Says nothing of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// There is no certificate in what was given.
    ///
    /// User action: hand in the client's certificate, then those of its authorities.
    #[error("there is no certificate")]
    NoCertificate,
    /// A certificate is damaged, or is not X.509 in PEM or DER.
    ///
    /// User action: export the certificate again.
    #[error("a certificate is damaged")]
    Malformed,
    /// The private key is missing, encrypted, damaged or of an unknown kind.
    ///
    /// User action: hand in one unencrypted private key (`openssl pkey -in key.pem`).
    #[error("the private key cannot be read")]
    KeyMalformed,
    /// The private key does not belong to the certificate.
    ///
    /// User action: hand in the key that the certificate was issued for.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
    /// The certificate is not valid any more.
    ///
    /// User action: renew the certificate.
    #[error("the certificate expired on {not_after}")]
    Expired {
        /// Until when it was valid.
        not_after: Timestamp,
    },
    /// The certificate is not valid yet.
    ///
    /// User action: set this machine's clock, or wait.
    #[error("the certificate is not valid before {not_before}")]
    NotYetValid {
        /// From when on it is valid.
        not_before: Timestamp,
    },
    /// The key is too weak: RSA below 2048 bits, or a signature with SHA-1 or MD5.
    ///
    /// User action: have a certificate issued for a P-256 key, or RSA with 2048 bits or more.
    #[error("the certificate or its key is too weak")]
    Weak,
    /// The source has no certificate for this connection.
    ///
    /// User action: give the source one for it.
    #[error("there is no certificate for this connection")]
    Missing,
    /// The source of certificates does not answer, or not as it should.
    ///
    /// User action: mend the file or the service that certificates come from.
    #[error("the source of certificates is not available")]
    Unavailable,
}
