//! Client certificates: which are taken in, in which forms, and why the others are not.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use shipbound::clock::Timestamp;
use shipbound::keys::{Backend, KeyHandle, KeyId, LocalKey, Purpose, Retired, Signer, Signing};
use shipbound::owner::{DeploymentId, Owner};
use shipbound::secret::KeyMaterial;
use shipbound::transport::identity::{ClientIdentity, IdentityError, chain_from_pem};

fn file(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/identities")
        .join(name);
    std::fs::read(path).unwrap()
}

fn key(name: &str) -> KeyMaterial {
    KeyMaterial::new(file(name))
}

fn pem(certificate: &str, key_name: &str) -> Result<ClientIdentity, IdentityError> {
    ClientIdentity::from_pem(&file(certificate), &key(key_name))
}

fn joined(names: &[&str]) -> Vec<u8> {
    names.iter().flat_map(|name| file(name)).collect()
}

/// The octets of the first PEM block in a file.
fn der(name: &str) -> Vec<u8> {
    let text = String::from_utf8(file(name)).unwrap();
    let body: String = text
        .lines()
        .skip(1)
        .take_while(|line| !line.starts_with("-----"))
        .collect();
    STANDARD.decode(body).unwrap()
}

#[test]
fn every_usual_kind_of_key_is_taken() {
    for kind in ["p256", "p384", "p521", "ed25519", "rsa2048"] {
        let (certificate, private) = (format!("{kind}.pem"), format!("{kind}.key"));
        let identity = pem(&certificate, &private).unwrap_or_else(|error| panic!("{kind}: {error}"));
        let same = ClientIdentity::from_der([der(&certificate)], &KeyMaterial::new(der(&private))).unwrap();
        assert_eq!(identity.x5t(), same.x5t());
        assert_ne!(identity, same, "two identities, each with connections of its own");
        assert_eq!(identity, identity.clone());
    }
    for (certificate, private) in [
        ("p256.pem", "p256-sec1.key"),
        ("no-usage.pem", "p256.key"),
        ("version1.pem", "p256.key"),
        ("pss-sha256.pem", "p256.key"),
        ("sha1-self-signed.pem", "p256.key"),
    ] {
        assert!(pem(certificate, private).is_ok(), "{certificate} {private}");
    }
}

#[test]
fn the_thumbprint_is_the_sha_256_of_the_der() {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der("p256.pem"));
    let identity = pem("p256.pem", "p256.key").unwrap();
    assert_eq!(identity.x5t().as_bytes(), digest.as_ref());
}

#[test]
fn text_around_blocks_and_line_ends_do_not_matter() {
    let both = [
        b"Bag Attributes\n    friendlyName: acme\n".to_vec(),
        file("p256.pem"),
        b"issuer=CN = test authority\r\n".to_vec(),
        file("authority.pem"),
        file("p256.key"),
        b"rubbish that follows".to_vec(),
    ]
    .concat();
    let identity = ClientIdentity::from_pem(&both, &KeyMaterial::new(both.clone())).unwrap();
    assert_eq!(identity.x5t(), pem("p256.pem", "p256.key").unwrap().x5t());
    assert_eq!(chain_from_pem(&both).unwrap(), [der("p256.pem"), der("authority.pem")]);

    let crlf = |name| {
        String::from_utf8(file(name))
            .unwrap()
            .replace('\n', "\r\n")
            .into_bytes()
    };
    assert!(ClientIdentity::from_pem(&crlf("p256.pem"), &KeyMaterial::new(crlf("p256.key"))).is_ok());
}

#[test]
fn what_is_weak_or_not_for_clients_is_refused() {
    for (certificate, error) in [
        ("rsa1024.pem", IdentityError::Weak),
        ("secp256k1.pem", IdentityError::Weak),
        ("ed448.pem", IdentityError::Weak),
        ("sha1.pem", IdentityError::Weak),
        ("md5.pem", IdentityError::Weak),
        ("pss-sha1.pem", IdentityError::Weak),
        ("server-only.pem", IdentityError::NotForClients),
    ] {
        assert_eq!(pem(certificate, "p256.key").unwrap_err(), error, "{certificate}");
    }
    // An authority's certificate counts too.
    let chain = joined(&["p256.pem", "sha1.pem"]);
    assert_eq!(
        ClientIdentity::from_pem(&chain, &key("p256.key")).unwrap_err(),
        IdentityError::Weak
    );
}

#[test]
fn rsa_keys_have_2048_to_8192_bits() {
    let authority = rcgen::KeyPair::generate().unwrap();
    let issuer = rcgen::Issuer::new(rcgen::CertificateParams::default(), authority);
    for (bits, error) in [
        (2047, IdentityError::Weak),
        // Strong enough; the key is another one.
        (2048, IdentityError::Mismatch),
        (8192, IdentityError::Mismatch),
        (8193, IdentityError::Weak),
    ] {
        let public = Modulus(rsa_numbers(bits));
        let certificate = rcgen::CertificateParams::default().signed_by(&public, &issuer).unwrap();
        let result = ClientIdentity::from_der([certificate.der()], &KeyMaterial::new(der("p256.key")));
        assert_eq!(result.unwrap_err(), error, "{bits}");
    }
}

/// An RSA key that nobody has the other half of.
struct Modulus(Vec<u8>);

impl rcgen::PublicKeyData for Modulus {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_RSA_SHA256
    }
}

/// An `RSAPublicKey` with a modulus of that many bits.
fn rsa_numbers(bits: usize) -> Vec<u8> {
    fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
        let length = value.len();
        let mut all = vec![tag];
        if length < 128 {
            all.push(u8::try_from(length).unwrap());
        } else {
            all.extend([0x82, u8::try_from(length >> 8).unwrap(), (length & 0xff) as u8]);
        }
        [all, value.to_vec()].concat()
    }
    let mut modulus = vec![0xff; bits.div_ceil(8)];
    modulus[0] >>= modulus.len() * 8 - bits;
    if modulus[0] & 0x80 != 0 {
        modulus.insert(0, 0);
    }
    tlv(0x30, &[tlv(2, &modulus), tlv(2, &[1, 0, 1])].concat())
}

#[test]
fn what_is_damaged_or_missing_is_refused() {
    let good = file("p256.pem");
    let cut = &good[..good.len() - 40];
    let other_end = String::from_utf8(good.clone())
        .unwrap()
        .replace("END CERTIFICATE", "END PRIVATE KEY");
    let no_base64 = String::from_utf8(good.clone()).unwrap().replacen("MII", "M*I", 1);
    let extra = format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        STANDARD.encode([der("p256.pem"), vec![0]].concat())
    );
    for (certificates, error) in [
        (&b""[..], IdentityError::NoCertificate),
        (b"no PEM at all", IdentityError::NoCertificate),
        (&file("p256.key"), IdentityError::NoCertificate),
        (cut, IdentityError::Malformed),
        (other_end.as_bytes(), IdentityError::Malformed),
        (no_base64.as_bytes(), IdentityError::Malformed),
        (extra.as_bytes(), IdentityError::Malformed),
        (b"\xff-----BEGIN CERTIFICATE-----", IdentityError::Malformed),
        (
            b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----",
            IdentityError::Malformed,
        ),
    ] {
        assert_eq!(
            ClientIdentity::from_pem(certificates, &key("p256.key")).unwrap_err(),
            error
        );
    }
    let private = file("p256.key");
    for (private, error) in [
        (Vec::new(), IdentityError::KeyMalformed),
        (good.clone(), IdentityError::KeyMalformed),
        (private[..private.len() - 30].to_vec(), IdentityError::KeyMalformed),
        (file("p256-encrypted.key"), IdentityError::KeyEncrypted),
        (file("p256-encrypted-sec1.key"), IdentityError::KeyEncrypted),
        (joined(&["p256.key", "p384.key"]), IdentityError::SeveralKeys),
        (file("p384.key"), IdentityError::Mismatch),
        (file("rsa2048.key"), IdentityError::Mismatch),
    ] {
        assert_eq!(
            ClientIdentity::from_pem(&good, &KeyMaterial::new(private)).unwrap_err(),
            error
        );
    }
    let chain = [der("p256.pem")];
    for (private, error) in [
        (Vec::new(), IdentityError::KeyMalformed),
        (der("p256.pem"), IdentityError::KeyEncrypted),
        (der("p256-encrypted.key"), IdentityError::KeyEncrypted),
        (der("ed25519.key"), IdentityError::Mismatch),
    ] {
        let result = ClientIdentity::from_der(&chain, &KeyMaterial::new(private));
        assert_eq!(result.unwrap_err(), error);
    }
    let none: [&[u8]; 0] = [];
    assert_eq!(
        ClientIdentity::from_der(none, &key("p256.key")).unwrap_err(),
        IdentityError::NoCertificate
    );
}

#[test]
fn limits_hold() {
    let with_authorities = |count| {
        let mut chain = file("p256.pem");
        chain.extend(file("authority.pem").repeat(count));
        ClientIdentity::from_pem(&chain, &key("p256.key"))
    };
    assert!(with_authorities(9).is_ok());
    assert_eq!(with_authorities(10).unwrap_err(), IdentityError::TooLarge);

    let mut chain = vec![vec![0; 65 * 1024]];
    chain.insert(0, der("p256.pem"));
    assert_eq!(
        ClientIdentity::from_der(&chain, &key("p256.key")).unwrap_err(),
        IdentityError::TooLarge
    );

    let mut long = file("p256.pem");
    long.resize(128 * 1024, b'\n');
    assert!(ClientIdentity::from_pem(&long, &key("p256.key")).is_ok());
    long.push(b'\n');
    assert_eq!(
        ClientIdentity::from_pem(&long, &key("p256.key")).unwrap_err(),
        IdentityError::TooLarge
    );
    let huge = KeyMaterial::new(vec![b' '; 128 * 1024 + 1]);
    assert_eq!(
        ClientIdentity::from_pem(&file("p256.pem"), &huge).unwrap_err(),
        IdentityError::TooLarge
    );
    assert_eq!(
        ClientIdentity::from_der([der("p256.pem")], &huge).unwrap_err(),
        IdentityError::TooLarge
    );
}

#[test]
fn validity_is_checked_against_the_time_that_is_handed_in() {
    let identity = pem("p256.pem", "p256.key").unwrap();
    let (from, until) = (identity.not_before(), identity.not_after());
    assert!(from < until);
    assert_eq!(identity.check_valid(from), Ok(()));
    assert_eq!(identity.check_valid(until), Ok(()));
    assert_eq!(
        identity.check_valid(from.offset_seconds(-1)),
        Err(IdentityError::NotYetValid { not_before: from })
    );
    let expired = IdentityError::Expired { not_after: until };
    assert_eq!(identity.check_valid(until.offset_seconds(1)), Err(expired));
    assert!(expired.to_string().contains(&until.to_string()));
    assert!(Timestamp::UNIX_EPOCH < from);
}

#[test]
fn errors_and_debug_show_nothing_of_keys() {
    let identity = pem("p256.pem", "p256.key").unwrap();
    let shown = format!("{identity:?}");
    assert!(shown.contains(&identity.x5t().to_string()), "{shown}");
    assert!(!shown.contains("certified") && !shown.contains("key"), "{shown}");
}

fn owner() -> Owner {
    Owner::Deployment(DeploymentId::default_deployment())
}

/// A local key with the private key of `p256.pem`.
fn local() -> Arc<LocalKey> {
    Arc::new(LocalKey::from_pem(&key("p256.key"), Backend::AwsLc).unwrap())
}

fn handle(purpose: Purpose) -> KeyHandle {
    let key = local();
    KeyHandle::new(owner(), KeyId::random().unwrap(), purpose, key.public().clone(), key)
}

/// Signs with `local`, but not at once.
#[derive(Debug)]
struct Remote(Arc<LocalKey>);

impl Signer for Remote {
    fn sign<'a>(&'a self, message: &'a [u8]) -> Signing<'a> {
        Signing::Later(Box::pin(self.0.sign(message).wait()))
    }
}

#[test]
fn a_key_of_a_store_must_be_for_tls_sign_at_once_and_be_the_certificates() {
    let chain = [der("p256.pem")];
    assert!(ClientIdentity::from_key(&handle(Purpose::Tls), &chain).is_ok());
    assert_eq!(
        ClientIdentity::from_key(&handle(Purpose::Proof), &chain).unwrap_err(),
        IdentityError::KeyPurpose
    );
    assert_eq!(
        ClientIdentity::from_key(&handle(Purpose::Tls), [der("p384.pem")]).unwrap_err(),
        IdentityError::Mismatch
    );
    assert_eq!(
        ClientIdentity::from_key(&handle(Purpose::Tls), [der("ed25519.pem")]).unwrap_err(),
        IdentityError::Mismatch
    );
    let id = KeyId::random().unwrap();
    let public = local().public().clone();
    let remote = KeyHandle::new(owner(), id, Purpose::Tls, public.clone(), Arc::new(Remote(local())));
    assert_eq!(
        ClientIdentity::from_key(&remote, &chain).unwrap_err(),
        IdentityError::KeySignsLater
    );
    let pending = KeyHandle::pending(owner(), id, Purpose::Tls, public.clone(), local());
    assert_eq!(
        ClientIdentity::from_key(&pending, &chain).unwrap_err(),
        IdentityError::KeyClosed
    );
    let closed = handle(Purpose::Tls);
    assert!(closed.close(Retired::Compromised));
    assert_eq!(
        ClientIdentity::from_key(&closed, &chain).unwrap_err(),
        IdentityError::KeyClosed
    );
    // A signer with another key than the handle says.
    let other = Arc::new(
        LocalKey::from_pem(
            &KeyMaterial::new(rcgen::KeyPair::generate().unwrap().serialize_pem()),
            Backend::AwsLc,
        )
        .unwrap(),
    );
    let swapped = KeyHandle::new(owner(), id, Purpose::Tls, public, other);
    assert_eq!(
        ClientIdentity::from_key(&swapped, &chain).unwrap_err(),
        IdentityError::Mismatch
    );
}

#[cfg(feature = "pkcs12")]
mod pkcs12 {
    use p12_keystore::{Certificate, KeyStore, KeyStoreEntry, PrivateKeyChain};
    use shipbound::secret::Passphrase;

    use super::*;

    const PASSWORD: &str = "sEcReTmArKeR-pkcs12";

    fn read(octets: Vec<u8>, password: &str) -> Result<ClientIdentity, IdentityError> {
        ClientIdentity::from_pkcs12(&KeyMaterial::new(octets), &Passphrase::new(password))
    }

    #[test]
    fn files_of_all_ages_are_read() {
        let x5t = pem("p256.pem", "p256.key").unwrap().x5t();
        for name in ["new.p12", "new-sha1-mac.p12", "no-mac.p12", "old.p12", "old-3des.p12"] {
            let identity = read(file(name), PASSWORD).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(identity.x5t(), x5t, "{name}");
            assert_eq!(
                read(file(name), "sEcReTmArKeR-other").unwrap_err(),
                IdentityError::WrongPassword,
                "{name}"
            );
        }
    }

    #[test]
    fn what_is_not_one_key_with_its_certificate_is_refused() {
        assert_eq!(
            read(file("no-key.p12"), PASSWORD).unwrap_err(),
            IdentityError::KeyMalformed
        );
        assert_eq!(
            read(file("unread-rc4.p12"), PASSWORD).unwrap_err(),
            IdentityError::Malformed
        );
        let entry = |name: &str| {
            let certificate = Certificate::from_der(&der(&format!("{name}.pem"))).unwrap();
            KeyStoreEntry::PrivateKeyChain(PrivateKeyChain::new(der(&format!("{name}.key")), name, [certificate]))
        };
        let mut store = KeyStore::new();
        store.add_entry("one", entry("p256"));
        assert!(read(store.writer(PASSWORD).write().unwrap(), PASSWORD).is_ok());
        store.add_entry("other", entry("p384"));
        assert_eq!(
            read(store.writer(PASSWORD).write().unwrap(), PASSWORD).unwrap_err(),
            IdentityError::SeveralKeys
        );
    }

    #[test]
    fn damaged_files_are_refused_and_nothing_panics() {
        let good = file("new.p12");
        assert_eq!(
            read(vec![0; 128 * 1024 + 1], PASSWORD).unwrap_err(),
            IdentityError::TooLarge
        );
        for length in (0..good.len()).step_by(31) {
            assert!(read(good[..length].to_vec(), PASSWORD).is_err(), "{length}");
        }
        // Parameters and salts come first.
        for name in ["no-mac.p12", "old.p12"] {
            let good = file(name);
            for place in (0..good.len().min(160)).step_by(3) {
                let mut changed = good.clone();
                changed[place] ^= 0x41;
                let _either = read(changed, PASSWORD);
            }
        }
    }

    #[test]
    fn rounds_without_end_are_refused_before_they_are_made() {
        // As PKCS#12 has them: in `MacData`, and in parameters inside an OCTET STRING.
        let rounds = [0x30, 0x0c, 0x04, 0x04, 1, 2, 3, 4, 0x02, 0x04, 0x00, 0x98, 0x96, 0x81];
        let nested = [&[0x30, 0x12, 0x30, 0x10, 0x04, 0x0e][..], &rounds].concat();
        let deep = (0..60).fold(Vec::new(), |inner: Vec<u8>, _| {
            [&[0x30, u8::try_from(inner.len()).unwrap()][..], &inner].concat()
        });
        assert_eq!(read(rounds.to_vec(), PASSWORD).unwrap_err(), IdentityError::TooLarge);
        assert_eq!(read(nested, PASSWORD).unwrap_err(), IdentityError::TooLarge);
        assert_eq!(read(deep, PASSWORD).unwrap_err(), IdentityError::Malformed);
    }
}
