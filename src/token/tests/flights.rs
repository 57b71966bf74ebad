//! One flight to a slot: who waits for it, what it leaves behind, and when the next may begin.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all, ready};
use tokio::sync::oneshot;

use super::{LATE, NOW, scope, tenant};
use crate::binding::bearer::Bearer;
use crate::clock::{Clock, ManualClock, Monotonic};
use crate::error::{Awaited, Error, ErrorKind};
use crate::exchange::connection::Connection;
use crate::token::slot::{Fetch, Landed, Slot};
use crate::token::{AccessToken, Lease};

const LIMIT: Duration = Duration::from_secs(10);
const MINUTE: Duration = Duration::from_secs(60);

type Outcome = Result<Landed, Error>;

/// An issuer that answers when it is told to, and counts.
pub(super) struct Fake {
    pub(super) clock: ManualClock,
    answers: Mutex<VecDeque<BoxFuture<'static, Outcome>>>,
    fetches: AtomicU64,
    pauses: Mutex<Vec<u64>>,
    left: Mutex<Vec<Weak<Slot>>>,
}

impl Fake {
    pub(super) fn new() -> Self {
        Self {
            clock: ManualClock::at(NOW),
            answers: Mutex::default(),
            fetches: AtomicU64::new(0),
            pauses: Mutex::default(),
            left: Mutex::default(),
        }
    }

    pub(super) fn answer(&self, outcome: Outcome) {
        self.answers.lock().unwrap().push_back(ready(outcome).boxed());
    }

    /// The next fetch ends when something is sent.
    pub(super) fn answer_later(&self) -> oneshot::Sender<Outcome> {
        let (sender, receiver) = oneshot::channel();
        let outcome = receiver.map(|sent| sent.expect("an answer is sent"));
        self.answers.lock().unwrap().push_back(outcome.boxed());
        sender
    }

    /// A token of this many seconds, to be renewed at four fifths of them.
    pub(super) fn token(&self, slot: &Slot, seconds: u64) -> Outcome {
        let now = self.clock.monotonic();
        let lease = Lease::new(
            &AccessToken::new("t").unwrap(),
            Arc::new(Bearer),
            Arc::clone(&slot.connection),
            now + Duration::from_secs(seconds * 4 / 5),
            now + Duration::from_secs(seconds),
            (0, 0),
        );
        Ok(Landed {
            lease: Arc::new(lease.unwrap()),
            keep: seconds > 0,
        })
    }

    fn fetches(&self) -> u64 {
        self.fetches.load(Ordering::Relaxed)
    }
}

impl Fetch for Fake {
    fn fetch(&self, _connection: &Arc<Connection>, _early: bool) -> BoxFuture<'static, Outcome> {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        self.answers
            .lock()
            .unwrap()
            .pop_front()
            .expect("a fetch that no test meant")
    }

    fn clock(&self) -> &dyn Clock {
        &self.clock
    }

    fn limit(&self) -> Duration {
        LIMIT
    }

    fn left(&self, slot: &Arc<Slot>) {
        self.left.lock().unwrap().push(Arc::downgrade(slot));
    }

    fn failed(&self, _connection: &Connection, _error: &Error, pause: Duration) {
        self.pauses.lock().unwrap().push(pause.as_secs());
    }
}

pub(super) fn slot() -> Arc<Slot> {
    Arc::new(Slot::new(Arc::new(Connection::new(
        scope().connection(&tenant("acme")),
    ))))
}

fn refusal() -> Outcome {
    Err(Error::before(ErrorKind::Deadline(Awaited::Token)))
}

fn now(slot: &Arc<Slot>, fake: &Fake) -> Result<Arc<Lease>, Error> {
    slot.lease(fake, LATE).now_or_never().expect("nothing to wait for")
}

fn is_cooling(outcome: Result<Arc<Lease>, Error>) -> bool {
    matches!(outcome.unwrap_err().kind(), ErrorKind::CoolingDown { .. })
}

#[test]
fn fifty_callers_have_one_flight() {
    let (fake, slot) = (Fake::new(), slot());
    let sender = fake.answer_later();
    let mut waiting = Box::pin(join_all((0..50).map(|_| slot.lease(&fake, LATE))));
    assert!((&mut waiting).now_or_never().is_none());
    sender.send(fake.token(&slot, 100)).ok().unwrap();
    let leases = waiting.now_or_never().unwrap();
    let first = leases[0].as_ref().unwrap();
    assert!(leases.iter().all(|lease| Arc::ptr_eq(lease.as_ref().unwrap(), first)));
    assert_eq!(fake.fetches(), 1);
    assert!(Arc::ptr_eq(&slot.fresh(fake.clock.monotonic()).unwrap(), first));
}

#[test]
fn a_caller_that_goes_takes_nothing_with_it() {
    let (fake, slot) = (Fake::new(), slot());
    let sender = fake.answer_later();
    let mut leader = Box::pin(slot.lease(&fake, LATE));
    let mut other = Box::pin(slot.lease(&fake, LATE));
    assert!((&mut leader).now_or_never().is_none() && (&mut other).now_or_never().is_none());
    drop(leader);
    sender.send(fake.token(&slot, 100)).ok().unwrap();
    assert!(other.now_or_never().unwrap().is_ok());
    assert_eq!(fake.fetches(), 1);

    // All go, and the next one takes over what they began.
    fake.clock.advance(Duration::from_secs(100));
    let sender = fake.answer_later();
    assert!(slot.lease(&fake, LATE).now_or_never().is_none());
    fake.clock.advance(LIMIT / 2);
    sender.send(fake.token(&slot, 100)).ok().unwrap();
    assert!(now(&slot, &fake).is_ok());
    assert_eq!(fake.fetches(), 2);

    // Unless it has been on its way for long: its answer may be an old one.
    fake.clock.advance(Duration::from_secs(100));
    let _left = fake.answer_later();
    assert!(slot.lease(&fake, LATE).now_or_never().is_none());
    fake.clock.advance(LIMIT / 2 + Duration::from_nanos(1));
    fake.answer(fake.token(&slot, 100));
    assert!(now(&slot, &fake).is_ok());
    assert_eq!(fake.fetches(), 4);
}

#[test]
fn a_flight_that_all_have_left_is_brought_home() {
    let (fake, slot) = (Fake::new(), slot());
    let sender = fake.answer_later();
    assert!(slot.lease(&fake, LATE).now_or_never().is_none());
    let left = std::mem::take(&mut *fake.left.lock().unwrap());
    assert!(matches!(left.as_slice(), [one] if one.as_ptr() == Arc::as_ptr(&slot)));
    sender.send(fake.token(&slot, 100)).ok().unwrap();
    slot.bring_home(&fake).now_or_never().unwrap();
    let fresh = slot.fresh(fake.clock.monotonic());
    assert!(fresh.is_some());

    // Nothing is in the air: nothing is begun, and who arrives has not left.
    slot.bring_home(&fake).now_or_never().unwrap();
    assert!(now(&slot, &fake).is_ok());
    assert_eq!((fake.fetches(), fake.left.lock().unwrap().len()), (1, 0));
}

#[test]
fn renewing_ahead_of_need_is_done_when_it_is_due_and_not_again_after_a_failure() {
    let (fake, slot) = (Fake::new(), slot());
    fake.answer(fake.token(&slot, 100));
    let first = now(&slot, &fake).unwrap();
    fake.clock.advance(Duration::from_secs(79));
    slot.renew(&fake).now_or_never().unwrap();
    assert_eq!(fake.fetches(), 1);

    fake.clock.advance(Duration::from_secs(1));
    fake.answer(refusal());
    slot.renew(&fake).now_or_never().unwrap();
    slot.renew(&fake).now_or_never().unwrap();
    assert_eq!(fake.fetches(), 2);
    assert!(Arc::ptr_eq(&now(&slot, &fake).unwrap(), &first));

    fake.clock.advance(Duration::from_secs(1));
    fake.answer(fake.token(&slot, 100));
    slot.renew(&fake).now_or_never().unwrap();
    assert!(!Arc::ptr_eq(&now(&slot, &fake).unwrap(), &first));
    assert_eq!(fake.fetches(), 3);
}

#[test]
fn a_flight_that_nobody_drives_past_its_time_is_replaced() {
    let (fake, slot) = (Fake::new(), slot());
    let old = fake.answer_later();
    let mut left = Box::pin(slot.lease(&fake, LATE));
    assert!((&mut left).now_or_never().is_none());
    fake.clock.advance(LIMIT + Duration::from_secs(1));
    assert!(slot.lease(&fake, LATE).now_or_never().is_none());
    assert_eq!(fake.fetches(), 1, "still in its time");
    fake.clock.advance(Duration::from_nanos(1));
    fake.answer(fake.token(&slot, 100));
    let new = now(&slot, &fake).unwrap();
    assert_eq!(fake.fetches(), 2);

    // What the old flight brings in the end serves the one who waited, and does not take the new one's place.
    old.send(fake.token(&slot, 500)).ok().unwrap();
    let late = left.now_or_never().unwrap().unwrap();
    assert!(!Arc::ptr_eq(&late, &new));
    assert!(Arc::ptr_eq(&now(&slot, &fake).unwrap(), &new));

    // The same with a failure: it is not the new flight's.
    fake.clock.advance(MINUTE * 5);
    let old = fake.answer_later();
    let mut left = Box::pin(slot.lease(&fake, LATE));
    assert!((&mut left).now_or_never().is_none());
    fake.clock.advance(LIMIT + Duration::from_secs(2));
    let newer = fake.answer_later();
    assert!(slot.lease(&fake, LATE).now_or_never().is_none());
    old.send(refusal()).ok().unwrap();
    assert!(left.now_or_never().unwrap().is_err());
    newer.send(fake.token(&slot, 100)).ok().unwrap();
    assert!(now(&slot, &fake).is_ok());
    assert_eq!((fake.fetches(), fake.pauses.lock().unwrap().len()), (4, 0));
}

#[test]
fn failures_cool_down_for_longer_and_longer_and_heal() {
    let (fake, slot) = (Fake::new(), slot());
    let wanted = [1, 2, 4, 8, 16, 32, 60, 60, 60];
    for (number, pause) in wanted.into_iter().enumerate() {
        fake.answer(refusal());
        assert!(matches!(now(&slot, &fake).unwrap_err().kind(), ErrorKind::Deadline(_)));
        let begins = fake.clock.now();
        for step in [
            Duration::from_nanos(1),
            Duration::from_secs(pause) - Duration::from_nanos(1),
        ] {
            let error = now(&slot, &fake).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::CoolingDown { code: "deadline", .. }));
            let at = error.retry_at().unwrap().unix_micros();
            let wanted = (begins + Duration::from_secs(pause)).unix_micros();
            assert!((wanted - 1..=wanted).contains(&at));
            fake.clock.advance(step);
        }
        assert_eq!(fake.fetches(), number as u64 + 1);
    }
    assert_eq!(*fake.pauses.lock().unwrap(), wanted);
    fake.answer(fake.token(&slot, 10));
    assert!(now(&slot, &fake).is_ok());
    fake.clock.advance(Duration::from_secs(10));
    fake.answer(refusal());
    assert!(now(&slot, &fake).is_err());
    assert_eq!(fake.pauses.lock().unwrap().last(), Some(&1), "healed");
}

#[test]
fn one_failure_of_fifty_callers_counts_once() {
    let (fake, slot) = (Fake::new(), slot());
    let sender = fake.answer_later();
    let mut waiting = Box::pin(join_all((0..50).map(|_| slot.lease(&fake, LATE))));
    assert!((&mut waiting).now_or_never().is_none());
    sender.send(refusal()).ok().unwrap();
    assert!(waiting.now_or_never().unwrap().iter().all(Result::is_err));
    assert_eq!(*fake.pauses.lock().unwrap(), [1]);
    assert!(is_cooling(now(&slot, &fake)));
}

#[test]
fn an_issuer_that_asks_for_a_pause_gets_it() {
    let (fake, slot) = (Fake::new(), slot());
    let until = fake.clock.now() + Duration::from_secs(300);
    fake.answer(Err(Error::before(ErrorKind::RateLimited).retry_at_opt(Some(until))));
    assert!(now(&slot, &fake).is_err());
    fake.clock.advance(Duration::from_secs(299));
    let error = now(&slot, &fake).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::RateLimited));
    assert_eq!(error.retry_at(), Some(until));
    fake.clock.advance(Duration::from_secs(1));
    fake.answer(fake.token(&slot, 100));
    assert!(now(&slot, &fake).is_ok());
}

#[test]
fn a_failed_early_renewal_keeps_the_good_token_and_nobody_waits_for_it() {
    let (fake, slot) = (Fake::new(), slot());
    fake.answer(fake.token(&slot, 100));
    let good = now(&slot, &fake).unwrap();
    fake.clock.advance(Duration::from_secs(79));
    assert!(Arc::ptr_eq(&now(&slot, &fake).unwrap(), &good));
    assert_eq!(fake.fetches(), 1, "no renewal is due");

    fake.clock.advance(Duration::from_secs(1));
    assert!(slot.fresh(fake.clock.monotonic()).is_none());
    let sender = fake.answer_later();
    let mut renewing = Box::pin(slot.lease(&fake, LATE));
    assert!((&mut renewing).now_or_never().is_none());
    for _ in 0..10 {
        assert!(
            Arc::ptr_eq(&now(&slot, &fake).unwrap(), &good),
            "others take what there is"
        );
    }
    sender.send(refusal()).ok().unwrap();
    assert!(Arc::ptr_eq(&renewing.now_or_never().unwrap().unwrap(), &good));
    assert!(Arc::ptr_eq(&now(&slot, &fake).unwrap(), &good), "during the pause too");
    assert_eq!((fake.fetches(), fake.pauses.lock().unwrap().clone()), (2, vec![1]));

    fake.clock.advance(Duration::from_secs(1));
    fake.answer(fake.token(&slot, 100));
    let new = now(&slot, &fake).unwrap();
    assert!(!Arc::ptr_eq(&new, &good));
    assert_eq!(fake.fetches(), 3);
}

#[test]
fn a_renewal_that_fails_when_the_token_has_ended_is_a_failure() {
    let (fake, slot) = (Fake::new(), slot());
    fake.answer(fake.token(&slot, 100));
    now(&slot, &fake).unwrap();
    fake.clock.advance(Duration::from_secs(95));
    let sender = fake.answer_later();
    let mut renewing = Box::pin(slot.lease(&fake, LATE));
    assert!((&mut renewing).now_or_never().is_none());
    fake.clock.advance(Duration::from_secs(5));
    sender.send(refusal()).ok().unwrap();
    assert!(renewing.now_or_never().unwrap().is_err());
    assert!(is_cooling(now(&slot, &fake)), "the ended token is not given out");
}

#[test]
fn a_token_without_a_life_is_for_those_who_waited() {
    let (fake, slot) = (Fake::new(), slot());
    let sender = fake.answer_later();
    let mut waiting = Box::pin(join_all((0..50).map(|_| slot.lease(&fake, LATE))));
    assert!((&mut waiting).now_or_never().is_none());
    sender.send(fake.token(&slot, 0)).ok().unwrap();
    assert!(waiting.now_or_never().unwrap().iter().all(Result::is_ok));
    assert!(slot.held().is_none());
    fake.answer(fake.token(&slot, 0));
    assert!(now(&slot, &fake).is_ok());
    assert_eq!(fake.fetches(), 2);
}

fn replace(slot: &Arc<Slot>, refused: &Arc<Lease>, fake: &Fake) -> Option<Arc<Lease>> {
    let outcome = slot.replace(refused, true, fake).now_or_never();
    outcome.expect("nothing to wait for").unwrap()
}

#[test]
fn a_401_drops_the_token_that_was_refused_and_no_other() {
    let (fake, slot) = (Fake::new(), slot());
    fake.answer(fake.token(&slot, 100));
    let first = now(&slot, &fake).unwrap();
    fake.answer(fake.token(&slot, 100));
    let second = replace(&slot, &first, &fake).unwrap();
    assert!(!Arc::ptr_eq(&first, &second));
    // A late 401 for the first token.
    assert!(Arc::ptr_eq(&replace(&slot, &first, &fake).unwrap(), &second));
    assert!(Arc::ptr_eq(&slot.held().unwrap(), &second));
    assert_eq!(fake.fetches(), 2);
    slot.evict(&first);
    assert!(slot.held().is_some());
}

#[test]
fn a_401_causes_one_renewal_a_minute() {
    let (fake, slot) = (Fake::new(), slot());
    fake.answer(fake.token(&slot, 1000));
    let first = now(&slot, &fake).unwrap();
    fake.answer(fake.token(&slot, 1000));
    let second = replace(&slot, &first, &fake).unwrap();
    fake.clock.advance(MINUTE - Duration::from_secs(1));
    assert!(replace(&slot, &second, &fake).is_none());
    assert!(slot.held().is_some(), "what may not be replaced is not dropped");
    fake.clock.advance(Duration::from_secs(1));
    fake.answer(fake.token(&slot, 1000));
    assert!(replace(&slot, &second, &fake).is_some());
    assert_eq!(fake.fetches(), 3);
}

#[test]
fn fifty_401s_have_one_flight() {
    let (fake, slot) = (Fake::new(), slot());
    fake.answer(fake.token(&slot, 100));
    let first = now(&slot, &fake).unwrap();
    let sender = fake.answer_later();
    let mut waiting = Box::pin(join_all((0..50).map(|_| slot.replace(&first, true, &fake))));
    assert!((&mut waiting).now_or_never().is_none());
    sender.send(fake.token(&slot, 100)).ok().unwrap();
    let all = waiting.now_or_never().unwrap();
    assert!(all.iter().all(|lease| lease.as_ref().is_ok_and(Option::is_some)));
    assert_eq!(fake.fetches(), 2);
}

#[test]
fn a_renewed_token_that_was_refused_as_well_is_dropped_and_asked_for_again_by_the_next_call() {
    let (fake, slot) = (Fake::new(), slot());
    fake.answer(fake.token(&slot, 1000));
    let first = now(&slot, &fake).unwrap();
    fake.answer(fake.token(&slot, 1000));
    let second = replace(&slot, &first, &fake).unwrap();
    slot.evict(&second);
    assert!(slot.held().is_none());
    // One route that refuses every token does not take the others with it.
    fake.answer(fake.token(&slot, 1000));
    let third = now(&slot, &fake).unwrap();
    // Within the minute no 401 causes another request: the token stays where it is.
    assert!(replace(&slot, &third, &fake).is_none());
    assert!(Arc::ptr_eq(&slot.held().unwrap(), &third));
    assert_eq!(fake.fetches(), 3);
}

#[test]
fn what_was_cleared_is_fetched_again() {
    let (fake, slot) = (Fake::new(), slot());
    fake.answer(fake.token(&slot, 100));
    let first = now(&slot, &fake).unwrap();
    slot.clear();
    assert_eq!(slot.ends(), Monotonic::ORIGIN);
    fake.answer(fake.token(&slot, 100));
    assert!(!Arc::ptr_eq(&now(&slot, &fake).unwrap(), &first));

    // Its failures are forgotten too: the credential may have been mended.
    fake.clock.advance(Duration::from_secs(100));
    fake.answer(refusal());
    assert!(now(&slot, &fake).is_err());
    assert!(is_cooling(now(&slot, &fake)));
    slot.clear();
    fake.answer(fake.token(&slot, 100));
    assert!(now(&slot, &fake).is_ok());
}

#[test]
fn a_token_asked_for_before_it_was_forgotten_is_not_kept_after() {
    let (fake, slot) = (Fake::new(), slot());
    let sender = fake.answer_later();
    let mut waiting = Box::pin(slot.lease(&fake, LATE));
    assert!((&mut waiting).now_or_never().is_none());
    slot.clear();
    sender.send(fake.token(&slot, 100)).ok().unwrap();
    assert!(waiting.now_or_never().unwrap().is_ok(), "who waits is served");
    assert!(slot.held().is_none(), "with the old credential, perhaps");
    fake.answer(fake.token(&slot, 100));
    assert!(now(&slot, &fake).is_ok());
    assert_eq!(fake.fetches(), 2);
}

#[test]
fn an_early_renewal_takes_a_quarter_of_the_caller_s_time_and_then_the_good_token_serves() {
    let (fake, slot) = (Fake::new(), slot());
    fake.answer(fake.token(&slot, 1000));
    let held = now(&slot, &fake).unwrap();
    fake.clock.advance(Duration::from_secs(900));
    let _never = fake.answer_later();
    let deadline = fake.clock.monotonic() + Duration::from_secs(8);
    let mut waiting = Box::pin(slot.lease(&fake, deadline));
    assert!((&mut waiting).now_or_never().is_none());
    fake.clock.advance(Duration::from_millis(1_999));
    assert!((&mut waiting).now_or_never().is_none());
    fake.clock.advance(Duration::from_millis(1));
    assert!(Arc::ptr_eq(&waiting.now_or_never().unwrap().unwrap(), &held));
    // That was a failure: the next callers have the good token at once.
    assert!(Arc::ptr_eq(&now(&slot, &fake).unwrap(), &held));
    assert_eq!(fake.fetches(), 2);
    assert_eq!(*fake.pauses.lock().unwrap(), [1]);
}
