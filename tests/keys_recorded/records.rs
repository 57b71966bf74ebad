//! Records in memory, at their bounds.

use shipbound::keys::{
    Change, KeyError, KeyFilter, KeyHolder, KeyId, KeyListing, KeyRecord, KeyRecords, KeyState, LocalKeys,
    MemoryKeyRecords, StoredKey,
};

use super::world::{PROOF, START, acme, owner};

async fn made(holder: &LocalKeys) -> StoredKey {
    holder
        .make(&acme(), KeyId::random().unwrap(), PROOF, START)
        .await
        .unwrap()
}

fn next(stored: &StoredKey, state: KeyState) -> Change {
    let mut next = stored.clone();
    next.record.state = state;
    next.record.revision += 1;
    if next.record.has_ended() {
        next.material = None;
    }
    Change {
        expected: stored.record.revision,
        next,
    }
}

#[tokio::test]
async fn a_change_is_of_the_version_that_is_there_and_of_nothing_else() {
    let (records, holder) = (MemoryKeyRecords::new(), LocalKeys::new());
    let (key, other) = (made(&holder).await, made(&holder).await);
    records.insert(&key).await.unwrap();
    records.insert(&other).await.unwrap();
    type Wrong = fn(&mut Change);
    let wrongs: [Wrong; 6] = [
        |change| change.expected = 7,
        |change| change.next.record.revision += 1,
        |change| change.next.record.owner = owner("globex"),
        |change| change.next.record.purpose = shipbound::keys::Purpose::Tls,
        |change| change.next.record.id = KeyId::random().unwrap(),
        |change| change.next.record.state = KeyState::Pending,
    ];
    for (number, wrong) in wrongs.into_iter().enumerate() {
        let mut change = next(&key, KeyState::Active);
        wrong(&mut change);
        let fine = next(&other, KeyState::Draining);
        let done = records.change(&acme(), &[fine, change]).await.unwrap();
        // A pending key that stays so is a legal next version.
        assert_eq!(done, number == 5, "{number}");
    }
    let mut foreign = next(&key, KeyState::Active);
    foreign.next.record.public = made(&holder).await.record.public;
    assert!(!records.change(&acme(), &[foreign]).await.unwrap());
    assert!(
        !records
            .change(&owner("globex"), &[next(&key, KeyState::Active)])
            .await
            .unwrap()
    );
}

#[tokio::test]
async fn one_key_is_active_and_none_goes_back() {
    let (records, holder) = (MemoryKeyRecords::new(), LocalKeys::new());
    let (one, two) = (made(&holder).await, made(&holder).await);
    records.insert(&one).await.unwrap();
    records.insert(&two).await.unwrap();
    let both = [next(&one, KeyState::Active), next(&two, KeyState::Active)];
    assert!(!records.change(&acme(), &both).await.unwrap());
    assert!(records.change(&acme(), &both[..1]).await.unwrap());
    assert!(!records.change(&acme(), &both[1..]).await.unwrap());
    let one = both[0].next.clone();
    let replaced = [next(&one, KeyState::Draining), next(&two, KeyState::Active)];
    assert!(records.change(&acme(), &replaced).await.unwrap());
    let drained = replaced[0].next.clone();
    assert!(
        !records
            .change(&acme(), &[next(&drained, KeyState::Pending)])
            .await
            .unwrap()
    );
    let ended = next(&drained, KeyState::Destroyed);
    assert!(records.change(&acme(), std::slice::from_ref(&ended)).await.unwrap());
    assert!(
        !records
            .change(&acme(), &[next(&ended.next, KeyState::Draining)])
            .await
            .unwrap()
    );
}

#[tokio::test]
async fn room_ends_with_the_keys_that_were_ever_there() {
    let (records, holder) = (MemoryKeyRecords::new().with_limit(2), LocalKeys::new().with_limit(3));
    let (one, two, three) = (made(&holder).await, made(&holder).await, made(&holder).await);
    records.insert(&one).await.unwrap();
    assert_eq!(records.insert(&one).await, Err(KeyError::Duplicate));
    records.insert(&two).await.unwrap();
    assert_eq!(records.insert(&three).await, Err(KeyError::Full { limit: 2 }));
    assert!(
        records
            .change(&acme(), &[next(&one, KeyState::Destroyed)])
            .await
            .unwrap()
    );
    assert_eq!(records.insert(&three).await, Err(KeyError::Full { limit: 2 }));
    let full = holder.make(&acme(), KeyId::random().unwrap(), PROOF, START).await;
    assert_eq!(full.unwrap_err(), KeyError::Full { limit: 3 });
}

#[tokio::test]
async fn records_of_ended_keys_go_and_their_thumbprints_and_moves_stay() {
    let (records, holder) = (MemoryKeyRecords::new(), LocalKeys::new());
    let template = made(&holder).await;
    let (number, none) = records.moved(None).await.unwrap();
    assert_eq!((number, none.len()), (0, 0));
    let mut keys = Vec::new();
    for count in 0..10_050_u32 {
        let record = KeyRecord::pending(
            acme(),
            KeyId::from_uuid(uuid::Uuid::from_u128(u128::from(count))),
            PROOF.purpose,
            public(count),
            START,
        );
        let stored = StoredKey {
            record,
            ..template.clone()
        };
        records.insert(&stored).await.unwrap();
        assert!(
            records
                .change(&acme(), &[next(&stored, KeyState::Destroyed)])
                .await
                .unwrap()
        );
        keys.push(stored);
    }
    let kept = records.list(&KeyFilter::default(), None, 20_000).await.unwrap();
    assert_eq!(kept.len(), 10_000);
    assert_eq!(kept[0].id, keys[50].record.id);
    assert!(records.load(&acme(), &keys[49].record.id).await.unwrap().is_none());
    assert_eq!(records.insert(&keys[0]).await, Err(KeyError::Duplicate));
    let (number, moved) = records.moved(Some(0)).await.unwrap();
    assert_eq!((number, moved.len()), (20_100, 10_050));
    assert!(records.moved(Some(number)).await.unwrap().1.is_empty());
}

/// An RSA key that nobody has the private half of: quick to make.
fn public(number: u32) -> shipbound::jose::PublicJwk {
    use base64::Engine;

    let mut modulus = [0xff; 256];
    modulus[..4].copy_from_slice(&(number | 1 << 31).to_be_bytes());
    let n = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(modulus);
    let json = format!(r#"{{"kty":"RSA","n":"{n}","e":"AQAB"}}"#);
    shipbound::jose::PublicJwk::from_json(json.as_bytes()).unwrap()
}

/// To rotate each of many keys asks for the keys of its owner again and again.
#[tokio::test]
async fn a_listing_of_one_owner_has_what_a_listing_of_all_has_of_it() {
    let (records, holder) = (MemoryKeyRecords::new(), LocalKeys::new());
    let owners: Vec<_> = (0..7).map(|number| owner(&format!("t{number}"))).collect();
    let mut keys = Vec::new();
    for number in 0..70 {
        let of = &owners[number % 7];
        let key = holder.make(of, KeyId::random().unwrap(), PROOF, START).await.unwrap();
        records.insert(&key).await.unwrap();
        keys.push(key);
    }
    for (number, key) in keys.iter().enumerate().filter(|(number, _)| number % 3 == 0) {
        let to = if number % 2 == 0 {
            KeyState::Draining
        } else {
            KeyState::Destroyed
        };
        assert!(records.change(&key.record.owner, &[next(key, to)]).await.unwrap());
    }
    let ids = |page: Vec<KeyRecord>| page.into_iter().map(|record| record.id).collect::<Vec<_>>();
    let stranger = owner("stranger");
    for of in owners.iter().chain([&stranger]) {
        for living in [false, true] {
            let filter = match living {
                false => KeyFilter::default(),
                true => KeyFilter::default()
                    .in_state(KeyState::Pending)
                    .in_state(KeyState::Draining),
            };
            let all = records.list(&filter, None, 1_000).await.unwrap();
            let expected = ids(all.into_iter().filter(|record| record.owner == *of).collect());
            let of_one = filter.of_owner(of.clone());
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                let page = ids(records.list(&of_one, after, 3).await.unwrap());
                let Some(last) = page.last() else { break };
                after = Some(*last);
                found.extend(page);
            }
            assert_eq!(found, expected);
        }
    }
}
