//! The REST side: every RPC that has a path, from `google.api.http` alone.

use std::{sync::Arc, time::Duration};

use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt as _};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tokio_util::sync::CancellationToken;
use warp::{
    path::FullPath,
    reply::{Reply as _, Response},
};

use crate::{
    client::Client,
    config::Settings,
    edge::RouteName,
    input::{self, Parts},
    limits,
    problem::Problem,
    record,
    refusal::{Reason, Refusal},
    route::Found,
    schema::{Answer, Body, Form, Route, Schema},
    sse,
    transcode::{Malformed, MessageId},
    visitor::Visitor,
};

const LAST_EVENT_ID: &str = "last-event-id";

/// Serves the routes of the contract.
#[derive(Clone)]
pub(crate) struct Rest {
    schema: Arc<Schema>,
    client: Client,
    max_body_bytes: usize,
    body_deadline: Duration,
    events: sse::Keeping,
}

/// A request's head.
pub(crate) struct Head {
    pub(crate) method: Method,
    pub(crate) path: FullPath,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) visitor: Visitor,
}

impl Rest {
    pub(crate) fn new(schema: Arc<Schema>, client: Client, settings: &Settings, stop: CancellationToken) -> Self {
        Self {
            schema,
            client,
            max_body_bytes: settings.max_body_bytes,
            body_deadline: settings.request_deadline,
            events: sse::Keeping::new(settings, stop),
        }
    }

    /// Answers whatever request no other filter took.
    pub(crate) async fn answer<S, B>(self, head: Head, body: S) -> Response
    where
        S: Stream<Item = Result<B, warp::Error>> + Send,
        B: Buf + Send,
    {
        match self.schema.router.find(&head.method, head.path.as_str()) {
            Found::Route(route, captures) => {
                let answered = async {
                    let body = self.body(&route.body, &head.headers, body).await?;
                    let cursor =
                        head.headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty());
                    let parts = Parts { captures, query: &head.query, cursor, body: &body };
                    let message = input::message(&self.schema.transcoder, route, &parts)?;
                    self.call(route, &head.visitor, message).await
                };
                let mut response = answered.await.into_response();
                response.extensions_mut().insert(RouteName(route.template.clone()));
                response
            }
            Found::OtherMethods(methods) => method_not_allowed(&methods),
            Found::Nothing => {
                Problem::from(Refusal::new(Reason::NotFound, "there is nothing at this path")).into_response()
            }
        }
    }

    async fn call(&self, route: &Route, visitor: &Visitor, message: Bytes) -> Result<Response, Problem> {
        match &route.answer {
            Answer::Events(events) => {
                let cursor = input::cursor(&route.method.input(), &message);
                let stream = self.client.server_streaming(&route.path, visitor, message).await?;
                let (metadata, stream, _) = stream.into_parts();
                let writer = sse::Writer::new(self.schema.transcoder.clone(), events.clone(), cursor);
                let mut response = sse::response(stream, writer, self.events.clone())?;
                limits::hand_on(&metadata, response.headers_mut());
                Ok(response)
            }
            Answer::One { status, form } => {
                let (metadata, answer, _) = self.client.unary(&route.path, visitor, message).await?.into_parts();
                let shown = self.show(*status, *form, &answer);
                let mut response = shown.map_err(|malformed| broken(route, malformed))?;
                limits::hand_on(&metadata, response.headers_mut());
                Ok(response)
            }
        }
    }

    fn show(&self, status: StatusCode, form: Form, answer: &[u8]) -> Result<Response, Malformed> {
        match form {
            Form::Message(message) => self.json(status, message, answer),
            Form::Field { number, message } => self.json(status, message, record::bytes(answer, number)?),
            Form::Raw { number } => raw(status, record::bytes(answer, number)?),
        }
    }

    fn json(&self, status: StatusCode, message: MessageId, wire: &[u8]) -> Result<Response, Malformed> {
        let mut body = Vec::with_capacity(2 * wire.len() + 64);
        self.schema.transcoder.to_json(message, wire, &mut body)?;
        Ok(content(status, HeaderValue::from_static("application/json"), body))
    }

    /// Reads the body where the route has one.
    async fn body<S, B>(&self, rule: &Body, headers: &HeaderMap, body: S) -> Result<Vec<u8>, Problem>
    where
        S: Stream<Item = Result<B, warp::Error>>,
        B: Buf,
    {
        if matches!(rule, Body::Nothing) {
            return Ok(Vec::new());
        }
        let read = tokio::time::timeout(self.body_deadline, collect(body, self.max_body_bytes));
        let body = read.await.unwrap_or_else(|_| {
            let late = Refusal::new(Reason::DeadlineExceeded, "the body took too long");
            Err(Problem::with_http(StatusCode::REQUEST_TIMEOUT, late))
        })?;
        if !body.is_empty() && !is_json(headers) {
            let refusal = Refusal::new(Reason::InvalidMessage, "the body's content type is not application/json");
            return Err(Problem::with_http(StatusCode::UNSUPPORTED_MEDIA_TYPE, refusal));
        }
        Ok(body)
    }
}

async fn collect<S, B>(body: S, limit: usize) -> Result<Vec<u8>, Problem>
where
    S: Stream<Item = Result<B, warp::Error>>,
    B: Buf,
{
    let mut body = std::pin::pin!(body);
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next().await {
        let mut chunk = chunk.map_err(|_| Refusal::new(Reason::InvalidMessage, "the body ended too early"))?;
        if bytes.len() + chunk.remaining() > limit {
            let message = format!("the body is larger than {limit} bytes");
            return Err(Refusal::new(Reason::MessageTooLarge, message).into());
        }
        while chunk.has_remaining() {
            let part = chunk.chunk();
            bytes.extend_from_slice(part);
            chunk.advance(part.len());
        }
    }
    Ok(bytes)
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(Ok(content_type)) = headers.get(header::CONTENT_TYPE).map(HeaderValue::to_str) else { return false };
    let essence = content_type.split_once(';').map_or(content_type, |(essence, _)| essence);
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// A `google.api.HttpBody` as it is.
fn raw(status: StatusCode, body: &[u8]) -> Result<Response, Malformed> {
    const CONTENT_TYPE: u32 = 1;
    const DATA: u32 = 2;
    let content_type = HeaderValue::from_bytes(record::bytes(body, CONTENT_TYPE)?)
        .unwrap_or_else(|_| HeaderValue::from_static("application/octet-stream"));
    Ok(content(status, content_type, record::bytes(body, DATA)?.to_vec()))
}

fn content(status: StatusCode, content_type: HeaderValue, body: Vec<u8>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

fn broken(route: &Route, malformed: Malformed) -> Problem {
    tracing::error!(rpc = route.method.full_name(), error = %malformed, "the core sent an unreadable message");
    Refusal::new(Reason::ProcessingError, "the server failed").into()
}

fn method_not_allowed(methods: &[&Method]) -> Response {
    let allow = methods.iter().map(|method| method.as_str()).collect::<Vec<_>>().join(", ");
    let refusal = Refusal::new(Reason::NotFound, format!("this path has {allow} only"));
    let mut response = Problem::with_http(StatusCode::METHOD_NOT_ALLOWED, refusal).into_response();
    if let Ok(allow) = HeaderValue::try_from(allow) {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}
