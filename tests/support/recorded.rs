//! A client of one tenant whose transport follows a script, and all that is logged and recorded of its calls.
#![allow(dead_code, unreachable_pub)]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderValue, Method, StatusCode};
use shipbound::binding::dpop::Dpop;
use shipbound::carriers::CarrierProfile;
use shipbound::client::{Client, Response};
use shipbound::clock::{ManualClock, Timestamp};
use shipbound::credentials::{Credential, MemoryCredentials};
use shipbound::journal::memory::MemorySink;
use shipbound::journal::tracing::TracingSink;
use shipbound::keys::MemoryKeyStore;
use shipbound::owner::TenantId;
use shipbound::transport::{Body, Outgoing, Route, Transport, TransportError};
use shipbound::{Error, Parts};

pub type Step = Result<(u16, Vec<(&'static str, String)>, String), TransportError>;

/// A transport that meets each request with the next of its steps.
#[derive(Clone, Default)]
pub struct Script(Arc<Mutex<(VecDeque<Step>, Vec<Outgoing>)>>);

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Script")
    }
}

#[async_trait]
impl Transport for Script {
    async fn send(&self, request: Outgoing, _route: &Route) -> Result<http::Response<Body>, TransportError> {
        let mut script = self.0.lock().unwrap();
        script.1.push(request);
        let (status, headers, body) = script.0.pop_front().unwrap()?;
        let mut answer = http::Response::new(Body::from(Bytes::from(body)));
        *answer.status_mut() = StatusCode::from_u16(status).unwrap();
        answer
            .headers_mut()
            .insert("content-type", HeaderValue::from_static("application/json"));
        for (name, value) in headers {
            answer.headers_mut().append(name, value.parse().unwrap());
        }
        Ok(answer)
    }
}

/// A writer whose text can be looked at.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub struct World {
    pub script: Script,
    pub events: Arc<MemorySink>,
    pub parts: Parts,
    pub client: Client,
    pub log: Log,
}

impl World {
    pub fn new(profile: CarrierProfile) -> Self {
        Self::with(profile, "s3cr3t-of-client", MemoryKeyStore::new())
    }

    pub fn with(profile: CarrierProfile, secret: &str, keys: MemoryKeyStore) -> Self {
        let (script, events) = (Script::default(), Arc::new(MemorySink::default()));
        let credentials = MemoryCredentials::new();
        let tenant = TenantId::new("acme").unwrap();
        let credential = Credential::new("client", secret);
        credentials.put(tenant, profile.id(), profile.environment(), credential);
        let clock = ManualClock::at(Timestamp::from_unix_seconds(1_800_000_000));
        let parts = Parts::builder()
            .keys(keys)
            .credentials(credentials)
            .clock(Arc::new(clock))
            .shared_sink(events.clone())
            .sink(TracingSink)
            .transport(script.clone())
            .build()
            .unwrap();
        let client = Client::builder(profile, &parts).binding(Dpop::es256()).build().unwrap();
        Self {
            script,
            events,
            parts,
            client,
            log: Log::default(),
        }
    }

    pub fn call(&self, method: Method, url: &str, steps: impl IntoIterator<Item = Step>) -> Result<Response, Error> {
        self.script.0.lock().unwrap().0.extend(steps);
        let log = self.log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || log.clone())
            .finish();
        let tenant = self.client.tenant("acme").unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tenant
                .request(method, url)
                .send()
                .now_or_never()
                .expect("nothing waits")
        })
    }

    pub fn sent(&self) -> Vec<Outgoing> {
        std::mem::take(&mut self.script.0.lock().unwrap().1)
    }

    /// All that was logged and recorded.
    pub fn records(&self) -> String {
        let log = String::from_utf8(self.log.0.lock().unwrap().clone()).unwrap();
        assert!(log.contains("shipbound"), "something was logged");
        format!("{log}\n{:?}", self.events.events())
    }
}
