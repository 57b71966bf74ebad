//! The sandbox, driven by a client that makes its proofs by hand.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod assertions;
mod authorization;
mod caller;
mod certified;
mod checks;
mod faults;
mod grants;
mod imitated;
mod imitated_codes;
mod imitated_keys;
mod imitated_limits;
mod imitated_parts;
mod imitated_tokens;
mod imitations;
mod issuer;
mod mtls;
mod profiles;
mod pushed;
mod scripts;
mod signer;
mod wire;
