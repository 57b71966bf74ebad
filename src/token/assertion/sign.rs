//! Whose key signs an assertion: looked up for each one, so that a key that takes another's place is used at once.

use crate::clock::Clock;
use crate::credentials::Credential;
use crate::error::ErrorKind;
use crate::keys::{KeyError, KeyStore, Purpose};
use crate::owner::ConnectionId;
use crate::target::Target;

use super::{Assertion, AssertionError, AssertionProfile, Kind, Occasion};

/// Makes the assertions of one connection's requests to one endpoint.
#[derive(Debug)]
pub(crate) struct Assertions<'a> {
    pub(crate) keys: &'a dyn KeyStore,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) connection: &'a ConnectionId,
    /// The issuer that was configured, where there is one.
    pub(crate) issuer: Option<&'a str>,
    pub(crate) endpoint: &'a Target,
}

impl Assertions<'_> {
    pub(crate) async fn make(
        &self,
        profile: &AssertionProfile,
        credential: &Credential,
        kind: Kind<'_>,
    ) -> Result<Assertion, ErrorKind> {
        let owner = profile.owner(self.connection);
        let key = self.keys.active(&owner, Purpose::ClientAssertion).await;
        // None is made here: the issuer has to know its public half first.
        let key = key
            .and_then(|key| key.ok_or(KeyError::Missing))
            .map_err(AssertionError::Key)?;
        let occasion = Occasion {
            profile,
            owner: &owner,
            key: &key,
            credential,
            issuer: self.issuer,
            endpoint: self.endpoint.as_str(),
            now: self.clock.now(),
        };
        Ok(Assertion::make(&occasion, kind).await?)
    }
}
