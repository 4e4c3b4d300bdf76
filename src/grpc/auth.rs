//! `AuthService`, and credentials as the contract writes them.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tonic::{Request, Response, Status};

use super::{edge::Called as _, parse, user};
use crate::{
    model::{
        ids::SessionId,
        key::{PublicKey, PublicMaterial, SigningAlgorithm},
        session::Session,
        user::NewUser,
    },
    proto::{
        self, GetJwksRequest, GetJwksResponse, IssueTicketRequest, IssueTicketResponse, JsonWebKey,
        ListSessionsRequest, ListSessionsResponse, LoginRequest, LoginResponse, LogoutRequest, LogoutResponse,
        RefreshTokenRequest, RefreshTokenResponse, RegisterRequest, RegisterResponse, RevokeSessionRequest,
        RevokeSessionResponse, auth_service_server::AuthService,
    },
    service::accounts::Accounts,
};

/// The only type of token there is (RFC 6750).
const TOKEN_TYPE: &str = "bearer";

/// Serves credentials.
#[derive(Clone, Debug)]
pub struct AuthApi {
    accounts: Accounts,
}

impl AuthApi {
    /// Serves by these rules.
    pub fn new(accounts: Accounts) -> Self {
        Self { accounts }
    }
}

#[tonic::async_trait]
impl AuthService for AuthApi {
    async fn register(&self, request: Request<RegisterRequest>) -> Result<Response<RegisterResponse>, Status> {
        let RegisterRequest { username, email, password } = request.into_inner();
        let user = self.accounts.register(NewUser { username, email, password }).await?;
        Ok(Response::new(RegisterResponse { user: Some(user::own(user)) }))
    }

    async fn login(&self, request: Request<LoginRequest>) -> Result<Response<LoginResponse>, Status> {
        let origin = request.origin();
        let LoginRequest { username, password } = request.into_inner();
        let (tokens, user) = self.accounts.login(&username, password, &origin).await?;
        Ok(Response::new(LoginResponse {
            access_token: tokens.access_token,
            refresh_token: tokens.refresh_token,
            token_type: TOKEN_TYPE.to_owned(),
            expires_in: seconds(tokens.expires_in),
            user: Some(user::own(user)),
        }))
    }

    async fn refresh_token(
        &self,
        request: Request<RefreshTokenRequest>,
    ) -> Result<Response<RefreshTokenResponse>, Status> {
        let tokens = self.accounts.refresh(&request.get_ref().refresh_token).await?;
        Ok(Response::new(RefreshTokenResponse {
            access_token: tokens.access_token,
            refresh_token: tokens.refresh_token,
            token_type: TOKEN_TYPE.to_owned(),
            expires_in: seconds(tokens.expires_in),
        }))
    }

    async fn logout(&self, request: Request<LogoutRequest>) -> Result<Response<LogoutResponse>, Status> {
        self.accounts.logout(&request.caller()?).await?;
        Ok(Response::new(LogoutResponse {}))
    }

    async fn issue_ticket(
        &self,
        request: Request<IssueTicketRequest>,
    ) -> Result<Response<IssueTicketResponse>, Status> {
        let (ticket, ttl) = self.accounts.issue_ticket(&request.caller()?).await;
        Ok(Response::new(IssueTicketResponse { ticket, expires_in: seconds(ttl) }))
    }

    async fn list_sessions(
        &self,
        request: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsResponse>, Status> {
        let caller = request.caller()?;
        let asked = request.get_ref();
        let page = parse::page(asked.page_size, &asked.page_token)?;
        let found = self.accounts.sessions(&caller, &page).await?;
        Ok(Response::new(ListSessionsResponse {
            next_page_token: parse::next_page_token(found.next.as_deref()),
            sessions: found.entries.into_iter().map(|session| listed(session, caller.session_id)).collect(),
        }))
    }

    async fn revoke_session(
        &self,
        request: Request<RevokeSessionRequest>,
    ) -> Result<Response<RevokeSessionResponse>, Status> {
        let caller = request.caller()?;
        let session = parse::id("session_id", &request.get_ref().session_id)?;
        self.accounts.end_session(&caller, session).await?;
        Ok(Response::new(RevokeSessionResponse {}))
    }

    async fn get_jwks(&self, _request: Request<GetJwksRequest>) -> Result<Response<GetJwksResponse>, Status> {
        let keys = self.accounts.public_keys().await?;
        Ok(Response::new(GetJwksResponse { keys: keys.into_iter().map(Into::into).collect() }))
    }
}

fn seconds(duration: Duration) -> i64 {
    duration.as_secs().try_into().unwrap_or(i64::MAX)
}

/// A session as it stands in a list that the session `current` asked for.
fn listed(session: Session, current: SessionId) -> proto::Session {
    proto::Session {
        id: session.id.to_string(),
        created_at: Some(session.created_at.into()),
        last_used_at: Some(session.last_used_at.into()),
        expires_at: Some(session.expires_at.into()),
        user_agent: session.user_agent,
        address: session.address,
        current: session.id == current,
    }
}

impl From<PublicKey> for JsonWebKey {
    fn from(key: PublicKey) -> Self {
        let text = |bytes: &[u8]| Some(URL_SAFE_NO_PAD.encode(bytes));
        let common = Self { kid: key.id.to_string(), r#use: "sig".to_owned(), ..Self::default() };
        match key.material {
            PublicMaterial::Ed25519 { x } => Self {
                kty: "OKP".to_owned(),
                alg: SigningAlgorithm::EdDsa.as_str().to_owned(),
                crv: Some("Ed25519".to_owned()),
                x: text(&x),
                ..common
            },
            PublicMaterial::Rsa { n, e } => Self {
                kty: "RSA".to_owned(),
                alg: SigningAlgorithm::Rs256.as_str().to_owned(),
                n: text(&n),
                e: text(&e),
                ..common
            },
        }
    }
}
