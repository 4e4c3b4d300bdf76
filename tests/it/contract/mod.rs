//! The contract, walked by its descriptors: every RPC is served, lets in whom it should and nobody else, and has its
//! place over HTTP.

mod cast;

use std::collections::BTreeSet;

use colloquy::{
    proto::DESCRIPTORS,
    session::{analytics, flight},
};
use futures_util::{StreamExt as _, stream};
use prost_reflect::DescriptorPool;
use serde_json::{Value, json};
use tonic::Code;

pub(crate) use self::cast::{Cast, new_name};
use crate::harness::{Actor, Rpc, Server, reason};

/// What callers get, from left to right: anonymous, a stranger to the conversation, its viewer, member and owner, and
/// an admin who is a stranger to it.
pub(crate) type Access = [Code; 6];

const CALLERS: [&str; 6] = ["anonymous", "stranger", "viewer", "member", "owner", "admin"];

const O: Code = Code::Ok;
const U: Code = Code::Unauthenticated;
const N: Code = Code::NotFound;
const P: Code = Code::PermissionDenied;

const PUBLIC: Access = [O, O, O, O, O, O];
const SIGNED_IN: Access = [U, O, O, O, O, O];
const NOBODYS: Access = [U, N, N, N, N, N];
const READERS: Access = [U, N, O, O, O, N];
const WRITERS: Access = [U, N, P, O, O, N];
const ADMINS: Access = [U, P, P, P, P, O];
const OWNERS: Access = [U, N, P, P, O, N];

/// An RPC, a request, and what callers get for it. `{self}` is the caller, `{guest}` another viewer; `{message}` is the
/// member's and `{reply}` its answer; `{session}` is the owner's. `{other}` is a user whom no other call needs, as are
/// `{connection}` and `{service_account}`.
pub(crate) const ROWS: &[(&str, &str, Access)] = &[
    ("AuthService/Register", r#"{"username":"{new}","email":"{new}@example.com","password":"{password}"}"#, PUBLIC),
    ("AuthService/Login", r#"{"username":"{owner_name}","password":"{password}"}"#, PUBLIC),
    ("AuthService/RefreshToken", r#"{"refresh_token":"{refresh_token}"}"#, PUBLIC),
    ("AuthService/Logout", "{}", SIGNED_IN),
    ("AuthService/IssueTicket", "{}", SIGNED_IN),
    ("AuthService/ListSessions", r#"{"page_size":1}"#, SIGNED_IN),
    ("AuthService/RevokeSession", r#"{"session_id":"{session}"}"#, [U, N, N, N, O, N]),
    ("AuthService/GetJwks", "{}", PUBLIC),
    ("UserService/GetMe", "{}", SIGNED_IN),
    ("UserService/GetMyUsage", r#"{"from":"","to":""}"#, SIGNED_IN),
    ("UserService/UpdateMe", r#"{"display_name":"Somebody"}"#, SIGNED_IN),
    ("UserService/ChangePassword", r#"{"current_password":"{password}","new_password":"battery staple"}"#, SIGNED_IN),
    ("UserService/DeleteMe", "{}", SIGNED_IN),
    ("UserService/GetUser", r#"{"user_id":"{guest}"}"#, SIGNED_IN),
    ("UserService/SearchUsers", r#"{"query":"g","page_size":1}"#, SIGNED_IN),
    ("ConversationService/CreateConversation", r#"{"title":"new","member_ids":["{guest}"]}"#, SIGNED_IN),
    ("ConversationService/GetConversation", r#"{"conversation_id":"{conversation}"}"#, READERS),
    ("ConversationService/ListConversations", r#"{"page_size":1}"#, SIGNED_IN),
    ("ConversationService/UpdateConversation", r#"{"conversation_id":"{conversation}","title":"other"}"#, WRITERS),
    ("ConversationService/DeleteConversation", r#"{"conversation_id":"{conversation}"}"#, OWNERS),
    ("ConversationService/ListMembers", r#"{"conversation_id":"{conversation}"}"#, READERS),
    (
        "ConversationService/AddMember",
        r#"{"conversation_id":"{conversation}","user_id":"{guest}","role":"MEMBER_ROLE_OWNER"}"#,
        OWNERS,
    ),
    ("ConversationService/RemoveMember", r#"{"conversation_id":"{conversation}","user_id":"{guest}"}"#, OWNERS),
    (
        // Everybody leaves, but for the last owner.
        "ConversationService/RemoveMember",
        r#"{"conversation_id":"{conversation}","user_id":"{self}"}"#,
        [U, N, O, O, Code::FailedPrecondition, N],
    ),
    (
        "ConversationService/AddContext",
        r#"{"conversation_id":"{conversation}","title":"rules","content":"be brief"}"#,
        WRITERS,
    ),
    ("ConversationService/ListContexts", r#"{"conversation_id":"{conversation}"}"#, READERS),
    ("ConversationService/DeleteContext", r#"{"conversation_id":"{conversation}","context_id":"{context}"}"#, WRITERS),
    ("ConversationService/ListMessages", r#"{"conversation_id":"{conversation}","after_seq":1}"#, READERS),
    ("ConversationService/GetMessage", r#"{"conversation_id":"{conversation}","message_id":"{message}"}"#, READERS),
    (
        // The author's alone, whatever the others may do.
        "ConversationService/EditMessage",
        r#"{"conversation_id":"{conversation}","message_id":"{message}","content":"better"}"#,
        [U, N, P, O, P, N],
    ),
    ("ConversationService/DeleteMessage", r#"{"conversation_id":"{conversation}","message_id":"{message}"}"#, WRITERS),
    (
        // An answer has no author.
        "ConversationService/DeleteMessage",
        r#"{"conversation_id":"{conversation}","message_id":"{reply}"}"#,
        OWNERS,
    ),
    ("ConversationService/SearchMessages", r#"{"query":"hello","conversation_id":"{conversation}"}"#, READERS),
    ("ConversationService/SearchMessages", r#"{"query":"hello"}"#, SIGNED_IN),
    ("ConversationService/MarkRead", r#"{"conversation_id":"{conversation}","seq":1}"#, READERS),
    ("ConversationService/ExportConversation", r#"{"conversation_id":"{conversation}"}"#, READERS),
    ("ChatService/SendMessage", r#"{"conversation_id":"{conversation}","content":"hello"}"#, WRITERS),
    ("ChatService/StreamChat", r#"{"conversation_id":"{conversation}","message":"hello"}"#, WRITERS),
    ("ChatService/StreamChat", r#"{"message":"hello"}"#, SIGNED_IN),
    ("ChatService/ResumeChat", r#"{"message_id":"{reply}","after":0}"#, READERS),
    ("ChatService/StopRun", r#"{"conversation_id":"{conversation}","message_id":"{reply}"}"#, WRITERS),
    ("ChatService/RegenerateMessage", r#"{"conversation_id":"{conversation}","message_id":"{reply}"}"#, WRITERS),
    ("ChatService/ListModels", "{}", SIGNED_IN),
    ("PresenceService/GetPresence", r#"{"conversation_id":"{conversation}"}"#, READERS),
    ("PresenceService/UpdatePresence", r#"{"status":"PRESENCE_STATUS_BUSY"}"#, SIGNED_IN),
    ("PresenceService/SetTyping", r#"{"conversation_id":"{conversation}","is_typing":true}"#, WRITERS),
    ("PresenceService/WatchPresence", r#"{"conversation_id":"{conversation}"}"#, READERS),
    ("PresenceService/WatchPresence", "{}", SIGNED_IN),
    ("NotificationService/CreateNotification", r#"{"user_id":"{guest}","title":"hello"}"#, ADMINS),
    ("NotificationService/ListNotifications", r#"{"page_size":1}"#, SIGNED_IN),
    ("NotificationService/MarkNotificationRead", r#"{"notification_id":"{guest}"}"#, NOBODYS),
    ("NotificationService/MarkAllNotificationsRead", "{}", SIGNED_IN),
    ("NotificationService/DeleteNotification", r#"{"notification_id":"{guest}"}"#, NOBODYS),
    ("NotificationService/CountUnreadNotifications", "{}", SIGNED_IN),
    ("NotificationService/WatchNotifications", "{}", SIGNED_IN),
    ("NotificationService/GetPushKey", "{}", SIGNED_IN),
    (
        "NotificationService/RegisterPushSubscription",
        r#"{"endpoint":"https://push.example/{new}","keys":{"p256dh":"{p256dh}","auth":"BTBZMqHH6r4Tts7J_aSIgg"}}"#,
        SIGNED_IN,
    ),
    ("NotificationService/DeletePushSubscription", r#"{"endpoint":"https://push.example/none"}"#, NOBODYS),
    ("EventService/PublishEvent", r#"{"type":"review.created","audience":"EVENT_AUDIENCE_SUBSCRIBERS"}"#, ADMINS),
    ("EventService/SubscribeEvents", r#"{"events":["review.created"]}"#, SIGNED_IN),
    ("AdminService/ListUsers", r#"{"query":"g","page_size":1}"#, ADMINS),
    ("AdminService/PromoteUser", r#"{"user_id":"{other}"}"#, ADMINS),
    ("AdminService/DemoteUser", r#"{"user_id":"{other}"}"#, ADMINS),
    ("AdminService/DeactivateUser", r#"{"user_id":"{other}"}"#, ADMINS),
    ("AdminService/ActivateUser", r#"{"user_id":"{other}"}"#, ADMINS),
    ("AdminService/GetMetrics", "{}", ADMINS),
    ("AdminService/GetSystemStatus", "{}", ADMINS),
    ("AdminService/GetServiceStatus", "{}", ADMINS),
    ("AdminService/GetRateLimits", r#"{"user_id":"{guest}"}"#, ADMINS),
    ("AdminService/ListRateLimitViolations", "{}", ADMINS),
    ("AdminService/ResetRateLimits", r#"{"user_id":"{guest}"}"#, ADMINS),
    ("AdminService/ListUsage", r#"{"user_id":"{guest}"}"#, ADMINS),
    ("AdminService/ListAuditLog", r#"{"page_size":1}"#, ADMINS),
    ("AdminService/ListConnections", r#"{"page_size":1}"#, ADMINS),
    ("AdminService/Broadcast", r#"{"message":"hello"}"#, ADMINS),
    ("AdminService/CloseConnection", r#"{"connection_id":"{connection}"}"#, ADMINS),
    ("AdminService/GetConnectionFrames", r#"{"connection_id":"{connection}"}"#, ADMINS),
    ("AdminService/GetConnectionAnalytics", "{}", ADMINS),
    ("AdminService/CreateServiceAccount", r#"{"name":"{new}","scopes":["chat:*"]}"#, ADMINS),
    ("AdminService/ListServiceAccounts", r#"{"page_size":1}"#, ADMINS),
    ("AdminService/DeleteServiceAccount", r#"{"service_account_id":"{service_account}"}"#, ADMINS),
    ("SessionService/GetConnectionHealth", "{}", SIGNED_IN),
    ("SessionService/Connect", r#"{"frame":{"id":"1","ping":{}}}"#, SIGNED_IN),
];

/// What ends the caller's session or account: each call gets a caller of its own.
const LAST_CALLS: [&str; 4] =
    ["AuthService/Logout", "AuthService/RevokeSession", "UserService/ChangePassword", "UserService/DeleteMe"];

/// Calls that are under way at once.
const CROWD: usize = 8;

#[test]
fn every_rpc_has_a_row_and_every_row_an_rpc() {
    let served: BTreeSet<_> = Rpc::all().iter().map(Rpc::name).collect();
    let rows: BTreeSet<_> = ROWS.iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(rows, served);
}

#[test]
fn every_rpc_that_takes_one_message_has_a_place_over_http_and_only_those() {
    let mut places = BTreeSet::new();
    for rpc in Rpc::all() {
        let route = rpc.route();
        assert_eq!(route.is_some(), !rpc.takes_stream(), "{}", rpc.name());
        if let Some(route) = route {
            assert!(places.insert((route.method.to_string(), route.path)), "{} shares its place", rpc.name());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_grpc_every_rpc_answers_whom_it_should() {
    let cast = Cast::assemble().await;
    check(&cast, async |rpc, actor, request, expected| match rpc.over_grpc(actor, request).await {
        Ok(answer) if expected == O => (!answer.is_object()).then(|| format!("{answer}")),
        Err(status) if status.code() == expected => {
            let reason = reason::<()>(Err(status)).1;
            (reason != code_name(expected)).then_some(reason)
        }
        other => Some(format!("{other:?}")),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http_every_rpc_answers_whom_it_should() {
    let cast = Cast::assemble().await;
    check(&cast, async |rpc, actor, request, expected| {
        if rpc.takes_stream() {
            return None;
        }
        let answer = rpc.over_http(actor, request).await;
        let is_right = answer.status == http_status(rpc, expected)
            && match (expected, rpc.is_streaming()) {
                (O, true) => answer.content_type == "text/event-stream" && answer.body.starts_with(b"id: "),
                (O, false) => answer.content_type == "application/json" && answer.json().is_object(),
                _ => {
                    let error = answer.json()["error"].take();
                    error["code"] == code_name(expected) && error["details"][0]["reason"] == code_name(expected)
                }
            };
        (!is_right).then(|| format!("{answer:?}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_is_none_is_refused_wherever_one_is_needed() {
    let visitor = Server::start().await.visitor();
    for credential in ["clq_not_a_token", "clq_ak_not_a_key"] {
        let impostor = visitor.with_token(credential);
        for (name, ..) in ROWS.iter().filter(|(_, _, access)| access[0] == U) {
            let refused = Rpc::named(name).over_grpc(&impostor, &json!({})).await;
            assert_eq!(reason(refused), (U, "UNAUTHENTICATED".into()), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_found_in_its_own_conversation_only() {
    let alice = Server::start().await.register("alice").await;
    let (conversation, other) = (alice.conversation().await, alice.conversation().await);
    let (message, reply) = alice.send(&conversation, "hello").await;
    for name in ["GetMessage", "EditMessage", "DeleteMessage"].map(|name| format!("ConversationService/{name}")) {
        let mut request = json!({ "conversation_id": other, "message_id": message });
        if name.ends_with("/EditMessage") {
            request["content"] = json!("better");
        }
        let refused = Rpc::named(&name).over_grpc(&alice, &request).await;
        assert_eq!(reason(refused), (N, "NOT_FOUND".into()), "{name}");
    }
    for name in ["ChatService/StopRun", "ChatService/RegenerateMessage"] {
        let request = json!({ "conversation_id": other, "message_id": reply });
        assert_eq!(reason(Rpc::named(name).over_grpc(&alice, &request).await), (N, "NOT_FOUND".into()), "{name}");
    }
}

/// Plays every row with every caller, each in a conversation of its own, and reports all that went wrong.
async fn check(cast: &Cast, call: impl AsyncFn(&Rpc, &Actor, &Value, Code) -> Option<String>) {
    let calls = ROWS.iter().flat_map(|row| (0..CALLERS.len()).map(move |caller| (row, caller)));
    let played = stream::iter(calls).map(|((name, template, access), caller)| {
        let call = &call;
        async move {
            let mut callers = cast.callers.clone();
            if LAST_CALLS.contains(name) && caller > 0 {
                callers[caller] = cast.another(CALLERS[caller]).await;
            }
            let request = cast.request(template, &callers, caller).await;
            let wrong = call(&Rpc::named(name), &callers[caller], &request, access[caller]).await?;
            Some(format!("{name} {template} by {}: wanted {:?}, got {wrong}", CALLERS[caller], access[caller]))
        }
    });
    let wrong: Vec<_> = played.buffer_unordered(CROWD).filter_map(std::future::ready).collect().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The name of a code, and of the reason that stands for it.
fn code_name(code: Code) -> &'static str {
    match code {
        U => "UNAUTHENTICATED",
        N => "NOT_FOUND",
        P => "PERMISSION_DENIED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        other => panic!("no row expects {other:?}"),
    }
}

pub(crate) fn http_status(rpc: &Rpc, code: Code) -> u16 {
    let name = rpc.name();
    match code {
        O if name.contains("/Create") || name.contains("/Register") => 201,
        O => 200,
        U => 401,
        N => 404,
        P => 403,
        _ => 400,
    }
}

#[test]
fn every_type_of_frame_is_counted() {
    let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
    let option = pool.get_extension_by_name("colloquy.v1.frame_type").unwrap();
    let frames =
        ["ClientFrame", "ServerFrame"].map(|name| pool.get_message_by_name(&format!("colloquy.v1.{name}")).unwrap());
    let fields = frames.iter().flat_map(|frame| frame.fields()).filter(|field| field.options().has_extension(&option));
    let types = fields.map(|field| field.options().get_extension(&option).as_str().unwrap().to_owned());
    // What others publish is counted together.
    let types = types.map(|name| if name == "*" { "event".to_owned() } else { name });
    let types: Vec<String> = types.collect::<BTreeSet<_>>().into_iter().collect();
    assert_eq!(types, analytics::TYPES);
}

#[test]
fn every_code_is_known_to_the_flight_recorder() {
    let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
    let reasons = pool.get_enum_by_name("colloquy.v1.ErrorReason").unwrap();
    let codes = reasons.values().skip(1).map(|value| value.name().strip_prefix("ERROR_REASON_").unwrap().to_owned());
    assert_eq!(codes.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>(), flight::CODES);
}
