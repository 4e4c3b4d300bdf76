//! Calls the core: any RPC, by its path, on encoded messages.

use std::{error::Error, iter, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt as _, Stream, future::BoxFuture};
use http::{Extensions, HeaderValue, uri::PathAndQuery};
use tonic::{
    Request, Response, Status, Streaming, TimeoutExpired,
    client::Grpc,
    metadata::{MetadataMap, MetadataValue},
};

use crate::{
    codec::Raw,
    config::Settings,
    refusal::{Reason, Refusal},
    upstream::Upstream,
    visitor::Visitor,
};

/// Proves to the core that a bridge it knows reports the client's address.
const BRIDGE_KEY: &str = "colloquy-bridge-key";
/// The conversation that a socket's address named.
const SESSION_ID: &str = "colloquy-session-id";
/// Bytes of responses that a session's link takes at first.
const CREDIT: &str = "colloquy-credit";

/// What carries a session.
const TRANSPORT: &str = "colloquy-transport";

/// A client of every service of the contract.
#[derive(Clone)]
pub(crate) struct Client {
    upstream: Upstream,
    bridge_key: Option<HeaderValue>,
    deadline: Duration,
    max_response_bytes: usize,
}

impl Client {
    pub(crate) fn new(upstream: Upstream, settings: &Settings) -> Self {
        Self {
            upstream,
            bridge_key: settings.bridge_key.clone().map(|mut key| {
                key.set_sensitive(true);
                key
            }),
            deadline: settings.request_deadline,
            max_response_bytes: settings.max_response_bytes,
        }
    }

    /// One message for one message.
    pub(crate) async fn unary(
        &self,
        path: &PathAndQuery,
        visitor: &Visitor,
        message: Bytes,
    ) -> Result<Response<Bytes>, Status> {
        let mut request = self.request(visitor, message);
        request.set_timeout(self.deadline);
        let call = async {
            let mut grpc = self.ready().await?;
            grpc.unary(request, path.clone(), Raw).await
        };
        self.within_deadline(call.boxed()).await
    }

    /// One message for a stream of them. The deadline covers the stream's opening only.
    pub(crate) async fn server_streaming(
        &self,
        path: &PathAndQuery,
        visitor: &Visitor,
        message: Bytes,
    ) -> Result<Response<Streaming<Bytes>>, Status> {
        let request = self.request(visitor, message);
        let call = async {
            let mut grpc = self.ready().await?;
            grpc.server_streaming(request, path.clone(), Raw).await
        };
        self.within_deadline(call.boxed()).await
    }

    /// A stream for a stream: a session, in the conversation named or in none. The core sends so many bytes before it is told
    /// that they were taken.
    pub(crate) async fn session<S>(
        &self,
        path: &PathAndQuery,
        visitor: &Visitor,
        conversation: Option<&str>,
        credit: usize,
        frames: S,
    ) -> Result<Streaming<Bytes>, Status>
    where
        S: Stream<Item = Bytes> + Send + 'static,
    {
        let mut request = self.request(visitor, frames);
        request.metadata_mut().insert(CREDIT, credit.into());
        request.metadata_mut().insert(TRANSPORT, MetadataValue::from_static("websocket"));
        if let Some(id) = conversation {
            let id = MetadataValue::try_from(id).map_err(|_| Refusal::field("session_id", "is not an id"))?;
            request.metadata_mut().insert(SESSION_ID, id);
        }
        let call = async {
            let mut grpc = self.ready().await?;
            let response = grpc.streaming(request, path.clone(), Raw).await?;
            Ok(response.into_inner())
        };
        self.within_deadline(call.boxed()).await
    }

    async fn ready(&self) -> Result<Grpc<Upstream>, Status> {
        let mut grpc = Grpc::new(self.upstream.clone()).max_decoding_message_size(self.max_response_bytes);
        grpc.ready().await?;
        Ok(grpc)
    }

    fn request<M>(&self, visitor: &Visitor, message: M) -> Request<M> {
        let mut headers = visitor.metadata().into_headers();
        if let Some(key) = &self.bridge_key {
            headers.insert(BRIDGE_KEY, key.clone());
        }
        Request::from_parts(MetadataMap::from_headers(headers), Extensions::new(), message)
    }

    /// A core in the same process enforces no `grpc-timeout`, and a lost one cannot. Calls are boxed: their futures are large,
    /// and live inside those of handlers and sockets.
    async fn within_deadline<T>(&self, call: BoxFuture<'_, Result<T, Status>>) -> Result<T, Status> {
        match tokio::time::timeout(self.deadline, call).await {
            Ok(result) => result.map_err(settle),
            Err(_) => Err(Refusal::new(Reason::DeadlineExceeded, "the call took too long").into()),
        }
    }
}

/// What a client may read of a failed call.
///
/// A status with a source was not sent by the core: the transport on this side made it, and its text speaks of addresses and
/// sockets. The log gets it, the client a sentence.
pub(crate) fn settle(status: Status) -> Status {
    let Some(cause) = status.source() else { return status };
    if causes(cause).any(|cause| cause.is::<TimeoutExpired>()) {
        return Refusal::new(Reason::DeadlineExceeded, "the call took too long").into();
    }
    tracing::warn!(error = cause, "the core does not answer");
    Refusal::new(Reason::Unavailable, "the service does not answer, try again later").into()
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |&error| error.source())
}
