//! What a browser brings back from the issuer's page (RFC 6749 4.1.2).

use std::fmt;

use zeroize::Zeroizing;

use crate::crypto;
use crate::error::OAuthCode;

use super::ConsentError;

/// The longest address that is read.
const LONGEST_PLACE: usize = 16 * 1024;

/// The parameters of an answer, believed only after its state was checked.
#[derive(Default)]
pub(super) struct Callback {
    state: Option<String>,
    issuer: Option<String>,
    error: Option<String>,
    code: Option<Zeroizing<String>>,
}

impl Callback {
    /// Reads the address that the browser came back to. It must be the one that was asked for, with more behind it: an issuer
    /// that sends browsers on to another issuer's page gets an answer at its own address alone (RFC 9700 4.4.2.2).
    pub(super) fn read(place: &str, redirect_uri: &str) -> Result<Self, ConsentError> {
        if place.len() > LONGEST_PLACE {
            return Err(ConsentError::Malformed);
        }
        let query = place
            .strip_prefix(redirect_uri)
            .and_then(|rest| rest.strip_prefix(if redirect_uri.contains('?') { '&' } else { '?' }))
            .ok_or(ConsentError::Place)?;
        let mut callback = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            // RFC 6749 3.1: no parameter twice.
            let twice = match &*name {
                "state" => callback.state.replace(value.into_owned()).is_some(),
                "iss" => callback.issuer.replace(value.into_owned()).is_some(),
                "error" => callback.error.replace(value.into_owned()).is_some(),
                "code" => callback.code.replace(Zeroizing::new(value.into_owned())).is_some(),
                _ => false,
            };
            if twice {
                return Err(ConsentError::Malformed);
            }
        }
        Ok(callback)
    }

    pub(super) fn check_state(&self, wanted: &str) -> Result<(), ConsentError> {
        match &self.state {
            Some(state) if crypto::constant_time_eq(state.as_bytes(), wanted.as_bytes()) => Ok(()),
            _ => Err(ConsentError::State),
        }
    }

    /// RFC 9207 2.4: what an answer says of its issuer must be right, and be there where the issuer always says it.
    pub(super) fn check_issuer(&self, known: Option<&str>, always: bool) -> Result<(), ConsentError> {
        match (&self.issuer, known) {
            (Some(said), Some(known)) if said != known => Err(ConsentError::Issuer),
            (None, _) if always => Err(ConsentError::Issuer),
            _ => Ok(()),
        }
    }

    pub(super) fn code(&self) -> Result<&str, ConsentError> {
        if let Some(error) = &self.error {
            return Err(ConsentError::Refused(OAuthCode::new(error)));
        }
        let code = self.code.as_ref().filter(|code| !code.is_empty());
        code.map(|code| code.as_str()).ok_or(ConsentError::NoCode)
    }
}

impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Callback")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACK: &str = "https://app.example/back";

    fn read(query: &str) -> Result<Callback, ConsentError> {
        Callback::read(&format!("{BACK}?{query}"), BACK)
    }

    #[test]
    fn an_answer_is_read_once_and_in_order() {
        let good = read("code=a%2Bb&state=s&iss=https%3A%2F%2Fa.example").unwrap();
        assert_eq!(good.check_state("s"), Ok(()));
        assert_eq!(good.check_issuer(Some("https://a.example"), true), Ok(()));
        assert_eq!(good.code(), Ok("a+b"));
        for twice in ["code=a&code=b", "state=s&state=s", "iss=a&iss=a", "error=a&error=b"] {
            assert_eq!(read(twice).err(), Some(ConsentError::Malformed), "{twice}");
        }
        assert_eq!(read(&"a".repeat(16 * 1024)).err(), Some(ConsentError::Malformed));
    }

    #[test]
    fn an_answer_comes_to_the_address_that_was_asked_for() {
        for place in [
            "?code=a&state=s",
            "code=a&state=s",
            "https://app.example/back",
            "https://app.example/back/x?code=a&state=s",
            "https://app.example/other?code=a&state=s",
            "http://app.example/back?code=a&state=s",
            "https://app.example.evil.example/back?code=a&state=s",
        ] {
            assert_eq!(Callback::read(place, BACK).err(), Some(ConsentError::Place), "{place}");
        }
        let with_query = "https://app.example/back?carrier=ups";
        let read = Callback::read(&format!("{with_query}&code=a&state=s"), with_query).unwrap();
        assert_eq!((read.check_state("s"), read.code()), (Ok(()), Ok("a")));
    }

    #[test]
    fn state_and_issuer_must_be_right() {
        let of = |query| read(query).unwrap();
        for query in ["code=a", "code=a&state=", "code=a&state=S", "code=a&state=ss"] {
            assert_eq!(of(query).check_state("s"), Err(ConsentError::State), "{query}");
        }
        let known = Some("https://a.example");
        assert_eq!(of("state=s").check_issuer(known, true), Err(ConsentError::Issuer));
        assert_eq!(of("state=s").check_issuer(known, false), Ok(()));
        for always in [true, false] {
            let other = of("iss=https://a.example/");
            assert_eq!(other.check_issuer(known, always), Err(ConsentError::Issuer));
        }
    }

    #[test]
    fn a_refusal_counts_before_a_code() {
        let of = |query| read(query).unwrap().code().map(str::to_owned);
        assert_eq!(
            of("error=access_denied&code=a"),
            Err(ConsentError::Refused(OAuthCode::new("access_denied")))
        );
        assert_eq!(of("code="), Err(ConsentError::NoCode));
        assert_eq!(of(""), Err(ConsentError::NoCode));
    }
}
