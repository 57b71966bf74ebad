//! What every grant store must do.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};

use super::{Doing, Found, Outcome, Report, Stores, demand, owners};
use crate::binding::Confirmation;
use crate::clock::{Clock, ManualClock, Timestamp};
use crate::grants::{Grant, GrantError, GrantState, GrantStore, Grants, Record, Revision, Rotation};
use crate::jose::Thumbprint;
use crate::owner::ConnectionId;
use crate::secret::RefreshToken;

/// A grant store as one process has it.
#[derive(Clone)]
pub struct OpenGrants {
    store: Arc<dyn GrantStore>,
    look: Option<Doing<()>>,
}

impl OpenGrants {
    /// A store whose generation moves at once, whoever changed something.
    pub fn new(store: Arc<dyn GrantStore>) -> Self {
        Self { store, look: None }
    }

    /// The same; `look` makes this process learn what others did, as its upkeep would.
    #[must_use]
    pub fn looking(mut self, look: impl Fn() -> BoxFuture<'static, ()> + Send + Sync + 'static) -> Self {
        self.look = Some(Arc::new(move |()| look()));
        self
    }

    async fn look(&self) {
        if let Some(look) = &self.look {
            look(()).await;
        }
    }
}

impl fmt::Debug for OpenGrants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenGrants")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

/// How a grant store is opened, for [`grant_store`]. One that serves one deployment does not take connections of others.
pub type GrantStores = Stores<OpenGrants>;

/// Puts a [`GrantStore`] through its checks.
///
/// | Check | What it demands, and why |
/// |---|---|
/// | `records come back as they were` | All of a record, in every state and by every way of writing: a part that is lost is a refresh token that is used with the wrong key, or twice. |
/// | `replacing compares` | A record is replaced where its revision is the expected one, and nothing is made where there is none. |
/// | `one of many replaces` | Of any number at once, in two processes, exactly one: two that claim one refresh token cost the shipper's consent. |
/// | `connections are apart` | Connections that differ in any of their six parts, by octets, never see each other's record. |
/// | `what is written is read` | A write that has returned is read at once by every process, not by a replica that lags behind. |
/// | `writes may be repeated` | Whoever does not know whether a write was done finds out by its revision, and repeats it. |
/// | `refreshes go one at a time` | Claims over this store, in two processes: one holds, the others wait their turn, and what was settled is what the next one sends. |
/// | `the generation moves` | It grows when a consent comes, goes or ends, also for the other process after a look: else its calls go on with the tokens of a consent that was withdrawn. Left out where there is none. |
/// | `an outage is no absence` | A store that does not answer says so: taken for "none", the shipper would be asked to consent again. Left out where there is no outage to be had. |
pub async fn grant_store(stores: &GrantStores) -> Report {
    let mut report = Report::default();
    report.run("records come back as they were", come_back(stores)).await;
    report.run("replacing compares", compares(stores)).await;
    report.run("one of many replaces", one_of_many(stores)).await;
    report.run("connections are apart", apart(stores)).await;
    report.run("what is written is read", read(stores)).await;
    report.run("writes may be repeated", repeated(stores)).await;
    report.run("refreshes go one at a time", one_at_a_time(stores)).await;
    if stores.moves {
        report.run("the generation moves", generation(stores)).await;
    }
    if let Some(outage) = &stores.outage {
        report.run("an outage is no absence", unreachable(stores, outage)).await;
    }
    report
}

const AT: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

fn grant(name: &str) -> Grant {
    Grant::new(name, AT)
}

fn record(revision: u64, state: GrantState) -> Record {
    Record {
        revision: Revision::from_u64(revision),
        consent: Revision::from_u64(u64::MAX),
        state,
    }
}

fn ready(revision: u64) -> Record {
    record(revision, GrantState::Ready(grant(&revision.to_string())))
}

/// All that is in a record, the refresh token too.
fn is_same(one: &Record, other: &Record) -> bool {
    let token = |record: &Record| match &record.state {
        GrantState::Ready(grant) | GrantState::Claimed { grant, .. } => grant.refresh_token().expose().to_owned(),
        GrantState::Ended => String::new(),
    };
    // Debug shows all but the token.
    format!("{one:?}") == format!("{other:?}") && token(one) == token(other)
}

async fn loaded(open: &OpenGrants, connection: &ConnectionId) -> Result<Record, Found> {
    let loaded = open.store.load(connection).await?;
    loaded.ok_or_else(|| Found::from("a record that was written is not there"))
}

/// Which record is there, by its revision.
async fn revision(open: &OpenGrants, connection: &ConnectionId) -> Result<Option<Revision>, GrantError> {
    Ok(open.store.load(connection).await?.map(|record| record.revision))
}

async fn come_back(stores: &GrantStores) -> Outcome {
    let (one, other) = stores.two().await;
    let connection = owners::fresh()?;
    let jkt = Confirmation::Jkt(Thumbprint::from_bytes([255; 32]));
    let x5t = Confirmation::X5t(Thumbprint::from_bytes([0; 32]));
    let full = Grant::new("conformance ~!'\"\\%", Timestamp::from_unix_micros(-1))
        .with_scope("a b")
        .with_confirmations([jkt, x5t])
        .with_expiry(Timestamp::from_unix_micros(i64::MAX));
    let claimed = |grant, second_chance| GrantState::Claimed {
        grant,
        until: Timestamp::from_unix_micros(1_234_567),
        second_chance,
    };
    let states = [
        GrantState::Ready(full.clone()),
        GrantState::Ready(grant(&"long".repeat(2000))),
        GrantState::Ready(grant("empty scope").with_scope("")),
        claimed(full.clone(), false),
        claimed(full.with_confirmations([x5t]), true),
        GrantState::Ended,
    ];
    for (state, revision) in states.into_iter().zip([1, 0, u64::MAX, 1 << 63, 7, 8]) {
        let written = record(revision, state);
        one.store.put(&connection, &written).await?;
        let kept = loaded(&other, &connection).await?;
        demand(
            is_same(&kept, &written),
            format!("put {written:?}, and {kept:?} came back"),
        )?;
        // The same by compare-and-set.
        let between = record(99, GrantState::Ended);
        one.store.put(&connection, &between).await?;
        let replaced = one.store.replace(&connection, between.revision, &written).await?;
        demand(
            replaced,
            "a record was not replaced, though its revision is the expected one",
        )?;
        let kept = loaded(&other, &connection).await?;
        demand(
            is_same(&kept, &written),
            format!("replaced by {written:?}, and {kept:?} came back"),
        )?;
    }
    one.store.remove(&connection).await?;
    Ok(())
}

async fn compares(stores: &GrantStores) -> Outcome {
    let (open, other) = stores.two().await;
    let connection = owners::fresh()?;
    let [one, two, three] = [1, 2, 3].map(ready);
    let made = open.store.replace(&connection, one.revision, &two).await?;
    demand(!made, "a record was replaced where there is none")?;
    demand(
        revision(&other, &connection).await?.is_none(),
        "replacing made a record where there was none",
    )?;

    open.store.put(&connection, &one).await?;
    let replaced = other.store.replace(&connection, two.revision, &three).await?;
    demand(
        !replaced,
        "a record of another revision than the expected one was replaced",
    )?;
    demand(
        revision(&open, &connection).await? == Some(one.revision),
        "a refused write was done",
    )?;
    demand(
        other.store.replace(&connection, one.revision, &two).await?,
        "a record was not replaced",
    )?;
    demand(
        revision(&open, &connection).await? == Some(two.revision),
        "a write was not done",
    )?;
    // A revision may return, as released claims do.
    demand(
        open.store.replace(&connection, two.revision, &one).await?,
        "a revision cannot return",
    )?;
    demand(
        is_same(&loaded(&other, &connection).await?, &one),
        "a record that returned is another",
    )?;

    demand(open.store.remove(&connection).await?, "a record was not removed")?;
    demand(!other.store.remove(&connection).await?, "a record was removed twice")?;
    let made = open.store.replace(&connection, one.revision, &two).await?;
    demand(!made, "a removed record was replaced")?;
    demand(
        revision(&other, &connection).await?.is_none(),
        "a removed record is there",
    )
}

async fn one_of_many(stores: &GrantStores) -> Outcome {
    let (one, other) = stores.two().await;
    let connection = owners::fresh()?;
    let first = record(0, GrantState::Ended);
    one.store.put(&connection, &first).await?;
    let rivals: Vec<Record> = (1..=16).map(ready).collect();
    let race = rivals.iter().enumerate().map(|(number, rival)| {
        let open = if number % 2 == 0 { &one } else { &other };
        open.store.replace(&connection, first.revision, rival)
    });
    let mut winners = Vec::new();
    for (rival, done) in rivals.iter().zip(join_all(race).await) {
        if done? {
            winners.push(rival.revision);
        }
    }
    demand(
        winners.len() == 1,
        format!("{} of 16 at once replaced one record", winners.len()),
    )?;
    let kept = revision(&other, &connection).await?;
    demand(
        kept == winners.first().copied(),
        "the record that won is not the one that is there",
    )?;
    one.store.remove(&connection).await?;
    Ok(())
}

async fn apart(stores: &GrantStores) -> Outcome {
    let (one, other) = stores.two().await;
    let all = owners::alike(stores.has_deployments)?;
    for (number, connection) in (0..).zip(&all) {
        // What the others have stored is not there for this one.
        let named = |what: &str| format!("{connection:?} {what} the record of another");
        for open in [&one, &other] {
            demand(open.store.load(connection).await?.is_none(), named("reads"))?;
            demand(!open.store.remove(connection).await?, named("removes"))?;
            for expected in 0..=number {
                let expected = Revision::from_u64(expected);
                let replaced = open.store.replace(connection, expected, &ready(1_000)).await?;
                demand(!replaced, named("replaces"))?;
            }
        }
        one.store.put(connection, &ready(number)).await?;
    }
    for (number, connection) in (0..).zip(&all) {
        let kept = loaded(&other, connection).await?;
        demand(
            is_same(&kept, &ready(number)),
            format!("{connection:?} has the record of another"),
        )?;
    }
    // What one loses the others keep.
    for (number, connection) in all.iter().enumerate() {
        demand(
            one.store.remove(connection).await?,
            "a record is gone with that of another connection",
        )?;
        for rest in all.iter().skip(number + 1) {
            demand(
                other.store.load(rest).await?.is_some(),
                format!("{rest:?} lost its record with {connection:?}"),
            )?;
        }
    }
    Ok(())
}

async fn read(stores: &GrantStores) -> Outcome {
    let (one, other) = stores.two().await;
    let connection = owners::fresh()?;
    for number in 0..20 {
        let (writes, reads) = if number % 2 == 0 {
            (&one, &other)
        } else {
            (&other, &one)
        };
        let record = ready(number);
        match number {
            0..5 => writes.store.put(&connection, &record).await?,
            _ => {
                let before = Revision::from_u64(number - 1);
                demand(
                    writes.store.replace(&connection, before, &record).await?,
                    "a record was not replaced",
                )?;
            }
        }
        demand(
            is_same(&loaded(reads, &connection).await?, &record),
            "an older record was read than was written",
        )?;
        demand(
            is_same(&loaded(writes, &connection).await?, &record),
            "an older record was read than was written",
        )?;
    }
    one.store.remove(&connection).await?;
    demand(
        other.store.load(&connection).await?.is_none(),
        "a removed record was read",
    )
}

async fn repeated(stores: &GrantStores) -> Outcome {
    let (one, other) = stores.two().await;
    let connection = owners::fresh()?;
    let (first, second) = (ready(1), ready(2));
    for _again in 0..2 {
        one.store.put(&connection, &first).await?;
        demand(
            is_same(&loaded(&other, &connection).await?, &first),
            "a repeated write wrote something else",
        )?;
    }
    demand(
        one.store.replace(&connection, first.revision, &second).await?,
        "a record was not replaced",
    )?;
    for open in [&one, &other] {
        let again = open.store.replace(&connection, first.revision, &second).await?;
        demand(
            !again,
            "a record was replaced twice, though its revision was not the expected one any more",
        )?;
        demand(
            is_same(&loaded(open, &connection).await?, &second),
            "a repeated write changed the record",
        )?;
    }
    one.store.remove(&connection).await?;
    Ok(())
}

async fn one_at_a_time(stores: &GrantStores) -> Outcome {
    let (one, other) = stores.two().await;
    let connection = owners::fresh()?;
    let clock = Arc::new(ManualClock::at(AT));
    let [one, other] = [one, other].map(|open| Grants::new(open.store, clock.clone()));
    let now = clock.monotonic();
    one.put(&connection, grant("r0")).await?;
    for number in 0..4 {
        let claims = (0..8).map(|rival| {
            let grants = if rival % 2 == 0 { &one } else { &other };
            grants.claim(&connection, Rotation::PreviousDies, now)
        });
        let mut held = Vec::new();
        for claim in join_all(claims).await {
            match claim {
                Ok(claim) => held.push(claim),
                Err(GrantError::Busy { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let claimed = held.len();
        let holder = held.pop().filter(|_| claimed == 1);
        let holder = holder.ok_or_else(|| format!("{claimed} of 8 at once claimed one refresh token"))?;
        let sent = holder.refresh_token()?.expose() == format!("r{number}");
        demand(sent, "a claim holds another refresh token than the newest one")?;
        let next = RefreshToken::new(format!("r{}", number + 1));
        holder.settle(Some(next), None).await?;
    }
    // Nobody knows what became of a claim that nobody ended.
    let lost = one.claim(&connection, Rotation::PreviousDies, now).await?;
    clock.advance(Duration::from_secs(61));
    let uncertain = other
        .claim(&connection, Rotation::PreviousDies, clock.monotonic())
        .await;
    demand(
        matches!(uncertain, Err(GrantError::Uncertain)),
        "a claim whose time is over was forgotten",
    )?;
    drop(lost);
    demand(one.remove(&connection).await?, "a grant was not removed")
}

async fn generation(stores: &GrantStores) -> Outcome {
    let (one, other) = stores.two().await;
    let connection = owners::fresh()?;
    let mut before = [0, 0];
    for what in [
        "a consent that came",
        "a consent that ended",
        "a new consent",
        "a consent that went",
    ] {
        for (open, before) in [&one, &other].into_iter().zip(&mut before) {
            open.look().await;
            *before = open.store.generation();
        }
        match what {
            "a consent that ended" => {
                let ended = record(2, GrantState::Ended);
                let done = one.store.replace(&connection, Revision::from_u64(1), &ended).await?;
                demand(done, "a record was not replaced")?;
            }
            "a consent that went" => demand(one.store.remove(&connection).await?, "a record was not removed")?,
            _ => one.store.put(&connection, &ready(1)).await?,
        }
        demand(
            one.store.generation() > before[0],
            format!("{what} did not move the generation"),
        )?;
        other.look().await;
        let moved = other.store.generation() > before[1];
        demand(moved, format!("{what} did not move the generation of another process"))?;
    }
    Ok(())
}

async fn unreachable(stores: &GrantStores, outage: &Doing<bool>) -> Outcome {
    let (one, other) = stores.two().await;
    let connection = owners::fresh()?;
    one.store.put(&connection, &ready(1)).await?;
    outage(true).await;
    let meanwhile = async {
        for open in [&one, &other] {
            demand(
                open.store.load(&connection).await.is_err(),
                "a store that does not answer says what is there",
            )?;
            demand(
                open.store.put(&connection, &ready(2)).await.is_err(),
                "a write was done that nobody has",
            )?;
            let replaced = open.store.replace(&connection, Revision::from_u64(1), &ready(2)).await;
            demand(
                replaced.is_err(),
                "a store that does not answer says that it has replaced, or has not",
            )?;
            demand(
                open.store.remove(&connection).await.is_err(),
                "a store that does not answer says that it has removed, or has not",
            )?;
        }
        Ok(())
    };
    let meanwhile: Outcome = meanwhile.await;
    outage(false).await;
    meanwhile?;
    loaded(&other, &connection).await?;
    one.store.remove(&connection).await?;
    Ok(())
}
