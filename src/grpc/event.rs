//! `EventService`, and published events as the contract writes them.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

use super::{
    edge::Called as _,
    json::{object, structure},
    parse,
};
use crate::{
    error::{Error, Result},
    model::publication::{Audience, Priority, Publication},
    proto::{
        self, EventAudience, EventPriority, EventSubscription, PublishEventRequest, PublishEventResponse,
        StreamedEvent, SubscribeEventsRequest, SubscribeEventsResponse, event_service_server::EventService,
        streamed_event::Event,
    },
    service::events::NewEvent,
    session::{
        events::{self, Followed},
        sessions::Sessions,
    },
};

/// Types in one subscription.
const MAX_TYPES: usize = 100;

/// Serves published events.
#[derive(Clone)]
pub struct EventApi {
    sessions: Sessions,
}

impl EventApi {
    /// Serves what these sessions see.
    pub fn new(sessions: Sessions) -> Self {
        Self { sessions }
    }
}

#[tonic::async_trait]
impl EventService for EventApi {
    async fn publish_event(
        &self,
        request: Request<PublishEventRequest>,
    ) -> Result<Response<PublishEventResponse>, Status> {
        let caller = request.caller()?;
        let new = new_event(request.into_inner())?;
        let published = self.sessions.events.publish(&caller, new).await?;
        let (event_id, delivered) = (published.id.to_string(), published.delivered as i64);
        Ok(Response::new(PublishEventResponse { event_id, delivered }))
    }

    type SubscribeEventsStream = Pin<Box<dyn Stream<Item = Result<SubscribeEventsResponse, Status>> + Send>>;

    async fn subscribe_events(
        &self,
        request: Request<SubscribeEventsRequest>,
    ) -> Result<Response<Self::SubscribeEventsStream>, Status> {
        let caller = request.caller()?;
        let names = request.get_ref().events.iter().flat_map(|names| names.split(',')).map(str::trim);
        let names: Vec<String> = names.filter(|name| !name.is_empty()).map(str::to_owned).collect();
        if names.is_empty() || names.len() > MAX_TYPES {
            return Err(Error::invalid("events", format!("must be 1 to {MAX_TYPES} types")).into());
        }
        let types = self.sessions.events.subscribable(&caller, names)?;
        let steps = events::follow(self.sessions.clone(), caller, types).enumerate();
        let responses = steps.map(|(number, step)| {
            let event = match step? {
                Followed::Begun(events) => Event::Subscribed(EventSubscription { events }),
                Followed::Event(publication) => Event::Published(publication.into()),
            };
            let offset = i64::try_from(number + 1).unwrap_or(i64::MAX);
            Ok(SubscribeEventsResponse { event: Some(StreamedEvent { offset, event: Some(event) }) })
        });
        Ok(Response::new(Box::pin(responses)))
    }
}

fn new_event(request: PublishEventRequest) -> Result<NewEvent> {
    let audience = match parse::choice("audience", request.audience)? {
        EventAudience::Unspecified => None,
        EventAudience::Subscribers => Some(Audience::Subscribers),
        EventAudience::Everyone => Some(Audience::Everyone),
    };
    let conversation = parse::optional_id("conversation_id", request.conversation_id.as_deref())?;
    let user = |(at, id): (usize, &String)| {
        id.parse().map_err(|_| Error::invalid(format!("user_ids[{at}]"), "must be a UUID"))
    };
    let users = request.user_ids.iter().enumerate().map(user).collect::<Result<Vec<_>>>()?;
    let users = (!users.is_empty()).then_some(Audience::Users(users));
    let mut named = [users, conversation.map(Audience::Conversation), audience].into_iter().flatten();
    let (Some(audience), None) = (named.next(), named.next()) else {
        return Err(Error::invalid("audience", "set exactly one of user_ids, conversation_id and audience"));
    };
    let ttl = request.ttl_seconds.map(|seconds| {
        u64::try_from(seconds).map(Duration::from_secs).map_err(|_| Error::invalid("ttl_seconds", "must be 1 to 86400"))
    });
    Ok(NewEvent {
        event_type: request.r#type,
        data: request.data.map(object).unwrap_or_default(),
        audience,
        priority: match parse::choice("priority", request.priority)? {
            EventPriority::Low => Priority::Low,
            EventPriority::Unspecified | EventPriority::Normal => Priority::Normal,
            EventPriority::High => Priority::High,
        },
        ttl: ttl.transpose()?,
        idempotency_key: request.idempotency_key.filter(|key| !key.is_empty()),
    })
}

impl From<Publication> for proto::PublishedEvent {
    fn from(publication: Publication) -> Self {
        Self { r#type: publication.event_type, data: Some(structure(Arc::unwrap_or_clone(publication.data))) }
    }
}
