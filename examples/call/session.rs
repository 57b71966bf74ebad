//! A client of the library, made of a command line.

use std::sync::Arc;

use shipbound::binding::bearer::Bearer;
use shipbound::binding::dpop::Dpop;
use shipbound::binding::mtls::{CertificateSource, Mtls};
use shipbound::carriers::CarrierProfile;
use shipbound::client::{Client, ClientBuilder};
use shipbound::clock::{Clock, SystemClock};
use shipbound::credentials::{Credential, MemoryCredentials};
use shipbound::journal::tracing::TracingSink;
use shipbound::keys::{KeyStore, LocalKey, MemoryKeyStore, Purpose};
use shipbound::owner::{AccountId, CarrierId, ConnectionId, DeploymentId, Environment, Owner, Tenant, TenantId};
use shipbound::token::assertion::AssertionProfile;
use shipbound::token::client_auth::ClientAuth;
use shipbound::transport::reqwest::ReqwestTransport;
use shipbound::{Error, Parts};

use crate::args::{Args, Auth, Binding, Verb};
use crate::identity;
use crate::line;
use crate::usage::Usage;

/// What all requests of a command line have in common.
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) connection: ConnectionId,
    /// Where client certificates come from, if any are shown.
    pub(crate) certificates: Option<Arc<dyn CertificateSource>>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Session {
    /// Reads all files and variables; nothing is sent.
    pub(crate) async fn new(args: &Args, logs: bool) -> Result<Self, Usage> {
        let connection = connection()?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let from = args.binding.certificate();
        let certificates = from.map(|from| identity::certificates(from, clock.now())).transpose()?;
        let keys = MemoryKeyStore::new();
        let credentials = MemoryCredentials::new();
        if let Some(credential) = credential(args, &connection, &keys, &*clock).await? {
            credentials.put(
                connection.tenant().clone(),
                connection.carrier(),
                Environment::Sandbox,
                credential,
            );
        }
        let mut parts = Parts::builder()
            .keys(keys)
            .credentials(credentials)
            .clock(Arc::clone(&clock))
            .transport(transport(args)?);
        if logs {
            parts = parts.sink(TracingSink);
        }
        let build = |parts: Parts| {
            let mut builder = bound(
                Client::builder(profile(args, connection.carrier().clone()), &parts),
                &args.binding,
                certificates.as_ref(),
            );
            if args.confirm {
                builder = builder.confirm_binding();
            }
            if args.fapi2 {
                builder = builder.fapi2();
            }
            builder.build()
        };
        let client = parts.build().and_then(build).map_err(|error| refused(args, &error))?;
        Ok(Self {
            client,
            connection,
            certificates,
            clock,
        })
    }

    pub(crate) fn tenant(&self) -> &Tenant {
        self.connection.tenant()
    }
}

fn connection() -> Result<ConnectionId, Usage> {
    let never = |error: shipbound::owner::InvalidId| Usage(error.to_string());
    Ok(ConnectionId::new(
        DeploymentId::default_deployment(),
        Tenant::from(TenantId::new("call").map_err(never)?),
        CarrierId::new("call").map_err(never)?,
        Environment::Sandbox,
        AccountId::main(),
    ))
}

/// The client's id with what goes with it; the key of its assertions goes into the store. `None` where only a probe is made.
async fn credential(
    args: &Args,
    connection: &ConnectionId,
    keys: &MemoryKeyStore,
    clock: &dyn Clock,
) -> Result<Option<Credential>, Usage> {
    let id = args.login.client_id.clone().unwrap_or_default();
    let credential = match &args.login.auth {
        Auth::Basic(Some(variable)) | Auth::Post(Some(variable)) => Credential::new(id, identity::secret(variable)?),
        Auth::PrivateKeyJwt { key, kid, .. } => {
            let key = identity::assertion_key(key)?;
            let kid = kid.clone().or_else(|| key.kid().map(str::to_owned));
            keep(keys, connection, key, clock).await?;
            let credential = Credential::without_secret(id);
            match kid {
                Some(kid) => credential.key_id(&kid),
                None => credential,
            }
        }
        Auth::Basic(None) | Auth::Post(None) | Auth::Tls | Auth::None => Credential::without_secret(id),
    };
    Ok(args.login.client_id.is_some().then_some(credential))
}

/// Makes `key` the one that signs the connection's assertions.
async fn keep(keys: &MemoryKeyStore, connection: &ConnectionId, key: LocalKey, clock: &dyn Clock) -> Result<(), Usage> {
    let refused = |error: shipbound::keys::KeyError| Usage(format!("--assertion-key: {error}"));
    let owner = Owner::Connection(connection.clone());
    let key = keys.import(&owner, Purpose::ClientAssertion, key).map_err(refused)?;
    let promoted = keys.promote(&owner, &key.id(), None, clock.now()).await;
    promoted.map(drop).map_err(refused)
}

fn profile(args: &Args, carrier: CarrierId) -> CarrierProfile {
    let issuer = &args.issuer;
    let base = match &args.verb {
        Verb::Send(sending) => sending.url.origin().to_string(),
        Verb::Probe | Verb::Revoke | Verb::Introspect => issuer.origin.clone(),
    };
    let mut profile = CarrierProfile::custom(carrier, Environment::Sandbox, base, issuer.token_at.clone())
        .client_auth(match &args.login.auth {
            Auth::Basic(_) => ClientAuth::Basic,
            Auth::Post(_) => ClientAuth::Post,
            Auth::PrivateKeyJwt { audience, .. } => {
                ClientAuth::PrivateKeyJwt(AssertionProfile::new().audience(audience.clone()))
            }
            Auth::Tls => ClientAuth::Tls,
            Auth::None => ClientAuth::None,
        })
        .token_request(args.request.clone());
    for (which, url) in &issuer.endpoints {
        profile = profile.endpoint(*which, url);
    }
    profile = issuer.origins.iter().fold(profile, CarrierProfile::allow_origin);
    args.loopback
        .iter()
        .cloned()
        .fold(profile, CarrierProfile::allow_loopback)
}

fn transport(args: &Args) -> Result<ReqwestTransport, Usage> {
    let mut transport = ReqwestTransport::builder();
    if let Some(path) = &args.ca {
        transport = transport.add_root_pem(identity::read("--ca", path)?);
    }
    for loopback in &args.loopback {
        transport = transport.allow_loopback(loopback.clone());
    }
    transport.build().map_err(|error| Usage(format!("--ca: {error}")))
}

fn bound(
    builder: ClientBuilder,
    binding: &Binding,
    certificates: Option<&Arc<dyn CertificateSource>>,
) -> ClientBuilder {
    let mtls = certificates.map(|source| Mtls::shared(Arc::clone(source)));
    match (binding, mtls) {
        (Binding::Bearer, _) => builder.binding(Bearer),
        (Binding::Dpop(algorithm), _) => builder.binding(Dpop::preferring([*algorithm])),
        (Binding::DpopMtls(algorithm, _), Some(mtls)) => builder.binding(mtls.and_dpop(Dpop::preferring([*algorithm]))),
        (Binding::Mtls(_), Some(mtls)) => builder.binding(mtls),
        (Binding::DpopMtls(..) | Binding::Mtls(_), None) => builder,
    }
}

/// Why the library makes no client of these options.
fn refused(args: &Args, error: &Error) -> Usage {
    let explained = line::explain(error);
    if args.fapi2 {
        Usage(format!(
            "--fapi2 wants --issuer, https everywhere, --auth private-key-jwt (with the audience issuer) or tls, and --binding \
             dpop, mtls or dpop+mtls\n{explained}"
        ))
    } else {
        Usage(explained)
    }
}
