//! Carriers' profiles, moved to the sandbox.

use super::Sandbox;
use crate::carriers::CarrierProfile;
use crate::token::TokenAt;

impl Sandbox {
    /// A carrier's profile with its origins replaced by the sandbox's and nothing else. Some carriers are answered by their
    /// [imitations](super#imitations). Others get the issuer's answers at their own token path, and need [routes](Self::route)
    /// for the rest.
    ///
    /// A token endpoint on the API's own origin stays there; another goes to the issuer's origin. A profile that finds its
    /// token endpoint in an issuer's metadata gets this [issuer](Self::issuer), and may use its `mtls_endpoint_aliases`.
    pub fn profile(&self, profile: CarrierProfile) -> CarrierProfile {
        self.moved(profile, self.api(), origin_of(self.issuer()))
    }

    /// As [`profile`](Self::profile), with the API's base at the mTLS host, for clients with a client certificate. A token
    /// endpoint that the profile itself names moves there as well. Without
    /// [`SandboxBuilder::mtls`](super::SandboxBuilder::mtls) there is no such host, and both are the same.
    pub fn mtls_profile(&self, profile: CarrierProfile) -> CarrierProfile {
        match self.mtls_api() {
            Some(mtls) => self.moved(profile, mtls, mtls),
            None => self.profile(profile),
        }
    }

    fn moved(&self, profile: CarrierProfile, api: &str, issuer_origin: &str) -> CarrierProfile {
        let issuer = match profile.token_at() {
            TokenAt::Issuer(_) | TokenAt::Nowhere | TokenAt::Credential => self.issuer(),
            TokenAt::Endpoint(url) => {
                self.shared.token_paths.add(path_of(url));
                if origin_of(url) == origin_of(profile.base()) {
                    api
                } else {
                    issuer_origin
                }
            }
        };
        let moved = profile.moved_to(api, issuer, self.loopbacks());
        match self.mtls_api() {
            Some(mtls) => moved.allow_origin(mtls),
            None => moved,
        }
    }
}

/// Scheme and authority of a URL.
pub(super) fn origin_of(url: &str) -> &str {
    let authority = url.find("://").map_or(0, |colon| colon + 3);
    let slash = url.get(authority..).and_then(|rest| rest.find('/'));
    slash.and_then(|slash| url.get(..authority + slash)).unwrap_or(url)
}

/// The rest of it, without the query.
pub(super) fn path_of(url: &str) -> &str {
    let rest = url.strip_prefix(origin_of(url)).unwrap_or_default();
    rest.split('?').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart_at_the_authoritys_end() {
        for (url, origin, path) in [
            ("https://a.example/b/c?d=/e", "https://a.example", "/b/c"),
            ("https://a.example", "https://a.example", ""),
            ("http://127.0.0.1:1/", "http://127.0.0.1:1", "/"),
        ] {
            assert_eq!((origin_of(url), path_of(url)), (origin, path));
        }
    }
}
