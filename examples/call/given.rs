//! The options as they were written: each is read here, none is compared with another.

use std::path::PathBuf;

use lexopt::{Arg, Parser, ValueExt};
use shipbound::token::TokenRequest;

use crate::usage::{Usage, wrong};

#[derive(Default)]
pub(crate) struct Given {
    pub(crate) issuer: Option<String>,
    pub(crate) token_url: Option<String>,
    pub(crate) revocation_url: Option<String>,
    pub(crate) introspection_url: Option<String>,
    pub(crate) origins: Vec<String>,

    pub(crate) client_id: Option<String>,
    pub(crate) auth: Option<String>,
    pub(crate) secret_variable: Option<String>,
    pub(crate) assertion_key: Option<PathBuf>,
    pub(crate) assertion_kid: Option<String>,
    pub(crate) assertion_audience: Option<String>,

    pub(crate) request: TokenRequest,
    pub(crate) binding: Option<String>,
    pub(crate) algorithm: Option<String>,
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) password_variable: Option<String>,
    pub(crate) confirm: bool,
    pub(crate) fapi2: bool,

    pub(crate) ca: Option<PathBuf>,
    pub(crate) allow_http: bool,

    pub(crate) body: Option<PathBuf>,
    pub(crate) repeat: Option<usize>,
    pub(crate) concurrency: Option<usize>,
    pub(crate) reload_after: Option<usize>,

    pub(crate) json: bool,
    pub(crate) positional: Vec<String>,
}

/// `None` when help was asked for.
pub(crate) fn read(mut parser: Parser) -> Result<Option<Given>, Usage> {
    let mut given = Given::default();
    while let Some(arg) = parser.next()? {
        let option = match arg {
            Arg::Short('h') | Arg::Long("help") => return Ok(None),
            Arg::Value(value) => {
                given.positional.push(value.string()?);
                continue;
            }
            Arg::Long(option) => option.to_owned(),
            other => return Err(other.unexpected().into()),
        };
        match option.as_str() {
            "allow-http-loopback" => given.allow_http = true,
            "confirm-binding" => given.confirm = true,
            "fapi2" => given.fapi2 = true,
            "json" => given.json = true,
            _ => given.take(&option, &mut parser)?,
        }
    }
    Ok(Some(given))
}

impl Given {
    /// An option that has a value.
    fn take(&mut self, option: &str, parser: &mut Parser) -> Result<(), Usage> {
        let text = match option {
            "issuer" => &mut self.issuer,
            "token-url" => &mut self.token_url,
            "revocation-url" => &mut self.revocation_url,
            "introspection-url" => &mut self.introspection_url,
            "client-id" => &mut self.client_id,
            "auth" => &mut self.auth,
            "client-secret-env" => &mut self.secret_variable,
            "assertion-kid" => &mut self.assertion_kid,
            "assertion-audience" => &mut self.assertion_audience,
            "binding" => &mut self.binding,
            "alg" => &mut self.algorithm,
            "cert-password-env" => &mut self.password_variable,
            _ => return self.take_other(option, parser),
        };
        *text = Some(parser.value()?.string()?);
        Ok(())
    }

    /// An option whose value is not just a text.
    fn take_other(&mut self, option: &str, parser: &mut Parser) -> Result<(), Usage> {
        let mut path = || Ok::<_, Usage>(Some(PathBuf::from(parser.value()?)));
        match option {
            "assertion-key" => self.assertion_key = path()?,
            "cert" => self.certificate = path()?,
            "key" => self.key = path()?,
            "ca" => self.ca = path()?,
            "body" => self.body = path()?,
            "repeat" => self.repeat = Some(count(option, parser)?),
            "concurrency" => self.concurrency = Some(count(option, parser)?),
            "reload-cert-after" => self.reload_after = Some(count(option, parser)?),
            "allow-origin" => self.origins.push(parser.value()?.string()?),
            "scope" => {
                for scope in parser.value()?.string()?.split_whitespace() {
                    let request = std::mem::take(&mut self.request);
                    self.request = request.scope(scope).map_err(|e| Usage(format!("--scope: {e}")))?;
                }
            }
            "resource" => {
                let request = std::mem::take(&mut self.request);
                let resource = parser.value()?.string()?;
                self.request = request
                    .resource(&resource)
                    .map_err(|e| Usage(format!("--resource: {e}")))?;
            }
            unknown => return Err(Arg::Long(unknown).unexpected().into()),
        }
        Ok(())
    }
}

fn count(option: &str, parser: &mut Parser) -> Result<usize, Usage> {
    match parser.value()?.string()?.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => wrong(format!("--{option} is a number from 1")),
    }
}
