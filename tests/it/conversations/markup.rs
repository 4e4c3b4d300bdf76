//! The content policy in titles and contexts.

use colloquy::proto::{AddContextRequest, CreateConversationRequest, UpdateConversationRequest};
use tonic::Code;

use super::stage::Server;
use crate::harness::reason;

const MARKUP: &str = "<img src=x onerror=alert(1)>";

#[tokio::test(flavor = "multi_thread")]
async fn markup_is_data_by_default() {
    let alice = Server::start().await.register("alice").await;
    let chat = alice.open(MARKUP, &[]).await;
    assert_eq!(alice.see(&chat).await.unwrap().title, MARKUP);
}

#[tokio::test(flavor = "multi_thread")]
async fn markup_is_rejected_where_the_policy_says_so() {
    let alice = Server::with(&[("content_policy", "reject")]).await.register("alice").await;
    let rejected = (Code::InvalidArgument, "CONTENT_REJECTED".into());
    let made = CreateConversationRequest { title: MARKUP.into(), ..Default::default() };
    assert_eq!(reason(alice.conversations().create_conversation(made).await), rejected);

    let conversation_id = alice.open("a < b", &[]).await;
    let changed = UpdateConversationRequest {
        conversation_id: conversation_id.clone(),
        title: Some(MARKUP.into()),
        ..Default::default()
    };
    assert_eq!(reason(alice.conversations().update_conversation(changed).await), rejected);
    let titled =
        AddContextRequest { conversation_id: conversation_id.clone(), title: MARKUP.into(), content: "x".into() };
    assert_eq!(reason(alice.conversations().add_context(titled).await), rejected);
    let written = AddContextRequest { conversation_id, title: String::new(), content: MARKUP.into() };
    assert_eq!(reason(alice.conversations().add_context(written).await), rejected);
}
