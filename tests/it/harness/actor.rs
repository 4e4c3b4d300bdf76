//! Those who call: each with an address, and a credential once signed in.

use colloquy::proto::{
    LoginRequest, LoginResponse, RefreshTokenRequest, RefreshTokenResponse, RegisterRequest, User,
    admin_service_client::AdminServiceClient, auth_service_client::AuthServiceClient,
    chat_service_client::ChatServiceClient, conversation_service_client::ConversationServiceClient,
    event_service_client::EventServiceClient, presence_service_client::PresenceServiceClient,
    session_service_client::SessionServiceClient, user_service_client::UserServiceClient,
};
use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use tonic::{
    Request, Status,
    client::Grpc,
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

use super::{BRIDGE_KEY, Events, Server, Socket, secrets};

/// The password of everybody.
pub(crate) const PASSWORD: &str = "correct horse";

pub(crate) type Service = InterceptedService<Channel, Signed>;

/// Somebody who calls a node.
#[derive(Clone)]
pub(crate) struct Actor {
    /// What the last sign-in or refresh brought.
    pub(crate) access_token: String,
    /// What the last sign-in or refresh brought.
    pub(crate) refresh_token: String,
    address: String,
    server: Server,
}

impl Actor {
    pub(super) fn new(server: Server) -> Self {
        Self { access_token: String::new(), refresh_token: String::new(), address: "192.0.2.1".to_owned(), server }
    }

    /// The same one, somewhere else.
    pub(crate) fn from(&self, address: &str) -> Self {
        Self { address: address.to_owned(), ..self.clone() }
    }

    /// The same one, calling another node.
    pub(crate) fn at(&self, server: &Server) -> Self {
        Self { server: server.clone(), ..self.clone() }
    }

    /// The same one, with another access token.
    pub(crate) fn with_token(&self, access_token: impl Into<String>) -> Self {
        Self { access_token: access_token.into(), ..self.clone() }
    }

    /// The same one, with another refresh token.
    pub(crate) fn with_refresh_token(&self, refresh_token: &str) -> Self {
        Self { refresh_token: refresh_token.to_owned(), ..self.clone() }
    }

    /// Calls `AuthService`.
    pub(crate) fn auth(&self) -> AuthServiceClient<Service> {
        AuthServiceClient::with_interceptor(self.server.grpc(), self.signed())
    }

    /// Calls `UserService`.
    pub(crate) fn users(&self) -> UserServiceClient<Service> {
        UserServiceClient::with_interceptor(self.server.grpc(), self.signed())
    }

    /// Calls `ConversationService`.
    pub(crate) fn conversations(&self) -> ConversationServiceClient<Service> {
        ConversationServiceClient::with_interceptor(self.server.grpc(), self.signed())
    }

    /// Calls `ChatService`.
    pub(crate) fn chat(&self) -> ChatServiceClient<Service> {
        ChatServiceClient::with_interceptor(self.server.grpc(), self.signed())
    }

    /// Calls `PresenceService`.
    pub(crate) fn presence(&self) -> PresenceServiceClient<Service> {
        PresenceServiceClient::with_interceptor(self.server.grpc(), self.signed())
    }

    /// Calls `EventService`.
    pub(crate) fn events(&self) -> EventServiceClient<Service> {
        EventServiceClient::with_interceptor(self.server.grpc(), self.signed())
    }

    /// Calls `SessionService`.
    pub(crate) fn sessions(&self) -> SessionServiceClient<Service> {
        SessionServiceClient::with_interceptor(self.server.grpc(), self.signed())
    }

    /// Calls `AdminService`.
    pub(crate) fn admin(&self) -> AdminServiceClient<Service> {
        AdminServiceClient::with_interceptor(self.server.grpc(), self.signed())
    }

    /// Calls whatever service.
    pub(crate) fn grpc(&self) -> Grpc<Service> {
        Grpc::new(InterceptedService::new(self.server.grpc(), self.signed()))
    }

    /// A request over HTTP, signed.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.server.client().request(method, self.server.url(path));
        if self.access_token.is_empty() { request } else { request.bearer_auth(&self.access_token) }
    }

    /// Gets a path over HTTP: the status and the JSON.
    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.request(Method::GET, path)).await
    }

    /// Posts JSON to a path over HTTP: the status and the JSON.
    pub(crate) async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        secrets::keep_all(&body);
        answer(self.request(Method::POST, path).json(&body)).await
    }

    /// Asks for a path over HTTP without a body: the status and the JSON.
    pub(crate) async fn ask(&self, method: Method, path: &str) -> (u16, Value) {
        answer(self.request(method, path)).await
    }

    /// Follows a path over SSE.
    pub(crate) async fn follow(&self, path: &str) -> Events {
        Events::of(self.request(Method::GET, path).send().await.unwrap())
    }

    /// Starts an answer over SSE.
    pub(crate) async fn stream_chat(&self, body: Value) -> Events {
        secrets::keep_all(&body);
        Events::of(self.request(Method::POST, "/api/v1/chat/stream").json(&body).send().await.unwrap())
    }

    /// Takes an answer up again over SSE, as a browser does.
    pub(crate) async fn resume_chat(&self, message_id: &str, after: u64) -> Events {
        let path = format!("/api/v1/chat/stream/{message_id}");
        let request = self.request(Method::GET, &path).header("last-event-id", after.to_string());
        Events::of(request.send().await.unwrap())
    }

    /// Opens a WebSocket and waits until it stands.
    pub(crate) async fn socket(&self) -> Socket {
        let mut socket = Socket::open(&self.socket_url("")).await;
        socket.until("connection.established").await;
        socket
    }

    /// Where a WebSocket of this one opens; `path` follows `/api/v1/ws`.
    pub(crate) fn socket_url(&self, path: &str) -> String {
        self.server.socket_url(&format!("/api/v1/ws{path}?token={}", self.access_token))
    }

    /// Makes a conversation and returns its id.
    pub(crate) async fn conversation(&self) -> String {
        let (status, body) = self.post("/api/v1/conversations", serde_json::json!({})).await;
        assert_eq!(status, 201, "{body}");
        body["conversation"]["id"].as_str().unwrap().to_owned()
    }

    /// Adds somebody to a conversation.
    pub(crate) async fn add(&self, conversation: &str, other: &Self, role: &str) {
        let user_id = other.me().await.unwrap().id;
        let path = format!("/api/v1/conversations/{conversation}/members");
        let (status, body) = self.post(&path, serde_json::json!({ "user_id": user_id, "role": role })).await;
        assert_eq!(status, 200, "{body}");
    }

    /// Sends a message and returns its id and the answer's.
    pub(crate) async fn send(&self, conversation: &str, content: &str) -> (String, String) {
        let path = format!("/api/v1/conversations/{conversation}/messages");
        let (status, body) = self.post(&path, serde_json::json!({ "content": content })).await;
        assert_eq!(status, 200, "{body}");
        let id = |field: &str| body[field]["id"].as_str().unwrap().to_owned();
        (id("message"), id("reply"))
    }

    /// A message over HTTP.
    pub(crate) async fn message(&self, conversation: &str, id: &str) -> Value {
        let (status, mut body) = self.get(&format!("/api/v1/conversations/{conversation}/messages/{id}")).await;
        assert_eq!(status, 200, "{body}");
        body["message"].take()
    }

    /// Makes an account of this name.
    pub(crate) async fn register(&self, name: &str) -> Result<User, Status> {
        let request = RegisterRequest {
            username: name.to_owned(),
            email: format!("{name}@example.com"),
            password: PASSWORD.to_owned(),
        };
        Ok(self.auth().register(request).await?.into_inner().user.unwrap())
    }

    /// Opens a session; the one who signed in is returned.
    pub(crate) async fn login(&self, name: &str, password: &str) -> Result<Self, Status> {
        secrets::keep(password);
        let request = LoginRequest { username: name.to_owned(), password: password.to_owned() };
        let LoginResponse { access_token, refresh_token, .. } = self.auth().login(request).await?.into_inner();
        Ok(Self { access_token, refresh_token, ..self.clone() })
    }

    /// Exchanges the refresh token; the one with the new tokens is returned.
    pub(crate) async fn refresh(&self) -> Result<Self, Status> {
        let request = RefreshTokenRequest { refresh_token: self.refresh_token.clone() };
        let RefreshTokenResponse { access_token, refresh_token, .. } =
            self.auth().refresh_token(request).await?.into_inner();
        Ok(Self { access_token, refresh_token, ..self.clone() })
    }

    /// Who the node takes this one for.
    pub(crate) async fn me(&self) -> Result<User, Status> {
        let request = colloquy::proto::GetMeRequest {};
        Ok(self.users().get_me(request).await?.into_inner().user.unwrap())
    }

    fn signed(&self) -> Signed {
        Signed { access_token: self.access_token.clone(), address: self.address.clone() }
    }
}

/// Puts the credential and the address on every call.
#[derive(Clone)]
pub(crate) struct Signed {
    access_token: String,
    address: String,
}

impl Interceptor for Signed {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        metadata.insert("colloquy-bridge-key", BRIDGE_KEY.parse().unwrap());
        metadata.insert("x-forwarded-for", self.address.parse().unwrap());
        metadata.insert("colloquy-user-agent", "tests".parse().unwrap());
        if !self.access_token.is_empty() {
            metadata.insert("authorization", format!("Bearer {}", self.access_token).parse().unwrap());
        }
        Ok(request)
    }
}

async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, response.json().await.unwrap())
}
