//! A sealed value opens in its own context and in no other.

use shipbound::jose::{Algorithm, Thumbprint};
use shipbound::keys::{Backend, KeyState, LocalKey, Purpose};
use shipbound::store::seal::{self, DataKey, DataKeyId, SealContext, SealError, Table};

use super::owners;

const VALUE: &[u8] = b"sEcReTmArKeR";

fn thumbprints() -> [Thumbprint; 2] {
    [(); 2].map(|()| {
        let key = LocalKey::generate(Algorithm::Es256, Backend::default()).unwrap();
        key.public().thumbprint()
    })
}

/// One part varied at a time, all tables, states, purposes; and every owner in every table.
fn contexts<'a>(owners: &'a [shipbound::owner::Owner], jkts: &[Thumbprint; 2]) -> Vec<SealContext<'a>> {
    let tables = [Table::Keys, Table::Credentials, Table::Grants, Table::Ledger];
    let states = [
        KeyState::Pending,
        KeyState::Active,
        KeyState::Draining,
        KeyState::Destroyed,
        KeyState::Compromised,
    ];
    let purposes = [Purpose::Proof, Purpose::ClientAssertion, Purpose::Tls];
    let mut all = Vec::new();
    for owner in owners {
        all.extend(tables.map(|table| SealContext::new(owner, table, 0)));
    }
    let owner = &owners[0];
    for table in tables {
        for revision in [1, 1 << 8, u64::from(u32::MAX) + 1, u64::MAX] {
            all.push(SealContext::new(owner, table, revision));
        }
        for stage in ["ready", "claimed", "ready "] {
            let mut context = SealContext::new(owner, table, 0);
            context.stage = Some(stage);
            all.push(context);
        }
        for purpose in purposes {
            for jkt in jkts {
                for state in states {
                    let mut context = SealContext::new(owner, table, 0);
                    context.purpose = Some(purpose);
                    context.jkt = Some(*jkt);
                    context.state = Some(state);
                    all.push(context);
                }
            }
        }
    }
    all
}

#[test]
fn every_value_under_every_other_context_is_refused() {
    let (owners, jkts) = (owners::alike(), thumbprints());
    let contexts = contexts(&owners, &jkts);
    let (id, key) = DataKey::random().unwrap();
    let sealed: Vec<String> = contexts
        .iter()
        .map(|context| seal::seal(id, &key, context, VALUE).unwrap())
        .collect();
    let mut refused = 0;
    for (at, context) in contexts.iter().enumerate() {
        for (of, sealed) in sealed.iter().enumerate() {
            let opened = seal::open(id, &key, context, sealed);
            if at == of {
                assert_eq!(opened.unwrap().as_slice(), VALUE);
            } else {
                assert_eq!(opened.unwrap_err(), SealError::Refused, "{context:?} opened {of}");
                refused += 1;
            }
        }
    }
    assert_eq!(refused, contexts.len() * (contexts.len() - 1));
}

#[test]
fn another_data_key_or_another_id_of_the_same_key_is_refused() {
    let owner = &owners::alike()[0];
    let context = SealContext::new(owner, Table::Grants, 7);
    let (id, key) = DataKey::random().unwrap();
    let (other_id, other) = DataKey::random().unwrap();
    let sealed = seal::seal(id, &key, &context, VALUE).unwrap();
    assert_eq!(seal::data_key_of(&sealed).unwrap(), id);
    assert_eq!(
        seal::open(id, &other, &context, &sealed).unwrap_err(),
        SealError::Refused
    );
    assert_eq!(
        seal::open(other_id, &key, &context, &sealed).unwrap_err(),
        SealError::Refused
    );
    assert_eq!(
        seal::open(other_id, &other, &context, &sealed).unwrap_err(),
        SealError::Refused
    );
}

#[test]
fn sealing_the_same_twice_gives_two_texts_and_shows_nothing() {
    let owner = &owners::alike()[0];
    let context = SealContext::new(owner, Table::Grants, 7);
    let (id, key) = DataKey::random().unwrap();
    let [one, two] = [(); 2].map(|()| seal::seal(id, &key, &context, VALUE).unwrap());
    assert_ne!(one, two);
    assert!(!one.contains("sEcReT"));
    assert_eq!(format!("{key:?}"), "DataKey(redacted)");
}

#[test]
fn the_largest_value_is_sealed_and_opened_and_one_octet_more_is_not() {
    let owner = &owners::alike()[0];
    let context = SealContext::new(owner, Table::Credentials, 7);
    let (_, key) = DataKey::random().unwrap();
    let id = DataKeyId::from_uuid(uuid::Uuid::max());
    let largest = vec![7; seal::MAX_VALUE];
    let sealed = seal::seal(id, &key, &context, &largest).unwrap();
    assert!(sealed.len() <= seal::MAX_SEALED);
    assert_eq!(*seal::open(id, &key, &context, &sealed).unwrap(), largest);
    let more = vec![7; seal::MAX_VALUE + 1];
    assert_eq!(seal::seal(id, &key, &context, &more).unwrap_err(), SealError::TooLarge);
    assert_eq!(
        *seal::open(id, &key, &context, &seal::seal(id, &key, &context, b"").unwrap()).unwrap(),
        b""
    );
}
