//! Somebody with an account who calls a node: requests, conversations and WebSockets.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use colloquy::proto::{CreateConversationRequest, conversation_service_client::ConversationServiceClient};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, Utf8Bytes, protocol::WebSocketConfig},
};
use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};

use super::process::Node;

/// A WebSocket of a viewer.
pub(crate) type Socket = WebSocketStream<TcpStream>;

/// The password of everybody.
pub(crate) const PASSWORD: &str = "correct horse";
/// How long any answer may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Calls that are under way at once while a measurement is prepared.
pub(crate) const AT_ONCE: usize = 16;
/// Sockets of one source address, so that its ports do not get short.
const SOCKETS_PER_ADDRESS: usize = 10_000;

/// Somebody who has signed in at a node.
pub(crate) struct Caller {
    grpc: SocketAddr,
    http: SocketAddr,
    /// The access token.
    pub(crate) token: String,
}

impl Caller {
    /// Makes an account and signs in.
    pub(crate) async fn register(node: &Node) -> Result<Self> {
        let account = json!({ "username": "ada", "email": "ada@example.com", "password": PASSWORD });
        post(node, "/api/v1/auth/register", &account).await?;
        Self::sign_in(node, "ada").await
    }

    /// Signs in with an account that is there.
    pub(crate) async fn sign_in(node: &Node, username: &str) -> Result<Self> {
        let credentials = json!({ "username": username, "password": PASSWORD });
        let tokens = post(node, "/api/v1/auth/login", &credentials).await?;
        let token = tokens["access_token"].as_str().context("no access token")?.to_owned();
        Ok(Self { grpc: node.grpc, http: node.http, token })
    }

    /// The same one at another node.
    pub(crate) fn at(&self, node: &Node) -> Self {
        Self { grpc: node.grpc, http: node.http, token: self.token.clone() }
    }

    /// The value of the `authorization` header.
    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    /// A connection to the node for gRPC.
    pub(crate) async fn channel(&self) -> Result<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.grpc))?;
        Ok(endpoint.tcp_nodelay(true).timeout(PATIENCE).connect().await?)
    }

    /// What signs calls over gRPC.
    pub(crate) fn credential(&self) -> Result<MetadataValue<Ascii>> {
        Ok(self.bearer().parse()?)
    }

    /// Makes so many conversations and returns their ids.
    pub(crate) async fn conversations(&self, count: usize) -> Result<Vec<String>> {
        let (channel, credential) = (self.channel().await?, self.credential()?);
        let made = stream::iter(0..count).map(|_| {
            let mut request = Request::new(CreateConversationRequest::default());
            request.metadata_mut().insert("authorization", credential.clone());
            let mut client = ConversationServiceClient::new(channel.clone());
            async move {
                let response = client.create_conversation(request).await?.into_inner();
                Ok(response.conversation.context("no conversation")?.id)
            }
        });
        made.buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Opens a WebSocket in each conversation and returns once all are joined.
    pub(crate) async fn sockets(&self, conversations: &[String]) -> Result<Vec<Socket>> {
        let opened = stream::iter(conversations.iter().enumerate()).map(|(index, conversation)| async move {
            let target = format!("ws://{}/api/v1/ws/{conversation}?token={}", self.http, self.token);
            let mut socket = open(index, self.http, &target).await?;
            while frame(&next(&mut socket).await?)?["type"] != "subscription.confirmed" {}
            anyhow::Ok(socket)
        });
        opened.buffer_unordered(AT_ONCE).try_collect().await
    }
}

/// Opens the WebSocket with this number. Its buffers are small: what is measured is the other side.
pub(crate) async fn open(index: usize, server: SocketAddr, target: &str) -> Result<Socket> {
    let source = u8::try_from(index / SOCKETS_PER_ADDRESS)?;
    let tcp = TcpSocket::new_v4()?;
    tcp.bind(SocketAddr::from(([127, 0, 0, 2 + source], 0)))?;
    let stream = tokio::time::timeout(PATIENCE, tcp.connect(server)).await??;
    stream.set_nodelay(true)?;
    let config = WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(0);
    let handshake = Box::pin(client_async_with_config(target, stream, Some(config)));
    let (socket, _) = tokio::time::timeout(PATIENCE, handshake).await??;
    Ok(socket)
}

/// The next text that a socket gets; an end is an error.
pub(crate) async fn next(socket: &mut Socket) -> Result<Utf8Bytes> {
    loop {
        let message = tokio::time::timeout(PATIENCE, socket.next()).await.context("no frame came")?;
        match message.context("the socket has ended")?? {
            Message::Text(text) => return Ok(text),
            Message::Ping(_) | Message::Pong(_) => {}
            other => anyhow::bail!("not expected: {other:?}"),
        }
    }
}

/// Reads a frame.
pub(crate) fn frame(text: &str) -> Result<Value> {
    let frame: Value = serde_json::from_str(text)?;
    ensure!(frame["type"] != "error", "{frame}");
    Ok(frame)
}

async fn post(node: &Node, path: &str, body: &Value) -> Result<Value> {
    let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
    let response = client.post(format!("http://{}{path}", node.http)).json(body).send().await?;
    Ok(response.error_for_status()?.json().await?)
}
