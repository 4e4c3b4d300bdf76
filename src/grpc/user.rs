//! `UserService`, and accounts as the contract writes them.

use tonic::{Request, Response, Status};

use super::{edge::Called as _, parse};
use crate::{
    model::{
        usage::DailyUsage,
        user::{Role, User, UserChanges},
    },
    proto::{
        self, ChangePasswordRequest, ChangePasswordResponse, DeleteMeRequest, DeleteMeResponse, GetMeRequest,
        GetMeResponse, GetMyUsageRequest, GetMyUsageResponse, GetUserRequest, GetUserResponse, SearchUsersRequest,
        SearchUsersResponse, UpdateMeRequest, UpdateMeResponse, user_service_server::UserService,
    },
    service::users::Users,
};

/// Serves accounts.
#[derive(Clone)]
pub struct UserApi {
    users: Users,
}

impl UserApi {
    /// Serves by these rules.
    pub fn new(users: Users) -> Self {
        Self { users }
    }
}

#[tonic::async_trait]
impl UserService for UserApi {
    async fn get_me(&self, request: Request<GetMeRequest>) -> Result<Response<GetMeResponse>, Status> {
        let user = self.users.user(request.caller()?.user_id).await?;
        Ok(Response::new(GetMeResponse { user: Some(own(user)) }))
    }

    async fn get_my_usage(&self, request: Request<GetMyUsageRequest>) -> Result<Response<GetMyUsageResponse>, Status> {
        let caller = request.caller()?;
        let asked = request.into_inner();
        let (from, to) = (parse::optional_day("from", &asked.from)?, parse::optional_day("to", &asked.to)?);
        let usage = self.users.usage(&caller, from, to).await?;
        Ok(Response::new(GetMyUsageResponse {
            input_tokens: usage.iter().map(|day| day.usage.input_tokens).sum(),
            output_tokens: usage.iter().map(|day| day.usage.output_tokens).sum(),
            usage: usage.into_iter().map(Into::into).collect(),
        }))
    }

    async fn update_me(&self, request: Request<UpdateMeRequest>) -> Result<Response<UpdateMeResponse>, Status> {
        let caller = request.caller()?;
        let UpdateMeRequest { username, email, display_name } = request.into_inner();
        let user = self.users.update(&caller, &UserChanges { username, email, display_name }).await?;
        Ok(Response::new(UpdateMeResponse { user: Some(own(user)) }))
    }

    async fn change_password(
        &self,
        request: Request<ChangePasswordRequest>,
    ) -> Result<Response<ChangePasswordResponse>, Status> {
        let caller = request.caller()?;
        let ChangePasswordRequest { current_password, new_password } = request.into_inner();
        self.users.change_password(&caller, current_password, new_password).await?;
        Ok(Response::new(ChangePasswordResponse {}))
    }

    async fn delete_me(&self, request: Request<DeleteMeRequest>) -> Result<Response<DeleteMeResponse>, Status> {
        self.users.delete(&request.caller()?).await?;
        Ok(Response::new(DeleteMeResponse {}))
    }

    async fn get_user(&self, request: Request<GetUserRequest>) -> Result<Response<GetUserResponse>, Status> {
        let user = self.users.user(parse::id("user_id", &request.get_ref().user_id)?).await?;
        Ok(Response::new(GetUserResponse { user: Some(public(user)) }))
    }

    async fn search_users(
        &self,
        request: Request<SearchUsersRequest>,
    ) -> Result<Response<SearchUsersResponse>, Status> {
        let asked = request.get_ref();
        let page = parse::page(asked.page_size, &asked.page_token)?;
        let found = self.users.search(&asked.query, &page).await?;
        Ok(Response::new(SearchUsersResponse {
            next_page_token: parse::next_page_token(found.next.as_deref()),
            users: found.entries.into_iter().map(public).collect(),
        }))
    }
}

/// An account as its user sees it.
pub(super) fn own(user: User) -> proto::User {
    proto::User {
        id: user.id.to_string(),
        username: user.username,
        // Service accounts have none.
        email: Some(user.email).filter(|email| !email.is_empty()),
        display_name: user.display_name,
        role: proto::UserRole::from(user.role).into(),
        is_active: user.is_active,
        created_at: Some(user.created_at.into()),
        updated_at: Some(user.updated_at.into()),
    }
}

/// An account as others see it.
fn public(user: User) -> proto::User {
    proto::User { email: None, ..own(user) }
}

impl From<Role> for proto::UserRole {
    fn from(role: Role) -> Self {
        match role {
            Role::User => Self::User,
            Role::Admin => Self::Admin,
            Role::Service => Self::Service,
        }
    }
}

impl From<DailyUsage> for proto::DailyUsage {
    fn from(day: DailyUsage) -> Self {
        Self {
            day: day.day,
            model: day.model,
            input_tokens: day.usage.input_tokens,
            output_tokens: day.usage.output_tokens,
            message_count: day.message_count,
        }
    }
}
