//! Who did something to a connection, a key or a store, why, and where that was decided.
//!
//! Every administrative operation takes an [`Act`]: it is written beside what it changed and is part of its event.

use std::fmt;
use std::sync::Arc;

/// The longest text in an act, in bytes.
const LONGEST: usize = 256;

/// Who does something, why, and under which ticket.
///
/// ```
/// use shipbound::act::Act;
///
/// let act = Act::new("maria@platform.example", "shipper closed the account", "OPS-4711")?;
/// assert_eq!(act.ticket(), "OPS-4711");
/// # Ok::<(), shipbound::act::InvalidAct>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Act(Arc<[Box<str>; 3]>);

/// Why a text cannot stand in an act.
///
/// User action: give actor, reason and ticket, each with 1 to 256 bytes, no control characters and no blank at an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an act's {0} has 1 to 256 bytes, no control characters and no blank at an end")]
#[non_exhaustive]
pub struct InvalidAct(pub &'static str);

impl Act {
    /// The act of `actor` (a person or a program), for `reason`, decided in `ticket`. None of them may hold a secret: they are
    /// shown in events, reports and tables.
    ///
    /// # Errors
    /// [`InvalidAct`] names the text that is empty, too long, or holds control characters.
    pub fn new(actor: &str, reason: &str, ticket: &str) -> Result<Self, InvalidAct> {
        for (name, text) in [("actor", actor), ("reason", reason), ("ticket", ticket)] {
            let legal = (1..=LONGEST).contains(&text.len()) && !text.chars().any(char::is_control);
            if !legal || text.trim() != text {
                return Err(InvalidAct(name));
            }
        }
        Ok(Self(Arc::new([actor.into(), reason.into(), ticket.into()])))
    }

    /// Of a record whose act cannot be read.
    pub(crate) fn unreadable() -> Self {
        let unknown = || "unreadable".into();
        Self(Arc::new([unknown(), unknown(), unknown()]))
    }

    /// Who.
    pub fn actor(&self) -> &str {
        let [actor, _, _] = &*self.0;
        actor
    }

    /// Why.
    pub fn reason(&self) -> &str {
        let [_, reason, _] = &*self.0;
        reason
    }

    /// Where it was decided.
    pub fn ticket(&self) -> &str {
        let [_, _, ticket] = &*self.0;
        ticket
    }
}

impl fmt::Debug for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Act")
            .field("actor", &self.actor())
            .field("reason", &self.reason())
            .field("ticket", &self.ticket())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_act_says_all_three_and_nothing_that_could_break_a_line() {
        for (actor, reason, ticket, named) in [
            ("", "r", "t", "actor"),
            ("a", " r", "t", "reason"),
            ("a", "r\nforged line", "t", "reason"),
            ("a", "r", &*"t".repeat(257), "ticket"),
        ] {
            assert_eq!(Act::new(actor, reason, ticket), Err(InvalidAct(named)));
        }
        assert!(Act::new("a", "because it was due", "T-1").is_ok());
    }
}
