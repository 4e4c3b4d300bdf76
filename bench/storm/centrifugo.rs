//! The peer: Centrifugo restarts, and Redis, which has its channels' history, stays. Its viewers wait as its own clients do.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use super::{CHANNELS, Gateway, LAST, Line, Place, Said};
use crate::{
    broadcast::{Broadcaster as _, Centrifugo, SECRET},
    caller::PATIENCE,
    process::free_address,
    servers,
};

/// The shortest and the longest pause of its clients before they come back, without what they add by chance.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(20)];
/// How long whoever publishes waits while nobody answers.
const RETRY: Duration = Duration::from_millis(20);

/// Centrifugo with its history in Redis.
pub(super) struct CentrifugoOnRedis {
    /// There is none while it restarts.
    server: Option<Centrifugo>,
    settings: Value,
}

impl Gateway for CentrifugoOnRedis {
    type Line = Commands;

    async fn start() -> Result<Self> {
        let redis = servers::redis()?;
        let redis = redis.trim_start_matches("redis://").trim_end_matches('/');
        let settings = json!({
            "engine": "redis",
            "redis_cluster_address": [redis],
            "redis_prefix": uuid::Uuid::now_v7().simple().to_string(),
            "history_size": 1000,
            "history_ttl": "3600s",
            "force_recovery": true,
        });
        let server = Centrifugo::at(free_address().await?, &settings).await?;
        Ok(Self { server: Some(server), settings })
    }

    async fn line(&self) -> Result<Commands> {
        let server = self.server.as_ref().context("no server")?;
        let client = Client::builder().http1_only().no_proxy().timeout(PATIENCE).build()?;
        Ok(Commands { address: server.program.address, token: server.token.clone(), client })
    }

    async fn channels(&self) -> Result<Vec<String>> {
        self.server.as_ref().context("no server")?.channels(CHANNELS).await
    }

    async fn restart(&mut self) -> Result<()> {
        let Centrifugo { program, .. } = self.server.take().context("no server")?;
        program.process.terminate().await?;
        self.server = Some(Centrifugo::at(program.address, &self.settings).await?);
        Ok(())
    }
}

/// Its commands and replies, in JSON.
#[derive(Clone)]
pub(super) struct Commands {
    address: SocketAddr,
    token: String,
    client: Client,
}

impl Line for Commands {
    fn target(&self) -> (SocketAddr, String) {
        (self.address, "/connection/websocket".to_owned())
    }

    fn join(&self, channel: &str, behind: Option<&Place>) -> String {
        let connect = json!({ "id": 1, "connect": { "token": self.token } });
        let mut subscribe = json!({ "channel": channel });
        if let Some(Place { epoch, offset }) = behind {
            subscribe = json!({ "channel": channel, "recover": true, "epoch": epoch, "offset": offset });
        }
        format!("{connect}\n{}", json!({ "id": 2, "subscribe": subscribe }))
    }

    fn read(&self, text: &str) -> Result<Vec<Said>> {
        let mut said = Vec::new();
        for reply in text.lines().map(serde_json::from_str::<Value>) {
            let reply = reply?;
            ensure!(reply["error"].is_null(), "{reply}");
            if reply == json!({}) {
                said.push(Said::AreYouThere("{}"));
            }
            if reply["push"]["pub"].is_object() {
                said.push(event(&reply["push"]["pub"])?);
            }
            if let Some(joined) = reply["subscribe"].as_object() {
                let missed: Vec<&Value> =
                    joined.get("publications").and_then(Value::as_array).into_iter().flatten().collect();
                let number = |value: Option<&Value>| value.and_then(Value::as_u64).unwrap_or_default();
                let offset = missed.iter().map(|missed| number(missed.get("offset"))).max();
                let latest = Place {
                    epoch: joined.get("epoch").and_then(Value::as_str).context("no epoch")?.to_owned(),
                    offset: offset.unwrap_or_default().max(number(joined.get("offset"))),
                };
                let recovered = joined.get("recovered") == Some(&Value::Bool(true));
                said.push(Said::Joined { latest, recovered });
                for publication in missed {
                    said.push(event(publication)?);
                }
            }
        }
        Ok(said)
    }

    fn pause(&self, tries: u32) -> Duration {
        let [shortest, longest] = PAUSES;
        let most = shortest.saturating_mul(2u32.saturating_pow(tries)).min(longest);
        (shortest + most.mul_f64(rand::random())).min(longest)
    }

    async fn publish(&self, channel: &str, text: &str) -> Result<()> {
        let body = json!({ "channel": channel, "data": text });
        loop {
            let url = format!("http://{}/api/publish", self.address);
            match self.client.post(url).header("x-api-key", SECRET).json(&body).send().await {
                Ok(answer) if answer.status() == StatusCode::OK => return Ok(()),
                // It is away.
                _ => tokio::time::sleep(RETRY).await,
            }
        }
    }
}

fn event(publication: &Value) -> Result<Said> {
    let offset = publication["offset"].as_u64().context("a publication without an offset")?;
    Ok(Said::Event { offset, is_last: publication["data"] == LAST })
}
