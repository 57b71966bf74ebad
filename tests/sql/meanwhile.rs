//! What another process does while this one reads: at each place where it can come between two steps, one after the other.

use std::fmt;
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use shipbound::clock::{Clock, Monotonic, SystemClock, Timestamp};
use shipbound::directory::{ConnectionStore, ConnectionStoreError, Standing};
use shipbound::keys::{KeyError, KeyRecords, KeyState, KeyStore, Purpose, Retired};
use shipbound::owner::{ConnectionId, TenantId};
use shipbound::store::sql::{SqlConnections, SqlKeyRecords};

use crate::keys::active_key;
use crate::registry::{act, new, open};
use crate::world::{World, deployment, owner};

type Deed = Box<dyn FnMut(usize) + Send>;

/// A database's clock. It is looked at before each step of each statement, which waits until others have done something.
#[derive(Default)]
struct Meanwhile {
    clock: SystemClock,
    deed: Mutex<Option<(usize, Deed)>>,
}

impl Meanwhile {
    /// Has this done at each look from now on, which are counted from 0.
    fn begin(&self, deed: impl FnMut(usize) + Send + 'static) {
        *self.deed.lock().unwrap() = Some((0, Box::new(deed)));
    }

    /// How many looks there were since.
    fn end(&self) -> usize {
        self.deed.lock().unwrap().take().unwrap().0
    }
}

impl Clock for Meanwhile {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn monotonic(&self) -> Monotonic {
        if let Some((looks, deed)) = &mut *self.deed.lock().unwrap() {
            deed(*looks);
            *looks += 1;
        }
        self.clock.monotonic()
    }

    fn sleep_until(&self, deadline: Monotonic) -> BoxFuture<'static, ()> {
        self.clock.sleep_until(deadline)
    }
}

impl fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meanwhile")
    }
}

/// Does something to the end, with threads and connections of its own, while whoever looks at the clock stands still.
fn elsewhere(deed: impl Future<Output = ()> + Send) {
    let run = || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(deed);
    };
    std::thread::scope(|threads| threads.spawn(run).join().unwrap());
}

const KEEP_KEYS: &str = "DROP TABLE IF EXISTS old; CREATE TABLE old AS SELECT * FROM sb_keys";
const PUT_KEYS_BACK: &str = "DELETE FROM sb_keys; INSERT INTO sb_keys SELECT * FROM old";
const KEEP: &str = "DROP TABLE IF EXISTS old; CREATE TABLE old AS SELECT * FROM sb_connections";
const PUT_BACK: &str = "DELETE FROM sb_connections; INSERT INTO sb_connections SELECT * FROM old";

/// Reads keys that end while they are read, after which somebody may put their old rows back.
async fn keys_that_end(world: World, is_put_back: bool) {
    let world = Arc::new(world);
    let clock = Arc::new(Meanwhile::default());
    let database = world.timed(clock.clone());
    let ledger = world.setup(&database).open().await.unwrap();
    let records = SqlKeyRecords::new(&database, &ledger);
    let other = world.keys().await;
    for at in 0.. {
        let (tenant, of) = (format!("t{at}"), owner(&format!("t{at}")));
        // Something has ended already, so that this process has to follow.
        let before = active_key(&other, &tenant).await.id();
        assert!(other.retire(&of, &before, Retired::Destroyed).await.unwrap());
        let id = active_key(&other, &tenant).await.id();
        world.raw(KEEP_KEYS).await;
        clock.begin({
            let (world, of) = (world.clone(), of.clone());
            move |look| {
                if look == at {
                    elsewhere(async {
                        let keys = world.keys().await;
                        assert!(keys.retire(&of, &id, Retired::Compromised).await.unwrap());
                        if is_put_back {
                            world.raw(PUT_KEYS_BACK).await;
                        }
                    });
                }
            }
        });
        // By either way.
        let read = match at % 2 {
            0 => records.load(&of, &id).await,
            _ => records.active(&of, Purpose::Proof).await,
        };
        let is_over = clock.end() <= at;
        match read.map(|read| read.map(|stored| stored.record.state)) {
            // It had not ended when this process looked.
            Ok(Some(KeyState::Active)) => {}
            Ok(Some(KeyState::Compromised) | None) if !is_put_back => {}
            Err(KeyError::RolledBack) if is_put_back => {}
            other => panic!("{at}: {other:?}"),
        }
        if is_over {
            return;
        }
        if is_put_back {
            let read = records.load(&of, &id).await;
            assert_eq!(read.map(|_| ()), Err(KeyError::RolledBack));
        } else {
            assert_eq!(world.told(), [""; 0], "{at}");
        }
    }
}

on_all!(a_key_that_ends_while_it_is_read_was_not_put_back);
async fn a_key_that_ends_while_it_is_read_was_not_put_back(world: World) {
    keys_that_end(world, false).await;
}

on_all!(a_key_that_ends_and_is_put_back_while_it_is_read_is_refused);
async fn a_key_that_ends_and_is_put_back_while_it_is_read_is_refused(world: World) {
    keys_that_end(world, true).await;
}

/// Suspends or resumes it, as another process.
async fn turned(world: &World, connection: &ConnectionId) {
    let registry = open(world).await.unwrap();
    let record = registry.record(connection).await.unwrap();
    if record.standing == Standing::Active {
        registry.suspend(connection, &act("odd")).await.unwrap();
    } else {
        registry.resume(&record, &act("fine")).await.unwrap();
    }
}

/// Reads a connection that is replaced while it is read: at one place, after which somebody may put its old row back.
async fn connections_that_are_replaced(world: World, is_put_back: bool) {
    let world = Arc::new(world);
    let clock = Arc::new(Meanwhile::default());
    let database = world.timed(clock.clone());
    let ledger = world.setup(&database).open().await.unwrap();
    let store = SqlConnections::new(&database, &ledger);
    for at in 0.. {
        let tenant = format!("t{at}");
        let added = open(&world).await.unwrap().add(&new(&tenant), &act("signed up")).await;
        let connection = added.unwrap().connection;
        world.raw(KEEP).await;
        clock.begin({
            let (world, connection) = (world.clone(), connection.clone());
            move |look| {
                if look == at {
                    elsewhere(async {
                        turned(&world, &connection).await;
                        if is_put_back {
                            world.raw(PUT_BACK).await;
                        }
                    });
                }
            }
        });
        let tenant = TenantId::new(&tenant).unwrap();
        let read = store.of_tenant(&deployment(), &tenant).await;
        let is_over = clock.end() <= at;
        match read.map(|read| read[0].standing) {
            Ok(Standing::Active) => {}
            Ok(Standing::Suspended) if !is_put_back => {}
            Err(ConnectionStoreError::RolledBack) if is_put_back => {}
            other => panic!("{at}: {other:?}"),
        }
        if is_over {
            return;
        }
        if is_put_back {
            let read = store.of_tenant(&deployment(), &tenant).await;
            assert_eq!(read, Err(ConnectionStoreError::RolledBack));
            // No registry opens beside it.
            world.raw("DELETE FROM sb_connections").await;
        } else {
            assert_eq!(world.told(), [""; 0], "{at}");
        }
    }
}

on_all!(a_connection_that_is_replaced_while_it_is_read_was_not_put_back);
async fn a_connection_that_is_replaced_while_it_is_read_was_not_put_back(world: World) {
    connections_that_are_replaced(world, false).await;
}

on_all!(a_connection_that_is_replaced_and_put_back_while_it_is_read_is_refused);
async fn a_connection_that_is_replaced_and_put_back_while_it_is_read_is_refused(world: World) {
    connections_that_are_replaced(world, true).await;
}

on_all!(a_connection_that_is_replaced_again_and_again_was_not_put_back);
async fn a_connection_that_is_replaced_again_and_again_was_not_put_back(world: World) {
    let world = Arc::new(world);
    let clock = Arc::new(Meanwhile::default());
    let database = world.timed(clock.clone());
    let ledger = world.setup(&database).open().await.unwrap();
    let store = SqlConnections::new(&database, &ledger);
    let added = open(&world).await.unwrap().add(&new("acme"), &act("signed up")).await;
    let connection = added.unwrap().connection;
    let acme = TenantId::new("acme").unwrap();
    clock.begin({
        let world = world.clone();
        move |_| elsewhere(turned(&world, &connection))
    });
    let read = store.of_tenant(&deployment(), &acme).await;
    clock.end();
    assert_eq!(read, Err(ConnectionStoreError::Unavailable));
    assert_eq!(world.told(), [""; 0]);
    assert!(store.of_tenant(&deployment(), &acme).await.is_ok());
}
