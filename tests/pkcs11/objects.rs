//! What is made, found and refused on a token.

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use shipbound::jose::Algorithm;
use shipbound::keys::{KeyError, KeyHolder, KeySpec, Material, Purpose, StoredKey, key_name};
use shipbound::store::pkcs11::TokenName;

use super::held::{ES256, handle, make, owner, prove};
use super::softhsm::{LABEL, SoftHsm, system_clock};

fn id_of(stored: &StoredKey) -> Vec<u8> {
    let record = &stored.record;
    let name = key_name(&record.owner, record.purpose, record.id);
    (0..64)
        .step_by(2)
        .map(|at| u8::from_str_radix(&name[at..at + 2], 16).unwrap())
        .collect()
}

fn objects(session: &Session, template: &[Attribute]) -> Vec<ObjectHandle> {
    session.find_objects(template).unwrap()
}

/// A key pair of somebody else on the token, with this id and label, that can be exported or not.
fn plant(session: &Session, id: &[u8], label: &str, extractable: bool) -> (ObjectHandle, ObjectHandle) {
    let curve = vec![6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
    let (id, label) = (Attribute::Id(id.to_vec()), Attribute::Label(label.as_bytes().to_vec()));
    session
        .generate_key_pair(
            &Mechanism::EccKeyPairGen,
            &[
                Attribute::Token(true),
                Attribute::EcParams(curve),
                id.clone(),
                label.clone(),
            ],
            &[
                Attribute::Token(true),
                Attribute::Sensitive(!extractable),
                Attribute::Extractable(extractable),
                id,
                label,
                Attribute::Sign(true),
                Attribute::Decrypt(false),
                Attribute::Unwrap(false),
                Attribute::Derive(false),
                Attribute::SignRecover(false),
            ],
        )
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_sign_proofs_that_verify_and_never_leave_the_token() {
    let hsm = SoftHsm::new();
    let token = hsm.token();
    assert_eq!(hsm.calls('I'), 0, "nothing is touched before the first call");
    let ps256 = KeySpec {
        algorithm: Algorithm::Ps256,
        ..ES256
    };
    for spec in [
        ES256,
        ps256,
        KeySpec {
            purpose: Purpose::ClientAssertion,
            ..ES256
        },
    ] {
        let stored = make(&token, spec).await.unwrap();
        assert_eq!(stored.record.public.algorithm(), spec.algorithm);
        let key = handle(&token, &stored).await.unwrap();
        if spec.purpose == Purpose::Proof {
            prove(&key).await.unwrap();
        }

        let session = hsm.intruder();
        let [private] = objects(
            &session,
            &[
                Attribute::Id(id_of(&stored)),
                Attribute::Class(ObjectClass::PRIVATE_KEY),
            ],
        )[..] else {
            panic!("one private object");
        };
        let secret = [AttributeType::Value, AttributeType::PrivateExponent];
        assert!(
            session.get_attributes(private, &secret).unwrap().is_empty(),
            "it is not shown"
        );
        for (asked, wanted) in [
            (AttributeType::Sensitive, Attribute::Sensitive(true)),
            (AttributeType::Extractable, Attribute::Extractable(false)),
            (AttributeType::NeverExtractable, Attribute::NeverExtractable(true)),
            (AttributeType::Sign, Attribute::Sign(true)),
            (AttributeType::Decrypt, Attribute::Decrypt(false)),
            (AttributeType::Unwrap, Attribute::Unwrap(false)),
            (AttributeType::Derive, Attribute::Derive(false)),
        ] {
            assert_eq!(session.get_attributes(private, &[asked]).unwrap(), [wanted]);
        }
        let label = format!("shipbound {} {}", spec.purpose, stored.record.id);
        assert_eq!(objects(&session, &[Attribute::Label(label.into_bytes())]).len(), 2);

        token.destroy(&stored.record).await.unwrap();
        token.destroy(&stored.record).await.unwrap();
        assert!(objects(&session, &[Attribute::Id(id_of(&stored))]).is_empty());
        assert_eq!(prove_or_sign(&key).await, Err(KeyError::Missing));
        assert_eq!(handle(&token, &stored).await.unwrap_err(), KeyError::Missing);
    }
    for algorithm in [Algorithm::Ed25519, Algorithm::Rs256] {
        let refused = make(&token, KeySpec { algorithm, ..ES256 }).await.unwrap_err();
        assert!(matches!(refused, KeyError::Unsupported { .. }));
    }
    let text = format!("{token:?} {:?}", hsm.builder());
    assert!(!text.contains("sEcReT"), "{text}");
}

async fn prove_or_sign(key: &shipbound::keys::KeyHandle) -> Result<(), KeyError> {
    key.sign(b"message").wait().await.map(|_signature| ())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decoy_of_the_same_id_is_refused_and_one_of_the_same_label_is_nobody() {
    let hsm = SoftHsm::new();
    let token = hsm.token();
    let stored = make(&token, ES256).await.unwrap();
    let session = hsm.intruder();
    let label = format!("shipbound proof {}", stored.record.id);
    plant(&session, &[7; 32], &label, true);
    prove(&handle(&token, &stored).await.unwrap()).await.unwrap();

    let (public, private) = plant(&session, &id_of(&stored), "other", false);
    assert_eq!(handle(&token, &stored).await.unwrap_err(), KeyError::Mismatch);
    session.destroy_object(private).unwrap();
    assert_eq!(
        handle(&token, &stored).await.unwrap_err(),
        KeyError::Mismatch,
        "two public halves"
    );
    session.destroy_object(public).unwrap();
    prove(&handle(&token, &stored).await.unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_took_the_place_of_the_recorded_one_signs_nothing() {
    let hsm = SoftHsm::new();
    let token = hsm.token();
    let stored = make(&token, ES256).await.unwrap();
    let held = handle(&token, &stored).await.unwrap();
    prove(&held).await.unwrap();
    let session = hsm.intruder();
    for object in objects(&session, &[Attribute::Id(id_of(&stored))]) {
        session.destroy_object(object).unwrap();
    }
    let (public, _private) = plant(&session, &id_of(&stored), "other", false);
    assert_eq!(
        prove_or_sign(&held).await,
        Err(KeyError::Mismatch),
        "the handle of before"
    );
    assert_eq!(handle(&token, &stored).await.unwrap_err(), KeyError::Mismatch);
    // The private half alone.
    session.destroy_object(public).unwrap();
    assert_eq!(handle(&token, &stored).await.unwrap_err(), KeyError::Mismatch);
    // Material that names another key.
    let other = make(&token, ES256).await.unwrap();
    let swapped = StoredKey {
        material: other.material.clone(),
        ..stored.clone()
    };
    assert_eq!(handle(&token, &swapped).await.unwrap_err(), KeyError::Mismatch);
    let moved = StoredKey {
        material: Some(Material::new("../other")),
        ..other.clone()
    };
    assert_eq!(handle(&token, &moved).await.unwrap_err(), KeyError::Mismatch);
    let gone = StoredKey {
        material: None,
        ..other
    };
    assert_eq!(handle(&token, &gone).await.unwrap_err(), KeyError::Missing);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_can_be_exported_is_destroyed_where_it_is_made_and_refused_where_it_is_found() {
    let hsm = SoftHsm::new();
    let token = hsm.token();
    hsm.tell("export", true);
    assert_eq!(make(&token, ES256).await.unwrap_err(), KeyError::Mismatch);
    let session = hsm.intruder();
    assert!(objects(&session, &[]).is_empty(), "nothing stays");
    hsm.tell("export", false);

    // The same key, as somebody else would make it.
    let mut stored = make(&token, ES256).await.unwrap();
    token.destroy(&stored.record).await.unwrap();
    let (public, _private) = plant(&session, &id_of(&stored), "other", true);
    let point = session.get_attributes(public, &[AttributeType::EcPoint]).unwrap();
    let [Attribute::EcPoint(point)] = &point[..] else {
        panic!("a point")
    };
    let (x, y) = point[3..].split_at(32);
    stored.record.public = shipbound::jose::PublicJwk::p256(x.try_into().unwrap(), y.try_into().unwrap()).unwrap();
    assert_eq!(handle(&token, &stored).await.unwrap_err(), KeyError::Mismatch);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_told_apart_and_share_a_module() {
    let hsm = SoftHsm::new();
    hsm.add_token("other");
    let first = hsm.token();
    let second = shipbound::store::pkcs11::Pkcs11Token::builder(
        hsm.module(),
        TokenName::Label("other".to_owned()),
        super::softhsm::PIN,
    )
    .build(system_clock());
    let (one, two) = (make(&first, ES256).await.unwrap(), make(&second, ES256).await.unwrap());
    prove(&handle(&first, &one).await.unwrap()).await.unwrap();
    prove(&handle(&second, &two).await.unwrap()).await.unwrap();
    assert_eq!(handle(&first, &two).await.unwrap_err(), KeyError::Missing);

    let (library, slot) = hsm.slot();
    let info = library.get_token_info(slot).unwrap();
    assert_eq!(info.label(), LABEL);
    let serial = TokenName::Serial(info.serial_number().to_owned());
    let third = shipbound::store::pkcs11::Pkcs11Token::builder(hsm.module(), serial, super::softhsm::PIN);
    prove(&handle(&third.build(system_clock()), &one).await.unwrap())
        .await
        .unwrap();
    assert_ne!(owner("acme"), owner("globex"));
}
