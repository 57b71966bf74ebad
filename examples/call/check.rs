//! Options that do not go together are found here, before any file is read.

use lexopt::Parser;
use shipbound::binding::BindingKind;
use shipbound::jose::Algorithm;
use shipbound::token::TokenAt;
use shipbound::token::assertion::Audience;
use shipbound::token::metadata::IssuerEndpoint;

use crate::args::{Args, Auth, Binding, Certificate, Command, Issuer, Login, Sending, Verb};
use crate::given::{self, Given};
use crate::places::Places;
use crate::usage::{Usage, wrong};

pub(crate) fn parse(parser: Parser) -> Result<Command, Usage> {
    match given::read(parser)? {
        Some(given) => check(given).map(|args| Command::Run(Box::new(args))),
        None => Ok(Command::Help),
    }
}

fn check(mut given: Given) -> Result<Args, Usage> {
    let mut places = Places::new(given.allow_http);
    let issuer = issuer(&mut given, &mut places)?;
    let verb = verb(&mut given, &mut places)?;
    let probes = matches!(verb, Verb::Probe);
    needs_endpoints(&verb, given.confirm, &issuer)?;
    let binding = binding(&mut given, probes)?;
    let client_id = given.client_id.take().filter(|id| !id.is_empty());
    if client_id.is_none() && !probes {
        return wrong("--client-id is missing");
    }
    let auth = auth(&mut given, &issuer, binding.kind(), probes)?;
    if let Some(after) = given.reload_after {
        reloads(after, given.repeat.unwrap_or(1), &binding)?;
    }
    Ok(Args {
        verb,
        issuer,
        login: Login { client_id, auth },
        request: given.request,
        binding,
        confirm: given.confirm,
        fapi2: given.fapi2,
        ca: given.ca,
        loopback: places.loopback(),
        json: given.json,
    })
}

fn reloads(after: usize, repeat: usize, binding: &Binding) -> Result<(), Usage> {
    if !matches!(binding.certificate(), Some(Certificate::Pem { .. })) {
        return wrong("--reload-cert-after reads the files of --cert and --key again, which are in PEM: give them");
    }
    if after >= repeat {
        return wrong("--reload-cert-after leaves no request to go on with: give a larger --repeat");
    }
    Ok(())
}

fn required<T>(value: Option<T>, name: &str) -> Result<T, Usage> {
    value.ok_or_else(|| Usage(format!("{name} is missing")))
}

fn issuer(given: &mut Given, places: &mut Places) -> Result<Issuer, Usage> {
    let (token_at, url) = match (given.issuer.take(), given.token_url.take()) {
        (Some(issuer), None) => (TokenAt::Issuer(issuer.clone()), places.admit("--issuer", &issuer)?),
        (None, Some(url)) => (TokenAt::Endpoint(url.clone()), places.admit("--token-url", &url)?),
        (Some(_), Some(_)) => return wrong("--issuer and --token-url exclude each other"),
        (None, None) => return wrong("--issuer or --token-url is missing"),
    };
    let mut endpoints = Vec::new();
    for (option, which, url) in [
        ("--revocation-url", IssuerEndpoint::Revocation, &given.revocation_url),
        (
            "--introspection-url",
            IssuerEndpoint::Introspection,
            &given.introspection_url,
        ),
    ] {
        let Some(url) = url else { continue };
        if matches!(token_at, TokenAt::Issuer(_)) {
            return wrong(format!(
                "{option} is for --token-url: with --issuer the metadata says it, so leave it out"
            ));
        }
        places.admit(option, url)?;
        endpoints.push((which, url.clone()));
    }
    for origin in &given.origins {
        places.admit_origin("--allow-origin", origin)?;
    }
    Ok(Issuer {
        token_at,
        origin: url.origin().to_string(),
        endpoints,
        origins: std::mem::take(&mut given.origins),
    })
}

fn verb(given: &mut Given, places: &mut Places) -> Result<Verb, Usage> {
    let mut positional = std::mem::take(&mut given.positional).into_iter();
    let method = required(positional.next(), "METHOD")?;
    let verb = match method.as_str() {
        "probe" => Verb::Probe,
        "revoke" => Verb::Revoke,
        "introspect" => Verb::Introspect,
        _ => {
            let url = required(positional.next(), "URL")?;
            return match positional.next() {
                None => sending(given, &method, &url, places),
                Some(more) => wrong(format!("unexpected argument {more:?}")),
            };
        }
    };
    if positional.next().is_some() {
        return wrong(format!(
            "{method} takes no METHOD and no URL: it talks to the issuer alone"
        ));
    }
    for (option, is_there) in [
        ("--body", given.body.is_some()),
        ("--repeat", given.repeat.is_some()),
        ("--concurrency", given.concurrency.is_some()),
        ("--reload-cert-after", given.reload_after.is_some()),
    ] {
        if is_there {
            return wrong(format!("{option} is for METHOD URL: leave it out with {method}"));
        }
    }
    Ok(verb)
}

fn sending(given: &mut Given, method: &str, url: &str, places: &mut Places) -> Result<Verb, Usage> {
    if ["CONNECT", "TRACE"]
        .iter()
        .any(|name| method.eq_ignore_ascii_case(name))
    {
        return wrong("METHOD cannot be CONNECT or TRACE");
    }
    Ok(Verb::Send(Sending {
        url: places.admit("URL", url)?,
        method: method
            .parse()
            .map_err(|_| Usage("METHOD is not an HTTP method".into()))?,
        body: given.body.take(),
        repeat: given.repeat.unwrap_or(1),
        concurrency: given.concurrency.unwrap_or(1),
        reload_after: given.reload_after,
    }))
}

/// Without metadata nobody but the command line knows where tokens are revoked and looked up.
fn needs_endpoints(verb: &Verb, confirm: bool, issuer: &Issuer) -> Result<(), Usage> {
    let needed = [
        (
            "revoke",
            "--revocation-url",
            IssuerEndpoint::Revocation,
            matches!(verb, Verb::Revoke),
        ),
        (
            "introspect",
            "--introspection-url",
            IssuerEndpoint::Introspection,
            matches!(verb, Verb::Introspect),
        ),
        (
            "--confirm-binding",
            "--introspection-url",
            IssuerEndpoint::Introspection,
            confirm,
        ),
    ];
    for (what, option, which, is_needed) in needed {
        let known = || issuer.endpoints.iter().any(|(endpoint, _)| *endpoint == which);
        if is_needed && matches!(issuer.token_at, TokenAt::Endpoint(_)) && !known() {
            return wrong(format!(
                "{what} needs {option} beside --token-url: there is no metadata that says it"
            ));
        }
    }
    Ok(())
}

fn binding(given: &mut Given, probes: bool) -> Result<Binding, Usage> {
    // An algorithm beside `--binding bearer` has no effect, so that scripts can change the binding alone.
    let algorithm = match given.algorithm.as_deref().unwrap_or("ES256") {
        "ES256" => Algorithm::Es256,
        "Ed25519" => Algorithm::Ed25519,
        "PS256" if cfg!(feature = "rsa") => Algorithm::Ps256,
        "PS256" => {
            return wrong("--alg PS256 needs the feature rsa: run it with `cargo run --features rsa --example call`");
        }
        _ => return wrong("--alg is ES256, Ed25519 or PS256"),
    };
    let name = given.binding.take().or_else(|| probes.then(|| "dpop".to_owned()));
    let certificate = certificate(given)?;
    match (required(name, "--binding")?.as_str(), certificate) {
        ("dpop", None) => Ok(Binding::Dpop(algorithm)),
        ("bearer", None) => Ok(Binding::Bearer),
        ("mtls", Some(certificate)) => Ok(Binding::Mtls(certificate)),
        ("dpop+mtls", Some(certificate)) => Ok(Binding::DpopMtls(algorithm, certificate)),
        // Nobody is to believe that a certificate was shown when it was not.
        (name @ ("dpop" | "bearer"), Some(_)) => wrong(format!(
            "--binding {name} shows no certificate: choose mtls or dpop+mtls, or leave --cert out"
        )),
        (name @ ("mtls" | "dpop+mtls"), None) => wrong(format!(
            "--binding {name} needs a client certificate: --cert is missing"
        )),
        _ => wrong("--binding is dpop, bearer, mtls or dpop+mtls"),
    }
}

fn certificate(given: &mut Given) -> Result<Option<Certificate>, Usage> {
    let (key, variable) = (given.key.take(), given.password_variable.take());
    let Some(certificate) = given.certificate.take() else {
        if given.reload_after.is_some() {
            return wrong("--reload-cert-after needs files to read again: --cert is missing");
        }
        if key.is_some() || variable.is_some() {
            return wrong("--key and --cert-password-env belong to a certificate: --cert is missing");
        }
        return Ok(None);
    };
    let extension = certificate.extension().unwrap_or_default();
    if !["p12", "pfx"].iter().any(|known| extension.eq_ignore_ascii_case(known)) {
        if variable.is_some() {
            return wrong("--cert-password-env is for PKCS#12 files (.p12, .pfx): keys in PEM are unencrypted");
        }
        let key = key.unwrap_or_else(|| certificate.clone());
        return Ok(Some(Certificate::Pem { certificate, key }));
    }
    if !cfg!(feature = "pkcs12") {
        return wrong(
            "--cert: PKCS#12 files need the feature pkcs12: run it with `cargo run --features pkcs12 --example call`",
        );
    }
    if key.is_some() {
        return wrong("--key: a PKCS#12 file holds the key too, so leave it out");
    }
    Ok(Some(Certificate::Pkcs12 {
        file: certificate,
        variable: required(variable, "--cert-password-env")?,
    }))
}

fn auth(given: &mut Given, issuer: &Issuer, binding: BindingKind, probes: bool) -> Result<Auth, Usage> {
    let name = given.auth.take().unwrap_or_else(|| "basic".to_owned());
    let (key, kid) = (given.assertion_key.take(), given.assertion_kid.take());
    let audience = given.assertion_audience.take();
    if name != "private-key-jwt" && (key.is_some() || kid.is_some() || audience.is_some()) {
        return wrong("--assertion-key, --assertion-kid and --assertion-audience are for --auth private-key-jwt");
    }
    // A secret beside another method has no effect, so that scripts can change the method alone.
    let secret = given.secret_variable.take();
    let secret = || match secret {
        None if !probes => wrong(format!("--client-secret-env is missing: --auth {name} needs it")),
        secret => Ok(secret),
    };
    match name.as_str() {
        "basic" => secret().map(Auth::Basic),
        "post" => secret().map(Auth::Post),
        "private-key-jwt" => Ok(Auth::PrivateKeyJwt {
            key: required(key, "--assertion-key")?,
            kid,
            audience: self::audience(audience, issuer)?,
        }),
        "tls" if matches!(binding, BindingKind::Mtls | BindingKind::DpopMtls) => Ok(Auth::Tls),
        "tls" => wrong("--auth tls shows a client certificate: choose --binding mtls or dpop+mtls"),
        "none" => Ok(Auth::None),
        _ => wrong("--auth is basic, post, private-key-jwt, tls or none"),
    }
}

fn audience(text: Option<String>, issuer: &Issuer) -> Result<Audience, Usage> {
    match text.as_deref() {
        None | Some("issuer") if matches!(issuer.token_at, TokenAt::Endpoint(_)) => wrong(
            "--assertion-audience: assertions are for the issuer, which --token-url does not name: give --issuer, or \
             another audience",
        ),
        None | Some("issuer") => Ok(Audience::Issuer),
        Some("token-endpoint") => Ok(Audience::TokenEndpoint),
        Some("") => wrong("--assertion-audience is issuer, token-endpoint, or a text"),
        Some(text) => Ok(Audience::Exactly(text.to_owned())),
    }
}
