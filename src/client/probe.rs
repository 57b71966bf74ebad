//! What an issuer can do, and which binding a client would get there: in words that can be shown.

use std::fmt;

use crate::binding::BindingKind;
use crate::error::Error;
use crate::jose::Algorithm;
use crate::owner::Tenant;
use crate::token::capabilities::Capabilities;
use crate::token::discovery::Described;
use crate::token::metadata::MetadataError;
use crate::token::source::Place;

use super::Client;
use super::pipeline::Pipeline;

/// What [`Client::probe`] found out.
///
/// `Display` says it in plain words, a line for each thing.
///
/// ```no_run
/// # async fn look(carrier: shipbound::Client, acme: shipbound::owner::Tenant) -> Result<(), shipbound::Error> {
/// println!("{}", carrier.probe(&acme).await?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Probe {
    /// The issuer, where it has metadata.
    pub issuer: Option<String>,
    /// What the issuer says that it can do; `None` where it has no metadata.
    pub capabilities: Option<Capabilities>,
    /// How this client authenticates, by the method's names (RFC 8414 2).
    pub authenticates_by: &'static [&'static str],
    /// What this client's tokens would be tied to, and why.
    pub outlook: Outlook,
}

/// What a client's tokens would be tied to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outlook {
    /// To this: the issuer says that it binds tokens so.
    Bound(BindingKind),
    /// To this, or there will be no token: the issuer does not say whether it binds tokens so. A token that it declares unbound
    /// is refused.
    Untold(BindingKind),
    /// To nothing, since the client was built so. What the issuer would bind tokens to stands beside it.
    Unbound {
        /// The bindings that the issuer offers.
        offered: Vec<BindingKind>,
    },
    /// There are no tokens: the client certificate alone says who calls.
    NoTokens,
    /// There will be no token: the issuer takes none of the proof algorithms that the client allows.
    NoCommonAlgorithm,
    /// There will be no token: the issuer's metadata does not allow this binding.
    Refused(MetadataError),
}

impl Pipeline {
    pub(crate) async fn probe(&self, tenant: &Tenant) -> Result<Probe, Error> {
        let slot = self.parts.tokens.slot(&self.scope, tenant);
        let described = self.source.describe(&slot.connection).await?;
        Ok(self.judge(described))
    }

    fn judge(&self, described: Option<Described>) -> Probe {
        let strategy = &*self.source.strategy;
        let capabilities = described.as_ref().map(|described| described.capabilities.clone());
        let outlook = match &described {
            Some(Described { mtls: Err(error), .. }) if strategy.kind().has_certificate() => Outlook::Refused(*error),
            None if matches!(self.source.at, Place::Nowhere) => Outlook::NoTokens,
            _ => outlook(strategy.kind(), strategy.proof_algorithms(), capabilities.as_ref()),
        };
        Probe {
            issuer: described.map(|described| described.issuer),
            authenticates_by: self.source.auth.names(),
            capabilities,
            outlook,
        }
    }
}

impl Client {
    /// Reads what the issuer says of itself, now, and says which binding this client would get there and why. No credential and no
    /// certificate is sent, no token asked for.
    ///
    /// # Errors
    /// [`ErrorKind::Metadata`](crate::ErrorKind::Metadata) when the document is not one that can be used, and what a request can fail with.
    pub async fn probe(&self, tenant: &Tenant) -> Result<Probe, Error> {
        self.0.probe(tenant).await
    }
}

fn outlook(kind: BindingKind, own: &[Algorithm], told: Option<&Capabilities>) -> Outlook {
    let offered = told.map(Capabilities::offers).unwrap_or_default();
    let algorithms = told.and_then(|told| told.dpop_algorithms.as_ref());
    let proofs = algorithms.map(|listed| {
        listed
            .iter()
            .filter_map(|name| Algorithm::from_jws_name(name))
            .any(|one| own.contains(&one))
    });
    match kind {
        BindingKind::Bearer => Outlook::Unbound { offered },
        BindingKind::Dpop | BindingKind::DpopMtls if proofs == Some(false) => Outlook::NoCommonAlgorithm,
        BindingKind::Dpop if proofs == Some(true) => Outlook::Bound(kind),
        BindingKind::Mtls if offered.contains(&BindingKind::Mtls) => Outlook::Bound(kind),
        BindingKind::DpopMtls if proofs == Some(true) || offered.contains(&BindingKind::Mtls) => Outlook::Bound(kind),
        kind => Outlook::Untold(kind),
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.issuer, &self.capabilities) {
            (Some(issuer), Some(told)) => {
                writeln!(f, "issuer            {issuer}")?;
                writeln!(f, "proof keys        {}", proof_keys(told))?;
                writeln!(f, "certificates      {}", certificates(told))?;
                writeln!(f, "authentication    {}", self.authentication(told))?;
                writeln!(f, "grants            {}", list(told.grant_types.as_deref()))?;
                let endpoints: Vec<_> = told.endpoints.iter().map(ToString::to_string).collect();
                writeln!(f, "endpoints         {}", endpoints.join(", "))?;
            }
            _ if self.outlook == Outlook::NoTokens => writeln!(f, "issuer            there is none")?,
            _ => writeln!(
                f,
                "issuer            it has no metadata: endpoints are fixed in the profile"
            )?,
        }
        write!(f, "this client gets  {}", self.outlook)
    }
}

impl Probe {
    fn authentication(&self, told: &Capabilities) -> String {
        let own = self.authenticates_by.join(" or ");
        let Some(listed) = &told.auth_methods else {
            return format!("the issuer does not say; this client uses {own}");
        };
        let same = |name: &String| self.authenticates_by.contains(&name.as_str());
        let known = if listed.iter().any(same) {
            "which is among them"
        } else {
            "which is NOT among them: it will probably be refused"
        };
        format!("{}; this client uses {own}, {known}", listed.join(", "))
    }
}

fn list(names: Option<&[String]>) -> String {
    names.map_or_else(|| "the issuer does not say".to_owned(), |names| names.join(", "))
}

fn proof_keys(told: &Capabilities) -> String {
    match &told.dpop_algorithms {
        None => "the issuer does not say whether it knows DPoP (RFC 9449)".to_owned(),
        Some(listed) if listed.is_empty() => "the issuer takes no proofs (DPoP, RFC 9449)".to_owned(),
        Some(listed) => format!(
            "the issuer binds tokens to proof keys (DPoP, RFC 9449): {}",
            listed.join(", ")
        ),
    }
}

fn certificates(told: &Capabilities) -> String {
    let aliases = match told.mtls_aliases {
        true => "; it has endpoints of their own for such clients",
        false => "",
    };
    let bound = match told.certificate_bound_tokens {
        Some(true) => "the issuer binds tokens to client certificates (RFC 8705)",
        Some(false) => "the issuer binds no tokens to client certificates (RFC 8705)",
        None => "the issuer does not say whether it binds tokens to client certificates (RFC 8705)",
    };
    format!("{bound}{aliases}")
}

impl fmt::Display for Outlook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let to = |kind: &BindingKind| match kind {
            BindingKind::Bearer => "nothing",
            BindingKind::Dpop => "a proof key",
            BindingKind::Mtls => "its client certificate",
            BindingKind::DpopMtls => "a proof key or its client certificate",
        };
        match self {
            Self::Bound(kind) => {
                write!(
                    f,
                    "tokens bound to {}: it was built so, and the issuer offers it",
                    to(kind)
                )
            }
            Self::Untold(kind) => write!(
                f,
                "tokens bound to {}, or none: it was built so, and the issuer does not say whether it does that. A token that is \
                 declared unbound is refused",
                to(kind)
            ),
            Self::Unbound { offered } if offered.is_empty() => f.write_str(
                "bearer tokens, kept to the carrier's origins: it was built so, and the issuer offers nothing to bind them to",
            ),
            Self::Unbound { offered } => {
                let offered: Vec<_> = offered.iter().map(to).collect();
                write!(
                    f,
                    "bearer tokens, kept to the carrier's origins: it was built so. The issuer would bind them to {}",
                    offered.join(", or to ")
                )
            }
            Self::NoTokens => f.write_str("no tokens, and needs none: its client certificate alone says who calls"),
            Self::NoCommonAlgorithm => {
                f.write_str("no tokens: the issuer takes none of the proof algorithms that it was built with")
            }
            Self::Refused(error) => write!(f, "no tokens: {error}"),
        }
    }
}
