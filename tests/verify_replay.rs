//! The replay log in memory at its bounds.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::FutureExt;
use shipbound::clock::Timestamp;
use shipbound::jose::Thumbprint;
use shipbound::verify::{InvalidSetup, MemoryReplayLog, ReplayEntry, ReplayLog, ReplayRefusal};

const START: i64 = 1_800_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(seconds)
}

fn key(number: u64) -> Thumbprint {
    let mut octets = [0; 32];
    octets[..8].copy_from_slice(&number.to_be_bytes());
    Thumbprint::from_bytes(octets)
}

/// Uses a proof of `client` and key `number` that is made `now`, for a verifier with a window of 60 s.
fn log(log: &MemoryReplayLog, client: Option<&str>, number: u64, jti: &str, now: i64) -> Result<(), ReplayRefusal> {
    insert(log, client, number, jti, now, now)
}

fn insert(
    log: &MemoryReplayLog,
    client: Option<&str>,
    number: u64,
    jti: &str,
    issued_at: i64,
    now: i64,
) -> Result<(), ReplayRefusal> {
    let entry = ReplayEntry {
        client,
        jkt: &key(number),
        jti,
        issued_at: at(issued_at),
    };
    log.check_and_insert(&entry, at(now), at(issued_at + 60))
        .now_or_never()
        .expect("memory does not wait")
}

#[test]
fn a_hundred_thousand_keys_of_one_client_do_not_hurt_another() {
    let memory = MemoryReplayLog::with_capacity(at(START), 100_000).unwrap();
    let mut refused = 0;
    for number in 0..100_000 {
        match log(&memory, Some("flood"), number, "j", START) {
            Ok(()) => {}
            Err(ReplayRefusal::Quota) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((memory.len(), refused), (25_000, 75_000));
    for number in 0..10_000 {
        assert_eq!(log(&memory, Some("honest"), 1_000_000 + number, "j", START + 1), Ok(()));
    }
    // Whoever floods is still told about replays, and gets room again when the old entries have passed.
    assert_eq!(
        log(&memory, Some("flood"), 1, "j", START + 1),
        Err(ReplayRefusal::Replayed)
    );
    assert_eq!(
        log(&memory, Some("flood"), 1, "k", START + 1),
        Err(ReplayRefusal::Quota)
    );
    assert_eq!(log(&memory, Some("flood"), 1, "k", START + 120), Ok(()));
}

#[test]
fn a_million_proofs_of_one_key_stop_at_its_quota() {
    let memory = MemoryReplayLog::with_quotas(at(START), 50_000, 1000, 50_000).unwrap();
    let taken = (0..1_000_000_u32)
        .filter(|number| log(&memory, Some("c"), 1, &number.to_string(), START).is_ok())
        .count();
    assert_eq!((taken, memory.len()), (1000, 1000));
    assert_eq!(log(&memory, Some("c"), 2, "0", START), Ok(()));
}

#[test]
fn at_capacity_new_proofs_are_refused_and_no_live_one_is_dropped() {
    let memory = MemoryReplayLog::with_quotas(at(START), 1000, 1000, 1000).unwrap();
    for number in 0..1000 {
        assert_eq!(log(&memory, Some("c"), number, "j", START), Ok(()));
    }
    for number in 0..1000 {
        assert_eq!(
            log(&memory, Some("d"), 5000 + number, "j", START + 30),
            Err(ReplayRefusal::Quota)
        );
        assert_eq!(
            log(&memory, Some("c"), number, "j", START + 60),
            Err(ReplayRefusal::Replayed)
        );
    }
    assert_eq!(memory.len(), 1000);
    // One client in one shard is enough to clear all shards once everything has passed.
    for number in 0..1000 {
        assert_eq!(log(&memory, Some("d"), 5000 + number, "j", START + 120), Ok(()));
    }
    assert_eq!(memory.len(), 1000);
}

#[test]
fn clients_without_a_name_share_half() {
    let memory = MemoryReplayLog::with_quotas(at(START), 100, 100, 100).unwrap();
    let taken = (0..100)
        .filter(|number| log(&memory, None, *number, "j", START).is_ok())
        .count();
    assert_eq!(taken, 50);
    assert_eq!(log(&memory, Some("c"), 1000, "j", START), Ok(()));
}

#[test]
fn an_entry_lives_until_iat_plus_age_and_not_from_its_arrival() {
    let memory = MemoryReplayLog::starting(at(START)).unwrap();
    assert_eq!(insert(&memory, Some("c"), 1, "ahead", START + 10, START), Ok(()));
    for now in START..=START + 70 {
        let again = insert(&memory, Some("c"), 1, "ahead", START + 10, now);
        assert_eq!(again, Err(ReplayRefusal::Replayed), "{now}");
    }
    let after = insert(&memory, Some("c"), 1, "ahead", START + 10, START + 71);
    assert_eq!(
        after,
        Err(ReplayRefusal::ClockMovedBack),
        "a verifier refuses it for its age before"
    );
}

#[test]
fn the_identity_is_key_and_jti_whatever_else_differs() {
    let memory = MemoryReplayLog::starting(at(START)).unwrap();
    assert_eq!(log(&memory, Some("a"), 1, "j", START), Ok(()));
    assert_eq!(log(&memory, Some("b"), 1, "j", START), Err(ReplayRefusal::Replayed));
    assert_eq!(log(&memory, None, 1, "j", START + 20), Err(ReplayRefusal::Replayed));
    assert_eq!(log(&memory, Some("a"), 2, "j", START), Ok(()));
    assert_eq!(log(&memory, Some("a"), 1, "J", START), Ok(()));
    assert_eq!(log(&memory, Some("a"), 1, "", START), Ok(()));
}

#[test]
fn proofs_from_before_the_start_are_refused_to_the_second() {
    let start = Timestamp::from_unix_micros(START * 1_000_000 + 700_000);
    let memory = MemoryReplayLog::starting(start).unwrap();
    assert_eq!(
        insert(&memory, None, 1, "a", START - 1, START),
        Err(ReplayRefusal::BeforeStart)
    );
    assert_eq!(insert(&memory, None, 1, "a", START, START), Ok(()));
}

/// Random traffic against a model that forgets nothing: never is a live proof taken twice, and never is more kept than
/// there is room for.
#[test]
fn random_traffic_agrees_with_a_log_that_never_forgets() {
    let memory = MemoryReplayLog::with_quotas(at(START), 3000, 500, 2000).unwrap();
    let mut taken = HashSet::new();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let mut now = START + 100;
    let mut replays = 0;
    for _ in 0..200_000 {
        if random(50) == 0 {
            now += i64::try_from(random(3)).unwrap();
        }
        let issued_at = now + 10 - i64::try_from(random(70)).unwrap();
        let (number, jti) = (random(20), random(100_000).to_string());
        let client = ["a", "b", "c"][usize::try_from(number % 3).unwrap()];
        let used = taken.contains(&(number, jti.clone(), issued_at));
        match insert(&memory, Some(client), number, &jti, issued_at, now) {
            Ok(()) => assert!(taken.insert((number, jti, issued_at)), "taken twice"),
            Err(ReplayRefusal::Replayed) => replays += 1,
            Err(ReplayRefusal::Quota) => assert!(!used, "a live proof was forgotten"),
            Err(other) => panic!("{other}"),
        }
        assert!(memory.len() <= 3000);
    }
    assert!(replays > 0 && taken.len() > 10_000, "{replays} {}", taken.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_at_once_never_exceed_the_capacity_and_never_repeat() {
    let memory = Arc::new(MemoryReplayLog::with_quotas(at(START), 5000, 5000, 5000).unwrap());
    let tasks: Vec<_> = (0..8_u64)
        .map(|task| {
            let memory = Arc::clone(&memory);
            tokio::spawn(async move {
                let mut mine = 0;
                for round in 0..2000 {
                    // Every proof is tried by two tasks.
                    let number = (task / 2) * 2000 + round;
                    if log(&memory, Some("c"), number % 7, &number.to_string(), START).is_ok() {
                        mine += 1;
                    }
                }
                mine
            })
        })
        .collect();
    let mut taken = 0;
    for task in tasks {
        taken += task.await.unwrap();
    }
    assert_eq!((taken, memory.len()), (5000, 5000));
}

#[test]
fn a_log_without_room_is_not_set_up() {
    for (capacity, per_key, per_client) in [(0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 2, 1), (1, 1, 2)] {
        let refused = MemoryReplayLog::with_quotas(at(START), capacity, per_key, per_client).unwrap_err();
        assert_eq!(refused, InvalidSetup::Capacity);
    }
    assert!(MemoryReplayLog::with_capacity(at(START), 1).is_ok());
}
