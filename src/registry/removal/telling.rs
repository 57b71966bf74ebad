//! Telling issuers of a connection's tokens, in every process that has some. Keys and credential, which it takes to tell, stay until
//! all of them have done so, or their time is over.
//!
//! A process that has tokens writes that into the connection's record, and takes it out again when its issuers know. One that is killed
//! in between is waited for as long as an issuer that does not answer, and its tokens are reported as what remained.

use std::time::Duration;

use super::super::RegistryError;
use super::Remover;
use super::report::{Step, StepReport};
use crate::directory::{ConnectionRecord, Standing};
use crate::owner::ConnectionId;
use crate::token::revocation::Revocation;

/// How often is looked whether other processes have told their issuers.
const LOOK: Duration = Duration::from_millis(500);

/// For how long they are waited for in one run; the next one looks again.
const OTHERS: Duration = Duration::from_secs(15);

/// What this process has told.
pub(super) struct Told {
    pub(super) step: StepReport,
    /// How many tokens no issuer will be told of.
    lost: u64,
    /// How many an issuer could not be told of, and may be told of later.
    waiting: u64,
}

impl Remover {
    /// Writes down that this process has tokens of the connection, where it has: nobody ends the removal before they are told of.
    pub(super) async fn announce(&self, record: &ConnectionRecord) {
        let connection = &record.connection;
        let is_removing = record.standing == Standing::Removing;
        if !is_removing || !self.registry.is_shared() || !self.holds(connection) {
            return;
        }
        // What cannot be written is written the next time; the issuers are told in any case.
        if self.registry.write_untold(record, true, 0).await.is_ok() {
            self.registry.announced(connection, true);
        }
    }

    /// Whether this process has tokens of the connection.
    pub(super) fn holds(&self, connection: &ConnectionId) -> bool {
        self.of(connection)
            .any(|client| client.pipeline().holds(connection.tenant()))
    }

    /// Tells the issuers.
    pub(super) async fn tell(&self, record: &ConnectionRecord) -> Told {
        let mut told = Told {
            step: StepReport::new(Step::Tokens),
            lost: 0,
            waiting: 0,
        };
        let mut is_served = false;
        for client in self.of(&record.connection) {
            is_served = true;
            let tenant = record.connection.tenant();
            let ended = client.pipeline().end(tenant).await;
            match ended.told {
                Ok(Revocation::LocalOnly) => {
                    told.lost += 1;
                    told.step = told.step.remains(1, "issuer_revokes_nothing");
                }
                Ok(Revocation::Nothing) => {}
                Ok(_revoked) => told.step.done += 1,
                Err(error) => {
                    let waiting = u64::try_from(ended.waiting).unwrap_or(u64::MAX).max(1);
                    told.step = told.step.remains(waiting, error.code());
                    if error.is_for_good() {
                        told.lost += waiting;
                        client.pipeline().give_up(tenant);
                    } else {
                        told.waiting += waiting;
                    }
                }
            }
        }
        if !is_served {
            told.step = told.step.remains(1, "no_client");
        }
        told
    }

    /// Waits for other processes that have tokens, where this one has `told`. Second: the record as it is to be ended; `None` where
    /// the rest has to wait.
    pub(super) async fn told_by_all(
        &self,
        record: &ConnectionRecord,
        told: Told,
    ) -> (StepReport, Option<ConnectionRecord>) {
        let Told { step, lost, waiting } = told;
        let clock = &*self.parts.clock;
        let last = record.changed_at + self.revoke_within;
        let is_late = || last <= clock.now();
        let connection = &record.connection;
        if waiting > 0 && !is_late() {
            // What this run has lost the next one would not know of. Where it is not written the event of it remains.
            if lost > 0 {
                let tells = self.registry.is_shared();
                let _written = self.registry.write_untold(record, tells, lost).await;
            }
            return (step, None);
        }
        // What is late is not told any more: the keys go.
        self.of(connection)
            .for_each(|client| client.pipeline().give_up(connection.tenant()));
        let own = lost + waiting;
        let Ok(mut now) = self.written(record, own).await else {
            return (step.remains(1, "registry"), None);
        };
        let patience = clock.monotonic() + OTHERS;
        while now.standing == Standing::Removing && !now.untold.telling.is_empty() && !is_late() {
            if patience <= clock.monotonic() {
                let others = count(&now.untold.telling);
                return (step.remains(others, "other_process"), None);
            }
            clock.sleep_until(clock.monotonic() + LOOK).await;
            let Ok(read) = self.registry.record(connection).await else {
                return (step.remains(1, "registry"), None);
            };
            now = read;
        }
        let mut step = step;
        for (others, code) in [
            (now.untold.lost.saturating_sub(own), "untold"),
            (count(&now.untold.telling), "other_process"),
        ] {
            if others > 0 {
                step = step.remains(others, code);
            }
        }
        // What stays in the record of a connection that was removed.
        now.untold.lost = now.untold.lost.saturating_add(count(&now.untold.telling));
        now.untold.telling.clear();
        (step, Some(now))
    }

    /// Writes down that this process does not tell any more, and of how many tokens nobody was told.
    async fn written(&self, record: &ConnectionRecord, lost: u64) -> Result<ConnectionRecord, RegistryError> {
        let connection = &record.connection;
        // Read anew: others may have announced themselves meanwhile.
        let record = match self.registry.is_shared() {
            true => &self.registry.record(connection).await?,
            false => record,
        };
        let written = self.registry.write_untold(record, false, lost).await?;
        self.registry.announced(connection, false);
        Ok(written)
    }
}

fn count(processes: &[u64]) -> u64 {
    u64::try_from(processes.len()).unwrap_or(u64::MAX)
}
