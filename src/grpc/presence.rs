//! `PresenceService`, and presence as the contract writes it.

use std::pin::Pin;

use futures_util::{Stream, StreamExt as _, future};
use tonic::{Request, Response, Status};

use super::{edge::Called as _, frame, parse};
use crate::{
    error::{Error, Result},
    model::{
        conversation::MemberRole,
        ids::ConversationId,
        presence::{self, StatusChange, UserPresence},
    },
    proto::{
        self, GetPresenceRequest, GetPresenceResponse, PresenceStatus, SetTypingRequest, SetTypingResponse,
        UpdatePresenceRequest, UpdatePresenceResponse, WatchPresenceRequest, WatchPresenceResponse,
        presence_service_server::PresenceService,
    },
    session::{
        presence::{self as watching, Watched},
        sessions::Sessions,
    },
};

/// Serves presence.
#[derive(Clone)]
pub struct PresenceApi {
    sessions: Sessions,
}

impl PresenceApi {
    /// Serves what these sessions know.
    pub fn new(sessions: Sessions) -> Self {
        Self { sessions }
    }
}

#[tonic::async_trait]
impl PresenceService for PresenceApi {
    async fn get_presence(
        &self,
        request: Request<GetPresenceRequest>,
    ) -> Result<Response<GetPresenceResponse>, Status> {
        let caller = request.caller()?;
        let request = request.into_inner();
        let id = parse::id("conversation_id", &request.conversation_id)?;
        let page = parse::page(request.page_size, &request.page_token)?;
        let page = self.sessions.presences.list(&caller, id, &page).await?;
        Ok(Response::new(GetPresenceResponse {
            next_page_token: parse::next_page_token(page.next.as_deref()),
            presence: page.entries.into_iter().map(Into::into).collect(),
        }))
    }

    async fn update_presence(
        &self,
        request: Request<UpdatePresenceRequest>,
    ) -> Result<Response<UpdatePresenceResponse>, Status> {
        let caller = request.caller()?;
        let choice = status(request.get_ref().status)?;
        let presence = self.sessions.presences.choose(&caller, choice).await?;
        Ok(Response::new(UpdatePresenceResponse { presence: Some(presence.into()) }))
    }

    async fn set_typing(&self, request: Request<SetTypingRequest>) -> Result<Response<SetTypingResponse>, Status> {
        let caller = request.caller()?;
        let request = request.into_inner();
        let id = parse::id("conversation_id", &request.conversation_id)?;
        self.sessions.presences.set_typing(&caller, id, request.is_typing).await?;
        Ok(Response::new(SetTypingResponse {}))
    }

    type WatchPresenceStream = Pin<Box<dyn Stream<Item = Result<WatchPresenceResponse, Status>> + Send>>;

    async fn watch_presence(
        &self,
        request: Request<WatchPresenceRequest>,
    ) -> Result<Response<Self::WatchPresenceStream>, Status> {
        let caller = request.caller()?;
        let named = Some(request.get_ref().conversation_id.as_str());
        let conversation: Option<ConversationId> = parse::optional_id("conversation_id", named)?;
        if let Some(id) = conversation {
            self.sessions.access.conversation(&caller, id, MemberRole::Viewer).await?;
        }
        let steps = watching::watch(self.sessions.clone(), caller, conversation).enumerate();
        let responses = steps.filter_map(move |(number, step)| {
            let event = step.map(|step| event(step, conversation)).transpose();
            let offset = i64::try_from(number + 1).unwrap_or(i64::MAX);
            future::ready(event.map(|event| {
                let event = Some(proto::PresenceEvent { offset, event: Some(event?) });
                Ok(WatchPresenceResponse { event })
            }))
        });
        Ok(Response::new(Box::pin(responses)))
    }
}

/// Reads what somebody chooses to be.
pub(super) fn status(number: i32) -> Result<presence::Status> {
    Ok(match parse::choice("status", number)? {
        PresenceStatus::Unspecified => return Err(Error::invalid("status", "must be online, away, busy or offline")),
        PresenceStatus::Online => presence::Status::Online,
        PresenceStatus::Away => presence::Status::Away,
        PresenceStatus::Busy => presence::Status::Busy,
        PresenceStatus::Offline => presence::Status::Offline,
    })
}

/// A step of a watch; `None` for what is not about presence.
fn event(step: Watched, conversation: Option<ConversationId>) -> Option<proto::presence_event::Event> {
    use proto::presence_event::Event;
    match step {
        Watched::Begun => {
            let conversation_id = conversation.map(|id| id.to_string());
            Some(Event::Watching(proto::PresenceWatch { conversation_id }))
        }
        Watched::Status(change) => Some(Event::UserStatusChanged(change.into())),
        Watched::Happening(draft) => frame::presence_event(draft),
    }
}

impl From<presence::Status> for PresenceStatus {
    fn from(status: presence::Status) -> Self {
        match status {
            presence::Status::Online => Self::Online,
            presence::Status::Away => Self::Away,
            presence::Status::Busy => Self::Busy,
            presence::Status::Offline => Self::Offline,
        }
    }
}

impl From<UserPresence> for proto::UserPresence {
    fn from(presence: UserPresence) -> Self {
        Self {
            user_id: presence.user_id.to_string(),
            username: presence.username,
            status: PresenceStatus::from(presence.status).into(),
            last_seen: presence.last_seen.map(Into::into),
        }
    }
}

impl From<StatusChange> for proto::UserStatusChanged {
    fn from(change: StatusChange) -> Self {
        Self {
            user_id: change.user_id.to_string(),
            status: PresenceStatus::from(change.status).into(),
            last_seen: change.last_seen.map(Into::into),
        }
    }
}
