//! Chapters to read from top to bottom, some ten minutes each. Their code is compiled and run as it stands.
//!
//! | Chapter | When you |
//! |---|---|
//! | [`writing_a_profile`] | call a carrier that [`carriers`](crate::carriers) does not know |
//! | [`after_maybe_sent`] | buy labels, and an answer can get lost |

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
