//! What is kept of a consent between the shipper's leaving and coming back.

use std::fmt;

use serde::Serialize;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::jose::{Thumbprint, base64url};
use crate::json::{Object, Value};
use crate::owner::{Tenant, TenantId};
use crate::secret::PendingText;

use super::ConsentError;

/// A consent that is under way: what the browser's answer is checked against. Used once, by the client that began it.
///
/// Keep it in the shipper's session, on the server: whoever has it and the browser's answer has the consent. It may come back
/// in another process, as [text](PendingConsent::to_text).
pub struct PendingConsent {
    pub(super) tenant: Tenant,
    /// Tells the client that began it from others.
    pub(super) client: [u8; 32],
    pub(super) state: String,
    pub(super) verifier: String,
    pub(super) redirect_uri: String,
    pub(super) jkt: Option<Thumbprint>,
    pub(super) x5t: Option<Thumbprint>,
    pub(super) until: Timestamp,
}

/// A consent as it is written: its secrets are not copied on the way.
#[derive(Serialize)]
struct Record<'a> {
    tenant: &'a str,
    incarnation: String,
    client: String,
    state: &'a str,
    verifier: &'a str,
    redirect_uri: &'a str,
    jkt: Option<String>,
    x5t: Option<String>,
    until: i64,
}

impl PendingConsent {
    /// Whose consent it is: to be compared with whose session it is.
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// The consent as text, for a session that is kept elsewhere: a database, say.
    pub fn to_text(&self) -> PendingText {
        let optional = |thumbprint: Option<Thumbprint>| thumbprint.map(|one| one.to_string());
        let record = Record {
            tenant: self.tenant.id().as_str(),
            incarnation: self.tenant.incarnation().to_string(),
            client: base64url::encode(&self.client),
            state: &self.state,
            verifier: &self.verifier,
            redirect_uri: &self.redirect_uri,
            jkt: optional(self.jkt),
            x5t: optional(self.x5t),
            until: self.until.unix_seconds(),
        };
        // Room for the worst case of six characters for one, so that the text with the secrets in it never moves.
        let mut text = Vec::with_capacity(6 * (self.redirect_uri.len() + 512));
        // Nothing of a record is refused, and a vector takes all.
        let _written = serde_json::to_writer(&mut text, &record);
        PendingText::new(String::from_utf8(text).unwrap_or_default())
    }

    /// The consent that this text was made of.
    ///
    /// # Errors
    /// [`ConsentError::NotPending`].
    pub fn from_text(text: &PendingText) -> Result<Self, ConsentError> {
        Self::read(text).ok_or(ConsentError::NotPending)
    }

    fn read(text: &PendingText) -> Option<Self> {
        let object = Object::parse(text.expose().as_bytes()).ok()?;
        let member = |name: &str| object.get(name).and_then(Value::as_str);
        let thumbprint = |name: &str| match object.get(name)? {
            Value::Null => Some(None),
            value => Some(Some(Thumbprint::from_base64url(value.as_str()?)?)),
        };
        let incarnation = Uuid::try_parse(member("incarnation")?).ok()?;
        let until = object.get("until").and_then(Value::as_number)?.as_i64()?;
        Some(Self {
            tenant: Tenant::new(TenantId::new(member("tenant")?).ok()?, incarnation),
            client: base64url::decode_array(member("client")?)?,
            state: member("state")?.to_owned(),
            verifier: member("verifier")?.to_owned(),
            redirect_uri: member("redirect_uri")?.to_owned(),
            jkt: thumbprint("jkt")?,
            x5t: thumbprint("x5t")?,
            until: Timestamp::from_unix_seconds(until),
        })
    }
}

impl Drop for PendingConsent {
    fn drop(&mut self) {
        for secret in [&mut self.state, &mut self.verifier] {
            drop(Zeroizing::new(std::mem::take(secret)));
        }
    }
}

impl fmt::Debug for PendingConsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingConsent")
            .field("tenant", &self.tenant)
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_gives_the_consent_back_and_shows_nothing() {
        let pending = PendingConsent {
            tenant: Tenant::new(TenantId::new("acme").unwrap(), Uuid::max()),
            client: [7; 32],
            state: "sEcReTmArKeR-state".to_owned(),
            verifier: "sEcReTmArKeR-verifier".to_owned(),
            redirect_uri: "https://app.example/back?a=\"b\"".to_owned(),
            jkt: Some(Thumbprint::from_bytes([1; 32])),
            x5t: None,
            until: Timestamp::from_unix_seconds(1_800_000_000),
        };
        let text = pending.to_text();
        let back = PendingConsent::from_text(&text).unwrap();
        assert_eq!(back.to_text().expose(), text.expose());
        assert!(!format!("{pending:?} {text:?}").contains("sEcReTmArKeR"));
        for text in ["", "{}", "null", &text.expose().replace("\"x5t\":null", "\"x5t\":\"\"")] {
            assert_eq!(
                PendingConsent::from_text(&PendingText::new(text)).err(),
                Some(ConsentError::NotPending)
            );
        }
    }
}
