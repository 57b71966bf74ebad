//! Keys on PKCS#11 tokens (HSMs, SoftHSM), which they never leave.
//!
//! [`Pkcs11Token`] is a [`KeyHolder`](crate::keys::KeyHolder): with records anywhere it is a key store
//! ([`Pkcs11KeyStore`]). With the feature `sealed`, `Pkcs11Kek` wraps data keys under a key of the token.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use shipbound::clock::SystemClock;
//! use shipbound::keys::{Authority, MemoryKeyRecords};
//! use shipbound::secret::TokenPin;
//! use shipbound::store::pkcs11::{Pkcs11KeyStore, Pkcs11Token, TokenName};
//!
//! # fn make(pin: TokenPin) -> Pkcs11KeyStore<MemoryKeyRecords> {
//! let clock = Arc::new(SystemClock::new());
//! let token = Pkcs11Token::builder("/usr/lib/softhsm/libsofthsm2.so", TokenName::Label("shipbound".into()), pin);
//! let (records, holder) = (Arc::new(MemoryKeyRecords::new()), Arc::new(token.build(clock.clone())));
//! Pkcs11KeyStore::new(records, holder, clock, Authority::default())
//! # }
//! ```
//!
//! # Keys
//!
//! ES256 (P-256, `CKM_ECDSA`) and PS256 (RSA of 2048 bits, `CKM_RSA_PKCS_PSS`), over a SHA-256 digest that is made here.
//! A key's `CKA_ID` is [`key_name`](crate::keys::key_name) in octets: the hash of owner, purpose and id. Its label is for
//! people, and nothing is found by it. When a key is made and whenever it is looked up:
//!
//! - there is exactly one private and one public object of this id;
//! - the public half is that of the record, and on P-256;
//! - the token says `CKA_SENSITIVE`, `CKA_ALWAYS_SENSITIVE`, `CKA_NEVER_EXTRACTABLE` and not `CKA_EXTRACTABLE`, and the
//!   key does not decrypt, unwrap, derive or sign with recovery.
//!
//! Otherwise it is [`KeyError::Mismatch`](crate::keys::KeyError::Mismatch), and a key that was just made is destroyed.
//! Whatever a token signs is verified with the record's public half before it is released.
//!
//! # Sessions and time
//!
//! Calls of PKCS#11 block. They are made on blocking threads of Tokio's, inside whose runtime everything here is to be
//! called, each on one of at most [4 sessions](Pkcs11TokenBuilder::sessions), and are waited for [10
//! s](Pkcs11TokenBuilder::limit), the wait for a session included. A call that hangs keeps its thread and its session
//! until it ends, so a token that hangs costs four threads, and calls are refused meanwhile. Dropping a runtime waits for
//! such threads: end it by `Runtime::shutdown_timeout`.
//!
//! A module is initialised once in a process, whoever uses it, and never finalised: other parts of the process may use
//! it. When sessions, the login or the token are gone they are made anew within the call that finds out. No failure is
//! remembered but one: a PIN that was refused is not shown again before [`Pkcs11Token::set_pin`], since tokens lock
//! themselves.
//!
//! # Cost
//!
//! A proof is one signature on the token (`C_SignInit`, and `C_Sign` twice, since the length is asked first), one change to a
//! blocking thread and back, and one verification here. Nothing is searched for, except after sessions were made anew. With
//! SoftHSM an ES256 proof takes 0.31 ms, eleven times what it takes with a key in this process (27 µs). Measure your device with
//! `cargo bench --bench held --features pkcs11,transit`.
//!
//! # Roles
//!
//! | who | has | does |
//! |---|---|---|
//! | security officer | the SO PIN, offline | initialises the token, sets the user's PIN |
//! | this application | the user's PIN, from a secret store ([`TokenPin`](crate::secret::TokenPin)) | makes, uses and destroys keys |
//! | nobody | a wrapping key on this token | keys that are not extractable cannot be wrapped; keep `CKA_WRAP` off all the same |
//!
//! Give each deployment a token (a partition) and a PIN of its own; a PIN opens everything on its token. Have the HSM
//! write its own audit log: signatures of a thief who calls it directly are in no journal of this crate.
//!
//! # What a thief gets
//!
//! | of | who then |
//! |---|---|
//! | the database, a backup of it | knows whose keys there are, and signs nothing |
//! | the PIN alone | nothing, without a way to the token |
//! | PIN and way to the token, or this process | signs as every tenant as long as that lasts, takes no key along, can destroy all of them |
//! | a backup of the HSM | nothing, where the vendor seals it to devices; SoftHSM's directory and the PIN are all keys of it |
//!
//! SoftHSM is for tests: its keys are files.

mod failure;
#[cfg(feature = "sealed")]
mod kek;
mod module;
mod objects;
mod sessions;
mod token;

pub use self::failure::Pkcs11Failure;
#[cfg(feature = "sealed")]
pub use self::kek::Pkcs11Kek;
pub use self::token::{Pkcs11Token, Pkcs11TokenBuilder, TokenName};

use crate::keys::RecordedKeys;

/// Keys of connections on a token, their records in `R`.
pub type Pkcs11KeyStore<R> = RecordedKeys<R, Pkcs11Token>;
