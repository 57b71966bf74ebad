//! Sender-constrained carrier tokens for Rust shipping services.
//!
//! Carriers hand out bearer tokens: whoever steals one can buy labels as the shipper. `shipbound` sends an application's own
//! HTTP requests to carriers, for any number of shippers, and ties every token to its sender: with DPoP (RFC 9449) or mutual
//! TLS (RFC 8705) where the other side supports it, and guarded as a bearer token where it does not.
//!
//! ```no_run
//! use shipbound::binding::dpop::Dpop;
//! use shipbound::carriers::CarrierProfile;
//! use shipbound::credentials::{Credential, MemoryCredentials};
//! use shipbound::keys::MemoryKeyStore;
//! use shipbound::owner::{CarrierId, Environment, TenantId};
//! use shipbound::token::TokenAt;
//! use shipbound::{Client, Parts};
//!
//! # async fn ship() -> Result<(), Box<dyn std::error::Error>> {
//! let profile = CarrierProfile::custom(
//!     CarrierId::new("acme-freight")?,
//!     Environment::Production,
//!     "https://api.carrier.example",
//!     TokenAt::Issuer("https://auth.carrier.example".into()),
//! );
//! let credentials = MemoryCredentials::new();
//! credentials.put(TenantId::new("acme")?, profile.id(), Environment::Production, Credential::new("id", "s3cr3t"));
//! let parts = Parts::builder().keys(MemoryKeyStore::new()).credentials(credentials).build()?;
//!
//! let carrier = Client::builder(profile, &parts).binding(Dpop::es256()).build()?;
//! let answer = carrier.tenant("acme")?.post("/ship/v1/shipments").json(&"..").send().await?;
//! println!("{} after {} attempt(s)", answer.status(), answer.report().attempts);
//! # Ok(())
//! # }
//! ```
//!
//! # Where to look
//!
//! | You want to | Look at |
//! |---|---|
//! | add, suspend and remove shippers at run time | [`registry`] |
//! | call a carrier | [`Client`], [`carriers`], [`Parts`] |
//! | know what an error means for a label | [`Error`], [`transport::Stage`] |
//! | keep keys elsewhere | [`store`], [`keys::KeyStore`], [`keys::Signer`] |
//! | add, suspend, remove shippers while it runs | [`registry`] |
//! | rotate keys, hear of it in time | [`rotation`], [`journal::webhook`] |
//! | bind tokens, or not | [`binding`], [`rollout::Mode`] |
//! | authenticate without a shared secret | [`token::client_auth`], [`token::assertion`], [`client::ClientBuilder::fapi2`] |
//! | let shippers consent | [`Client::authorize`], [`grants`] |
//! | know what an issuer can do, end a token, check one | [`Client::probe`], [`CarrierClient::revoke`], [`Client::introspect`] |
//! | renew tokens and certificates ahead of need | [`upkeep`] |
//! | rotate keys, when they are due or at once | [`rotation`] |
//! | watch what happens, be told of what needs a look | [`journal`], [`journal::webhook`] |
//! | put a whole deployment together | [`guide::running_it`] |
//! | write a profile of your own, buy labels safely | [`guide`] |
//! | check proofs and client certificates in a service of your own | [`verify`] |
#![cfg_attr(feature = "sandbox", doc = "| test without a carrier | [`sandbox`] |")]
#![cfg_attr(not(feature = "sandbox"), doc = "| test without a carrier | `sandbox` (a feature) |")]
//!
//! # Features
//!
//! | Feature | Default | What it adds |
//! |---|---|---|
//! | `aws-lc-rs` | yes | private-key operations and digests by aws-lc-rs; Ed25519 and PS256. Without it ES256 runs on `p256` |
//! | `conformance` | no | suites for key, credential and grant stores and replay logs of one's own |
//! | `mtls` | yes | client certificates and tokens bound to them (RFC 8705) |
//! | `pkcs11` | no | keys on PKCS#11 tokens, which they never leave |
//! | `pkcs12` | no | reads client certificates from PKCS#12 files |
//! | `reqwest` | yes | `ReqwestTransport`: HTTP/1.1, HTTP/2 and TLS. Without it the application brings a [`transport::Transport`] |
//! | `rsa` | no | makes and imports RSA keys for PS256, and RS256 for older issuers' assertions |
//! | `sandbox` | no | a loopback issuer and carrier APIs for tests |
//! | `sealed` | no | sealing of keys, credentials and refresh tokens at rest; brings OpenSSL by way of josekit |
//! | `sql` | no | stores in SQLite and PostgreSQL, sealed |
//! | `transit` | no | keys in the Transit engine of OpenBao or Vault, which they never leave |
//!
//! A feature adds API and never changes behaviour.
//!
//! # What it does not do
//!
//! It follows no redirects, decompresses nothing, uses no proxy of the environment, keeps no cookies, spawns no tasks and waits
//! out no `Retry-After`. (Certificate files are read, RSA keys made, and PKCS#11 tokens called on blocking threads of Tokio's.) It has no types for rates, labels or tracking.
#![forbid(unsafe_code)]

pub mod act;
pub mod binding;
pub mod carriers;
pub mod chore;
pub mod client;
pub mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod credentials;
mod crypto;
pub mod directory;
pub mod error;
pub mod exchange;
pub mod grants;
pub mod guide;
pub mod jose;
pub mod journal;
mod json;
pub mod keys;
pub mod leader;
pub mod owner;
pub mod parts;
mod pause;
pub mod registry;
pub mod rollout;
pub mod rotation;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod secret;
pub mod store;
pub mod target;
#[cfg(test)]
mod testing;
pub mod throttle;
pub mod token;
pub mod transport;
pub mod upkeep;
#[cfg(any(feature = "mtls", feature = "transit"))]
mod vault;
pub mod verify;

pub use self::client::{CarrierClient, Client};
pub use self::error::{Error, ErrorKind};
pub use self::parts::Parts;
