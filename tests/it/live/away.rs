//! Redis away: nodes go on alone, and afterwards nobody has missed anything without being told.

use std::time::Instant;

use colloquy::{
    error::Error,
    live::{signal::Signal, ticket::Grant},
    model::{
        clock::Timestamp,
        ids::SessionId,
        topic::{Position, Topic},
    },
};

use super::{Ground, LIMITS, Node, REDIS_TIMEOUT, topic};
use crate::harness::{RedisServer, eventually, soon};

/// Two nodes that watch a topic on which something was said before.
async fn two_watch(ground: &Ground) -> (Node, Node, Topic, Position) {
    let (here, there, topic) = (ground.node().await, ground.node().await, topic());
    here.watch(&topic).await;
    there.watch(&topic).await;
    let position = here.say(&topic, "before").await;
    assert_eq!(here.saw(&topic, 1).await, there.saw(&topic, 1).await);
    (here, there, topic, position)
}

/// Waits until what one node says is seen on both. Right after the return it may begin one epoch more.
async fn until_together(here: &Node, there: &Node, topic: &Topic) {
    let has_come = |node: &Node| node.seen(topic).iter().any(|(_, text)| text == "together");
    eventually("both go on together", async || {
        here.say(topic, "together").await;
        has_come(here) && has_come(there)
    })
    .await;
}

/// Ends every connection that hears; what it could not hear meanwhile stays on the server.
async fn cut_listeners(server: &RedisServer) {
    assert!(server.tell("CLIENT KILL TYPE pubsub").await.starts_with(':'));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_went_by_while_the_link_was_down_comes_from_history() {
    let mut ground = Ground::redis().await;
    let (here, there, topic, position) = two_watch(&ground).await;
    let speaker = ground.deaf_node().await;
    cut_listeners(ground.server()).await;
    for number in 1..=50 {
        speaker.say(&topic, number.to_string()).await;
    }
    for node in [&here, &there] {
        let seen = node.saw(&topic, 51).await;
        let expected = (1..=50).map(|number| (number + 1, number.to_string()));
        assert_eq!(seen[1..], expected.collect::<Vec<_>>());
        assert_eq!(node.misses(&topic), 0);
        assert_eq!(node.watch(&topic).await, Position { offset: 51, ..position });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_listens_to_what_is_viewed_there_and_to_nothing_else() {
    let mut ground = Ground::redis().await;
    let (here, there, topic) = (ground.node().await, ground.node().await, topic());
    let server = ground.server();
    let listeners = async || server.tell(&format!("PUBLISH test:{{{topic}}}:events -")).await;
    assert_eq!(listeners().await, ":0\r\n");
    here.watch(&topic).await;
    there.watch(&topic).await;
    assert_eq!(listeners().await, ":2\r\n");
    here.bus.close(&topic);
    eventually("one node listens", async || listeners().await == ":1\r\n").await;
    there.bus.close(&topic);
    eventually("nobody listens", async || listeners().await == ":0\r\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_redis_comes_back_empty_every_viewer_is_told_and_goes_on() {
    let mut ground = Ground::redis().await;
    let (here, there, topic, before) = two_watch(&ground).await;
    ground.server().stop().await;
    here.until_up(false).await;
    there.until_up(false).await;
    for number in 1..=3 {
        here.say(&topic, number.to_string()).await;
    }
    let alone = [(2, "1".into()), (3, "2".into()), (4, "3".into())];
    assert_eq!(here.saw(&topic, 4).await[1..], alone);

    ground.server().resume().await;
    here.until_up(true).await;
    there.until_up(true).await;
    here.missed(&topic, 1).await;
    there.missed(&topic, 1).await;
    until_together(&here, &there, &topic).await;
    let place = there.say(&topic, "after all").await;
    assert_ne!(place.epoch, before.epoch);
    for node in [&here, &there] {
        let is_there = async || node.seen(&topic).last() == Some(&(place.offset, "after all".into()));
        eventually("the other node's word comes", is_there).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_hangs_is_waited_for_once_and_says_nothing_twice() {
    let mut ground = Ground::redis().await;
    let (here, there, topic, _) = two_watch(&ground).await;
    ground.server().pause().await;
    let started = Instant::now();
    let said: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    for text in &said {
        here.say(&topic, text.clone()).await;
    }
    assert!(started.elapsed() < 2 * REDIS_TIMEOUT, "{:?}", started.elapsed());
    let seen: Vec<String> = here.saw(&topic, 101).await.into_iter().map(|(_, text)| text).collect();
    assert_eq!(seen[1..], said);

    // What the server was told while it hung, it does now.
    ground.server().unpause().await;
    here.until_up(true).await;
    there.missed(&topic, 1).await;
    until_together(&here, &there, &topic).await;
    let seen = here.seen(&topic).into_iter().map(|(_, text)| text).filter(|text| text != "together");
    assert_eq!(seen.skip(1).collect::<Vec<_>>(), said);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_opened_while_redis_is_away_is_in_order_afterwards() {
    let mut ground = Ground::redis().await;
    let (here, there, topic) = (ground.node().await, ground.node().await, topic());
    ground.server().stop().await;
    here.until_up(false).await;
    there.until_up(false).await;
    let started = Instant::now();
    here.watch(&topic).await;
    there.watch(&topic).await;
    here.say(&topic, "alone").await;
    assert!(started.elapsed() < REDIS_TIMEOUT, "{:?}", started.elapsed());
    assert_eq!(here.saw(&topic, 1).await, [(1, "alone".into())]);

    ground.server().resume().await;
    there.missed(&topic, 1).await;
    until_together(&here, &there, &topic).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_have_missed_signals_is_told() {
    let mut ground = Ground::redis().await;
    let (here, there, _, _) = two_watch(&ground).await;
    ground.server().stop().await;
    here.until_up(false).await;
    there.until_up(false).await;
    let mut heard = there.signals.listen();
    let signal = Signal::SessionEnded(SessionId::generate());
    here.signals.send(signal);
    ground.server().resume().await;
    // Which node finds the server first decides whether the signal itself arrives.
    let mut first = soon("a signal", heard.recv()).await.unwrap();
    if first == signal {
        first = soon("another signal", heard.recv()).await.unwrap();
    }
    assert_eq!(first, Signal::Doubtful);
}

#[tokio::test(flavor = "multi_thread")]
async fn tickets_and_limits_go_on_on_each_node() {
    let mut ground = Ground::redis().await;
    let (here, there, _, _) = two_watch(&ground).await;
    ground.server().stop().await;
    let (tickets, elsewhere) = (here.tickets(LIMITS.window), there.tickets(LIMITS.window));
    let grant = Grant { session_id: SessionId::generate(), expires_at: Timestamp::from_micros(1) };
    let ticket = tickets.issue(grant).await;
    assert!(matches!(elsewhere.redeem(&ticket).await, Err(Error::Unavailable { .. })));
    assert_eq!(tickets.redeem(&ticket).await.unwrap(), Some(grant));

    for node in [&here, &there] {
        node.throttle.admit("bob", "").await.unwrap();
        node.throttle.admit("bob", "").await.unwrap();
        assert!(matches!(node.throttle.admit("bob", "").await, Err(Error::RateLimited { .. })));
    }
}
