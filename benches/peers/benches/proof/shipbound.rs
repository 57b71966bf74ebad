//! This crate through its public API: a binding over a key in memory, and the same over a signer that costs nothing.

use std::sync::Arc;

use http::{HeaderMap, Method};
use shipbound::binding::dpop::DpopBinding;
use shipbound::binding::{Attempt, Proof, Role, TokenBinding};
use shipbound::clock::{Clock, SystemClock, Timestamp};
use shipbound::keys::{
    Backend, KeyHandle, KeyId, KeyStore, LocalKey, MemoryKeyStore, Purpose, Signature, Signer, Signing,
};
use shipbound::owner::{DeploymentId, Owner};
use shipbound::secret::KeyMaterial;
use shipbound::target::Target;
use shipbound_benches_peers::harness::Case;
use shipbound_benches_peers::inputs::{Key, METHOD, URL, access_token, ath};
use shipbound_benches_peers::poll::ready;

/// The name of the case with a real signature.
pub(crate) const PROOF: &str = "shipbound";

/// The name of the case without one.
pub(crate) const UNSIGNED: &str = "shipbound, no signature";

/// Proofs as [`TokenBinding::prove`] yields them: ready header values.
pub(crate) fn all(key: &Key) -> Vec<Case<'_>> {
    let signed = Prover::stored(key);
    key.check(&signed.text());
    let unsigned = Prover::unsigned(key);
    vec![
        Case::new(PROOF, move || signed.prove()),
        Case::new(UNSIGNED, move || unsigned.prove()),
    ]
}

/// What a proof needs beside the call that it is for.
pub(crate) struct Prover {
    binding: DpopBinding,
    method: Method,
    target: Target,
    ath: String,
    clock: SystemClock,
}

impl Prover {
    fn new(key: KeyHandle) -> Self {
        Self {
            binding: DpopBinding::new(key, None).unwrap(),
            method: METHOD.parse().unwrap(),
            target: Target::parse(URL).unwrap(),
            ath: ath(&access_token()),
            clock: SystemClock::new(),
        }
    }

    /// With the key in a store in memory.
    pub(crate) fn stored(key: &Key) -> Self {
        Self::new(stored(key))
    }

    /// With a signer whose signature is there already.
    pub(crate) fn unsigned(key: &Key) -> Self {
        Self::new(unsigned(key))
    }

    /// One proof with a fresh `jti` and `iat`; the token's hash is kept with the token.
    pub(crate) fn prove(&self) -> Proof {
        let attempt = Attempt {
            role: Role::ResourceServer,
            method: &self.method,
            target: &self.target,
            ath: Some(&self.ath),
            now: self.clock.now(),
            nonce: None,
        };
        ready(self.binding.prove(&attempt)).unwrap().unwrap()
    }

    fn text(&self) -> String {
        let mut headers = HeaderMap::new();
        self.prove().attach(&mut headers);
        headers["dpop"].to_str().unwrap().to_owned()
    }
}

fn owner() -> Owner {
    Owner::Deployment(DeploymentId::default_deployment())
}

fn local(key: &Key) -> LocalKey {
    LocalKey::from_pkcs8_der(&KeyMaterial::new(key.pkcs8.clone()), Backend::AwsLc).unwrap()
}

fn stored(key: &Key) -> KeyHandle {
    let store = MemoryKeyStore::new();
    let handle = store.import(&owner(), Purpose::Proof, local(key)).unwrap();
    assert!(ready(store.promote(&owner(), &handle.id(), None, Timestamp::UNIX_EPOCH)).unwrap());
    handle
}

/// A key whose signature is there already.
fn unsigned(key: &Key) -> KeyHandle {
    let public = local(key).public().clone();
    KeyHandle::new(
        owner(),
        KeyId::random().unwrap(),
        Purpose::Proof,
        public,
        Arc::new(Fixed),
    )
}

#[derive(Debug)]
struct Fixed;

impl Signer for Fixed {
    fn sign<'a>(&'a self, _message: &'a [u8]) -> Signing<'a> {
        Signing::Now(Ok(Signature::from([0x5a; 64])))
    }
}
