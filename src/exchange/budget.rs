//! What one exchange may take: time, attempts, and one repeat a cause.

use std::time::Duration;

/// The limits of a client. Every one has a default; set others by the methods of their names.
///
/// ```
/// use std::time::Duration;
/// use shipbound::exchange::budget::Limits;
///
/// let patient = Limits::default().attempt(Duration::from_secs(45)).call(Duration::from_secs(90));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// One request, from hand-over to the last octet of its answer. Default 30 s.
    pub attempt: Duration,
    /// Getting a token: key, credential, metadata and all requests to the issuer together. Default 10 s.
    pub token_exchange: Duration,
    /// The whole call, the wait for a token included. Default 60 s.
    pub call: Duration,
    /// How long a request waits for its turn where the carrier limits how often it may be asked
    /// ([`throttle`](crate::throttle)). Zero refuses at once. Default 8 s.
    pub turn: Duration,
    /// Octets of a request's body. Default 16 MiB.
    pub request_body: usize,
    /// Octets of an answer's body. Default 16 MiB.
    pub answer: usize,
    /// Octets of an answer of the issuer. Default 256 KiB.
    pub token_answer: usize,
    /// The lifetime of a token whose answer does not tell it. Default 5 min.
    pub unknown_lifetime: Duration,
    /// The longest lifetime that is believed. Default 24 h.
    pub longest_lifetime: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            attempt: Duration::from_secs(30),
            token_exchange: Duration::from_secs(10),
            call: Duration::from_secs(60),
            turn: Duration::from_secs(8),
            request_body: 16 << 20,
            answer: 16 << 20,
            token_answer: 256 << 10,
            unknown_lifetime: Duration::from_secs(5 * 60),
            longest_lifetime: Duration::from_secs(24 * 60 * 60),
        }
    }
}

macro_rules! setters {
    ($($name:ident: $type:ty),* $(,)?) => {
        impl Limits {
            $(
                #[doc = concat!("Sets [`Limits::", stringify!($name), "`].")]
                #[must_use]
                pub fn $name(mut self, value: $type) -> Self {
                    self.$name = value;
                    self
                }
            )*
        }
    };
}

setters! {
    attempt: Duration,
    token_exchange: Duration,
    call: Duration,
    turn: Duration,
    request_body: usize,
    answer: usize,
    token_answer: usize,
    unknown_lifetime: Duration,
    longest_lifetime: Duration,
}

/// The most requests of one exchange, repeats included.
pub(crate) const MOST_ATTEMPTS: u32 = 3;

/// The causes for which this exchange has already repeated: each allows one repeat.
#[derive(Debug, Default)]
pub(crate) struct Spent {
    pub(crate) nonce: bool,
    pub(crate) renewal: bool,
    pub(crate) skew: bool,
    pub(crate) misdirected: bool,
    pub(crate) lost: bool,
    /// Whether what was lost may have arrived.
    pub(crate) lost_on_the_way: bool,
}
