//! What a checked command line asks for.

use std::path::PathBuf;

use shipbound::binding::BindingKind;
use shipbound::jose::Algorithm;
use shipbound::target::Target;
use shipbound::target::danger::Loopback;
use shipbound::token::assertion::Audience;
use shipbound::token::metadata::IssuerEndpoint;
use shipbound::token::{TokenAt, TokenRequest};

/// What to do.
pub(crate) enum Command {
    Help,
    Run(Box<Args>),
}

/// One checked command line.
pub(crate) struct Args {
    pub(crate) verb: Verb,
    pub(crate) issuer: Issuer,
    pub(crate) login: Login,
    pub(crate) request: TokenRequest,
    pub(crate) binding: Binding,
    pub(crate) confirm: bool,
    pub(crate) fapi2: bool,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) loopback: Vec<Loopback>,
    pub(crate) json: bool,
}

pub(crate) enum Verb {
    Send(Sending),
    Probe,
    Revoke,
    Introspect,
}

/// METHOD URL.
pub(crate) struct Sending {
    pub(crate) method: http::Method,
    pub(crate) url: Target,
    pub(crate) body: Option<PathBuf>,
    pub(crate) repeat: usize,
    pub(crate) concurrency: usize,
    pub(crate) reload_after: Option<usize>,
}

/// Where the issuer is.
pub(crate) struct Issuer {
    pub(crate) token_at: TokenAt,
    /// Of the issuer's URL.
    pub(crate) origin: String,
    /// Those that the command line names, beside that for tokens.
    pub(crate) endpoints: Vec<(IssuerEndpoint, String)>,
    /// Where metadata may name endpoints.
    pub(crate) origins: Vec<String>,
}

/// How the client shows who it is.
pub(crate) struct Login {
    /// There unless the issuer is only probed.
    pub(crate) client_id: Option<String>,
    pub(crate) auth: Auth,
}

pub(crate) enum Auth {
    /// The variable is there unless the issuer is only probed.
    Basic(Option<String>),
    Post(Option<String>),
    PrivateKeyJwt {
        key: PathBuf,
        kid: Option<String>,
        audience: Audience,
    },
    Tls,
    None,
}

/// How tokens are to be bound.
pub(crate) enum Binding {
    Bearer,
    Dpop(Algorithm),
    Mtls(Certificate),
    DpopMtls(Algorithm, Certificate),
}

/// Where the client certificate and its key are.
pub(crate) enum Certificate {
    Pem { certificate: PathBuf, key: PathBuf },
    Pkcs12 { file: PathBuf, variable: String },
}

impl Binding {
    pub(crate) fn kind(&self) -> BindingKind {
        match self {
            Self::Bearer => BindingKind::Bearer,
            Self::Dpop(_) => BindingKind::Dpop,
            Self::Mtls(_) => BindingKind::Mtls,
            Self::DpopMtls(..) => BindingKind::DpopMtls,
        }
    }

    pub(crate) fn certificate(&self) -> Option<&Certificate> {
        match self {
            Self::Bearer | Self::Dpop(_) => None,
            Self::Mtls(certificate) | Self::DpopMtls(_, certificate) => Some(certificate),
        }
    }
}
