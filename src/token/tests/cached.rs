//! The cache of slots: its bound, and who gives way.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use super::flights::Fake;
use super::{LATE, scope, tenant};
use crate::clock::{Clock, Monotonic};
use crate::token::cache::TokenCache;
use crate::token::slot::Slot;

fn fill(cache: &TokenCache, fake: &Fake, id: &str, seconds: u64) -> Arc<Slot> {
    let slot = cache.slot(&scope(), &tenant(id));
    fake.answer(fake.token(&slot, seconds));
    slot.lease(fake, LATE).now_or_never().unwrap().unwrap();
    slot
}

#[test]
fn a_cache_holds_no_more_than_it_may() {
    for capacity in [0, 1, 10, 1000] {
        let (cache, fake) = (TokenCache::new(capacity), Fake::new());
        assert!(cache.is_empty());
        for number in 0..3 * capacity.max(1) + 5 {
            let id = format!("t{number}");
            let slot = fill(&cache, &fake, &id, 100);
            assert!(cache.len() <= capacity.max(1), "{capacity}");
            let now = fake.clock.monotonic();
            assert!(
                cache.fresh(&scope(), &tenant(&id), now).is_some(),
                "the newest is there"
            );
            assert!(Arc::ptr_eq(&cache.slot(&scope(), &tenant(&id)), &slot));
        }
        assert_eq!(cache.len(), capacity.max(1));
    }
}

#[test]
fn the_slot_whose_token_ends_first_gives_way() {
    let (cache, fake) = (TokenCache::new(3), Fake::new());
    for (id, seconds) in [("long", 1000), ("short", 10), ("middle", 100), ("new", 50)] {
        fill(&cache, &fake, id, seconds);
    }
    let known = |id: &str| cache.fresh(&scope(), &tenant(id), Monotonic::ORIGIN).is_some();
    assert!(known("long") && known("middle") && known("new") && !known("short"));
    // A slot without a token goes before all others.
    cache.slot(&scope(), &tenant("empty"));
    assert!(known("long") && known("middle") && !known("new"));
    fill(&cache, &fake, "newer", 5);
    assert!(known("long") && known("middle") && known("newer"));
}

#[test]
fn a_slot_that_somebody_waits_for_does_not_give_way() {
    let (cache, fake) = (TokenCache::new(1), Fake::new());
    let slot = cache.slot(&scope(), &tenant("waiting"));
    let sender = fake.answer_later();
    let mut waiting = Box::pin(slot.lease(&fake, LATE));
    assert!((&mut waiting).now_or_never().is_none());
    fill(&cache, &fake, "second", 100);
    assert_eq!(cache.len(), 2, "over its capacity by those who are waited for");
    assert!(Arc::ptr_eq(&cache.slot(&scope(), &tenant("waiting")), &slot));
    sender.send(fake.token(&slot, 1000)).ok().unwrap();
    waiting.now_or_never().unwrap().unwrap();
    fill(&cache, &fake, "third", 100);
    assert_eq!(cache.len(), 1, "and back when they are not");
}

#[test]
fn flights_that_all_callers_have_left_hold_no_room() {
    let (cache, fake) = (TokenCache::new(10), Fake::new());
    let mut senders = Vec::new();
    for number in 0..100 {
        senders.push(fake.answer_later());
        let slot = cache.slot(&scope(), &tenant(&format!("t{number}")));
        assert!(
            slot.lease(&fake, LATE).now_or_never().is_none(),
            "and the caller is gone"
        );
        assert!(cache.len() <= 10);
    }
    assert!(
        senders.iter().filter(|sender| sender.is_closed()).count() >= 90,
        "their flights are given up"
    );
}

#[test]
fn threads_agree_on_one_slot_for_each_tenant() {
    let cache = TokenCache::new(1000);
    let slots: Vec<Vec<Arc<Slot>>> = std::thread::scope(|threads| {
        let all = || {
            (0..200)
                .map(|number| cache.slot(&scope(), &tenant(&format!("t{number}"))))
                .collect()
        };
        let running: Vec<_> = (0..8).map(|_| threads.spawn(all)).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for other in &slots {
        assert!(other.iter().zip(&slots[0]).all(|(one, other)| Arc::ptr_eq(one, other)));
    }
    assert_eq!(cache.len(), 200);
}

#[test]
fn a_fresh_token_is_one_that_no_renewal_is_due_for() {
    let (cache, fake) = (TokenCache::default(), Fake::new());
    assert!(cache.fresh(&scope(), &tenant("acme"), Monotonic::ORIGIN).is_none());
    assert!(cache.is_empty(), "looking makes no slot");
    fill(&cache, &fake, "acme", 100);
    fake.clock.advance(Duration::from_secs(79));
    assert!(cache.fresh(&scope(), &tenant("acme"), fake.clock.monotonic()).is_some());
    assert!(cache.fresh(&scope(), &tenant("Acme"), fake.clock.monotonic()).is_none());
    fake.clock.advance(Duration::from_secs(1));
    assert!(cache.fresh(&scope(), &tenant("acme"), fake.clock.monotonic()).is_none());
}

#[test]
fn what_is_shown_is_never_more_than_the_slot_has() {
    let (cache, fake) = (TokenCache::default(), Fake::new());
    let slot = fill(&cache, &fake, "acme", 100);
    let (scope, acme, now) = (scope(), tenant("acme"), fake.clock.monotonic());
    cache.show(&scope, &acme);
    let first = cache.fresh(&scope, &acme, now).unwrap();
    slot.evict(&first);
    assert!(cache.fresh(&scope, &acme, now).is_none(), "evicted, though still shown");
    // Whoever lets the next token land shows it; until then it is found all the same.
    fake.answer(fake.token(&slot, 100));
    let second = slot.lease(&fake, LATE).now_or_never().unwrap().unwrap();
    assert!(Arc::ptr_eq(&cache.fresh(&scope, &acme, now).unwrap(), &second));
    cache.show(&scope, &acme);
    assert_eq!(Arc::strong_count(&first), 1, "the cache has let go of the first");
    assert!(Arc::ptr_eq(&cache.fresh(&scope, &acme, now).unwrap(), &second));
    slot.clear();
    assert!(cache.fresh(&scope, &acme, now).is_none(), "cleared, though still shown");
    cache.show(&scope, &acme);
    assert_eq!(Arc::strong_count(&second), 1, "the cache has let go of the second");
}
