//! Being called: checks DPoP proofs at a resource or a token endpoint (RFC 9449 4.3, 5, 7), and client certificates at a
//! resource ([`verify_certificate`], RFC 8705 3).
//!
//! A verifier says one thing: that the sender of this request holds the private key that this proof shows, and that the
//! access token, if there is one, is bound to it. That is a fact about who sent the request and no permission: whether the
//! token is valid, and what it allows, is decided by whoever validates tokens, before.
//!
//! ```
//! use std::sync::Arc;
//! use http::{HeaderMap, Method};
//! use shipbound::clock::{Clock, SystemClock};
//! use shipbound::jose::Thumbprint;
//! use shipbound::verify::htu::PublicOrigin;
//! use shipbound::verify::{MemoryReplayLog, ProofVerifier, Received, TokenConfirmation, TokenFacts};
//!
//! # async fn handle(method: Method, path_and_query: &str, headers: HeaderMap) -> Result<(), Box<dyn std::error::Error>> {
//! let clock = Arc::new(SystemClock::new());
//! let log = Arc::new(MemoryReplayLog::starting(clock.now())?);
//! let verifier = ProofVerifier::builder(clock, log).build()?;
//! let origin = PublicOrigin::new("https://api.carrier.example").ok_or("not an origin")?;
//!
//! // For every request: the token first ...
//! let presented = verifier.presented(&headers)?;
//! # fn introspect(_: &str) -> (&'static str, &'static str) { ("client-1", "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I") }
//! let (client, jkt) = introspect(presented.token);
//! let facts = TokenFacts::active(TokenConfirmation::from_members(Some(jkt), None)).client(client);
//! // ... then the proof.
//! let target = origin.target(path_and_query);
//! let verified = verifier.verify_resource(&Received::new(&method, &target, &headers), &facts).await?;
//! println!("sent by the holder of {}", verified.jkt());
//! # Ok(())
//! # }
//! ```

mod certificate;
mod claims;
#[cfg(feature = "sandbox")]
pub mod danger;
pub mod htu;
mod memory_replay;
mod nonce;
mod policy;
mod proof;
mod rejection;
mod replay;
mod request;
mod verifier;

pub use certificate::verify_certificate;
pub use memory_replay::MemoryReplayLog;
pub use nonce::{FixedNonces, NonceCheck, NonceContext, NoncePolicy, NonceSource, SingleUseNonces, StatelessNonces};
pub use policy::InvalidSetup;
pub use rejection::{Reason, Rejection};
pub use replay::{ReplayEntry, ReplayLog, ReplayRefusal};
pub use request::{GrantFacts, Presented, Received, Role, Scheme, TokenConfirmation, TokenFacts};
pub use verifier::{ProofVerifier, ProofVerifierBuilder, Verified};
