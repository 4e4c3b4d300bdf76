//! A broadcaster on FastAPI and uvicorn, written for this comparison as FastAPI's own documentation does it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use reqwest::{Client, RequestBuilder};
use tokio::process::Command;

use super::{Broadcaster, Door, file, names};
use crate::process::{Process, Program, free_address};

/// A running uvicorn, with one worker.
pub(crate) struct FastApi(Program);

impl Broadcaster for FastApi {
    const NAME: &str = "FastAPI";

    async fn start(heartbeat: Duration) -> Result<Self> {
        let (folder, address) = (tempfile::tempdir()?, free_address().await?);
        let (port, interval) = (address.port().to_string(), heartbeat.as_secs().to_string());
        let mut command = Command::new(file(".tools/fastapi/bin/uvicorn"));
        command.arg("--app-dir").arg(file("bench/peers/fastapi")).arg("broadcaster:app");
        command.args(["--port", &port, "--ws-ping-interval", &interval, "--ws-ping-timeout", &interval]);
        command.args(["--loop", "uvloop", "--http", "httptools", "--ws", "websockets", "--log-level", "error"]);
        command.args(["--no-access-log", "--timeout-keep-alive", "600"]).env("PYTHONDONTWRITEBYTECODE", "1");
        Ok(Self(Program::start(command, folder, address).await.context("`make bench` installs it")?))
    }

    fn process(&self) -> &Process {
        &self.0.process
    }

    async fn channels(&self, count: usize) -> Result<Vec<String>> {
        Ok(names(count))
    }

    fn door(&self, channel: &str) -> Door {
        let path = format!("/join/{channel}");
        Door { server: self.0.address, path, hello: None, welcome: Some("joined") }
    }

    fn post(&self, client: &Client, channel: &str, text: &str) -> RequestBuilder {
        let url = format!("http://{}/publish/{channel}", self.0.address);
        client.post(url).header("content-type", "text/plain").body(text.to_owned())
    }
}
