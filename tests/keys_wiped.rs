//! What is left of a private key in the memory of the process once it is dropped: nothing that can be found.
//!
//! The one test of this binary, since it reads all memory that the process can write to.
#![cfg(target_os = "linux")]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::fs::File;
use std::os::unix::fs::FileExt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use futures_util::FutureExt;
use shipbound::jose::Algorithm;
use shipbound::keys::{Backend, LocalKey, Signer};
use shipbound::secret::KeyMaterial;
use zeroize::Zeroizing;

/// Octets to be looked for, kept in a form in which they are not found themselves.
struct Needle(Vec<u8>);

const MASK: u8 = 0xa5;

impl Needle {
    fn new(octets: impl Iterator<Item = u8>) -> Self {
        Self(octets.map(|octet| octet ^ MASK).collect())
    }

    fn is_at(&self, memory: &[u8]) -> bool {
        memory.len() >= self.0.len()
            && memory
                .iter()
                .zip(&self.0)
                .all(|(octet, masked)| octet ^ MASK == *masked)
    }
}

/// How many times each needle is somewhere in writable memory.
fn count<const N: usize>(needles: &[Needle; N]) -> [usize; N] {
    let memory = File::open("/proc/self/mem").unwrap();
    let mut counts = [0; N];
    let mut buffer = Zeroizing::new(vec![0; 1 << 20]);
    let own = buffer.as_ptr() as u64..buffer.as_ptr() as u64 + buffer.len() as u64;
    for line in std::fs::read_to_string("/proc/self/maps").unwrap().lines() {
        let mut words = line.split_whitespace();
        let (range, rights) = (words.next().unwrap(), words.next().unwrap());
        if !rights.starts_with("rw") {
            continue;
        }
        let (start, end) = range.split_once('-').unwrap();
        let mut at = u64::from_str_radix(start, 16).unwrap();
        let end = u64::from_str_radix(end, 16).unwrap();
        while at < end {
            let wanted = usize::try_from((end - at).min(buffer.len() as u64)).unwrap();
            let Ok(read) = memory.read_at(&mut buffer[..wanted], at) else {
                break;
            };
            for (offset, octet) in buffer[..read].iter().enumerate() {
                for (count, needle) in counts.iter_mut().zip(needles) {
                    let found = octet ^ MASK == needle.0[0] && needle.is_at(&buffer[offset..read]);
                    *count += usize::from(found && !own.contains(&(at + offset as u64)));
                }
            }
            if read == wanted && at + read as u64 == end {
                break;
            }
            // An overlap, so that nothing hides on the border of two reads.
            at += (read as u64).saturating_sub(64).max(1);
        }
    }
    counts
}

/// The private octets within PKCS#8 in PEM, and the text of the PEM without its borders.
fn contents(pem: &KeyMaterial) -> (Zeroizing<Vec<u8>>, Zeroizing<String>) {
    let text = std::str::from_utf8(pem.expose()).unwrap();
    let mut body = Zeroizing::new(String::with_capacity(text.len()));
    text.lines()
        .filter(|line| !line.starts_with('-'))
        .for_each(|line| body.push_str(line));
    let der = Zeroizing::new(STANDARD.decode(body.as_bytes()).unwrap());
    let at = der.windows(2).rposition(|window| window == [0x04, 0x20]).unwrap() + 2;
    (Zeroizing::new(der[at..at + 32].to_vec()), body)
}

/// The same key as a JWK.
fn jwk(key: &LocalKey, octets: &[u8]) -> KeyMaterial {
    let mut text = Zeroizing::new(String::with_capacity(512));
    text.push_str(key.public().to_json().trim_end_matches('}'));
    text.push_str(r#","d":""#);
    URL_SAFE_NO_PAD.encode_string(octets, &mut text);
    text.push_str(r#""}"#);
    KeyMaterial::new(std::mem::take(&mut *text))
}

/// Both primes within PKCS#8, as limbs lie in memory.
#[cfg(feature = "rsa")]
fn rsa_needles(pem: &KeyMaterial) -> [Needle; 2] {
    let text = std::str::from_utf8(pem.expose()).unwrap();
    let mut body = Zeroizing::new(String::with_capacity(text.len()));
    text.lines()
        .filter(|line| !line.starts_with('-'))
        .for_each(|line| body.push_str(line));
    let der = Zeroizing::new(STANDARD.decode(body.as_bytes()).unwrap());
    // After the modulus, the first two INTEGERs of 128 octets whose first bit is set are the primes.
    let after = |mark: &[u8], from: usize| {
        let found = der[from..].windows(mark.len()).position(|window| window == mark);
        from + found.unwrap() + mark.len()
    };
    let modulus = after(&[2, 0x82, 1, 1, 0], 0);
    let p = after(&[2, 0x81, 0x81, 0], modulus + 256);
    let q = after(&[2, 0x81, 0x81, 0], p + 128);
    [p, q].map(|at| Needle::new(der[at + 32..at + 64].iter().rev().copied()))
}

#[cfg(feature = "rsa")]
fn nothing_is_left_of_a_dropped_rsa_key() {
    let made = LocalKey::generate(Algorithm::Ps256, Backend::AwsLc).unwrap();
    let pem = made.export_pkcs8_pem().unwrap();
    let needles = rsa_needles(&pem);
    let key = LocalKey::from_pem(&pem, Backend::AwsLc).unwrap();
    drop(pem);
    assert!(count(&needles).iter().all(|found| *found > 0), "held");
    drop(key.sign(b"m"));
    drop(key);
    assert_eq!(count(&needles), [0; 2], "dropped");
}

#[test]
fn nothing_is_left_of_a_dropped_key() {
    #[cfg(feature = "rsa")]
    nothing_is_left_of_a_dropped_rsa_key();
    for (algorithm, backend) in [
        (Algorithm::Es256, Backend::AwsLc),
        (Algorithm::Ed25519, Backend::AwsLc),
        (Algorithm::Es256, Backend::P256),
    ] {
        let pem = LocalKey::generate(algorithm, backend)
            .unwrap()
            .export_pkcs8_pem()
            .unwrap();
        let (octets, body) = contents(&pem);
        let key = LocalKey::from_pem(&pem, backend).unwrap();
        let jwk = jwk(&key, &octets);
        let of_jwk = jwk
            .expose()
            .windows(5)
            .position(|window| window == br#""d":""#)
            .unwrap()
            + 5;
        let needles = [
            // As it is written, and as limbs lie in memory.
            Needle::new(octets.iter().copied()),
            Needle::new(octets.iter().rev().copied()),
            // Characters of one line that stand for a part of it.
            Needle::new(body.bytes().skip(if body.len() > 88 { 64 } else { 24 }).take(24)),
            Needle::new(jwk.expose()[of_jwk..].iter().copied().take(24)),
        ];
        drop((octets, body));
        let [_, _, in_pem, in_jwk] = count(&needles);
        assert!(in_pem > 0 && in_jwk > 0, "the search finds texts that are there");
        drop(pem);
        LocalKey::from_jwk(&jwk, backend)
            .unwrap()
            .sign(b"m")
            .wait()
            .now_or_never()
            .unwrap()
            .unwrap();
        drop(jwk);
        let [written, limbs, in_pem, in_jwk] = count(&needles);
        assert_eq!(
            (written + limbs, in_pem, in_jwk),
            (1, 0, 0),
            "{algorithm:?} {backend:?}, held"
        );
        drop(key);
        assert_eq!(count(&needles), [0; 4], "{algorithm:?} {backend:?}, dropped");
    }
}
