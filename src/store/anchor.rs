//! How far the chain of ended things has come, kept outside of the database.
//!
//! A database that is put back to yesterday's state is whole and consistent, and knows nothing of what ended today. So where its
//! chain has come to is written down elsewhere as well, in a place that is not restored with it: an anchor. A chain that ends
//! before its anchor was rolled back.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;

use crate::clock::{Clock, SystemClock, within};

/// A place in the chain of one deployment. No secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Anchored {
    /// 1, and more with each restored backup that was accepted.
    pub epoch: u64,
    /// How many rows the chain had.
    pub rows: u64,
    /// The last row's MAC.
    pub mac: [u8; 32],
}

impl Anchored {
    /// As one line of text: `epoch rows mac`, the MAC in 64 hexadecimal digits.
    pub fn to_line(&self) -> String {
        let mac: String = self.mac.iter().map(|octet| format!("{octet:02x}")).collect();
        format!("{} {} {mac}", self.epoch, self.rows)
    }

    /// What [`to_line`](Self::to_line) wrote, and nothing else.
    ///
    /// # Errors
    /// [`AnchorError::Malformed`].
    pub fn from_line(line: &str) -> Result<Self, AnchorError> {
        let parsed = Self::parse(line).ok_or(AnchorError::Malformed)?;
        if parsed.to_line() == line {
            Ok(parsed)
        } else {
            Err(AnchorError::Malformed)
        }
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let (epoch, rows, hex) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?);
        let mut mac = [0; 32];
        for (at, octet) in mac.iter_mut().enumerate() {
            *octet = u8::from_str_radix(hex.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        Some(Self { epoch, rows, mac })
    }

    /// Whether an anchor that stands here is to be raised to `to`: not when it has come further already.
    ///
    /// # Errors
    /// [`AnchorError::Forked`] when both are the same place of two chains.
    pub fn is_below(&self, to: &Self) -> Result<bool, AnchorError> {
        let (here, there) = ((self.epoch, self.rows), (to.epoch, to.rows));
        if here == there && self.mac != to.mac {
            return Err(AnchorError::Forked);
        }
        Ok(here < there)
    }
}

impl fmt::Debug for Anchored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Anchored(epoch {}, {} rows)", self.epoch, self.rows)
    }
}

/// Why an anchor could not be read or raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AnchorError {
    /// It does not answer, cannot be written, or another process has kept it locked.
    ///
    /// User action: look at the file system or service where it is kept. Nothing is ended or signed meanwhile.
    #[error("the anchor is not available")]
    Unavailable,
    /// What stands there is no anchor.
    ///
    /// User action: find out who wrote it; put the anchor back from a copy of it that is as new as the database.
    #[error("the anchor does not hold what it should")]
    Malformed,
    /// It stands at the same place of another chain.
    ///
    /// User action: make sure that each deployment has an anchor of its own; else treat it as an attack on the database.
    #[error("the anchor belongs to another chain")]
    Forked,
    /// Others than its owner may read or write the file.
    ///
    /// User action: `chmod 600` the file, and look who had access to it.
    #[error("the anchor's file is open to others than its owner")]
    Exposed,
}

/// Keeps the anchor of one deployment.
///
/// # Writing one
///
/// - **Elsewhere**: not in the database, nor in what is backed up and restored together with it.
/// - **Never back**: of two raises, in whatever order they come, the higher one stays ([`Anchored::is_below`]). Compare and set in
///   one step, also between processes.
/// - **Durable** before `Ok`.
/// - **Bounded**: an answer, or [`AnchorError::Unavailable`], in seconds.
#[async_trait]
pub trait EpochAnchor: fmt::Debug + Send + Sync {
    /// The anchor; `None` where there never was one.
    ///
    /// # Errors
    /// [`AnchorError`].
    async fn read(&self) -> Result<Option<Anchored>, AnchorError>;

    /// Raises it to `to`. Does nothing, and is `Ok`, where it is there or further already.
    ///
    /// # Errors
    /// [`AnchorError`]; with [`AnchorError::Unavailable`] it was raised or not, and may be raised again.
    async fn raise(&self, to: &Anchored) -> Result<(), AnchorError>;
}

/// How long a file is waited for.
const LIMIT: Duration = Duration::from_secs(5);

/// An anchor in a file of this machine, with mode 0600, replaced as a whole and written through to the disk.
///
/// For one machine with an embedded database. A fleet needs one that all its machines share. Processes of the machine lock a
/// file beside it, `<name>.lock`, while they raise it; one that keeps it locked is waited for 5 s.
///
/// ```
/// use shipbound::store::anchor::FileAnchor;
///
/// let anchor = FileAnchor::new("/var/lib/platform-anchor/shipbound.anchor");
/// ```
#[derive(Clone, Debug)]
pub struct FileAnchor {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    /// One thread of this process reads or writes, however many ask.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl FileAnchor {
    /// The anchor in the file at `path`, which need not be there yet; its directory must be.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self::with_clock(path, Arc::new(SystemClock::new()))
    }

    /// The same, waiting by `clock`.
    pub fn with_clock(path: impl AsRef<Path>, clock: Arc<dyn Clock>) -> Self {
        Self {
            path: path.as_ref().to_owned(),
            clock,
            turn: Arc::default(),
        }
    }

    async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> Result<T, AnchorError> + Send + 'static,
    ) -> Result<T, AnchorError> {
        let done = async {
            let turn = Arc::clone(&self.turn).lock_owned().await;
            let path = self.path.clone();
            let working = tokio::task::spawn_blocking(move || {
                // Kept until the work is done, also when nobody waits for it any more.
                let _turn = turn;
                work(&path)
            });
            working.await.map_err(|_ended| AnchorError::Unavailable)?
        };
        let deadline = self.clock.monotonic() + LIMIT;
        within(&*self.clock, deadline, done)
            .await
            .unwrap_or(Err(AnchorError::Unavailable))
    }
}

#[async_trait]
impl EpochAnchor for FileAnchor {
    async fn read(&self) -> Result<Option<Anchored>, AnchorError> {
        self.aside(read_file).await
    }

    async fn raise(&self, to: &Anchored) -> Result<(), AnchorError> {
        let to = *to;
        self.aside(move |path| raise_file(path, &to)).await
    }
}

/// A line has at most two numbers of 20 digits and 64 digits of a MAC.
const LONGEST: u64 = 128;

fn read_file(path: &Path) -> Result<Option<Anchored>, AnchorError> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(_) => return Err(AnchorError::Unavailable),
    };
    owners_alone(&file)?;
    let mut text = String::new();
    file.take(LONGEST)
        .read_to_string(&mut text)
        .map_err(|_failed| AnchorError::Malformed)?;
    Anchored::from_line(text.strip_suffix('\n').ok_or(AnchorError::Malformed)?).map(Some)
}

fn raise_file(path: &Path, to: &Anchored) -> Result<(), AnchorError> {
    let beside = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    // Held for a few milliseconds by others; ends with this function. Who waits for it has a limit.
    let lock = create(&beside(".lock"))?;
    lock.lock().map_err(|_failed| AnchorError::Unavailable)?;
    if let Some(here) = read_file(path)?
        && !here.is_below(to)?
    {
        return Ok(());
    }
    let next = beside(".next");
    let mut file = create(&next)?;
    let written = file
        .set_len(0)
        .and_then(|()| file.write_all(format!("{}\n", to.to_line()).as_bytes()))
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&next, path));
    written.map_err(|_failed| AnchorError::Unavailable)?;
    // The directory too, or a loss of power could bring the old file back.
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    std::fs::File::open(directory.unwrap_or(Path::new(".")))
        .and_then(|directory| directory.sync_all())
        .map_err(|_failed| AnchorError::Unavailable)
}

fn create(path: &Path) -> Result<std::fs::File, AnchorError> {
    let mut options = std::fs::OpenOptions::new();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path).map_err(|_failed| AnchorError::Unavailable)?;
    owners_alone(&file)?;
    Ok(file)
}

#[cfg(unix)]
fn owners_alone(file: &std::fs::File) -> Result<(), AnchorError> {
    use std::os::unix::fs::PermissionsExt;
    let found = file.metadata().map_err(|_failed| AnchorError::Unavailable)?;
    if found.permissions().mode() & 0o077 == 0 {
        Ok(())
    } else {
        Err(AnchorError::Exposed)
    }
}

#[cfg(not(unix))]
fn owners_alone(_file: &std::fs::File) -> Result<(), AnchorError> {
    Ok(())
}

/// An anchor in memory: for tests. It ends with the process, and with it all that it could tell.
#[derive(Debug, Default)]
pub struct MemoryAnchor(Mutex<Option<Anchored>>);

impl MemoryAnchor {
    /// No anchor yet.
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl EpochAnchor for MemoryAnchor {
    async fn read(&self) -> Result<Option<Anchored>, AnchorError> {
        Ok(*self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn raise(&self, to: &Anchored) -> Result<(), AnchorError> {
        let mut here = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(here) = &*here
            && !here.is_below(to)?
        {
            return Ok(());
        }
        *here = Some(*to);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(epoch: u64, rows: u64, mac: u8) -> Anchored {
        Anchored {
            epoch,
            rows,
            mac: [mac; 32],
        }
    }

    async fn never_goes_back(anchor: &dyn EpochAnchor) {
        assert_eq!(anchor.read().await, Ok(None));
        anchor.raise(&at(1, 5, 5)).await.unwrap();
        anchor.raise(&at(1, 4, 4)).await.unwrap();
        assert_eq!(anchor.read().await, Ok(Some(at(1, 5, 5))));
        assert_eq!(anchor.raise(&at(1, 5, 6)).await, Err(AnchorError::Forked));
        anchor.raise(&at(2, 3, 3)).await.unwrap();
        anchor.raise(&at(1, 9, 9)).await.unwrap();
        assert_eq!(anchor.read().await, Ok(Some(at(2, 3, 3))));
    }

    #[tokio::test]
    async fn an_anchor_in_memory_never_goes_back() {
        never_goes_back(&MemoryAnchor::new()).await;
    }

    #[tokio::test]
    async fn an_anchor_in_a_file_never_goes_back_and_is_its_owners_alone() {
        let directory = std::env::temp_dir().join(format!("shipbound-anchor-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("anchor");
        never_goes_back(&FileAnchor::new(&path)).await;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
            assert_eq!(FileAnchor::new(&path).read().await, Err(AnchorError::Exposed));
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        std::fs::write(&path, "2 3 ff\n").unwrap();
        assert_eq!(FileAnchor::new(&path).read().await, Err(AnchorError::Malformed));
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[tokio::test]
    async fn a_file_that_another_process_keeps_locked_is_waited_for_five_seconds() {
        let directory = std::env::temp_dir().join(format!("shipbound-anchor-locked-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("anchor");
        let lock = create(&directory.join("anchor.lock")).unwrap();
        lock.lock().unwrap();
        let clock = Arc::new(crate::clock::ManualClock::at(crate::clock::Timestamp::UNIX_EPOCH));
        let anchor = FileAnchor::with_clock(&path, clock.clone());
        let to = at(1, 1, 1);
        // A second one waits for its turn, and has the same limit.
        let both = async { tokio::join!(anchor.raise(&to), anchor.raise(&to)) };
        let later = async {
            while clock.sleepers() < 2 {
                tokio::task::yield_now().await;
            }
            clock.advance(LIMIT);
        };
        let (raised, ()) = tokio::join!(both, later);
        assert_eq!(raised, (Err(AnchorError::Unavailable), Err(AnchorError::Unavailable)));
        drop(lock);
        anchor.raise(&to).await.unwrap();
        assert_eq!(anchor.read().await, Ok(Some(to)));
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_line_is_read_in_one_form_alone() {
        let line = at(3, 70, 0xab).to_line();
        assert_eq!(Anchored::from_line(&line), Ok(at(3, 70, 0xab)));
        for other in [
            line.to_uppercase(),
            format!("{line} "),
            format!("+{line}"),
            line.replace("ab", "+b"),
        ] {
            assert_eq!(Anchored::from_line(&other), Err(AnchorError::Malformed), "{other}");
        }
    }
}
