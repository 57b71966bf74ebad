//! KEKs that the application hands in: from a file or an environment variable that it names.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use async_trait::async_trait;
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use super::data_key::DataKey;
use super::jwe;
use super::kek::{KekError, KekId, KekProvider, WrapContext, Wrapped};
use super::sealer::SealError;

/// A KEK's text has 64 hexadecimal digits or 43 or 44 characters of base64; a file may end it with a line break.
const LONGEST_TEXT: usize = 128;

/// The octets of one KEK: 32, random. Redacted and wiped.
pub struct KekSecret(Zeroizing<[u8; 32]>);

impl KekSecret {
    /// Reads 32 octets in hexadecimal or base64 (either alphabet, padded or not). Make them with `openssl rand -hex 32`.
    ///
    /// # Errors
    /// [`KekError::Invalid`].
    pub fn parse(text: &str) -> Result<Self, KekError> {
        let text = text.trim_end_matches(['\r', '\n']);
        let octets = if text.len() == 64 {
            hexadecimal(text)
        } else {
            base64(text)
        };
        let octets: Option<[u8; 32]> = octets.and_then(|octets| octets.as_slice().try_into().ok());
        let secret = Zeroizing::new(octets.ok_or(KekError::Invalid("32 octets in hexadecimal or base64 are wanted"))?);
        // What somebody typed while he tried things out.
        if secret.iter().all(|octet| secret.first() == Some(octet)) {
            return Err(KekError::Invalid("all of its octets are equal"));
        }
        Ok(Self(secret))
    }

    /// Reads the KEK from this environment variable, now and not later.
    ///
    /// # Errors
    /// [`KekError::Invalid`], also when it is not set.
    #[expect(clippy::disallowed_methods, reason = "one variable, which the application named")]
    pub fn from_variable(name: &str) -> Result<Self, KekError> {
        let text = std::env::var(name).map_err(|_unset| KekError::Invalid("its environment variable is not set"))?;
        Self::parse(&Zeroizing::new(text))
    }

    /// Reads the KEK from this file, which nobody but its owner may read (mode 0400 or 0600; looked at on Unix alone).
    ///
    /// # Errors
    /// [`KekError::Unavailable`] when it cannot be read, [`KekError::Invalid`].
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, KekError> {
        let file = File::open(path).map_err(|_foreign| KekError::Unavailable)?;
        // Of the file that was opened, not of what has the name by now.
        let about = file.metadata().map_err(|_foreign| KekError::Unavailable)?;
        if !about.is_file() {
            return Err(KekError::Invalid("it is no file"));
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            if about.mode() & 0o077 != 0 {
                return Err(KekError::Invalid(
                    "others than the owner may read its file; set mode 0400",
                ));
            }
        }
        let mut text = Zeroizing::new(String::with_capacity(LONGEST_TEXT + 1));
        file.take(LONGEST_TEXT as u64 + 1)
            .read_to_string(&mut text)
            .map_err(|_foreign| KekError::Invalid("its file is not text"))?;
        if text.len() > LONGEST_TEXT {
            return Err(KekError::Invalid("its file holds more than a KEK"));
        }
        Self::parse(&text)
    }
}

impl fmt::Debug for KekSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KekSecret(redacted)")
    }
}

fn hexadecimal(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut octets = Zeroizing::new(Vec::with_capacity(32));
    for pair in text.as_bytes().chunks_exact(2) {
        let digit = |at: usize| char::from(*pair.get(at)?).to_digit(16);
        octets.push(u8::try_from(digit(0)? << 4 | digit(1)?).ok()?);
    }
    Some(octets)
}

fn base64(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let alphabet = if text.contains(['-', '_']) {
        &alphabet::URL_SAFE
    } else {
        &alphabet::STANDARD
    };
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(alphabet, config)
        .decode(text)
        .ok()
        .map(Zeroizing::new)
}

/// A [`KekProvider`] with KEKs of the application's own: one is the current one, the others unwrap what was wrapped before.
///
/// To rotate, give every process the new KEK as the current one and the old one beside it, and then call
/// `Sealing::rotate_kek` in one of them: until then everything goes on under the old one.
///
/// ```
/// use shipbound::store::seal::{KekId, KekSecret, LocalKek};
///
/// # fn main() -> Result<(), shipbound::store::seal::KekError> {
/// # let (new, old) = ("71".repeat(31) + "00", "72".repeat(31) + "00");
/// // Or `KekSecret::from_file(..)`, `KekSecret::from_variable(..)`.
/// let keks = LocalKek::new(KekId::new("2026-11")?, KekSecret::parse(&new)?)
///     .with_older(KekId::new("2025-11")?, KekSecret::parse(&old)?);
/// # Ok(())
/// # }
/// ```
pub struct LocalKek {
    current: KekId,
    keks: BTreeMap<KekId, KekSecret>,
}

impl LocalKek {
    /// With this KEK, which is the current one.
    pub fn new(id: KekId, secret: KekSecret) -> Self {
        Self {
            keks: BTreeMap::from([(id.clone(), secret)]),
            current: id,
        }
    }

    /// Another KEK, which what was wrapped before is unwrapped with. The current one is not replaced by one of the same id.
    #[must_use]
    pub fn with_older(mut self, id: KekId, secret: KekSecret) -> Self {
        self.keks.entry(id).or_insert(secret);
        self
    }

    fn wrapping_key(&self, kek: &KekId, context: &[u8; 32]) -> Result<Zeroizing<[u8; 32]>, KekError> {
        let secret = self.keks.get(kek).ok_or(KekError::Unknown)?;
        Ok(jwe::content_key(&secret.0, context))
    }
}

#[async_trait]
impl KekProvider for LocalKek {
    async fn current(&self) -> Result<KekId, KekError> {
        Ok(self.current.clone())
    }

    async fn wrap(&self, kek: &KekId, key: &DataKey, context: &WrapContext<'_>) -> Result<Wrapped, KekError> {
        let digest = context.digest();
        let text = jwe::encrypt(&self.wrapping_key(kek, &digest)?, kek.as_str(), &digest, key.expose());
        match text {
            Ok(text) => Ok(Wrapped { kek: kek.clone(), text }),
            Err(SealError::Randomness) => Err(KekError::Randomness),
            Err(_) => Err(KekError::Unavailable),
        }
    }

    async fn unwrap(&self, wrapped: &Wrapped, context: &WrapContext<'_>) -> Result<DataKey, KekError> {
        let digest = context.digest();
        let key = self.wrapping_key(&wrapped.kek, &digest)?;
        let octets = jwe::decrypt(&key, wrapped.kek.as_str(), &digest, &wrapped.text).map_err(|_| KekError::Refused)?;
        let mut key = Zeroizing::new([0; 32]);
        if octets.len() != key.len() {
            return Err(KekError::Refused);
        }
        key.copy_from_slice(&octets);
        Ok(DataKey::new(key))
    }
}

impl fmt::Debug for LocalKek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKek")
            .field("current", &self.current)
            .field("keks", &self.keks.keys().collect::<Vec<_>>())
            .finish()
    }
}
