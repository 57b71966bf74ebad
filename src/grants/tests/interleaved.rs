//! Eight processes, one rotating refresh token, and everything that can go wrong in between.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::super::*;
use super::stepping::{Fault, Stepping, step};
use super::{MARK, START, acme};
use crate::clock::{Clock, ManualClock, Monotonic};

/// An issuer that rotates, and fails the test when a refresh token is used that is spent: many issuers end the consent then
/// (RFC 9700 4.14.2).
struct Issuer {
    rotation: Rotation,
    clock: Arc<ManualClock>,
    consents: Mutex<Consents>,
}

#[derive(Default)]
struct Consents {
    families: Vec<Family>,
    /// Tokens whose answer is on its way, with the time at which each was presented.
    in_flight: Vec<(String, Monotonic)>,
    rotations: u32,
}

#[derive(Default)]
struct Family {
    withdrawn: bool,
    newest: u32,
    valid: u32,
    previous: Option<u32>,
}

impl Issuer {
    fn new(rotation: Rotation, clock: &Arc<ManualClock>) -> Self {
        Self {
            rotation,
            clock: Arc::clone(clock),
            consents: Mutex::default(),
        }
    }

    /// A shipper consents. Each time a little later, as in life.
    fn consent(&self) -> Grant {
        let mut consents = self.consents.lock().unwrap();
        consents.families.push(Family::default());
        Grant::new(name(consents.families.len() - 1, 0), self.clock.now())
    }

    fn withdraw(&self, family: usize) {
        if let Some(family) = self.consents.lock().unwrap().families.get_mut(family) {
            family.withdrawn = true;
        }
    }

    /// The next refresh token; `None` is `invalid_grant`.
    fn present(&self, token: &str) -> Option<String> {
        let mut consents = self.consents.lock().unwrap();
        let now = self.clock.monotonic();
        // A claim lasts half its time longer than the token may be sent.
        let live = |since: Monotonic| now < since + Grants::DEFAULT_CLAIM / 2;
        let other = consents
            .in_flight
            .iter()
            .find(|(sent, since)| sent == token && live(*since));
        assert!(other.is_none(), "two holders of {token}");
        consents.in_flight.push((token.to_owned(), now));
        let (number, version) = parse(token);
        let family = &mut consents.families[number];
        if family.withdrawn {
            return None;
        }
        assert!(is_valid(family, version), "{token} is spent");
        family.newest += 1;
        family.valid = family.newest;
        family.previous = Some(version).filter(|_| self.rotation == Rotation::PreviousStays);
        let next = name(number, family.newest);
        consents.rotations += 1;
        Some(next)
    }

    /// The answer to `token` has come, or never will.
    fn answered(&self, token: &str) {
        let mut consents = self.consents.lock().unwrap_or_else(PoisonError::into_inner);
        let answered = consents.in_flight.iter().position(|(sent, _)| sent == token);
        answered.map(|answered| consents.in_flight.remove(answered));
    }

    /// No state may say more than is true.
    fn judge(&self, record: Option<&Record>, families: &HashMap<Revision, usize>) {
        let Some(record) = record else { return };
        let consents = self.consents.lock().unwrap();
        let family = &consents.families[families[&record.consent]];
        match &record.state {
            GrantState::Ready(grant) => {
                let (_, version) = parse(grant.refresh_token().expose());
                let good = family.withdrawn || is_valid(family, version);
                assert!(good, "{} is ready, and spent", grant.refresh_token().expose());
            }
            // Nobody knows. What the issuer has may be lost.
            GrantState::Claimed { .. } => {}
            GrantState::Ended => assert!(family.withdrawn, "ended by a stale answer"),
        }
    }
}

fn is_valid(family: &Family, version: u32) -> bool {
    version == family.valid || Some(version) == family.previous
}

fn name(family: usize, version: u32) -> String {
    format!("{MARK}-{family}-{version}")
}

fn parse(token: &str) -> (usize, u32) {
    let mut parts = token.split('-').skip(1);
    let mut next = || parts.next().unwrap();
    (next().parse().unwrap(), next().parse().unwrap())
}

/// xorshift64*: the same seed gives the same run.
#[derive(Clone)]
struct Dice(Arc<Mutex<u64>>);

impl Dice {
    fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)))
    }

    fn below(&self, bound: usize) -> usize {
        let mut state = self.0.lock().unwrap();
        *state ^= *state >> 12;
        *state ^= *state << 25;
        *state ^= *state >> 27;
        usize::try_from(state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % bound
    }

    fn percent(&self, chance: usize) -> bool {
        self.below(100) < chance
    }
}

/// What happened how often, so that a run which tries nothing is seen.
type Tally = Arc<Mutex<BTreeMap<String, u32>>>;

struct Process {
    grants: Grants,
    issuer: Arc<Issuer>,
    families: Arc<Mutex<HashMap<Revision, usize>>>,
    clock: Arc<ManualClock>,
    dice: Dice,
    tally: Tally,
}

impl Process {
    fn start(self: Arc<Self>) -> BoxFuture<'static, ()> {
        async move {
            loop {
                let deadline = self.clock.monotonic() + Duration::from_secs(5);
                match self.grants.claim(&acme(), self.issuer.rotation, deadline).await {
                    Ok(claim) => self.refresh(claim).await,
                    Err(error) => {
                        self.count(&format!("claim: {}", word(error)));
                        let consent_is_needed = matches!(
                            error,
                            GrantError::Missing | GrantError::NeedsConsent | GrantError::Uncertain
                        );
                        if consent_is_needed && self.dice.percent(30) {
                            self.consent().await;
                        }
                    }
                }
                step().await;
            }
        }
        .boxed()
    }

    async fn consent(&self) {
        let grant = self.issuer.consent();
        let (family, _) = parse(grant.refresh_token().expose());
        self.families.lock().unwrap().insert(grant.consent(), family);
        let _repeated_by_whoever_needs_it = self.grants.put(&acme(), grant).await;
    }

    async fn refresh(&self, claim: Claim) {
        if claim.is_second_chance() {
            self.count("second chance");
        }
        for _ in 0..self.dice.below(3) {
            step().await;
        }
        if self.dice.percent(10) {
            return self.ended("release", claim.release().await);
        }
        let Ok(token) = claim.refresh_token() else {
            self.count("too late to send");
            return self.ended("release", claim.release().await);
        };
        let token = token.expose().to_owned();
        let answer = self.issuer.present(&token);
        let on_its_way = InFlight(&self.issuer, &token);
        for _ in 0..self.dice.below(6) {
            step().await;
        }
        drop(on_its_way);
        if self.dice.percent(10) {
            return self.ended("abandon", claim.abandon().await);
        }
        match answer {
            Some(next) => self.ended("settle", claim.settle(Some(next.into()), None).await),
            None => self.ended("end", claim.end().await),
        }
    }

    fn ended(&self, how: &str, outcome: Result<(), GrantError>) {
        self.count(&format!("{how}: {}", outcome.map_or_else(word, |()| "ok".into())));
    }

    fn count(&self, what: &str) {
        *self.tally.lock().unwrap().entry(what.to_owned()).or_default() += 1;
    }
}

fn word(error: GrantError) -> String {
    format!("{error:?}").split(' ').next().unwrap().to_owned()
}

/// Ends with the wait for the answer, and with the process that waits.
struct InFlight<'a>(&'a Issuer, &'a str);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.answered(self.1);
    }
}

/// One run: the dice choose who goes on, who stands still, who crashes, which write fails, and how time passes.
fn run(rotation: Rotation, seed: u64, tally: &Tally) {
    let store = Arc::new(Stepping::new());
    let clock = Arc::new(ManualClock::at(START));
    let issuer = Arc::new(Issuer::new(rotation, &clock));
    let dice = Dice::seeded(seed);
    let process = Arc::new(Process {
        grants: Grants::new(store.clone(), clock.clone()),
        issuer: Arc::clone(&issuer),
        families: Arc::default(),
        clock: Arc::clone(&clock),
        dice: dice.clone(),
        tally: Arc::clone(tally),
    });
    let mut processes: Vec<_> = (0..8).map(|_| Arc::clone(&process).start()).collect();
    for _ in 0..1500 {
        let one = dice.below(processes.len());
        match dice.below(200) {
            0 => processes[one] = Arc::clone(&process).start(),
            1 => clock.advance(Duration::from_secs(20)),
            2..30 => clock.advance(Duration::from_millis(100)),
            30 => store.fail((0..6).map(|_| match dice.below(3) {
                0 => Fault::Refused,
                1 => Fault::Lost,
                _ => Fault::None,
            })),
            31 if dice.percent(20) => {
                let families = issuer.consents.lock().unwrap().families.len();
                issuer.withdraw(families.saturating_sub(1 + dice.below(2)));
            }
            32 if dice.percent(10) => {
                processes[one] = {
                    // A shipper who consents though nobody asked, while others refresh.
                    let process = Arc::clone(&process);
                    async move {
                        process.consent().await;
                        process.start().await;
                    }
                    .boxed()
                }
            }
            _ => assert!(processes[one].as_mut().now_or_never().is_none()),
        }
        let record = store.kept.load(&acme()).now_or_never().unwrap().unwrap();
        issuer.judge(record.as_ref(), &process.families.lock().unwrap());
    }
}

fn runs(rotation: Rotation) -> BTreeMap<String, u32> {
    let tally = Tally::default();
    for seed in 1..=100 {
        run(rotation, seed, &tally);
    }
    let tally = tally.lock().unwrap().clone();
    for what in [
        "settle: ok",
        "settle: ClaimOver",
        "release: ok",
        "end: ok",
        "end: ClaimOver",
        "abandon: ok",
        "claim: Busy",
        "claim: Uncertain",
        "claim: NeedsConsent",
        "claim: Unavailable",
        "too late to send",
    ] {
        assert!(tally.contains_key(what), "{what} never happened: {tally:#?}");
    }
    tally
}

#[test]
fn where_the_previous_token_dies_no_token_is_sent_twice_or_lost_in_silence() {
    let tally = runs(Rotation::PreviousDies);
    assert!(!tally.contains_key("second chance"));
}

#[test]
fn where_the_previous_token_stays_it_is_sent_once_more_and_never_by_two_at_a_time() {
    let tally = runs(Rotation::PreviousStays);
    assert!(tally["second chance"] > 100, "{tally:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_tasks_on_threads_rotate_one_token() {
    let clock = Arc::new(ManualClock::at(START));
    let issuer = Arc::new(Issuer::new(Rotation::PreviousDies, &clock));
    let grants = Grants::new(Arc::new(MemoryGrants::new()), clock);
    grants.put(&acme(), issuer.consent()).await.unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (grants, issuer) = (grants.clone(), Arc::clone(&issuer));
            tokio::spawn(async move {
                let mut done = 0;
                while done < 200 {
                    let claim = match grants.claim(&acme(), Rotation::PreviousDies, Monotonic::ORIGIN).await {
                        Ok(claim) => claim,
                        Err(GrantError::Busy { .. }) => {
                            tokio::task::yield_now().await;
                            continue;
                        }
                        Err(error) => panic!("{error}"),
                    };
                    let token = claim.refresh_token().unwrap().expose().to_owned();
                    let next = issuer.present(&token).unwrap();
                    tokio::task::yield_now().await;
                    issuer.answered(&token);
                    claim.settle(Some(next.into()), None).await.unwrap();
                    done += 1;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(issuer.consents.lock().unwrap().rotations, 1600);
}
