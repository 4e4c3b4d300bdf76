//! What admins see, as the contract writes it.

use crate::{
    model::{
        audit::AuditEntry,
        connection::{Connection, Transport},
        counts::Counts,
        limit::{Used, Violation},
        usage::UserUsage,
        user::{Role, User},
    },
    proto::{
        self, Account, ConnectionTransport, GetMetricsResponse, LiveConnection, RateLimit, RateLimitViolation, UserRole,
    },
    service::servers::Condition,
};

impl From<User> for Account {
    fn from(user: User) -> Self {
        Self {
            id: user.id.to_string(),
            username: user.username,
            email: user.email,
            is_active: user.is_active,
            is_admin: user.role == Role::Admin,
            role: UserRole::from(user.role).into(),
            display_name: user.display_name,
            created_at: Some(user.created_at.into()),
            updated_at: Some(user.updated_at.into()),
        }
    }
}

impl TryFrom<UserRole> for Role {
    type Error = ();

    fn try_from(role: UserRole) -> Result<Self, ()> {
        match role {
            UserRole::Unspecified => Err(()),
            UserRole::User => Ok(Self::User),
            UserRole::Admin => Ok(Self::Admin),
            UserRole::Service => Ok(Self::Service),
        }
    }
}

impl From<Counts> for GetMetricsResponse {
    fn from(counts: Counts) -> Self {
        Self {
            user_count: counts.users,
            message_count: counts.messages,
            active_user_count: counts.active_users,
            admin_count: counts.admins,
            conversation_count: counts.conversations,
            session_count: counts.sessions,
            running_count: counts.running,
            connection_count: 0,
        }
    }
}

impl From<Used> for RateLimit {
    fn from(used: Used) -> Self {
        Self { limit: used.rate.limit.into(), window_seconds: used.rate.window.as_secs_f64(), used: used.count.into() }
    }
}

impl From<Violation> for RateLimitViolation {
    fn from(violation: Violation) -> Self {
        Self {
            identifier: violation.identifier,
            count: violation.count.into(),
            ttl: violation.ttl.as_secs().cast_signed(),
        }
    }
}

impl From<UserUsage> for proto::UserUsage {
    fn from(usage: UserUsage) -> Self {
        Self {
            user_id: usage.user_id.to_string(),
            day: usage.daily.day,
            model: usage.daily.model,
            input_tokens: usage.daily.usage.input_tokens,
            output_tokens: usage.daily.usage.output_tokens,
            message_count: usage.daily.message_count,
        }
    }
}

impl From<AuditEntry> for proto::AuditEntry {
    fn from(entry: AuditEntry) -> Self {
        Self {
            id: entry.id.to_string(),
            timestamp: Some(entry.created_at.into()),
            admin_id: entry.admin_id.to_string(),
            action: entry.action,
            target: entry.target.to_string(),
            result: entry.result,
            address: entry.address,
            request_id: entry.request_id,
            details: entry.details.into_iter().collect(),
        }
    }
}

impl From<Connection> for LiveConnection {
    fn from(connection: Connection) -> Self {
        let transport = match connection.transport {
            None => ConnectionTransport::Unspecified,
            Some(Transport::WebSocket) => ConnectionTransport::Websocket,
            Some(Transport::Grpc) => ConnectionTransport::Grpc,
        };
        Self {
            connection_id: connection.id.to_string(),
            user_id: connection.user_id.to_string(),
            node: connection.node,
            transport: transport.into(),
            connected_at: connection.since.map(Into::into),
            last_activity: Some(connection.last_activity.into()),
            health_score: connection.score,
            health_status: proto::HealthStatus::from(connection.status).into(),
        }
    }
}

/// The word for how a server does, and the milliseconds that it took to answer.
pub(super) fn word(condition: Condition) -> (String, Option<f64>) {
    let (word, latency) = match condition {
        Condition::Embedded(latency) => ("embedded", latency),
        Condition::Answers(latency) => ("ok", Some(latency)),
        Condition::Away => ("unavailable", None),
    };
    (word.to_owned(), latency.map(|latency| latency.as_secs_f64() * 1000.0))
}
