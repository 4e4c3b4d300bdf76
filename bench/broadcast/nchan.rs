//! nginx with the module nchan, one worker: keeps a channel's last messages in memory, and knows nobody.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result};
use reqwest::{Client, RequestBuilder};
use tokio::process::Command;

use super::{Broadcaster, Door, names};
use crate::process::{Process, Program, free_address};

/// Where Debian keeps modules.
const MODULE: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";

/// A running nginx.
pub(crate) struct Nchan(Program);

impl Broadcaster for Nchan {
    const NAME: &str = "nchan";

    async fn start(heartbeat: Duration) -> Result<Self> {
        let (folder, address) = (tempfile::tempdir()?, free_address().await?);
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, configuration(address, heartbeat))?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(folder.path()).arg("-c").arg(&file);
        Ok(Self(Program::start(command, folder, address).await.context("Debian has it in libnginx-mod-nchan")?))
    }

    fn process(&self) -> &Process {
        &self.0.process
    }

    async fn channels(&self, count: usize) -> Result<Vec<String>> {
        Ok(names(count))
    }

    fn door(&self, channel: &str) -> Door {
        Door { server: self.0.address, path: format!("/join/{channel}"), hello: None, welcome: None }
    }

    fn post(&self, client: &Client, channel: &str, text: &str) -> RequestBuilder {
        client.post(format!("http://{}/publish/{channel}", self.0.address)).body(text.to_owned())
    }
}

/// The master would be a process that only waits: the worker is alone.
fn configuration(address: SocketAddr, heartbeat: Duration) -> String {
    format!(
        "load_module {MODULE};
daemon off;
master_process off;
pid nginx.pid;
error_log stderr error;
worker_rlimit_nofile 20000;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    client_body_temp_path body;
    keepalive_timeout 600s;
    keepalive_requests 1000000;
    server {{
        listen {address} backlog=4096;
        location ~ ^/join/(.+)$ {{
            nchan_subscriber websocket;
            nchan_channel_id $1;
            nchan_subscriber_first_message newest;
            nchan_websocket_ping_interval {};
        }}
        location ~ ^/publish/(.+)$ {{
            nchan_publisher;
            nchan_channel_id $1;
        }}
    }}
}}
",
        heartbeat.as_secs()
    )
}
