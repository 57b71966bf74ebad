//! Shippers with a client certificate each, and their calls.

use std::error::Error;
use std::sync::Arc;

use http::Method;
use serde_json::json;
use shipbound::binding::dpop::Dpop;
use shipbound::binding::mtls::{CertificateSource, MemoryCertificates, Mtls};
use shipbound::carriers::{self, CarrierProfile};
use shipbound::credentials::MemoryCredentials;
use shipbound::jose::Thumbprint;
use shipbound::keys::MemoryKeyStore;
use shipbound::owner::{CarrierId, Environment, TenantId};
use shipbound::sandbox::{Answer, Canned, Endpoint, Recorded, Registration, Sandbox};
use shipbound::token::TokenAt;
use shipbound::token::client_auth::ClientAuth;
use shipbound::{Client, Parts};

use crate::SHIPMENTS;
use crate::output::Output;

/// A carrier with an issuer that has metadata: the endpoints for clients with a certificate are read from it.
pub(crate) fn carrier(sandbox: &Sandbox) -> Result<CarrierProfile, Box<dyn Error>> {
    Ok(sandbox.mtls_profile(CarrierProfile::custom(
        CarrierId::new("acme-freight")?,
        Environment::Sandbox,
        "https://api.carrier.example",
        TokenAt::Issuer("https://auth.carrier.example".into()),
    )))
}

/// A client that is registered for tokens which are bound to its certificate, known by that alone.
pub(crate) fn by_certificate(client: &TenantId) -> Registration {
    Registration::tls_client_auth(client.as_str(), client.as_str()).certificate_bound_tokens()
}

/// The newest call of a shipper's as the server saw it.
pub(crate) fn arrived(sandbox: &Sandbox, shipper: &TenantId) -> Result<Recorded, Box<dyn Error>> {
    let calls = sandbox.requests_of(shipper).into_iter();
    calls
        .rev()
        .find(|request| request.endpoint() == Endpoint::Api)
        .ok_or_else(|| "the sandbox saw no call".into())
}

/// The TLS connections on which a shipper's requests came.
pub(crate) struct Connections {
    pub(crate) shipper: TenantId,
    pub(crate) x5t: Thumbprint,
    /// Those that showed the shipper's certificate: the number of each, and whether it resumed a session.
    pub(crate) handshakes: Vec<(u64, bool)>,
    /// Requests that came on a connection of somebody else's, or with a ticket of one.
    pub(crate) strangers: usize,
}

pub(crate) struct Shippers {
    acme: TenantId,
    globex: TenantId,
    /// Theirs, in this order.
    certificates: [Thumbprint; 2],
    source: Arc<dyn CertificateSource>,
    parts: Parts,
}

impl Shippers {
    /// Registers both at the carrier. They share all parts: transport, tokens, store of certificates.
    pub(crate) fn new(sandbox: &Sandbox) -> Result<Self, Box<dyn Error>> {
        let [acme, globex] = [TenantId::new("acme")?, TenantId::new("globex")?];
        let profile = carrier(sandbox)?;
        let bnsf = carriers::bnsf(Environment::Sandbox);
        let secret = sandbox.credential(&acme);
        let secret = secret.client_secret().ok_or("acme has no secret")?.clone();
        let known = [
            Registration::secret("acme", secret).certificate_bound_tokens(),
            by_certificate(&globex),
        ];

        let (credentials, source) = (MemoryCredentials::new(), MemoryCertificates::new());
        let mut thumbprints = Vec::new();
        for (shipper, registration) in [&acme, &globex].into_iter().zip(known) {
            let credential = sandbox.register(registration);
            credentials.put(shipper.clone(), profile.id(), Environment::Sandbox, credential);
            let certificate = sandbox.client_certificate(shipper.as_str())?;
            thumbprints.push(certificate.x5t());
            let identity = certificate.identity()?;
            source.put(shipper.clone(), profile.id(), Environment::Sandbox, identity.clone());
            source.put(shipper.clone(), bnsf.id(), Environment::Sandbox, identity);
        }
        let parts = Parts::builder()
            .keys(MemoryKeyStore::new())
            .credentials(credentials)
            .transport(sandbox.transport()?)
            .build()?;
        Ok(Self {
            acme,
            globex,
            certificates: thumbprints
                .try_into()
                .map_err(|_| "two shippers have two certificates")?,
            source: Arc::new(source),
            parts,
        })
    }

    fn binding(&self) -> Mtls {
        Mtls::shared(Arc::clone(&self.source))
    }

    /// Two labels each. The server closes the connection after the first, so that the second comes on another one, with a
    /// ticket of the first.
    pub(crate) async fn buy(&self, sandbox: &Sandbox, out: &mut Output) -> Result<(), Box<dyn Error>> {
        let profile = carrier(sandbox)?;
        let by_secret = Client::builder(profile.clone(), &self.parts).binding(self.binding());
        let by_certificate = Client::builder(profile.client_auth(ClientAuth::Tls), &self.parts).binding(self.binding());
        let [acme, globex] = [by_secret.build()?, by_certificate.build()?];
        let both = [(&self.acme, acme), (&self.globex, globex)];
        for turn in 0..2 {
            for ((shipper, carrier), x5t) in both.iter().zip(self.certificates) {
                if turn == 0 {
                    let answer = Answer::normal().header("connection", "close");
                    sandbox.script(*shipper, Endpoint::Api, [answer]);
                }
                let body = json!({"shipper": shipper.as_str(), "weightGrams": 1200});
                let call = carrier.for_tenant((*shipper).clone());
                let answer = call.post(SHIPMENTS).json(&body).send().await?;
                out.shipment(shipper, x5t, &answer, &arrived(sandbox, shipper)?);
            }
        }
        Ok(())
    }

    /// A label with a token that is bound to a proof key as well (RFC 9449).
    pub(crate) async fn buy_with_both(&self, sandbox: &Sandbox, out: &mut Output) -> Result<(), Box<dyn Error>> {
        let [x5t, _] = self.certificates;
        let carrier = Client::builder(carrier(sandbox)?, &self.parts)
            .binding(self.binding().and_dpop(Dpop::es256()))
            .build()?;
        let answer = carrier.for_tenant(self.acme.clone()).post(SHIPMENTS).send().await?;
        out.shipment(&self.acme, x5t, &answer, &arrived(sandbox, &self.acme)?);
        Ok(())
    }

    /// A call of a carrier that issues no tokens: it knows its customers' certificates.
    pub(crate) async fn ask_without_tokens(&self, sandbox: &Sandbox, out: &mut Output) -> Result<(), Box<dyn Error>> {
        let customers = self.certificates;
        sandbox.open_route(Method::GET, "/v1/cars", move |request| {
            match request.certificate().filter(|shown| customers.contains(shown)) {
                Some(_) => Canned::json(200, &json!({"cars": ["BNSF 123456"]})),
                None => Canned::empty(403),
            }
        });
        let bnsf = Client::builder(sandbox.mtls_profile(carriers::bnsf(Environment::Sandbox)), &self.parts)
            .binding(self.binding())
            .build()?;
        for (shipper, x5t) in [&self.acme, &self.globex].into_iter().zip(customers) {
            let answer = bnsf.for_tenant(shipper.clone()).get("/v1/cars").send().await?;
            // No token says whose it is, so it is the newest that arrived.
            let arrived = sandbox.requests_at(Endpoint::Api).pop();
            out.without_token(shipper, x5t, &answer, &arrived.ok_or("the sandbox saw no call")?);
        }
        Ok(())
    }

    /// What the server saw. A ticket brings back the certificate that its session began with, so that a request which came
    /// with another shipper's ticket would count as that one's.
    pub(crate) fn connections(&self, sandbox: &Sandbox) -> Vec<Connections> {
        let handshakes = sandbox.handshakes();
        let shippers = [&self.acme, &self.globex].into_iter().zip(self.certificates);
        shippers
            .map(|(shipper, x5t)| {
                let own = handshakes
                    .iter()
                    .filter(|handshake| handshake.certificate() == Some(x5t));
                let own: Vec<_> = own
                    .map(|handshake| (handshake.connection(), handshake.resumed()))
                    .collect();
                let is_own = |request: &Recorded| own.iter().any(|(number, _)| *number == request.connection());
                let requests = sandbox.requests_of(shipper);
                let accepted = requests.iter().filter(|request| request.accepted());
                Connections {
                    shipper: shipper.clone(),
                    x5t,
                    strangers: accepted.filter(|request| !is_own(request)).count(),
                    handshakes: own,
                }
            })
            .collect()
    }
}
