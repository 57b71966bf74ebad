//! What is written down is sealed: JWE (RFC 7516, `dir` with A256GCM), under a key that is derived from all that the value
//! belongs to.
//!
//! ```text
//!   KEK (environment, file, Vault, HSM: a KekProvider)
//!     └─ wraps ─ data key of a tenant (random, in the database)
//!                   └─ HKDF-SHA-256 with the context ─ content key ─ A256GCM ─ one value
//! ```
//!
//! Values are sealed by a [`Sealer`]: with the feature `sql` `Sealing` is one, whose data keys are in the database. Private keys
//! are kept by [`SealedKeys`], credentials and refresh tokens by `SqlCredentialStore` and `SqlGrantStore`.
//!
//! The context is deployment, table, tenant with incarnation, connection, purpose, thumbprint, algorithm, state and revision: a
//! value that is moved to another row, another column, another state or another revision does not open. Its header has exactly
//! `alg`, `enc`, `kid` (the data key) and `ctx` (a digest of the context), which are compared before anything is decrypted;
//! `zip` is refused.

mod context;
mod data_key;
mod jwe;
mod kek;
mod keys;
mod local_kek;
mod sealer;

pub use self::context::{SealContext, Table};
pub use self::data_key::{DataKey, DataKeyId};
pub use self::jwe::{MAX_SEALED, MAX_VALUE, data_key_of, open, seal};
pub use self::kek::{KekError, KekId, KekProvider, WrapContext, Wrapped};
pub use self::keys::SealedKeys;
pub use self::local_kek::{KekSecret, LocalKek};
pub use self::sealer::{SealError, Sealer};
