//! What a proof costs whose key is in this process, on a PKCS#11 token (SoftHSM), or in OpenBao's Transit over loopback.
//!
//! ```text
//! tests/all.sh 'openbao|softhsm' && cargo bench --bench held --features pkcs11,transit
//! ```
#![allow(missing_docs, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use http::Method;
use serde_json::json;
use shipbound::binding::dpop::DpopBinding;
use shipbound::binding::{Attempt, Proof, Role, TokenBinding};
use shipbound::clock::{Clock, SystemClock};
use shipbound::keys::{KeyHandle, LocalKeys};
use shipbound::store::transit::{Transit, VaultServer};
use shipbound::target::Target;
use tokio::runtime::Runtime;

#[path = "../tests/support/held.rs"]
mod held;
#[path = "../tests/support/openbao.rs"]
mod openbao;
#[path = "../tests/support/softhsm.rs"]
mod softhsm;

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(50);
    targets = proofs
}
criterion_main!(benches);

fn proofs(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let hsm = softhsm::SoftHsm::new();
    let bao = runtime.block_on(openbao::OpenBao::start());
    let keys = runtime.block_on(async {
        let token = json!({ "type": "transit" });
        assert!(bao.ask(Method::PUT, "sys/mounts/transit", Some(token)).await.0 < 300);
        let server = VaultServer::builder(bao.address(), bao.root_token())
            .build(bao.transport(), Arc::new(SystemClock::new()))
            .unwrap();
        let transit = Transit::new(&server, "transit").unwrap();
        let token = hsm.token();
        let holders: [(_, &dyn shipbound::keys::KeyHolder); 3] =
            [("local", &LocalKeys::new()), ("SoftHSM", &token), ("OpenBao", &transit)];
        let mut keys = Vec::new();
        for (name, holder) in holders {
            let made = held::make(holder, held::ES256).await.unwrap();
            keys.push((name, held::handle(holder, &made).await.unwrap()));
        }
        keys
    });
    let mut group = criterion.benchmark_group("a proof, ES256");
    for (name, key) in keys {
        let prover = Prover::new(key);
        group.bench_function(name, |bencher| bencher.iter(|| runtime.block_on(prover.prove())));
    }
}

struct Prover {
    binding: DpopBinding,
    target: Target,
    clock: SystemClock,
}

impl Prover {
    fn new(key: KeyHandle) -> Self {
        Self {
            binding: DpopBinding::new(key, None).unwrap(),
            target: Target::parse("https://apis.carrier.example/rate/v1/rates/quotes").unwrap(),
            clock: SystemClock::new(),
        }
    }

    async fn prove(&self) -> Proof {
        let attempt = Attempt {
            role: Role::ResourceServer,
            method: &Method::POST,
            target: &self.target,
            ath: Some("fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"),
            now: self.clock.now(),
            nonce: None,
        };
        black_box(self.binding.prove(&attempt).await.unwrap().unwrap())
    }
}
