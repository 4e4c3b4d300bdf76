//! `AdminService`.

use tonic::{Request, Response, Status};

use super::{edge::Called as _, parse};
use crate::{
    error::{Error, Result},
    model::{caller::Caller, connection::NodeReport, user::Role},
    proto::{
        CreateServiceAccountRequest, CreateServiceAccountResponse, DeleteServiceAccountRequest,
        DeleteServiceAccountResponse, GetConnectionAnalyticsRequest, GetConnectionAnalyticsResponse, LatencyStats,
        ListServiceAccountsRequest, ListServiceAccountsResponse, QueueSizes, admin_service_server::AdminService,
    },
    service::service_accounts::ServiceAccounts,
    session::sessions::Sessions,
};

/// Serves administration.
#[derive(Clone)]
pub struct AdminApi {
    sessions: Sessions,
    service_accounts: ServiceAccounts,
}

impl AdminApi {
    /// Shows these sessions, and serves by these rules.
    pub fn new(sessions: Sessions, service_accounts: ServiceAccounts) -> Self {
        Self { sessions, service_accounts }
    }
}

#[tonic::async_trait]
impl AdminService for AdminApi {
    async fn get_connection_analytics(
        &self,
        request: Request<GetConnectionAnalyticsRequest>,
    ) -> Result<Response<GetConnectionAnalyticsResponse>, Status> {
        admin(&request.caller()?)?;
        let (report, users) = tokio::join!(self.sessions.counted(), self.sessions.connected_users());
        Ok(Response::new(GetConnectionAnalyticsResponse { active_users: users.len() as i64, ..report.into() }))
    }

    async fn create_service_account(
        &self,
        request: Request<CreateServiceAccountRequest>,
    ) -> Result<Response<CreateServiceAccountResponse>, Status> {
        admin(&request.caller()?)?;
        let CreateServiceAccountRequest { name, scopes } = request.into_inner();
        let (account, api_key) = self.service_accounts.create(name, scopes).await?;
        Ok(Response::new(CreateServiceAccountResponse { service_account: Some(account.into()), api_key }))
    }

    async fn list_service_accounts(
        &self,
        request: Request<ListServiceAccountsRequest>,
    ) -> Result<Response<ListServiceAccountsResponse>, Status> {
        admin(&request.caller()?)?;
        let asked = request.get_ref();
        let page = parse::page(asked.page_size, &asked.page_token)?;
        let found = self.service_accounts.list(&page).await?;
        Ok(Response::new(ListServiceAccountsResponse {
            next_page_token: parse::next_page_token(found.next.as_deref()),
            service_accounts: found.entries.into_iter().map(Into::into).collect(),
        }))
    }

    async fn delete_service_account(
        &self,
        request: Request<DeleteServiceAccountRequest>,
    ) -> Result<Response<DeleteServiceAccountResponse>, Status> {
        admin(&request.caller()?)?;
        let id = parse::id("service_account_id", &request.get_ref().service_account_id)?;
        self.service_accounts.end(id).await?;
        Ok(Response::new(DeleteServiceAccountResponse {}))
    }
}

/// Lets admins pass.
fn admin(caller: &Caller) -> Result<()> {
    if caller.role == Role::Admin { Ok(()) } else { Err(Error::ROLE) }
}

impl From<NodeReport> for GetConnectionAnalyticsResponse {
    fn from(report: NodeReport) -> Self {
        let [critical, high, medium, low] = report.waiting.map(u64::cast_signed);
        let signed = |(name, count): (String, u64)| (name, count.cast_signed());
        Self {
            active_connections: report.connections.cast_signed(),
            active_users: 0,
            active_topics: report.topics.cast_signed(),
            total_messages: report.frames.values().sum::<u64>().cast_signed(),
            total_errors: report.errors.values().sum::<u64>().cast_signed(),
            message_types: report.frames.into_iter().map(signed).collect(),
            error_codes: report.errors.into_iter().map(signed).collect(),
            latency_stats: Some(latency(report.round_trips)),
            queue_sizes: Some(QueueSizes { critical, high, medium, low }),
        }
    }
}

/// The nearest-rank percentiles of round trips in microseconds.
fn latency(mut round_trips: Vec<u32>) -> LatencyStats {
    round_trips.sort_unstable();
    let count = round_trips.len();
    if count == 0 {
        return LatencyStats::default();
    }
    let ms = |micros: f64| micros / 1000.0;
    let percentile = |percent: usize| ms(f64::from(round_trips[(count * percent).div_ceil(100).max(1) - 1]));
    LatencyStats {
        mean_ms: ms(round_trips.iter().copied().map(f64::from).sum::<f64>() / count as f64),
        p50_ms: percentile(50),
        p95_ms: percentile(95),
        p99_ms: percentile(99),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_nearest_rank() {
        assert_eq!(latency(Vec::new()), LatencyStats::default());
        let one = latency(vec![2500]);
        assert_eq!((one.mean_ms, one.p50_ms, one.p99_ms), (2.5, 2.5, 2.5));
        let hundred = latency((1..=100).rev().map(|ms| ms * 1000).collect());
        assert_eq!((hundred.mean_ms, hundred.p50_ms, hundred.p95_ms, hundred.p99_ms), (50.5, 50.0, 95.0, 99.0));
    }
}
