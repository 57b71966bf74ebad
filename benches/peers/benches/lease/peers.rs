//! Concurrent maps from a connection to its lease, each with the usual fast hasher and the check that a token cache makes.

use std::sync::Arc;

use foldhash::fast::RandomState;
use http::HeaderValue;
use shipbound_benches_peers::inputs::{access_token, ath};

/// How many carriers the connections lead to.
pub(crate) const CARRIERS: u16 = 40;

/// Whose lease it is: the application has it in hand at each call.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Connection {
    pub(crate) tenant: Box<str>,
    pub(crate) carrier: u16,
}

impl Connection {
    /// The tenant's text has 23 characters.
    pub(crate) fn numbered(number: usize) -> Self {
        Self {
            tenant: format!("tenant-{number:08}.eu-west").into(),
            carrier: (number % usize::from(CARRIERS)) as u16,
        }
    }
}

/// What a hit hands out. The origin of both instants is the caller's; nanoseconds.
pub(crate) struct Lease {
    #[expect(dead_code, reason = "held, as in a cache that is used")]
    authorization: HeaderValue,
    #[expect(dead_code, reason = "held, as in a cache that is used")]
    ath: Box<str>,
    renew_from: u64,
    usable_until: u64,
}

impl Lease {
    /// One that lasts longer than any run.
    pub(crate) fn fresh() -> Arc<Self> {
        let token = access_token();
        Arc::new(Self {
            ath: ath(&token).into(),
            authorization: HeaderValue::try_from(format!("DPoP {token}")).expect("visible ASCII"),
            renew_from: u64::MAX / 4,
            usable_until: u64::MAX / 2,
        })
    }
}

/// The lease, if it may be used and none should be fetched in its place.
pub(crate) fn fresh(lease: &Arc<Lease>, now: u64) -> Option<&Arc<Lease>> {
    (now < lease.usable_until && now < lease.renew_from).then_some(lease)
}

/// What is compared.
pub(crate) trait Map: Default + Sync {
    fn insert(&self, connection: Connection, lease: Arc<Lease>);
    fn hit(&self, connection: &Connection, now: u64) -> Option<Arc<Lease>>;
}

/// A map with a lease for each connection.
pub(crate) fn filled<M: Map>(connections: &[Connection]) -> M {
    let map = M::default();
    for connection in connections {
        map.insert(connection.clone(), Lease::fresh());
    }
    map
}

#[derive(Default)]
pub(crate) struct Dashmap(dashmap::DashMap<Connection, Arc<Lease>, RandomState>);

impl Map for Dashmap {
    fn insert(&self, connection: Connection, lease: Arc<Lease>) {
        self.0.insert(connection, lease);
    }

    fn hit(&self, connection: &Connection, now: u64) -> Option<Arc<Lease>> {
        self.0.get(connection).and_then(|lease| fresh(&lease, now).cloned())
    }
}

#[derive(Default)]
pub(crate) struct Papaya(papaya::HashMap<Connection, Arc<Lease>, RandomState>);

impl Map for Papaya {
    fn insert(&self, connection: Connection, lease: Arc<Lease>) {
        self.0.pin().insert(connection, lease);
    }

    fn hit(&self, connection: &Connection, now: u64) -> Option<Arc<Lease>> {
        self.0
            .pin()
            .get(connection)
            .and_then(|lease| fresh(lease, now).cloned())
    }
}

pub(crate) struct Moka(moka::sync::Cache<Connection, Arc<Lease>, RandomState>);

impl Default for Moka {
    fn default() -> Self {
        // Room for all, and no expiry of its own: the check is the same for every map.
        Self(
            moka::sync::Cache::builder()
                .max_capacity(1 << 20)
                .build_with_hasher(RandomState::default()),
        )
    }
}

impl Map for Moka {
    fn insert(&self, connection: Connection, lease: Arc<Lease>) {
        self.0.insert(connection, lease);
    }

    fn hit(&self, connection: &Connection, now: u64) -> Option<Arc<Lease>> {
        self.0.get(connection).filter(|lease| fresh(lease, now).is_some())
    }
}
