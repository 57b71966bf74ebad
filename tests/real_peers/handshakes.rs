//! TLS connections as the servers count them: how many, which are resumed, whose certificate each of them shows.

use std::collections::{HashMap, HashSet};

use futures_util::future::join_all;
use serde_json::Value;
use shipbound::Client;
use shipbound::binding::mtls::{MemoryCertificates, Mtls};
use shipbound::credentials::Credential;
use shipbound::owner::{Environment, TenantId};
use shipbound::token::client_auth::ClientAuth;
use shipbound::transport::reqwest::ReqwestTransportBuilder;

use crate::seen::{self, ship};
use crate::support::peers::{self, AuthorizationServer, ResourceServer};
use crate::support::shipper::{Setup, certificate, connection};

/// Two shippers, known by names alike, each with a certificate of its own.
const SHIPPERS: [(&str, &str, &str); 2] = [("acme", "tls-ca", "client-ca"), ("zeta", "tls-dn", "client-ca-next")];

struct World {
    issuer: AuthorizationServer,
    carrier: ResourceServer,
    client: Client,
    /// Thumbprints of the shippers' certificates, by client id.
    own: HashMap<&'static str, String>,
}

fn world(transport: impl FnOnce(ReqwestTransportBuilder) -> ReqwestTransportBuilder) -> World {
    let issuer = peers::authorization_server(&[]);
    let carrier = issuer.resource_server(&[("RS_ENGINE", "auth0"), ("RS_BINDING", "mtls")]);
    let certificates = MemoryCertificates::new();
    let mut setup = Setup::new(&issuer, &carrier).mtls(&issuer).auth(ClientAuth::Tls);
    let mut own = HashMap::new();
    for (tenant, client_id, name) in SHIPPERS {
        let identity = certificate(&issuer, name);
        own.insert(client_id, identity.x5t().to_string());
        let tenant_id = TenantId::new(tenant).unwrap();
        certificates.put(tenant_id, connection().carrier(), Environment::Sandbox, identity);
        setup = setup.known_as(tenant, Credential::without_secret(client_id));
    }
    let client = setup.transport(transport).client(Mtls::new(certificates));
    World {
        issuer,
        carrier,
        client,
        own,
    }
}

impl World {
    async fn ship(&self, shipper: usize) {
        let tenant = self.client.tenant(SHIPPERS[shipper].0).unwrap();
        ship(&tenant).await;
    }

    /// Every request came with its own client's certificate, on a connection whose handshake showed that one and no other.
    fn check(&self) {
        for (requests, handshakes) in [
            (self.issuer.token_requests(), self.issuer.handshakes()),
            (self.carrier.log(), self.carrier.handshakes()),
        ] {
            let mut clients: HashMap<u64, HashSet<String>> = HashMap::new();
            for request in &requests {
                let client_id = request["client_id"].as_str().unwrap();
                assert_eq!(request["cert_x5t"], self.own[client_id], "{request}");
                let handshake = seen::handshake_of(request, &handshakes);
                assert_eq!(handshake["cert_x5t"], self.own[client_id], "{handshake}");
                let connection = request["connection"].as_u64().unwrap();
                clients.entry(connection).or_default().insert(client_id.to_owned());
            }
            assert!(clients.values().all(|clients| clients.len() == 1), "{clients:?}");
        }
    }
}

/// Those of the listener that asks for certificates.
fn certified(handshakes: Vec<Value>) -> Vec<(bool, String)> {
    let of = |line: &Value| {
        let x5t = line["cert_x5t"].as_str().unwrap_or_default().to_owned();
        (line["resumed"].as_bool().unwrap(), x5t)
    };
    let certified = handshakes.iter().filter(|line| line["listener"] == "mtls");
    certified.map(of).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_one_after_the_other_make_one_handshake_for_each_certificate() {
    let world = world(|transport| transport);
    for _ in 0..10 {
        for shipper in 0..SHIPPERS.len() {
            world.ship(shipper).await;
        }
    }
    world.check();
    let expected = SHIPPERS.map(|(_, client_id, _)| (false, world.own[client_id].clone()));
    assert_eq!(certified(world.carrier.handshakes()), expected);
    assert_eq!(certified(world.issuer.handshakes()), expected);
    assert_eq!(world.carrier.log().len(), 20);
}

/// Connections are not kept, so each call makes one: the first of a certificate in full, the others with its tickets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_are_resumed_with_the_certificate_that_they_began_with() {
    const ROUNDS: usize = 6;
    let world = world(|transport| transport.pool_max_idle_per_host(0));
    for _ in 0..ROUNDS {
        for shipper in 0..SHIPPERS.len() {
            world.ship(shipper).await;
        }
    }
    world.check();
    let handshakes = certified(world.carrier.handshakes());
    assert_eq!(handshakes.len(), ROUNDS * SHIPPERS.len());
    for (number, (resumed, x5t)) in handshakes.iter().enumerate() {
        assert_eq!(
            *x5t,
            world.own[SHIPPERS[number % SHIPPERS.len()].1],
            "handshake {number}"
        );
        match number / SHIPPERS.len() {
            0 => assert!(!resumed, "handshake {number}"),
            1 => assert!(resumed, "handshake {number}"),
            // The server gives no new tickets on a resumed connection: when they are spent there is a handshake in full.
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_of_both_at_once_share_neither_connections_nor_tickets() {
    for idle in [0, 4] {
        let world = world(|transport| transport.pool_max_idle_per_host(idle));
        for _ in 0..4 {
            join_all((0..24).map(|call| world.ship(call % SHIPPERS.len()))).await;
        }
        world.check();
        let handshakes = certified(world.carrier.handshakes());
        assert!(
            handshakes.iter().any(|(resumed, _)| *resumed),
            "with {idle} idle connections"
        );
        assert_eq!(world.issuer.token_requests().len(), SHIPPERS.len());
        assert_eq!(world.carrier.log().len(), 96);
    }
}
