//! What is true of every RPC: its id and its span, who calls and from where, its deadline, that a caller who leaves does not
//! leave an act half done, and that one who stays away without leaving holds nothing.

use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::{HeaderMap, HeaderValue, Request, Response};
use prost_reflect::DescriptorPool;
use tokio::time::MissedTickBehavior;
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};
use tracing::{Instrument as _, Span, field};
use uuid::Uuid;

use super::{
    body::{Spanned, Timed},
    limits::Sign,
    methods::Methods,
    stall::Streams,
    trace,
};
use crate::{
    error::Error,
    lifecycle::Lifecycle,
    model::caller::{Caller, Origin},
    proto::DESCRIPTORS,
    service::{accounts::Accounts, limits::Limits},
};

/// The path of the one RPC that a ticket opens.
const CONNECT: &str = "/colloquy.v1.SessionService/Connect";
/// How the paths of the contract's RPCs begin; the standard services of health and reflection are not limited.
const CONTRACT: &str = "/colloquy.v1.";
/// How the paths of the RPCs that describe the contract begin.
const REFLECTION: &str = "/grpc.reflection.";
/// Where the bridge shows its key.
const BRIDGE_KEY: &str = "colloquy-bridge-key";
/// Names a request in the answer, in the logs here and in those of the bridge.
const REQUEST_ID: &str = "x-request-id";
/// Characters of a request id that is taken from a caller, at most.
const REQUEST_ID_LENGTH: usize = 128;

/// Wraps the services of the contract.
#[derive(Clone)]
pub struct EdgeLayer(Arc<Shared>);

struct Shared {
    accounts: Accounts,
    limits: Limits,
    sign: Sign,
    lifecycle: Lifecycle,
    methods: Methods,
    streams: Streams,
    bridge_key: String,
    bounds: Bounds,
}

/// How long callers may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// To the answer of a call, and to its request's end unless that is a stream.
    pub timeout: Duration,
    /// Without reading anything of a stream that goes on.
    pub drain_limit: Duration,
}

impl EdgeLayer {
    /// `limits` says how many calls may be made, `bounds` how long each may take; whoever shows `bridge_key` is believed the
    /// client addresses it reports.
    ///
    /// # Errors
    /// When the contract's own descriptors cannot be read.
    pub fn new(
        accounts: Accounts,
        limits: Limits,
        lifecycle: Lifecycle,
        bridge_key: String,
        bounds: Bounds,
    ) -> anyhow::Result<Self> {
        let contract = DescriptorPool::decode(DESCRIPTORS)?;
        let sign = Sign::of(&limits);
        Ok(Self(Arc::new(Shared {
            accounts,
            limits,
            sign,
            lifecycle,
            methods: Methods::of(&contract)?,
            streams: Streams::default(),
            bridge_key,
            bounds,
        })))
    }

    /// Gives up streams that nobody reads, until the hard stop.
    pub async fn end_stalled(self) {
        let Shared { lifecycle, streams, bounds, .. } = &*self.0;
        let mut ticks = tokio::time::interval(bounds.drain_limit / 4);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while lifecycle.stopped().run_until_cancelled(ticks.tick()).await.is_some() {
            streams.give_up(bounds.drain_limit);
        }
    }
}

impl<S> Layer<S> for EdgeLayer {
    type Service = Edge<S>;

    fn layer(&self, inner: S) -> Edge<S> {
        Edge { shared: self.0.clone(), inner }
    }
}

/// A service behind the edge.
#[derive(Clone)]
pub struct Edge<S> {
    shared: Arc<Shared>,
    inner: S,
}

impl<S> Service<Request<Body>> for Edge<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let ready = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, ready);
        let shared = self.shared.clone();
        let rpc = shared.methods.name(request.uri().path()).to_owned();
        let request_id = request_id(request.headers());
        request.headers_mut().insert(REQUEST_ID, request_id.clone());
        let span = tracing::info_span!(
            "rpc",
            otel.kind = "server",
            rpc.path = rpc,
            trace_id = field::Empty,
            span_id = field::Empty,
            request_id = request_id.to_str().unwrap_or_default(),
            user_id = field::Empty,
            connection_id = field::Empty,
        );
        trace::begin(&span, request.headers(), &rpc);
        let answer = async move {
            let started = Instant::now();
            let response = shared.serve(inner, request).await.unwrap_or_else(Status::into_http);
            let status = Status::from_header_map(response.headers());
            if let Some(status) = &status {
                trace::end(&Span::current(), status.code());
            }
            let code = status.map_or(Code::Ok, |status| status.code());
            tracing::debug!(rpc.code = ?code, elapsed_ms = started.elapsed().as_secs_f64() * 1000.0, "answered");
            Ok(named(response, request_id))
        };
        Box::pin(answer.instrument(span))
    }
}

impl Shared {
    async fn serve<S>(&self, mut inner: S, mut request: Request<Body>) -> Result<Response<Body>, Status>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Send + 'static,
        S::Future: Send,
    {
        let is_bridge = self.is_bridge(request.headers());
        let origin = origin(&request, is_bridge);
        let path = request.uri().path();
        let (takes_stream, gives_stream) = (self.methods.takes_stream(path), self.methods.gives_stream(path));
        let caller = match self.methods.is_public(path) {
            true => Ok(None),
            false => self.caller(request.headers(), path == CONNECT).await.map(Some),
        };
        let mut allowance = None;
        if path.starts_with(CONTRACT) {
            // Who shows a credential that is no good counts as well, as nobody.
            let admitted = self.limits.request(caller.as_ref().ok().and_then(Option::as_ref), &origin).await;
            allowance = admitted.map_err(|error| self.sign.refusal(error))?;
        }
        if let Some(caller) = caller? {
            self.check_scope(path, &caller)?;
            Span::current().record("user_id", field::display(caller.user_id));
            request.extensions_mut().insert(caller);
        }
        request.extensions_mut().insert(origin);
        let timeout = self.bounds.timeout;
        let limit = deadline(request.headers()).map_or(timeout, |asked| asked.min(timeout));
        if !takes_stream {
            request = self.in_time(request, limit);
        }
        // The act runs to its end even when its caller is gone: cancelling it here could leave it half done.
        let act = self.lifecycle.spawn(async move { inner.call(request).await }.in_current_span());
        match tokio::time::timeout(limit, act).await {
            Ok(Ok(Ok(response))) => {
                let response = read_by_codec(response)?;
                let watch = |body| if gives_stream { Body::new(self.streams.watch(body)) } else { body };
                Ok(self.sign.show(allowance, response.map(watch)))
            }
            Ok(Err(panic)) => Err(Error::internal(panic).into()),
            Err(_) => Err(Error::DeadlineExceeded.into()),
        }
    }

    /// Ends a request whose body is not there within `limit`: its act would wait for it for as long as the connection lives.
    /// Reflection, which asks whatever comes to mind, also ends with the soft stop.
    fn in_time(&self, request: Request<Body>, limit: Duration) -> Request<Body> {
        let is_reflection = request.uri().path().starts_with(REFLECTION);
        let stopping = self.lifecycle.stopping().clone();
        let late = async move {
            tokio::select! {
                () = tokio::time::sleep(limit) => {}
                () = stopping.cancelled(), if is_reflection => {}
            }
        };
        request.map(|body| Body::new(Timed::until(late, body)))
    }

    /// Whether the caller shows the key of the bridges; without one there are none. Compared in constant time.
    fn is_bridge(&self, headers: &HeaderMap) -> bool {
        let shown = header(headers, BRIDGE_KEY).as_bytes();
        !shown.is_empty() && verify_slices_are_equal(shown, self.bridge_key.as_bytes()).is_ok()
    }

    /// Whether the caller's API key, if it is one, is good for the RPC.
    fn check_scope(&self, path: &str, caller: &Caller) -> Result<(), Error> {
        let Some(scopes) = &caller.scopes else { return Ok(()) };
        let needed = self.methods.scope(path);
        if needed.is_some_and(|scope| scopes.allow(scope)) { Ok(()) } else { Err(Error::OutOfScope(needed)) }
    }

    async fn caller(&self, headers: &HeaderMap, is_connect: bool) -> Result<Caller, Error> {
        let missing = Error::Unauthenticated("a bearer token is needed");
        let (scheme, credential) = header(headers, "authorization").split_once(' ').ok_or(missing)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Error::Unauthenticated("the authorization scheme must be bearer"));
        }
        if is_connect && self.accounts.is_ticket(credential) {
            return self.accounts.redeem_ticket(credential).await;
        }
        self.accounts.authenticate(credential).await
    }
}

/// What the handlers find about the caller of a request.
pub(crate) trait Called {
    /// Who calls.
    fn caller(&self) -> Result<Caller, Error>;
    /// From where.
    fn origin(&self) -> Origin;
}

impl<T> Called for tonic::Request<T> {
    fn caller(&self) -> Result<Caller, Error> {
        self.extensions().get().cloned().ok_or(Error::Unauthenticated("a bearer token is needed"))
    }

    fn origin(&self) -> Origin {
        self.extensions().get().cloned().unwrap_or_default()
    }
}

/// The id that the caller gives, when it is short and visible, or a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let is_sane = |id: &&HeaderValue| {
        (1..=REQUEST_ID_LENGTH).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    let made = || HeaderValue::try_from(Uuid::now_v7().to_string()).unwrap_or(HeaderValue::from_static("unknown"));
    headers.get(REQUEST_ID).filter(is_sane).cloned().unwrap_or_else(made)
}

/// Gives a response its id, and lets what it streams be made within the call's span.
fn named(response: Response<Body>, request_id: HeaderValue) -> Response<Body> {
    let mut response = response.map(|body| Body::new(Spanned::here(body)));
    response.headers_mut().insert(REQUEST_ID, request_id);
    response
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn origin(request: &Request<Body>, is_bridge: bool) -> Origin {
    let headers = request.headers();
    let request_id = header(headers, REQUEST_ID).to_owned();
    if is_bridge {
        let address = header(headers, "x-forwarded-for").split(',').next().unwrap_or_default().trim().to_owned();
        return Origin { address, user_agent: header(headers, "colloquy-user-agent").to_owned(), request_id };
    }
    let peer = request.extensions().get::<SocketAddr>();
    Origin {
        address: peer.map(|peer| peer.ip().to_string()).unwrap_or_default(),
        user_agent: header(headers, "user-agent").to_owned(),
        request_id,
    }
}

/// Says in the contract's words that the codec could not read the request. What the handlers themselves answer has details.
fn read_by_codec(response: Response<Body>) -> Result<Response<Body>, Error> {
    match Status::from_header_map(response.headers()) {
        Some(status) if status.details().is_empty() => match status.code() {
            Code::Internal => Err(Error::Malformed),
            Code::OutOfRange => Err(Error::TooLarge),
            _ => Ok(response),
        },
        _ => Ok(response),
    }
}

/// The caller's own deadline, as gRPC over HTTP/2 writes it: at most 8 digits and a unit.
fn deadline(headers: &HeaderMap) -> Option<Duration> {
    let text = header(headers, "grpc-timeout");
    let (amount, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let amount = amount.parse::<u64>().ok().filter(|_| amount.len() <= 8)?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}
