//! Sign-in attempts: counted by account and by address, over all nodes.

use colloquy::{error::Error, model::clock::Clock};
use futures_util::future::join_all;

use super::{Ground, LIMITS, on_both};

on_both!(
    an_account_is_held_back_from_every_address,
    a_network_is_held_back_from_every_account,
    success_forgives_the_account_but_not_the_address,
    failures_stop_counting_when_the_window_has_passed,
    many_at_once_are_no_way_around,
);

async fn an_account_is_held_back_from_every_address(ground: Ground) {
    let (here, there) = (ground.node().await.throttle, ground.node().await.throttle);
    here.admit("bob", "192.0.2.1").await.unwrap();
    there.admit("BOB", "192.0.2.2").await.unwrap();
    let Err(Error::RateLimited { retry_after, .. }) = here.admit("bob", "192.0.2.3").await else {
        panic!("the third attempt must be held back");
    };
    assert!(retry_after <= LIMITS.window && retry_after > LIMITS.window / 2, "{retry_after:?}");
    there.admit("eve", "192.0.2.3").await.unwrap();
}

async fn a_network_is_held_back_from_every_account(ground: Ground) {
    let (here, there) = (ground.node().await.throttle, ground.node().await.throttle);
    here.admit("a", "2001:db8::1").await.unwrap();
    there.admit("b", "2001:db8::2").await.unwrap();
    here.admit("c", "2001:db8::3").await.unwrap();
    assert!(there.admit("d", "2001:db8::4").await.is_err());
    here.admit("d", "2001:db8:0:1::1").await.unwrap();
    there.admit("d", "").await.unwrap();
}

async fn success_forgives_the_account_but_not_the_address(ground: Ground) {
    let (here, there) = (ground.node().await.throttle, ground.node().await.throttle);
    here.admit("bob", "192.0.2.1").await.unwrap();
    there.admit("bob", "192.0.2.1").await.unwrap();
    here.forgive("bob", "192.0.2.1").await;
    there.admit("bob", "192.0.2.1").await.unwrap();
    here.admit("bob", "192.0.2.1").await.unwrap();
    assert!(there.admit("eve", "192.0.2.1").await.is_err());
}

async fn failures_stop_counting_when_the_window_has_passed(ground: Ground) {
    let throttle = ground.node().await.throttle;
    let later = throttle.by(Clock::shifted(61_000_000));
    throttle.admit("bob", "192.0.2.1").await.unwrap();
    throttle.admit("bob", "192.0.2.1").await.unwrap();
    assert!(throttle.admit("bob", "192.0.2.1").await.is_err());
    later.admit("bob", "192.0.2.1").await.unwrap();
}

async fn many_at_once_are_no_way_around(ground: Ground) {
    let (here, there) = (ground.node().await.throttle, ground.node().await.throttle);
    let tries = (0..20).map(|nth| if nth % 2 == 0 { &here } else { &there }.admit("bob", "192.0.2.1"));
    assert_eq!(join_all(tries).await.into_iter().filter(Result::is_ok).count(), 2);
}
