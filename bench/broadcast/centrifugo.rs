//! Centrifugo, with its own protocol in JSON: every socket shows a token; what is published is kept nowhere.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tokio::process::Command;

use super::{Broadcaster, Door, file, names};
use crate::process::{Process, Program, free_address};

/// What tokens are signed with, and the key of its API.
pub(crate) const SECRET: &str = "known to the bench alone";

/// A running Centrifugo.
pub(crate) struct Centrifugo {
    /// The process.
    pub(crate) program: Program,
    /// What sockets show.
    pub(crate) token: String,
}

impl Centrifugo {
    /// Starts it at this address, with these settings besides.
    pub(crate) async fn at(address: SocketAddr, settings: &Value) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut all = json!({
            "address": address.ip(),
            "port": address.port().to_string(),
            "token_hmac_secret_key": SECRET,
            "api_key": SECRET,
            "allow_subscribe_for_client": true,
            "usage_stats_disable": true,
            "log_level": "error",
        });
        let (all, settings) = (all.as_object_mut().zip(settings.as_object())).context("settings are objects")?;
        all.extend(settings.clone());
        let configuration = folder.path().join("config.json");
        std::fs::write(&configuration, serde_json::to_vec(all)?)?;
        let mut command = Command::new(file(".tools/bin/centrifugo"));
        command.arg("--config").arg(configuration);
        let program = Program::start(command, folder, address).await.context("`make bench` builds it")?;
        Ok(Self { program, token: token()? })
    }
}

impl Broadcaster for Centrifugo {
    const NAME: &str = "Centrifugo";

    async fn start(heartbeat: Duration) -> Result<Self> {
        let address = free_address().await?;
        Self::at(address, &json!({ "ping_interval": format!("{}s", heartbeat.as_secs()) })).await
    }

    fn process(&self) -> &Process {
        &self.program.process
    }

    async fn channels(&self, count: usize) -> Result<Vec<String>> {
        Ok(names(count))
    }

    fn door(&self, channel: &str) -> Door {
        let connect = json!({ "id": 1, "connect": { "token": self.token } });
        let subscribe = json!({ "id": 2, "subscribe": { "channel": channel } });
        Door {
            server: self.program.address,
            path: "/connection/websocket".to_owned(),
            hello: Some(format!("{connect}\n{subscribe}")),
            welcome: Some("{\"id\":2,\"subscribe\":"),
        }
    }

    fn post(&self, client: &Client, channel: &str, text: &str) -> RequestBuilder {
        let url = format!("http://{}/api/publish", self.program.address);
        client.post(url).header("x-api-key", SECRET).json(&json!({ "channel": channel, "data": text }))
    }
}

/// A token of somebody's that does not expire.
fn token() -> Result<String> {
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    Ok(jsonwebtoken::encode(&jsonwebtoken::Header::default(), &json!({ "sub": "ada" }), &key)?)
}
