//! Ours: a channel is a conversation, a text is a message that asks for no answer, and it is stored before anybody gets it.

use std::time::Duration;

use anyhow::Result;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Broadcaster, Door};
use crate::{
    caller::{Caller, PASSWORD},
    process::{Node, Process},
};

/// A node with somebody who has signed in.
pub(crate) struct Colloquy {
    /// The node.
    pub(crate) node: Node,
    /// Who has signed in there.
    pub(crate) caller: Caller,
    _folder: TempDir,
}

impl Colloquy {
    /// Starts it, with these settings besides.
    pub(crate) async fn with(settings: &[(&str, &str)]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let node = Node::start(&folder, settings).await?;
        let caller = Caller::register(&node).await?;
        Ok(Self { node, caller, _folder: folder })
    }

    /// Starts it; who has signed in is an admin.
    pub(super) async fn with_admin() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let admin = [
            ("COLLOQUY_ADMIN_USERNAME", "root"),
            ("COLLOQUY_ADMIN_EMAIL", "root@example.com"),
            ("COLLOQUY_ADMIN_PASSWORD", PASSWORD),
        ];
        let node = Node::start(&folder, &admin).await?;
        let caller = Caller::sign_in(&node, "root").await?;
        Ok(Self { node, caller, _folder: folder })
    }

    /// Posts JSON to a path of its API, signed.
    pub(super) fn posting(&self, client: &Client, path: &str, body: &Value) -> RequestBuilder {
        client.post(format!("http://{}{path}", self.node.http)).bearer_auth(&self.caller.token).json(body)
    }
}

impl Broadcaster for Colloquy {
    const NAME: &str = "Colloquy";

    async fn start(heartbeat: Duration) -> Result<Self> {
        let (interval, timeout) = (heartbeat.as_secs().to_string(), (2 * heartbeat).as_secs().to_string());
        Self::with(&[("COLLOQUY_HEARTBEAT_INTERVAL", &interval), ("COLLOQUY_CONNECTION_TIMEOUT", &timeout)]).await
    }

    fn process(&self) -> &Process {
        &self.node.process
    }

    async fn channels(&self, count: usize) -> Result<Vec<String>> {
        self.caller.conversations(count).await
    }

    fn door(&self, channel: &str) -> Door {
        Door {
            server: self.node.http,
            path: format!("/api/v1/ws/{channel}?token={}", self.caller.token),
            hello: None,
            welcome: Some("\"subscription.confirmed\""),
        }
    }

    fn post(&self, client: &Client, channel: &str, text: &str) -> RequestBuilder {
        let path = format!("/api/v1/conversations/{channel}/messages");
        self.posting(client, &path, &json!({ "content": text, "reply": false }))
    }
}
