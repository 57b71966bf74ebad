//! A certificate and its key in files that something else renews.

use std::fs::{self, File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::UNIX_EPOCH;

use async_trait::async_trait;
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::crypto::sha256;
use crate::owner::ConnectionId;
use crate::secret::KeyMaterial;
use crate::transport::identity::{ClientIdentity, IdentityError};

use super::{CertificateSource, Exchanged};

/// The longest file that is read, in octets.
pub const MAX_FILE: usize = 128 * 1024;

/// How often one look at the files begins anew because they changed meanwhile.
const TRIES: usize = 5;

/// How long a file must have been left alone before it is taken from the place where the last one was: who writes into a
/// file that is in use may not have come to its end.
const SETTLED_SECONDS: i64 = 2;

/// One certificate for all connections, from PEM files: as Kubernetes mounts secrets, as cert-manager, certbot or a script of
/// your own puts them there.
///
/// The files are read when the source is made, and looked at again by [`reload`](CertificateSource::reload). When there is a
/// newer certificate, it takes the old one's place, and the old one is [retired](ClientIdentity::retire).
///
/// - **Never half a change.** Certificate and key are read from one state of the files: symlinks are resolved before and
///   after, and a look that meets a change begins anew, five times at most. Whatever happens, a key that does not belong to
///   the certificate is refused.
/// - **Never a file that is being written.** A file that was changed in place less than two seconds before `now` is left
///   for the next reload, which is no error. One to which a symlink leads anew is taken at once: such layouts are switched
///   when all is written.
/// - **One after the other** is fine: until both files belong together the source keeps what it has, and reports
///   [`IdentityError::Mismatch`] if that lasts.
/// - **A fault keeps what there is.** Broken, expired, not yet valid, unreadable files, files over 128 KiB
///   ([`MAX_FILE`]) and those that are not plain files leave the source as it was, give the error, and are tried again at
///   the next reload.
/// - **Cheap.** While device, inode, size and times of both files are the same, they are not read. (On systems that are not
///   Unix they are read each time.) Files that were touched and hold the same change nothing.
///
/// In Kubernetes mount the secret as a directory: what is mounted by `subPath` is never renewed.
///
/// The key file should be readable by the application's user alone (mode 0400). The source does not insist on it, since
/// Kubernetes mounts secrets with mode 0644 unless the pod's `defaultMode` says otherwise. What was read is wiped.
///
/// ```no_run
/// use shipbound::binding::mtls::FileCertificates;
/// use shipbound::clock::{Clock, SystemClock};
///
/// let now = SystemClock::new().now();
/// let certificates = FileCertificates::open("/etc/shipper/tls.crt", "/etc/shipper/tls.key", now)?;
/// # Ok::<(), shipbound::transport::identity::IdentityError>(())
/// ```
#[derive(Debug)]
pub struct FileCertificates {
    paths: Arc<Paths>,
    held: Mutex<Held>,
    /// One look at a time, so that none overtakes a later one.
    looking: tokio::sync::Mutex<()>,
}

impl FileCertificates {
    /// Reads these files: the client's own certificate in PEM, with those of its authorities after it, and its unencrypted
    /// private key in PEM. Both may be one file. Blocks while it reads, and takes what is there, however new it is.
    ///
    /// # Errors
    /// [`IdentityError::Unavailable`] when a file cannot be read or changes all the time; else what is wrong with its content.
    /// An expired certificate is refused as well.
    pub fn open(
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
        now: Timestamp,
    ) -> Result<Self, IdentityError> {
        let paths = Arc::new(Paths {
            certificate: certificate.into(),
            key: key.into(),
        });
        let held = Held::take(&paths.read()?, now)?;
        Ok(Self {
            paths,
            held: Mutex::new(held),
            looking: tokio::sync::Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What takes the place of what is held, if anything does.
    async fn look(&self, now: Timestamp) -> Result<Look, IdentityError> {
        let paths = Arc::clone(&self.paths);
        let (mark, digest) = {
            let held = self.lock();
            (held.mark.clone(), held.digest)
        };
        let look = move || paths.look(&mark, &digest, now);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => runtime
                .spawn_blocking(look)
                .await
                .unwrap_or(Err(IdentityError::Unavailable)),
            Err(_elsewhere) => look(),
        }
    }
}

#[async_trait]
impl CertificateSource for FileCertificates {
    async fn identity(&self, _connection: &ConnectionId) -> Result<ClientIdentity, IdentityError> {
        Ok(self.lock().identity.clone())
    }

    async fn reload(&self, now: Timestamp) -> Result<Vec<Exchanged>, IdentityError> {
        let _alone = self.looking.lock().await;
        let look = self.look(now).await?;
        let mut held = self.lock();
        match look {
            Look::Nothing => Ok(Vec::new()),
            Look::Touched(mark) => {
                held.mark = mark;
                Ok(Vec::new())
            }
            Look::Newer(newer) => {
                let old = std::mem::replace(&mut *held, newer);
                old.identity.retire();
                Ok(vec![Exchanged::new(old.identity, held.identity.clone())])
            }
        }
    }

    fn held(&self) -> Vec<ClientIdentity> {
        vec![self.lock().identity.clone()]
    }
}

#[derive(Debug)]
struct Held {
    identity: ClientIdentity,
    /// Of what was read; the key is part of it.
    digest: [u8; 32],
    mark: Mark,
}

impl Held {
    fn take(read: &Pair, now: Timestamp) -> Result<Self, IdentityError> {
        let identity = ClientIdentity::from_pem(read.certificate(), &read.key)?;
        identity.check_valid(now)?;
        Ok(Self {
            identity,
            digest: read.digest(),
            mark: read.mark.settled(now),
        })
    }
}

/// What a look at the files comes to.
enum Look {
    /// No change, or one that is not complete yet.
    Nothing,
    /// Changed files with the same in them.
    Touched(Mark),
    Newer(Held),
}

#[derive(Debug)]
struct Paths {
    certificate: PathBuf,
    key: PathBuf,
}

impl Paths {
    fn look(&self, last: &Mark, digest: &[u8; 32], now: Timestamp) -> Result<Look, IdentityError> {
        if self
            .mark()
            .is_ok_and(|mark| mark.is_surely(last) || mark.may_be_in_writing(last, now))
        {
            return Ok(Look::Nothing);
        }
        let read = self.read()?;
        if read.mark.may_be_in_writing(last, now) {
            return Ok(Look::Nothing);
        }
        if read.digest() == *digest {
            return Ok(Look::Touched(read.mark.settled(now)));
        }
        Held::take(&read, now).map(Look::Newer)
    }

    fn mark(&self) -> Result<Mark, IdentityError> {
        Ok(Mark {
            certificate: Place::of(&self.certificate)?,
            key: Place::of(&self.key)?,
            trusted: false,
        })
    }

    /// Both files, from one state of the directory.
    fn read(&self) -> Result<Pair, IdentityError> {
        let mut outcome = Err(IdentityError::Unavailable);
        for _ in 0..TRIES {
            // What has gone or changed between two steps is there in its new form at the next try.
            outcome = self.try_read();
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    fn try_read(&self) -> Result<Pair, IdentityError> {
        let before = self.mark()?;
        let certificate = before.certificate.read()?;
        let key = if before.key == before.certificate {
            None
        } else {
            Some(before.key.read()?)
        };
        if self.mark()? != before {
            return Err(IdentityError::Unavailable);
        }
        Ok(Pair::new(certificate, key, before))
    }
}

/// What was read, wiped on drop.
struct Pair {
    /// `None` where the key's file holds it too.
    certificate: Option<Zeroizing<Vec<u8>>>,
    key: KeyMaterial,
    mark: Mark,
}

impl Pair {
    fn new(mut certificate: Zeroizing<Vec<u8>>, key: Option<Zeroizing<Vec<u8>>>, mark: Mark) -> Self {
        match key {
            Some(mut key) => Self {
                certificate: Some(certificate),
                key: KeyMaterial::new(std::mem::take(&mut *key)),
                mark,
            },
            None => Self {
                certificate: None,
                key: KeyMaterial::new(std::mem::take(&mut *certificate)),
                mark,
            },
        }
    }

    fn certificate(&self) -> &[u8] {
        match &self.certificate {
            Some(certificate) => certificate,
            None => self.key.expose(),
        }
    }

    fn digest(&self) -> [u8; 32] {
        sha256(&[sha256(self.certificate()), sha256(self.key.expose())].concat())
    }
}

/// How both files looked from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mark {
    certificate: Place,
    key: Place,
    /// Whether files that look the same are the same: not so while a change could leave the times as they are.
    trusted: bool,
}

impl Mark {
    fn settled(&self, now: Timestamp) -> Self {
        let trusted = cfg!(unix) && [&self.certificate, &self.key].iter().all(|place| !place.is_recent(now));
        Self {
            trusted,
            ..self.clone()
        }
    }

    fn is_surely(&self, last: &Self) -> bool {
        last.trusted && self.certificate == last.certificate && self.key == last.key
    }

    /// Whether one of the files was changed just now in the place where it already was.
    fn may_be_in_writing(&self, last: &Self, now: Timestamp) -> bool {
        let in_writing = |place: &Place, last: &Place| {
            place.resolved == last.resolved && place.stamp != last.stamp && place.is_recent(now)
        };
        in_writing(&self.certificate, &last.certificate) || in_writing(&self.key, &last.key)
    }
}

/// A file, after all symlinks.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    resolved: PathBuf,
    stamp: Stamp,
}

impl Place {
    fn of(path: &Path) -> Result<Self, IdentityError> {
        let resolved = fs::canonicalize(path).map_err(|_| IdentityError::Unavailable)?;
        let metadata = fs::metadata(&resolved).map_err(|_| IdentityError::Unavailable)?;
        // A pipe would keep its reader waiting.
        if !metadata.is_file() {
            return Err(IdentityError::Unavailable);
        }
        if metadata.len() > MAX_FILE as u64 {
            return Err(IdentityError::TooLarge);
        }
        Ok(Self {
            resolved,
            stamp: Stamp::of(&metadata),
        })
    }

    /// Whether the file was changed less than [`SETTLED_SECONDS`] before `now`. A time that lies further ahead is that of
    /// another clock, and says nothing.
    fn is_recent(&self, now: Timestamp) -> bool {
        self.stamp
            .changed
            .is_some_and(|changed| now.seconds_since(changed).abs() < SETTLED_SECONDS)
    }

    /// The content of the file as it looked then; another file in its place, or another length, is an error.
    fn read(&self) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
        let mut file = File::open(&self.resolved).map_err(|_| IdentityError::Unavailable)?;
        let metadata = file.metadata().map_err(|_| IdentityError::Unavailable)?;
        if Stamp::of(&metadata) != self.stamp {
            return Err(IdentityError::Unavailable);
        }
        let length = usize::try_from(metadata.len()).unwrap_or(usize::MAX).min(MAX_FILE);
        // All of its room from the start: growing would leave copies behind.
        let mut content = Zeroizing::new(vec![0; length]);
        file.read_exact(&mut content).map_err(|_| IdentityError::Unavailable)?;
        let after = file.metadata().map_err(|_| IdentityError::Unavailable)?;
        if Stamp::of(&after) != self.stamp {
            return Err(IdentityError::Unavailable);
        }
        Ok(content)
    }
}

/// What changes when a file does.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    /// Device, inode, and the time of the last change to either content or metadata, which nobody can set.
    #[cfg(unix)]
    inode: (u64, u64, i64, i64),
    length: u64,
    /// When the content was changed, where the system tells.
    changed: Option<Timestamp>,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let since_1970 = metadata
            .modified()
            .ok()
            .and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        Self {
            #[cfg(unix)]
            inode: {
                use std::os::unix::fs::MetadataExt;
                (metadata.dev(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
            },
            length: metadata.len(),
            changed: since_1970.map(|since| Timestamp::UNIX_EPOCH + since),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change in the content would show, if it were read.
    #[test]
    fn files_that_look_the_same_are_read_only_while_they_may_have_changed_unseen() {
        let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        let paths = Paths {
            certificate: path.clone(),
            key: path,
        };
        let mark = paths.mark().unwrap();
        let changed = mark.key.stamp.changed.unwrap();
        let look = |seen_at: i64| {
            let last = mark.settled(changed.offset_seconds(seen_at));
            paths.look(&last, &[0; 32], changed.offset_seconds(60))
        };
        for seen_at in [-1, 0, 1] {
            assert!(matches!(
                look(seen_at),
                Err(IdentityError::NoCertificate | IdentityError::KeyMalformed)
            ));
        }
        for seen_at in [2, 60] {
            assert_eq!(matches!(look(seen_at), Ok(Look::Nothing)), cfg!(unix), "{seen_at}");
        }
    }
}
