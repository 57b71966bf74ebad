//! Data keys that are wrapped on the token.

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass};
use shipbound::owner::{DeploymentId, Tenant, TenantId};
use shipbound::store::pkcs11::Pkcs11Kek;
use shipbound::store::seal::{DataKey, KekError, KekId, KekProvider, WrapContext, Wrapped};

use super::softhsm::SoftHsm;

#[tokio::test(flavor = "multi_thread")]
async fn a_data_key_opens_in_its_context_and_under_its_kek_alone() {
    let hsm = SoftHsm::new();
    let token = hsm.token();
    let (first, second) = (
        Pkcs11Kek::create(&token, "production").await.unwrap(),
        Pkcs11Kek::create(&token, "production").await.unwrap(),
    );
    assert!(first.as_str().starts_with("production:") && first != second);
    let kek = Pkcs11Kek::new(&token, first.clone());
    assert_eq!(kek.current().await.unwrap(), first);

    let acme = Tenant::from(TenantId::new("acme").unwrap());
    let globex = Tenant::from(TenantId::new("globex").unwrap());
    let deployment = DeploymentId::default_deployment();
    let (id, key) = DataKey::random().unwrap();
    let context = WrapContext::new(&deployment, Some(&acme), id);
    let wrapped = kek.wrap(&first, &key, &context).await.unwrap();
    assert_ne!(
        kek.wrap(&first, &key, &context).await.unwrap(),
        wrapped,
        "its nonce is new each time"
    );
    assert_eq!(kek.unwrap(&wrapped, &context).await.unwrap().expose(), key.expose());
    // Another process whose current KEK is the next one.
    let next = Pkcs11Kek::new(&hsm.token(), second.clone());
    assert_eq!(next.unwrap(&wrapped, &context).await.unwrap().expose(), key.expose());

    let (another, _) = DataKey::random().unwrap();
    for other in [
        WrapContext::new(&deployment, Some(&globex), id),
        WrapContext::new(&deployment, None, id),
        WrapContext::new(&deployment, Some(&acme), another),
    ] {
        assert_eq!(kek.unwrap(&wrapped, &other).await.unwrap_err(), KekError::Refused);
    }
    let mut flipped = wrapped.text.clone().into_bytes();
    flipped[30] ^= 1;
    for text in [
        String::from_utf8(flipped).unwrap(),
        wrapped.text[1..].to_owned(),
        String::new(),
        "AAAA".to_owned(),
    ] {
        let changed = Wrapped {
            kek: first.clone(),
            text,
        };
        assert_eq!(kek.unwrap(&changed, &context).await.unwrap_err(), KekError::Refused);
    }
    let renamed = Wrapped {
        kek: second,
        text: wrapped.text.clone(),
    };
    assert_eq!(kek.unwrap(&renamed, &context).await.unwrap_err(), KekError::Refused);
    let unknown = KekId::new("production:none").unwrap();
    assert_eq!(kek.wrap(&unknown, &key, &context).await.unwrap_err(), KekError::Unknown);
    assert!(matches!(
        Pkcs11Kek::create(&token, "a b").await,
        Err(KekError::Invalid(_))
    ));
    assert!(matches!(
        Pkcs11Kek::create(&token, &"a".repeat(81)).await,
        Err(KekError::Invalid(_))
    ));
}

/// What was changed and what a device cannot open look alike to a module: it is asked whether it opens anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_fails_is_told_from_a_data_key_that_was_changed() {
    let hsm = SoftHsm::new();
    let token = hsm.token();
    let id = Pkcs11Kek::create(&token, "production").await.unwrap();
    let kek = Pkcs11Kek::new(&token, id.clone());
    let deployment = DeploymentId::default_deployment();
    let (data_key, key) = DataKey::random().unwrap();
    let context = WrapContext::new(&deployment, None, data_key);
    let wrapped = kek.wrap(&id, &key, &context).await.unwrap();
    let mut flipped = wrapped.text.clone().into_bytes();
    flipped[30] = if flipped[30] == b'A' { b'B' } else { b'A' };
    let changed = Wrapped {
        kek: id,
        text: String::from_utf8(flipped).unwrap(),
    };
    for failing in [true, false] {
        hsm.tell("failing", failing);
        let before = hsm.calls('W');
        let opened = kek.unwrap(&changed, &context).await.unwrap_err();
        let expected = if failing {
            KekError::Unavailable
        } else {
            KekError::Refused
        };
        assert_eq!(opened, expected);
        assert_eq!(hsm.calls('W') - before, 1, "something of its own is sealed, and opened");
        let opened = kek.unwrap(&wrapped, &context).await;
        assert_eq!(opened.err(), failing.then_some(KekError::Unavailable));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kek_that_was_tampered_with_opens_nothing() {
    let hsm = SoftHsm::new();
    let token = hsm.token();
    let id = Pkcs11Kek::create(&token, "production").await.unwrap();
    let kek = Pkcs11Kek::new(&token, id.clone());
    let deployment = DeploymentId::default_deployment();
    let (data_key, key) = DataKey::random().unwrap();
    let context = WrapContext::new(&deployment, None, data_key);
    let wrapped = kek.wrap(&id, &key, &context).await.unwrap();

    let session = hsm.intruder();
    let secrets = [Attribute::Class(ObjectClass::SECRET_KEY)];
    let [own] = session.find_objects(&secrets).unwrap()[..] else {
        panic!("one KEK")
    };
    let name = session
        .get_attributes(own, &[cryptoki::object::AttributeType::Id])
        .unwrap();
    let plant = |extractable: bool| {
        let mut template = vec![
            Attribute::Token(true),
            Attribute::ValueLen(32_u64.into()),
            Attribute::Sensitive(!extractable),
            Attribute::Extractable(extractable),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
            Attribute::Wrap(false),
            Attribute::Unwrap(false),
            Attribute::Derive(false),
        ];
        template.extend(name.clone());
        session.generate_key(&Mechanism::AesKeyGen, &template).unwrap()
    };
    // Two of one name; one that can be exported; another one; none.
    let decoy = plant(true);
    assert_eq!(kek.wrap(&id, &key, &context).await.unwrap_err(), KekError::Refused);
    session.destroy_object(own).unwrap();
    assert_eq!(kek.wrap(&id, &key, &context).await.unwrap_err(), KekError::Refused);
    session.destroy_object(decoy).unwrap();
    let other = plant(false);
    assert_eq!(kek.unwrap(&wrapped, &context).await.unwrap_err(), KekError::Refused);
    session.destroy_object(other).unwrap();
    assert_eq!(kek.unwrap(&wrapped, &context).await.unwrap_err(), KekError::Unknown);
    hsm.tell("broken", true);
    let elsewhere = Pkcs11Kek::new(&SoftHsm::new().token(), id);
    assert_eq!(
        elsewhere.unwrap(&wrapped, &context).await.unwrap_err(),
        KekError::Unavailable,
        "its module is gone"
    );
}
