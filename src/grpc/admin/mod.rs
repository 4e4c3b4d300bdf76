//! `AdminService`.

mod analytics;
mod convert;
mod flight;

use tonic::{Request, Response, Status};

use super::{edge::Called as _, parse};
use crate::{
    error::{Error, Result},
    model::{
        audit::{Act, Action, AuditFilter, Details, Target},
        caller::Caller,
        ids::{EventId, UserId},
        user::{AccountChange, Role, User, UserFilter},
    },
    proto::{admin_service_server::AdminService, *},
    service::{admins::Admins, machine::Machine, servers::Servers, service_accounts::ServiceAccounts},
    session::sessions::Sessions,
};

/// What administration is made of.
#[derive(Clone)]
pub struct Parts {
    /// The live connections.
    pub sessions: Sessions,
    /// What admins do.
    pub admins: Admins,
    /// The machine under this node.
    pub machine: Machine,
    /// The servers that it needs.
    pub servers: Servers,
    /// The accounts of services.
    pub service_accounts: ServiceAccounts,
}

/// Serves administration.
#[derive(Clone)]
pub struct AdminApi(Parts);

impl AdminApi {
    /// Serves by these rules.
    pub fn new(parts: Parts) -> Self {
        Self(parts)
    }

    /// Changes an account as an admin asks.
    async fn change<T>(
        &self,
        request: &Request<T>,
        user_id: &str,
        action: Action,
        change: AccountChange,
    ) -> Result<User> {
        let caller = admin(request)?;
        let user: UserId = parse::id("user_id", user_id)?;
        self.0.admins.change(&act(request, &caller, action, user), user, change).await
    }
}

#[tonic::async_trait]
impl AdminService for AdminApi {
    async fn list_users(&self, request: Request<ListUsersRequest>) -> Result<Response<ListUsersResponse>, Status> {
        admin(&request)?;
        let asked = request.into_inner();
        let page = parse::page(asked.page_size, &asked.page_token)?;
        let role = asked.role.map(|role| parse::choice::<UserRole>("role", role)).transpose()?;
        let role = role.map(|role| role.try_into().map_err(|()| Error::invalid("role", "is not one of its values")));
        let filter = UserFilter { prefix: asked.query, role: role.transpose()?, is_active: asked.is_active };
        let found = self.0.admins.accounts(&filter, &page).await?;
        Ok(Response::new(ListUsersResponse {
            next_page_token: parse::next_page_token(found.next.as_deref()),
            users: found.entries.into_iter().map(Into::into).collect(),
        }))
    }

    async fn promote_user(
        &self,
        request: Request<PromoteUserRequest>,
    ) -> Result<Response<PromoteUserResponse>, Status> {
        let change = AccountChange::Role(Role::Admin);
        let user = self.change(&request, &request.get_ref().user_id, Action::PromoteUser, change).await?;
        Ok(Response::new(PromoteUserResponse { message: format!("{} is an admin", user.username) }))
    }

    async fn demote_user(&self, request: Request<DemoteUserRequest>) -> Result<Response<DemoteUserResponse>, Status> {
        let change = AccountChange::Role(Role::User);
        let user = self.change(&request, &request.get_ref().user_id, Action::DemoteUser, change).await?;
        Ok(Response::new(DemoteUserResponse { message: format!("{} is no admin", user.username) }))
    }

    async fn deactivate_user(
        &self,
        request: Request<DeactivateUserRequest>,
    ) -> Result<Response<DeactivateUserResponse>, Status> {
        let change = AccountChange::Activity(false);
        let user = self.change(&request, &request.get_ref().user_id, Action::DeactivateUser, change).await?;
        Ok(Response::new(DeactivateUserResponse { message: format!("{} cannot sign in", user.username) }))
    }

    async fn activate_user(
        &self,
        request: Request<ActivateUserRequest>,
    ) -> Result<Response<ActivateUserResponse>, Status> {
        let change = AccountChange::Activity(true);
        let user = self.change(&request, &request.get_ref().user_id, Action::ActivateUser, change).await?;
        Ok(Response::new(ActivateUserResponse { message: format!("{} can sign in", user.username) }))
    }

    async fn get_metrics(&self, request: Request<GetMetricsRequest>) -> Result<Response<GetMetricsResponse>, Status> {
        admin(&request)?;
        let (counts, live) = tokio::join!(self.0.admins.counts(), self.0.sessions.counted());
        let connection_count = live.connections.cast_signed();
        Ok(Response::new(GetMetricsResponse { connection_count, ..counts?.into() }))
    }

    async fn get_system_status(
        &self,
        request: Request<GetSystemStatusRequest>,
    ) -> Result<Response<GetSystemStatusResponse>, Status> {
        admin(&request)?;
        let load = self.0.machine.load().await?;
        let node = self.0.sessions.node.clone();
        Ok(Response::new(GetSystemStatusResponse { cpu: load.cpu, memory: load.memory, disk: load.disk, node }))
    }

    async fn get_service_status(
        &self,
        request: Request<GetServiceStatusRequest>,
    ) -> Result<Response<GetServiceStatusResponse>, Status> {
        admin(&request)?;
        let (db, redis) = tokio::join!(self.0.servers.database(), self.0.servers.redis());
        let ((db, db_latency_ms), (redis, redis_latency_ms)) = (convert::word(db), convert::word(redis));
        Ok(Response::new(GetServiceStatusResponse { db, redis, db_latency_ms, redis_latency_ms }))
    }

    async fn get_rate_limits(
        &self,
        request: Request<GetRateLimitsRequest>,
    ) -> Result<Response<GetRateLimitsResponse>, Status> {
        let caller = admin(&request)?;
        let user = parse::optional_id("user_id", Some(&request.get_ref().user_id))?.unwrap_or(caller.user_id);
        let Sessions { limits, places, .. } = &self.0.sessions;
        let (frames, requests, used_by_user) =
            tokio::join!(limits.used_frames(user), limits.used_requests(user), places.used_by(user));
        let most = places.limits();
        Ok(Response::new(GetRateLimitsResponse {
            identifier: Target::from(user).to_string(),
            frames: frames.into_iter().map(Into::into).collect(),
            requests: requests.into_iter().map(Into::into).collect(),
            connections: Some(ConnectionLimits {
                per_user: most.per_user.into(),
                per_address: most.per_address.into(),
                per_node: most.per_node.into(),
                used_by_user: used_by_user as i64,
                used_on_node: places.used_here() as i64,
            }),
        }))
    }

    async fn list_rate_limit_violations(
        &self,
        request: Request<ListRateLimitViolationsRequest>,
    ) -> Result<Response<ListRateLimitViolationsResponse>, Status> {
        admin(&request)?;
        let asked = request.get_ref();
        let found = self.0.sessions.limits.violations(&parse::page(asked.page_size, &asked.page_token)?).await;
        Ok(Response::new(ListRateLimitViolationsResponse {
            next_page_token: parse::next_page_token(found.next.as_deref()),
            violations: found.entries.into_iter().map(Into::into).collect(),
        }))
    }

    async fn reset_rate_limits(
        &self,
        request: Request<ResetRateLimitsRequest>,
    ) -> Result<Response<ResetRateLimitsResponse>, Status> {
        let caller = admin(&request)?;
        let user: UserId = parse::id("user_id", &request.get_ref().user_id)?;
        let act = act(&request, &caller, Action::ResetRateLimits, user);
        let user = self.0.admins.reset_limits(&act, user).await?;
        Ok(Response::new(ResetRateLimitsResponse { message: format!("the limits of {} begin anew", user.username) }))
    }

    async fn list_usage(&self, request: Request<ListUsageRequest>) -> Result<Response<ListUsageResponse>, Status> {
        admin(&request)?;
        let asked = request.get_ref();
        let user = parse::optional_id("user_id", Some(&asked.user_id))?;
        let days = (parse::optional_day("from", &asked.from)?, parse::optional_day("to", &asked.to)?);
        let page = parse::page(asked.page_size, &asked.page_token)?;
        let found = self.0.admins.usage(user, days, &page).await?;
        Ok(Response::new(ListUsageResponse {
            next_page_token: parse::next_page_token(found.next.as_deref()),
            usage: found.entries.into_iter().map(Into::into).collect(),
        }))
    }

    async fn list_audit_log(
        &self,
        request: Request<ListAuditLogRequest>,
    ) -> Result<Response<ListAuditLogResponse>, Status> {
        admin(&request)?;
        let asked = request.into_inner();
        let page = parse::page(asked.page_size, &asked.page_token)?;
        let filter = AuditFilter {
            admin_id: parse::optional_id("admin_id", Some(&asked.admin_id))?,
            action: Some(asked.action).filter(|action| !action.is_empty()),
            target: Some(asked.target).filter(|target| !target.is_empty()),
            from: parse::optional_moment("from", asked.from)?,
            to: parse::optional_moment("to", asked.to)?,
        };
        let found = self.0.admins.audit_log(&filter, &page).await?;
        Ok(Response::new(ListAuditLogResponse {
            next_page_token: parse::next_page_token(found.next.as_deref()),
            audit_log: found.entries.into_iter().map(Into::into).collect(),
        }))
    }

    async fn list_connections(
        &self,
        request: Request<ListConnectionsRequest>,
    ) -> Result<Response<ListConnectionsResponse>, Status> {
        admin(&request)?;
        let asked = request.get_ref();
        let user = parse::optional_id("user_id", Some(&asked.user_id))?;
        let page = parse::page(asked.page_size, &asked.page_token)?;
        let found = self.0.sessions.list_connections(user, &page).await?;
        Ok(Response::new(ListConnectionsResponse {
            next_page_token: parse::next_page_token(found.next.as_deref()),
            connections: found.entries.into_iter().map(Into::into).collect(),
        }))
    }

    async fn close_connection(
        &self,
        request: Request<CloseConnectionRequest>,
    ) -> Result<Response<CloseConnectionResponse>, Status> {
        let caller = admin(&request)?;
        let id = parse::id("connection_id", &request.get_ref().connection_id)?;
        let act = act(&request, &caller, Action::CloseConnection, id);
        self.0.sessions.close_connection(&self.0.admins, &act, id).await?;
        Ok(Response::new(CloseConnectionResponse { message: format!("connection {id} is asked to come back") }))
    }

    async fn get_connection_frames(
        &self,
        request: Request<GetConnectionFramesRequest>,
    ) -> Result<Response<GetConnectionFramesResponse>, Status> {
        admin(&request)?;
        let id = parse::id("connection_id", &request.get_ref().connection_id)?;
        let node = self.0.sessions.node.clone();
        Ok(Response::new(GetConnectionFramesResponse { node, ..self.0.sessions.flight(id).await?.into() }))
    }

    async fn get_connection_analytics(
        &self,
        request: Request<GetConnectionAnalyticsRequest>,
    ) -> Result<Response<GetConnectionAnalyticsResponse>, Status> {
        admin(&request)?;
        let (report, users) = tokio::join!(self.0.sessions.counted(), self.0.sessions.connected_users());
        Ok(Response::new(GetConnectionAnalyticsResponse { active_users: users.len() as i64, ..report.into() }))
    }

    async fn broadcast(&self, request: Request<BroadcastRequest>) -> Result<Response<BroadcastResponse>, Status> {
        let caller = admin(&request)?;
        let BroadcastRequest { message, level } = request.get_ref().clone();
        let id = EventId::generate();
        let act = act(&request, &caller, Action::Broadcast, id);
        let notice = self.0.sessions.events.notice(message, level);
        let notice = self.0.admins.note(&act, notice, |_| Details::new()).await?;
        let published = self.0.sessions.events.broadcast(id, notice).await;
        Ok(Response::new(BroadcastResponse {
            message: "everyone who is connected is told".to_owned(),
            event_id: published.id.to_string(),
            delivered: published.delivered as i64,
        }))
    }

    async fn create_service_account(
        &self,
        request: Request<CreateServiceAccountRequest>,
    ) -> Result<Response<CreateServiceAccountResponse>, Status> {
        let caller = admin(&request)?;
        let id = UserId::generate();
        let act = act(&request, &caller, Action::CreateServiceAccount, Target::service_account(id));
        let CreateServiceAccountRequest { name, scopes } = request.into_inner();
        let (account, api_key) = self.0.service_accounts.create(&act, id, name, scopes).await?;
        Ok(Response::new(CreateServiceAccountResponse { service_account: Some(account.into()), api_key }))
    }

    async fn list_service_accounts(
        &self,
        request: Request<ListServiceAccountsRequest>,
    ) -> Result<Response<ListServiceAccountsResponse>, Status> {
        admin(&request)?;
        let asked = request.get_ref();
        let found = self.0.service_accounts.list(&parse::page(asked.page_size, &asked.page_token)?).await?;
        Ok(Response::new(ListServiceAccountsResponse {
            next_page_token: parse::next_page_token(found.next.as_deref()),
            service_accounts: found.entries.into_iter().map(Into::into).collect(),
        }))
    }

    async fn delete_service_account(
        &self,
        request: Request<DeleteServiceAccountRequest>,
    ) -> Result<Response<DeleteServiceAccountResponse>, Status> {
        let caller = admin(&request)?;
        let id = parse::id("service_account_id", &request.get_ref().service_account_id)?;
        let act = act(&request, &caller, Action::DeleteServiceAccount, Target::service_account(id));
        self.0.service_accounts.end(&act, id).await?;
        Ok(Response::new(DeleteServiceAccountResponse {}))
    }
}

/// The caller, if it is an admin.
fn admin<T>(request: &Request<T>) -> Result<Caller> {
    let caller = request.caller()?;
    if caller.role == Role::Admin { Ok(caller) } else { Err(Error::ROLE) }
}

/// What a request asks for, as the audit log tells it.
fn act<T>(request: &Request<T>, caller: &Caller, action: Action, target: impl Into<Target>) -> Act {
    Act::of(caller, request.origin(), action, target)
}
