//! Versions of messages, and the path chosen among them.

use colloquy::proto::{Conversation, ListMessagesRequest, UpdateConversationRequest};
use tonic::{Code, Status};

use super::{
    stage::{Actor, Server},
    uuid,
};
use crate::harness::reason;

/// A conversation whose second question has two versions, each with its own answers:
/// `q1 a1 q2 (a2 | a2')` and `q1 a1 q2' a3`; the latter is the path.
struct Forked {
    server: Server,
    alice: Actor,
    chat: String,
    q1: String,
    q2: String,
    a2: String,
    a2_again: String,
    q2_edited: String,
    a3: String,
}

impl Forked {
    async fn new() -> Self {
        let server = Server::start().await;
        let alice = server.register("alice").await;
        let chat = alice.open("", &[]).await;
        let q1 = alice.say(&chat, "q1").await;
        server.answer(&chat, "a1");
        let q2 = alice.say(&chat, "q2").await;
        let a2 = server.answer(&chat, "a2");
        let a2_again = server.answer_beside(&chat, &a2, "a2'");
        let q2_edited = alice.edit(&chat, &q2, "q2'").await;
        let a3 = server.answer(&chat, "a3");
        Self { server, alice, chat, q1, q2, a2, a2_again, q2_edited, a3 }
    }

    async fn choose(&self, message: &str) -> Result<Conversation, Status> {
        let request = UpdateConversationRequest {
            conversation_id: self.chat.clone(),
            head_message_id: Some(message.to_owned()),
            ..Default::default()
        };
        Ok(self.alice.conversations().update_conversation(request).await?.into_inner().conversation.unwrap())
    }

    async fn siblings(&self, message: &str) -> Vec<String> {
        self.alice.read(&self.chat, message).await.unwrap().sibling_ids
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_of_a_message_name_each_other() {
    let forked = Forked::new().await;
    let questions = [forked.q2.clone(), forked.q2_edited.clone()];
    assert_eq!(forked.siblings(&forked.q2).await, questions);
    assert_eq!(forked.siblings(&forked.q2_edited).await, questions);
    assert_eq!(forked.siblings(&forked.a2).await, [forked.a2.clone(), forked.a2_again.clone()]);
    assert!(forked.siblings(&forked.q1).await.is_empty(), "who is alone has no siblings");
    assert!(forked.siblings(&forked.a3).await.is_empty());

    let first_again = forked.alice.edit(&forked.chat, &forked.q1, "q1'").await;
    assert_eq!(forked.siblings(&forked.q1).await, [forked.q1.clone(), first_again], "first messages have no parent");
    let elsewhere = forked.alice.open("", &[]).await;
    let alone = forked.alice.say(&elsewhere, "q1").await;
    let alone = forked.alice.read(&elsewhere, &alone).await.unwrap();
    assert!(alone.sibling_ids.is_empty(), "first messages of other conversations are no siblings");
}

#[tokio::test(flavor = "multi_thread")]
async fn history_shows_the_path_or_everything() {
    let forked = Forked::new().await;
    assert_eq!(forked.alice.texts(&forked.chat).await, ["q1", "a1", "q2'", "a3"]);

    let request =
        ListMessagesRequest { conversation_id: forked.chat.clone(), include_siblings: true, ..Default::default() };
    let page = forked.alice.conversations().list_messages(request).await.unwrap().into_inner();
    let texts: Vec<_> = page.messages.iter().map(|message| message.content.as_str()).collect();
    assert_eq!(texts, ["q1", "a1", "q2", "a2", "a2'", "q2'", "a3"]);
    let siblings: Vec<_> = page.messages.iter().map(|message| message.sibling_ids.len()).collect();
    assert_eq!(siblings, [0, 0, 2, 2, 2, 2, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_leads_through_a_message_to_its_latest_descendant() {
    let forked = Forked::new().await;
    for (chosen, head, texts) in [
        (&forked.q2, &forked.a2_again, ["q1", "a1", "q2", "a2'"]),
        (&forked.a2, &forked.a2, ["q1", "a1", "q2", "a2"]),
        (&forked.q2_edited, &forked.a3, ["q1", "a1", "q2'", "a3"]),
        (&forked.a2_again, &forked.a2_again, ["q1", "a1", "q2", "a2'"]),
        (&forked.q1, &forked.a3, ["q1", "a1", "q2'", "a3"]),
    ] {
        assert_eq!(forked.choose(chosen).await.unwrap().head_message_id.as_ref(), Some(head));
        assert_eq!(forked.alice.texts(&forked.chat).await, texts);
    }
    forked.choose(&forked.a2).await.unwrap();
    forked.alice.say(&forked.chat, "q3").await;
    assert_eq!(forked.alice.texts(&forked.chat).await, ["q1", "a1", "q2", "a2", "q3"], "the path goes on at its head");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_is_not_changed_while_a_run_lasts() {
    let forked = Forked::new().await;
    let answer = forked.server.begin_answer(&forked.chat, &["we"]);
    let refused = forked.choose(&forked.q2).await;
    assert_eq!(reason(refused), (Code::FailedPrecondition, "FAILED_PRECONDITION".into()));
    let both = UpdateConversationRequest {
        conversation_id: forked.chat.clone(),
        title: Some("new".into()),
        head_message_id: Some(forked.q2.clone()),
        ..Default::default()
    };
    assert!(forked.alice.conversations().update_conversation(both).await.is_err());
    assert_eq!(forked.alice.see(&forked.chat).await.unwrap().title, "", "a change is made whole or not at all");

    forked.server.end_answer(&answer, "well");
    forked.choose(&forked.q2).await.unwrap();
    assert_eq!(reason(forked.choose(&uuid()).await), (Code::NotFound, "NOT_FOUND".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_off_the_path_takes_the_path_with_it() {
    let forked = Forked::new().await;
    let q2_again = forked.alice.edit(&forked.chat, &forked.q2, "q2''").await;
    assert_eq!(forked.alice.texts(&forked.chat).await, ["q1", "a1", "q2''"]);
    forked.choose(&forked.a2).await.unwrap();
    let q3 = forked.alice.say(&forked.chat, "q3").await;
    forked.choose(&q2_again).await.unwrap();

    let q3_edited = forked.alice.edit(&forked.chat, &q3, "q3'").await;
    assert_eq!(forked.alice.see(&forked.chat).await.unwrap().head_message_id, Some(q3_edited));
    assert_eq!(forked.alice.texts(&forked.chat).await, ["q1", "a1", "q2", "a2", "q3'"]);
}
