//! Ours: a bridge that restarts, and a core that stays.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result};
use colloquy::proto::{SendMessageRequest, chat_service_client::ChatServiceClient};
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
    transport::Channel,
};

use super::{CHANNELS, Gateway, LAST, Line, Place, Said};
use crate::{
    caller::{self, Caller},
    process::{Core, Node},
};

/// How long to wait for a bridge that is not back yet.
const RETRY: Duration = Duration::from_millis(250);

/// A core and its bridge.
pub(super) struct BridgeOfCore {
    /// There is none while it restarts.
    bridge: Option<Node>,
    core: Core,
    caller: Caller,
    folders: [TempDir; 2],
}

impl Gateway for BridgeOfCore {
    type Line = Frames;

    async fn start() -> Result<Self> {
        let folders = [tempfile::tempdir()?, tempfile::tempdir()?];
        let core = Core::start(&folders[0]).await?;
        let bridge = Node::bridge(&folders[1], &core, None).await?;
        let caller = Caller::register(&bridge).await?;
        Ok(Self { bridge: Some(bridge), core, caller, folders })
    }

    async fn line(&self) -> Result<Frames> {
        let bridge = self.bridge.as_ref().context("no bridge")?;
        Ok(Frames {
            bridge: bridge.http,
            token: self.caller.token.clone(),
            core: ChatServiceClient::new(self.caller.channel().await?),
            credential: self.caller.credential()?,
        })
    }

    async fn channels(&self) -> Result<Vec<String>> {
        self.caller.conversations(CHANNELS).await
    }

    async fn restart(&mut self) -> Result<()> {
        let old = self.bridge.take().context("no bridge")?;
        old.process.terminate().await?;
        self.bridge = Some(Node::bridge(&self.folders[1], &self.core, Some(old.http)).await?);
        Ok(())
    }
}

/// Frames to the bridge, and a connection to the core.
#[derive(Clone)]
pub(super) struct Frames {
    bridge: SocketAddr,
    token: String,
    core: ChatServiceClient<Channel>,
    credential: MetadataValue<Ascii>,
}

impl Line for Frames {
    fn target(&self) -> (SocketAddr, String) {
        (self.bridge, format!("/api/v1/ws?token={}", self.token))
    }

    fn join(&self, channel: &str, behind: Option<&Place>) -> String {
        let mut topic = json!({ "topic": format!("conversation:{channel}") });
        if let Some(Place { epoch, offset }) = behind {
            (topic["epoch"], topic["offset"]) = (json!(epoch), json!(offset));
        }
        json!({ "type": "subscribe", "id": "s", "data": { "topics": [topic] } }).to_string()
    }

    fn read(&self, text: &str) -> Result<Vec<Said>> {
        let frame = caller::frame(text)?;
        let (kind, data) = (&frame["type"], &frame["data"]);
        Ok(match kind.as_str() {
            Some("subscription.confirmed") => {
                let topic = &data["topics"][0];
                let epoch = topic["epoch"].as_str().context("a topic without an epoch")?.to_owned();
                let offset = topic["offset"].as_u64().context("a topic without an offset")?;
                vec![Said::Joined { latest: Place { epoch, offset }, recovered: topic["recovered"] == true }]
            }
            Some("reconnect") => {
                let after_ms = data["after_ms"].as_u64().context("a reconnect without a pause")?;
                vec![Said::ComeBack { after: Duration::from_millis(after_ms) }]
            }
            _ => frame["offset"].as_u64().map_or_else(Vec::new, |offset| vec![event(offset, data)]),
        })
    }

    fn pause(&self, _tries: u32) -> Duration {
        RETRY
    }

    async fn publish(&self, channel: &str, text: &str) -> Result<()> {
        let mut request = Request::new(SendMessageRequest {
            conversation_id: channel.to_owned(),
            content: text.to_owned(),
            reply: Some(false),
            ..SendMessageRequest::default()
        });
        request.metadata_mut().insert("authorization", self.credential.clone());
        self.core.clone().send_message(request).await?;
        Ok(())
    }
}

fn event(offset: u64, data: &Value) -> Said {
    Said::Event { offset, is_last: data["content"] == LAST }
}
