use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use futures_util::FutureExt;
use shipbound::binding::mtls::{CertificateSource, FileCertificates, MAX_FILE};
use shipbound::clock::{Clock, SystemClock, Timestamp};
use shipbound::transport::identity::{ClientIdentity, IdentityError};

use super::{Pair, connection};

/// A directory that is removed when dropped.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("files-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&path); // of an earlier process with this id
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, pair: &Pair) {
        fs::write(self.file("tls.crt"), &pair.certificate).unwrap();
        fs::write(self.file("tls.key"), &pair.key).unwrap();
    }

    fn open(&self, now: Timestamp) -> Result<FileCertificates, IdentityError> {
        FileCertificates::open(self.file("tls.crt"), self.file("tls.key"), now)
    }

    /// Writes a file beside the one of this name and renames it over that, as certbot and editors do.
    fn replace(&self, name: &str, content: &str) {
        fs::write(self.file("next"), content).unwrap();
        fs::rename(self.file("next"), self.file(name)).unwrap();
    }

    /// Writes a generation and switches to it as Kubernetes' atomic writer does.
    fn swap(&self, generation: usize, pair: &Pair) {
        let name = format!("..2026_11_27_{generation}");
        fs::create_dir(self.file(&name)).unwrap();
        fs::write(self.file(&name).join("tls.crt"), &pair.certificate).unwrap();
        fs::write(self.file(&name).join("tls.key"), &pair.key).unwrap();
        let old = fs::read_link(self.file("..data")).ok();
        symlink(&name, self.file("..data_tmp")).unwrap();
        fs::rename(self.file("..data_tmp"), self.file("..data")).unwrap();
        match old {
            Some(old) => fs::remove_dir_all(self.0.join(old)).unwrap(),
            None => {
                symlink("..data/tls.crt", self.file("tls.crt")).unwrap();
                symlink("..data/tls.key", self.file("tls.key")).unwrap();
            }
        }
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// When everything that has been written by now counts as left alone.
fn later() -> Timestamp {
    SystemClock::new().now() + Duration::from_secs(10)
}

/// When this file was changed.
fn changed(path: &Path) -> Timestamp {
    let at = fs::metadata(path).unwrap().modified().unwrap();
    Timestamp::UNIX_EPOCH + at.duration_since(UNIX_EPOCH).unwrap()
}

async fn held(source: &FileCertificates) -> ClientIdentity {
    let identity = source.identity(&connection("acme")).await.unwrap();
    assert_eq!(source.held(), std::slice::from_ref(&identity));
    identity
}

#[tokio::test]
async fn a_newer_pair_takes_the_place_of_the_old_one() {
    let (dir, one, two) = (Dir::new(), Pair::new(), Pair::new());
    dir.write(&one);
    let source = dir.open(later()).unwrap();
    let old = held(&source).await;
    assert!(one.is(&old));
    assert!(source.reload(later()).await.unwrap().is_empty());

    dir.write(&two);
    let exchanged = source.reload(later()).await.unwrap();
    let new = held(&source).await;
    assert!(two.is(&new));
    assert_eq!(exchanged.len(), 1);
    assert_eq!((&exchanged[0].old, &exchanged[0].new), (&old, &new));
    assert!(old.is_retired() && !new.is_retired());
}

#[tokio::test]
async fn both_may_be_in_one_file() {
    let (dir, one, two) = (Dir::new(), Pair::chained(), Pair::new());
    let path = dir.file("both.pem");
    fs::write(&path, one.key.clone() + &one.certificate).unwrap();
    let source = FileCertificates::open(&path, &path, later()).unwrap();
    assert!(one.is(&held(&source).await));
    fs::write(&path, two.certificate.clone() + &two.key).unwrap();
    assert_eq!(source.reload(later()).await.unwrap().len(), 1);
    assert!(two.is(&held(&source).await));
}

#[tokio::test]
async fn what_has_not_changed_stays_the_same_identity() {
    let (dir, pair) = (Dir::new(), Pair::new());
    dir.write(&pair);
    let source = dir.open(later()).unwrap();
    let identity = held(&source).await;
    // In the same place, in another inode, behind another symlink.
    dir.write(&pair);
    assert!(source.reload(later()).await.unwrap().is_empty());
    dir.replace("tls.crt", &pair.certificate);
    assert!(source.reload(later()).await.unwrap().is_empty());
    fs::rename(dir.file("tls.key"), dir.file("moved")).unwrap();
    symlink("moved", dir.file("tls.key")).unwrap();
    assert!(source.reload(later()).await.unwrap().is_empty());
    assert_eq!(held(&source).await, identity);
    assert!(!identity.is_retired());
}

#[tokio::test]
async fn files_that_are_replaced_one_after_the_other() {
    let (dir, one, two) = (Dir::new(), Pair::new(), Pair::new());
    dir.write(&one);
    let source = dir.open(later()).unwrap();
    let old = held(&source).await;
    dir.replace("tls.crt", &two.certificate);
    for _ in 0..3 {
        assert_eq!(source.reload(later()).await.err(), Some(IdentityError::Mismatch));
    }
    assert_eq!(held(&source).await, old);
    assert!(!old.is_retired());
    dir.replace("tls.key", &two.key);
    assert_eq!(source.reload(later()).await.unwrap().len(), 1);
    assert!(two.is(&held(&source).await));
}

#[tokio::test]
async fn a_file_that_is_being_written_is_left_alone() {
    let (dir, one, two) = (Dir::new(), Pair::new(), Pair::chained());
    dir.write(&one);
    let source = dir.open(later()).unwrap();
    // Whole certificates are there, though not all of them.
    let half = two.certificate.find("-----END CERTIFICATE-----\n").unwrap() + "-----END CERTIFICATE-----\n".len();
    fs::write(dir.file("tls.key"), &two.key).unwrap();
    let mut file = fs::File::create(dir.file("tls.crt")).unwrap();
    file.write_all(&two.certificate.as_bytes()[..half]).unwrap();
    let now = changed(&dir.file("tls.crt"));
    assert!(source.reload(now).await.unwrap().is_empty());
    assert!(source.reload(now.offset_seconds(1)).await.unwrap().is_empty());
    assert!(one.is(&held(&source).await));
    file.write_all(&two.certificate.as_bytes()[half..]).unwrap();
    drop(file);
    assert_eq!(source.reload(later()).await.unwrap().len(), 1);
    assert!(two.is(&held(&source).await));
}

#[tokio::test]
async fn a_switched_symlink_is_taken_at_once() {
    let (dir, one, two) = (Dir::new(), Pair::new(), Pair::new());
    dir.swap(0, &one);
    let source = dir.open(later()).unwrap();
    dir.swap(1, &two);
    let now = changed(&dir.file("tls.crt"));
    assert_eq!(source.reload(now).await.unwrap().len(), 1);
    assert!(two.is(&held(&source).await));
}

/// What is wrong, how it comes about, and what it is called.
type Fault = (&'static str, Box<dyn Fn(&Dir)>, IdentityError);

fn faults() -> Vec<Fault> {
    fn with(name: &'static str, content: impl AsRef<[u8]> + 'static) -> Box<dyn Fn(&Dir)> {
        Box::new(move |dir| fs::write(dir.file(name), &content).unwrap())
    }
    fn pair(pair: Pair) -> Box<dyn Fn(&Dir)> {
        Box::new(move |dir| dir.write(&pair))
    }
    fn instead(name: &'static str, make: impl Fn(&Path) + 'static) -> Box<dyn Fn(&Dir)> {
        Box::new(move |dir| {
            fs::remove_file(dir.file(name)).unwrap();
            make(&dir.file(name));
        })
    }
    let (good, expired, early) = (
        Pair::new(),
        Pair::valid((2020, 1), (2021, 1)),
        Pair::valid((4000, 1), (4001, 1)),
    );
    let not_after = expired.identity().not_after();
    let not_before = early.identity().not_before();
    let cut = good.certificate[..good.certificate.len() / 2].to_owned();
    let long = good.certificate.clone() + &" ".repeat(MAX_FILE);
    let unavailable = IdentityError::Unavailable;
    vec![
        (
            "another's certificate",
            with("tls.crt", good.certificate),
            IdentityError::Mismatch,
        ),
        ("another's key", with("tls.key", good.key), IdentityError::Mismatch),
        ("expired", pair(expired), IdentityError::Expired { not_after }),
        ("not yet valid", pair(early), IdentityError::NotYetValid { not_before }),
        ("no certificate", with("tls.crt", ""), IdentityError::NoCertificate),
        ("no key", with("tls.key", ""), IdentityError::KeyMalformed),
        ("cut", with("tls.crt", cut), IdentityError::Malformed),
        ("not PEM", with("tls.crt", [0xff; 64]), IdentityError::Malformed),
        ("too long", with("tls.crt", long), IdentityError::TooLarge),
        ("gone", instead("tls.key", |_| ()), unavailable),
        (
            "a directory",
            instead("tls.crt", |path| fs::create_dir(path).unwrap()),
            unavailable,
        ),
        (
            "a loop",
            instead("tls.crt", |path| symlink("tls.crt", path).unwrap()),
            unavailable,
        ),
        (
            "a pipe",
            instead("tls.key", |path| {
                assert!(Command::new("mkfifo").arg(path).status().unwrap().success())
            }),
            unavailable,
        ),
    ]
}

#[tokio::test]
async fn a_fault_is_named_and_keeps_what_there_is() {
    for (name, spoil, error) in faults() {
        let (dir, pair, next) = (Dir::new(), Pair::new(), Pair::new());
        dir.write(&pair);
        let source = dir.open(later()).unwrap();
        let identity = held(&source).await;
        spoil(&dir);
        for _ in 0..2 {
            let refused = source.reload(later()).await.expect_err(name);
            assert_eq!(refused, error, "{name}");
        }
        assert_eq!(held(&source).await, identity, "{name}");
        assert!(!identity.is_retired(), "{name}");
        let refused = dir.open(later()).expect_err(name);
        assert_eq!(refused, error, "{name}");

        // It heals without anything but the files.
        for file in ["tls.crt", "tls.key"] {
            let _ = fs::remove_dir(dir.file(file));
            let _ = fs::remove_file(dir.file(file));
        }
        dir.write(&next);
        assert_eq!(source.reload(later()).await.expect(name).len(), 1);
        assert!(next.is(&held(&source).await), "{name}");
    }
}

#[tokio::test]
async fn a_file_of_the_longest_length_is_read() {
    let (dir, pair) = (Dir::new(), Pair::new());
    dir.write(&pair);
    let padding = " ".repeat(MAX_FILE - pair.certificate.len());
    fs::write(dir.file("tls.crt"), pair.certificate + &padding).unwrap();
    dir.open(later()).unwrap();
}

#[test]
fn outside_a_runtime_files_are_read_where_reload_is_called() {
    let (dir, one, two) = (Dir::new(), Pair::new(), Pair::new());
    dir.write(&one);
    let source = dir.open(later()).unwrap();
    dir.write(&two);
    let exchanged = source.reload(later()).now_or_never().expect("it does not wait");
    assert_eq!(exchanged.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_reloads_at_once_exchange_once() {
    let (dir, one, two) = (Dir::new(), Pair::new(), Pair::new());
    dir.write(&one);
    let source = Arc::new(dir.open(later()).unwrap());
    dir.write(&two);
    let reloads = (0..32).map(|_| {
        let source = Arc::clone(&source);
        tokio::spawn(async move { source.reload(later()).await.unwrap().len() })
    });
    let mut exchanged = 0;
    for reload in reloads.collect::<Vec<_>>() {
        exchanged += reload.await.unwrap();
    }
    assert_eq!(exchanged, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_is_never_read_from_two_generations() {
    let dir = Arc::new(Dir::new());
    let pairs: Arc<Vec<_>> = Arc::new((0..16).map(|_| Pair::new()).collect());
    dir.swap(0, &pairs[0]);
    let source = dir.open(later()).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let swapper = thread::spawn({
        let (dir, pairs, stop) = (Arc::clone(&dir), Arc::clone(&pairs), Arc::clone(&stop));
        move || {
            let mut generation = 0;
            while !stop.load(Ordering::Relaxed) {
                generation += 1;
                dir.swap(generation, &pairs[generation % pairs.len()]);
            }
            generation
        }
    });
    let (mut reloads, mut exchanged, mut unsteady) = (0, 0, 0);
    while reloads < 4_000 || exchanged < 500 {
        reloads += 1;
        assert!(
            reloads < 400_000,
            "{exchanged} exchanges, {unsteady} looks without a steady state"
        );
        let before = held(&source).await;
        match source.reload(later()).await {
            Ok(list) => {
                exchanged += list.len();
                assert_eq!(before.is_retired(), !list.is_empty());
            }
            // Five looks in a row met a change.
            Err(IdentityError::Unavailable) => unsteady += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    stop.store(true, Ordering::Relaxed);
    let last = swapper.join().unwrap();
    println!("{reloads} reloads, {last} generations, {exchanged} exchanges, {unsteady} looks without a steady state");
    source.reload(later()).await.unwrap();
    assert!(pairs[last % pairs.len()].is(&held(&source).await));
}
