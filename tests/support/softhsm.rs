//! SoftHSM tokens, each behind a module of its own that counts calls and misbehaves when it is told to.
//!
//! Where SoftHSM or a C compiler is missing the test fails: it is never skipped.
#![allow(dead_code, unreachable_pub)]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use shipbound::clock::{Clock, SystemClock};
use shipbound::store::pkcs11::{Pkcs11Token, Pkcs11TokenBuilder, TokenName};

pub const PIN: &str = "sEcReTmArKeR-pin";
pub const SO_PIN: &str = "sEcReTmArKeR-so-pin";
pub const LABEL: &str = "shipbound";

/// A token in a directory of its own, which goes with it.
pub struct SoftHsm(PathBuf);

impl SoftHsm {
    /// With one token, [`LABEL`].
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("softhsm-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&dir); // of an earlier process with this id
        fs::create_dir_all(dir.join("tokens")).unwrap();
        let conf = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            dir.join("tokens").display()
        );
        fs::write(dir.join("softhsm2.conf"), conf).unwrap();
        let library = [
            "/usr/lib/softhsm/libsofthsm2.so",
            "/usr/lib64/pkcs11/libsofthsm2.so",
            "/usr/local/lib/softhsm/libsofthsm2.so",
        ]
        .into_iter()
        .find(|path| Path::new(path).exists())
        .expect("SoftHSM is missing: run tests/all.sh, which installs it (`tests/all.sh softhsm` does that alone)");
        // A copy of the library has state of its own.
        fs::copy(library, dir.join("softhsm.so")).unwrap();
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-w", "-O1", "-o"])
            .arg(dir.join("module.so"))
            .arg(format!("-DHERE=\"{}\"", dir.display()))
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/token.c"))
            .arg("-ldl")
            .status()
            .unwrap();
        assert!(built.success());
        let hsm = Self(dir);
        hsm.add_token(LABEL);
        hsm
    }

    /// Makes another token. Modules that are initialised do not see it.
    pub fn add_token(&self, label: &str) {
        let made = Command::new("softhsm2-util")
            .env("SOFTHSM2_CONF", self.0.join("softhsm2.conf"))
            .args([
                "--init-token",
                "--free",
                "--label",
                label,
                "--pin",
                PIN,
                "--so-pin",
                SO_PIN,
            ])
            .output()
            .expect("softhsm2-util is missing: run tests/all.sh, which installs it");
        assert!(made.status.success());
    }

    pub fn module(&self) -> PathBuf {
        self.0.join("module.so")
    }

    pub fn builder(&self) -> Pkcs11TokenBuilder {
        Pkcs11Token::builder(self.module(), TokenName::Label(LABEL.to_owned()), PIN)
    }

    pub fn token(&self) -> Pkcs11Token {
        self.builder().build(system_clock())
    }

    /// How often the module was asked for this: `I`nitialize, `O`penSession, `L`ogin, `F`indObjectsInit, `S`ignInit,
    /// `G`enerateKeyPair, `D`estroyObject (when it has ended); `h`: how many calls have begun to hang.
    pub fn calls(&self, letter: char) -> usize {
        let calls = fs::read_to_string(self.0.join("calls")).unwrap_or_default();
        calls.chars().filter(|call| *call == letter).count()
    }

    /// `broken`: C_Initialize fails; `hang`: searches and signatures hang; `export`: new keys can be exported;
    /// `forget`: all sessions are closed before the next one is opened, once; `failing`: nothing is
    /// decrypted.
    pub fn tell(&self, what: &str, so: bool) {
        let file = self.0.join(what);
        if so {
            fs::write(file, "").unwrap();
        } else {
            let _ = fs::remove_file(file);
        }
    }

    /// The module as somebody else in this process uses it.
    pub fn library(&self) -> Pkcs11 {
        let library = Pkcs11::new(self.module()).unwrap();
        match library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => library,
            Err(error) => panic!("{error}"),
        }
    }

    pub fn slot(&self) -> (Pkcs11, Slot) {
        let library = self.library();
        let slots = library.get_slots_with_initialized_token().unwrap();
        let named = slots
            .into_iter()
            .find(|slot| library.get_token_info(*slot).unwrap().label() == LABEL);
        (library, named.unwrap())
    }

    /// A session of somebody who knows the PIN.
    pub fn intruder(&self) -> Session {
        let (library, slot) = self.slot();
        let session = library.open_rw_session(slot).unwrap();
        match session.login(UserType::User, Some(&AuthPin::from(PIN))) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => session,
            Err(error) => panic!("{error}"),
        }
    }
}

impl Drop for SoftHsm {
    fn drop(&mut self) {
        // A session that is being closed may write a last time.
        while self.0.exists() && fs::remove_dir_all(&self.0).is_err() {}
    }
}

pub fn system_clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}
