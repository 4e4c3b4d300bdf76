//! Following one answer: what both the log and the topic hold is shown once, and what the topic lost comes from the log.
//!
//! The one place of these tests that puts parts together by hand: no caller of the contract can make a piece be published
//! between the moments at which a viewer joins the topic and reads the log.

use std::{pin::pin, time::Duration};

use colloquy::{
    lifecycle::Lifecycle,
    live::{
        bus::{Bounds, Bus},
        signal::Signals,
    },
    llm::{self, Models},
    model::{
        caller::Caller,
        clock::Clock,
        conversation::MemberRole,
        cursor::Cursor,
        event::{Draft, Happening},
        ids::{ConversationId, MessageId, SessionId},
        topic::Topic,
        usage::Usage,
        user::Role,
    },
    service::{
        access::Access,
        deliveries::Deliveries,
        runs::{Limits, Makers, Runs},
    },
    session::{
        follow::{Coming, Following, follow},
        hub::Hub,
        lanes,
        seat::Seat,
    },
    tools::{self, Tools},
};
use futures_util::{Stream, StreamExt as _};

use crate::harness::{
    Server, Transport, Viewer, soon,
    upstream::{Script, Upstream},
};

fn token(content: &str, index: u64) -> Happening {
    Happening::Token { content: content.to_owned(), index }
}

/// The next step of an answer.
async fn next(steps: &mut (impl Stream<Item = colloquy::error::Result<(Cursor, Draft)>> + Unpin)) -> Happening {
    soon("a step", steps.next()).await.expect("the answer goes on").unwrap().1.happening
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_and_the_topic_both_hold_is_shown_once() {
    // The answer: logged by a node whose own topic is not the one that is followed.
    let script =
        Script::anthropic().stepped().text("a ").text("b ").text("c ").text("d ").text("e ").text("f ").pause().end();
    let upstream = Upstream::start(script).await;
    let server = Server::asking(&upstream, &[]).await;
    let alice = server.register("alice").await;
    let conversation = alice.conversation().await;
    let (_, answer) = alice.send(&conversation, "hi").await;
    let mut logged = Viewer::new(&alice, &conversation, &answer);
    logged.attach(Transport::Grpc).await;

    let lanes = lanes::Bounds { frames: 1000, bytes: 1 << 20, ttl: Duration::from_secs(3600) };
    let (clock, lifecycle, hub) = (Clock::default(), Lifecycle::default(), Hub::new(lanes));
    let deliver = hub.clone();
    let history = Bounds { events: 1000, bytes: 1 << 20, age: Duration::from_secs(3600) };
    let bus = Bus::new(clock, None, history, Box::new(move |news| deliver.deliver(news)));
    let store = server.data().store().await;
    let models = llm::Settings { providers: Vec::new(), default_model: None, echo_interval: Duration::ZERO };
    let limits = Limits { context_tokens: 0, output_tokens: 0, tool_rounds: 0, lease: Duration::from_secs(10) };
    let no_tools =
        tools::Settings { built_in: Vec::new(), servers: Vec::new(), timeout: Duration::ZERO, max_result_bytes: 0 };
    let makers = Makers { models: Models::new(models).unwrap(), tools: Tools::new(no_tools, clock), cache: None };
    let runs = Runs::new(store.clone(), bus.clone(), Signals::new(None), makers, clock, lifecycle.clone(), limits);
    let caller = Caller {
        user_id: alice.me().await.unwrap().id.parse().unwrap(),
        username: "alice".to_owned(),
        role: Role::User,
        scopes: None,
        session_id: SessionId::generate(),
        expires_at: clock.now(),
    };
    let conversation_id: ConversationId = conversation.parse().unwrap();
    let message_id: MessageId = answer.parse().unwrap();
    let deliveries = Deliveries::new(store.clone(), bus.clone(), 0);
    let membership = Access::new(store).message(&caller, message_id, MemberRole::Viewer).await.unwrap();
    let topic = Topic::Conversation(conversation_id);
    let publish = async |happening| {
        bus.publish(topic.clone(), Draft::within(conversation_id, Some(message_id), happening)).await;
    };

    // Joined before the pieces are published, and read when they stand in the log.
    let mut seat = Seat::take(hub, bus.clone(), &caller);
    seat.join(&topic, None, 0).await;
    upstream.release(2);
    logged.until_bytes(4).await;
    publish(token("a ", 0)).await;
    publish(token("b ", 2)).await;
    let following = Following { membership, message_id, after: Cursor::default(), coming: Coming::Back };
    let mut steps = pin!(follow(seat, runs, deliveries, lifecycle, following));
    assert!(matches!(next(&mut steps).await, Happening::Start { .. }));
    assert_eq!(next(&mut steps).await, token("a b ", 0));

    // A piece that is known in part.
    upstream.release(1);
    logged.until_bytes(6).await;
    publish(token("b c ", 2)).await;
    assert_eq!(next(&mut steps).await, token("c ", 4));

    // A piece before which one was lost: the log has both.
    upstream.release(2);
    logged.until_bytes(10).await;
    publish(token("e ", 8)).await;
    assert_eq!(next(&mut steps).await, token("d e ", 6));

    // What comes late is known; what never comes is shown before the end.
    publish(token("d ", 6)).await;
    upstream.release(2);
    assert_eq!(logged.until_last().await.kind, "end");
    let end = |usage| Happening::End { finish_reason: "stop".to_owned(), usage, content_length: 12, is_cached: false };
    publish(end(Usage::default())).await;
    assert_eq!(next(&mut steps).await, token("f ", 10));
    assert_eq!(next(&mut steps).await, end(Usage { input_tokens: 12, output_tokens: 34 }));
    assert!(soon("the end", steps.next()).await.is_none());
}
