//! Presence as streams tell it.

use colloquy::proto::{WatchPresenceRequest, presence_event};
use serde_json::json;

use super::{presence, view};
use crate::harness::{Actor, Events, Server, soon};

/// Watches presence over SSE; an empty conversation means everybody.
async fn watch(actor: &Actor, conversation: &str) -> Events {
    let path = format!("/api/v1/presence/stream?conversation_id={conversation}");
    Events::of(actor.request(reqwest::Method::GET, &path).send().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_of_a_conversation_tells_everything_over_sse_and_grpc() {
    let server = Server::start().await;
    let (alice, bob, conversation) = server.alice_and_bob().await;
    let mut events = watch(&alice, &conversation).await;
    let begun = events.next().await.unwrap();
    assert_eq!((begun.kind.as_str(), begun.offset), ("watching", 1));
    assert_eq!(begun.data["conversation_id"], conversation);
    let request = WatchPresenceRequest { conversation_id: conversation.clone() };
    let mut stream = alice.presence().watch_presence(request).await.unwrap().into_inner();
    let grpc = async |stream: &mut tonic::Streaming<colloquy::proto::WatchPresenceResponse>| {
        soon("an event", stream.message()).await.unwrap().unwrap().event.unwrap()
    };
    assert!(matches!(grpc(&mut stream).await.event, Some(presence_event::Event::Watching(_))));
    // Whoever watches is not there by it.
    assert_eq!(presence(&bob, &conversation, "alice").await["status"], "offline");

    let mut bobs = view(&bob, &conversation).await;
    bobs.ask("1", "typing", json!({ "conversation_id": conversation, "is_typing": true })).await;
    let mut seen = Vec::new();
    while !["user_joined", "user.status_changed", "typing"].iter().all(|kind| seen.iter().any(|seen| seen == kind)) {
        seen.push(events.next().await.unwrap().kind);
    }
    let mut heard = Vec::new();
    while heard.len() < 3 {
        let event = grpc(&mut stream).await;
        assert_eq!(event.offset, heard.len() as i64 + 2);
        heard.push(event.event.unwrap());
    }
    assert!(heard.iter().any(|event| matches!(event, presence_event::Event::UserStatusChanged(_))), "{heard:?}");
    bobs.cut();
    let mut seen = Vec::new();
    while !["user_left", "user.status_changed"].iter().all(|kind| seen.iter().any(|seen| seen == kind)) {
        seen.push(events.next().await.unwrap().kind);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_of_all_tells_what_everybody_is_who_shares_a_conversation_with_the_watcher() {
    let server = Server::start().await;
    let (alice, bob, _) = server.alice_and_bob().await;
    let eve = server.register("eve").await;
    let mut events = watch(&alice, "").await;
    assert_eq!(events.next().await.unwrap().kind, "watching");
    let _eve = eve.socket().await;
    let _bob = bob.socket().await;
    let event = events.next().await.unwrap();
    assert_eq!((event.kind.as_str(), &event.data["status"]), ("user.status_changed", &"online".into()));
    assert_eq!(event.data["user_id"], bob.me().await.unwrap().id);
    // It ends with the session.
    alice.post("/api/v1/auth/logout", json!({})).await;
    let last = events.next().await.unwrap();
    assert_eq!((last.kind.as_str(), &last.data["code"]), ("error", &"UNAUTHENTICATED".into()));
}
