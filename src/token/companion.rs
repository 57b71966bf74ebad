//! A second token, which a carrier's API gives to who has the first one, and which some calls need beside it.

use std::borrow::Cow;
use std::time::Duration;

use http::HeaderName;

/// A token that is asked for at the API with each new access token, and that goes with some calls: USPS's payment
/// authorization.
///
/// It is asked for with a JSON body that the connection's credential holds as a part, and lives and ends with the access
/// token: whichever ends first renews both.
///
/// ```
/// use std::time::Duration;
/// use http::HeaderName;
/// use shipbound::token::companion::Companion;
///
/// let payment = Companion::new(
///     "/payments/v3/payment-authorization",
///     "payment_authorization",
///     "/paymentAuthorizationToken",
///     HeaderName::from_static("x-payment-authorization-token"),
///     Duration::from_secs(50 * 60),
/// )
/// .for_paths_below("/labels/v3/");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Companion {
    /// Where it is asked for: a path from the profile's base, by `POST`.
    pub path: Cow<'static, str>,
    /// The credential's part that holds the body of that request, as JSON.
    pub body_part: Cow<'static, str>,
    /// Where the answer holds it: a JSON pointer (RFC 6901).
    pub pointer: Cow<'static, str>,
    /// The header that it goes into. Refused from callers.
    pub header: HeaderName,
    /// How long it lives.
    pub lifetime: Duration,
    /// It goes with calls to paths that begin so. Default: with none.
    pub paths: Vec<Cow<'static, str>>,
}

impl Companion {
    /// A token from `path`, asked for with the credential's part `body_part`.
    pub fn new(
        path: impl Into<Cow<'static, str>>,
        body_part: impl Into<Cow<'static, str>>,
        pointer: impl Into<Cow<'static, str>>,
        header: HeaderName,
        lifetime: Duration,
    ) -> Self {
        Self {
            path: path.into(),
            body_part: body_part.into(),
            pointer: pointer.into(),
            header,
            lifetime,
            paths: Vec::new(),
        }
    }

    /// Sends it with calls to paths that begin so.
    #[must_use]
    pub fn for_paths_below(mut self, prefix: impl Into<Cow<'static, str>>) -> Self {
        self.paths.push(prefix.into());
        self
    }
}
