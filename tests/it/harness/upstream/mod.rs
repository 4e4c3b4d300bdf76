//! A model provider that does as it is told, down to the byte: what no mock server offers.
//!
//! ```ignore
//! let upstream = Upstream::start(Script::anthropic().text("hello ").text("world").end()).await;
//! let upstream = Upstream::start(Script::openai().stepped().pieces(3).end()).await;
//! upstream.release(1);
//! upstream.closed(0).await;
//! ```

mod scenarios;
mod script;

use std::{
    collections::HashMap,
    future::pending,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{interval, timeout},
};

pub(crate) use scenarios::{Outcome, Scenario, scenarios};
use script::{Move, error_body, keep_alive};
pub(crate) use script::{Script, Wire, piece};

use super::PROVIDER_KEY;

/// How long a test waits for something that is about to happen.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running provider; dropping it closes its port and all connections.
pub(crate) struct Upstream {
    address: SocketAddr,
    wire: Wire,
    stage: Arc<Stage>,
    _tasks: JoinSet<()>,
}

/// One request and what became of it.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    /// The request's path.
    pub(crate) path: String,
    /// The request's headers, names in lower case.
    pub(crate) headers: HashMap<String, String>,
    /// The request's body.
    pub(crate) body: Value,
    /// When the client closed the connection, if it did so before the script was over.
    pub(crate) closed_at: Option<Instant>,
}

struct Stage {
    scripts: Vec<Script>,
    exchanges: watch::Sender<Vec<Exchange>>,
    releases: Semaphore,
}

/// How a script came to its end.
enum Exit {
    Over,
    Reset,
}

impl Upstream {
    /// A provider that answers every request with `script`.
    pub(crate) async fn start(script: Script) -> Self {
        Self::start_all([script]).await
    }

    /// A provider that answers each request with the next script, and all further ones with the last.
    pub(crate) async fn start_all(scripts: impl IntoIterator<Item = Script>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let scripts: Vec<Script> = scripts.into_iter().collect();
        let wire = scripts.first().expect("a provider has at least one script").wire;
        let stage = Arc::new(Stage { scripts, exchanges: watch::Sender::default(), releases: Semaphore::new(0) });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&stage)));
        Self { address, wire, stage, _tasks: tasks }
    }

    /// The base URL, in the form that a provider of this protocol is configured with.
    pub(crate) fn url(&self) -> String {
        match self.wire {
            Wire::Anthropic => format!("http://{}", self.address),
            Wire::OpenAi => format!("http://{}/v1", self.address),
        }
    }

    /// The settings by which a node asks this provider, at its `url`, unless a conversation names another model.
    pub(crate) fn settings<'a>(&self, url: &'a str) -> [(&'static str, &'a str); 4] {
        let (base_url, api_key, models, model) = match self.wire {
            Wire::Anthropic => ("anthropic_base_url", "anthropic_api_key", "anthropic_models", "anthropic/scripted"),
            Wire::OpenAi => ("openai_base_url", "openai_api_key", "openai_models", "openai/scripted"),
        };
        [(base_url, url), (api_key, PROVIDER_KEY), (models, "scripted"), ("default_model", model)]
    }

    /// Lets `count` more texts of stepped scripts be said.
    pub(crate) fn release(&self, count: usize) {
        self.stage.releases.add_permits(count);
    }

    /// All requests so far.
    pub(crate) fn exchanges(&self) -> Vec<Exchange> {
        self.stage.exchanges.borrow().clone()
    }

    /// Waits until request number `index` (from 0) is there.
    pub(crate) async fn request(&self, index: usize) -> Exchange {
        self.until(|exchanges| exchanges.get(index).cloned()).await
    }

    /// Waits until the client has closed the connection of request number `index`, and says when it did.
    pub(crate) async fn closed(&self, index: usize) -> Instant {
        self.until(|exchanges| exchanges.get(index).and_then(|exchange| exchange.closed_at)).await
    }

    async fn until<T>(&self, condition: impl Fn(&[Exchange]) -> Option<T>) -> T {
        let mut exchanges = self.stage.exchanges.subscribe();
        let waiting = async {
            loop {
                if let Some(value) = condition(&exchanges.borrow_and_update()) {
                    return value;
                }
                exchanges.changed().await.expect("the stage outlives this borrow of its owner");
            }
        };
        timeout(PATIENCE, waiting).await.expect("the awaited request or close came in time")
    }
}

async fn accept(listener: TcpListener, stage: Arc<Stage>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(serve(stream, Arc::clone(&stage)));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one request on a connection of its own. A client that goes away is what is tested, so errors are no news.
async fn serve(mut stream: TcpStream, stage: Arc<Stage>) {
    let (reader, mut writer) = stream.split();
    let mut reader = BufReader::new(reader);
    let Ok(exchange) = request(&mut reader).await else { return };
    let mut index = 0;
    stage.exchanges.send_modify(|exchanges| {
        index = exchanges.len();
        exchanges.push(exchange);
    });
    let script = &stage.scripts[index.min(stage.scripts.len() - 1)];
    let exit = tokio::select! {
        exit = play(script, &mut writer, &stage.releases) => exit.ok(),
        () = gone(&mut reader) => None,
    };
    match exit {
        Some(Exit::Over) => {}
        Some(Exit::Reset) => stream.set_zero_linger().unwrap(),
        None => stage.exchanges.send_modify(|exchanges| exchanges[index].closed_at = Some(Instant::now())),
    }
}

async fn request(reader: &mut BufReader<ReadHalf<'_>>) -> io::Result<Exchange> {
    let mut line = String::new();
    reader.read_line(&mut line).await?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = HashMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line).await?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or_default();
    let mut body = vec![0; length];
    reader.read_exact(&mut body).await?;
    Ok(Exchange { path, headers, body: serde_json::from_slice(&body)?, closed_at: None })
}

/// Returns once the client has closed the connection.
async fn gone(reader: &mut BufReader<ReadHalf<'_>>) {
    let mut byte = [0];
    while matches!(reader.read(&mut byte).await, Ok(1..)) {}
}

async fn play(script: &Script, writer: &mut WriteHalf<'_>, releases: &Semaphore) -> io::Result<Exit> {
    let Some(status) = script.status else { return pending().await };
    let stream = status == 200;
    let content_type = if stream { "text/event-stream" } else { "application/json" };
    let mut head = format!(
        "HTTP/1.1 {status} Scripted\r\ncontent-type: {content_type}\r\n\
         transfer-encoding: chunked\r\nconnection: close\r\n"
    );
    for (name, value) in &script.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    writer.write_all(head.as_bytes()).await?;
    if !stream {
        send(writer, script, &error_body(script.wire, "scripted_error").to_string()).await?;
    }
    for step in &script.moves {
        match step {
            Move::Send(event) => send(writer, script, event).await?,
            Move::Await => releases.acquire().await.expect("releases are never closed").forget(),
            Move::Stall => pending().await,
            Move::PingForever(pause) => {
                let mut ticks = interval(*pause);
                loop {
                    ticks.tick().await;
                    send(writer, script, &keep_alive(script.wire)).await?;
                }
            }
            Move::HangUp => return Ok(Exit::Over),
            Move::Reset => return Ok(Exit::Reset),
        }
    }
    writer.write_all(b"0\r\n\r\n").await?;
    Ok(Exit::Over)
}

/// Sends text in chunks of the script's portion, each of which the client sees as one.
async fn send(writer: &mut WriteHalf<'_>, script: &Script, text: &str) -> io::Result<()> {
    let text = text.replace('\n', script.line_end);
    for portion in text.as_bytes().chunks(script.portion) {
        writer.write_all(format!("{:x}\r\n", portion.len()).as_bytes()).await?;
        writer.write_all(portion).await?;
        writer.write_all(b"\r\n").await?;
    }
    Ok(())
}
