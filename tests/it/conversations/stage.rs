//! Those who take part in conversations, and what no RPC writes: answers at any stage of their making.

use colloquy::{
    model::ids::MessageId,
    proto::{
        AddMemberRequest, Conversation, CreateConversationRequest, EditMessageRequest, GetConversationRequest,
        GetMessageRequest, ListMessagesRequest, MemberRole, Message, SendMessageRequest,
        conversation_service_client::ConversationServiceClient,
    },
};
use serde_json::json;
use tonic::Status;

use crate::harness::{self, Service, Socket};

/// A server with conversations.
pub(crate) struct Server(harness::Server);

impl Server {
    /// With the default settings.
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// With these settings.
    pub(crate) async fn with(settings: &[(&str, &str)]) -> Self {
        Self(harness::Server::with(settings).await)
    }

    /// Somebody who has just registered and signed in.
    pub(crate) async fn register(&self, name: &str) -> Actor {
        let actor = self.0.register(name).await;
        Actor { id: actor.me().await.unwrap().id, actor }
    }

    /// Does to the database what no RPC does.
    pub(crate) fn sql(&self, statements: &str) {
        self.0.data().sql(statements);
    }

    /// Asks the database for a number.
    pub(crate) fn number(&self, query: &str) -> i64 {
        self.0.data().number(query)
    }

    /// Fails when the index of a search does not fit what is stored.
    pub(crate) fn check_search(&self) {
        self.0.data().check_search();
    }

    /// Writes an answer at the end of a conversation.
    pub(crate) fn answer(&self, chat: &str, content: &str) -> String {
        self.append_answer(chat, content, "complete")
    }

    /// Begins an answer that has these pieces so far.
    pub(crate) fn begin_answer(&self, chat: &str, pieces: &[&str]) -> String {
        let id = self.append_answer(chat, "", if pieces.is_empty() { "pending" } else { "streaming" });
        let mut offset = 0;
        for piece in pieces {
            let content = text(piece);
            self.sql(&format!("INSERT INTO run_chunks VALUES ('{id}', {offset}, {content})"));
            offset += piece.len();
        }
        id
    }

    /// Ends an answer that was begun.
    pub(crate) fn end_answer(&self, id: &str, content: &str) {
        let content = text(content);
        self.sql(&format!(
            "UPDATE messages SET status = 'complete', content = {content}, lease_owner = NULL WHERE id = '{id}';
             DELETE FROM run_chunks WHERE message_id = '{id}'"
        ));
    }

    /// Writes another answer beside one on the chosen path, which ends with it.
    pub(crate) fn answer_beside(&self, chat: &str, id: &str, content: &str) -> String {
        self.sql(&format!(
            "UPDATE messages SET on_path = FALSE WHERE (conversation_id, seq) IN
                 (SELECT m.conversation_id, m.seq FROM messages m, messages o
                  WHERE o.id = '{id}' AND m.conversation_id = o.conversation_id AND m.seq >= o.seq);
             UPDATE conversations SET head_message_id = o.parent_id FROM messages o
             WHERE o.id = '{id}' AND conversations.id = o.conversation_id"
        ));
        self.append_answer(chat, content, "complete")
    }

    fn append_answer(&self, chat: &str, content: &str, status: &str) -> String {
        let id = MessageId::generate().to_string();
        let content = text(content);
        // A message whose run lasts has a lease; this one has no end, for its node is none of those that run.
        let lease_owner = if status == "complete" { "NULL".to_owned() } else { format!("'{id}'") };
        self.sql(&format!(
            "INSERT INTO messages (id, conversation_id, seq, parent_id, on_path, role, content, status, model,
                 is_deleted, stop_requested, lease_owner, created_at, updated_at)
             SELECT '{id}', id, last_seq + 1, head_message_id, TRUE, 'assistant', {content}, '{status}', 'echo',
                 FALSE, FALSE, {lease_owner}, 'epoch', 'epoch'
             FROM conversations WHERE id = '{chat}';
             UPDATE conversations SET last_seq = last_seq + 1, head_message_id = '{id}' WHERE id = '{chat}'"
        ));
        id
    }
}

/// Somebody who is signed in.
pub(crate) struct Actor {
    /// Names the account.
    pub(crate) id: String,
    actor: harness::Actor,
}

impl Actor {
    /// Calls `ConversationService`.
    pub(crate) fn conversations(&self) -> ConversationServiceClient<Service> {
        self.actor.conversations()
    }

    /// Makes a conversation with others and returns its id.
    pub(crate) async fn open(&self, title: &str, others: &[&Self]) -> String {
        let request = CreateConversationRequest {
            title: title.to_owned(),
            member_ids: others.iter().map(|other| other.id.clone()).collect(),
            ..Default::default()
        };
        self.conversations().create_conversation(request).await.unwrap().into_inner().conversation.unwrap().id
    }

    /// Says something that nobody answers.
    pub(crate) async fn say(&self, chat: &str, content: &str) -> String {
        let request = SendMessageRequest {
            conversation_id: chat.to_owned(),
            content: content.to_owned(),
            reply: Some(false),
            ..Default::default()
        };
        self.actor.chat().send_message(request).await.unwrap().into_inner().message.unwrap().id
    }

    /// Puts another version beside a message of this one's.
    pub(crate) async fn edit(&self, chat: &str, id: &str, content: &str) -> String {
        let request = EditMessageRequest {
            conversation_id: chat.to_owned(),
            message_id: id.to_owned(),
            content: content.to_owned(),
            reply: Some(false),
            ..Default::default()
        };
        self.conversations().edit_message(request).await.unwrap().into_inner().message.unwrap().id
    }

    /// A conversation as this one sees it.
    pub(crate) async fn see(&self, chat: &str) -> Result<Conversation, Status> {
        let request = GetConversationRequest { conversation_id: chat.to_owned() };
        Ok(self.conversations().get_conversation(request).await?.into_inner().conversation.unwrap())
    }

    /// A message as this one sees it.
    pub(crate) async fn read(&self, chat: &str, id: &str) -> Result<Message, Status> {
        let request = GetMessageRequest { conversation_id: chat.to_owned(), message_id: id.to_owned() };
        Ok(self.conversations().get_message(request).await?.into_inner().message.unwrap())
    }

    /// The texts on the chosen path, in order.
    pub(crate) async fn texts(&self, chat: &str) -> Vec<String> {
        let request = ListMessagesRequest { conversation_id: chat.to_owned(), limit: 100, ..Default::default() };
        let page = self.conversations().list_messages(request).await.unwrap().into_inner();
        page.messages.into_iter().map(|message| message.content).collect()
    }

    /// Adds somebody to a conversation, or changes what they may do.
    pub(crate) async fn add(&self, chat: &str, other: &Self, role: MemberRole) -> Result<(), Status> {
        let request =
            AddMemberRequest { conversation_id: chat.to_owned(), user_id: other.id.clone(), role: role.into() };
        self.conversations().add_member(request).await.map(drop)
    }

    /// Sees a conversation live from now on.
    pub(crate) async fn watch(&self, chat: &str) -> Socket {
        let mut socket = self.actor.socket().await;
        socket.ask("watch", "join_session", json!({ "session_id": chat })).await;
        assert_eq!(socket.answer_to("watch").await["type"], "subscription.confirmed");
        socket
    }
}

fn text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
