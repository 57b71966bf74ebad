//! Each way of leaving the tenant out is found out by the judge, or refused before anything is sent.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use http::Request;
use shipbound::binding::dpop::Dpop;
use shipbound::binding::nonce::Nonce;
use shipbound::binding::{
    Answered, Attempt, BindContext, BindError, BindingKind, BindingStrategy, Confirmation, Learned, Proof, Role,
    TokenBinding,
};
use shipbound::carriers::CarrierProfile;
use shipbound::client::Response;
use shipbound::clock::Timestamp;
use shipbound::credentials::{Credential, CredentialError, CredentialStore, MemoryCredentials};
use shipbound::jose::Thumbprint;
use shipbound::keys::{
    KeyError, KeyHandle, KeyId, KeySpec, KeyStore, MemoryKeyStore, Purpose, Retired, Signer, Signing,
};
use shipbound::owner::{ConnectionId, Owner, Tenant, TenantId};
use shipbound::sandbox::Nonces;
use shipbound::token::revocation::Revocation;
use shipbound::{CarrierClient, Client, Error};

use crate::judge::judge;
use crate::look_alikes::look_alikes;
use crate::world::{Make, Random, World};

/// Runs a world of look-alikes, and says what the judge found and how the calls ended.
async fn run(make: Make) -> (HashSet<&'static str>, HashSet<&'static str>) {
    let tenants = look_alikes();
    let world = World::start(&tenants, |_, service| service < 2, make).await;
    let mut random = Random(0x5eed_0003);
    let outcomes = world.calls(&mut random, 300, 8).await;
    let found = judge(&world.sandbox.requests());
    (found.kinds(), outcomes.into_keys().collect())
}

fn usual() -> Make {
    Make::usual(Nonces::EveryCall)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_found_where_nothing_is_wrong() {
    assert_eq!(run(usual()).await.0, HashSet::new());
}

/// The connection with the tenant left out.
fn anyones(connection: &ConnectionId) -> ConnectionId {
    ConnectionId::new(
        connection.deployment().clone(),
        TenantId::new("acme").unwrap().into(),
        connection.carrier().clone(),
        connection.environment(),
        connection.account().clone(),
    )
}

/// A key store that leaves the tenant out.
#[derive(Debug, Default)]
struct OneKey {
    keys: MemoryKeyStore,
    /// Whether its handles claim to be those of the owner who asks.
    lies: bool,
}

#[derive(Debug)]
struct Through(KeyHandle);

impl Signer for Through {
    fn sign<'a>(&'a self, message: &'a [u8]) -> Signing<'a> {
        self.0.sign(message)
    }
}

impl OneKey {
    fn owner(owner: &Owner) -> Owner {
        match owner {
            Owner::Connection(connection) => anyones(connection).into(),
            other => other.clone(),
        }
    }

    fn handle(&self, asks: &Owner, key: KeyHandle) -> KeyHandle {
        if !self.lies {
            return key;
        }
        let (id, purpose, public) = (key.id(), key.purpose(), key.public().clone());
        KeyHandle::new(asks.clone(), id, purpose, public, Arc::new(Through(key)))
    }
}

#[async_trait]
impl KeyStore for OneKey {
    async fn active(&self, owner: &Owner, purpose: Purpose) -> Result<Option<KeyHandle>, KeyError> {
        let key = self.keys.active(&Self::owner(owner), purpose).await?;
        Ok(key.map(|key| self.handle(owner, key)))
    }

    async fn get(&self, owner: &Owner, key: &KeyId) -> Result<Option<KeyHandle>, KeyError> {
        let key = self.keys.get(&Self::owner(owner), key).await?;
        Ok(key.map(|key| self.handle(owner, key)))
    }

    async fn with_thumbprint(
        &self,
        owner: &Owner,
        purpose: Purpose,
        jkt: &Thumbprint,
    ) -> Result<Option<KeyHandle>, KeyError> {
        let key = self.keys.with_thumbprint(&Self::owner(owner), purpose, jkt).await?;
        Ok(key.map(|key| self.handle(owner, key)))
    }

    async fn create(&self, owner: &Owner, spec: KeySpec) -> Result<KeyHandle, KeyError> {
        let key = self.keys.create(&Self::owner(owner), spec).await?;
        Ok(self.handle(owner, key))
    }

    async fn promote(
        &self,
        owner: &Owner,
        key: &KeyId,
        replaces: Option<&KeyId>,
        drain_until: Timestamp,
    ) -> Result<bool, KeyError> {
        let owner = Self::owner(owner);
        self.keys.promote(&owner, key, replaces, drain_until).await
    }

    async fn retire(&self, owner: &Owner, key: &KeyId, to: Retired) -> Result<bool, KeyError> {
        self.keys.retire(&Self::owner(owner), key, to).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_store_that_leaves_the_tenant_out_is_found_out() {
    let keys = Arc::new(OneKey {
        lies: true,
        ..OneKey::default()
    });
    let (found, _) = run(Make { keys, ..usual() }).await;
    assert!(found.contains("KeyOfTwo"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handle_of_another_owner_is_refused_before_anything_is_sent() {
    let keys = Arc::new(OneKey::default());
    let (found, outcomes) = run(Make { keys, ..usual() }).await;
    // One tenant gets its own key; all others would have got it too.
    assert!(outcomes.contains("key"), "{outcomes:?}");
    assert_eq!(found, HashSet::new());
}

/// A credential store that leaves the tenant out.
#[derive(Debug)]
struct OneCredential(MemoryCredentials);

#[async_trait]
impl CredentialStore for OneCredential {
    async fn credential(&self, connection: &ConnectionId) -> Result<Credential, CredentialError> {
        self.0.credential(&anyones(connection)).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_store_that_leaves_the_tenant_out_is_found_out() {
    let (found, _) = run(Make {
        credentials: |store| Arc::new(OneCredential(store)),
        ..usual()
    })
    .await;
    assert!(
        found.contains("CallAsAnother") && found.contains("TwoKeys"),
        "{found:?}"
    );
}

/// A cache that leaves something of the tenant out: what is told apart elsewhere is one connection here.
#[derive(Debug)]
struct Folding(Client, fn(&Tenant) -> Tenant);

#[async_trait]
impl CarrierClient for Folding {
    fn carrier(&self) -> &CarrierProfile {
        self.0.carrier()
    }

    async fn send(&self, tenant: &Tenant, request: Request<Bytes>) -> Result<Response, Error> {
        self.0.send(&(self.1)(tenant), request).await
    }

    async fn revoke(&self, tenant: &Tenant) -> Result<Revocation, Error> {
        self.0.revoke(&(self.1)(tenant)).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_that_leaves_part_of_the_tenant_out_is_found_out() {
    let folds: [fn(Client) -> Arc<dyn CarrierClient>; 4] = [
        // The tenant.
        |client| Arc::new(Folding(client, |_| TenantId::new("acme").unwrap().into())),
        // Its incarnation.
        |client| Arc::new(Folding(client, |tenant| tenant.id().clone().into())),
        // Its case.
        |client| {
            Arc::new(Folding(client, |tenant| {
                let id = TenantId::new(&tenant.id().as_str().to_ascii_lowercase()).unwrap();
                Tenant::new(id, tenant.incarnation())
            }))
        },
        // A dot at its end.
        |client| {
            Arc::new(Folding(client, |tenant| {
                let id = TenantId::new(tenant.id().as_str().trim_end_matches('.')).unwrap();
                Tenant::new(id, tenant.incarnation())
            }))
        },
    ];
    for wrap in folds {
        let (found, _) = run(Make { wrap, ..usual() }).await;
        assert!(found.contains("CallAsAnother"), "{found:?}");
    }
}

/// What two bindings should not share.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mixes {
    /// One nonce for all.
    Nonces,
    /// Calls are proved with the key of whoever came first; token requests are not.
    Keys,
}

#[derive(Debug)]
struct Mixing {
    inner: Dpop,
    mixes: Mixes,
    common: Arc<Common>,
}

#[derive(Debug, Default)]
struct Common {
    nonce: Mutex<Option<Nonce>>,
    first: OnceLock<Arc<dyn TokenBinding>>,
}

impl Mixing {
    fn new(mixes: Mixes) -> Arc<Self> {
        Arc::new(Self {
            inner: Dpop::es256(),
            mixes,
            common: Arc::default(),
        })
    }
}

#[async_trait]
impl BindingStrategy for Mixing {
    fn kind(&self) -> BindingKind {
        self.inner.minimum()
    }

    async fn bind(&self, context: &BindContext<'_>) -> Result<Arc<dyn TokenBinding>, BindError> {
        let own = self.inner.bind(context).await?;
        self.common.first.get_or_init(|| own.clone());
        Ok(Arc::new(Mixed {
            own,
            mixes: self.mixes,
            common: self.common.clone(),
        }))
    }
}

#[derive(Debug)]
struct Mixed {
    own: Arc<dyn TokenBinding>,
    mixes: Mixes,
    common: Arc<Common>,
}

#[async_trait]
impl TokenBinding for Mixed {
    fn kind(&self) -> BindingKind {
        self.own.kind()
    }

    fn confirmations(&self) -> &[Confirmation] {
        self.own.confirmations()
    }

    fn is_usable(&self) -> bool {
        self.own.is_usable()
    }

    async fn prove(&self, attempt: &Attempt<'_>) -> Result<Option<Proof>, KeyError> {
        if self.mixes == Mixes::Keys && attempt.role == Role::ResourceServer {
            return self.common.first.get().unwrap().prove(attempt).await;
        }
        let nonce = match (self.mixes, attempt.nonce) {
            (Mixes::Nonces, None) => self.common.nonce.lock().unwrap().clone(),
            (_, nonce) => nonce.cloned(),
        };
        let attempt = Attempt {
            nonce: nonce.as_ref(),
            ..*attempt
        };
        self.own.prove(&attempt).await
    }

    fn learn(&self, attempt: &Attempt<'_>, answer: &Answered<'_>) -> Learned {
        let learned = self.own.learn(attempt, answer);
        if let Learned::Nonce(nonce) = &learned {
            *self.common.nonce.lock().unwrap() = Some(nonce.clone());
        }
        learned
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_book_of_nonces_for_all_is_found_out() {
    let strategy = Mixing::new(Mixes::Nonces);
    let (found, _) = run(Make { strategy, ..usual() }).await;
    assert!(found.contains("ForeignNonce"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_with_anothers_proof_is_found_out() {
    let strategy = Mixing::new(Mixes::Keys);
    let (found, _) = run(Make { strategy, ..usual() }).await;
    assert!(found.contains("KeyOfTwo"), "{found:?}");
}
