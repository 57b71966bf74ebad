//! The carrier that shippers connect, and what the application does there for them.

use std::collections::HashSet;
use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use http::Method;
use serde_json::{Value, json};
use shipbound::binding::bearer::Bearer;
use shipbound::binding::dpop::Dpop;
use shipbound::carriers::{self, CarrierProfile};
use shipbound::credentials::{Credential, CredentialError, CredentialStore};
use shipbound::grants::MemoryGrants;
use shipbound::keys::MemoryKeyStore;
use shipbound::owner::{CarrierId, ConnectionId, Environment, Tenant, TenantId};
use shipbound::sandbox::{Canned, Endpoint, Recorded, Registration, Sandbox, Vendors};
use shipbound::token::TokenAt;
use shipbound::token::consent::{Authorization, PendingConsent};
use shipbound::{Client, Parts};

/// The application's id at the carrier.
const CLIENT_ID: &str = "parcel-desk";

/// Which carrier it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// UPS as it is today: codes are exchanged without the application's secret, refreshes have a path of their own, tokens are
    /// bearer tokens.
    Ups,
    /// USPS as it is today: the secret goes with the form, bearer tokens.
    Usps,
    /// A carrier whose issuer has metadata and wants pushed requests. Codes, tokens and refreshes are bound to a key.
    Issuer,
}

/// A label that was bought for a shipper.
#[derive(Clone)]
pub(crate) struct Label {
    pub(crate) status: u16,
    pub(crate) tracking: String,
    /// What it was bought with.
    pub(crate) token: Token,
}

/// Which of a shipper's tokens one is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    First,
    Refreshed,
}

impl Token {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Refreshed => "refreshed",
        }
    }
}

/// What arrived at the carrier.
pub(crate) struct Seen {
    pub(crate) codes: usize,
    pub(crate) refreshes: usize,
    pub(crate) labels: usize,
    /// With how many different tokens.
    pub(crate) tokens: usize,
}

pub(crate) struct Carrier {
    which: Which,
    sandbox: Sandbox,
    client: Client,
    redirect_uri: String,
}

impl Carrier {
    pub(crate) async fn start(which: Which, redirect_uri: &str) -> Result<Self, Box<dyn Error>> {
        // Plain HTTP on the loopback interface: browsers do not know the sandbox's authority. A carrier has TLS.
        let sandbox = Sandbox::builder()
            .tls(false)
            .vendors(Vendors::AsToday)
            .require_pushed_authorization_requests(which == Which::Issuer)
            .start()
            .await?;
        let app = TenantId::new(CLIENT_ID)?;
        let secret = sandbox.credential(&app);
        let secret = secret.client_secret().ok_or("the application has no secret")?.clone();
        let credential = sandbox.register(Registration::secret(CLIENT_ID, secret).redirect_uri(redirect_uri));
        let labels = AtomicU64::new(1);
        let numbered = move |body: fn(String) -> Value| {
            let number = labels.fetch_add(1, Ordering::Relaxed);
            Canned::json(201, &body(format!("1Z999AA1{number:010}")))
        };
        let parts = Parts::builder()
            .keys(MemoryKeyStore::new())
            .credentials(Everyone(credential))
            // Refresh tokens; an application keeps them in its database, sealed.
            .grants(MemoryGrants::new())
            .transport(sandbox.transport()?)
            .build()?;
        let client = match which {
            Which::Ups => {
                sandbox.route_with(Method::POST, "/api/shipments/{version}/ship", move |_| {
                    numbered(|number| {
                        json!({"ShipmentResponse": {"ShipmentResults": {"ShipmentIdentificationNumber": number}}})
                    })
                });
                let profile = carriers::ups(Environment::Sandbox).by_consent();
                Client::builder(sandbox.profile(profile), &parts)
                    .binding(Bearer)
                    .build()?
            }
            Which::Usps => {
                // USPS wants a payment authorization with each label too; this route does not.
                sandbox.route_with(Method::POST, "/labels/v3/label", move |_| {
                    numbered(|number| json!({ "trackingNumber": number }))
                });
                let profile = carriers::usps(Environment::Sandbox).by_consent();
                Client::builder(sandbox.profile(profile), &parts)
                    .binding(Bearer)
                    .build()?
            }
            Which::Issuer => {
                sandbox.route_with(Method::POST, "/v1/shipments", move |_| {
                    numbered(|number| json!({ "trackingNumber": number }))
                });
                let profile = CarrierProfile::custom(
                    CarrierId::new("acme-freight")?,
                    Environment::Sandbox,
                    "https://api.carrier.example",
                    TokenAt::Issuer("https://auth.carrier.example".into()),
                );
                Client::builder(sandbox.profile(profile.by_consent()), &parts)
                    .binding(Dpop::es256())
                    .build()?
            }
        };
        Ok(Self {
            which,
            sandbox,
            client,
            redirect_uri: redirect_uri.to_owned(),
        })
    }

    /// The carrier's name, for people.
    pub(crate) fn name(&self) -> &'static str {
        match self.which {
            Which::Ups => "UPS",
            Which::Usps => "USPS",
            Which::Issuer => "Acme Freight",
        }
    }

    /// The origin of the page where shippers consent.
    pub(crate) fn consent_origin(&self) -> &str {
        match self.which {
            Which::Ups | Which::Usps => self.sandbox.api(),
            Which::Issuer => self.sandbox.issuer(),
        }
    }

    pub(crate) async fn authorize(&self, shipper: &Tenant) -> Result<Authorization, shipbound::Error> {
        self.client.authorize(shipper, &self.redirect_uri).await
    }

    /// Ends a consent with the query that the browser brought to this carrier's own address.
    pub(crate) async fn consented(
        &self,
        shipper: &Tenant,
        pending: PendingConsent,
        query: &str,
    ) -> Result<(), shipbound::Error> {
        let address = format!("{}?{query}", self.redirect_uri);
        self.client.consented(shipper, pending, &address).await
    }

    /// A label, with the token that the consent brought or, as it would be hours later, with a refreshed one.
    pub(crate) async fn buy_label(&self, shipper: &Tenant, token: Token) -> Result<Label, shipbound::Error> {
        if token == Token::Refreshed {
            self.client.forget(shipper);
        }
        let (path, tracking) = match self.which {
            Which::Ups => (
                "/shipments/v2409/ship",
                "/ShipmentResponse/ShipmentResults/ShipmentIdentificationNumber",
            ),
            Which::Usps => ("/labels/v3/label", "/trackingNumber"),
            Which::Issuer => ("/v1/shipments", "/trackingNumber"),
        };
        let shipment = json!({"weightGrams": 1200});
        let call = self.client.for_tenant(shipper.clone());
        let answer = call.post(path).json(&shipment).send().await?;
        let body: Value = answer.json()?;
        Ok(Label {
            status: answer.status().as_u16(),
            tracking: body.pointer(tracking).and_then(Value::as_str).unwrap_or("-").to_owned(),
            token,
        })
    }

    pub(crate) fn seen(&self) -> Seen {
        let asked = self.sandbox.requests_at(Endpoint::Token);
        // USPS is asked in JSON, the others in forms.
        let grant = |request: &Recorded| {
            let in_json = || Some(request.json()?.get("grant_type")?.as_str()?.to_owned());
            request.form("grant_type").or_else(in_json)
        };
        let grants = |wanted: &str| {
            let of_this = asked.iter().filter(|request| grant(request).as_deref() == Some(wanted));
            of_this.filter(|request| request.accepted()).count()
        };
        let calls = self.sandbox.requests_at(Endpoint::Api);
        let bought: Vec<_> = calls.iter().filter(|call| call.status() == Some(201)).collect();
        let tokens: HashSet<_> = bought.iter().map(|call| call.header("authorization")).collect();
        Seen {
            codes: grants("authorization_code"),
            refreshes: grants("refresh_token"),
            labels: bought.len(),
            tokens: tokens.len(),
        }
    }
}

/// One registration of the application at the carrier, for all shippers.
#[derive(Debug)]
struct Everyone(Credential);

#[async_trait]
impl CredentialStore for Everyone {
    async fn credential(&self, _connection: &ConnectionId) -> Result<Credential, CredentialError> {
        Ok(self.0.clone())
    }
}
