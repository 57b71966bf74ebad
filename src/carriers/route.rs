//! Routes of a carrier: by which calls are known, what they do, and which parts of their paths are personal.

use std::fmt;
use std::sync::Arc;

use http::Method;

use crate::target::widely::Below;

/// What a call to a route does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RouteClass {
    /// It looks something up: rates, tracking, addresses.
    Read,
    /// It makes, changes or ends shipments, labels and pickups.
    Label,
    /// It spends or authorises money by itself: buying, charging, filling a wallet.
    Payment,
}

impl RouteClass {
    /// `read`, `label` or `payment`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Label => "label",
            Self::Payment => "payment",
        }
    }
}

/// Whether one segment of a path says something of a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SegmentClass {
    /// It leads to a person: a tracking or shipment number, a name, a postal code.
    Personal,
    /// It does not: a version, an option, the shipper's own account.
    Business,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Text(Box<str>),
    /// Any one segment; `None` where the template does not say what it is.
    Any(Option<SegmentClass>),
}

/// One route: a path in which segments in braces stand for any one segment, each with its class.
///
/// ```
/// use shipbound::carriers::Route;
///
/// let track = Route::read("/api/track/v1/details/{number:personal}");
/// let rate = Route::read("/api/rating/{version:business}/{option:business}").only(http::Method::POST);
/// assert_eq!(track.template(), "/api/track/v1/details/{number}");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Route {
    class: RouteClass,
    method: Option<Method>,
    keyed: bool,
    template: Arc<str>,
    segments: Arc<[Segment]>,
}

impl Route {
    /// A route of this class. In braces stand a name and, after a colon, `personal` or `business`; a segment that does not say
    /// which is personal.
    pub fn new(class: RouteClass, template: &str) -> Self {
        let mut shown = Vec::new();
        let mut segments = Vec::new();
        for part in template.split('/') {
            match part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                None => {
                    shown.push(part.to_owned());
                    segments.push(Segment::Text(part.into()));
                }
                Some(inner) => {
                    let (name, class) = match inner.split_once(':') {
                        Some((name, "personal")) => (name, Some(SegmentClass::Personal)),
                        Some((name, "business")) => (name, Some(SegmentClass::Business)),
                        Some((name, _)) => (name, None),
                        None => (inner, None),
                    };
                    shown.push(format!("{{{name}}}"));
                    segments.push(Segment::Any(class));
                }
            }
        }
        Self {
            class,
            method: None,
            keyed: false,
            template: shown.join("/").into(),
            segments: segments.into(),
        }
    }

    /// A route of class [`RouteClass::Read`].
    pub fn read(template: &str) -> Self {
        Self::new(RouteClass::Read, template)
    }

    /// A route of class [`RouteClass::Label`].
    pub fn label(template: &str) -> Self {
        Self::new(RouteClass::Label, template)
    }

    /// A route of class [`RouteClass::Payment`].
    pub fn payment(template: &str) -> Self {
        Self::new(RouteClass::Payment, template)
    }

    /// The route with this method alone. Default: with any.
    #[must_use]
    pub fn only(mut self, method: Method) -> Self {
        self.method = Some(method);
        self
    }

    /// The carrier takes the profile's idempotency key here
    /// ([`CarrierProfile::idempotency`](super::CarrierProfile::idempotency)). Say so of no route where it is not documented: calls
    /// to it are repeated when their connection was lost.
    #[must_use]
    pub fn keyed(mut self) -> Self {
        self.keyed = true;
        self
    }

    /// Whether the profile's idempotency key counts here. Default: it does not.
    pub fn is_keyed(&self) -> bool {
        self.keyed
    }

    /// What calls to it do.
    pub fn class(&self) -> RouteClass {
        self.class
    }

    /// The method that it is for; `None` for any.
    pub fn method(&self) -> Option<&Method> {
        self.method.as_ref()
    }

    /// The path with its variable segments in braces, without their classes: what events show.
    pub fn template(&self) -> &str {
        &self.template
    }

    /// The classes of the variable segments in order; `None` for one that the template does not classify, which counts as
    /// personal.
    pub fn parameters(&self) -> impl Iterator<Item = Option<SegmentClass>> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Text(_) => None,
            Segment::Any(class) => Some(*class),
        })
    }

    /// Whether paths of it say something of a person.
    pub fn is_personal(&self) -> bool {
        self.parameters().any(|class| class != Some(SegmentClass::Business))
    }

    pub(crate) fn shown(&self) -> Arc<str> {
        Arc::clone(&self.template)
    }

    /// Whether a call belongs to this route.
    pub(crate) fn matches(&self, method: &Method, path: &str) -> bool {
        if self.method.as_ref().is_some_and(|own| own != method) {
            return false;
        }
        let (mut wanted, mut given) = (self.segments.iter(), path.split('/'));
        loop {
            match (wanted.next(), given.next()) {
                (None, None) => return true,
                (Some(Segment::Text(text)), Some(given)) if **text == *given => {}
                (Some(Segment::Any(_)), Some(given)) if !given.is_empty() => {}
                _ => return false,
            }
        }
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Route({} {})", self.class.as_str(), self.template)
    }
}

/// The path of a URL in a profile, without a slash at its end: of a base, what stands before the paths of callers on the wire.
pub(super) fn path_of(url: &str) -> &str {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = after_scheme.find('/').and_then(|slash| after_scheme.get(slash..));
    path.unwrap_or_default().trim_end_matches('/')
}

/// A part of a carrier's API that gives credentials out, changes them, or has the carrier send data elsewhere: its token
/// endpoints, its API-key routes, the registration of webhooks. Calls to it need
/// [`allow_credential_route`](crate::client::RequestBuilder::allow_credential_route).
///
/// The path and all below it. It is read as widely as any server might read it: without case, percent-encoded once or many
/// times, with empty segments, parameters and suffixes left out. A path that is not plain and cannot be judged is held too: one
/// that comes to dot segments, to octets that are not UTF-8 or to characters outside of Latin-1 once it is decoded, or that is
/// encoded more than four times. Names in such writing belong in the query or the body.
///
/// ```
/// use shipbound::carriers::CredentialRoute;
///
/// let keys = CredentialRoute::new("/v2/users/{id}/api_keys");
/// assert!(keys.holds("/v2/users/u_1/api%5Fkeys/k_1"));
/// assert!(keys.holds("/V2//users/u_1/api_keys;x=1"));
/// assert!(keys.holds("/v2/users/u_1/api_keys.json"));
/// assert!(keys.holds("/rates/%252e%252e") && keys.holds("/rates/%E6%9D%B1"));
/// assert!(!keys.holds("/v2/users/u_1"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialRoute(Below);

impl CredentialRoute {
    /// The path `template` and all below it; a segment in braces stands for any one segment.
    pub fn new(template: &str) -> Self {
        Self(Below::new(template))
    }

    /// Whether this path is the route's, lies below it or cannot be judged.
    pub fn holds(&self, path: &str) -> bool {
        self.0.holds(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_stands_for_one_segment_and_has_its_class() {
        let route = Route::read("/track/{number:personal}/{version:business}/{other}");
        assert_eq!(route.template(), "/track/{number}/{version}/{other}");
        let classes: Vec<_> = route.parameters().collect();
        assert_eq!(
            classes,
            [Some(SegmentClass::Personal), Some(SegmentClass::Business), None]
        );
        assert!(route.matches(&Method::GET, "/track/1Z/v1/x"));
        for path in ["/track/1Z/v1/", "/track/1Z/v1", "/track/1Z/v1/x/y", "/Track/1Z/v1/x"] {
            assert!(!route.matches(&Method::GET, path), "{path}");
        }
        assert!(!Route::read("/a").only(Method::GET).matches(&Method::POST, "/a"));
    }

    #[test]
    fn a_bases_path_is_what_calls_begin_with() {
        for (base, path) in [
            ("https://1r.example.com", ""),
            ("https://1r.example.com/", ""),
            ("https://1r.example.com:8443/one/record/", "/one/record"),
            ("https://1r.example.com/connect/token?a=/b", "/connect/token"),
            ("https://1r.example.com?a=/b", ""),
        ] {
            assert_eq!(path_of(base), path, "{base}");
        }
    }

    #[test]
    fn what_is_not_classified_is_personal() {
        assert!(Route::read("/a/{b}").is_personal());
        assert!(Route::read("/a/{b:buisness}").is_personal());
        assert!(!Route::read("/a/{b:business}").is_personal());
        assert!(!Route::read("/a").is_personal());
    }
}
