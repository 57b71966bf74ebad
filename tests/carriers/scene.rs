//! One profile at servers on loopback that say what its file tells, and nothing else: a script answers each request, no
//! imitation looks at it.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use http::Method;
use shipbound::binding::bearer::Bearer;
use shipbound::binding::mtls::Mtls;
use shipbound::carriers::CarrierProfile;
use shipbound::client::{RequestBuilder, Response, TenantClient};
use shipbound::clock::{Clock, ManualClock, Timestamp};
use shipbound::credentials::{Credential, MemoryCredentials};
use shipbound::exchange::budget::Limits;
use shipbound::exchange::quirks::LifetimeAt;
use shipbound::grants::{Grant, Grants, MemoryGrants};
use shipbound::journal::memory::MemorySink;
use shipbound::keys::{Backend, KeyStore, LocalKey, MemoryKeyStore, Purpose};
use shipbound::owner::{AccountId, ConnectionId, DeploymentId, Environment, Owner, TenantId};
use shipbound::sandbox::{Answer, Canned, Endpoint, Recorded, Sandbox, Who};
use shipbound::secret::KeyMaterial;
use shipbound::transport::identity::ClientIdentity;
use shipbound::{CarrierClient, Client, Error, Parts};

use crate::data::{Call, File};
use crate::patient::Patient;
use crate::profiles::{Known, Login};

const NOW: i64 = 1_800_000_000;

pub(crate) struct Scene<'a> {
    pub(crate) file: &'a File,
    pub(crate) sandbox: Sandbox,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) events: Arc<MemorySink>,
    pub(crate) client: Client,
    pub(crate) carrier: TenantClient,
    /// What the file's call is answered next; then what the file says.
    next: Arc<Mutex<VecDeque<Canned>>>,
}

impl<'a> Scene<'a> {
    pub(crate) async fn new(known: &Known, file: &'a File) -> Self {
        let profile = (known.profile)(Environment::Sandbox);
        let clock = Arc::new(ManualClock::at(Timestamp::from_unix_seconds(now(&profile, file))));
        let certificate = known.login == Login::Certificate;
        let sandbox = Sandbox::builder()
            .clock(clock.clone())
            .vendor_limits(false)
            .mtls(certificate)
            .start()
            .await
            .unwrap();
        let profile = match certificate {
            true => sandbox.mtls_profile(profile),
            false => sandbox.profile(profile),
        };
        let tenant = TenantId::new("acme").unwrap();
        let connection = ConnectionId::new(
            DeploymentId::default_deployment(),
            tenant.clone().into(),
            profile.id().clone(),
            Environment::Sandbox,
            AccountId::main(),
        );
        let mut credential = match &file.credential.client_secret {
            Some(secret) => Credential::new(file.credential.client_id.as_str(), secret.as_str()),
            None => Credential::without_secret(file.credential.client_id.as_str()),
        };
        for (name, value) in &file.credential.parts {
            credential = credential.with_part(name, value.text());
        }
        let (keys, grants) = (MemoryKeyStore::new(), Arc::new(MemoryGrants::new()));
        if let Login::Assertion { .. } = known.login {
            let (key, certificate) = rs256();
            let owner = Owner::from(connection.clone());
            let key = keys.import(&owner, Purpose::ClientAssertion, key).unwrap();
            let id = key.id();
            assert!(keys.promote(&owner, &id, None, clock.now()).await.unwrap());
            credential = credential.certificates([certificate]);
        }
        if known.login == Login::Consent {
            let form = file.token.as_ref().and_then(|token| token.request.form.as_ref());
            let refresh_token = form.expect("a form")["refresh_token"].as_str();
            let consents = Grants::new(grants.clone(), clock.clone());
            let grant = Grant::new(refresh_token, clock.now());
            consents.put(&connection, grant).await.unwrap();
        }
        let credentials = MemoryCredentials::new();
        credentials.put(tenant.clone(), profile.id(), Environment::Sandbox, credential);
        let events = Arc::new(MemorySink::default());
        let parts = Parts::builder()
            .keys(keys)
            .shared_grants(grants)
            .credentials(credentials)
            .clock(Arc::new(Patient::of(&clock)))
            .shared_sink(events.clone())
            .transport(sandbox.transport().unwrap())
            .build()
            .unwrap();
        let limits = Limits::default().token_exchange(Patient::FAR).call(Patient::FAR);
        let builder = Client::builder(profile, &parts).limits(limits);
        let builder = match certificate {
            true => builder.binding(Mtls::new(
                sandbox.client_certificate("acme").unwrap().identity().unwrap(),
            )),
            false => builder.binding(Bearer),
        };
        let client = builder.build().unwrap();
        let carrier = client.for_tenant(tenant);
        let scene = Self {
            file,
            sandbox,
            clock,
            events,
            client,
            carrier,
            next: Arc::default(),
        };
        scene.serve();
        scene
    }

    /// Answers as the file says.
    fn serve(&self) {
        if let Some(token) = &self.file.token {
            let answer = Answer::reply(token.answer.canned());
            self.sandbox.always(Who::Anyone, Endpoint::Token, answer);
        }
        if let Some(call) = &self.file.test_call {
            let answer = call.answer.canned();
            self.open(&call.method, &call.path, move |_| answer.clone());
        }
        if let Some(companion) = &self.file.companion {
            let answer = companion.answer.canned();
            self.open(&companion.request.method, &companion.request.path, move |_| {
                answer.clone()
            });
        }
        if self.file.call.is_none() {
            let answer = Answer::reply(Canned::empty(200));
            self.sandbox.always(Who::Anyone, Endpoint::Api, answer);
        }
        if let Some(call) = &self.file.call {
            let (next, usual) = (Arc::clone(&self.next), call.answer.canned());
            self.open(&call.method, &call.arrives.path, move |_| {
                next.lock().unwrap().pop_front().unwrap_or_else(|| usual.clone())
            });
        }
    }

    fn open(&self, method: &str, path: &str, answer: impl Fn(&Recorded) -> Canned + Send + Sync + 'static) {
        let path = path.split('?').next().unwrap_or_default();
        self.sandbox.open_route(method.parse().unwrap(), path, answer);
    }

    /// Has the next requests at this place answered so.
    pub(crate) fn next(&self, at: crate::data::At, answers: impl IntoIterator<Item = Canned>) {
        match at {
            crate::data::At::Api => self.next.lock().unwrap().extend(answers),
            crate::data::At::Token => {
                let answers = answers.into_iter().map(Answer::reply);
                self.sandbox.script(Who::Anyone, Endpoint::Token, answers);
            }
        }
    }

    /// The file's call, as the application writes it. Profiles without routes of their own are called at their root.
    pub(crate) fn request(&self) -> RequestBuilder<'_> {
        let Some(call) = &self.file.call else {
            return self.carrier.get("/");
        };
        let request = self.carrier.request(call.method.parse().unwrap(), &call.path);
        match &call.body {
            Some(body) => request.json(body),
            None => request,
        }
    }

    pub(crate) async fn call(&self) -> Result<Response, Error> {
        self.request().send().await
    }

    /// A request to a path as it is on the wire.
    pub(crate) fn at(&self, method: &str, path: &str) -> RequestBuilder<'_> {
        let base = self.client.carrier().base();
        let authority = base.find("://").map_or(0, |colon| colon + 3);
        let end = base[authority..]
            .find('/')
            .map_or(base.len(), |slash| authority + slash);
        self.carrier
            .request(method.parse::<Method>().unwrap(), &format!("{}{path}", &base[..end]))
    }

    /// Whether all answers to the file's call were fetched that were told beforehand.
    pub(crate) fn next_is_empty(&self) -> bool {
        self.next.lock().unwrap().is_empty()
    }

    /// The token requests so far.
    pub(crate) fn tokens(&self) -> Vec<Recorded> {
        self.sandbox.requests_at(Endpoint::Token)
    }

    /// The file's calls so far, as they arrived.
    pub(crate) fn calls(&self, call: &Call) -> Vec<Recorded> {
        let requests = self.sandbox.requests_at(Endpoint::Api).into_iter();
        requests
            .filter(|request| request.method().as_str() == call.method && on_wire(request) == call.arrives.path)
            .collect()
    }
}

/// Path and query as they stood in the request.
pub(crate) fn on_wire(request: &Recorded) -> String {
    let query = request.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}{query}", request.path())
}

/// Where an answer says when its token ends, it is read as many seconds before that as the file tells.
fn now(profile: &CarrierProfile, file: &File) -> i64 {
    let LifetimeAt::UnixSeconds(member) = &profile.differs().token_answer.lifetime else {
        return NOW;
    };
    let token = file.token.as_ref().expect("a token");
    let end = token.answer.member(member).expect("the token's end");
    let end = end.as_i64().or_else(|| end.as_str()?.parse().ok()).unwrap();
    end - i64::try_from(token.life().as_secs()).unwrap()
}

/// Makes a client of a profile as it is, at the carrier's own servers.
pub(crate) fn builds(known: &Known, environment: Environment) {
    let profile = (known.profile)(environment);
    let parts = Parts::builder()
        .keys(MemoryKeyStore::new())
        .grants(MemoryGrants::new())
        .credentials(MemoryCredentials::new())
        .build()
        .unwrap();
    let builder = Client::builder(profile, &parts);
    let builder = match known.login {
        Login::Certificate => builder.binding(Mtls::new(certificate())),
        _ => builder.binding(Bearer),
    };
    let client = builder.build();
    assert!(client.is_ok(), "{} in {environment:?}: {client:?}", known.name);
}

/// A client's certificate that no server knows.
fn certificate() -> ClientIdentity {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/identities");
    let key = KeyMaterial::new(fs::read(directory.join("p256.key")).unwrap());
    ClientIdentity::from_pem(&fs::read(directory.join("p256.pem")).unwrap(), &key).unwrap()
}

/// A key for assertions by RS256, with its certificate in DER.
fn rs256() -> (LocalKey, Vec<u8>) {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/identities");
    let pem = KeyMaterial::new(fs::read(directory.join("rsa2048.key")).unwrap());
    let key = LocalKey::from_pem(&pem, Backend::default()).unwrap().into_rs256();
    let certificate = CertificateDer::from_pem_file(directory.join("rsa2048.pem")).unwrap();
    (key.unwrap(), certificate.to_vec())
}
