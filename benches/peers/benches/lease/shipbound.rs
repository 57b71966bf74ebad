//! This crate: clients of 40 carriers over one token cache, filled by calls whose tokens came from an issuer in this process.

use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderValue, Response, header};
use shipbound::binding::bearer::Bearer;
use shipbound::binding::dpop::Dpop;
use shipbound::carriers::CarrierProfile;
use shipbound::credentials::{Credential, CredentialError, CredentialStore};
use shipbound::keys::MemoryKeyStore;
use shipbound::owner::{CarrierId, ConnectionId, Environment, Tenant, TenantId};
use shipbound::token::{Lease, TokenAt};
use shipbound::transport::{Body, Outgoing, Route, Transport, TransportError};
use shipbound::{Client, Parts};
use shipbound_benches_peers::inputs::access_token;
use shipbound_benches_peers::poll::ready;

use crate::peers::{CARRIERS, Connection};

/// What the tokens of the cache are bound to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Bearer,
    Dpop,
}

/// A client for each carrier; all share their parts.
pub(crate) fn filled(kind: Kind, connections: &[Connection]) -> Vec<Client> {
    let parts = Parts::builder()
        .keys(MemoryKeyStore::new())
        .credentials(OneForAll)
        .transport(Issuing);
    let parts = parts.build().unwrap();
    let clients: Vec<Client> = (0..CARRIERS).map(|number| client(kind, number, &parts)).collect();
    for connection in connections {
        let call = clients[usize::from(connection.carrier)].for_tenant(tenant(connection));
        ready(call.get("/rates").send()).unwrap();
    }
    clients
}

fn client(kind: Kind, number: u16, parts: &Parts) -> Client {
    let profile = CarrierProfile::custom(
        CarrierId::new(&format!("carrier-{number}")).unwrap(),
        Environment::Production,
        format!("https://api.carrier-{number}.example"),
        TokenAt::Endpoint(format!("https://auth.carrier-{number}.example/token")),
    );
    let builder = Client::builder(profile, parts);
    match kind {
        Kind::Bearer => builder.binding(Bearer).build(),
        Kind::Dpop => builder.binding(Dpop::es256()).build(),
    }
    .unwrap()
}

fn tenant(connection: &Connection) -> Tenant {
    TenantId::new(&connection.tenant).unwrap().into()
}

/// What an application has in hand at each call: the client of the carrier, and the tenant. The tenant's text is a copy of its own, as with
/// the maps.
pub(crate) struct Caller {
    client: Client,
    tenant: Tenant,
}

impl Caller {
    pub(crate) fn all(clients: &[Client], connections: &[Connection]) -> Vec<Self> {
        let caller = |connection: &Connection| Self {
            client: clients[usize::from(connection.carrier)].clone(),
            tenant: tenant(connection),
        };
        connections.iter().map(caller).collect()
    }

    pub(crate) fn hit(&self) -> Option<Arc<Lease>> {
        self.client.lease(&self.tenant)
    }
}

#[derive(Debug)]
struct OneForAll;

#[async_trait]
impl CredentialStore for OneForAll {
    async fn credential(&self, _connection: &ConnectionId) -> Result<Credential, CredentialError> {
        Ok(Credential::new("client", "secret").with_revision(1))
    }
}

/// Issuer and API in one: a token for whoever asks, an empty answer for everything else.
#[derive(Debug)]
struct Issuing;

#[async_trait]
impl Transport for Issuing {
    async fn send(&self, request: Outgoing, _route: &Route) -> Result<Response<Body>, TransportError> {
        if request.target.path() != "/token" {
            return Ok(Response::new(Body::empty()));
        }
        let kind = if request.headers.contains_key("dpop") {
            "DPoP"
        } else {
            "Bearer"
        };
        let answer =
            serde_json::json!({ "access_token": access_token(), "token_type": kind, "expires_in": 86_400 }).to_string();
        let mut response = Response::new(Body::from(bytes::Bytes::from(answer)));
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        Ok(response)
    }
}
