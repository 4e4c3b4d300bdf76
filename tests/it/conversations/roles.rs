//! Who may do what, and that strangers learn of nothing.

use colloquy::proto::{
    AddContextRequest, AddMemberRequest, DeleteContextRequest, DeleteConversationRequest, DeleteMessageRequest,
    ExportConversationRequest, GetConversationRequest, GetMessageRequest, ListContextsRequest, ListMembersRequest,
    ListMessagesRequest, MarkReadRequest, MemberRole, RemoveMemberRequest, SearchMessagesRequest,
    UpdateConversationRequest,
};
use tonic::{Code, Status};

use super::{
    stage::{Actor, Server},
    uuid,
};
use crate::harness::{reason, violations};

/// Every call about one conversation, by name, with what the actor is told.
async fn try_everything(actor: &Actor, chat: &str, message: &str, context: &str) -> Vec<(&'static str, Code)> {
    let conversation_id = || chat.to_owned();
    let mut client = actor.conversations();
    let mut told = Vec::new();
    let mut tell = |name, result: Result<(), Status>| told.push((name, result.err().map_or(Code::Ok, |e| e.code())));

    let get = GetConversationRequest { conversation_id: conversation_id() };
    tell("get", client.get_conversation(get).await.map(drop));
    let members = ListMembersRequest { conversation_id: conversation_id(), ..Default::default() };
    tell("list members", client.list_members(members).await.map(drop));
    let contexts = ListContextsRequest { conversation_id: conversation_id(), ..Default::default() };
    tell("list contexts", client.list_contexts(contexts).await.map(drop));
    let messages = ListMessagesRequest { conversation_id: conversation_id(), ..Default::default() };
    tell("list messages", client.list_messages(messages).await.map(drop));
    let one = GetMessageRequest { conversation_id: conversation_id(), message_id: message.to_owned() };
    tell("get message", client.get_message(one).await.map(drop));
    let search =
        SearchMessagesRequest { conversation_id: conversation_id(), query: "hello".into(), ..Default::default() };
    tell("search", client.search_messages(search).await.map(drop));
    let read = MarkReadRequest { conversation_id: conversation_id(), seq: 1 };
    tell("mark read", client.mark_read(read).await.map(drop));
    let export = ExportConversationRequest { conversation_id: conversation_id(), format: 0 };
    tell("export", client.export_conversation(export).await.map(drop));

    let update = UpdateConversationRequest { conversation_id: conversation_id(), ..Default::default() };
    tell("update", client.update_conversation(update).await.map(drop));
    let attach = AddContextRequest { conversation_id: conversation_id(), content: "x".into(), ..Default::default() };
    tell("add context", client.add_context(attach).await.map(drop));
    let detach = DeleteContextRequest { conversation_id: conversation_id(), context_id: context.to_owned() };
    tell("delete context", client.delete_context(detach).await.map(drop));

    let delete = DeleteMessageRequest { conversation_id: conversation_id(), message_id: message.to_owned() };
    tell("delete another's message", client.delete_message(delete).await.map(drop));
    let add = AddMemberRequest { conversation_id: conversation_id(), user_id: actor.id.clone(), role: 1 };
    tell("add member", client.add_member(add).await.map(drop));
    let remove = RemoveMemberRequest { conversation_id: conversation_id(), user_id: uuid() };
    tell("remove another", client.remove_member(remove).await.map(drop));
    let delete = DeleteConversationRequest { conversation_id: conversation_id() };
    tell("delete", client.delete_conversation(delete).await.map(drop));
    told
}

const READS: usize = 8;
const WRITES: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn roles_allow_what_the_contract_says() {
    let server = Server::start().await;
    let (alice, author) = (server.register("alice").await, server.register("author").await);
    for (role, allowed, refused) in [
        (MemberRole::Viewer, READS, Code::PermissionDenied),
        (MemberRole::Member, READS + WRITES, Code::PermissionDenied),
        // Nobody removes a user who is not a member.
        (MemberRole::Owner, 15, Code::NotFound),
    ] {
        let actor = server.register(role.as_str_name()).await;
        let chat = alice.open("", &[&author]).await;
        let message = author.say(&chat, "hello").await;
        let context = add_context(&alice, &chat).await;
        alice.add(&chat, &actor, role).await.unwrap();
        for (index, (name, code)) in try_everything(&actor, &chat, &message, &context).await.into_iter().enumerate() {
            let expected = match name {
                "remove another" => refused,
                _ if index < allowed => Code::Ok,
                _ => refused,
            };
            assert_eq!(code, expected, "{name} as {}", role.as_str_name());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_learn_of_nothing() {
    let server = Server::start().await;
    let (alice, eve) = (server.register("alice").await, server.register("eve").await);
    let chat = alice.open("", &[]).await;
    let message = alice.say(&chat, "hello").await;
    let context = add_context(&alice, &chat).await;
    for (name, code) in try_everything(&eve, &chat, &message, &context).await {
        assert_eq!(code, Code::NotFound, "{name}");
    }
    for (name, code) in try_everything(&eve, &uuid(), &uuid(), &uuid()).await {
        assert_eq!(code, Code::NotFound, "{name}, where there is nothing");
    }
    let told = reason(eve.see(&chat).await);
    assert_eq!(told, reason(eve.see(&uuid()).await), "what is there and what is not look the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_one_conversation_is_not_found_through_another() {
    let server = Server::start().await;
    let (alice, eve) = (server.register("alice").await, server.register("eve").await);
    let chat = alice.open("", &[]).await;
    let message = alice.say(&chat, "hello").await;
    let context = add_context(&alice, &chat).await;
    let own = eve.open("", &[]).await;
    let refused = ["get message", "delete another's message", "delete context"];
    for (name, code) in try_everything(&eve, &own, &message, &context).await {
        if refused.contains(&name) {
            assert_eq!(code, Code::NotFound, "{name}");
        }
    }
    let head = UpdateConversationRequest {
        conversation_id: eve.open("", &[]).await,
        head_message_id: Some(message.clone()),
        ..Default::default()
    };
    let refused = eve.conversations().update_conversation(head).await;
    assert_eq!(reason(refused), (Code::NotFound, "NOT_FOUND".into()));
    assert_eq!(alice.read(&chat, &message).await.unwrap().content, "hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_is_none_is_named() {
    let alice = Server::start().await.register("alice").await;
    assert_eq!(violations(alice.see("x").await), ["conversation_id"]);
    let chat = alice.open("", &[]).await;
    assert_eq!(violations(alice.read(&chat, "").await), ["message_id"]);
}

async fn add_context(actor: &Actor, chat: &str) -> String {
    let request = AddContextRequest { conversation_id: chat.into(), content: "text".into(), ..Default::default() };
    actor.conversations().add_context(request).await.unwrap().into_inner().context.unwrap().id
}
