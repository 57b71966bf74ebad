//! A proof takes two allocations beside its signature: the buffer that becomes the header's value, and the boxed future of the
//! trait. A recorded key signs without any of its own.
#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

use std::alloc::System;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_util::FutureExt;
use http::Method;
use shipbound::binding::dpop::DpopBinding;
use shipbound::binding::{Attempt, Role, TokenBinding};
use shipbound::clock::{Clock, SystemClock, Timestamp};
use shipbound::jose::Algorithm;
use shipbound::keys::{
    Authority, Backend, KeyHandle, KeyId, KeySpec, KeyStore, LocalKey, LocalKeys, MemoryKeyRecords, Purpose,
    RecordedKeys, Signature, Signer, Signing,
};
use shipbound::owner::{DeploymentId, Owner};
use shipbound::target::Target;
use stats_alloc::{Region, Stats, StatsAlloc};

#[global_allocator]
static ALLOCATOR: StatsAlloc<System> = StatsAlloc::system();

/// A signer whose signature is there already.
#[derive(Debug)]
struct Fixed;

impl Signer for Fixed {
    fn sign<'a>(&'a self, _message: &'a [u8]) -> Signing<'a> {
        Signing::Now(Ok(Signature::from([0x5a; 64])))
    }
}

fn handle(key: &LocalKey, signer: Arc<dyn Signer>) -> KeyHandle {
    let owner = Owner::Deployment(DeploymentId::default_deployment());
    let id = KeyId::random().unwrap();
    KeyHandle::new(owner, id, Purpose::Proof, key.public().clone(), signer)
}

fn prove(binding: &DpopBinding, target: &Target, clock: &SystemClock) {
    let attempt = Attempt {
        role: Role::ResourceServer,
        method: &Method::POST,
        target,
        ath: Some("fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"),
        now: clock.now(),
        nonce: None,
    };
    let proof = pin!(binding.prove(&attempt)).poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(proof, Poll::Ready(Ok(Some(_)))), "{proof:?}");
}

/// What the allocator is asked for while `work` runs a hundred times, after a first time that does not count.
fn asked(mut work: impl FnMut()) -> Stats {
    work();
    let region = Region::new(&ALLOCATOR);
    (0..100).for_each(|_| work());
    region.change()
}

// One test: the counts are those of the whole process.
#[test]
fn a_proof_takes_two_allocations() {
    let target = Target::parse("https://apis.carrier.example/rate/v1/rates/quotes?page=2").unwrap();
    let clock = SystemClock::new();
    let key = Arc::new(LocalKey::generate(Algorithm::Es256, Backend::default()).unwrap());

    let unsigned = DpopBinding::new(handle(&key, Arc::new(Fixed)), None).unwrap();
    let proofs = asked(|| prove(&unsigned, &target, &clock));
    assert_eq!((proofs.allocations, proofs.reallocations), (200, 0));

    // A real signature allocates as it likes; nothing comes on top of that.
    let handle = handle(&key, Arc::clone(&key) as Arc<dyn Signer>);
    let signatures = asked(|| assert!(matches!(handle.sign(&[0x5a; 497]), Signing::Now(Ok(_)))));
    let signed = DpopBinding::new(handle, None).unwrap();
    let proofs = asked(|| prove(&signed, &target, &clock));
    assert_eq!(proofs.allocations, signatures.allocations + 200);

    recorded_keys(&signatures);
}

/// A recorded key signs as one that is in no store does, and takes little room.
fn recorded_keys(signatures: &Stats) {
    const KEYS: usize = 1_000;

    let (records, holder) = (Arc::new(MemoryKeyRecords::new()), Arc::new(LocalKeys::new()));
    let open = || {
        let clock = Arc::new(SystemClock::new());
        RecordedKeys::new(records.clone(), holder.clone(), clock, Authority::default())
    };
    let (made, opened) = (open(), open());
    let spec = KeySpec {
        purpose: Purpose::Proof,
        algorithm: Algorithm::Es256,
    };
    let owners: Vec<Owner> = (0..KEYS)
        .map(|number| Owner::Deployment(DeploymentId::new(&number.to_string()).unwrap()))
        .collect();
    for owner in &owners {
        let key = made.create(owner, spec).now_or_never().unwrap().unwrap();
        let promoted = made
            .promote(owner, &key.id(), None, Timestamp::UNIX_EPOCH)
            .now_or_never();
        assert_eq!(promoted, Some(Ok(true)));
    }
    drop(made);

    let mut handles = Vec::with_capacity(KEYS);
    let region = Region::new(&ALLOCATOR);
    for owner in &owners {
        let key = opened.active(owner, Purpose::Proof).now_or_never().unwrap().unwrap();
        handles.push(key.unwrap());
    }
    let kept = region.change();
    let each = (kept.bytes_allocated - kept.bytes_deallocated) / KEYS;
    // Beside the private half and the record: the handle, its public half, its signer and its place.
    assert!((100..700).contains(&each), "{each} octets");
    println!("a live key takes {each} octets");

    let key = &handles[0];
    let signed = asked(|| assert!(matches!(key.sign(&[0x5a; 497]), Signing::Now(Ok(_)))));
    assert_eq!(signed.allocations, signatures.allocations);
}
