//! Key-encryption keys on a token.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use zeroize::Zeroizing;

use super::failure::{Fault, Pkcs11Failure};
use super::objects::{self, Name};
use super::sessions::{At, Sessions};
use super::token::Pkcs11Token;
use crate::crypto::{self, Digest};
use crate::jose::base64url;
use crate::store::seal::{DataKey, KekError, KekId, KekProvider, WrapContext, Wrapped};

const NONCE: usize = 12;
const TAG: usize = 16;

/// Wraps data keys under AES-256 keys that a token has made and that never leave it, by AES-GCM with the
/// [context](WrapContext::digest) as associated data.
///
/// Every KEK is made by [`Pkcs11Kek::create`] under an id that has never been before, and data keys are unwrapped with whichever
/// KEK they name, as long as the token has it: to change the KEK, create one, give its id to new processes, re-wrap, and
/// destroy the old one on the token by hand.
///
/// ```no_run
/// use shipbound::store::pkcs11::{Pkcs11Kek, Pkcs11Token};
/// use shipbound::store::seal::{KekError, KekId};
///
/// # async fn make(token: &Pkcs11Token) -> Result<(), KekError> {
/// // Once, by an administrator; the id goes into the application's configuration.
/// let id = Pkcs11Kek::create(token, "production").await?;
/// // In each process.
/// let kek = Pkcs11Kek::new(token, id);
/// # Ok(())
/// # }
/// ```
pub struct Pkcs11Kek {
    sessions: Arc<Sessions>,
    current: KekId,
}

impl Pkcs11Kek {
    /// Wraps new data keys under the KEK of this id, which [`create`](Self::create) gave. The token is not asked yet.
    pub fn new(token: &Pkcs11Token, current: KekId) -> Self {
        Self {
            sessions: Arc::clone(token.sessions()),
            current,
        }
    }

    /// Makes a KEK on the token: `name` (for people; 1 to 80 characters, as [`KekId`] has them), a colon and 32 hexadecimal
    /// digits that were drawn.
    ///
    /// # Errors
    /// [`KekError::Invalid`] for another name, or where the token makes keys that can be exported (such a key is destroyed);
    /// [`KekError::Unavailable`], [`KekError::Randomness`].
    pub async fn create(token: &Pkcs11Token, name: &str) -> Result<KekId, KekError> {
        if name.is_empty() || name.len() > 80 {
            return Err(KekError::Invalid("a KEK's name has 1 to 80 characters"));
        }
        let mut drawn = [0; 16];
        crypto::random(&mut drawn).map_err(|_none| KekError::Randomness)?;
        let drawn: String = drawn.iter().map(|octet| format!("{octet:02x}")).collect();
        let id = KekId::new(&format!("{name}:{drawn}"))?;
        let made = id.clone();
        let generate = move |at: &At<'_>| {
            if at.again {
                objects::destroy(at.session, &object_name(&made))?;
            }
            generate(at.session, &made)
        };
        let unwanted = id.clone();
        let unwanted = move |at: &At<'_>| {
            let _stays_without_a_use = objects::destroy(at.session, &object_name(&unwanted));
        };
        match token.sessions().run(generate, unwanted).await {
            Ok(()) => Ok(id),
            Err(Fault::Mismatch) => Err(KekError::Invalid("the token makes keys that can be exported")),
            Err(_any) => Err(KekError::Unavailable),
        }
    }
}

#[async_trait]
impl KekProvider for Pkcs11Kek {
    async fn current(&self) -> Result<KekId, KekError> {
        Ok(self.current.clone())
    }

    async fn wrap(&self, kek: &KekId, key: &DataKey, context: &WrapContext<'_>) -> Result<Wrapped, KekError> {
        let (name, context) = (object_name(kek), context.digest());
        let mut nonce = [0; NONCE];
        crypto::random(&mut nonce).map_err(|_none| KekError::Randomness)?;
        let key = Zeroizing::new(key.expose().to_vec());
        let wrap = move |at: &At<'_>| {
            let kek = find(at.session, &name)?;
            let mut given = nonce;
            let parameters = GcmParams::new(&mut given, &context, TAG_BITS.into())?;
            let sealed = at.session.encrypt(&Mechanism::AesGcm(parameters), kek, &key)?;
            // Some devices draw the nonce themselves, and put it there.
            Ok((given, sealed))
        };
        let (nonce, sealed) = self.sessions.run(wrap, |_| {}).await?;
        Ok(Wrapped {
            kek: kek.clone(),
            text: base64url::encode(&[&nonce[..], &sealed].concat()),
        })
    }

    async fn unwrap(&self, wrapped: &Wrapped, context: &WrapContext<'_>) -> Result<DataKey, KekError> {
        let (name, context) = (object_name(&wrapped.kek), context.digest());
        let octets = base64url::decode(&wrapped.text).ok_or(KekError::Refused)?;
        let (nonce, sealed) = octets.split_first_chunk::<NONCE>().ok_or(KekError::Refused)?;
        if sealed.len() != 32 + TAG {
            return Err(KekError::Refused);
        }
        let (nonce, sealed) = (*nonce, sealed.to_vec());
        let unwrap = move |at: &At<'_>| {
            let kek = find(at.session, &name)?;
            let mut given = nonce;
            let parameters = GcmParams::new(&mut given, &context, TAG_BITS.into())?;
            let opened = at.session.decrypt(&Mechanism::AesGcm(parameters), kek, &sealed);
            let opened = Zeroizing::new(match opened.map_err(Fault::from) {
                Ok(opened) => opened,
                // Modules differ in how they say that a tag is wrong: a device that opens what it has sealed itself means that.
                Err(Fault::Failed(Pkcs11Failure::Device)) => {
                    probe(at.session, kek, &context)?;
                    return Err(Fault::Refused);
                }
                Err(fault) => return Err(fault),
            });
            let key = opened.as_slice().try_into().map_err(|_length| Fault::Refused)?;
            Ok(Zeroizing::new(key))
        };
        Ok(DataKey::new(self.sessions.run(unwrap, |_| {}).await?))
    }
}

/// Whether the device opens under this KEK what it seals; it fails as the device does.
fn probe(session: &Session, kek: ObjectHandle, context: &[u8]) -> Result<(), Fault> {
    let mut given = [0; NONCE];
    crypto::random(&mut given).map_err(|_none| Fault::Failed(Pkcs11Failure::Device))?;
    let sealed = session.encrypt(
        &Mechanism::AesGcm(GcmParams::new(&mut given, context, TAG_BITS.into())?),
        kek,
        &[0; 32],
    )?;
    session.decrypt(
        &Mechanism::AesGcm(GcmParams::new(&mut given, context, TAG_BITS.into())?),
        kek,
        &sealed,
    )?;
    Ok(())
}

const TAG_BITS: u64 = 8 * TAG as u64;

/// CKA_ID of a KEK.
fn object_name(id: &KekId) -> Name {
    let mut parts = Digest::default();
    parts.text("shipbound kek");
    parts.text(id.as_str());
    parts.finish()
}

fn generate(session: &Session, id: &KekId) -> Result<(), Fault> {
    let name = object_name(id);
    let template = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::ValueLen(32_u64.into()),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
        Attribute::Wrap(false),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
        Attribute::Sign(false),
        Attribute::Verify(false),
        Attribute::Id(name.to_vec()),
        Attribute::Label(format!("shipbound kek {}", id.as_str()).into_bytes()),
    ];
    session.generate_key(&Mechanism::AesKeyGen, &template)?;
    let checked = find(session, &name);
    if checked.is_err() {
        objects::destroy(session, &name)?;
    }
    checked.map(|_handle| ())
}

/// The one key of this name, which cannot be exported.
fn find(session: &Session, name: &Name) -> Result<ObjectHandle, Fault> {
    let key = objects::one(session, name, ObjectClass::SECRET_KEY)?;
    objects::check_kept(session, key)?;
    let others = session.get_attributes(
        key,
        &[AttributeType::Wrap, AttributeType::Unwrap, AttributeType::Derive],
    )?;
    let allows = |attribute: &Attribute| {
        matches!(
            attribute,
            Attribute::Wrap(true) | Attribute::Unwrap(true) | Attribute::Derive(true)
        )
    };
    if others.iter().any(allows) {
        return Err(Fault::Mismatch);
    }
    Ok(key)
}

impl From<Fault> for KekError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Missing => Self::Unknown,
            Fault::Mismatch | Fault::Refused => Self::Refused,
            Fault::Stale | Fault::Failed(_) => Self::Unavailable,
        }
    }
}

impl fmt::Debug for Pkcs11Kek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pkcs11Kek")
            .field("current", &self.current)
            .finish_non_exhaustive()
    }
}
