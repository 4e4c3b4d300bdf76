//! Those who call: each with an address, and a credential once signed in.

use colloquy::{
    grpc::edge::Edge,
    proto::{
        LoginRequest, LoginResponse, RefreshTokenRequest, RefreshTokenResponse, RegisterRequest, User,
        auth_service_client::AuthServiceClient, user_service_client::UserServiceClient,
    },
};
use tonic::{
    Request, Status,
    service::{Interceptor, Routes, interceptor::InterceptedService},
};

use super::{BRIDGE_KEY, Server};

/// The password of everybody.
pub(crate) const PASSWORD: &str = "correct horse";

type Service = InterceptedService<Edge<Routes>, Signed>;

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
        AuthServiceClient::with_interceptor(self.server.service.clone(), self.signed())
    }

    /// Calls `UserService`.
    pub(crate) fn users(&self) -> UserServiceClient<Service> {
        UserServiceClient::with_interceptor(self.server.service.clone(), self.signed())
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
