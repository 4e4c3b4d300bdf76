//! Presence and the register of nodes.

use std::time::Duration;

use colloquy::{
    live::presence::Told,
    model::{
        ids::{ConversationId, UserId},
        presence::Status,
    },
};
use tokio::sync::mpsc;

use super::{Ground, NODE_TTL, Node, on_both};
use crate::harness::{eventually, soon, within};

on_both!(
    a_user_is_there_while_any_connection_lives_on_any_node,
    a_view_begins_with_the_first_and_ends_with_the_last_connection,
    a_choice_is_seen_and_to_appear_offline_is_to_be_gone,
    a_choice_outlives_the_connections,
    who_comes_and_goes_leaves_nothing_behind,
);

/// What viewers are told of a user's status, of all nodes together.
fn statuses(nodes: &[&Node], user: UserId) -> Vec<Status> {
    let told = nodes.iter().flat_map(|node| node.seen.told.lock().unwrap().clone());
    let of_user = told.filter_map(|told| match told {
        Told::Status(change) if change.user_id == user => Some(change.status),
        _ => None,
    });
    of_user.collect()
}

/// How often viewers of a conversation are told that a user comes and that the user goes, of all nodes together.
fn comings_and_goings(nodes: &[&Node], conversation: ConversationId, user: UserId) -> (usize, usize) {
    let told: Vec<Told> = nodes.iter().flat_map(|node| node.seen.told.lock().unwrap().clone()).collect();
    let count = |wanted: &dyn Fn(&Told) -> bool| told.iter().filter(|told| wanted(told)).count();
    (count(&|told| joined(told, conversation, user)), count(&|told| left(told, conversation, user)))
}

fn joined(told: &Told, conversation: ConversationId, user: UserId) -> bool {
    matches!(told, Told::Joined { conversation_id, user_id, .. } if (*conversation_id, *user_id) == (conversation, user))
}

fn left(told: &Told, conversation: ConversationId, user: UserId) -> bool {
    matches!(told, Told::Left { conversation_id, user_id, .. } if (*conversation_id, *user_id) == (conversation, user))
}

fn is_now(told: &Told, user: UserId, status: Status) -> bool {
    matches!(told, Told::Status(change) if (change.user_id, change.status) == (user, status))
}

/// Waits until the node has settled all that happened on it before.
async fn settled(node: &Node) {
    let sentinel = UserId::generate();
    node.presence.choose(sentinel, Status::Busy).await;
    node.presence.choose(sentinel, Status::Online).await;
}

fn arrive(node: &Node, user: UserId, conversation: ConversationId) {
    node.presence.connect(user, "alice");
    node.presence.enter(conversation, user);
}

fn depart(node: &Node, user: UserId, conversation: ConversationId) {
    node.presence.exit(conversation, user);
    node.presence.disconnect(user);
}

/// Two nodes that know of each other.
async fn two_nodes(ground: &Ground) -> (Node, Node) {
    let (here, there) = (ground.node().await, ground.node().await);
    for node in [&here, &there] {
        if let Some(redis) = &node.redis {
            assert!(redis.is_up());
            eventually("the nodes know each other", async || node.nodes.alive().await.len() == 2).await;
        }
    }
    (here, there)
}

async fn a_user_is_there_while_any_connection_lives_on_any_node(ground: Ground) {
    let (here, there) = two_nodes(&ground).await;
    let alice = UserId::generate();
    assert_eq!(there.presence.statuses(&[alice]).await, [Status::Offline]);
    here.presence.connect(alice, "alice");
    settled(&here).await;
    assert_eq!(there.presence.statuses(&[alice, UserId::generate()]).await, [Status::Online, Status::Offline]);
    there.presence.connect(alice, "alice");
    there.presence.connect(alice, "alice");
    settled(&there).await;
    here.presence.disconnect(alice);
    settled(&here).await;
    there.presence.disconnect(alice);
    settled(&there).await;
    assert_eq!(statuses(&[&here], alice)[..1], [Status::Online]);
    assert_eq!(here.presence.statuses(&[alice]).await, [Status::Online]);
    there.presence.disconnect(alice);
    there.told(|told| is_now(told, alice, Status::Offline)).await;
    assert_eq!(here.presence.statuses(&[alice]).await, [Status::Offline]);
    let told = if here.redis.is_some() { statuses(&[&here, &there], alice) } else { statuses(&[&here], alice) };
    assert_eq!(told, [Status::Online, Status::Offline]);
}

async fn a_view_begins_with_the_first_and_ends_with_the_last_connection(ground: Ground) {
    let (here, there) = two_nodes(&ground).await;
    let (alice, bob, conversation) = (UserId::generate(), UserId::generate(), ConversationId::generate());
    let nodes = if here.redis.is_some() { vec![&here, &there] } else { vec![&here] };
    arrive(&here, alice, conversation);
    settled(&here).await;
    here.told(|told| joined(told, conversation, alice)).await;
    for node in [&here, &there] {
        arrive(node, alice, conversation);
        arrive(node, bob, ConversationId::generate());
        settled(node).await;
    }
    depart(&here, alice, conversation);
    depart(&here, alice, conversation);
    settled(&here).await;
    assert_eq!(comings_and_goings(&nodes, conversation, alice), (1, 0));
    there.presence.exit(conversation, alice);
    there.told(|told| left(told, conversation, alice)).await;
    assert_eq!(comings_and_goings(&nodes, conversation, alice), (1, 1));
    assert_eq!(here.presence.statuses(&[alice]).await, [Status::Online]);
}

async fn a_choice_is_seen_and_to_appear_offline_is_to_be_gone(ground: Ground) {
    let (here, there) = two_nodes(&ground).await;
    let (alice, conversation) = (UserId::generate(), ConversationId::generate());
    arrive(&here, alice, conversation);
    here.told(|told| joined(told, conversation, alice)).await;
    assert_eq!(there.presence.choose(alice, Status::Busy).await, Status::Busy);
    assert_eq!(here.presence.statuses(&[alice]).await, [Status::Busy]);
    assert_eq!(there.presence.choose(alice, Status::Offline).await, Status::Offline);
    here.told(|told| left(told, conversation, alice)).await;
    arrive(&there, alice, conversation);
    settled(&there).await;
    depart(&there, alice, conversation);
    settled(&there).await;
    assert_eq!(there.presence.choose(alice, Status::Online).await, Status::Online);
    let nodes = if here.redis.is_some() { vec![&here, &there] } else { vec![&here] };
    eventually("alice is back", async || comings_and_goings(&nodes, conversation, alice) == (2, 1)).await;
    let mut told = statuses(&nodes, alice);
    // The nodes' own orders follow each other.
    if here.redis.is_some() {
        assert_eq!(told.remove(0), Status::Online);
        told.push(Status::Online);
        told.dedup();
    } else {
        told.remove(0);
    }
    assert_eq!(told, [Status::Busy, Status::Offline, Status::Online]);
}

async fn a_choice_outlives_the_connections(ground: Ground) {
    let (here, there) = two_nodes(&ground).await;
    let alice = UserId::generate();
    assert_eq!(here.presence.choose(alice, Status::Busy).await, Status::Offline);
    there.presence.connect(alice, "alice");
    there.told(|told| is_now(told, alice, Status::Busy)).await;
    there.presence.disconnect(alice);
    there.told(|told| is_now(told, alice, Status::Offline)).await;
    here.presence.connect(alice, "alice");
    settled(&here).await;
    assert_eq!(there.presence.statuses(&[alice]).await, [Status::Busy]);
}

async fn who_comes_and_goes_leaves_nothing_behind(ground: Ground) {
    let (here, there) = two_nodes(&ground).await;
    let users: Vec<UserId> = (0..10).map(|_| UserId::generate()).collect();
    let conversations: Vec<ConversationId> = (0..3).map(|_| ConversationId::generate()).collect();
    for round in 0..300 {
        let node = if round % 2 == 0 { &here } else { &there };
        let (user, conversation) = (users[round % users.len()], conversations[round % conversations.len()]);
        arrive(node, user, conversation);
        if round % 7 == 0 {
            settled(node).await;
        }
        depart(node, user, conversation);
    }
    for node in [&here, &there] {
        eventually("nobody is known", async || node.presence.is_empty()).await;
    }
    if let Ground::Redis(server) = &ground {
        eventually("only the nodes are known", async || {
            server.tell("EVAL \"return #redis.call('KEYS', 'test:{nodes}:*')\" 0").await == ":1\r\n"
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_know_who_of_them_lives() {
    let ground = Ground::redis().await;
    let (here, there) = two_nodes(&ground).await;
    let third = ground.node().await;
    eventually("three live", async || here.nodes.alive().await.len() == 3).await;
    // One without a word, one in order.
    drop(there);
    third.halt().await;
    third.presence.close(&mpsc::channel(16).0).await;
    eventually("who leaves is gone at once", async || here.nodes.alive().await.len() <= 2).await;
    within(NODE_TTL + Duration::from_secs(10), "one lives", async || here.nodes.alive().await.len() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_gone_takes_its_part_with_it_once() {
    let ground = Ground::redis().await;
    let (here, there) = two_nodes(&ground).await;
    let gone = ground.node().await;
    let (alice, bob, conversation) = (UserId::generate(), UserId::generate(), ConversationId::generate());
    arrive(&gone, alice, conversation);
    arrive(&gone, bob, conversation);
    settled(&gone).await;
    arrive(&here, bob, conversation);
    settled(&here).await;
    drop(gone);
    within(NODE_TTL + Duration::from_secs(20), "alice is gone", async || {
        comings_and_goings(&[&here, &there], conversation, alice).1 > 0
            && here.presence.statuses(&[alice]).await == [Status::Offline]
    })
    .await;
    for node in [&here, &there] {
        settled(node).await;
    }
    assert_eq!(comings_and_goings(&[&here, &there], conversation, alice), (0, 1));
    assert_eq!(statuses(&[&here, &there], alice), [Status::Offline]);
    assert_eq!(comings_and_goings(&[&here, &there], conversation, bob).1, 0);
    assert_eq!(there.presence.statuses(&[bob]).await, [Status::Online]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_taken_for_gone_says_all_of_it_again() {
    let mut ground = Ground::redis().await;
    let (here, there) = two_nodes(&ground).await;
    let (alice, conversation) = (UserId::generate(), ConversationId::generate());
    arrive(&here, alice, conversation);
    settled(&here).await;
    here.told(|told| joined(told, conversation, alice)).await;
    let name = here.nodes.alive().await;
    assert_eq!(name.len(), 2);
    // What a long pause of both would do.
    for node in name {
        ground.server().tell(&format!("ZADD test:{{nodes}}:alive 0 {node}")).await;
    }
    let nodes = [&here, &there];
    eventually("it was taken out, or said again before", async || {
        ground.server().tell(&format!("SCARD test:{{nodes}}:view:{conversation}:{alice}")).await == ":1\r\n"
            && here.nodes.alive().await.len() == 2
    })
    .await;
    settled(&here).await;
    let (comings, goings) = comings_and_goings(&nodes, conversation, alice);
    assert!(comings >= 1 && comings > goings, "{comings} {goings}");
    assert_eq!(there.presence.statuses(&[alice]).await, [Status::Online]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_ends_in_order_takes_its_part_out_at_once() {
    let ground = Ground::redis().await;
    let (here, there) = two_nodes(&ground).await;
    let (alice, conversation) = (UserId::generate(), ConversationId::generate());
    arrive(&there, alice, conversation);
    settled(&there).await;
    let (told, mut news) = mpsc::channel(16);
    there.halt().await;
    there.presence.close(&told).await;
    assert!(is_now(&soon("the end", news.recv()).await.unwrap(), alice, Status::Offline));
    assert!(left(&soon("the end", news.recv()).await.unwrap(), conversation, alice));
    assert_eq!(here.presence.statuses(&[alice]).await, [Status::Offline]);
    assert_eq!(here.nodes.alive().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_redis_is_away_a_node_goes_on_and_tells_the_others_when_it_is_back() {
    let mut ground = Ground::redis().await;
    let (here, there) = two_nodes(&ground).await;
    let [alice, bob] = [UserId::generate(), UserId::generate()];
    let conversation = ConversationId::generate();
    arrive(&here, alice, conversation);
    settled(&here).await;
    here.told(|told| joined(told, conversation, alice)).await;

    ground.server().stop().await;
    here.until_up(false).await;
    depart(&here, alice, conversation);
    here.told(|told| left(told, conversation, alice)).await;
    arrive(&here, bob, conversation);
    here.told(|told| joined(told, conversation, bob)).await;
    assert_eq!(here.presence.statuses(&[alice, bob]).await, [Status::Offline, Status::Online]);
    assert_eq!(here.presence.choose(bob, Status::Busy).await, Status::Busy);

    ground.server().resume().await;
    for node in [&here, &there] {
        node.until_up(true).await;
    }
    eventually("both know", async || there.presence.statuses(&[alice, bob]).await == [Status::Offline, Status::Busy])
        .await;
    // The others were never told that alice had gone.
    eventually("it is told again", async || comings_and_goings(&[&here], conversation, alice).1 == 2).await;
    depart(&here, bob, conversation);
    eventually("nobody is known", async || here.presence.is_empty()).await;
}
