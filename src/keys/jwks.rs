//! The public halves of client-assertion keys, as issuers fetch them.

use super::{KeyError, KeyFilter, KeyListing, KeyRecord, KeyState, Purpose};
use crate::jose::Algorithm;
use crate::owner::Owner;

/// The most keys that one set has. An owner has three as a rule.
const MOST: usize = 64;

/// The client's keys as an issuer fetches them from its `jwks_uri` (RFC 7517 5; RFC 7591 2): the public halves of an owner's
/// client-assertion keys, those that will sign, that sign, and that signed until a moment ago.
///
/// The `kid` is the key's thumbprint, as assertions say it unless the credential names another
/// ([`Credential::key_id`](crate::credentials::Credential::key_id)); leave that out where keys rotate.
///
/// ```
/// use shipbound::keys::{Jwks, KeyError, KeyListing};
/// use shipbound::owner::Owner;
///
/// # async fn serve(listing: &dyn KeyListing, owner: &Owner) -> Result<(String, String), KeyError> {
/// let jwks = Jwks::of(listing, owner).await?;
/// // The body, its type and its `Cache-Control`:
/// let (body, _media, cache) = (jwks.to_json(), Jwks::MEDIA, Jwks::CACHE_CONTROL);
/// # Ok((body, cache.to_owned()))
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Jwks {
    keys: Vec<KeyRecord>,
}

impl Jwks {
    /// The media type of the body (RFC 7517 8.5.2).
    pub const MEDIA: &str = "application/jwk-set+json";

    /// How long issuers may keep the set: an hour, which is shorter than keys are published ahead of their use by default
    /// ([`RotationPolicy::publish_ahead`](crate::rotation::RotationPolicy::publish_ahead), 24 h).
    pub const CACHE_CONTROL: &str = "public, max-age=3600";

    /// The keys of `owner`: pending, active and draining; at most 64.
    ///
    /// # Errors
    /// [`KeyError::StoreUnavailable`]. User action: answer 503, so that issuers keep the set that they have; an empty set would
    /// tell them to forget it.
    pub async fn of(listing: &dyn KeyListing, owner: &Owner) -> Result<Self, KeyError> {
        let filter = KeyFilter::default()
            .of_owner(owner.clone())
            .for_purpose(Purpose::ClientAssertion)
            .in_state(KeyState::Pending)
            .in_state(KeyState::Active)
            .in_state(KeyState::Draining);
        let mut keys = listing.list(&filter, None, MOST).await?;
        keys.retain(|key| filter.takes(key));
        keys.sort_by_key(|key| (key.created_at, key.id));
        Ok(Self { keys })
    }

    /// The set as JSON. No private member is in it: there is none to be had.
    pub fn to_json(&self) -> String {
        let keys: Vec<_> = self.keys.iter().map(jwk).collect();
        format!(r#"{{"keys":[{}]}}"#, keys.join(","))
    }

    /// How many keys are in it.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether the owner has no client-assertion key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

fn jwk(key: &KeyRecord) -> String {
    let alg = match key.public.algorithm() {
        // As assertions name it.
        Algorithm::Ed25519 => "EdDSA",
        algorithm => algorithm.name(),
    };
    let public = key.public.to_json();
    let members = public.trim_end_matches('}');
    format!(r#"{members},"alg":"{alg}","kid":"{}","use":"sig"}}"#, key.jkt())
}
