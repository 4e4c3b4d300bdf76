//! Bad input: whatever carries it, it gets its documented error, and nothing else changes.

mod frames;
mod lists;
mod markup;
mod messages;

use reqwest::Method;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message as Frame;
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

/// A conversation of the caller's with a message of theirs, one of somebody else's.
struct Ids {
    own: String,
    sent: String,
    foreign: String,
}

/// Plays cases over whatever can express them, and reports all that went wrong.
async fn refused(server: &Server, cases: impl FnOnce(&Ids) -> Vec<Case>) {
    let alice = server.register("alice").await;
    let bob = server.register("bob").await;
    let (own, foreign) = (alice.conversation().await, bob.conversation().await);
    let path = format!("/api/v1/conversations/{own}/messages");
    let (_, body) = alice.post(&path, json!({ "content": "hello", "reply": false })).await;
    let sent = body["message"]["id"].as_str().unwrap().to_owned();
    let ids = Ids { own, sent, foreign };
    let rows = server.data().rows();
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
        if server.data().rows() != rows {
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
