//! How strictly a connection insists on its binding.

/// What a client does about unbound tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// The binding is not used: tokens are guarded bearer tokens.
    Off,
    /// Only bound tokens are used. An answer that declares itself unbound is an error, is not stored, and is recorded.
    #[default]
    Require,
}
