//! The command line, read and checked: whatever is wrong with it is said before anything is sent.

use std::fmt;
use std::path::PathBuf;

use lexopt::{Arg, Parser, ValueExt};
use shipbound::binding::bearer::Bearer;
use shipbound::binding::dpop::Dpop;
use shipbound::client::ClientBuilder;
use shipbound::jose::Algorithm;
use shipbound::target::Target;
use shipbound::target::danger::Loopback;
use shipbound::token::client_auth::ClientAuth;
use shipbound::token::{TokenAt, TokenRequest};

pub(crate) const USAGE: &str = "\
Sends requests with bound tokens to any server: curl, with the token and the proofs made on the way.

    call (--issuer URL | --token-url URL) --client-id ID --client-secret-env VAR --binding dpop|bearer [OPTIONS] METHOD URL

Token:
    --issuer URL               read the token endpoint from this issuer's metadata (RFC 8414, OpenID Connect Discovery)
    --token-url URL            use this token endpoint, without metadata
    --client-id ID             the client's id
    --client-secret-env VAR    the environment variable that holds the client's secret
    --auth basic|post          client_secret_basic (default) or client_secret_post
    --scope S                  ask for these scopes, separated by spaces; may be repeated
    --resource R               ask for a token for this resource (RFC 8707); may be repeated
    --binding dpop|bearer      how the token is bound; a token that is not bound as asked is refused
    --alg ES256|Ed25519|PS256  the proof key's algorithm (default ES256); PS256 needs a build with --features rsa

Network:
    --ca FILE                  trust the certificates in this PEM file too
    --allow-http-loopback      take http:// URLs, on loopback addresses only
    --allow-origin ORIGIN      let the issuer's metadata name endpoints there; may be repeated

Request:
    --body FILE                send this file; Content-Type is application/json where it is JSON
    --repeat N                 send the request N times (default 1), all with one token
    --concurrency N            at most N at a time (default 1)
    --json                     print one JSON object a request, and nothing else

The answer's body goes to standard output when there is one request and no --json; what the call took goes to standard
error then, and to standard output otherwise. RUST_LOG (a level, or target=level,..) shows what happens inside.

Exit status: 0 when every answer was 2xx, 1 when one was not, 2 for bad usage.
";

/// What to do.
pub(crate) enum Command {
    Help,
    Call(Box<Args>),
}

/// One checked command line.
pub(crate) struct Args {
    pub(crate) token_at: TokenAt,
    pub(crate) client_id: String,
    pub(crate) secret_variable: String,
    pub(crate) auth: ClientAuth,
    pub(crate) request: TokenRequest,
    pub(crate) binding: Binding,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) loopback: Vec<Loopback>,
    pub(crate) origins: Vec<String>,
    pub(crate) method: http::Method,
    pub(crate) url: Target,
    pub(crate) body: Option<PathBuf>,
    pub(crate) repeat: usize,
    pub(crate) concurrency: usize,
    pub(crate) json: bool,
}

/// How tokens are to be bound.
#[derive(Clone, Copy)]
pub(crate) enum Binding {
    Dpop(Algorithm),
    Bearer,
}

impl Binding {
    pub(crate) fn apply(self, builder: ClientBuilder) -> ClientBuilder {
        match self {
            Self::Dpop(algorithm) => builder.binding(Dpop::preferring([algorithm])),
            Self::Bearer => builder.binding(Bearer),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Dpop(_) => "dpop",
            Self::Bearer => "bearer",
        }
    }
}

/// What is wrong with the command line or with what it names.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<lexopt::Error> for Usage {
    fn from(error: lexopt::Error) -> Self {
        Self(error.to_string())
    }
}

fn wrong<T>(text: impl Into<String>) -> Result<T, Usage> {
    Err(Usage(text.into()))
}

/// The options as they were written.
#[derive(Default)]
struct Given {
    issuer: Option<String>,
    token_url: Option<String>,
    client_id: Option<String>,
    secret_variable: Option<String>,
    auth: ClientAuth,
    request: TokenRequest,
    binding: Option<String>,
    algorithm: Option<String>,
    ca: Option<PathBuf>,
    allow_http: bool,
    origins: Vec<String>,
    body: Option<PathBuf>,
    repeat: Option<usize>,
    concurrency: Option<usize>,
    json: bool,
    positional: Vec<String>,
}

pub(crate) fn parse(parser: Parser) -> Result<Command, Usage> {
    match read(parser)? {
        Some(given) => check(given).map(|args| Command::Call(Box::new(args))),
        None => Ok(Command::Help),
    }
}

/// `None` when help was asked for.
fn read(mut parser: Parser) -> Result<Option<Given>, Usage> {
    let mut given = Given::default();
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Short('h') | Arg::Long("help") => return Ok(None),
            Arg::Long("issuer") => given.issuer = Some(parser.value()?.string()?),
            Arg::Long("token-url") => given.token_url = Some(parser.value()?.string()?),
            Arg::Long("client-id") => given.client_id = Some(parser.value()?.string()?),
            Arg::Long("client-secret-env") => given.secret_variable = Some(parser.value()?.string()?),
            Arg::Long("auth") => {
                given.auth = match parser.value()?.string()?.as_str() {
                    "basic" => ClientAuth::Basic,
                    "post" => ClientAuth::Post,
                    _ => return wrong("--auth is basic or post"),
                }
            }
            Arg::Long("scope") => {
                for scope in parser.value()?.string()?.split_whitespace() {
                    given.request = given.request.scope(scope).map_err(|e| Usage(format!("--scope: {e}")))?;
                }
            }
            Arg::Long("resource") => {
                let resource = parser.value()?.string()?;
                given.request = given
                    .request
                    .resource(&resource)
                    .map_err(|e| Usage(format!("--resource: {e}")))?;
            }
            Arg::Long("binding") => given.binding = Some(parser.value()?.string()?),
            Arg::Long("alg") => given.algorithm = Some(parser.value()?.string()?),
            Arg::Long("ca") => given.ca = Some(parser.value()?.into()),
            Arg::Long("allow-http-loopback") => given.allow_http = true,
            Arg::Long("allow-origin") => given.origins.push(parser.value()?.string()?),
            Arg::Long("body") => given.body = Some(parser.value()?.into()),
            Arg::Long("repeat") => given.repeat = Some(count("--repeat", &parser.value()?.string()?)?),
            Arg::Long("concurrency") => given.concurrency = Some(count("--concurrency", &parser.value()?.string()?)?),
            Arg::Long("json") => given.json = true,
            Arg::Value(value) if given.positional.len() < 2 => given.positional.push(value.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Some(given))
}

fn count(option: &str, text: &str) -> Result<usize, Usage> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => wrong(format!("{option} is a number from 1")),
    }
}

fn check(given: Given) -> Result<Args, Usage> {
    let required = |value: Option<String>, name: &str| value.ok_or_else(|| Usage(format!("{name} is missing")));
    let mut places = Places {
        allow_http: given.allow_http,
        loopback: Vec::new(),
    };

    let token_at = match (given.issuer, given.token_url) {
        (Some(issuer), None) => {
            places.admit("--issuer", &issuer)?;
            TokenAt::Issuer(issuer)
        }
        (None, Some(url)) => {
            places.admit("--token-url", &url)?;
            TokenAt::Endpoint(url)
        }
        (Some(_), Some(_)) => return wrong("--issuer and --token-url exclude each other"),
        (None, None) => return wrong("--issuer or --token-url is missing"),
    };
    for origin in &given.origins {
        if places.admit("--allow-origin", origin)?.path_and_query() != "/" {
            return wrong("--allow-origin is scheme, host and port, without a path");
        }
    }
    let mut positional = given.positional.into_iter();
    let method = required(positional.next(), "METHOD")?;
    if ["CONNECT", "TRACE"]
        .iter()
        .any(|name| method.eq_ignore_ascii_case(name))
    {
        return wrong("METHOD cannot be CONNECT or TRACE");
    }
    let url = places.admit("URL", &required(positional.next(), "URL")?)?;
    let client_id = required(given.client_id.filter(|id| !id.is_empty()), "--client-id")?;

    Ok(Args {
        token_at,
        client_id,
        secret_variable: required(given.secret_variable, "--client-secret-env")?,
        auth: given.auth,
        request: given.request,
        binding: binding(&required(given.binding, "--binding")?, given.algorithm.as_deref())?,
        ca: given.ca,
        loopback: places.loopback,
        origins: given.origins,
        method: method
            .parse()
            .map_err(|_| Usage("METHOD is not an HTTP method".into()))?,
        url,
        body: given.body,
        repeat: given.repeat.unwrap_or(1),
        concurrency: given.concurrency.unwrap_or(1),
        json: given.json,
    })
}

/// An algorithm beside `--binding bearer` has no effect, so that scripts can change the binding alone.
fn binding(name: &str, algorithm: Option<&str>) -> Result<Binding, Usage> {
    let algorithm = match algorithm.unwrap_or("ES256") {
        "ES256" => Algorithm::Es256,
        "Ed25519" => Algorithm::Ed25519,
        "PS256" if cfg!(feature = "rsa") => Algorithm::Ps256,
        "PS256" => {
            return wrong("--alg PS256 needs the feature rsa: run it with `cargo run --features rsa --example call`");
        }
        _ => return wrong("--alg is ES256, Ed25519 or PS256"),
    };
    match name {
        "dpop" => Ok(Binding::Dpop(algorithm)),
        "bearer" => Ok(Binding::Bearer),
        _ => wrong("--binding is dpop or bearer"),
    }
}

/// The URLs of the command line, and the loopback authorities among them: naming one there is the leave to use it.
struct Places {
    allow_http: bool,
    loopback: Vec<Loopback>,
}

impl Places {
    fn admit(&mut self, option: &str, url: &str) -> Result<Target, Usage> {
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let plain = scheme.eq_ignore_ascii_case("http");
        if plain && !self.allow_http {
            return wrong(format!(
                "{option}: plain http is refused; --allow-http-loopback takes it for a loopback address"
            ));
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let default = if plain { 80 } else { 443 };
        let loopback = Loopback::exact(authority).or_else(|_| Loopback::exact(&format!("{authority}:{default}")));
        match loopback {
            Ok(loopback) => self.loopback.push(loopback),
            Err(_) if plain => {
                return wrong(format!("{option}: plain http is taken for loopback addresses only"));
            }
            Err(_) => {}
        }
        Target::parse_allowing(url, &self.loopback).map_err(|error| Usage(format!("{option}: {error}")))
    }
}
