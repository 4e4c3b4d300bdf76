//! Cached answers: kept for a while, on Redis for all nodes.

use std::time::Duration;

use colloquy::{live::response_cache::ResponseCache, model::credential::Digest};

use super::{Ground, Node, on_both};
use crate::harness::eventually;

on_both!(
    an_answer_is_found_by_its_question_on_every_node,
    an_answer_goes_by_itself,
    an_answer_that_is_too_large_is_not_kept,
);

const LONG: Duration = Duration::from_secs(3600);
const BYTES: u64 = 1 << 20;

/// Two nodes; in memory they are one.
async fn two(ground: &Ground, ttl: Duration) -> (ResponseCache, ResponseCache, [Node; 2]) {
    let nodes = [ground.node().await, ground.node().await];
    let cache = |node: &Node| ResponseCache::new(node.redis.clone(), ttl, BYTES);
    let here = cache(&nodes[0]);
    let there = if nodes[1].redis.is_some() { cache(&nodes[1]) } else { here.clone() };
    (here, there, nodes)
}

async fn an_answer_is_found_by_its_question_on_every_node(ground: Ground) {
    let (here, there, _nodes) = two(&ground, LONG).await;
    let (question, other) = (Digest::of("how are you?"), Digest::of("how are you"));
    assert_eq!(there.get(&question).await, None);
    here.put(question, "fine · \0 · 🦀").await;
    assert_eq!(there.get(&question).await.as_deref(), Some("fine · \0 · 🦀"));
    assert_eq!(there.get(&other).await, None);
    there.put(question, "").await;
    assert_eq!(here.get(&question).await.as_deref(), Some(""));
}

async fn an_answer_goes_by_itself(ground: Ground) {
    let (here, _, _nodes) = two(&ground, Duration::from_millis(200)).await;
    let question = Digest::of("how are you?");
    here.put(question, "fine").await;
    eventually("it is gone", async || here.get(&question).await.is_none()).await;
}

async fn an_answer_that_is_too_large_is_not_kept(ground: Ground) {
    let (here, _, _nodes) = two(&ground, LONG).await;
    for (bytes, is_kept) in [(256 << 10, true), ((256 << 10) + 1, false)] {
        let question = Digest::of(&bytes.to_string());
        here.put(question, &"x".repeat(bytes)).await;
        assert_eq!(here.get(&question).await.is_some(), is_kept, "{bytes}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_server_is_away_every_question_is_new() {
    let mut ground = Ground::redis().await;
    let (here, _, nodes) = two(&ground, LONG).await;
    let question = Digest::of("how are you?");
    here.put(question, "fine").await;
    ground.server().stop().await;
    nodes[0].until_up(false).await;
    here.put(question, "well").await;
    assert_eq!(here.get(&question).await, None);
    ground.server().resume().await;
    nodes[0].until_up(true).await;
    here.put(question, "better").await;
    assert_eq!(here.get(&question).await.as_deref(), Some("better"));
}
