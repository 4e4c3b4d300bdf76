//! Bad input: whatever carries it, it gets its documented error, and nothing else changes.

use colloquy::proto::SendMessageRequest;
use prost::Message as _;
use reqwest::Method;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{
    Message as Frame,
    protocol::frame::{
        Frame as RawFrame,
        coding::{Data, OpCode},
    },
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::harness::{Actor, Rpc, Server, Socket};

/// Something wrong, in the words of each transport that can express it.
struct Case {
    what: String,
    /// The reason that it must be refused with, and the fields that must be named.
    reason: &'static str,
    fields: Vec<String>,
    http: Option<(Method, String, Vec<u8>)>,
    grpc: Option<(Rpc, Vec<u8>)>,
    socket: Option<Frame>,
}

impl Case {
    /// `fields` are those that must be named, separated by blanks.
    fn new(what: &str, reason: &'static str, fields: &str) -> Self {
        let fields = fields.split_whitespace().map(str::to_owned).collect();
        Self { what: what.to_owned(), reason, fields, http: None, grpc: None, socket: None }
    }

    fn invalid(what: &str, field: &str) -> Self {
        Self::new(what, "INVALID_MESSAGE", field)
    }

    fn http(mut self, method: Method, path: &str, body: impl Into<Vec<u8>>) -> Self {
        self.http = Some((method, path.to_owned(), body.into()));
        self
    }

    fn get(self, path: &str) -> Self {
        self.http(Method::GET, path, "")
    }

    fn grpc(mut self, rpc: &str, request: &Value) -> Self {
        let rpc = Rpc::named(rpc);
        self.grpc = Some((rpc.clone(), rpc.encode(request)));
        self
    }

    fn grpc_bytes(mut self, rpc: &str, request: Vec<u8>) -> Self {
        self.grpc = Some((Rpc::named(rpc), request));
        self
    }

    fn frame(mut self, frame_type: &str, data: Value) -> Self {
        self.socket = Some(Frame::text(json!({ "type": frame_type, "id": "bad", "data": data }).to_string()));
        self
    }

    fn text(mut self, text: impl Into<String>) -> Self {
        self.socket = Some(Frame::text(text.into()));
        self
    }

    fn binary(mut self, bytes: &'static [u8]) -> Self {
        self.socket = Some(Frame::binary(bytes));
        self
    }
}

/// The id of no conversation.
const NOBODYS: &str = "0198c0de-0000-7000-8000-000000000000";

/// A conversation of the caller's, one of somebody else's.
struct Ids {
    own: String,
    foreign: String,
}

/// Bad messages, as every transport sends them.
fn messages(ids: &Ids) -> Vec<Case> {
    let Ids { own, foreign } = ids;
    let message = |what: &str, reason, fields: &str, conversation: &str, data: Value| {
        let mut frame = data.clone();
        frame["conversation_id"] = json!(conversation);
        let path = format!("/api/v1/conversations/{conversation}/messages");
        let case = Case::new(what, reason, fields).http(Method::POST, &path, data.to_string());
        case.grpc("ChatService/SendMessage", &frame).frame("message", frame)
    };
    let invalid = |what: &str, field: &str, data: Value| message(what, "INVALID_MESSAGE", field, own, data);
    vec![
        invalid("no content", "content", json!({})),
        invalid("empty content", "content", json!({ "content": "" })),
        invalid("blank content", "content", json!({ "content": " \n\t " })),
        invalid("over-long content", "content", json!({ "content": "x".repeat(32_769) })),
        invalid("over-long content in bytes", "content", json!({ "content": "ä".repeat(16_385) })),
        invalid("NUL in the content", "content", json!({ "content": "a\0b" })),
        invalid("an empty id of the sender's", "client_message_id", json!({ "content": "x", "client_message_id": "" })),
        invalid(
            "a long id of the sender's",
            "client_message_id",
            json!({ "content": "x", "client_message_id": "x".repeat(129) }),
        ),
        invalid(
            "NUL in the id of the sender's",
            "client_message_id",
            json!({ "content": "x", "client_message_id": "\0" }),
        ),
        invalid("an unknown model", "model", json!({ "content": "x", "model": "oracle" })),
        message("somebody else's conversation", "NOT_FOUND", "", foreign, json!({ "content": "x" })),
        message("nobody's conversation", "NOT_FOUND", "", NOBODYS, json!({ "content": "x" })),
        message("bad content for somebody else", "NOT_FOUND", "", foreign, json!({ "content": "" })),
        message("a malformed id", "INVALID_MESSAGE", "conversation_id", "mine", json!({ "content": "x" })),
    ]
}

/// What only JSON can get wrong.
fn shapes(ids: &Ids) -> Vec<Case> {
    let path = format!("/api/v1/conversations/{}/messages", ids.own);
    let data = |what: &str, reason, fields: &str, data: &str| {
        let frame = format!("{{\"type\":\"message\",\"id\":\"bad\",\"data\":{data}}}");
        Case::new(what, reason, fields).http(Method::POST, &path, data).text(frame)
    };
    let deep = format!("{{\"content\":{}{}}}", "[".repeat(33), "]".repeat(33));
    let foreign_bytes = SendMessageRequest { content: "marker".into(), ..Default::default() }.encode_to_vec();
    let foreign_bytes: Vec<u8> = foreign_bytes.iter().map(|byte| if *byte == b'k' { 0xff } else { *byte }).collect();
    vec![
        data("an unknown field", "INVALID_MESSAGE", "colour", r#"{"content":"x","colour":"red"}"#),
        data("a number for a text", "INVALID_MESSAGE", "content", r#"{"content":5}"#),
        data("a text for a switch", "INVALID_MESSAGE", "reply", r#"{"content":"x","reply":"no"}"#),
        data("a field twice", "INVALID_MESSAGE", "content", r#"{"content":"x","content":"y"}"#),
        data("a list for an object", "INVALID_MESSAGE", "", "[]"),
        Case::new("too deep", "INVALID_JSON", "")
            .text(format!("{{\"type\":\"message\",\"id\":\"bad\",\"data\":{deep}}}")),
        Case::invalid("too deep in a text", "content").http(Method::POST, &path, deep.as_str()),
        data("no JSON", "INVALID_JSON", "", r#"{"content":"#),
        data("half a surrogate", "INVALID_JSON", "", r#"{"content":"\ud800"}"#),
        Case::new("invalid UTF-8", "INVALID_JSON", "").http(Method::POST, &path, b"{\"content\":\"a\xff\"}"),
        Case::invalid("invalid UTF-8 in protobuf", "").grpc_bytes("ChatService/SendMessage", foreign_bytes),
        Case::invalid("no protobuf", "").grpc_bytes("ChatService/SendMessage", b"\x0a\xff".to_vec()),
        Case::new("a body of more than 1 MiB", "MESSAGE_TOO_LARGE", "").http(
            Method::POST,
            &path,
            json!({ "content": "x".repeat(1 << 20) }).to_string(),
        ),
        Case::new("a message of more than 4 MiB", "MESSAGE_TOO_LARGE", "")
            .grpc("ChatService/SendMessage", &json!({ "content": "x".repeat(4 << 20) })),
    ]
}

/// What only frames can get wrong.
fn frames(ids: &Ids) -> Vec<Case> {
    let large = |bytes: usize| json!({ "type": "ping", "id": "bad", "data": { "pingId": "x".repeat(bytes) } });
    let id = &ids.own;
    vec![
        Case::new("an unknown type", "INVALID_MESSAGE_TYPE", "type").frame("dance", json!({})),
        Case::new("a type of the server's", "INVALID_MESSAGE_TYPE", "type").frame("token", json!({})),
        Case::invalid("no type", "type").text(r#"{"id":"bad"}"#),
        Case::invalid("a number for a type", "type").text(r#"{"id":"bad","type":5}"#),
        Case::new("a frame that is no JSON", "INVALID_JSON", "").text("hello"),
        Case::new("an empty frame", "INVALID_JSON", "").text(""),
        Case::invalid("a list for a frame", "").text("[]"),
        Case::invalid("an unknown member", "colour").text(r#"{"type":"ping","id":"bad","colour":"red"}"#),
        Case::invalid("a binary frame", "").binary(b"\x52\x00"),
        Case::new("a frame of more than 64 KiB", "MESSAGE_TOO_LARGE", "").text(large(65_536).to_string()),
        Case::invalid("a long id of a ping", "pingId").text(large(129).to_string()),
        Case::invalid("a long id of a frame", "id").text(json!({ "type": "ping", "id": "x".repeat(129) }).to_string()),
        Case::invalid("a read marker beyond the end", "seq").frame("read", json!({ "conversation_id": id, "seq": 9 })),
        Case::invalid("no limit", "limit").frame("history", json!({ "conversation_id": id, "limit": 0 })),
        Case::invalid("too many topics", "topics").frame("subscribe", json!({ "events": vec!["a"; 101] })),
        Case::new("a run that is not there", "NOT_FOUND", "").frame("stop", json!({ "message_id": id })),
        Case::new("somebody else's room", "NOT_FOUND", "").frame("join_session", json!({ "session_id": ids.foreign })),
        Case::new("nobody's room", "NOT_FOUND", "").frame("join_session", json!({ "session_id": NOBODYS })),
        Case::invalid("a room by no id", "session_id").frame("join_session", json!({ "session_id": "mine" })),
        Case::invalid("somebody else's topic", &format!("conversation:{}", ids.foreign)).frame(
            "subscribe",
            json!({ "topics": [{ "topic": format!("conversation:{}", ids.foreign) }] }),
        ),
    ]
}

/// Bad pages, cursors and choices.
fn lists(ids: &Ids) -> Vec<Case> {
    let own = &ids.own;
    let path = format!("/api/v1/conversations/{own}");
    let history = |what: &str, field: &str, query: &str, request: Value| {
        let case = Case::invalid(what, field).get(&format!("{path}/messages?{query}"));
        let mut fields = request;
        fields["conversation_id"] = json!(own);
        case.grpc("ConversationService/ListMessages", &fields)
    };
    let page = |size: i32| {
        Case::invalid(&format!("{size} a page"), "page_size")
            .get(&format!("/api/v1/conversations?page_size={size}"))
            .grpc("ConversationService/ListConversations", &json!({ "page_size": size }))
    };
    vec![
        page(-1),
        page(101),
        page(i32::MAX),
        Case::invalid("a page of words", "page_size").get("/api/v1/conversations?page_size=many"),
        Case::invalid("a token that is none", "page_token")
            .get("/api/v1/conversations?page_token=garbage!")
            .grpc("ConversationService/ListConversations", &json!({ "page_token": "garbage!" })),
        Case::invalid("a token of nothing", "page_token")
            .get("/api/v1/conversations?page_token=bm90IGEga2V5")
            .grpc("ConversationService/ListConversations", &json!({ "page_token": "bm90IGEga2V5" })),
        history("a token that is none of a history", "page_token", "page_token=%21", json!({ "page_token": "!" })),
        history("a limit below", "limit", "limit=-1", json!({ "limit": -1 }))
            .frame("history", json!({ "conversation_id": own, "limit": -1 })),
        history("a limit above", "limit", "limit=101", json!({ "limit": 101 }))
            .frame("history", json!({ "conversation_id": own, "limit": 101 })),
        history("a negative cursor", "before_seq", "before_seq=-1", json!({ "before_seq": -1 }))
            .frame("history", json!({ "conversation_id": own, "before_seq": -1 })),
        history("both cursors", "after_seq", "before_seq=3&after_seq=1", json!({ "before_seq": 3, "after_seq": 1 })),
        Case::invalid("a field twice in the query", "limit").get(&format!("{path}/messages?limit=1&limit=2")),
        Case::invalid("an unknown field of a query", "colour").get("/api/v1/conversations?colour=red"),
        Case::invalid("a role that is none", "role").http(
            Method::POST,
            &format!("{path}/members"),
            r#"{"user_id":"x","role":"king"}"#,
        ),
        Case::invalid("a number of no role", "role")
            .grpc("ConversationService/AddMember", &json!({ "conversation_id": own, "user_id": own, "role": 99 })),
        Case::invalid("a malformed id of a user", "user_id")
            .http(Method::POST, &format!("{path}/members"), r#"{"user_id":"x"}"#)
            .grpc("ConversationService/AddMember", &json!({ "conversation_id": own, "user_id": "x" })),
        Case::invalid("a long title", "title")
            .http(Method::POST, "/api/v1/conversations", json!({ "title": "x".repeat(256) }).to_string())
            .grpc("ConversationService/CreateConversation", &json!({ "title": "x".repeat(256) })),
        Case::invalid("a member who is nobody", "member_ids")
            .http(Method::POST, "/api/v1/conversations", json!({ "member_ids": [own] }).to_string())
            .grpc("ConversationService/CreateConversation", &json!({ "member_ids": [own] })),
        Case::invalid("an empty search", "query")
            .get("/api/v1/messages:search")
            .grpc("ConversationService/SearchMessages", &json!({})),
        Case::invalid("a day that is none", "from")
            .get("/api/v1/users/me/usage?from=yesterday")
            .grpc("UserService/GetMyUsage", &json!({ "from": "yesterday" })),
        Case::invalid("a cursor before the start", "after")
            .get(&format!("/api/v1/chat/stream/{own}?after=-1"))
            .grpc("ChatService/ResumeChat", &json!({ "message_id": own, "after": -1 })),
        Case::invalid("nothing to stream", "message")
            .http(Method::POST, "/api/v1/chat/stream", r#"{"message":""}"#)
            .grpc("ChatService/StreamChat", &json!({ "message": "" })),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_messages_are_refused_alike_everywhere_and_change_nothing() {
    refused(&Server::start().await, messages).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_shapes_are_refused_and_change_nothing() {
    refused(&Server::start().await, shapes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_frames_are_refused_and_the_socket_stays() {
    refused(&Server::start().await, frames).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_is_not_utf8_closes_its_socket_and_no_other() {
    let alice = Server::start().await.register("alice").await;
    let (mut broken, mut other) = (alice.socket().await, alice.socket().await);
    let text = RawFrame::message(&b"{\"type\":\"ping\",\"id\":\"\xff\"}"[..], OpCode::Data(Data::Text), true);
    broken.send_raw(Frame::Frame(text)).await;
    assert_eq!(broken.close_code().await, 1007);
    for socket in [&mut other, &mut alice.socket().await] {
        socket.ask("after", "ping", json!({})).await;
        assert_eq!(socket.answer_to("after").await["type"], "pong");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_pages_and_choices_are_refused_by_name() {
    refused(&Server::start().await, lists).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn markup_is_refused_where_the_policy_says_so() {
    let server = Server::with(&[("content_policy", "reject")]).await;
    refused(&server, |ids| {
        let path = format!("/api/v1/conversations/{}/messages", ids.own);
        let texts = ["<script>x</script>", "<img src=x onerror=x>", "<a href='javascript:x'>", "<iframe src=x>"];
        let case = |text: &str| {
            let frame = json!({ "conversation_id": ids.own, "content": text });
            Case::new(text, "CONTENT_REJECTED", "content")
                .http(Method::POST, &path, json!({ "content": text }).to_string())
                .grpc("ChatService/SendMessage", &frame)
                .frame("message", frame)
        };
        texts.map(case).into()
    })
    .await;
}

/// Plays cases over whatever can express them, and reports all that went wrong.
async fn refused(server: &Server, cases: impl FnOnce(&Ids) -> Vec<Case>) {
    let alice = server.register("alice").await;
    let bob = server.register("bob").await;
    let ids = Ids { own: alice.conversation().await, foreign: bob.conversation().await };
    let rows = server.rows();
    let mut wrong = Vec::new();
    for case in cases(&ids) {
        assert!(case.http.is_some() || case.grpc.is_some() || case.socket.is_some(), "{} says nothing", case.what);
        let wanted = (case.reason.to_owned(), case.fields);
        let mut played = Vec::new();
        if let Some((method, path, body)) = case.http {
            played.push(("HTTP", over_http(&alice, method, &path, body).await));
        }
        if let Some((rpc, request)) = case.grpc {
            let refused = rpc.over_grpc_raw(&alice, request).await;
            played.push(("gRPC", refused.map_or_else(of_status, |answer| (format!("{answer:?}"), Vec::new()))));
        }
        if let Some(frame) = case.socket {
            played.push(("a socket", over_socket(&mut alice.socket().await, frame).await));
        }
        wrong.extend(
            played
                .into_iter()
                .filter(|(_, got)| *got != wanted)
                .map(|(transport, got)| format!("{} over {transport}: wanted {wanted:?}, got {got:?}", case.what)),
        );
        if server.rows() != rows {
            wrong.push(format!("{} changed the database", case.what));
            break;
        }
    }
    alice.me().await.unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn over_http(actor: &Actor, method: Method, path: &str, body: Vec<u8>) -> (String, Vec<String>) {
    let request = actor.request(method, path).header("content-type", "application/json").body(body);
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let error = response.json::<Value>().await.unwrap()["error"].take();
    let code = match status {
        400 => "INVALID_ARGUMENT",
        404 => "NOT_FOUND",
        413 => "RESOURCE_EXHAUSTED",
        _ => "no status of these cases",
    };
    if error["code"] != code {
        return (format!("{status} {error}"), Vec::new());
    }
    let details = error["details"].as_array().unwrap();
    let of = |kind: &str| details.iter().find(|detail| detail["type"] == kind).cloned().unwrap_or_default();
    (of("error_info")["reason"].as_str().unwrap_or_default().to_owned(), fields(&of("bad_request")["field_violations"]))
}

fn of_status(status: Status) -> (String, Vec<String>) {
    let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
    let code = match reason.as_str() {
        "NOT_FOUND" => Code::NotFound,
        "MESSAGE_TOO_LARGE" => Code::ResourceExhausted,
        _ => Code::InvalidArgument,
    };
    if status.code() != code {
        return (format!("{status:?}"), Vec::new());
    }
    let violations = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
    (reason, violations.into_iter().map(|fault| fault.field).collect())
}

/// The error, once a ping has shown that the socket goes on and that nothing else was said.
async fn over_socket(socket: &mut Socket, frame: Frame) -> (String, Vec<String>) {
    socket.send_raw(frame).await;
    socket.ask("after", "ping", json!({})).await;
    let refusal = socket.until("error").await;
    let next = socket.next().await.unwrap_or_default();
    if next["type"] != "pong" || next["reply_to"] != "after" {
        return (format!("{refusal}, then {next}"), Vec::new());
    }
    (refusal["data"]["code"].as_str().unwrap_or_default().to_owned(), fields(&refusal["data"]["details"]))
}

fn fields(faults: &Value) -> Vec<String> {
    let faults = faults.as_array().into_iter().flatten();
    faults.map(|fault| fault["field"].as_str().unwrap_or_default().to_owned()).collect()
}
