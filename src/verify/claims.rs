//! The claims of a proof against the request (RFC 9449 4.3 checks 3 and 8 to 12).

use super::Reason;
use super::policy::Policy;
use crate::clock::Timestamp;
use crate::crypto::constant_time_eq;
use crate::json::{Number, Object, Value};

/// The greatest instant that is read, in seconds: some 250 000 years, so that an `iat` in milliseconds is still told as one
/// from the future, and no arithmetic with it reaches a limit.
const MAX_SECONDS: i64 = 8_000_000_000_000;

/// The claims that every proof has, with the right types.
#[derive(Debug)]
pub(super) struct Claims<'a> {
    pub(super) jti: &'a str,
    pub(super) htm: &'a str,
    pub(super) htu: &'a str,
    pub(super) issued_at: Timestamp,
    all: &'a Object,
}

impl<'a> Claims<'a> {
    pub(super) fn read(all: &'a Object, policy: &Policy) -> Result<Self, Reason> {
        let text = |name| {
            let value: &Value = all.get(name).ok_or(Reason::ClaimMissing)?;
            value.as_str().ok_or(Reason::ClaimType)
        };
        let (jti, htm, htu) = (text("jti")?, text("htm")?, text("htu")?);
        let issued_at = instant(all.get("iat").ok_or(Reason::ClaimMissing)?)?;
        if issued_at < Timestamp::UNIX_EPOCH {
            return Err(Reason::ClaimType);
        }
        if !(1..=policy.max_jti_bytes).contains(&jti.len()) || jti.chars().any(char::is_control) {
            return Err(Reason::Jti);
        }
        Ok(Self {
            jti,
            htm,
            htu,
            issued_at,
            all,
        })
    }

    /// The window: both ends count, fractions of seconds are not cut off. `exp` and `nbf` are honoured where present.
    pub(super) fn check_time(&self, now: Timestamp, policy: &Policy) -> Result<(), Reason> {
        let latest = now + policy.max_future;
        if self.issued_at > latest {
            return Err(Reason::IssuedAhead);
        }
        if self.issued_at + policy.max_age < now {
            return Err(Reason::IssuedBefore);
        }
        let optional = |name| self.all.get(name).map(instant).transpose();
        if optional("exp")?.is_some_and(|expires| expires <= now) {
            return Err(Reason::Expired);
        }
        if optional("nbf")?.is_some_and(|not_before| not_before > latest) {
            return Err(Reason::NotBefore);
        }
        Ok(())
    }

    /// Whether `ath` is this hash, as text: no other form of it counts.
    pub(super) fn check_ath(&self, ath: &str) -> Result<(), Reason> {
        let claimed = self.all.get("ath").ok_or(Reason::AthMissing)?;
        let claimed = claimed.as_str().ok_or(Reason::ClaimType)?;
        if constant_time_eq(claimed.as_bytes(), ath.as_bytes()) {
            Ok(())
        } else {
            Err(Reason::Ath)
        }
    }

    /// The nonce: `None` when there is none, `Some(None)` when it is no text.
    pub(super) fn nonce(&self) -> Option<Option<&'a str>> {
        self.all.get("nonce").map(Value::as_str)
    }
}

/// A `NumericDate`: a number, with a fraction or not (RFC 7519 2).
fn instant(value: &Value) -> Result<Timestamp, Reason> {
    let number = value.as_number().ok_or(Reason::ClaimType)?;
    match number {
        Number::Unsigned(_) | Number::Negative(_) => number
            .as_i64()
            .filter(|seconds| (-MAX_SECONDS..=MAX_SECONDS).contains(seconds))
            .map(Timestamp::from_unix_seconds)
            .ok_or(Reason::ClaimType),
        Number::Float(seconds) => {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_precision_loss,
                reason = "the range is checked first, and microseconds are all that counts"
            )]
            let micros = (seconds.abs() <= MAX_SECONDS as f64).then_some((seconds * 1e6).round() as i64);
            micros.map(Timestamp::from_unix_micros).ok_or(Reason::ClaimType)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(iat: &str) -> Result<Timestamp, Reason> {
        let text = format!(r#"{{"jti":"j","htm":"GET","htu":"u","iat":{iat}}}"#);
        let all = Object::parse(text.as_bytes()).unwrap();
        Claims::read(&all, &Policy::default()).map(|claims| claims.issued_at)
    }

    #[test]
    fn fractions_and_exponents_are_numbers_and_the_rest_is_not() {
        assert_eq!(
            at("1800000000.5"),
            Ok(Timestamp::from_unix_micros(1_800_000_000_500_000))
        );
        assert_eq!(at("1.8e9"), Ok(Timestamp::from_unix_seconds(1_800_000_000)));
        assert_eq!(at("0"), Ok(Timestamp::UNIX_EPOCH));
        for iat in [
            "\"1800000000\"",
            "null",
            "true",
            "-1",
            "-0.5",
            "1e13",
            "1e308",
            "9223372036854775807",
            "-9223372036854775808",
            "18446744073709551615",
            "[]",
        ] {
            assert_eq!(at(iat), Err(Reason::ClaimType), "{iat}");
        }
    }

    #[test]
    fn the_window_is_exact_to_the_microsecond() {
        let now = Timestamp::from_unix_seconds(1_800_000_000);
        let check = |iat: &str, more: &str| {
            let text = format!(r#"{{"jti":"j","htm":"GET","htu":"u","iat":{iat}{more}}}"#);
            let all = Object::parse(text.as_bytes()).unwrap();
            Claims::read(&all, &Policy::default())
                .unwrap()
                .check_time(now, &Policy::default())
        };
        assert_eq!(check("1799999940", ""), Ok(()));
        assert_eq!(check("1799999939.9", ""), Err(Reason::IssuedBefore));
        assert_eq!(check("1800000010", ""), Ok(()));
        assert_eq!(check("1800000010.1", ""), Err(Reason::IssuedAhead));
        assert_eq!(check("1800000000", r#","exp":1800000001"#), Ok(()));
        assert_eq!(check("1800000000", r#","exp":1800000000"#), Err(Reason::Expired));
        assert_eq!(check("1800000000", r#","nbf":1800000010"#), Ok(()));
        assert_eq!(check("1800000000", r#","nbf":1800000011"#), Err(Reason::NotBefore));
        assert_eq!(check("1800000000", r#","exp":"x""#), Err(Reason::ClaimType));
    }
}
