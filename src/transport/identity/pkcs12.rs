//! PKCS#12 files (RFC 7292), by `p12-keystore`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use p12_keystore::error::Error;
use p12_keystore::{KeyStore, KeyStoreEntry};
use rustls::pki_types::CertificateDer;
use x509_cert::der::asn1::{AnyRef, UintRef};
use x509_cert::der::{Decode, Reader, SliceReader, Tag, Tagged};
use zeroize::Zeroizing;

use super::{IdentityError, MAX_INPUT};

/// OpenSSL makes 2 048 rounds, others up to a million. These take some seconds.
const MAX_ROUNDS: u64 = 10_000_000;

/// So deep are files with all that RFC 7292 allows in each other.
const MAX_DEPTH: usize = 24;

/// The chain, the client's own certificate first, and the key in PKCS#8.
type Contents = (Vec<CertificateDer<'static>>, Zeroizing<Vec<u8>>);

pub(super) fn read(octets: &[u8], password: &str) -> Result<Contents, IdentityError> {
    if octets.len() > MAX_INPUT {
        return Err(IdentityError::TooLarge);
    }
    check_rounds(octets, MAX_DEPTH)?;
    // Its dependencies index into what the file says.
    let store = catch_unwind(AssertUnwindSafe(|| KeyStore::from_pkcs12(octets, password)))
        .map_err(|_| IdentityError::Malformed)?
        .map_err(|error| category(&error))?;
    let mut keys = store.entries().filter_map(|(_, entry)| match entry {
        KeyStoreEntry::PrivateKeyChain(key) => Some(key),
        _ => None,
    });
    let key = keys.next().ok_or(IdentityError::KeyMalformed)?;
    if keys.next().is_some() {
        return Err(IdentityError::SeveralKeys);
    }
    let chain = key
        .chain()
        .iter()
        .map(|one| CertificateDer::from(one.as_der().to_vec()))
        .collect();
    Ok((chain, Zeroizing::new(key.key().to_vec())))
}

fn category(error: &Error) -> IdentityError {
    match error {
        // Without a check value a wrong password shows when what was decrypted makes no sense.
        Error::MacError(_) | Error::Pkcs5Error(_) | Error::UnpadError => IdentityError::WrongPassword,
        _ => IdentityError::Malformed,
    }
}

/// Refuses a file whose key derivations would take hours. In all of them (RFC 7292 4 and C, RFC 8018 A.2) the number of
/// rounds follows the salt: an INTEGER after an OCTET STRING.
fn check_rounds(octets: &[u8], depth: usize) -> Result<(), IdentityError> {
    let Ok(mut reader) = SliceReader::new(octets) else {
        return Ok(());
    };
    let mut after_salt = false;
    while !reader.is_finished() {
        let Ok(value) = AnyRef::decode(&mut reader) else {
            // No ASN.1: what is encrypted.
            return Ok(());
        };
        let tag = value.tag();
        if after_salt && tag == Tag::Integer {
            let rounds = value.decode_as::<UintRef<'_>>().ok();
            let rounds = rounds.filter(|rounds| rounds.as_bytes().len() <= 8);
            let rounds = rounds.map(|rounds| {
                rounds
                    .as_bytes()
                    .iter()
                    .fold(0_u64, |sum, octet| sum << 8 | u64::from(*octet))
            });
            if rounds.is_none_or(|rounds| rounds > MAX_ROUNDS) {
                return Err(IdentityError::TooLarge);
            }
        }
        after_salt = tag == Tag::OctetString;
        if after_salt || tag.is_constructed() {
            let depth = depth.checked_sub(1).ok_or(IdentityError::Malformed)?;
            check_rounds(value.value(), depth)?;
        }
    }
    Ok(())
}
