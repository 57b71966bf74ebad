//! Credentials where a carrier wants them: in token requests, and with calls.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::credentials::{Credential, CredentialAt, CredentialError, CredentialPart, PartAt};
use crate::error::ErrorKind;
use crate::secret::ClientSecret;

use super::client_auth::{basic_value, header_value};
use super::form::Form;

/// Puts a credential's parts into a token request.
pub(super) fn into_token_request(
    parts: &[CredentialPart],
    credential: &Credential,
    form: &mut Form,
    headers: &mut HeaderMap,
) -> Result<(), ErrorKind> {
    for part in parts {
        match (&part.at, value(part, credential)?) {
            (PartAt::TokenForm(name), Some(value)) => form.add(name.clone(), value.expose()),
            (PartAt::TokenHeader(name), Some(value)) => {
                headers.insert(name, header_value(value.expose())?);
            }
            (PartAt::CallHeader(_), _) | (_, None) => {}
        }
    }
    Ok(())
}

/// The parts of a credential that go with every call.
pub(super) fn with_calls(
    parts: &[CredentialPart],
    credential: &Credential,
) -> Result<Vec<(HeaderName, HeaderValue)>, ErrorKind> {
    let mut headers = Vec::new();
    for part in parts {
        if let (PartAt::CallHeader(name), Some(value)) = (&part.at, value(part, credential)?) {
            headers.push((name.clone(), header_value(value.expose())?));
        }
    }
    Ok(headers)
}

/// What a call carries where there is no token.
pub(super) fn without_token(
    at: &CredentialAt,
    credential: &Credential,
) -> Result<Vec<(HeaderName, HeaderValue)>, ErrorKind> {
    let secret = credential.client_secret().ok_or(CredentialError::NoSecret)?.expose();
    Ok(match at {
        CredentialAt::Authorization => {
            let mut value = zeroize::Zeroizing::new(String::with_capacity(7 + secret.len()));
            value.push_str("Bearer ");
            value.push_str(secret);
            vec![(AUTHORIZATION, header_value(&value)?)]
        }
        CredentialAt::Header(name) => vec![(name.clone(), header_value(secret)?)],
        // RFC 7617 2: a name with a colon would be read as another name.
        CredentialAt::Basic if credential.client_id().contains(':') => return Err(CredentialError::Syntax.into()),
        CredentialAt::Basic => vec![(AUTHORIZATION, basic_value(credential.client_id(), secret)?)],
        CredentialAt::Headers { id, secret: header } => vec![
            (id.clone(), header_value(credential.client_id())?),
            (header.clone(), header_value(secret)?),
        ],
    })
}

fn value<'a>(part: &CredentialPart, credential: &'a Credential) -> Result<Option<&'a ClientSecret>, CredentialError> {
    match credential.part(&part.name) {
        None if part.required => Err(CredentialError::NoPart(part.name.clone())),
        value => Ok(value),
    }
}
