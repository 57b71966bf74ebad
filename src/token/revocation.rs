//! Revoking tokens (RFC 7009).

use std::sync::Arc;

use http::StatusCode;

use crate::binding::Role;
use crate::error::{Awaited, Error, ErrorKind};
use crate::exchange::connection::Connection;
use crate::transport::Stage;

use super::answer::{TokenAnswerError, refusal};
use super::form::Form;
use super::metadata::IssuerEndpoint;
use super::source::TokenSource;

/// What came of a revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Revocation {
    /// The issuer has revoked what this process knew of.
    Revoked,
    /// There was nothing to revoke.
    Nothing,
    /// The issuer revokes no such tokens, or has no endpoint for it: this process does not use them any more, and whoever
    /// else has them may go on until they end. Revoke the client's credential with the carrier instead.
    LocalOnly,
}

/// What kind of token is revoked (RFC 7009 2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenHint {
    Access,
    Refresh,
}

impl TokenSource {
    /// Asks the issuer to revoke a token; false where it revokes no such tokens. The token must not be in use any more.
    pub(crate) async fn revoke(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        token: &str,
        hint: TokenHint,
    ) -> Result<bool, Error> {
        let deadline = self.clock.monotonic() + self.limits.token_exchange;
        let revoked = async {
            // Neither key nor credential is needed to find out that nobody is to be told.
            if !self.has(&self.issuer(connection, deadline).await?, IssuerEndpoint::Revocation) {
                return Ok(false);
            }
            let prepared = self.prepared(connection, deadline).await?;
            let form = Form::new().with("token", token).with(
                "token_type_hint",
                match hint {
                    TokenHint::Access => "access_token",
                    TokenHint::Refresh => "refresh_token",
                },
            );
            let response = self
                .post(&prepared, IssuerEndpoint::Revocation, form, connection, deadline)
                .await?;
            // RFC 7009 2.2: 200 also for a token that the issuer does not know.
            if response.status == StatusCode::OK {
                return Ok(true);
            }
            let kind = match refusal(response.status, &response.body) {
                TokenAnswerError::OAuth(code) if code.as_str() == "unsupported_token_type" => return Ok(false),
                TokenAnswerError::OAuth(code) => ErrorKind::TokenRefused(code),
                other => ErrorKind::TokenAnswer(other),
            };
            Err(Error::new(kind, Stage::Answered)
                .of(Role::AuthorizationServer)
                .with_answer(response))
        };
        self.in_time(deadline, Awaited::Answer, revoked).await
    }
}
