//! Whether a key's connection is one that may have keys: what the directory says, where there is one.

use crate::directory::{NotAdmitted, Standing};
use crate::owner::Owner;

use super::Step;
use super::step::{Bench, Failed};

impl Bench {
    /// Whether keys may be made and promoted for this owner. Not for a connection that is being removed, was removed, or is of
    /// another incarnation: what is made for it is what its removal would have to find. A suspended one goes on to have keys,
    /// so that none is too old when it is resumed.
    pub(super) async fn is_served(&self, owner: &Owner) -> Result<bool, Failed> {
        let (Some(directory), Owner::Connection(connection)) = (&self.directory, owner) else {
            return Ok(true);
        };
        let found = self.in_time(Step::Connection, directory.find(connection)).await?;
        match found {
            Ok(listing) => {
                let stays = matches!(listing.standing, Standing::Active | Standing::Suspended);
                Ok(stays && listing.tenant == *connection.tenant())
            }
            Err(NotAdmitted::Unavailable) => Err((Step::Connection, NotAdmitted::Unavailable.code())),
            Err(_not_there) => Ok(false),
        }
    }
}
