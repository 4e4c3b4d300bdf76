//! What admins are asked to do, and what they are answered.

use colloquy::proto::{
    ActivateUserRequest, BroadcastRequest, CloseConnectionRequest, CreateServiceAccountRequest, DeactivateUserRequest,
    DeleteServiceAccountRequest, DemoteUserRequest, PromoteUserRequest, ResetRateLimitsRequest,
};
use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _};
use tonic::{Request, Status};

use crate::harness::Actor;

pub(super) const PROMOTE: &str = "user.promote";
pub(super) const DEMOTE: &str = "user.demote";
pub(super) const DEACTIVATE: &str = "user.deactivate";
pub(super) const ACTIVATE: &str = "user.activate";
pub(super) const RESET: &str = "rate_limits.reset";
pub(super) const CLOSE: &str = "connection.close";
pub(super) const CREATE: &str = "service_account.create";
pub(super) const DELETE: &str = "service_account.delete";
pub(super) const BROADCAST: &str = "broadcast";

/// Names that services are given, so few that some are taken; the last is none.
const NAMES: [&str; 4] = ["billing", "mailer", "crawler", "not a name"];
/// Levels of broadcasts; the last is none.
const LEVELS: [&str; 3] = ["info", "warning", "loud"];

/// An act: what is done, and on whom, with what name or at what level.
#[derive(Clone, Debug)]
pub(super) struct Act {
    pub(super) action: &'static str,
    subject: String,
}

/// An act that was done.
pub(super) struct Done {
    /// What the log names.
    pub(super) target: String,
    /// Of a service account that was made.
    pub(super) api_key: Option<String>,
}

impl Act {
    /// Any act, on one of these users, services or connections where it is on one.
    pub(super) fn random(random: &mut StdRng, users: &[String], services: &[String], connections: &[String]) -> Self {
        const ACTIONS: [&str; 13] = [
            PROMOTE, DEMOTE, DEMOTE, DEACTIVATE, ACTIVATE, ACTIVATE, RESET, CLOSE, CLOSE, CREATE, CREATE, DELETE,
            BROADCAST,
        ];
        let action = ACTIONS[random.random_range(0..ACTIONS.len())];
        let subject = match action {
            CREATE => (*NAMES.choose(random).unwrap()).to_owned(),
            BROADCAST => (*LEVELS.choose(random).unwrap()).to_owned(),
            DELETE => services.choose(random).unwrap().clone(),
            CLOSE => connections.choose(random).unwrap().clone(),
            _ => users.choose(random).unwrap().clone(),
        };
        Self { action, subject }
    }

    /// What the log names, where that is known before it is done.
    pub(super) fn target(&self) -> Option<String> {
        match self.action {
            CREATE | BROADCAST => None,
            DELETE => Some(format!("service_account:{}", self.subject)),
            CLOSE => Some(format!("connection:{}", self.subject)),
            _ => Some(format!("user:{}", self.subject)),
        }
    }

    /// Asks for it, once. What is broadcast is the request's id.
    pub(super) async fn ask(&self, actor: &Actor, request_id: &str) -> Result<Done, Status> {
        let (mut admin, user_id) = (actor.admin(), self.subject.clone());
        let done = |target| Done { target, api_key: None };
        let known = self.target().unwrap_or_default();
        match self.action {
            PROMOTE => admin.promote_user(named(PromoteUserRequest { user_id }, request_id)).await.map(|_| done(known)),
            DEMOTE => admin.demote_user(named(DemoteUserRequest { user_id }, request_id)).await.map(|_| done(known)),
            DEACTIVATE => {
                admin.deactivate_user(named(DeactivateUserRequest { user_id }, request_id)).await.map(|_| done(known))
            }
            ACTIVATE => {
                admin.activate_user(named(ActivateUserRequest { user_id }, request_id)).await.map(|_| done(known))
            }
            RESET => {
                let request = ResetRateLimitsRequest { user_id };
                admin.reset_rate_limits(named(request, request_id)).await.map(|_| done(known))
            }
            CLOSE => {
                let request = CloseConnectionRequest { connection_id: self.subject.clone() };
                admin.close_connection(named(request, request_id)).await.map(|_| done(known))
            }
            CREATE => {
                let scopes = vec!["users:read".to_owned()];
                let request = CreateServiceAccountRequest { name: self.subject.clone(), scopes };
                let made = admin.create_service_account(named(request, request_id)).await?.into_inner();
                let target = format!("service_account:{}", made.service_account.unwrap().id);
                Ok(Done { target, api_key: Some(made.api_key) })
            }
            DELETE => {
                let request = DeleteServiceAccountRequest { service_account_id: self.subject.clone() };
                admin.delete_service_account(named(request, request_id)).await.map(|_| done(known))
            }
            _ => {
                let request = BroadcastRequest { message: request_id.to_owned(), level: self.subject.clone() };
                let told = admin.broadcast(named(request, request_id)).await?.into_inner();
                Ok(done(format!("event:{}", told.event_id)))
            }
        }
    }
}

fn named<T>(message: T, request_id: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-request-id", request_id.parse().unwrap());
    request
}
