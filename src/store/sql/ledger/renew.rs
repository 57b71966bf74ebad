//! A new secret for the chain.

use zeroize::Zeroizing;

use super::super::database::again;
use super::super::error::{DatabaseError, SqlError};
use super::super::sealing::still_active;
use super::chain::{Dead, LENGTH, Secret};
use super::setup::Head;
use super::{Known, Ledger, LedgerError};
use crate::crypto;

/// How often it is tried while others write to the chain.
const TRIES: usize = 8;

impl Ledger {
    /// Draws a new secret, which authenticates the rows of the chain from now on: for when somebody has read the one before. Where a
    /// KEK was stolen [`Sealing::kek_stolen`](crate::store::sql::Sealing::kek_stolen) does it. The first row under it binds all rows
    /// before it, so none has to be written anew; who knows the old secret can add nothing behind that row, and the anchor finds a
    /// chain that leaves it out.
    ///
    /// Called again, also after a kill, it draws one more: no harm, 32 octets and a row.
    ///
    /// # Errors
    /// [`LedgerError`]. With [`DatabaseError::Unknown`] it was done or not: call it again.
    pub async fn renew_secret(&self) -> Result<(), LedgerError> {
        for _ in 0..TRIES {
            self.follow().await?;
            let head = self.0.setup.head().await?.ok_or(DatabaseError::Unavailable)?;
            let known = self.known(&head).await?;
            let mut octets = Zeroizing::new([0; LENGTH]);
            crypto::random(&mut octets[..]).map_err(|_failed| LedgerError::Randomness)?;
            let secret = Zeroizing::new([known.secret.octets(), &octets[..]].concat());
            let next = Known {
                sealed: self.0.setup.sealed(&secret).await?,
                secret: Secret::new(secret).ok_or(LedgerError::Randomness)?,
            };
            if again(|| self.renew_once(&head, &next)).await? {
                return self.settle().await;
            }
        }
        Err(DatabaseError::Unavailable.into())
    }

    /// The secret as it stands in the database.
    pub(crate) async fn sealed_secret(&self) -> Result<String, SqlError> {
        let head = self.0.setup.head().await?;
        head.map(|head| head.secret).ok_or_else(|| self.gone())
    }

    /// `false`: somebody has sealed the secret anew meanwhile.
    async fn renew_once(&self, seen: &Head, next: &Known) -> Result<bool, SqlError> {
        const NEXT: &str = "UPDATE sb_ledger_heads SET n = n + 1, secret = $3 WHERE deployment = $1 AND secret = $2 \
                            RETURNING n - 1, mac, secret, n - 1";
        let mut tx = self.0.setup.database.begin().await?;
        if !still_active(&mut tx, self.deployment(), &next.sealed).await? {
            tx.rollback().await;
            return Ok(false);
        }
        let values = [
            self.deployment().as_str().into(),
            seen.secret.as_str().into(),
            next.sealed.as_str().into(),
        ];
        let rows = tx.rows(NEXT, &values).await?;
        let Some(row) = rows.first() else {
            tx.rollback().await;
            return Ok(false);
        };
        let number = next.secret.last().saturating_add(1);
        self.append(&mut tx, &Head::of(row)?, next, &Dead::secret(number))
            .await?;
        tx.commit().await?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::LedgerSetup;
    use crate::clock::SystemClock;
    use crate::journal::Journal;
    use crate::owner::DeploymentId;
    use crate::store::anchor::MemoryAnchor;
    use crate::store::seal::{KekId, KekSecret, LocalKek};
    use crate::store::sql::{Database, Sealing};

    /// Its head was read before the secret was renewed once more, and comes to be looked at after another task has followed.
    #[tokio::test]
    async fn an_older_secret_than_is_known_by_now_stops_nobody() {
        let directory = std::env::temp_dir().join(format!("shipbound-renew-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let database = Database::sqlite(directory.join("shipbound.db")).build().unwrap();
        database.migrate().await.unwrap();
        let deployment = DeploymentId::default_deployment();
        let secret = KekSecret::parse(&("71".repeat(31) + "00")).unwrap();
        let keks = Arc::new(LocalKek::new(KekId::new("k1").unwrap(), secret));
        let sealing = Arc::new(Sealing::new(database.clone(), deployment.clone(), keks));
        let (anchor, journal) = (
            Arc::new(MemoryAnchor::new()),
            Journal::new(Arc::new(SystemClock::new()), []),
        );
        let setup = LedgerSetup::new(&database, &deployment, sealing, anchor, &journal);
        let (here, there) = (setup.open().await.unwrap(), setup.open().await.unwrap());
        there.renew_secret().await.unwrap();
        let older = setup.head().await.unwrap().unwrap();
        there.renew_secret().await.unwrap();
        here.follow().await.unwrap();
        let newest = here.known_now();
        assert_eq!(here.known(&older).await.unwrap().sealed, older.secret);
        assert!(Arc::ptr_eq(&here.known_now(), &newest));
        here.renew_secret().await.unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
