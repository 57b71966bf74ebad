//! What is read of a certificate. Who issued it is the server's business (RFC 8705 7.5).

use std::time::Duration;

use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::IdentityError;
use crate::clock::Timestamp;
use crate::jose::Thumbprint;

#[derive(Debug)]
pub(super) struct Facts {
    pub(super) x5t: Thumbprint,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
}

impl Facts {
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let parsed = Certificate::from_der(certificate).map_err(|_| IdentityError::Malformed)?;
        let validity = parsed.tbs_certificate().validity();
        Ok(Self {
            x5t: Thumbprint::of(certificate),
            not_before: timestamp(validity.not_before.to_unix_duration()),
            not_after: timestamp(validity.not_after.to_unix_duration()),
        })
    }
}

fn timestamp(since_1970: Duration) -> Timestamp {
    Timestamp::UNIX_EPOCH + since_1970
}
