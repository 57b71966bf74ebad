//! Certificates, keys and secrets, from the files and variables that the command line names. What is wrong with them is
//! said without a word of their content.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use shipbound::binding::mtls::{CertificateSource, FileCertificates};
use shipbound::clock::Timestamp;
use shipbound::keys::{Backend, KeyImportError, LocalKey};
use shipbound::secret::KeyMaterial;
use shipbound::transport::identity::IdentityError;

use crate::args::Certificate;
use crate::usage::Usage;

/// The client certificate with its key, valid now.
pub(crate) fn certificates(from: &Certificate, now: Timestamp) -> Result<Arc<dyn CertificateSource>, Usage> {
    match from {
        Certificate::Pem { certificate, key } => {
            // So that the file is named that is not there.
            readable("--cert", certificate)?;
            readable("--key", key)?;
            let files = FileCertificates::open(certificate, key, now);
            files
                .map(|files| Arc::new(files) as Arc<dyn CertificateSource>)
                .map_err(|error| Usage(format!("--cert and --key: {}", explain(error))))
        }
        Certificate::Pkcs12 { file, variable } => pkcs12(file, variable, now),
    }
}

#[cfg(feature = "pkcs12")]
fn pkcs12(file: &Path, variable: &str, now: Timestamp) -> Result<Arc<dyn CertificateSource>, Usage> {
    use shipbound::secret::Passphrase;
    use shipbound::transport::identity::ClientIdentity;

    let password = Passphrase::new(secret(variable)?);
    let content = KeyMaterial::new(read("--cert", file)?);
    let identity = ClientIdentity::from_pkcs12(&content, &password).and_then(|identity| {
        identity.check_valid(now)?;
        Ok(identity)
    });
    identity
        .map(|identity| Arc::new(identity) as Arc<dyn CertificateSource>)
        .map_err(|error| Usage(format!("--cert: {}", explain(error))))
}

/// The command line's check lets none through.
#[cfg(not(feature = "pkcs12"))]
fn pkcs12(_file: &Path, _variable: &str, _now: Timestamp) -> Result<Arc<dyn CertificateSource>, Usage> {
    Err(Usage("--cert: PKCS#12 files need the feature pkcs12".into()))
}

/// The key of assertions: PEM, or a JWK.
pub(crate) fn assertion_key(path: &Path) -> Result<LocalKey, Usage> {
    let content = KeyMaterial::new(read("--assertion-key", path)?);
    let is_jwk = content.expose().trim_ascii_start().starts_with(b"{");
    let key = if is_jwk {
        LocalKey::from_jwk(&content, Backend::default())
    } else {
        LocalKey::from_pem(&content, Backend::default())
    };
    key.map_err(|error| {
        let todo = match error {
            KeyImportError::Encrypted => "decrypt it: openssl pkey -in FILE",
            KeyImportError::UnknownFormat => "give one private key, in PEM or as a JWK",
            KeyImportError::NotPrivate => "give the private half",
            KeyImportError::UnsupportedKey => "make a P-256 key: openssl ecparam -name prime256v1 -genkey",
            KeyImportError::FeatureNeeded { feature: "rsa" } => {
                "run it with `cargo run --features rsa --example call`, or use a P-256 key"
            }
            KeyImportError::RsaSize => "make a key of 2048 bits or more",
            _ => "export the key again, or make a new one",
        };
        Usage(format!("--assertion-key: {error}; {todo}"))
    })
}

/// What is wrong with a client certificate, and what to do.
pub(crate) fn explain(error: IdentityError) -> String {
    let todo = match error {
        IdentityError::NoCertificate => {
            "give the client's certificate in PEM with --cert, those of its authorities after it"
        }
        IdentityError::KeyMalformed => "give one unencrypted private key in PEM with --key: openssl pkey -in FILE",
        IdentityError::KeyEncrypted => "decrypt it: openssl pkey -in FILE",
        IdentityError::SeveralKeys | IdentityError::Mismatch => "give the one that the certificate was issued for",
        IdentityError::WrongPassword => "check the variable of --cert-password-env",
        IdentityError::Expired { .. } => "renew it",
        IdentityError::NotYetValid { .. } => "set this machine's clock, or wait",
        IdentityError::Weak => "have one issued for a P-256 key, or RSA with 2048 bits or more",
        IdentityError::NotForClients => "have one issued with the extended key usage clientAuth",
        IdentityError::TooLarge => "give the client's certificate and those of its authorities alone",
        IdentityError::Unavailable => "look whether both files are there and are plain files",
        _ => "export it again",
    };
    format!("{error}; {todo}")
}

pub(crate) fn read(option: &str, path: &Path) -> Result<Vec<u8>, Usage> {
    fs::read(path).map_err(|error| unreadable(option, path, &error))
}

fn readable(option: &str, path: &Path) -> Result<(), Usage> {
    let opened = fs::File::open(path);
    opened.map(drop).map_err(|error| unreadable(option, path, &error))
}

fn unreadable(option: &str, path: &Path, error: &std::io::Error) -> Usage {
    Usage(format!("{option}: {} cannot be read: {error}", path.display()))
}

pub(crate) fn secret(name: &str) -> Result<String, Usage> {
    match variable(name) {
        Some(secret) if !secret.is_empty() => Ok(secret),
        _ => Err(Usage(format!(
            "the environment variable {name} is not set, is empty, or is not UTF-8"
        ))),
    }
}

#[expect(clippy::disallowed_methods, reason = "the user of this program names the variables")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
