//! Places of live connections: so many for a user and for an address, over all nodes.

use colloquy::{
    error::{Error, Result},
    live::place::{Place, PlaceLimits, Places},
    model::ids::UserId,
};

use super::{Ground, Node, on_both};
use crate::harness::{eventually, soon};

on_both!(a_user_has_so_many_over_all_nodes, an_address_has_so_many_whoever_connects, many_at_once_are_no_way_around,);

const LIMITS: PlaceLimits = PlaceLimits { per_user: 2, per_address: 3, per_node: 4 };

/// Two nodes; in memory they are one.
async fn two(ground: &Ground) -> (Places, Places, [Node; 2]) {
    let nodes = [ground.node().await, ground.node().await];
    let here = kept(&nodes[0]);
    let there = if nodes[1].redis.is_some() { kept(&nodes[1]) } else { here.clone() };
    (here, there, nodes)
}

/// The places of a node, as it keeps them up.
fn kept(node: &Node) -> Places {
    let places = Places::new(node.redis.clone(), LIMITS);
    tokio::spawn(places.clone().keep());
    places
}

async fn take(places: &Places, user_id: UserId, address: &str) -> Result<Place> {
    places.take(user_id, address.parse().ok()).await
}

#[track_caller]
fn full(taken: Result<Place>) -> &'static str {
    match taken {
        Err(Error::ConnectionLimit(limit)) => limit,
        other => panic!("not full: {other:?}"),
    }
}

async fn a_user_has_so_many_over_all_nodes(ground: Ground) {
    let (here, there, _nodes) = two(&ground).await;
    let alice = UserId::generate();
    let first = take(&here, alice, "192.0.2.1").await.unwrap();
    let _second = take(&there, alice, "192.0.2.2").await.unwrap();
    assert_eq!((here.used_by(alice).await, there.used_by(UserId::generate()).await), (2, 0));
    assert_eq!(full(take(&here, alice, "192.0.2.3").await), "user");
    assert_eq!(full(take(&there, alice, "").await), "user");
    take(&there, UserId::generate(), "192.0.2.3").await.unwrap();
    drop(first);
    eventually("the place is free", async || take(&there, alice, "192.0.2.1").await.is_ok()).await;
}

async fn an_address_has_so_many_whoever_connects(ground: Ground) {
    let (here, there, _nodes) = two(&ground).await;
    let mut taken = Vec::new();
    for nth in 0..3 {
        let places = if nth % 2 == 0 { &here } else { &there };
        taken.push(take(places, UserId::generate(), "2001:db8::1").await.unwrap());
    }
    assert_eq!(full(take(&there, UserId::generate(), "2001:db8::2").await), "address");
    take(&there, UserId::generate(), "2001:db8:0:1::1").await.unwrap();
    taken.clear();
    if let Ground::Redis(server) = &ground {
        let forgotten = async || server.tell("EXISTS test:{places}:address:2001:db8::").await == ":0\r\n";
        eventually("nothing is left of them", forgotten).await;
    }
    let is_free = async || take(&here, UserId::generate(), "2001:db8::3").await.is_ok();
    eventually("the places are free", is_free).await;
}

async fn many_at_once_are_no_way_around(ground: Ground) {
    let (here, there, _nodes) = two(&ground).await;
    let alice = UserId::generate();
    let tries = (0..20).map(|nth| take(if nth % 2 == 0 { &here } else { &there }, alice, ""));
    let taken = futures_util::future::join_all(tries).await;
    assert!(taken.iter().filter(|taken| taken.is_ok()).count() <= 2);
    drop(taken);
    eventually("all places are free", async || take(&here, alice, "").await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_has_so_many_of_its_own() {
    let ground = Ground::redis().await;
    let (here, there, _nodes) = two(&ground).await;
    let mut taken = Vec::new();
    for _ in 0..4 {
        taken.push(take(&here, UserId::generate(), "").await.unwrap());
    }
    assert_eq!(full(take(&here, UserId::generate(), "").await), "node");
    take(&there, UserId::generate(), "").await.unwrap();
    taken.pop();
    take(&here, UserId::generate(), "").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_for_the_last_place_while_the_node_says_what_lives_gets_it() {
    let ground = Ground::redis().await;
    let (node, only) = (ground.node().await, PlaceLimits { per_user: 1, ..LIMITS });
    for _ in 0..100 {
        let places = Places::new(node.redis.clone(), only);
        // It says so at once.
        let keeping = tokio::spawn(places.clone().keep());
        take(&places, UserId::generate(), "").await.unwrap();
        keeping.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_a_dead_node_count_for_half_a_minute_at_most() {
    let mut ground = Ground::redis().await;
    let (here, alice) = (ground.node().await, UserId::generate());
    let places = Places::new(here.redis.clone(), LIMITS);
    let _held = take(&places, alice, "").await.unwrap();
    let (key, server) = (format!("test:{{places}}:user:{alice}"), ground.server());
    let life: i64 = server.tell(&format!("PTTL {key}")).await.trim_start_matches(':').trim_end().parse().unwrap();
    assert!((1..=30_000).contains(&life), "{life}");
    // What a node did not renew is still there, and does not count.
    for dead in ["first", "second"] {
        assert_eq!(server.tell(&format!("ZADD {key} 1 {dead}")).await, ":1\r\n");
    }
    let _second = take(&places, alice, "").await.unwrap();
    assert_eq!(server.tell(&format!("ZCARD {key}")).await, ":2\r\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_forgot_is_told_again_and_one_that_is_gone_is_done_without() {
    let mut ground = Ground::redis().await;
    let (node, alice) = (ground.node().await, UserId::generate());
    let places = Places::new(node.redis.clone(), LIMITS);
    let _held = [take(&places, alice, "").await.unwrap(), take(&places, alice, "").await.unwrap()];
    ground.server().stop().await;
    node.until_up(false).await;
    assert_eq!(full(soon("an answer", take(&places, alice, "")).await), "user");
    let bob = UserId::generate();
    let _bobs = take(&places, bob, "").await.unwrap();

    ground.server().resume().await;
    node.until_up(true).await;
    tokio::spawn(places.clone().keep());
    let key = format!("test:{{places}}:user:{alice}");
    let server = ground.server();
    eventually("the server knows again", async || server.tell(&format!("ZCARD {key}")).await == ":2\r\n").await;
    assert_eq!(full(take(&kept(&node), alice, "").await), "user");
}
