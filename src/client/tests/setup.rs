//! Clients of one carrier over a scripted transport, for the tests beside this file.

use std::sync::Arc;

use futures_util::FutureExt;

use crate::carriers::CarrierProfile;
use crate::client::{CarrierClient, Client, ClientBuilder, RequestBuilder, Response, TenantClient};
use crate::clock::{ManualClock, Timestamp};
use crate::credentials::{Credential, MemoryCredentials};
use crate::error::Error;
use crate::grants::{Grant, GrantState, GrantStore, Grants, MemoryGrants};
use crate::jose::Algorithm;
use crate::journal::memory::MemorySink;
use crate::keys::{Backend, KeyStore, LocalKey, MemoryKeyStore, Purpose};
use crate::owner::{CarrierId, Environment, Owner, Tenant, TenantId};
use crate::parts::Parts;
use crate::testing::{Script, Step};
use crate::token::TokenAt;

pub(super) const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);
pub(super) const ISSUER: &str = "https://auth.carrier.example";

pub(super) struct Setup {
    pub(super) clock: Arc<ManualClock>,
    pub(super) script: Script,
    pub(super) keys: Arc<MemoryKeyStore>,
    pub(super) grants: Arc<MemoryGrants>,
    pub(super) credentials: Arc<MemoryCredentials>,
    pub(super) events: Arc<MemorySink>,
    pub(super) parts: Parts,
}

impl Setup {
    pub(super) fn new() -> Self {
        Self::with_grants(MemoryGrants::new())
    }

    pub(super) fn with_grants(grants: MemoryGrants) -> Self {
        let clock = Arc::new(ManualClock::at(NOW));
        let script = Script::default();
        let keys = Arc::new(MemoryKeyStore::with_clock(clock.clone()));
        let grants = Arc::new(grants);
        let (credentials, events) = (Arc::new(MemoryCredentials::new()), Arc::new(MemorySink::default()));
        for carrier in ["c1", "c2"] {
            let carrier = CarrierId::new(carrier).unwrap();
            let credential = Credential::new("id", "sEcReTmArKeR");
            credentials.put(TenantId::new("t1").unwrap(), &carrier, Environment::Sandbox, credential);
        }
        let parts = Parts::builder()
            .shared_keys(keys.clone())
            .shared_credentials(credentials.clone())
            .shared_sink(events.clone())
            .shared_grants(grants.clone())
            .clock(clock.clone())
            .transport(script.clone())
            .build()
            .unwrap();
        Self {
            clock,
            script,
            keys,
            grants,
            credentials,
            events,
            parts,
        }
    }

    pub(super) fn build(
        &self,
        profile: CarrierProfile,
        choose: impl FnOnce(ClientBuilder) -> ClientBuilder,
    ) -> Result<Client, Error> {
        choose(Client::builder(profile, &self.parts)).build()
    }

    /// Gives the tenant's connection a key for its client assertions.
    pub(super) fn may_sign(&self, client: &Client) {
        let owner = Owner::from(client.0.scope.connection(&tenant()));
        let key = LocalKey::generate(Algorithm::Es256, Backend::default()).unwrap();
        let key = self.keys.import(&owner, Purpose::ClientAssertion, key).unwrap();
        let promoted = self.keys.promote(&owner, &key.id(), None, NOW).now_or_never();
        assert!(promoted.unwrap().unwrap());
    }

    /// A call of the tenant that meets these steps.
    pub(super) fn call(&self, client: &Client, steps: impl IntoIterator<Item = Step>) -> Result<(), Error> {
        self.script.add(steps);
        let request = http::Request::get("/rates").body(bytes::Bytes::new()).unwrap();
        let sent = client.send(&tenant(), request).now_or_never().expect("nothing waits");
        sent.map(drop)
    }

    /// Gives the tenant this credential at the carrier `c1`.
    pub(super) fn has(&self, credential: Credential) {
        let carrier = CarrierId::new("c1").unwrap();
        self.credentials
            .put(tenant(), &carrier, Environment::Sandbox, credential);
    }

    /// A request of the tenant that meets these steps.
    pub(super) fn send(
        &self,
        client: &Client,
        request: impl FnOnce(&TenantClient) -> RequestBuilder<'_>,
        steps: impl IntoIterator<Item = Step>,
    ) -> Result<Response, Error> {
        self.script.add(steps);
        let client = client.for_tenant(tenant());
        request(&client).send().now_or_never().expect("nothing waits")
    }

    /// The paths that were asked for since the last look.
    pub(super) fn paths(&self) -> Vec<String> {
        let seen = self.script.seen();
        seen.iter().map(|seen| seen.target.path().to_owned()).collect()
    }

    pub(super) fn consent(&self, client: &Client, refresh_token: &str) {
        let grants = Grants::new(self.grants.clone(), self.clock.clone());
        let connection = client.0.scope.connection(&tenant());
        let put = grants.put(&connection, Grant::new(refresh_token, NOW)).now_or_never();
        put.unwrap().unwrap();
    }

    /// How the tenant's consent stands; `None` where there is none.
    pub(super) fn consented(&self, client: &Client) -> Option<GrantState> {
        let connection = client.0.scope.connection(&tenant());
        let record = self.grants.load(&connection).now_or_never().unwrap().unwrap();
        record.map(|record| record.state)
    }
}

pub(super) fn tenant() -> Tenant {
    TenantId::new("t1").unwrap().into()
}

/// A carrier whose tokens come from there.
pub(super) fn profile(token_at: TokenAt) -> CarrierProfile {
    let carrier = CarrierId::new("c1").unwrap();
    CarrierProfile::custom(carrier, Environment::Sandbox, "https://api.carrier.example", token_at)
}

pub(super) fn at_endpoint() -> CarrierProfile {
    profile(TokenAt::Endpoint(format!("{ISSUER}/token")))
}

pub(super) fn at_issuer() -> CarrierProfile {
    profile(TokenAt::Issuer(ISSUER.to_owned()))
}

/// The issuer's metadata, with these members more.
pub(super) fn document(extra: &str) -> Step {
    let body = format!(r#"{{"issuer":"{ISSUER}","token_endpoint":"{ISSUER}/token"{extra}}}"#);
    Step::json(200, &body)
}
