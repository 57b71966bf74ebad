//! A place to send to, parsed once and strictly.
//!
//! Origin lock, route class, the proof's `htu`, the nonce book and the transport all read one [`Target`], so that no two of
//! them can understand a URL in two ways. What could be read in two ways is refused, never repaired: nothing is
//! percent-encoded, no dot segment is resolved. A target is therefore a fixed point of RFC 3986 parsing and of WHATWG
//! parsing (which HTTP stacks use), and its path and query go onto the wire octet by octet as they are here.

pub mod danger;
mod scan;
pub(crate) mod widely;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use danger::Loopback;
use scan::Host;

/// The longest URL that is accepted, in octets.
pub const MAX_TARGET_LEN: usize = 8 * 1024;

/// Why a text is not a place to send to. No variant carries any of the text, which may hold personal data or keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum TargetError {
    /// Longer than [`MAX_TARGET_LEN`]: move data from the query into the body.
    #[error("the URL is longer than 8192 octets: move data from the query into the body")]
    TooLong,
    /// Not an absolute `https://` URL.
    #[error("the URL does not start with https://: write it in full")]
    Scheme,
    /// `http`, without an exemption for this loopback authority.
    #[error("plain http is refused: use https (or a danger::Loopback for a server on this machine)")]
    PlainHttp,
    /// A user name or password in the URL.
    #[error("the URL has a user name or password: take it out, credentials belong in a credential store")]
    Userinfo,
    /// No host, an illegal character in it, or a label or name that is too long for DNS. Percent-encoded and non-ASCII names
    /// are among these: write internationalised names as A-labels (`xn--..`).
    #[error("the host is empty or not a DNS name of letters, digits, hyphens and underscores: correct the host")]
    Host,
    /// The host ends with a dot.
    #[error("the host ends with a dot: take the dot away")]
    TrailingDot,
    /// The host is an IP address in some spelling, or `localhost`, without an exemption for this authority.
    #[error(
        "the host is an IP address or localhost: use a DNS name (or a danger::Loopback for a server on this machine)"
    )]
    Address,
    /// A port that is empty, zero, has leading zeros or is above 65535.
    #[error("the port is not a number from 1 to 65535 without leading zeros: correct or remove it")]
    Port,
    /// A backslash.
    #[error("the URL has a backslash: write %5C if it is data, / if it separates")]
    Backslash,
    /// A control character, a tab or a line break.
    #[error("the URL has a control character: take it out")]
    Control,
    /// A character outside ASCII.
    #[error("the URL has a character outside ASCII: percent-encode its UTF-8 octets")]
    NonAscii,
    /// A character that RFC 3986 does not allow there: space, `" < > [ ] ^ { | }` or a backtick.
    #[error("the URL has a character that RFC 3986 does not allow there: percent-encode it")]
    Character,
    /// An apostrophe in the query, which HTTP stacks that follow WHATWG rewrite.
    #[error("the query has an apostrophe: write %27")]
    Apostrophe,
    /// `%` without two hexadecimal digits.
    #[error("the URL has a % without two hexadecimal digits after it: write %25 for the character itself")]
    PercentEscape,
    /// A segment `.` or `..`, in plain or percent-encoded, also before `;`, `%2F` or `%5C`, where some servers resolve it.
    #[error("the path has a dot segment: write the path that is meant")]
    DotSegment,
    /// A path to be joined that does not start with `/`.
    #[error("the path does not start with /: write it from the root of the API")]
    RelativePath,
    /// A path to be joined that starts with `//`, which elsewhere names another host.
    #[error("the path starts with //: write one /")]
    DoubleSlash,
    /// A base that has a query cannot take a path.
    #[error("the base URL has a query: take it out")]
    BaseQuery,
}

/// Scheme, host and port: what an origin lock compares and a nonce belongs to. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    https: bool,
    port: u16,
    host: Arc<str>,
}

impl Origin {
    /// Whether the scheme is `https`; `http` occurs under a [`Loopback`] exemption only.
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// The host in lower case, IPv6 in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, also where it is the scheme's default.
    pub fn port(&self) -> u16 {
        self.port
    }

    fn default_port(https: bool) -> u16 {
        if https { 443 } else { 80 }
    }
}

impl fmt::Display for Origin {
    /// `https://host[:port]`, without the default port.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.https { "https://" } else { "http://" })?;
        f.write_str(&self.host)?;
        if self.port == Self::default_port(self.https) {
            Ok(())
        } else {
            write!(f, ":{}", self.port)
        }
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Origin({self})")
    }
}

/// A place to send to. Cheap to clone; equal when the canonical texts are equal.
///
/// `Debug` shows the origin alone: path and query may hold personal data.
///
/// ```
/// use shipbound::target::Target;
///
/// let target = Target::parse("https://API.Carrier.Example:443/ship/v1?id=1Z999#top")?;
/// assert_eq!(target.as_str(), "https://api.carrier.example/ship/v1?id=1Z999");
/// assert_eq!(target.htu(), "https://api.carrier.example/ship/v1");
/// assert_eq!(format!("{target:?}"), "Target(https://api.carrier.example)");
/// # Ok::<(), shipbound::target::TargetError>(())
/// ```
#[derive(Clone)]
pub struct Target {
    text: Arc<str>,
    origin: Origin,
    path_start: usize,
    htu_end: usize,
}

impl Target {
    /// Parses an absolute `https` URL. Scheme and host become lower case, a default port and a fragment go, an empty path
    /// becomes `/`; path and query stay as they are.
    ///
    /// # Errors
    /// [`TargetError`] says what to change.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        Self::parse_allowing(text, &[])
    }

    /// Like [`parse`](Self::parse), but also takes `http` and `https` URLs of the exempt authorities.
    ///
    /// # Errors
    /// [`TargetError`] says what to change.
    pub fn parse_allowing(text: &str, exempt: &[Loopback]) -> Result<Self, TargetError> {
        if text.len() > MAX_TARGET_LEN {
            return Err(TargetError::TooLong);
        }
        let scheme = scan::scheme(text)?;
        let authority_end = scan::authority_end(text, scheme.len)?;
        let authority = text.get(scheme.len..authority_end).unwrap_or_default();
        let (host, port) = scan::host_and_port(authority)?;
        let default_port = Origin::default_port(scheme.https);
        let port = match port {
            None => None,
            Some(digits) => Some(parse_port(digits.as_bytes()).ok_or(TargetError::Port)?),
        };
        let number = port.unwrap_or(default_port);
        let kind = scan::host(host)?;
        let covered = || exempt.iter().any(|one| one.covers(&host.to_ascii_lowercase(), number));
        match kind {
            Host::Name if scheme.https => {}
            Host::Name => return Err(TargetError::PlainHttp),
            Host::Local if covered() => {}
            Host::Local if scheme.https => return Err(TargetError::Address),
            Host::Local => return Err(TargetError::PlainHttp),
        }
        let tail = text.get(authority_end..).unwrap_or_default();
        let ends = scan::tail(tail)?;
        let tail = tail.get(..ends.query).unwrap_or_default();

        let as_written = scheme.lower
            && !host.bytes().any(|byte| byte.is_ascii_uppercase())
            && port != Some(default_port)
            && tail.starts_with('/');
        if as_written {
            let text = text.get(..authority_end + ends.query).unwrap_or_default();
            return Ok(Self {
                origin: Origin {
                    https: scheme.https,
                    port: number,
                    host: host.into(),
                },
                path_start: authority_end,
                htu_end: authority_end + ends.path,
                text: text.into(),
            });
        }
        let origin = Origin {
            https: scheme.https,
            port: number,
            host: host.to_ascii_lowercase().into(),
        };
        let mut canonical = origin.to_string();
        let path_start = canonical.len();
        let mut path_len = ends.path;
        if !tail.starts_with('/') {
            canonical.push('/');
            path_len += 1;
        }
        canonical.push_str(tail);
        Self::limited(canonical, origin, path_start, path_start + path_len)
    }

    /// This target with `path_and_query` put after its path: a base `https://host/api` and `/rating/v1?x=1` give
    /// `https://host/api/rating/v1?x=1`. A slash at the end of the base counts once.
    ///
    /// # Errors
    /// [`TargetError::RelativePath`] or [`TargetError::DoubleSlash`] when the path does not start with exactly one `/`,
    /// [`TargetError::BaseQuery`] when this target has a query, else as [`parse`](Self::parse) of the whole.
    pub fn join_path(&self, path_and_query: &str) -> Result<Self, TargetError> {
        if self.query().is_some() {
            return Err(TargetError::BaseQuery);
        }
        if !path_and_query.starts_with('/') {
            return Err(TargetError::RelativePath);
        }
        if path_and_query.starts_with("//") {
            return Err(TargetError::DoubleSlash);
        }
        if path_and_query.len() > MAX_TARGET_LEN {
            return Err(TargetError::TooLong);
        }
        let ends = scan::tail(path_and_query)?;
        let base = self.text.strip_suffix('/').unwrap_or(&self.text);
        let added = path_and_query.get(..ends.query).unwrap_or_default();
        let mut text = String::with_capacity(base.len() + added.len());
        text.push_str(base);
        text.push_str(added);
        Self::limited(text, self.origin.clone(), self.path_start, base.len() + ends.path)
    }

    fn limited(text: String, origin: Origin, path_start: usize, htu_end: usize) -> Result<Self, TargetError> {
        if text.len() > MAX_TARGET_LEN {
            return Err(TargetError::TooLong);
        }
        Ok(Self {
            text: text.into(),
            origin,
            path_start,
            htu_end,
        })
    }

    /// The whole URL, as it is sent: without a fragment.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The URL without query and fragment: the `htu` of a proof (RFC 9449 4.2).
    pub fn htu(&self) -> &str {
        self.text.get(..self.htu_end).unwrap_or_default()
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Whether the scheme is `https`; `http` occurs under a [`Loopback`] exemption only.
    pub fn is_https(&self) -> bool {
        self.origin.https
    }

    /// The host in lower case, IPv6 in brackets.
    pub fn host(&self) -> &str {
        &self.origin.host
    }

    /// The port, also where it is the scheme's default.
    pub fn port(&self) -> u16 {
        self.origin.port
    }

    /// `host[:port]` without the default port: what the `Host` header says.
    pub fn authority(&self) -> &str {
        let start = if self.origin.https { 8 } else { 7 };
        self.text.get(start..self.path_start).unwrap_or_default()
    }

    /// The path, percent-encoded as it was given; starts with `/`.
    pub fn path(&self) -> &str {
        self.text.get(self.path_start..self.htu_end).unwrap_or_default()
    }

    /// What follows the first `?`, if there is one.
    pub fn query(&self) -> Option<&str> {
        self.text.get(self.htu_end..)?.strip_prefix('?')
    }

    /// Path and query as they stand in the request line.
    pub fn path_and_query(&self) -> &str {
        self.text.get(self.path_start..).unwrap_or_default()
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        Self::parse(text)
    }
}

impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        // The canonical text holds the origin.
        self.text == other.text
    }
}

impl Eq for Target {}

impl Hash for Target {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({})", self.origin)
    }
}

/// 1 to 65535, without leading zeros or sign.
fn parse_port(digits: &[u8]) -> Option<u16> {
    if digits.len() > 5 || digits.first().is_none_or(|first| *first == b'0') {
        return None;
    }
    digits.iter().try_fold(0_u16, |port, digit| {
        let digit = digit.is_ascii_digit().then(|| u16::from(digit - b'0'))?;
        port.checked_mul(10)?.checked_add(digit)
    })
}
