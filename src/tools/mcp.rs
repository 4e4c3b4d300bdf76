//! MCP servers: connected when they are first needed, connected anew when they come back, left alone while they are gone.

use std::{process::Stdio, sync::Arc, time::Duration};

use reqwest::{Client, Url, redirect};
use rmcp::{
    RoleClient, ServiceExt as _,
    model::{
        CallToolRequest, CallToolRequestParams, CallToolResult, ClientCapabilities, ClientConfig, ClientRequest,
        ContentBlock, Implementation, ServerResult, Tool,
    },
    service::{Peer, PeerRequestOptions, RunningService, ServiceError},
    transport::{
        StreamableHttpClientTransport, TokioChildProcess, streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use tokio::{
    process::Command,
    sync::Mutex,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Definition, Door, Outcome, Server};
use crate::model::tool::Arguments;

/// How long a server may take to start, to connect and to name its tools: a program may have to be fetched first.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long whoever needs a server waits for it; nobody waits for one that failed before.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the connection over HTTP may take.
const HTTP_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a server is asked for its tools, while they are wanted.
const LIST_TTL: Duration = Duration::from_secs(60);
/// How long a server is left alone after its first failure; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// How often it doubles at most.
const MAX_DOUBLINGS: u32 = 6;
/// How long a server may take to hear that a call is cancelled.
const CANCEL_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a server may take to end: a program that does not end with its input gets a signal after 3 s.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(4);
/// Tools taken from one server: each costs tokens in every prompt.
const MAX_TOOLS: usize = 128;

/// What a model and a viewer are told of a server that fails.
const NO_ANSWER: &str = "the server of this tool does not answer";

type Service = RunningService<RoleClient, ClientConfig>;

/// A server, connected or not. Cheap to clone.
#[derive(Clone)]
pub(super) struct McpServer(Arc<Inner>);

struct Inner {
    server: Server,
    state: Mutex<State>,
    /// What goes on in the background, which nobody's leaving cuts short.
    tries: TaskTracker,
    closing: CancellationToken,
}

#[derive(Default)]
struct State {
    connection: Option<Connection>,
    /// Cancelled when the present try has ended.
    try_ended: Option<CancellationToken>,
    failures: u32,
    /// Until when the server is left alone.
    pause: Option<Instant>,
}

struct Connection {
    service: Service,
    tools: Arc<[Definition]>,
    listed_at: Instant,
    /// It failed since, and may be gone.
    is_doubted: bool,
}

impl McpServer {
    pub(super) fn new(server: Server) -> Self {
        let (state, tries, closing) = Default::default();
        Self(Arc::new(Inner { server, state, tries, closing }))
    }

    pub(super) fn name(&self) -> &str {
        &self.0.server.name
    }

    /// Its tools; none while it does not answer.
    pub(super) async fn definitions(&self) -> Vec<Definition> {
        self.connected().await.map_or_else(Vec::new, |(_, tools)| tools.to_vec())
    }

    /// Calls one of its tools; `None` when `stop` came first. Either way the server hears of a call that nobody waits for.
    pub(super) async fn call(
        &self,
        tool: &str,
        arguments: Arguments,
        within: Duration,
        stop: &CancellationToken,
    ) -> Option<Outcome> {
        let deadline = Instant::now() + within;
        let connected = stop.run_until_cancelled(timeout_at(deadline, self.connected())).await?;
        let Ok(Some((peer, _))) = connected else { return Some(Outcome::bad(NO_ANSWER)) };
        let call = CallToolRequest::new(CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments));
        let request = ClientRequest::CallToolRequest(call);
        let sent = peer.send_cancellable_request(request, PeerRequestOptions::no_options());
        let Ok(Ok(mut handle)) = stop.run_until_cancelled(timeout_at(deadline, sent)).await? else {
            self.doubt().await;
            return Some(Outcome::bad(NO_ANSWER));
        };
        let answer = stop.run_until_cancelled(timeout_at(deadline, &mut handle.rx)).await;
        let outcome = match answer {
            Some(Ok(Ok(answer))) => return Some(self.outcome(answer).await),
            Some(Ok(Err(_))) => {
                self.doubt().await;
                return Some(Outcome::bad(NO_ANSWER));
            }
            Some(Err(_)) => {
                self.doubt().await;
                Some(Outcome::bad(format!("the tool did not answer within {} s", within.as_secs_f64())))
            }
            None => None,
        };
        // What cannot be told in time is lost: the server finds out when it answers.
        let _ = timeout(CANCEL_TIMEOUT, handle.cancel(Some("nobody waits for it any more".to_owned()))).await;
        outcome
    }

    /// Ends the connection for good; a process ends with it.
    pub(super) async fn close(&self) {
        self.0.closing.cancel();
        self.0.tries.close();
        self.0.tries.wait().await;
        if let Some(mut connection) = self.0.state.lock().await.connection.take() {
            let closed = connection.service.close_with_timeout(CLOSE_TIMEOUT).await;
            if !matches!(closed, Ok(Some(_))) {
                tracing::warn!(server = self.name(), "an MCP server did not end in time");
            }
        }
    }

    async fn outcome(&self, answer: Result<ServerResult, ServiceError>) -> Outcome {
        match answer {
            Ok(ServerResult::CallToolResult(result)) => {
                Outcome { is_error: result.is_error.unwrap_or_default(), content: text_of(result) }
            }
            Ok(_) => Outcome::bad("the tool asks for what nobody can give here"),
            Err(ServiceError::McpError(error)) => Outcome::bad(error.message),
            Err(error) => {
                tracing::warn!(server = self.name(), %error, "an MCP server failed in a call");
                self.doubt().await;
                Outcome::bad(NO_ANSWER)
            }
        }
    }

    /// The connection as it is, or as it is made now. When its tools were named a while ago it is asked for them again
    /// meanwhile.
    async fn connected(&self) -> Option<(Peer<RoleClient>, Arc<[Definition]>)> {
        let mut state = self.0.state.lock().await;
        if let Some(connection) = state.connection.as_mut().filter(|connection| connection.is_good()) {
            let peer = connection.service.peer().clone();
            if connection.listed_at.elapsed() > LIST_TTL {
                connection.listed_at = Instant::now();
                self.look_again(peer.clone());
            }
            return Some((peer, connection.tools.clone()));
        }
        let ended = state.try_ended.clone().or_else(|| self.try_again(&mut state))?;
        let patience = if state.failures == 0 { PATIENCE } else { Duration::ZERO };
        drop(state);
        timeout(patience, ended.cancelled()).await.ok()?;
        let state = self.0.state.lock().await;
        state.connection.as_ref().map(|connection| (connection.service.peer().clone(), connection.tools.clone()))
    }

    /// Asks for the tools once more. A server that is busy keeps those that it had.
    fn look_again(&self, peer: Peer<RoleClient>) {
        let server = self.clone();
        self.0.tries.spawn(async move {
            let listed = timeout(CONNECT_TIMEOUT, peer.list_all_tools());
            if let Some(Ok(Ok(tools))) = server.0.closing.run_until_cancelled(listed).await
                && let Some(connection) = &mut server.0.state.lock().await.connection
            {
                connection.tools = server.defined(tools);
            }
        });
    }

    /// Begins a try to connect, unless the server is left alone.
    fn try_again(&self, state: &mut State) -> Option<CancellationToken> {
        if self.0.closing.is_cancelled() || state.pause.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        let old = state.connection.take().filter(|connection| !connection.service.peer().is_transport_closed());
        let ended = CancellationToken::new();
        state.try_ended = Some(ended.clone());
        let (server, guard) = (self.clone(), ended.clone().drop_guard());
        self.0.tries.spawn(async move {
            let connected = server.0.closing.run_until_cancelled(server.connect(old)).await;
            let mut state = server.0.state.lock().await;
            state.try_ended = None;
            match connected {
                Some(Ok(connection)) => {
                    state.connection = Some(connection);
                    (state.failures, state.pause) = (0, None);
                }
                Some(Err(error)) => {
                    let error = format!("{error:#}");
                    let pause = FIRST_PAUSE * 2_u32.pow(state.failures.min(MAX_DOUBLINGS));
                    let pause_s = pause.as_secs();
                    tracing::warn!(server = server.name(), error, pause_s, "an MCP server does not answer");
                    state.failures += 1;
                    state.pause = Some(Instant::now() + pause);
                }
                None => {}
            }
            drop(guard);
        });
        Some(ended)
    }

    async fn connect(&self, old: Option<Connection>) -> anyhow::Result<Connection> {
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        let service = match old {
            Some(connection) => connection.service,
            None => timeout_at(deadline, self.open()).await??,
        };
        let tools = timeout_at(deadline, service.peer().list_all_tools()).await??;
        Ok(Connection { service, tools: self.defined(tools), listed_at: Instant::now(), is_doubted: false })
    }

    async fn open(&self) -> anyhow::Result<Service> {
        let implementation = Implementation::new("colloquy", env!("CARGO_PKG_VERSION"));
        let client = ClientConfig::new(ClientCapabilities::default(), implementation);
        match &self.0.server.door {
            Door::Http { url, bearer } => {
                let mut config = StreamableHttpClientTransportConfig::with_uri(url.as_str());
                if let Some(bearer) = bearer {
                    config = config.auth_header(bearer);
                }
                Ok(client.serve(StreamableHttpClientTransport::with_client(http_client(url)?, config)).await?)
            }
            Door::Process { command, arguments, environment } => {
                let mut process = Command::new(command);
                process.args(arguments).env_clear().envs(environment.iter().cloned()).kill_on_drop(true);
                // What it writes about itself may quote what it was called with.
                let (transport, _) = TokioChildProcess::builder(process).stderr(Stdio::null()).spawn()?;
                Ok(client.serve(transport).await?)
            }
        }
    }

    fn defined(&self, tools: Vec<Tool>) -> Arc<[Definition]> {
        let defined = tools.into_iter().take(MAX_TOOLS).map(|tool| Definition {
            name: format!("{}.{}", self.name(), tool.name),
            description: tool.description.map(Into::into).unwrap_or_default(),
            parameters: serde_json::Value::Object((*tool.input_schema).clone()),
        });
        defined.collect()
    }

    /// Makes the next one who needs the server look whether it is still there.
    async fn doubt(&self) {
        if let Some(connection) = &mut self.0.state.lock().await.connection {
            connection.is_doubted = true;
        }
    }
}

impl Connection {
    fn is_good(&self) -> bool {
        !self.is_doubted && !self.service.peer().is_transport_closed()
    }
}

fn http_client(url: &str) -> anyhow::Result<Client> {
    // Connections are not kept: one that idles may be gone when the next call comes. Redirects could lead the token away.
    let client = Client::builder()
        .connect_timeout(HTTP_TIMEOUT)
        .pool_max_idle_per_host(0)
        .redirect(redirect::Policy::none())
        .user_agent(concat!("colloquy/", env!("CARGO_PKG_VERSION")));
    let url = Url::parse(url)?;
    // A proxy meant for the world is of no use on this machine.
    let is_here = url.host_str().is_some_and(|host| ["localhost", "127.0.0.1", "[::1]"].contains(&host));
    Ok(if is_here { client.no_proxy() } else { client }.build()?)
}

/// A result as text: that is what every provider takes.
fn text_of(result: CallToolResult) -> String {
    let blocks: Vec<String> = result.content.into_iter().map(text_of_block).collect();
    match (blocks.is_empty(), result.structured_content) {
        (true, Some(structured)) => structured.to_string(),
        _ => blocks.join("\n"),
    }
}

fn text_of_block(block: ContentBlock) -> String {
    match block {
        ContentBlock::Text(text) => text.text,
        ContentBlock::Resource(resource) => resource.get_text(),
        ContentBlock::ResourceLink(link) => link.uri,
        ContentBlock::Image(image) => format!("[an image, {}]", image.mime_type),
        ContentBlock::Audio(audio) => format!("[a recording, {}]", audio.mime_type),
        _ => "[content of a kind that is not known here]".to_owned(),
    }
}
