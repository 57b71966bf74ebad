//! From where something is known.

use std::borrow::Cow;
use std::fmt;

/// What a [`Fact`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Topic {
    /// Where the carrier is, in each environment.
    Hosts,
    /// How a token is asked for, or which credential there is instead.
    Credential,
    /// How the answer to that looks, and how long a token lives.
    TokenAnswer,
    /// Where calls carry it.
    Placement,
    /// Paths, and what they do.
    Routes,
    /// Which headers name a request.
    Tracing,
    /// How errors look.
    Faults,
    /// What 401 and 403 mean, and whether such a request was carried out.
    Refusal,
    /// Limits of the token endpoint.
    TokenLimits,
    /// Limits of the API.
    ApiLimits,
    /// Whether a request can be sent twice and be carried out once.
    Idempotency,
    /// How to find out what became of a request without an answer.
    LookUp,
    /// How a credential is revoked and replaced.
    Replacement,
    /// The call that shows whether a credential works.
    Test,
    /// What tokens can be bound to.
    Binding,
}

/// How sure something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Certainty {
    /// The source says so.
    Documented,
    /// Follows from what the source says; it does not say it itself.
    Inferred,
    /// Not confirmed by any source that was read: general knowledge, or a report.
    Unverified,
}

impl Certainty {
    /// `documented`, `inferred` or `unverified`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Documented => "documented",
            Self::Inferred => "inferred",
            Self::Unverified => "unverified",
        }
    }
}

/// Something that a profile knows, with its source and the day when that was read.
///
/// ```
/// use shipbound::carriers::{Fact, Topic};
///
/// let fact = Fact::documented(Topic::TokenLimits, "developer.fedex.com, rate limits", "2026-11-22");
/// assert_eq!(fact.to_string(), "documented: developer.fedex.com, rate limits (checked 2026-11-22)");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fact {
    /// What it is about.
    pub topic: Topic,
    /// How sure it is.
    pub certainty: Certainty,
    /// Where it was read, with a remark where one is needed.
    pub source: Cow<'static, str>,
    /// When, as `YYYY-MM-DD`.
    pub checked: Cow<'static, str>,
}

impl Fact {
    fn new(
        topic: Topic,
        certainty: Certainty,
        source: impl Into<Cow<'static, str>>,
        checked: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            topic,
            certainty,
            source: source.into(),
            checked: checked.into(),
        }
    }

    /// The source says so.
    pub fn documented(
        topic: Topic,
        source: impl Into<Cow<'static, str>>,
        checked: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(topic, Certainty::Documented, source, checked)
    }

    /// It follows from the source.
    pub fn inferred(topic: Topic, source: impl Into<Cow<'static, str>>, checked: impl Into<Cow<'static, str>>) -> Self {
        Self::new(topic, Certainty::Inferred, source, checked)
    }

    /// No source that was read confirms it.
    pub fn unverified(
        topic: Topic,
        source: impl Into<Cow<'static, str>>,
        checked: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(topic, Certainty::Unverified, source, checked)
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} (checked {})",
            self.certainty.as_str(),
            self.source,
            self.checked
        )
    }
}
