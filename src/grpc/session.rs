//! SessionService: live sessions.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, future, stream};
use prost::Message as _;
use tonic::{Code, Request, Response, Status, Streaming, metadata::MetadataMap};

use super::{edge::Called as _, frame, parse, presence};
use crate::{
    error::{Error, Result},
    model::{
        connection::{Connection, HealthStatus, Transport},
        ids::ConversationId,
        page,
        topic::{EpochTag, Topic},
    },
    proto::{self, client_frame::Payload, raw::session_service_server::SessionService},
    service::messages::Sending,
    session::{
        command::{Answer, Command, Outgoing, Wanted},
        connection::{self, Frame, Opening},
        credit::Report,
        sessions::Sessions,
    },
};

/// Bytes of a request at most besides those of its frame.
pub const FRAMING: usize = 64;
/// Where a caller may name the conversation to join on connecting.
const SESSION_ID: &str = "colloquy-session-id";
/// Where the link may say how many bytes it takes at first.
const CREDIT: &str = "colloquy-credit";
/// Where the link may say what carries the session.
const TRANSPORT: &str = "colloquy-transport";
/// What it says of a WebSocket.
const WEBSOCKET: &str = "websocket";
/// Failed sends that one report may tell.
const MAX_FAILED_SENDS: i32 = 100;
/// What a link may claim to take for a round trip at most: a longer one says no more.
const MAX_ROUND_TRIP: Duration = Duration::from_secs(3600);
/// Topics in one frame at most.
const MAX_TOPICS: usize = 100;
/// Characters of an id that the viewer makes up.
const MAX_ID: usize = 128;

/// Serves live sessions.
#[derive(Clone)]
pub struct SessionApi {
    sessions: Arc<Sessions>,
}

impl SessionApi {
    /// Serves sessions made of these parts.
    pub fn new(sessions: Sessions) -> Self {
        Self { sessions: Arc::new(sessions) }
    }
}

#[tonic::async_trait]
impl SessionService for SessionApi {
    type ConnectStream = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

    async fn connect(
        &self,
        request: Request<Streaming<proto::ConnectRequest>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let caller = request.caller()?;
        // What is no text is no id, and refused as one.
        let named = request.metadata().get(SESSION_ID).map(|value| value.to_str().unwrap_or("not text"));
        let named: Option<ConversationId> = parse::optional_id("session_id", named)?;
        let (credit, transport) = (credit(request.metadata())?, transport(request.metadata()));
        let opening = Opening { conversation: named, credit, transport };
        let clock = self.sessions.clock;
        let entrance = self.sessions.enter(&caller, &request.origin()).await?;
        let broken = Arc::new(OnceLock::new());
        let requests = requests(request.into_inner(), broken.clone());
        let analytics = self.sessions.analytics.clone();
        let write = move |outgoing| {
            if let Outgoing::Answer(_, Answer::Refused(error)) = &outgoing {
                analytics.refuse(error.reason());
            }
            frame::encode(outgoing, clock)
        };
        let outgoing = connection::connect(self.sessions.clone(), caller, entrance, opening, requests, write);
        // A session ends with its requests: with what was wrong with the last one.
        let ended = stream::iter([broken]).filter_map(|broken| future::ready(broken.get().cloned().map(Err)));
        Ok(Response::new(Box::pin(outgoing.map_err(Status::from).chain(ended))))
    }

    async fn get_connection_health(
        &self,
        request: Request<proto::GetConnectionHealthRequest>,
    ) -> Result<Response<proto::GetConnectionHealthResponse>, Status> {
        let caller = request.caller()?;
        let connections = self.sessions.connections_of(caller.user_id).await;
        let connections = connections.into_iter().map(Into::into).collect();
        Ok(Response::new(proto::GetConnectionHealthResponse { connections }))
    }
}

impl From<Connection> for proto::ConnectionHealth {
    fn from(connection: Connection) -> Self {
        let status = proto::HealthStatus::from(connection.status);
        Self {
            connection_id: connection.id.to_string(),
            user_id: connection.user_id.to_string(),
            health_score: connection.score,
            status: status.into(),
            latency_ms: connection.latency.map(|latency| latency.as_secs_f64() * 1000.0),
            error_rate: connection.error_rate,
            last_activity: Some(connection.last_activity.into()),
        }
    }
}

impl From<HealthStatus> for proto::HealthStatus {
    fn from(status: HealthStatus) -> Self {
        match status {
            HealthStatus::Healthy => Self::Healthy,
            HealthStatus::Degraded => Self::Degraded,
            HealthStatus::Unhealthy => Self::Unhealthy,
        }
    }
}

/// What comes from the viewer's side; a request that cannot be read is the last, and leaves its error in `broken`.
fn requests(
    requests: Streaming<proto::ConnectRequest>,
    broken: Arc<OnceLock<Status>>,
) -> impl Stream<Item = connection::Request> + Send {
    let readable = requests.scan(broken, |broken, request| {
        future::ready(request.map_err(|status| broken.get_or_init(|| unreadable(status)).clone()).ok())
    });
    readable.flat_map(|request| {
        let report = request.report.map(|report| connection::Request::Report(reported(&report)));
        let frame = request.frame.map(|frame| connection::Request::Frame(read(frame)));
        stream::iter([report, frame].into_iter().flatten())
    })
}

/// Bytes that the link takes at first, when it says so.
fn credit(metadata: &MetadataMap) -> Result<Option<u64>> {
    let Some(text) = metadata.get(CREDIT) else { return Ok(None) };
    let credit = text.to_str().ok().and_then(|text| text.parse().ok());
    credit.map(Some).ok_or_else(|| Error::invalid(CREDIT, "must be a number of bytes"))
}

/// What carries the session: a native one does not say.
fn transport(metadata: &MetadataMap) -> Transport {
    let is_websocket = metadata.get(TRANSPORT).is_some_and(|said| said == WEBSOCKET);
    if is_websocket { Transport::WebSocket } else { Transport::Grpc }
}

/// A report, of which what makes no sense says nothing.
fn reported(report: &proto::LinkReport) -> Report {
    Report {
        credit: report.credit.try_into().unwrap_or(0),
        round_trip: report.round_trip.and_then(|it| it.try_into().ok()).map(|it: Duration| it.min(MAX_ROUND_TRIP)),
        failed_sends: report.failed_sends.clamp(0, MAX_FAILED_SENDS) as u32,
    }
}

/// The codec's complaint in the contract's words.
fn unreadable(status: Status) -> Status {
    match status.code() {
        Code::OutOfRange => Error::TooLarge.into(),
        Code::InvalidArgument | Code::Internal => Error::Malformed.into(),
        _ => status,
    }
}

/// The id by which a frame is answered: of one that is too long, as much as an id may have.
fn told(id: &str) -> String {
    id.chars().take(MAX_ID).collect()
}

fn read(frame: proto::ClientFrame) -> Frame {
    Frame { id: told(&frame.id), bytes: frame.encoded_len(), command: command(frame) }
}

fn command(frame: proto::ClientFrame) -> Result<Command> {
    if frame.id.chars().count() > MAX_ID {
        return Err(Error::invalid("id", format!("must have at most {MAX_ID} characters")));
    }
    match frame.payload.ok_or_else(|| Error::invalid("payload", "the frame says nothing"))? {
        Payload::Ping(ping) => Ok(Command::Ping { ping_id: short("pingId", ping.ping_id)? }),
        Payload::Heartbeat(heartbeat) => {
            Ok(Command::Heartbeat { client_timestamp: short("client_timestamp", heartbeat.client_timestamp)? })
        }
        Payload::Subscribe(subscribe) => wanted(subscribe.events, subscribe.topics).map(Command::Subscribe),
        Payload::Unsubscribe(unsubscribe) => wanted(unsubscribe.events, unsubscribe.topics).map(Command::Unsubscribe),
        Payload::JoinSession(join) => Ok(Command::Join(parse::id("session_id", &join.session_id)?)),
        Payload::LeaveSession(leave) => Ok(Command::Leave(parse::id("session_id", &leave.session_id)?)),
        Payload::Message(post) => Ok(Command::Send {
            conversation_id: parse::optional_id("conversation_id", post.conversation_id.as_deref())?,
            sending: Sending {
                content: post.content,
                client_message_id: post.client_message_id,
                reply: post.reply.unwrap_or(true),
                model: post.model,
            },
        }),
        Payload::Stop(stop) => Ok(Command::Stop(parse::id("message_id", &stop.message_id)?)),
        Payload::Regenerate(regenerate) => Ok(Command::Regenerate {
            message_id: parse::id("message_id", &regenerate.message_id)?,
            model: regenerate.model,
        }),
        Payload::Read(read) => {
            Ok(Command::Read { conversation_id: parse::id("conversation_id", &read.conversation_id)?, seq: read.seq })
        }
        Payload::History(history) => Ok(Command::History {
            conversation_id: parse::id("conversation_id", &history.conversation_id)?,
            window: parse::window(history.before_seq, history.after_seq)?,
            limit: history.limit.map_or(Ok(page::DEFAULT_SIZE), limit)?,
        }),
        Payload::AuthRefresh(refresh) => Ok(Command::RefreshAuth { token: refresh.token }),
        Payload::Typing(typing) => Ok(Command::Type {
            conversation_id: parse::id("conversation_id", &typing.conversation_id)?,
            is_typing: typing.is_typing,
        }),
        Payload::Presence(choice) => Ok(Command::Choose(presence::status(choice.status)?)),
    }
}

fn wanted(events: Vec<String>, topics: Vec<proto::TopicPosition>) -> Result<Vec<Wanted>> {
    if events.len() + topics.len() > MAX_TOPICS {
        return Err(Error::invalid("topics", format!("must be at most {MAX_TOPICS}, events included")));
    }
    let events = events.into_iter().map(|name| {
        let topic = Some(Topic::Event(name.clone()));
        Ok(Wanted { topic, name, since: None, is_owed: false })
    });
    let topics = topics.into_iter().enumerate().map(|(at, position)| {
        let topic = position.topic.parse().ok();
        let Some(offset) = position.offset else {
            return Ok(Wanted { topic, name: position.topic, since: None, is_owed: false });
        };
        let (offset, tag) = place(at, offset, position.epoch.as_deref())?;
        let is_owed = tag.and_then(|tag| tag.owed_at).is_some_and(|owed_at| offset <= owed_at);
        Ok(Wanted { topic, name: position.topic, since: Some((tag.map(|tag| tag.epoch), offset)), is_owed })
    });
    events.chain(topics).collect()
}

fn place(at: usize, offset: i64, epoch: Option<&str>) -> Result<(u64, Option<EpochTag>)> {
    let offset =
        u64::try_from(offset).map_err(|_| Error::invalid(format!("topics[{at}].offset"), "must not be negative"))?;
    let epoch = epoch.map(str::parse).transpose();
    let epoch = epoch.map_err(|_| Error::invalid(format!("topics[{at}].epoch"), "is not an epoch of this server"))?;
    Ok((offset, epoch))
}

fn short(field: &'static str, text: Option<String>) -> Result<Option<String>> {
    match text {
        Some(text) if text.chars().count() > MAX_ID => {
            Err(Error::invalid(field, format!("must have at most {MAX_ID} characters")))
        }
        text => Ok(text),
    }
}

fn limit(limit: i32) -> Result<u16> {
    u16::try_from(limit)
        .ok()
        .filter(|limit| (1..=page::MAX_SIZE).contains(limit))
        .ok_or_else(|| Error::invalid("limit", format!("must be 1 to {}", page::MAX_SIZE)))
}
