//! probe, revoke, introspect: what is asked of the issuer alone.

use std::fmt::Display;
use std::io;

use serde::Serialize;
use shipbound::binding::{BindingKind, Confirmation};
use shipbound::client::{CarrierClient, Outlook, Probe};
use shipbound::token::grant::SubjectTokens;
use shipbound::token::introspection::{Introspection, IntrospectionError};
use shipbound::token::revocation::Revocation;
use shipbound::{Error, ErrorKind};

use crate::line;
use crate::session::Session;

/// A verb under way: what it shows, and how.
pub(crate) struct Verbs<'a> {
    pub(crate) session: &'a Session,
    pub(crate) json: bool,
}

/// What `--json` prints last.
#[derive(Serialize)]
struct Summary {
    verb: &'static str,
    ok: bool,
    /// Where a request failed: how far it came, and why.
    stage: Option<&'static str>,
    error: Option<&'static str>,
}

/// The token that a verb is about.
#[derive(Serialize)]
struct Token {
    token_type: &'static str,
    binding: &'static str,
    jkt: Option<String>,
    x5t: Option<String>,
}

impl Verbs<'_> {
    /// Whether there would be a token.
    pub(crate) async fn probe(&self) -> io::Result<bool> {
        let outcome = match self.session.client.probe(self.session.tenant()).await {
            Ok(probe) => {
                self.show(&Probed::new(&probe), &probe)?;
                Ok(!matches!(
                    probe.outlook,
                    Outlook::NoCommonAlgorithm | Outlook::Refused(_)
                ))
            }
            Err(error) => Err(error),
        };
        self.end("probe", outcome)
    }

    /// Whether the issuer has revoked the token.
    pub(crate) async fn revoke(&self) -> io::Result<bool> {
        let Session { client, connection, .. } = self.session;
        let outcome = match client.subject_token(connection).await {
            Ok(_asked_for) => {
                self.show_token()?;
                client.revoke(self.session.tenant()).await
            }
            Err(error) => Err(error),
        };
        let outcome = match outcome {
            Ok(revocation) => {
                let (name, words) = revoked(revocation);
                self.show(
                    &serde_json::json!({ "revocation": name }),
                    &format_args!("revocation  {words}"),
                )?;
                Ok(revocation == Revocation::Revoked)
            }
            Err(error) => Err(error),
        };
        self.end("revoke", outcome)
    }

    /// Whether the token is active, and bound as it is used.
    pub(crate) async fn introspect(&self) -> io::Result<bool> {
        let told = self.session.client.introspect(self.session.tenant()).await;
        self.show_token()?;
        let told = match told {
            Err(error) if matches!(error.kind(), ErrorKind::Introspection(IntrospectionError::Inactive)) => {
                Ok(Introspected::inactive())
            }
            told => told.map(|told| Introspected::new(&told, self.session)),
        };
        let outcome = match told {
            Ok(told) => {
                self.show(&told, &told)?;
                Ok(told.active && told.bound_as_used)
            }
            Err(error) => Err(error),
        };
        self.end("introspect", outcome)
    }

    fn show(&self, json: &impl Serialize, text: &impl Display) -> io::Result<()> {
        if self.json {
            return line::print_json(json);
        }
        line::print_text(text)
    }

    /// Shows the token that was asked for, if there is one.
    fn show_token(&self) -> io::Result<()> {
        let Some(lease) = self.session.client.lease(self.session.tenant()) else {
            return Ok(());
        };
        let kind = lease.binding();
        let (jkt, x5t) = line::thumbprints(lease.confirmations());
        let token = Token {
            token_type: line::token_type(kind),
            binding: kind.as_str(),
            jkt,
            x5t,
        };
        let to = cnf_words(lease.confirmations());
        self.show(
            &token,
            &format_args!("token       {} ({}), {to}", token.token_type, token.binding),
        )
    }

    /// The summary; in text, what went wrong.
    fn end(&self, verb: &'static str, outcome: Result<bool, Error>) -> io::Result<bool> {
        let error = outcome.as_ref().err();
        let summary = Summary {
            verb,
            ok: matches!(outcome, Ok(true)),
            stage: error.map(|error| line::stage_name(error.stage())),
            error: error.map(Error::code),
        };
        if self.json {
            line::print_json(&summary)?;
        } else if let Some(error) = error {
            eprintln!("{}", line::explain(error));
        }
        Ok(summary.ok)
    }
}

#[derive(Serialize)]
struct Probed<'a> {
    issuer: Option<&'a str>,
    capabilities: Option<serde_json::Value>,
    authenticates_by: &'static [&'static str],
    /// `bound`, `untold`, `unbound`, `no_common_algorithm` or `refused`.
    outlook: &'static str,
    /// What tokens would be bound to.
    binding: Option<&'static str>,
    /// As the probe puts it.
    says: String,
}

impl<'a> Probed<'a> {
    fn new(probe: &'a Probe) -> Self {
        let (outlook, binding) = match &probe.outlook {
            Outlook::Bound(kind) => ("bound", Some(*kind)),
            Outlook::Untold(kind) => ("untold", Some(*kind)),
            Outlook::Unbound { .. } => ("unbound", Some(BindingKind::Bearer)),
            Outlook::NoTokens => ("no_tokens", None),
            Outlook::NoCommonAlgorithm => ("no_common_algorithm", None),
            Outlook::Refused(_) => ("refused", None),
            _ => ("unknown", None),
        };
        let capabilities = probe.capabilities.as_ref().map(|told| {
            let offers: Vec<_> = told.offers().into_iter().map(BindingKind::as_str).collect();
            let endpoints: Vec<_> = told.endpoints.iter().map(ToString::to_string).collect();
            serde_json::json!({
                "endpoints": endpoints,
                "offers": offers,
                "dpop_algorithms": told.dpop_algorithms,
                "certificate_bound_tokens": told.certificate_bound_tokens,
                "mtls_aliases": told.mtls_aliases,
                "auth_methods": told.auth_methods,
                "auth_algorithms": told.auth_algorithms,
                "grant_types": told.grant_types,
                "challenge_methods": told.challenge_methods,
                "requires_pushed_authorization": told.requires_pushed_authorization,
                "iss_parameter": told.iss_parameter,
            })
        });
        Self {
            issuer: probe.issuer.as_deref(),
            capabilities,
            authenticates_by: probe.authenticates_by,
            outlook,
            binding: binding.map(BindingKind::as_str),
            says: probe.outlook.to_string(),
        }
    }
}

fn revoked(revocation: Revocation) -> (&'static str, &'static str) {
    match revocation {
        Revocation::Revoked => ("revoked", "the issuer has revoked the token"),
        Revocation::Nothing => ("nothing", "there was nothing to revoke"),
        Revocation::LocalOnly => (
            "local_only",
            "the issuer revokes no such tokens: whoever has it may use it until it ends",
        ),
        _ => ("unknown", "the outcome is not known"),
    }
}

/// What the issuer says of a token.
#[derive(Serialize)]
struct Introspected {
    active: bool,
    cnf: Option<serde_json::Value>,
    bound_as_used: bool,
    client_id: Option<String>,
    scope: Option<String>,
    expires_at: Option<String>,
    #[serde(skip)]
    words: String,
}

impl Introspected {
    fn inactive() -> Self {
        Self {
            active: false,
            cnf: None,
            bound_as_used: false,
            client_id: None,
            scope: None,
            expires_at: None,
            words: "nobody can tell".to_owned(),
        }
    }

    fn new(told: &Introspection, session: &Session) -> Self {
        let lease = session.client.lease(session.tenant());
        let confirmations = told.confirmations();
        Self {
            active: true,
            cnf: cnf(confirmations),
            // A token that is used as a bearer token is one that is bound to nothing.
            bound_as_used: lease.is_some_and(|lease| match lease.binding() {
                BindingKind::Bearer => confirmations.is_empty(),
                _ => told.is_bound_to(lease.confirmations()),
            }),
            client_id: told.client_id().map(str::to_owned),
            scope: told.scope().map(str::to_owned),
            expires_at: told.expires_at().map(|at| at.to_string()),
            words: cnf_words(confirmations),
        }
    }
}

impl Display for Introspected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let yes = |yes| if yes { "yes" } else { "no" };
        write!(f, "active      {}\ncnf         {}\n", yes(self.active), self.words)?;
        write!(f, "bound as used: {}", yes(self.bound_as_used))
    }
}

/// The member `cnf` (RFC 7800 3.1); `None` for a token that is bound to nothing.
fn cnf(confirmations: &[Confirmation]) -> Option<serde_json::Value> {
    let members: serde_json::Map<_, _> = confirmations
        .iter()
        .map(|one| match one {
            Confirmation::Jkt(jkt) => ("jkt".to_owned(), jkt.to_string().into()),
            Confirmation::X5t(x5t) => ("x5t#S256".to_owned(), x5t.to_string().into()),
            _ => ("unknown".to_owned(), serde_json::Value::Null),
        })
        .collect();
    (!members.is_empty()).then(|| members.into())
}

fn cnf_words(confirmations: &[Confirmation]) -> String {
    let (jkt, x5t) = line::thumbprints(confirmations);
    let named = |name, value: Option<String>| value.map(|value| format!("{name} {value}"));
    let words: Vec<_> = named("jkt", jkt).into_iter().chain(named("x5t#S256", x5t)).collect();
    if words.is_empty() {
        "bound to nothing".to_owned()
    } else {
        format!("bound to {}", words.join(" and "))
    }
}
