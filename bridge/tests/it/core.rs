//! A core whose every call is handed to the test, which reads and answers it in JSON.

use std::sync::{Arc, LazyLock};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use colloquy_bridge::{Upstream, local, transcode::Transcoder};
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use http_body_util::{BodyStream, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http2,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use prost_reflect::{DescriptorPool, MethodDescriptor};
use serde_json::Value;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, body::Body};
use tower::{ServiceExt as _, service_fn};

use super::harness::soon;

pub(crate) static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin")).as_slice()).unwrap()
});
static TRANSCODER: LazyLock<Transcoder> = LazyLock::new(|| Transcoder::new(&POOL));

/// The core's side of the bridge.
pub(crate) struct Core {
    calls: mpsc::UnboundedReceiver<Call>,
}

/// A call that waits for an answer.
pub(crate) struct Call {
    /// `Service/Method`, without the package.
    pub(crate) rpc: String,
    pub(crate) metadata: HeaderMap,
    method: Option<MethodDescriptor>,
    requests: BodyStream<Body>,
    buffer: BytesMut,
    answer: oneshot::Sender<Response<Body>>,
}

/// The answer to a call, and what the caller still sends.
pub(crate) struct Answering {
    method: MethodDescriptor,
    frames: Option<mpsc::Sender<Result<Frame<Bytes>, Status>>>,
    requests: BodyStream<Body>,
    buffer: BytesMut,
}

/// A core, and the way to it.
pub(crate) fn core() -> (Core, Upstream) {
    let (sender, calls) = mpsc::unbounded_channel();
    let sender = Arc::new(sender);
    let upstream = local(service_fn(move |request: Request<Body>| {
        let sender = sender.clone();
        async move {
            let (answer, answered) = oneshot::channel();
            let (head, body) = request.into_parts();
            let rpc = head.uri.path().trim_start_matches("/colloquy.v1.").to_owned();
            let method = method(head.uri.path());
            let requests = BodyStream::new(body);
            let call = Call { rpc, metadata: head.headers, method, requests, buffer: BytesMut::new(), answer };
            let _ = sender.send(call);
            Ok::<_, Status>(answered.await.unwrap_or_else(|_| Status::unavailable("nobody plays the core").into_http()))
        }
    }));
    (Core { calls }, upstream)
}

/// A core over HTTP/2, which dies with this.
pub(crate) struct Served {
    pub(crate) address: Uri,
    leave: CancellationToken,
    _serving: JoinSet<()>,
}

/// Serves a core at an address of its own.
pub(crate) async fn served(upstream: Upstream) -> Served {
    served_on(TcpListener::bind("127.0.0.1:0").await.unwrap(), upstream)
}

/// Serves a core at the address of this listener.
pub(crate) fn served_on(listener: TcpListener, upstream: Upstream) -> Served {
    let address = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let leave = CancellationToken::new();
    let mut serving = JoinSet::new();
    serving.spawn(accept(listener, upstream, leave.clone()));
    Served { address, leave, _serving: serving }
}

impl Served {
    /// Takes nothing new on, as a core does that is asked to end; what is underway goes on.
    pub(crate) fn leave(&self) {
        self.leave.cancel();
    }
}

async fn accept(listener: TcpListener, upstream: Upstream, leave: CancellationToken) {
    let mut connections = JoinSet::new();
    while let Some(accepted) = leave.run_until_cancelled(listener.accept()).await {
        let (stream, _) = accepted.unwrap();
        let service =
            TowerToHyperService::new(upstream.clone().map_request(|request: Request<Incoming>| request.map(Body::new)));
        let connection = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
        let leave = leave.clone();
        connections.spawn(async move {
            let mut connection = std::pin::pin!(connection);
            tokio::select! {
                _ = connection.as_mut() => return,
                () = leave.cancelled() => connection.as_mut().graceful_shutdown(),
            }
            let _ = connection.await;
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

impl Core {
    /// The next call.
    pub(crate) async fn call(&mut self) -> Call {
        soon(self.calls.recv()).await.expect("the bridge is there")
    }

    /// The next call, which has to be this one.
    pub(crate) async fn expect(&mut self, rpc: &str) -> Call {
        let call = self.call().await;
        assert_eq!(call.rpc, rpc);
        call
    }

    /// Opens the session that is asked for next; also the credit that it begins with.
    pub(crate) async fn session(&mut self) -> (Answering, u64) {
        let call = self.expect("SessionService/Connect").await;
        let credit = call.meta("colloquy-credit").expect("the link says what it takes").parse().unwrap();
        (call.open(), credit)
    }

    /// Whether nobody has called.
    pub(crate) fn is_idle(&mut self) -> bool {
        self.calls.try_recv().is_err()
    }
}

impl Call {
    /// The value of a metadata entry.
    pub(crate) fn meta(&self, name: &str) -> Option<&str> {
        self.metadata.get(name).map(|value| value.to_str().unwrap())
    }

    /// The next message of the caller.
    pub(crate) async fn message(&mut self) -> Value {
        let wire = next_message(&mut self.requests, &mut self.buffer).await.expect("a message");
        show(self.method.as_ref().unwrap().input().full_name(), &wire)
    }

    /// Answers with one message.
    pub(crate) async fn answer(self, message: Value) {
        let mut answering = self.open();
        answering.send(message).await;
        answering.end(Status::ok("")).await;
    }

    /// Answers with encoded bytes.
    pub(crate) fn answer_raw(self, message: &[u8]) {
        self.answer_at_once(vec![Frame::data(framed(message)), Frame::trailers(trailers(&Status::ok("")))]);
    }

    /// Refuses the call.
    pub(crate) fn fail(self, status: Status) {
        let _ = self.answer.send(status.into_http());
    }

    /// Accepts the call and ends it before its first message.
    pub(crate) fn open_and_end(self, status: Status) {
        self.answer_at_once(vec![Frame::trailers(trailers(&status))]);
    }

    fn answer_at_once(self, frames: Vec<Frame<Bytes>>) {
        let frames = stream::iter(frames.into_iter().map(Ok::<_, Status>));
        let _ = self.answer.send(response(Body::new(StreamBody::new(frames))));
    }

    /// Accepts the call: its head is answered, its messages come later.
    pub(crate) fn open(self) -> Answering {
        let (frames, stream) = mpsc::channel(16);
        let _ = self.answer.send(response(Body::new(StreamBody::new(ReceiverStream::new(stream)))));
        Answering { method: self.method.unwrap(), frames: Some(frames), requests: self.requests, buffer: self.buffer }
    }
}

impl Answering {
    /// Sends a message.
    pub(crate) async fn send(&mut self, message: Value) {
        let wire = encode(self.method.output().full_name(), &message);
        let frames = self.frames.as_ref().expect("the answer has not ended");
        let _ = soon(frames.send(Ok(Frame::data(framed(&wire))))).await;
    }

    /// Ends the answer.
    pub(crate) async fn end(&mut self, status: Status) {
        let frames = self.frames.take().expect("the answer has not ended");
        let _ = soon(frames.send(Ok(Frame::trailers(trailers(&status))))).await;
    }

    /// The next message of the caller; `None` when it has said all.
    pub(crate) async fn received(&mut self) -> Option<Value> {
        let wire = next_message(&mut self.requests, &mut self.buffer).await?;
        Some(show(self.method.input().full_name(), &wire))
    }

    /// Whether the caller has gone.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.frames.as_ref().expect("the answer has not ended").is_closed()
    }

    /// Waits until the caller has gone.
    pub(crate) async fn abandoned(&self) {
        soon(self.frames.as_ref().expect("the answer has not ended").closed()).await;
    }
}

/// The encoding of a message given in JSON.
pub(crate) fn encode(message: &str, json: &Value) -> Vec<u8> {
    let mut wire = Vec::new();
    let id = TRANSCODER.message(message).unwrap();
    TRANSCODER.to_wire(id, json.to_string().as_bytes(), &mut wire).unwrap();
    wire
}

/// The JSON of an encoded message.
pub(crate) fn show(message: &str, wire: &[u8]) -> Value {
    let mut json = Vec::new();
    TRANSCODER.to_json(TRANSCODER.message(message).unwrap(), wire, &mut json).unwrap();
    serde_json::from_slice(&json).unwrap()
}

fn method(path: &str) -> Option<MethodDescriptor> {
    let (service, method) = path.trim_start_matches('/').split_once('/')?;
    POOL.get_service_by_name(service)?.methods().find(|candidate| candidate.name() == method)
}

async fn next_message(requests: &mut BodyStream<Body>, buffer: &mut BytesMut) -> Option<Bytes> {
    const HEADER: usize = 5;
    loop {
        if buffer.len() >= HEADER {
            let length = u32::from_be_bytes(buffer[1..HEADER].try_into().unwrap()) as usize;
            if buffer.len() >= HEADER + length {
                buffer.advance(HEADER);
                return Some(buffer.split_to(length).freeze());
            }
        }
        let frame = soon(requests.next()).await?.ok()?;
        buffer.extend_from_slice(&frame.into_data().ok()?);
    }
}

fn response(body: Body) -> Response<Body> {
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}

fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.put_slice(message);
    frame.freeze()
}

fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers).unwrap();
    trailers.entry("grpc-status").or_insert(HeaderValue::from_static("0"));
    trailers
}
