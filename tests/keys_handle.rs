//! Handles: who may sign, until when, and that nothing is released once a gate is closed.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, poll_fn};
use shipbound::clock::{Clock, ManualClock, Timestamp};
use shipbound::jose::Algorithm;
use shipbound::keys::{
    Backend, KeyError, KeyHandle, KeyId, KeyState, LocalKey, Purpose, Retired, Signature, Signer, Signing,
};
use shipbound::owner::{AccountId, CarrierId, ConnectionId, DeploymentId, Environment, Owner, Tenant, TenantId};
use tokio::sync::oneshot;

fn owner(tenant: &str) -> Owner {
    Owner::Connection(ConnectionId::new(
        DeploymentId::default_deployment(),
        Tenant::from(TenantId::new(tenant).unwrap()),
        CarrierId::new("fedex").unwrap(),
        Environment::Sandbox,
        AccountId::main(),
    ))
}

fn key() -> LocalKey {
    LocalKey::generate(Algorithm::Es256, Backend::default()).unwrap()
}

fn id() -> KeyId {
    KeyId::random().unwrap()
}

fn active() -> KeyHandle {
    let key = key();
    KeyHandle::new(owner("acme"), id(), Purpose::Proof, key.public().clone(), Arc::new(key))
}

fn sign(handle: &KeyHandle) -> Result<Signature, KeyError> {
    match handle.sign(b"m") {
        Signing::Now(result) => result,
        Signing::Later(_) => panic!("a local key signs at once"),
    }
}

fn closed(state: KeyState) -> Result<Signature, KeyError> {
    Err(KeyError::Closed { state })
}

/// A key that is elsewhere: it signs when it is let.
#[derive(Debug)]
struct Remote {
    key: LocalKey,
    let_go: Mutex<Option<oneshot::Receiver<()>>>,
}

impl Remote {
    fn new(key: LocalKey) -> (Arc<Self>, oneshot::Sender<()>) {
        let (go, let_go) = oneshot::channel();
        let let_go = Mutex::new(Some(let_go));
        (Arc::new(Self { key, let_go }), go)
    }
}

impl Signer for Remote {
    fn sign<'a>(&'a self, message: &'a [u8]) -> Signing<'a> {
        let wait = self.let_go.lock().unwrap().take();
        let later: BoxFuture<'a, _> = Box::pin(async move {
            if let Some(wait) = wait {
                let _gone = wait.await;
            }
            self.key.sign(message).wait().await
        });
        Signing::Later(later)
    }
}

fn remote(signs: LocalKey, claims: &LocalKey) -> (KeyHandle, oneshot::Sender<()>) {
    let public = claims.public().clone();
    let (signer, go) = Remote::new(signs);
    (KeyHandle::new(owner("acme"), id(), Purpose::Proof, public, signer), go)
}

#[test]
fn a_local_key_signs_at_once_and_says_who_it_is() {
    let handle = active();
    let signature = sign(&handle).unwrap();
    assert_eq!(signature.as_bytes().len(), 64);
    handle.public().verify(b"m", signature.as_bytes()).unwrap();
    assert_eq!(handle.jkt(), handle.public().thumbprint());
    assert_eq!(handle.algorithm(), Algorithm::Es256);
    assert_eq!(handle.owner(), &owner("acme"));
    assert!(handle.is_usable());
}

#[test]
fn a_handle_is_refused_for_another_owner_or_purpose() {
    let handle = active();
    assert_eq!(handle.check(&owner("acme"), Purpose::Proof), Ok(()));
    assert_eq!(handle.check(&owner("ACME"), Purpose::Proof), Err(KeyError::WrongOwner));
    assert_eq!(
        handle.check(&Owner::Deployment(DeploymentId::default_deployment()), Purpose::Proof),
        Err(KeyError::WrongOwner)
    );
    assert_eq!(
        handle.check(&owner("acme"), Purpose::ClientAssertion),
        Err(KeyError::WrongPurpose {
            wanted: Purpose::ClientAssertion,
            found: Purpose::Proof
        })
    );
}

#[test]
fn a_pending_key_signs_once_it_is_opened_through_the_handle_that_was_given_out() {
    let key = key();
    let handle = KeyHandle::pending(owner("acme"), id(), Purpose::Proof, key.public().clone(), Arc::new(key));
    let given_out = handle.clone();
    assert_eq!(sign(&given_out), closed(KeyState::Pending));
    assert!(handle.open());
    assert!(!handle.open());
    sign(&given_out).unwrap();
}

#[test]
fn what_is_closed_stays_closed_and_what_is_worse_stays() {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    let handle = active();
    let clone = handle.clone();
    assert!(handle.close(Retired::Destroyed));
    assert!(!handle.close(Retired::Destroyed));
    assert_eq!(sign(&clone), closed(KeyState::Destroyed));
    assert!(handle.close(Retired::Compromised));
    assert!(!handle.close(Retired::Destroyed));
    assert!(!handle.open());
    assert!(!handle.drain(Timestamp::from_unix_seconds(9), &clock));
    assert_eq!(sign(&clone), closed(KeyState::Compromised));
    assert!(!clone.is_usable());
}

#[test]
fn a_draining_key_ends_by_either_clock() {
    let start = Timestamp::from_unix_seconds(1_000);
    let begin = || {
        let clock = Arc::new(ManualClock::at(start));
        let handle = active();
        let as_clock: Arc<dyn Clock> = clock.clone();
        assert!(handle.drain(start.offset_seconds(60), &as_clock));
        assert_eq!(handle.state(), KeyState::Draining);
        sign(&handle).unwrap();
        (clock, handle)
    };

    let (clock, handle) = begin();
    clock.advance(Duration::from_secs(59));
    sign(&handle).unwrap();
    clock.advance(Duration::from_secs(1));
    assert_eq!(sign(&handle), closed(KeyState::Destroyed));

    // The wall clock is set back: monotonic time ends the key.
    let (clock, handle) = begin();
    clock.set_wall(Timestamp::UNIX_EPOCH);
    clock.advance(Duration::from_secs(60));
    assert_eq!(sign(&handle), closed(KeyState::Destroyed));

    // Monotonic time stood still while the machine slept: the wall ends it, and for good.
    let (clock, handle) = begin();
    clock.set_wall(start.offset_seconds(60));
    assert_eq!(sign(&handle), closed(KeyState::Destroyed));
    clock.set_wall(start);
    assert_eq!(sign(&handle), closed(KeyState::Destroyed));
}

#[test]
fn a_draining_key_that_is_held_ends_later_by_either_clock_and_never_earlier() {
    let start = Timestamp::from_unix_seconds(1_000);
    let clock = Arc::new(ManualClock::at(start));
    let as_clock: Arc<dyn Clock> = clock.clone();
    let handle = active();
    assert!(!handle.prolong(start.offset_seconds(60)), "it does not drain");
    assert!(handle.drain(start.offset_seconds(60), &as_clock));
    assert!(handle.prolong(start.offset_seconds(120)));
    assert!(handle.prolong(start.offset_seconds(10)));
    clock.advance(Duration::from_secs(119));
    sign(&handle).unwrap();
    clock.set_wall(start);
    sign(&handle).unwrap();
    clock.advance(Duration::from_secs(1));
    assert_eq!(sign(&handle), closed(KeyState::Destroyed));
    assert!(!handle.prolong(start.offset_seconds(900)), "it has ended");
    assert_eq!(sign(&handle), closed(KeyState::Destroyed));
}

#[test]
fn drained_into_the_past_is_over_at_once() {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(Timestamp::from_unix_seconds(1_000)));
    let handle = active();
    assert!(handle.drain(Timestamp::UNIX_EPOCH, &clock));
    assert_eq!(sign(&handle), closed(KeyState::Destroyed));
}

#[tokio::test]
async fn a_signature_that_arrives_after_close_is_withheld() {
    for end in [None, Some(Retired::Destroyed), Some(Retired::Compromised)] {
        let key = key();
        let public = key.public().clone();
        let (signer, go) = Remote::new(key);
        let handle = KeyHandle::new(owner("acme"), id(), Purpose::Proof, public.clone(), signer);
        let quarantine = handle.clone();
        let mut signing = pin!(handle.sign(b"m").wait());
        assert!((&mut signing).now_or_never().is_none(), "the signer waits");
        if let Some(end) = end {
            quarantine.close(end);
        }
        go.send(()).unwrap();
        match end {
            None => public.verify(b"m", signing.await.unwrap().as_bytes()).unwrap(),
            Some(end) => assert_eq!(signing.await, closed(end.into())),
        }
    }
}

#[tokio::test]
async fn a_drain_that_ends_while_the_signer_is_slow_withholds_too() {
    let manual = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    let clock: Arc<dyn Clock> = manual.clone();
    let key = key();
    let public = key.public().clone();
    let (signer, go) = Remote::new(key);
    let handle = KeyHandle::new(owner("acme"), id(), Purpose::Proof, public, signer);
    assert!(handle.drain(Timestamp::from_unix_seconds(10), &clock));
    let mut signing = pin!(handle.sign(b"m").wait());
    assert!((&mut signing).now_or_never().is_none());
    manual.advance(Duration::from_secs(10));
    go.send(()).unwrap();
    assert_eq!(signing.await, closed(KeyState::Destroyed));
}

/// Closes its own handle in the middle of signing, at once.
#[derive(Debug)]
struct ClosesMeanwhile {
    key: LocalKey,
    handle: OnceLock<KeyHandle>,
}

impl Signer for ClosesMeanwhile {
    fn sign<'a>(&'a self, message: &'a [u8]) -> Signing<'a> {
        let made = self.key.sign(message);
        self.handle.get().unwrap().close(Retired::Compromised);
        made
    }
}

#[test]
fn a_local_signature_that_is_overtaken_by_close_is_withheld() {
    let key = key();
    let public = key.public().clone();
    let signer = Arc::new(ClosesMeanwhile {
        key,
        handle: OnceLock::new(),
    });
    let handle = KeyHandle::new(owner("acme"), id(), Purpose::Proof, public, signer.clone());
    signer.handle.set(handle.clone()).unwrap();
    assert_eq!(sign(&handle), closed(KeyState::Compromised));
}

/// Counts how often it is asked.
#[derive(Debug)]
struct Asked(LocalKey, AtomicUsize);

impl Signer for Asked {
    fn sign<'a>(&'a self, message: &'a [u8]) -> Signing<'a> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.sign(message)
    }
}

#[test]
fn the_signer_of_a_key_that_does_not_sign_is_not_even_asked() {
    let key = key();
    let public = key.public().clone();
    let signer = Arc::new(Asked(key, AtomicUsize::new(0)));
    let handle = KeyHandle::pending(owner("acme"), id(), Purpose::Proof, public, signer.clone());
    sign(&handle).unwrap_err();
    assert_eq!(signer.1.load(Ordering::SeqCst), 0);
    handle.open();
    sign(&handle).unwrap();
    handle.close(Retired::Destroyed);
    sign(&handle).unwrap_err();
    assert_eq!(signer.1.load(Ordering::SeqCst), 1);
}

#[test]
fn no_thread_gets_a_signature_from_a_call_made_after_close_returned() {
    for _round in 0..20 {
        let handle = active();
        let is_closed = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let mut released = 0;
                        loop {
                            let after = is_closed.load(Ordering::SeqCst);
                            let made = handle.sign(b"m").wait().now_or_never().unwrap();
                            assert!(!(after && made.is_ok()), "released after close");
                            released += usize::from(made.is_ok());
                            if after {
                                return released;
                            }
                        }
                    })
                })
                .collect();
            while sign(&handle).is_err() {}
            handle.close(Retired::Destroyed);
            is_closed.store(true, Ordering::SeqCst);
            for thread in threads {
                thread.join().unwrap();
            }
        });
    }
}

#[tokio::test]
async fn a_signer_whose_key_was_replaced_is_found_out() {
    let claimed = key();
    let (handle, go) = remote(key(), &claimed);
    go.send(()).unwrap();
    assert_eq!(handle.sign(b"m").wait().await, Err(KeyError::Mismatch));
    assert!(handle.is_usable(), "whether to go on is not the handle's to decide");
}

#[derive(Debug)]
struct Fixed(Result<Vec<u8>, KeyError>);

impl Signer for Fixed {
    fn sign<'a>(&'a self, _message: &'a [u8]) -> Signing<'a> {
        Signing::Now(self.0.clone().map(Signature::from))
    }
}

#[test]
fn a_signature_of_the_wrong_form_is_refused_and_errors_come_through() {
    let public = key().public().clone();
    let with = |signer| KeyHandle::new(owner("acme"), id(), Purpose::Proof, public.clone(), Arc::new(signer));
    for octets in [0, 63, 65, 70, 72, 256] {
        assert_eq!(
            sign(&with(Fixed(Ok(vec![0x30; octets])))),
            Err(KeyError::Mismatch),
            "{octets}"
        );
    }
    assert_eq!(
        sign(&with(Fixed(Err(KeyError::SignerFailed)))),
        Err(KeyError::SignerFailed)
    );
}

#[tokio::test]
async fn a_dropped_wait_leaves_the_key_usable() {
    let key = key();
    let public = key.public().clone();
    let (signer, _go) = Remote::new(key);
    let handle = KeyHandle::new(owner("acme"), id(), Purpose::Proof, public, signer);
    {
        let mut signing = pin!(handle.sign(b"m").wait());
        poll_fn(|context| {
            assert!(signing.as_mut().poll(context).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
    }
    handle.sign(b"m").wait().await.unwrap();
}

#[test]
fn debug_names_the_key_and_shows_no_octet_of_it() {
    let pem = key().export_pkcs8_pem().unwrap();
    let key = LocalKey::from_pem(&pem, Backend::default()).unwrap();
    let handle = KeyHandle::new(owner("acme"), id(), Purpose::Tls, key.public().clone(), Arc::new(key));
    let shown = format!("{handle:?} {handle:#?} {:?} {:?}", handle.sign(b"m"), sign(&handle));
    for part in ["Tls", "acme", "Active", "Signature(64 octets)"] {
        assert!(shown.contains(part), "{shown}");
    }
    let pem = String::from_utf8(pem.expose().to_vec()).unwrap();
    for line in pem.lines().filter(|line| !line.starts_with('-')) {
        assert!(!shown.contains(&line[..16]));
    }
}
