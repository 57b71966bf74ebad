//! Chapters to read from top to bottom, some ten minutes each. Their code is compiled and run as it stands.
//!
//! | Chapter | When you |
//! |---|---|
//! | [`writing_a_profile`] | call a carrier that [`carriers`](crate::carriers) does not know |
//! | [`after_maybe_sent`] | buy labels, and an answer can get lost |
//! | [`choosing_a_store`] | decide where keys, credentials and refresh tokens live |
//! | [`running_it`] | have chosen, and put it all together |
//! | [`backup_and_restore`] | have stores in SQL, and back them up |

/// How to write a profile for a carrier that this crate does not know.
#[doc = include_str!("writing_a_profile.md")]
#[doc = "```rust"]
#[doc = "# fn main() {}"]
#[doc = include_str!("gull.rs")]
#[doc = "```"]
#[doc = include_str!("trying_a_profile.md")]
pub mod writing_a_profile {}

/// What to do when it is not known whether a label was bought.
#[doc = include_str!("after_maybe_sent.md")]
pub mod after_maybe_sent {}

/// Where keys, credentials and refresh tokens live, and what a thief of each place gets.
#[doc = include_str!("choosing_a_store.md")]
pub mod choosing_a_store {}

/// A whole program with stores in SQL, and what has to run beside its calls.
#[doc = include_str!("running_it.md")]
#[cfg_attr(all(feature = "sql", feature = "reqwest"), doc = "```rust,no_run")]
#[cfg_attr(not(all(feature = "sql", feature = "reqwest")), doc = "```text")]
#[doc = include_str!("running_it.rs")]
#[doc = "```"]
#[doc = include_str!("running_beside.md")]
pub mod running_it {}

/// What to back up, and what a restored backup does.
#[doc = include_str!("backup_and_restore.md")]
pub mod backup_and_restore {}
