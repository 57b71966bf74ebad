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
    /// A certificate is damaged, or is not X.509 in PEM or DER; or a PKCS#12 file is damaged, or made with algorithms that
    /// are not read here.
    ///
    /// User action: export the certificate or the file again.
    #[error("a certificate is damaged")]
    Malformed,
    /// The private key is missing, damaged or of an unknown kind.
    ///
    /// User action: hand in one unencrypted private key (`openssl pkey -in key.pem`).
    #[error("the private key cannot be read")]
    KeyMalformed,
    /// The private key is encrypted.
    ///
    /// User action: decrypt it on its way in (`openssl pkey -in key.pem`), or hand in a PKCS#12 file.
    #[error("the private key is encrypted")]
    KeyEncrypted,
    /// There is more than one private key.
    ///
    /// User action: hand in the one that the certificate was issued for.
    #[error("there is more than one private key")]
    SeveralKeys,
    /// The password does not open the PKCS#12 file.
    ///
    /// User action: check the password; if it is right, export the file again.
    #[error("the password does not open the file")]
    WrongPassword,
    /// The private key does not belong to the certificate.
    ///
    /// User action: hand in the key that the certificate was issued for.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
    /// The key of a store was made for another purpose than TLS.
    ///
    /// User action: have a certificate issued for a key of [`Purpose::Tls`](crate::keys::Purpose::Tls).
    #[error("the key was made for another purpose than TLS")]
    KeyPurpose,
    /// The key of a store is not in this process and signs later. A TLS handshake does not wait.
    ///
    /// User action: use a key that is in this process for the certificate.
    #[error("the key signs later, and a TLS handshake does not wait")]
    KeySignsLater,
    /// The key of a store does not sign: it is pending, has ended, or its signer fails.
    ///
    /// User action: promote the key, or mend its signer; if it has ended, have a certificate issued for another key.
    #[error("the key does not sign")]
    KeyClosed,
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
    /// The certificate or its key is weak or unusual: RSA below 2048 or above 8192 bits, a curve other than P-256, P-384 and
    /// P-521, a key that is neither RSA, ECDSA nor Ed25519; or a certificate of the chain has a signature with SHA-1 or MD5
    /// and is not self-signed.
    ///
    /// User action: have a certificate issued for a P-256 key, or RSA with 2048 bits or more.
    #[error("the certificate or its key is too weak")]
    Weak,
    /// The certificate says what it may be used for, and TLS clients are not among that (RFC 5280 4.2.1.12).
    ///
    /// User action: have a certificate issued with the extended key usage `clientAuth`.
    #[error("the certificate is not for TLS clients")]
    NotForClients,
    /// There is more than is read here: 10 certificates with 64 KiB together; 128 KiB of PEM, key or PKCS#12 file; 10 million
    /// rounds of a PKCS#12 file's key derivation.
    ///
    /// User action: hand in the client's certificate and those of its authorities alone; export PKCS#12 files with fewer
    /// rounds.
    #[error("there is too much of it")]
    TooLarge,
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

impl IdentityError {
    /// A short name for logs and metrics. It does not change between patch releases.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::Malformed => "malformed",
            Self::KeyMalformed => "key_malformed",
            Self::KeyEncrypted => "key_encrypted",
            Self::SeveralKeys => "several_keys",
            Self::WrongPassword => "wrong_password",
            Self::Mismatch => "mismatch",
            Self::KeyPurpose => "key_purpose",
            Self::KeySignsLater => "key_signs_later",
            Self::KeyClosed => "key_closed",
            Self::Expired { .. } => "expired",
            Self::NotYetValid { .. } => "not_yet_valid",
            Self::Weak => "weak",
            Self::NotForClients => "not_for_clients",
            Self::TooLarge => "too_large",
            Self::Missing => "missing",
            Self::Unavailable => "unavailable",
        }
    }
}
