//! One sealed value: a compact JWE (RFC 7516 7.1), `dir` with A256GCM, read strictly.
//!
//! josekit does the encryption and nothing else. Its reader of compact JWEs would inflate what `zip` says, take headers with
//! any other member, and keep a copy of the key that its `Debug` shows; its writer ends the process where the system has no
//! randomness. So the five parts are written and read here, and all of the header is compared before anything is decrypted.
//!
//! Keys and values are wiped here. The copies that OpenSSL makes of a key while it encrypts are its own to wipe.

use josekit::jwe::JweContentEncryption;
use josekit::jwe::enc::A256GCM;
use zeroize::Zeroizing;

use super::context::SealContext;
use super::data_key::{DataKey, DataKeyId};
use super::sealer::SealError;
use crate::crypto;
use crate::jose::base64url;
use crate::json::Object;

/// The longest sealed value, in octets of its text. Larger ones are neither written nor read.
pub const MAX_SEALED: usize = 64 * 1024;

/// The largest value that can be sealed, in octets: what header, nonce, tag and base64 leave of [`MAX_SEALED`].
pub const MAX_VALUE: usize = 47 * 1024;

/// Octets of a nonce and of a tag of A256GCM.
const NONCE: usize = 12;
const TAG: usize = 16;

/// What a content key is derived under, so that it is no key of anything else that is derived from the same secret.
const SALT: &[u8] = b"shipbound content key 1";

/// Seals `value` under the data key `id`, for this context alone.
///
/// # Errors
/// [`SealError::TooLarge`] over [`MAX_VALUE`]; [`SealError::Randomness`]; [`SealError::Unavailable`] when the cipher fails.
pub fn seal(id: DataKeyId, key: &DataKey, context: &SealContext<'_>, value: &[u8]) -> Result<String, SealError> {
    let digest = context.digest();
    encrypt(
        &content_key(key.expose(), &digest),
        &id.as_uuid().to_string(),
        &digest,
        value,
    )
}

/// Opens what [`seal`] made under this data key for this context.
///
/// # Errors
/// [`SealError::Refused`].
pub fn open(
    id: DataKeyId,
    key: &DataKey,
    context: &SealContext<'_>,
    sealed: &str,
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let digest = context.digest();
    decrypt(
        &content_key(key.expose(), &digest),
        &id.as_uuid().to_string(),
        &digest,
        sealed,
    )
}

/// The data key that a sealed value names. Nothing is proved by it yet.
///
/// # Errors
/// [`SealError::Refused`] when it is not the header that [`seal`] writes.
pub fn data_key_of(sealed: &str) -> Result<DataKeyId, SealError> {
    let header = parts(sealed).and_then(|[header, ..]| read_header(header));
    let id = header.and_then(|header| uuid::Uuid::try_parse(&header.kid).ok());
    id.map(DataKeyId::from_uuid).ok_or(SealError::Refused)
}

/// A key that seals for one context and nothing else.
pub(super) fn content_key(secret: &[u8; 32], context: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    crypto::hkdf_sha256(secret, SALT, context)
}

/// Encrypts under a content key. `kid` holds nothing that JSON escapes: ids have an alphabet without it.
pub(super) fn encrypt(
    key: &Zeroizing<[u8; 32]>,
    kid: &str,
    context: &[u8; 32],
    value: &[u8],
) -> Result<String, SealError> {
    if value.len() > MAX_VALUE {
        return Err(SealError::TooLarge);
    }
    let mut nonce = [0; NONCE];
    crypto::random(&mut nonce).map_err(|_failed| SealError::Randomness)?;
    let ctx = base64url::encode(context);
    let header = format!(r#"{{"alg":"dir","ctx":"{ctx}","enc":"A256GCM","kid":"{kid}"}}"#);
    let header = base64url::encode(header.as_bytes());
    let encrypted = A256GCM.encrypt(&key[..], Some(&nonce), value, header.as_bytes());
    // No text of OpenSSL's goes on; a tag is always there.
    let Ok((ciphertext, Some(tag))) = encrypted else {
        return Err(SealError::Unavailable);
    };
    let [nonce, ciphertext, tag] = [&nonce[..], &ciphertext, &tag].map(base64url::encode);
    Ok(format!("{header}..{nonce}.{ciphertext}.{tag}"))
}

/// Decrypts what [`encrypt`] made with the same key, `kid` and context.
pub(super) fn decrypt(
    key: &Zeroizing<[u8; 32]>,
    kid: &str,
    context: &[u8; 32],
    sealed: &str,
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let [header, nonce, ciphertext, tag] = parts(sealed).ok_or(SealError::Refused)?;
    let named = read_header(header).ok_or(SealError::Refused)?;
    if named.kid != kid || named.ctx != *context {
        return Err(SealError::Refused);
    }
    let decoded = (
        base64url::decode(nonce),
        base64url::decode(ciphertext),
        base64url::decode(tag),
    );
    let (Some(nonce), Some(ciphertext), Some(tag)) = decoded else {
        return Err(SealError::Refused);
    };
    // OpenSSL takes shorter tags, and nonces of any length.
    if nonce.len() != NONCE || tag.len() != TAG {
        return Err(SealError::Refused);
    }
    A256GCM
        .decrypt(&key[..], Some(&nonce), &ciphertext, header.as_bytes(), Some(&tag))
        .map(Zeroizing::new)
        .map_err(|_foreign| SealError::Refused)
}

/// Header, nonce, ciphertext and tag; the encrypted key between the first two is empty.
fn parts(sealed: &str) -> Option<[&str; 4]> {
    if sealed.len() > MAX_SEALED {
        return None;
    }
    let mut parts = sealed.split('.');
    let [header, key, nonce, ciphertext, tag] = [(); 5].map(|()| parts.next());
    if parts.next().is_some() || !key?.is_empty() {
        return None;
    }
    Some([header?, nonce?, ciphertext?, tag?])
}

struct Header {
    kid: String,
    ctx: [u8; 32],
}

/// A header with exactly `alg`, `enc`, `kid` and `ctx`, each of them once, the first two as they must be.
fn read_header(text: &str) -> Option<Header> {
    let header = Object::parse(&base64url::decode(text)?).ok()?;
    let member = |name| header.get(name)?.as_str();
    let (alg, enc, kid, ctx) = (member("alg")?, member("enc")?, member("kid")?, member("ctx")?);
    if header.iter().count() != 4 || alg != "dir" || enc != "A256GCM" {
        return None;
    }
    Some(Header {
        kid: kid.to_owned(),
        ctx: base64url::decode_array(ctx)?,
    })
}
