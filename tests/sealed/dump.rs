//! Nothing that was secret stands in the clear in the files of the database, while it lives and after it has ended.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use shipbound::clock::{Clock, Timestamp};
use shipbound::credentials::{Credential, CredentialAdmin};
use shipbound::grants::{Grant, GrantStore, Grants, Rotation};
use shipbound::jose::Algorithm;
use shipbound::keys::{Backend, KeyStore, LocalKey, Purpose, Retired};
use shipbound::secret::{KeyMaterial, RefreshToken};

use crate::provider::kek;
use crate::scene::{Process, Scene, act, connection};
use crate::world::{Kind, owner};

const AT: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

/// What is looked for, each in the ways in which it could be written.
struct Wanted(Vec<Vec<u8>>);

impl Wanted {
    fn add(&mut self, secret: &[u8]) {
        let hex: String = secret.iter().map(|octet| format!("{octet:02x}")).collect();
        self.0.push(secret.to_vec());
        self.0.push(hex.to_uppercase().into_bytes());
        self.0.push(hex.into_bytes());
        // Base64 at each of three places in a longer text; the characters at the ends depend on what is beside it.
        for shift in 0..3 {
            let shifted = [&vec![0; shift][..], secret].concat();
            for text in [STANDARD.encode(&shifted), URL_SAFE_NO_PAD.encode(&shifted)] {
                let text = text.trim_end_matches('=');
                self.0.push(text.as_bytes()[4..text.len() - 2].to_vec());
            }
        }
    }

    fn found_in(&self, path: &Path) -> Vec<String> {
        let octets = std::fs::read(path).unwrap();
        // Files are large and tests are not optimized: one pass, by the first two octets.
        let mut begins = vec![false; 1 << 16];
        let pair = |octets: &[u8]| usize::from(octets[0]) << 8 | usize::from(octets[1]);
        self.0.iter().for_each(|wanted| begins[pair(wanted)] = true);
        let mut found = Vec::new();
        for at in 0..octets.len().saturating_sub(1) {
            if begins[pair(&octets[at..])] {
                let here = self.0.iter().filter(|wanted| octets[at..].starts_with(wanted));
                found.extend(here.map(|wanted| String::from_utf8_lossy(wanted).into_owned()));
            }
        }
        found
    }
}

fn marker(number: usize) -> String {
    format!("sEcReTmArKeR-{number}-of-the-database")
}

/// The whole life of a tenant's secrets, all of them known here.
async fn live(scene: &Scene, process: &Process, wanted: &mut Wanted) {
    let (acme, connection) = (owner("acme"), connection("acme"));
    let grants = Grants::new(process.grants.clone(), scene.world.clock.clone());
    for number in 0..12 {
        wanted.add(marker(number).as_bytes());
    }
    let mut before = None;
    for round in 0..3 {
        let (pem, scalar) = new_key();
        wanted.add(&scalar);
        let key = LocalKey::from_pem(&KeyMaterial::new(pem), Backend::default()).unwrap();
        let key = process.keys.import(&acme, Purpose::Proof, key).await.unwrap();
        process
            .keys
            .promote(&acme, &key.id(), before.as_ref(), AT)
            .await
            .unwrap();
        key.sign(b"message").wait().await.unwrap();
        before = Some(key.id());

        let credential =
            Credential::new(marker(4 * round), marker(4 * round + 1)).with_part("part", marker(4 * round + 2));
        let credential = credential.replacing(Credential::new("id", marker(4 * round + 3)));
        process
            .credentials
            .put_credential(&connection, credential, &act())
            .await
            .unwrap();

        grants.put(&connection, Grant::new(marker(round), AT)).await.unwrap();
        let now = scene.world.clock.monotonic();
        let claim = grants.claim(&connection, Rotation::PreviousDies, now).await.unwrap();
        claim
            .settle(Some(RefreshToken::new(marker(round + 3))), None)
            .await
            .unwrap();
    }
}

async fn end(process: &Process) {
    let (acme, connection) = (owner("acme"), connection("acme"));
    let key = process.keys.active(&acme, Purpose::Proof).await.unwrap().unwrap();
    process
        .keys
        .retire(&acme, &key.id(), Retired::Compromised)
        .await
        .unwrap();
    process
        .credentials
        .remove_credential(&connection, &act())
        .await
        .unwrap();
    assert!(process.grants.remove(&connection).await.unwrap());
}

/// A key whose scalar is known.
fn new_key() -> (Vec<u8>, Vec<u8>) {
    let key = LocalKey::generate(Algorithm::Es256, Backend::default()).unwrap();
    let pem = key.export_pkcs8_pem().unwrap().expose().to_vec();
    let text: String = String::from_utf8(pem.clone())
        .unwrap()
        .lines()
        .filter(|line| !line.starts_with('-'))
        .collect();
    let der = STANDARD.decode(text).unwrap();
    // SEC 1's `INTEGER 1, OCTET STRING (32)`.
    let at = der.windows(5).position(|window| window == [2, 1, 1, 4, 32]).unwrap() + 5;
    (pem, der[at..at + 32].to_vec())
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            all.push(path);
        }
    }
    all
}

async fn search(scene: Scene, dirs: Vec<PathBuf>) {
    let mut wanted = Wanted(Vec::new());
    let process = scene.process(&["k1"]).await;
    live(&scene, &process, &mut wanted).await;
    let mut looked = 0;
    let mut look = |when: &str| {
        for path in dirs.iter().flat_map(|dir| files(dir)) {
            let found = wanted.found_in(&path);
            assert!(found.is_empty(), "{when}: {} holds {found:?}", path.display());
            looked += 1;
        }
    };
    look("while they live");
    let thief = scene.process(&["k2", "k1"]).await;
    thief.sealing.kek_stolen(&kek("k1"), &act(), &mut |_| ()).await.unwrap();
    end(&thief).await;
    if scene.world.kind == Kind::Postgres {
        scene.world.raw("CHECKPOINT").await;
    }
    look("after they were sealed anew and have ended");
    assert!(looked > 1);

    // What is looked for would be found.
    let clear = std::env::temp_dir().join(format!("shipbound-dump-{}", std::process::id()));
    for secret in [
        marker(3).into_bytes(),
        STANDARD.encode([b"xy", marker(4).as_bytes()].concat()).into_bytes(),
    ] {
        std::fs::write(&clear, [&secret, &b" "[..]].concat()).unwrap();
        assert!(!wanted.found_in(&clear).is_empty());
    }
    std::fs::remove_file(&clear).unwrap();
}

#[tokio::test]
async fn no_secret_stands_in_the_files_of_sqlite() {
    let scene = Scene::new(Kind::Sqlite).await;
    let dir = scene.world.path().parent().unwrap().to_owned();
    search(scene, vec![dir]).await;
}

#[tokio::test]
async fn no_secret_stands_in_the_files_and_the_log_of_postgres() {
    let scene = Scene::new(Kind::Postgres).await;
    let dir = scene.world.raw("SELECT current_setting('data_directory')").await;
    let own = scene
        .world
        .raw("SELECT oid::text FROM pg_database WHERE datname = current_database()")
        .await;
    let dir = PathBuf::from(&dir[0]);
    search(scene, vec![dir.join("base").join(&own[0]), dir.join("pg_wal")]).await;
}
