//! Paths that say something of a person.

/// What becomes of a call whose path says something of a person ([`SegmentClass::Personal`]), where the path would stand in a
/// proof. A path of no route that the profile knows is personal.
///
/// [`SegmentClass::Personal`]: crate::carriers::SegmentClass::Personal
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PiiPolicy {
    /// It is sent.
    Allow,
    /// It is sent, and the journal has an event with its route.
    #[default]
    Warn,
    /// It is refused before anything is sent ([`ErrorKind::PersonalPath`](crate::ErrorKind::PersonalPath)).
    Refuse,
}
