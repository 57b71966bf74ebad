//! The turn of a request where a carrier limits how often it may be asked.

use std::time::Duration;

use crate::binding::Role;
use crate::error::{Error, ErrorKind};
use crate::journal::EventKind;
use crate::throttle::{Cause, CountedBy, Demand, Spent};

use super::answer::Report;
use super::{Env, within};

/// Waits for the request's turn, or refuses it.
pub(super) async fn take(env: &Env<'_>, role: Role, patience: Duration, report: &mut Report) -> Result<(), Error> {
    let manner = &env.manner;
    if !manner.throttling.concerns(role) {
        return Ok(());
    }
    let began = env.clock.monotonic();
    let left = env.deadline.saturating_since(began);
    let demand = demand(env, role, patience.min(left));
    let taken = within(env.clock, env.deadline, manner.budget.take(&demand)).await;
    // Whoever keeps the budget elsewhere may not answer at all.
    let wait = taken
        .unwrap_or(Err(Spent::unavailable()))
        .map_err(|spent| refused(env, role, spent))?;
    if env.clock.monotonic() + wait > env.deadline {
        return Err(Error::before(ErrorKind::Deadline(env.awaited)).of(role));
    }
    if wait > Duration::ZERO {
        // From the answer on: whoever keeps the budget may have taken a while.
        env.clock.sleep_until(env.clock.monotonic() + wait).await;
        report.turn_wait += env.clock.monotonic().saturating_since(began);
        // What happened meanwhile counts: a block, or a pause that the server asked for.
        let looked = within(env.clock, env.deadline, manner.budget.look(&demand)).await;
        looked
            .unwrap_or(Err(Spent::unavailable()))
            .map_err(|spent| refused(env, role, spent))?;
        super::refuse_if_paused(env, role)?;
    }
    Ok(())
}

/// Has everybody who is counted together wait until a block is over.
pub(super) async fn blocked(env: &Env<'_>, role: Role, counted_by: CountedBy, lasts: Duration) {
    env.journal.record(&env.connection.id, || EventKind::Blocked {
        role,
        counted_by,
        lasts,
    });
    let demand = demand(env, role, Duration::ZERO);
    // The answer is at hand, and does not wait for whoever keeps the budget.
    let told = env.manner.budget.blocked(&demand, counted_by, lasts);
    if within(env.clock, env.deadline, told).await.is_none() {
        env.journal.record(&env.connection.id, || EventKind::BudgetUnavailable);
    }
}

fn demand<'a>(env: &Env<'a>, role: Role, patience: Duration) -> Demand<'a> {
    Demand {
        connection: &env.connection.id,
        role,
        limits: env.manner.throttling.of(role),
        patience,
    }
}

fn refused(env: &Env<'_>, role: Role, spent: Spent) -> Error {
    let kind = match spent.cause {
        Cause::Blocked => ErrorKind::Blocked,
        cause => ErrorKind::OverBudget(cause),
    };
    let at = env.clock.now() + spent.after;
    Error::before(kind).of(role).retry_at_opt(Some(at))
}
