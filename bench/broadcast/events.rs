//! Ours again: a channel is a type of events, to which sockets subscribe, and an admin publishes.

use std::time::Duration;

use anyhow::Result;
use reqwest::{Client, RequestBuilder};
use serde_json::json;

use super::{Broadcaster, Colloquy, Door};
use crate::process::Process;

/// The one channel.
const TYPE: &str = "review.updated";

/// A node with an admin who has signed in.
pub(crate) struct Events(pub(crate) Colloquy);

impl Broadcaster for Events {
    const NAME: &str = "Colloquy";

    async fn start(_heartbeat: Duration) -> Result<Self> {
        Ok(Self(Colloquy::with_admin().await?))
    }

    fn process(&self) -> &Process {
        self.0.process()
    }

    async fn channels(&self, count: usize) -> Result<Vec<String>> {
        Ok(vec![TYPE.to_owned(); count])
    }

    fn door(&self, channel: &str) -> Door {
        let subscribe = json!({ "type": "subscribe", "data": { "events": [channel] } });
        Door {
            server: self.0.node.http,
            path: format!("/api/v1/ws?token={}", self.0.caller.token),
            hello: Some(subscribe.to_string()),
            welcome: Some("\"subscription.confirmed\""),
        }
    }

    fn post(&self, client: &Client, channel: &str, text: &str) -> RequestBuilder {
        let event = json!({ "type": channel, "audience": "subscribers", "data": { "text": text } });
        self.0.posting(client, "/api/v1/events", &event)
    }
}
