//! A signer that signs only while this process knows how things stand.

use std::fmt;
use std::sync::Arc;

use super::Shared;
use crate::keys::{KeyHolder, KeyRecords, Signer, Signing};

use super::authority::Standing;

/// The holder's signer of one key, under the authority of the store.
pub(super) struct Watched<R: ?Sized, H: ?Sized> {
    pub(super) shared: Arc<Shared<R, H>>,
    pub(super) signer: Arc<dyn Signer>,
}

impl<R: KeyRecords + ?Sized + 'static, H: KeyHolder + ?Sized + 'static> Signer for Watched<R, H> {
    fn sign<'a>(&'a self, message: &'a [u8]) -> Signing<'a> {
        match self.shared.watch.standing() {
            Standing::Known => self.signer.sign(message),
            Standing::Refused(error) => Signing::Now(Err(error)),
            Standing::LookDue => Signing::Later(Box::pin(async {
                // How it went is in the watch: a store that does not answer does not stop keys at once.
                let _in_the_watch = self.shared.look().await;
                self.shared.watch.verdict()?;
                self.signer.sign(message).wait().await
            })),
        }
    }
}

impl<R: ?Sized, H: ?Sized> fmt::Debug for Watched<R, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.signer, f)
    }
}
