//! Ours once more: a channel is a user, whom an admin notifies; every notification is stored before it is pushed.

use std::time::Duration;

use anyhow::{Context as _, Result};
use colloquy::proto::{GetMeRequest, user_service_client::UserServiceClient};
use reqwest::{Client, RequestBuilder};
use serde_json::json;
use tonic::Request;

use super::{Broadcaster, Colloquy, Door};
use crate::process::Process;

/// A node with an admin who has signed in, and is the one who is notified.
pub(crate) struct Notifications(Colloquy);

impl Broadcaster for Notifications {
    const NAME: &str = "Colloquy";

    async fn start(_heartbeat: Duration) -> Result<Self> {
        Ok(Self(Colloquy::with_admin().await?))
    }

    fn process(&self) -> &Process {
        self.0.process()
    }

    async fn channels(&self, count: usize) -> Result<Vec<String>> {
        let mut request = Request::new(GetMeRequest {});
        request.metadata_mut().insert("authorization", self.0.caller.credential()?);
        let me = UserServiceClient::new(self.0.caller.channel().await?).get_me(request).await?.into_inner();
        Ok(vec![me.user.context("nobody is signed in")?.id; count])
    }

    fn door(&self, _channel: &str) -> Door {
        Door {
            server: self.0.node.http,
            path: format!("/api/v1/ws?token={}", self.0.caller.token),
            hello: None,
            welcome: Some("\"connection.established\""),
        }
    }

    fn post(&self, client: &Client, channel: &str, text: &str) -> RequestBuilder {
        let notification =
            json!({ "user_id": channel, "title": "Something is ready", "content": text, "notification_type": "bench" });
        self.0.posting(client, "/api/v1/notifications", &notification)
    }
}
