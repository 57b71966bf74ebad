//! A profile that was moved to a server "inside", with servers "outside" that the transport could reach as well.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use http::HeaderName;
use shipbound::binding::bearer::Bearer;
use shipbound::binding::dpop::Dpop;
use shipbound::binding::mtls::Mtls;
use shipbound::carriers::CarrierProfile;
use shipbound::client::TenantClient;
use shipbound::clock::{ManualClock, Timestamp};
use shipbound::credentials::{Credential, CredentialAt, CredentialPart, MemoryCredentials, PartAt};
use shipbound::exchange::quirks::LifetimeAt;
use shipbound::grants::{Grant, Grants, MemoryGrants};
use shipbound::keys::MemoryKeyStore;
use shipbound::owner::{AccountId, CarrierId, ConnectionId, DeploymentId, Environment, TenantId};
use shipbound::throttle::{Budget, CountedBy, Demand, Spent};
use shipbound::token::TokenAt;
use shipbound::token::companion::Companion;
use shipbound::transport::reqwest::ReqwestTransport;
use shipbound::{CarrierClient, Client, Parts};

use crate::identity_support::Authority;
use crate::marker::marked;
use crate::profiles::{KNOWN, Login};
use crate::recorder::{Recorder, Request, answer};

const NOW: i64 = 1_800_000_000;

pub(crate) const METADATA: &str = "/.well-known/oauth-authorization-server";

/// What no API ever sees where there are tokens.
pub(crate) fn client_secret() -> String {
    marked("client-secret")
}

/// Never makes anybody wait: it is not what keeps requests back here.
#[derive(Debug)]
struct Plenty;

#[async_trait]
impl Budget for Plenty {
    async fn take(&self, _demand: &Demand<'_>) -> Result<Duration, Spent> {
        Ok(Duration::ZERO)
    }

    async fn look(&self, _demand: &Demand<'_>) -> Result<(), Spent> {
        Ok(())
    }

    async fn blocked(&self, _demand: &Demand<'_>, _counted_by: CountedBy, _lasts: Duration) {}
}

/// How a world's tokens are bound.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    Bearer,
    Dpop,
    /// To a client certificate, which the client authenticates with as well.
    Mtls,
}

/// A profile before it is moved.
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) profile: CarrierProfile,
    pub(crate) bound: Bound,
    /// Paths of which the profile says that credentials are there.
    pub(crate) guarded: Vec<String>,
}

pub(crate) struct World {
    pub(crate) name: String,
    pub(crate) inside: Recorder,
    /// One elsewhere, and one at the inside's port on another address of this machine.
    pub(crate) outside: [Recorder; 2],
    pub(crate) client: Client,
    parts: Parts,
    bound: Bound,
    pub(crate) credentials: Arc<MemoryCredentials>,
    pub(crate) grants: Grants,
    /// The path of the profile's base, without a slash at its end.
    pub(crate) base_path: String,
    /// Paths, with segments in braces for any one, where nobody may come by accident.
    pub(crate) guarded: Vec<String>,
    pub(crate) has_tokens: bool,
}

/// All profiles that send a secret, and each placement of one that there is, for tokens with and without a binding.
///
/// BNSF's credential is a key that never leaves; iSHARE's and Maskinporten's is one as well, and their tokens travel as those of
/// others do.
pub(crate) fn plans() -> Vec<Plan> {
    let known = KNOWN
        .iter()
        .filter(|known| matches!(known.login, Login::Credential | Login::Consent))
        .map(|known| {
            (
                known.name,
                (known.profile)(Environment::Sandbox),
                guarded_of(known.name),
            )
        });
    let own = |profile: CarrierProfile, name| {
        (
            name,
            profile,
            vec!["/v2/keys".to_owned(), "/v2/users/{id}/api_keys".to_owned()],
        )
    };
    let header = HeaderName::from_static;
    let custom = |token_at: TokenAt| {
        let id = CarrierId::new("acme-freight").unwrap();
        CarrierProfile::custom(id, Environment::Sandbox, "https://api.carrier.example/v2", token_at)
            .credential_routes(["/v2/keys", "/v2/users/{id}/api_keys"])
            .lock_header(header("on-behalf-of"))
            .lock_header(header("x-merchant-id"))
    };
    let endpoint = || TokenAt::Endpoint("https://api.carrier.example/v2/oauth/token".to_owned());
    let account = CredentialPart::required("account", PartAt::CallHeader(header("x-account")));
    let two = CredentialAt::Headers {
        id: header("x-client-id"),
        secret: header("x-client-secret"),
    };
    let companion = Companion::new(
        "/pay",
        "payment",
        "/paymentAuthorizationToken",
        header("x-payment-authorization-token"),
        Duration::from_secs(3000),
    );
    let customs = [
        own(custom(endpoint()), "a token"),
        own(
            custom(TokenAt::Issuer("https://auth.carrier.example".to_owned())),
            "a token of an issuer",
        ),
        own(
            custom(endpoint()).credential_at(CredentialAt::Header(header("x-amz-access-token"))),
            "a token in a header of its own",
        ),
        own(
            custom(endpoint()).companion(companion.for_paths_below("/v2/labels/")),
            "a token and a second one",
        ),
        own(custom(TokenAt::Credential), "a key as a bearer token"),
        own(
            custom(TokenAt::Credential).credential_at(CredentialAt::Header(header("api-key"))),
            "a key in a header of its own",
        ),
        own(
            custom(TokenAt::Credential)
                .credential_at(CredentialAt::Basic)
                .part(account),
            "name and password",
        ),
        own(custom(TokenAt::Credential).credential_at(two), "two headers"),
    ];
    let mut plans = Vec::new();
    for (name, profile, guarded) in known.chain(customs) {
        let in_authorization = *profile.placement() == CredentialAt::Authorization;
        let has_tokens = !matches!(profile.token_at(), TokenAt::Credential);
        // A token that comes in a header says no type.
        let has_type = profile.differs().token_answer.in_header.is_none();
        let kinds: &[Bound] = match has_tokens && in_authorization && has_type {
            true => &[Bound::Bearer, Bound::Dpop],
            false => &[Bound::Bearer],
        };
        for bound in kinds {
            plans.push(Plan {
                name: name.to_owned(),
                profile: profile.clone(),
                bound: *bound,
                guarded: guarded.clone(),
            });
        }
    }
    plans
}

/// The guarded paths that a carrier's file names. That each carrier has a file is seen to where carriers' contracts are.
fn guarded_of(name: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/carriers/{name}.json"));
    let Ok(text) = std::fs::read(&path) else {
        return Vec::new();
    };
    let file: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let routes = file["credential_routes"].as_array().into_iter().flatten();
    routes.map(|route| route.as_str().unwrap().to_owned()).collect()
}

impl World {
    pub(crate) async fn new(plan: Plan) -> Self {
        let inside = Recorder::bind("127.0.0.1:0").await;
        let next_door = format!("127.0.0.2:{}", inside.address.port());
        let outside = [Recorder::bind("127.0.0.1:0").await, Recorder::bind(&next_door).await];
        // The transport may go to all of them: it is not what keeps anything back.
        let mut transport = ReqwestTransport::builder().allow_loopback(inside.loopback());
        let mut exempt = vec![inside.loopback()];
        for one in &outside {
            transport = transport.allow_loopback(one.loopback());
            exempt.push(one.loopback());
        }
        let profile = plan.profile.moved_to(&inside.origin(), &inside.origin(), exempt);
        let clock = Arc::new(ManualClock::at(Timestamp::from_unix_seconds(NOW)));
        let grants = Arc::new(MemoryGrants::new());
        let credentials = Arc::new(MemoryCredentials::new());
        let parts = Parts::builder()
            .keys(MemoryKeyStore::new())
            .shared_grants(grants.clone())
            .shared_credentials(credentials.clone())
            .budget(Arc::new(Plenty))
            .clock(clock.clone())
            .transport(transport.build().unwrap())
            .build()
            .unwrap();
        let base_path = path_of(profile.base()).trim_end_matches('/').to_owned();
        let mut guarded: Vec<String> = plan.guarded;
        let token_path = match profile.token_at() {
            TokenAt::Endpoint(url) => Some(path_of(url).to_owned()),
            TokenAt::Issuer(_) => Some("/token".to_owned()),
            _ => None,
        };
        guarded.extend(token_path.clone());
        inside.answers(answers(
            &profile,
            plan.bound,
            token_path.clone(),
            &inside.origin(),
            &base_path,
        ));
        let kind = match plan.bound {
            Bound::Bearer => "bearer",
            Bound::Dpop => "dpop",
            Bound::Mtls => "mtls",
        };
        Self {
            name: format!("{} ({kind})", plan.name),
            client: client(profile, &parts, plan.bound),
            parts,
            bound: plan.bound,
            inside,
            outside,
            credentials,
            grants: Grants::new(grants, clock),
            base_path,
            guarded,
            has_tokens: token_path.is_some(),
        }
    }

    /// The client anew, which knows nothing of the issuer.
    pub(crate) fn forget_issuer(&mut self) {
        self.client = client(self.client.carrier().clone(), &self.parts, self.bound);
    }

    /// A tenant whose credential bears the mark in each of its parts.
    pub(crate) async fn tenant(&self, name: &str) -> TenantClient {
        let profile = self.client.carrier();
        let form = profile.key_forms().iter();
        let form = form
            .filter(|form| form.environment == Environment::Sandbox)
            .map(|form| &*form.prefix);
        let prefix = form.map(str::to_owned).next().unwrap_or_default();
        let mut credential = Credential::new("client", format!("{prefix}{}", client_secret()));
        for part in profile.parts() {
            credential = credential.with_part(&part.name, marked("part"));
        }
        if let Some(companion) = profile.second_token() {
            credential = credential.with_part(&companion.body_part, format!(r#"{{"a":"{}"}}"#, marked("body")));
        }
        let tenant = TenantId::new(name).unwrap();
        self.credentials
            .put(tenant.clone(), profile.id(), profile.environment(), credential);
        let connection = ConnectionId::new(
            DeploymentId::default_deployment(),
            tenant.clone().into(),
            profile.id().clone(),
            profile.environment(),
            AccountId::main(),
        );
        let now = Timestamp::from_unix_seconds(NOW);
        let put = self.grants.put(&connection, Grant::new(marked("refresh"), now)).await;
        put.unwrap();
        self.client.for_tenant(tenant)
    }

    /// That nobody outside has heard anything.
    pub(crate) fn stays_inside(&self) -> bool {
        self.outside.iter().all(Recorder::untouched)
    }

    /// Whether a path, read as simply and as widely as can be, is where nobody may come by accident.
    pub(crate) fn is_guarded(&self, path: &str) -> bool {
        let given = read_widely(path);
        self.guarded.iter().any(|template| {
            let wanted: Vec<_> = template.split('/').filter(|segment| !segment.is_empty()).collect();
            let fits = |(wanted, given): (&&str, &Vec<u8>)| {
                wanted.starts_with('{') || wanted.to_ascii_lowercase().as_bytes() == given.as_slice()
            };
            given.len() >= wanted.len() && wanted.iter().zip(&given).all(fits)
        })
    }
}

/// Percent-encoding off until none is left, then letters small, backslashes as slashes, parameters and empty segments away.
fn read_widely(path: &str) -> Vec<Vec<u8>> {
    let mut octets = path.as_bytes().to_vec();
    loop {
        let decoded = decode(&octets);
        if decoded == octets {
            break;
        }
        octets = decoded;
    }
    octets.make_ascii_lowercase();
    let segments = octets.split(|octet| matches!(octet, b'/' | b'\\'));
    let bare = segments.map(|segment| segment.split(|octet| *octet == b';').next().unwrap_or_default());
    bare.filter(|segment| !segment.is_empty() && *segment != b".")
        .map(<[u8]>::to_vec)
        .collect()
}

fn decode(octets: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut at = 0;
    while let Some(octet) = octets.get(at) {
        let digits = octets.get(at + 1..at + 3).and_then(|two| std::str::from_utf8(two).ok());
        let code = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
        match code {
            Some(code) if *octet == b'%' && !digits.is_some_and(|two| two.starts_with('+')) => {
                decoded.push(code);
                at += 3;
            }
            _ => {
                decoded.push(*octet);
                at += 1;
            }
        }
    }
    decoded
}

fn client(profile: CarrierProfile, parts: &Parts, bound: Bound) -> Client {
    let builder = Client::builder(profile, parts);
    let builder = match bound {
        Bound::Bearer => builder.binding(Bearer),
        Bound::Dpop => builder.binding(Dpop::es256()),
        Bound::Mtls => builder.binding(Mtls::new(Authority::new().client())),
    };
    builder.build().unwrap()
}

/// From the first slash behind the authority.
pub(crate) fn path_of(url: &str) -> &str {
    let rest = url.find("://").map_or(url, |colon| &url[colon + 3..]);
    rest.find('/').map_or("", |slash| &rest[slash..])
}

/// An issuer and API that answer all.
fn answers(
    profile: &CarrierProfile,
    bound: Bound,
    token_path: Option<String>,
    origin: &str,
    base_path: &str,
) -> impl Fn(&Request) -> String + Send + Sync + use<> {
    let token_type = match bound {
        Bound::Bearer | Bound::Mtls => "Bearer",
        Bound::Dpop => "DPoP",
    };
    let shape = profile.differs().token_answer.clone();
    let metadata = serde_json::json!({"issuer": origin, "token_endpoint": format!("{origin}/token")}).to_string();
    let second = profile.second_token().map(|companion| {
        let names: Vec<_> = companion.pointer.split('/').skip(1).collect();
        let token = serde_json::json!(marked("second-token"));
        let body = names
            .into_iter()
            .rev()
            .fold(token, |inner, name| serde_json::json!({name: inner}));
        (format!("{base_path}{}", companion.path), body.to_string())
    });
    let count = AtomicUsize::new(0);
    move |request| {
        let path = request.path();
        if path == METADATA {
            return answer(200, &[], &metadata);
        }
        if let Some((_, body)) = second.as_ref().filter(|(known, _)| known == path) {
            return answer(200, &[], body);
        }
        if token_path.as_deref() != Some(path) || request.method() != "POST" {
            return answer(200, &[], "{}");
        }
        let token = marked(&format!("token-{}", count.fetch_add(1, Ordering::SeqCst)));
        let mut body = serde_json::json!({&*shape.access_token: token, "token_type": token_type});
        match &shape.lifetime {
            LifetimeAt::Seconds(member) => body[&**member] = 3600.into(),
            LifetimeAt::UnixSeconds(member) => body[&**member] = (NOW + 3600).into(),
            _ => {}
        }
        match &shape.in_header {
            Some(name) => answer(200, &[(name.as_str(), &token)], ""),
            None => answer(200, &[], &body.to_string()),
        }
    }
}
