//! Tokens that fail, hang, forget, and come back.

use std::sync::Arc;
use std::time::Duration;

use cryptoki::session::UserType;
use cryptoki::types::AuthPin;
use futures_util::future::join_all;
use shipbound::clock::{Clock, ManualClock, SystemClock};
use shipbound::keys::KeyError;
use shipbound::store::pkcs11::{Pkcs11Failure, Pkcs11Token, TokenName};

use super::held::{ES256, handle, make, prove};
use super::softhsm::{LABEL, PIN, SO_PIN, SoftHsm, system_clock};

/// Polls until it is so, for a minute at most.
async fn until(what: impl Fn() -> bool) {
    let clock = SystemClock::new();
    let end = clock.monotonic() + Duration::from_secs(60);
    while !what() {
        assert!(clock.monotonic() < end, "it does not happen");
        clock.sleep_until(clock.monotonic() + Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_does_not_initialise_is_tried_again() {
    let hsm = SoftHsm::new();
    let token = hsm.token();
    hsm.tell("broken", true);
    for tried in 1..=2 {
        assert_eq!(make(&token, ES256).await.unwrap_err(), KeyError::SignerFailed);
        assert_eq!((token.failure(), hsm.calls('I')), (Some(Pkcs11Failure::Module), tried));
    }
    hsm.tell("broken", false);
    make(&token, ES256).await.unwrap();
    assert_eq!(token.failure(), None);

    let nowhere =
        Pkcs11Token::builder("/no/such/module.so", TokenName::Label(LABEL.to_owned()), PIN).build(system_clock());
    assert_eq!(make(&nowhere, ES256).await.unwrap_err(), KeyError::SignerFailed);
    assert_eq!(nowhere.failure(), Some(Pkcs11Failure::Module));
    let nobody = Pkcs11Token::builder(hsm.module(), TokenName::Label("nobody".to_owned()), PIN).build(system_clock());
    assert_eq!(make(&nobody, ES256).await.unwrap_err(), KeyError::SignerFailed);
    assert_eq!(nobody.failure(), Some(Pkcs11Failure::Token));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tokens_of_one_label_are_none() {
    let hsm = SoftHsm::new();
    hsm.add_token(LABEL);
    let token = hsm.token();
    assert_eq!(make(&token, ES256).await.unwrap_err(), KeyError::SignerFailed);
    assert_eq!(token.failure(), Some(Pkcs11Failure::Token));
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_logins_and_the_module_are_made_anew() {
    let hsm = SoftHsm::new();
    let token = hsm.token();
    let stored = make(&token, ES256).await.unwrap();
    let key = handle(&token, &stored).await.unwrap();
    prove(&key).await.unwrap();

    // Somebody closes all sessions, and with them the login goes.
    hsm.tell("forget", true);
    drop(hsm.intruder());
    prove(&key).await.unwrap();
    // Somebody logs the token's user out.
    hsm.intruder().logout().unwrap();
    prove(&key).await.unwrap();
    // Somebody finalises the module: as after a restart of the token.
    hsm.library().finalize().unwrap();
    prove(&key).await.unwrap();
    let made = make(&token, ES256).await.unwrap();
    hsm.library().finalize().unwrap();
    prove(&handle(&token, &made).await.unwrap()).await.unwrap();
    prove(&key).await.unwrap();
    assert_eq!(token.failure(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_pin_is_shown_once() {
    let hsm = SoftHsm::new();
    let token =
        Pkcs11Token::builder(hsm.module(), TokenName::Label(LABEL.to_owned()), "wrong-pin").build(system_clock());
    for outcome in join_all((0..64).map(|_| make(&token, ES256))).await {
        assert_eq!(outcome.unwrap_err(), KeyError::SignerFailed);
    }
    assert_eq!((token.failure(), hsm.calls('L')), (Some(Pkcs11Failure::Pin), 1));
    // It has become the right one, which the token is not asked about before somebody says so.
    let (library, slot) = hsm.slot();
    let officer = library.open_rw_session(slot).unwrap();
    officer.login(UserType::So, Some(&AuthPin::from(SO_PIN))).unwrap();
    officer.init_pin(&AuthPin::from("wrong-pin")).unwrap();
    officer.logout().unwrap();
    let logins = hsm.calls('L');
    assert_eq!(make(&token, ES256).await.unwrap_err(), KeyError::SignerFailed);
    assert_eq!(hsm.calls('L'), logins);
    token.set_pin("wrong-pin");
    prove(&handle(&token, &make(&token, ES256).await.unwrap()).await.unwrap())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_hangs_costs_its_sessions_and_nothing_else() {
    let hsm = SoftHsm::new();
    let clock = Arc::new(ManualClock::at(SystemClock::new().now()));
    let token = hsm
        .builder()
        .sessions(2)
        .limit(Duration::from_secs(5))
        .build(clock.clone());
    let stored = make(&token, ES256).await.unwrap();
    let key = handle(&token, &stored).await.unwrap();
    hsm.tell("hang", true);
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let key = key.clone();
            tokio::spawn(async move { prove(&key).await })
        })
        .collect();
    until(|| hsm.calls('h') == 2 && clock.sleepers() == 8).await;
    clock.advance(Duration::from_secs(5));
    for call in calls {
        assert_eq!(call.await.unwrap(), Err(KeyError::SignerFailed));
    }
    // Whoever comes now waits for a session, and as long.
    let late = tokio::spawn({
        let key = key.clone();
        async move { prove(&key).await }
    });
    until(|| clock.sleepers() == 1).await;
    clock.advance(Duration::from_secs(5));
    assert_eq!(late.await.unwrap(), Err(KeyError::SignerFailed));
    assert_eq!((token.failure(), hsm.calls('h')), (Some(Pkcs11Failure::Busy), 2));
    // Another token goes on.
    let other = SoftHsm::new();
    make(&other.token(), ES256).await.unwrap();
    // It comes back by itself.
    hsm.tell("hang", false);
    prove(&key).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_nobody_waits_for_any_more_is_not_left_behind() {
    let hsm = SoftHsm::new();
    let clock = Arc::new(ManualClock::at(SystemClock::new().now()));
    let token = hsm.builder().build(clock.clone());
    make(&token, ES256).await.unwrap();
    hsm.tell("hang", true);
    let making = {
        let token = token.clone();
        tokio::spawn(async move { make(&token, ES256).await })
    };
    until(|| hsm.calls('h') == 1 && clock.sleepers() == 1).await;
    clock.advance(Duration::from_secs(10));
    assert_eq!(making.await.unwrap().unwrap_err(), KeyError::SignerFailed);
    assert_eq!(token.failure(), Some(Pkcs11Failure::Late));
    hsm.tell("hang", false);
    // Both halves go. (Nobody else is on the token meanwhile.)
    until(|| (hsm.calls('G'), hsm.calls('D')) == (2, 2)).await;
    let left = hsm.intruder().find_objects(&[]).unwrap();
    assert_eq!(left.len(), 2);
}
