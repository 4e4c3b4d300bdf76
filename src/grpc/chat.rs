//! ChatService: sending, streaming, resuming and stopping answers.

use std::{pin::Pin, time::Duration};

use futures_util::{Stream, StreamExt as _, future};
use tonic::{Request, Response, Status};

use super::{edge::Called as _, frame, parse};
use crate::{
    error::{Error, Result},
    llm::Models,
    model::{
        caller::Caller,
        conversation::MemberRole,
        cursor::Cursor,
        ids::{ConversationId, MessageId},
        topic::Topic,
    },
    proto::{self, chat_service_server::ChatService},
    service::messages::Sending,
    session::{
        follow::{self, Coming, Following},
        seat::Seat,
        sessions::Sessions,
    },
};

/// Serves chat.
#[derive(Clone)]
pub struct ChatApi {
    sessions: Sessions,
    models: Models,
    wait: Duration,
}

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl ChatApi {
    /// Serves chat with these models; whoever waits for an answer does so for `wait` at most.
    pub fn new(sessions: Sessions, models: Models, wait: Duration) -> Self {
        Self { sessions, models, wait }
    }

    /// The events of one answer, from a place on. The seat is taken before: the end of a right from then on reaches it.
    async fn follow(
        &self,
        caller: &Caller,
        seat: Seat,
        message_id: MessageId,
        after: Cursor,
        coming: Coming,
    ) -> Result<impl Stream<Item = Result<proto::ChatEvent, Status>> + Send + use<>> {
        let membership = self.sessions.access.message(caller, message_id, MemberRole::Viewer).await?;
        let following = Following { membership, message_id, after, coming };
        let Sessions { runs, deliveries, lifecycle, .. } = &self.sessions;
        let steps = follow::follow(seat, runs.clone(), deliveries.clone(), lifecycle.clone(), following);
        Ok(steps.filter_map(|step| {
            future::ready(match step {
                Ok((place, draft)) => frame::chat_event(place, draft).map(Ok),
                Err(error) => Some(Err(error.into())),
            })
        }))
    }
}

#[tonic::async_trait]
impl ChatService for ChatApi {
    async fn send_message(
        &self,
        request: Request<proto::SendMessageRequest>,
    ) -> Result<Response<proto::SendMessageResponse>, Status> {
        let caller = request.caller()?;
        let request = request.into_inner();
        let conversation_id = parse::id("conversation_id", &request.conversation_id)?;
        let sending = Sending {
            content: request.content,
            client_message_id: request.client_message_id,
            reply: request.reply.unwrap_or(true),
            model: request.model,
        };
        let messages = &self.sessions.messages;
        let mut sent = messages.send(&caller, conversation_id, sending).await?;
        if let (true, Some(reply)) = (request.wait, &sent.reply) {
            let reply = messages.ended(&caller, reply.id, self.wait).await?;
            self.sessions.deliveries.note_message(caller.user_id, &reply);
            sent.reply = Some(reply);
        }
        self.sessions.deliveries.note_message(caller.user_id, &sent.message);
        let (message, reply) = (Some(sent.message.into()), sent.reply.map(Into::into));
        Ok(Response::new(proto::SendMessageResponse { message, reply }))
    }

    type StreamChatStream = Responses<proto::StreamChatResponse>;

    async fn stream_chat(
        &self,
        request: Request<proto::StreamChatRequest>,
    ) -> Result<Response<Self::StreamChatStream>, Status> {
        let caller = request.caller()?;
        let request = request.into_inner();
        let named: Option<ConversationId> = parse::optional_id("conversation_id", request.conversation_id.as_deref())?;
        let sending = Sending {
            content: request.message,
            client_message_id: request.client_message_id,
            reply: true,
            model: request.model,
        };
        let messages = &self.sessions.messages;
        let conversation_id = match named {
            Some(id) => id,
            None => messages.open_conversation(&caller, &sending).await.map_err(as_message)?,
        };
        // Joined before it is sent: the sender sees the answer from its first piece.
        self.sessions.access.conversation(&caller, conversation_id, MemberRole::Member).await?;
        let mut seat = self.sessions.seat(&caller);
        seat.join(&Topic::Conversation(conversation_id), None, 0).await;
        let sent = messages.send(&caller, conversation_id, sending).await.map_err(as_message)?;
        let reply = sent.reply.ok_or(Error::FailedPrecondition("this message was sent before without an answer"))?;
        let (id, is_repeat) = (reply.id, sent.is_repeat);
        let coming = if is_repeat { Coming::Again } else { Coming::Ahead(Box::new(reply)) };
        let events = self.follow(&caller, seat, id, Cursor::default(), coming).await?;
        let responses = events.map(|event| Ok(proto::StreamChatResponse { event: Some(event?) }));
        Ok(Response::new(Box::pin(responses)))
    }

    type ResumeChatStream = Responses<proto::ResumeChatResponse>;

    async fn resume_chat(
        &self,
        request: Request<proto::ResumeChatRequest>,
    ) -> Result<Response<Self::ResumeChatStream>, Status> {
        let caller = request.caller()?;
        let request = request.into_inner();
        let message_id = parse::id("message_id", &request.message_id)?;
        let after = u64::try_from(request.after).map_err(|_| Error::invalid("after", "must not be negative"))?;
        let seat = self.sessions.seat(&caller);
        let events = self.follow(&caller, seat, message_id, Cursor::from_offset(after), Coming::Back).await?;
        let responses = events.map(|event| Ok(proto::ResumeChatResponse { event: Some(event?) }));
        Ok(Response::new(Box::pin(responses)))
    }

    async fn stop_run(
        &self,
        request: Request<proto::StopRunRequest>,
    ) -> Result<Response<proto::StopRunResponse>, Status> {
        let caller = request.caller()?;
        let request = request.into_inner();
        let conversation_id = parse::id("conversation_id", &request.conversation_id)?;
        let message_id = parse::id("message_id", &request.message_id)?;
        let message = self.sessions.messages.stop(&caller, conversation_id, message_id).await?;
        Ok(Response::new(proto::StopRunResponse { message: Some(message.into()) }))
    }

    async fn regenerate_message(
        &self,
        request: Request<proto::RegenerateMessageRequest>,
    ) -> Result<Response<proto::RegenerateMessageResponse>, Status> {
        let caller = request.caller()?;
        let request = request.into_inner();
        let conversation_id = parse::id("conversation_id", &request.conversation_id)?;
        let message_id = parse::id("message_id", &request.message_id)?;
        self.sessions.access.conversation(&caller, conversation_id, MemberRole::Member).await?;
        let membership = self.sessions.access.message(&caller, message_id, MemberRole::Member).await?;
        if membership.conversation_id != conversation_id {
            return Err(Error::NotFound("message").into());
        }
        let message = self.sessions.messages.regenerate(&caller, message_id, request.model).await?;
        Ok(Response::new(proto::RegenerateMessageResponse { message: Some(message.into()) }))
    }

    async fn list_models(
        &self,
        _: Request<proto::ListModelsRequest>,
    ) -> Result<Response<proto::ListModelsResponse>, Status> {
        let default = self.models.default_model();
        let listed = self.models.list().into_iter();
        let mut models: Vec<proto::Model> = listed
            .map(|model| proto::Model { is_default: model.id == default, id: model.id, provider: model.provider })
            .collect();
        models.sort_by_key(|model| !model.is_default);
        Ok(Response::new(proto::ListModelsResponse { models }))
    }
}

/// StreamChat calls the content of the message `message`.
fn as_message(error: Error) -> Error {
    error.with_field("content", "message")
}
