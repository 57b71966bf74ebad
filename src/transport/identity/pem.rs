//! PEM (RFC 7468), read here so that no copy of a private key is left behind that nobody wipes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::{IdentityError, MAX_INPUT};

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// The certificates in a text, in their order. Text around them and blocks of other kinds are passed over.
pub(super) fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let mut chain = Vec::new();
    for block in blocks(text, IdentityError::Malformed)? {
        if matches!(block.label, "CERTIFICATE" | "X509 CERTIFICATE") {
            let der = block.der().ok_or(IdentityError::Malformed)?;
            chain.push(CertificateDer::from(der.to_vec()));
        }
    }
    Ok(chain)
}

/// The private key in a text: PKCS#8, SEC 1 or PKCS#1 in DER. Text around it and blocks of other kinds are passed over.
pub(super) fn private_key(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
    let blocks = blocks(text, IdentityError::KeyMalformed)?;
    let mut keys = blocks.iter().filter(|block| block.label.ends_with("PRIVATE KEY"));
    let key = keys.next().ok_or(IdentityError::KeyMalformed)?;
    if keys.next().is_some() {
        return Err(IdentityError::SeveralKeys);
    }
    // The second is how OpenSSL's older format marks an encrypted key (RFC 1421).
    if key.label == "ENCRYPTED PRIVATE KEY" || key.body.contains("Proc-Type:") {
        return Err(IdentityError::KeyEncrypted);
    }
    key.der().ok_or(IdentityError::KeyMalformed)
}

struct Block<'a> {
    label: &'a str,
    body: &'a str,
}

impl Block<'_> {
    fn der(&self) -> Option<Zeroizing<Vec<u8>>> {
        // Both as long as they can get, so that they never move and leave a copy behind.
        let mut text = Zeroizing::new(Vec::with_capacity(self.body.len()));
        text.extend(self.body.bytes().filter(|octet| !octet.is_ascii_whitespace()));
        let mut der = Zeroizing::new(vec![0; text.len()]);
        let length = STANDARD.decode_slice(&*text, &mut der).ok()?;
        der.truncate(length);
        Some(der)
    }
}

/// All blocks of a text. One without an end, or with the end of another, is `damaged`.
fn blocks(text: &[u8], damaged: IdentityError) -> Result<Vec<Block<'_>>, IdentityError> {
    if text.len() > MAX_INPUT {
        return Err(IdentityError::TooLarge);
    }
    let mut rest = std::str::from_utf8(text).map_err(|_| damaged)?;
    let mut blocks = Vec::new();
    while let Some((_around, after)) = rest.split_once(BEGIN) {
        let (label, after) = after.split_once(DASHES).ok_or(damaged)?;
        let (body, after) = after.split_once(END).ok_or(damaged)?;
        rest = after
            .strip_prefix(label)
            .and_then(|after| after.strip_prefix(DASHES))
            .ok_or(damaged)?;
        blocks.push(Block { label, body });
    }
    Ok(blocks)
}
