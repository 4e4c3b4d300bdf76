//! Limits on what is sent: counted by user and by address, over all nodes, and with the server gone.

use std::time::Duration;

use colloquy::{
    live::limit::{Kind, Limiter, Refused, Rules, Sender, Subject},
    model::{clock::Clock, ids::UserId, limit::Rate},
};

use super::{Ground, Node, on_both};
use crate::harness::{PATIENCE, within};

on_both!(
    a_hundred_of_a_minute_pass_and_the_next_does_not,
    over_two_nodes_together_a_hundred_pass,
    a_bonus_is_a_fifth_and_ends_with_a_violation,
    an_address_is_counted_whoever_sends,
    frames_and_requests_do_not_count_together,
    the_pause_doubles_from_violation_to_violation,
    violations_are_listed_until_the_user_is_forgiven,
    what_was_used_is_told_on_every_node,
);

const MINUTE: Duration = Duration::from_secs(60);
const TTL: Duration = Duration::from_secs(3600);

/// So many frames a minute, with room for more in the other windows.
fn a_minute(limit: u32) -> Rules {
    let of = |limit, seconds| Rate { limit, window: Duration::from_secs(seconds) };
    let frames = vec![of(1000, 1), of(limit, 60), of(100_000, 3600), of(100_000, 86_400)];
    Rules { frames, requests: vec![of(2, 60)], violation_ttl: TTL }
}

/// Two nodes; in memory they are one.
async fn two(ground: &Ground, rules: Rules) -> (Limiter, Limiter, [Node; 2]) {
    let nodes = [ground.node().await, ground.node().await];
    let limiter = |node: &Node| Limiter::new(Clock::default(), node.redis.clone(), rules.clone());
    let here = limiter(&nodes[0]);
    let there = if nodes[1].redis.is_some() { limiter(&nodes[1]) } else { here.clone() };
    (here, there, nodes)
}

fn somebody() -> Sender {
    Sender { user_id: Some(UserId::generate()), network: None }
}

fn at(sender: Sender, address: &str) -> Sender {
    Sender { network: Some(address.parse().unwrap()), ..sender }
}

/// Sends frames until one is refused: how many passed, and the refusal.
async fn until_refused(limiter: &Limiter, sender: Sender, has_bonus: bool) -> (u32, Refused) {
    let mut passed = 0;
    loop {
        match limiter.admit(Kind::Frames, sender, has_bonus).await {
            Ok(_) => passed += 1,
            Err(refused) => return (passed, refused),
        }
    }
}

async fn a_hundred_of_a_minute_pass_and_the_next_does_not(ground: Ground) {
    let (here, _, _nodes) = two(&ground, a_minute(100)).await;
    let alice = at(somebody(), "192.0.2.1");
    let (passed, refused) = until_refused(&here, alice, false).await;
    assert_eq!(passed, 100);
    assert_eq!(refused.subject, Subject::User(alice.user_id.unwrap()));
    assert_eq!(refused.rate, Some(Rate { limit: 100, window: MINUTE }));
    assert!(refused.is_new && refused.retry_after >= Duration::from_secs(2), "{refused:?}");
    assert!(refused.retry_after <= MINUTE * 11 / 10, "{refused:?}");
    // Whoever does not wait is refused, and that is no violation of its own.
    let again = here.admit(Kind::Frames, alice, false).await.unwrap_err();
    assert!(!again.is_new && again.retry_after <= refused.retry_after, "{again:?}");
    // It concerns nobody else.
    assert_eq!(until_refused(&here, at(somebody(), "192.0.2.2"), false).await.0, 100);
}

async fn over_two_nodes_together_a_hundred_pass(ground: Ground) {
    let (here, there, _nodes) = two(&ground, a_minute(100)).await;
    let alice = somebody();
    let mut passed = 0;
    for _ in 0..200 {
        let (here, there) =
            tokio::join!(here.admit(Kind::Frames, alice, false), there.admit(Kind::Frames, alice, false),);
        passed += usize::from(here.is_ok()) + usize::from(there.is_ok());
    }
    assert_eq!(passed, 100);
}

async fn a_bonus_is_a_fifth_and_ends_with_a_violation(ground: Ground) {
    let (here, _, _nodes) = two(&ground, a_minute(50)).await;
    assert_eq!(until_refused(&here, somebody(), true).await.0, 60);
    // Without it there is room for ten more to be refused.
    let bob = somebody();
    let (passed, _) = until_refused(&here, bob, false).await;
    assert_eq!(passed, 50);
    assert!(here.admit(Kind::Frames, bob, true).await.is_err());
}

async fn an_address_is_counted_whoever_sends(ground: Ground) {
    let (here, there, _nodes) = two(&ground, a_minute(20)).await;
    for nth in 0..20 {
        let limiter = if nth % 2 == 0 { &here } else { &there };
        limiter.admit(Kind::Frames, at(somebody(), "2001:db8::1"), false).await.unwrap();
    }
    let alice = somebody();
    let refused = here.admit(Kind::Frames, at(alice, "2001:db8::2"), false).await.unwrap_err();
    assert_eq!(refused.subject, Subject::Address("2001:db8::".parse().unwrap()));
    here.admit(Kind::Frames, at(alice, "2001:db8:0:1::1"), false).await.unwrap();
    assert_eq!(here.admit(Kind::Frames, Sender::default(), false).await, Ok(None));
}

async fn frames_and_requests_do_not_count_together(ground: Ground) {
    let (here, there, _nodes) = two(&ground, a_minute(1)).await;
    let alice = somebody();
    here.admit(Kind::Frames, alice, false).await.unwrap();
    let allowance = here.admit(Kind::Requests, alice, false).await.unwrap().unwrap();
    assert_eq!((allowance.rate.limit, allowance.left), (2, 1));
    let allowance = there.admit(Kind::Requests, alice, false).await.unwrap().unwrap();
    assert_eq!(allowance.left, 0);
    assert!(here.admit(Kind::Requests, alice, false).await.is_err());
    assert!(there.admit(Kind::Frames, alice, false).await.is_err());
}

async fn the_pause_doubles_from_violation_to_violation(ground: Ground) {
    let rates = vec![Rate { limit: 2, window: Duration::from_millis(200) }];
    let (here, _, _nodes) = two(&ground, Rules { frames: rates.clone(), requests: rates, violation_ttl: TTL }).await;
    let alice = somebody();
    let pauses = async || {
        let (_, refused) = until_refused(&here, alice, false).await;
        refused.retry_after
    };
    let first = pauses().await;
    assert!(first > Duration::from_millis(1500) && first <= Duration::from_secs(2), "{first:?}");
    let is_over = async || here.admit(Kind::Frames, alice, false).await.is_ok();
    within(PATIENCE, "the pause is over", is_over).await;
    let second = pauses().await;
    assert!(second > Duration::from_millis(3500) && second <= Duration::from_secs(4), "{second:?}");
}

async fn violations_are_listed_until_the_user_is_forgiven(ground: Ground) {
    let (here, there, _nodes) = two(&ground, a_minute(3)).await;
    let (alice, bob) = (somebody(), somebody());
    assert_eq!(here.violations().await, []);
    until_refused(&here, alice, false).await;
    until_refused(&there, bob, false).await;
    let listed = there.violations().await;
    let mut expected = [alice, bob].map(|sender| format!("user:{}", sender.user_id.unwrap()));
    expected.sort();
    assert_eq!(listed.iter().map(|violation| violation.identifier.clone()).collect::<Vec<_>>(), expected);
    for violation in listed {
        assert_eq!(violation.count, 1);
        assert!(violation.ttl <= TTL && violation.ttl > TTL - MINUTE, "{violation:?}");
    }

    there.reset(alice.user_id.unwrap()).await;
    let left = here.violations().await;
    assert!(left.len() == 1 && left[0].identifier.ends_with(&bob.user_id.unwrap().to_string()), "{left:?}");
    assert_eq!(until_refused(&there, alice, false).await.0, 3);
}

async fn what_was_used_is_told_on_every_node(ground: Ground) {
    let (here, there, _nodes) = two(&ground, a_minute(4)).await;
    let alice = somebody();
    let user = alice.user_id.unwrap();
    let used = async |limiter: &Limiter, kind| {
        let used = limiter.used(kind, user).await;
        used.into_iter().map(|used| (used.rate.limit, used.count)).collect::<Vec<_>>()
    };
    assert_eq!(used(&there, Kind::Frames).await, [(1000, 0), (4, 0), (100_000, 0), (100_000, 0)]);
    // So near to the limit, nodes are lent one at a time.
    for _ in 0..3 {
        here.admit(Kind::Frames, alice, false).await.unwrap();
    }
    assert_eq!(used(&there, Kind::Frames).await, [(1000, 3), (4, 3), (100_000, 3), (100_000, 3)]);
    assert_eq!(used(&there, Kind::Requests).await, [(2, 0)]);
    there.reset(user).await;
    assert_eq!(used(&here, Kind::Frames).await[1], (4, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_server_goes_each_node_goes_on_from_what_it_has_seen() {
    let mut ground = Ground::redis().await;
    let (here, there, nodes) = two(&ground, a_minute(100)).await;
    let alice = at(somebody(), "192.0.2.1");
    for _ in 0..40 {
        here.admit(Kind::Frames, alice, false).await.unwrap();
    }
    ground.server().stop().await;
    for node in &nodes {
        node.until_up(false).await;
    }
    let (passed, refused) = until_refused(&here, alice, false).await;
    assert_eq!((passed, refused.is_new), (60, true));
    assert_eq!(until_refused(&there, alice, false).await.0, 100);
    let listed = here.violations().await;
    assert_eq!((listed.len(), listed[0].count), (1, 1));

    // Back empty, the server allows again; what a node knows by itself does not stand in its way.
    ground.server().resume().await;
    nodes[0].until_up(true).await;
    assert_eq!(until_refused(&here, alice, false).await.0, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_is_spent_without_a_word_to_the_server() {
    let mut ground = Ground::redis().await;
    let node = ground.deaf_node().await;
    let redis = node.redis.clone().unwrap();
    let here = Limiter::new(Clock::default(), Some(redis.clone()), a_minute(100));
    let alice = at(somebody(), "192.0.2.1");
    here.admit(Kind::Frames, alice, false).await.unwrap();
    ground.server().pause().await;
    for _ in 1..25 {
        here.admit(Kind::Frames, alice, false).await.unwrap();
    }
    assert!(redis.is_up(), "nothing was asked of the server");
    here.admit(Kind::Frames, alice, false).await.unwrap();
    assert!(!redis.is_up(), "the share was a quarter of what was left");
    ground.server().unpause().await;
}
