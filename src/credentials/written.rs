//! A credential as octets, for a store that seals them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use zeroize::Zeroizing;

use super::Credential;
use crate::jose::base64url;
use crate::json::{Object, Value};
use crate::secret::ClientSecret;

#[derive(Serialize)]
struct Written<'a> {
    client_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificates: Option<Vec<String>>,
    parts: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<Box<Written<'a>>>,
}

impl Credential {
    /// All that it holds. `None` when that would be more than `most` octets.
    pub(crate) fn write(&self, most: usize) -> Option<Zeroizing<Vec<u8>>> {
        crate::json::write(&self.written(), most)
    }

    /// What [`write`](Self::write) gave, and nothing else.
    pub(crate) fn read(octets: &[u8]) -> Option<Self> {
        read(&Object::parse(octets).ok()?)
    }

    fn written(&self) -> Written<'_> {
        let encoded = |chain: &[Vec<u8>]| chain.iter().map(|der| base64url::encode(der)).collect();
        Written {
            client_id: &self.client_id,
            secret: self.client_secret.as_ref().map(ClientSecret::expose),
            key_id: self.key_id.as_deref(),
            certificates: self.certificates.as_deref().map(encoded),
            parts: self
                .parts
                .iter()
                .map(|(name, value)| (&**name, value.expose()))
                .collect(),
            revision: self.revision,
            previous: self.previous.as_ref().map(|previous| Box::new(previous.written())),
        }
    }
}

fn read(object: &Object) -> Option<Credential> {
    let mut credential = Credential::without_secret(object.get("client_id")?.as_str()?);
    for (name, value) in object.iter() {
        match name {
            "client_id" => {}
            "secret" => credential.client_secret = Some(ClientSecret::new(value.as_str()?)),
            "key_id" => credential.key_id = Some(value.as_str()?.into()),
            "certificates" => {
                let decode = |der: &Value| base64url::decode(der.as_str()?);
                credential.certificates = Some(value.as_array()?.iter().map(decode).collect::<Option<_>>()?);
            }
            "parts" => {
                for (name, value) in value.as_object()?.iter() {
                    credential.parts.insert(name.into(), ClientSecret::new(value.as_str()?));
                }
            }
            "revision" => credential.revision = Some(value.as_number()?.as_u64()?),
            "previous" => credential.previous = Some(Arc::new(read(value.as_object()?)?)),
            _ => return None,
        }
    }
    Some(credential)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_a_credential_comes_back() {
        let plain = Credential::without_secret("public");
        let full = Credential::new("i\"d", "s\u{e9}cret\n")
            .with_part("child_key", "k")
            .with_part("child_secret", "")
            .key_id("2026")
            .certificates([vec![1, 2, 3], vec![]])
            .with_revision(u64::MAX)
            .replacing(Credential::new("old", "s3cr3t"));
        let no_chain = Credential::api_key("key").certificates([]);
        for credential in [plain, full, no_chain] {
            let written = credential.write(4096).unwrap();
            let read = Credential::read(&written).unwrap();
            assert_eq!(*read.write(4096).unwrap(), *written);
            assert_eq!(read.revision(), credential.revision());
            assert_eq!(read.x5c(), credential.x5c());
            assert_eq!(read.previous().is_some(), credential.previous().is_some());
            assert!(credential.write(written.len()).is_some());
            assert!(credential.write(written.len() - 1).is_none());
            // Written once, with no room to spare: nothing was copied on the way.
            assert_eq!(written.capacity(), written.len());
        }
    }

    #[test]
    fn anything_else_is_no_credential() {
        for text in [
            "",
            "{}",
            r#"{"client_id":1}"#,
            r#"{"client_id":"i","parts":{},"more":1}"#,
        ] {
            assert!(Credential::read(text.as_bytes()).is_none(), "{text}");
        }
    }
}
