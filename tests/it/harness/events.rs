//! What a viewer of one answer sees, whatever carried it, and the text that it makes of it.

use bytes::BytesMut;
use colloquy::proto::{ChatEvent, chat_event};
use reqwest::Response;
use serde_json::Value;

use super::soon;

/// Something that a viewer saw: a server-sent event or its like over gRPC.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Happened {
    /// The cursor behind it.
    pub(crate) offset: u64,
    /// Its type.
    pub(crate) kind: String,
    /// Its fields, as JSON.
    pub(crate) data: Value,
}

impl Happened {
    /// Applies it to the text that the viewer holds; panics on a double or a gap.
    pub(crate) fn apply(&self, text: &mut String) {
        let content = self.data["content"].as_str().unwrap_or_default();
        match self.kind.as_str() {
            "token" => {
                assert_eq!(self.data["index"], text.len() as u64, "a double or a gap before {content:?}");
                text.push_str(content);
            }
            "snapshot" => content.clone_into(text),
            _ => {}
        }
    }

    /// Whether nothing follows.
    pub(crate) fn is_last(&self) -> bool {
        self.kind == "end" || self.kind == "error"
    }
}

impl From<ChatEvent> for Happened {
    fn from(event: ChatEvent) -> Self {
        let offset = event.offset.try_into().unwrap();
        let (kind, data) = match event.event.unwrap() {
            chat_event::Event::Start(start) => ("start", serde_json::json!({ "message_id": start.message_id })),
            chat_event::Event::Token(token) => {
                ("token", serde_json::json!({ "content": token.content, "index": token.index }))
            }
            chat_event::Event::Snapshot(snapshot) => ("snapshot", serde_json::json!({ "content": snapshot.content })),
            chat_event::Event::End(end) => ("end", serde_json::json!({ "finish_reason": end.finish_reason })),
            chat_event::Event::ToolCall(call) => ("tool_call", serde_json::json!({ "id": call.id, "name": call.name })),
            chat_event::Event::ToolResult(result) => {
                ("tool_result", serde_json::json!({ "id": result.id, "content": result.content }))
            }
            chat_event::Event::Error(error) => ("error", serde_json::json!({ "code": error.code })),
            other => panic!("not expected here: {other:?}"),
        };
        Self { offset, kind: kind.to_owned(), data }
    }
}

/// A stream of server-sent events.
pub(crate) struct Events {
    response: Response,
    unread: BytesMut,
}

impl Events {
    /// Reads a response.
    pub(crate) fn of(response: Response) -> Self {
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, unread: BytesMut::new() }
    }

    /// The next event; comments are passed over.
    pub(crate) async fn next(&mut self) -> Option<Happened> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|pair| pair == b"\n\n") {
                let block = self.unread.split_to(end + 2);
                match parse(std::str::from_utf8(&block).unwrap()) {
                    Some(event) => return Some(event),
                    None => continue,
                }
            }
            match soon("an event", self.response.chunk()).await.unwrap() {
                Some(chunk) => self.unread.extend_from_slice(&chunk),
                None => return None,
            }
        }
    }
}

fn parse(block: &str) -> Option<Happened> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let mut data: Value = serde_json::from_str(field("data:")?).unwrap();
    let kind = data.as_object_mut().unwrap().remove("type").unwrap();
    Some(Happened {
        offset: field("id:").map_or(0, |id| id.parse().unwrap()),
        kind: kind.as_str().unwrap().to_owned(),
        data,
    })
}
