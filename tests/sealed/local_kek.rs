//! KEKs from files and variables, and what they wrap.

use std::io::Write;

use shipbound::owner::{DeploymentId, Tenant, TenantId};
use shipbound::store::seal::{DataKey, DataKeyId, KekError, KekId, KekProvider, KekSecret, LocalKek, WrapContext};
use uuid::Uuid;

const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const BASE64: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn id(text: &str) -> KekId {
    KekId::new(text).unwrap()
}

fn kek(name: &str, hex: &str) -> LocalKek {
    LocalKek::new(id(name), KekSecret::parse(hex).unwrap())
}

#[tokio::test]
async fn all_ways_of_writing_a_kek_mean_the_same() {
    let deployment = DeploymentId::default_deployment();
    let (data_key_id, data_key) = DataKey::random().unwrap();
    let context = WrapContext::new(&deployment, None, data_key_id);
    let wrapped = kek("k1", HEX).wrap(&id("k1"), &data_key, &context).await.unwrap();
    for text in [
        HEX.to_uppercase(),
        format!("{HEX}\n"),
        BASE64.to_owned(),
        BASE64.trim_end_matches('=').to_owned(),
    ] {
        let unwrapped = kek("k1", &text).unwrap(&wrapped, &context).await.unwrap();
        assert_eq!(unwrapped.expose(), data_key.expose());
    }
}

#[test]
fn what_is_no_kek_is_refused() {
    let zeros = "00".repeat(32);
    let half = &HEX[..32];
    let no_digit = format!("{}zz", &HEX[..62]);
    for text in [
        "",
        "secret",
        half,
        &*zeros,
        &*no_digit,
        &HEX[..63],
        &*format!("{HEX}00"),
        &*format!(" {HEX}"),
    ] {
        assert!(
            matches!(KekSecret::parse(text).unwrap_err(), KekError::Invalid(_)),
            "{text}"
        );
    }
}

#[test]
#[cfg(unix)]
fn a_file_that_others_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let path = std::env::temp_dir().join(format!("shipbound-kek-{}", Uuid::new_v4()));
    std::fs::File::create(&path).unwrap().write_all(HEX.as_bytes()).unwrap();
    let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    for open in [0o644, 0o640, 0o604, 0o601, 0o620] {
        mode(open);
        assert!(
            matches!(KekSecret::from_file(&path).unwrap_err(), KekError::Invalid(_)),
            "{open:o}"
        );
    }
    mode(0o600);
    assert!(KekSecret::from_file(&path).is_ok());
    std::fs::write(&path, HEX.repeat(3)).unwrap();
    assert!(matches!(KekSecret::from_file(&path).unwrap_err(), KekError::Invalid(_)));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(KekSecret::from_file(&path).unwrap_err(), KekError::Unavailable);
    assert!(KekSecret::from_file(std::env::temp_dir()).is_err());
}

#[test]
fn a_variable_is_read_when_it_is_named() {
    // Cargo sets this one for every test; it is no KEK, and its text is in no error.
    let error = KekSecret::from_variable("CARGO_MANIFEST_DIR").unwrap_err();
    assert!(matches!(error, KekError::Invalid(_)));
    assert!(!error.to_string().contains(env!("CARGO_MANIFEST_DIR")));
    assert!(matches!(
        KekSecret::from_variable("SHIPBOUND_TEST_NOT_SET").unwrap_err(),
        KekError::Invalid("its environment variable is not set")
    ));
}

#[tokio::test]
async fn a_wrapped_key_unwraps_for_whom_it_was_wrapped_and_under_its_kek() {
    let other = "20".repeat(31) + "21";
    let keks = kek("k2", &other).with_older(id("k1"), KekSecret::parse(HEX).unwrap());
    assert_eq!(keks.current().await.unwrap(), id("k2"));
    let (one, two) = (DeploymentId::new("d").unwrap(), DeploymentId::new("D").unwrap());
    let tenant = |text: &str, incarnation| Tenant::new(TenantId::new(text).unwrap(), Uuid::from_u128(incarnation));
    let (a, b, c) = (tenant("a", 0), tenant("A", 0), tenant("a", 1));
    let (data_key_id, data_key) = DataKey::random().unwrap();
    let other_id = DataKeyId::from_uuid(Uuid::from_u128(9));
    let contexts = [
        WrapContext::new(&one, Some(&a), data_key_id),
        WrapContext::new(&two, Some(&a), data_key_id),
        WrapContext::new(&one, Some(&b), data_key_id),
        WrapContext::new(&one, Some(&c), data_key_id),
        WrapContext::new(&one, None, data_key_id),
        WrapContext::new(&one, Some(&a), other_id),
    ];
    for (at, context) in contexts.iter().enumerate() {
        let wrapped = keks.wrap(&id("k1"), &data_key, context).await.unwrap();
        for (of, context) in contexts.iter().enumerate() {
            match keks.unwrap(&wrapped, context).await {
                Ok(key) => assert!(at == of && key.expose() == data_key.expose()),
                Err(error) => assert!(at != of && error == KekError::Refused),
            }
        }
        // Under the name of another KEK.
        let mut moved = wrapped.clone();
        moved.kek = id("k2");
        assert_eq!(keks.unwrap(&moved, context).await.unwrap_err(), KekError::Refused);
        moved.kek = id("k3");
        assert_eq!(keks.unwrap(&moved, context).await.unwrap_err(), KekError::Unknown);
    }
    assert_eq!(
        keks.wrap(&id("k3"), &data_key, &contexts[0]).await.unwrap_err(),
        KekError::Unknown
    );
}

#[test]
fn debug_shows_names_and_no_octets() {
    let keks = kek("k1", HEX);
    let shown = format!("{keks:?} {:?}", KekSecret::parse(HEX).unwrap());
    assert!(
        shown.contains("k1") && !shown.contains("0102") && !shown.contains("1, 2"),
        "{shown}"
    );
}
