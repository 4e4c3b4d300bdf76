//! Connections of a listener: each in a task of its own, until it ends, is asked to end, or is cut.

use std::{
    convert::Infallible,
    future, io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tokio_util::{either::Either, sync::CancellationToken, task::TaskTracker};
use tower::{BoxError, Service, ServiceExt as _};

use crate::{line::Line, tls::ServerTls};

/// How often an HTTP/2 connection is tried, used or not, and how long the client may take to answer.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait when no connection can be accepted, as a rule for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a connection may do.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// How long a connection may take to shake hands where there is TLS, then to its first request, and one of HTTP/1.1 to the
    /// head of each.
    pub handshake_timeout: Duration,
    /// How long a client may read nothing of what it was sent.
    pub drain_limit: Duration,
    /// How many requests an HTTP/2 connection may have underway.
    pub max_streams: u32,
}

/// Serves HTTP/1.1 and HTTP/2 on `listener`, over TLS if there is any; the client's `SocketAddr` is an extension of every request.
///
/// From `stop` on no connection is accepted, and those that are there finish what is underway; what is left of them when
/// `cut` completes, which is polled from then on, is cut. Returns when the last one has ended.
pub async fn accept<S, B>(
    listener: TcpListener,
    tls: Option<ServerTls>,
    service: S,
    limits: ConnectionLimits,
    stop: CancellationToken,
    cut: impl Future<Output = ()>,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: hyper::body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let connections = Connections::new(tls, limits, stop.clone());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => connections.serve(stream, peer, service.clone()),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.finish(cut).await;
}

/// The connections of a listener.
struct Connections {
    tls: Option<ServerTls>,
    builder: auto::Builder<TokioExecutor>,
    limits: ConnectionLimits,
    tracker: TaskTracker,
    /// Asks every connection to finish what is underway.
    stop: CancellationToken,
    /// Ends every connection.
    cut: CancellationToken,
}

impl Connections {
    fn new(tls: Option<ServerTls>, limits: ConnectionLimits, stop: CancellationToken) -> Self {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.handshake_timeout);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.max_streams)
            .keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
        Self { tls, builder, limits, tracker: TaskTracker::new(), stop, cut: CancellationToken::new() }
    }

    /// Serves the requests of one connection.
    fn serve<S, B>(&self, stream: TcpStream, peer: SocketAddr, service: S)
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
        B: hyper::body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        if let Err(error) = prepare(&stream) {
            tracing::debug!(%error, "a connection was lost before it was served");
            return;
        }
        let has_asked = Arc::new(AtomicBool::new(false));
        let asks = has_asked.clone();
        let service = service.map_request(move |mut request: Request<Incoming>| {
            asks.store(true, Ordering::Relaxed);
            request.extensions_mut().insert(peer);
            request
        });
        let line = Line::new(stream, self.limits.drain_limit);
        let (tls, builder, service) = (self.tls.clone(), self.builder.clone(), TowerToHyperService::new(service));
        let (stop, cut, limit) = (self.stop.clone(), self.cut.clone(), self.limits.handshake_timeout);
        let served = async move {
            let line = match tls {
                None => Either::Left(line),
                Some(tls) => {
                    let Some(Some(line)) = stop.run_until_cancelled(tls.accept(line, peer, limit)).await else {
                        return Ok(());
                    };
                    Either::Right(Box::new(line))
                }
            };
            let connection = builder.serve_connection_with_upgrades(TokioIo::new(line), service);
            let mut connection = pin!(connection);
            tokio::select! {
                served = connection.as_mut() => served,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
                // A client that only connected early is told to come back; one that says nothing to that is cut.
                () = silence(&has_asked, limit) => {
                    connection.as_mut().graceful_shutdown();
                    tokio::select! {
                        served = connection => served,
                        () = silence(&has_asked, limit) => Ok(()),
                    }
                }
            }
        };
        // Boxed: a connection's state is large, and most of them only wait.
        self.tracker.spawn(Box::pin(async move {
            if let Some(Err(error)) = cut.run_until_cancelled(served).await {
                tracing::debug!(error, "a connection ended badly");
            }
        }));
    }

    /// Waits for all connections; what is left of them when `cut` completes is cut.
    async fn finish(self, cut: impl Future<Output = ()>) {
        self.tracker.close();
        tokio::select! {
            () = self.tracker.wait() => {}
            () = cut => tracing::warn!(connections = self.tracker.len(), "connections are cut"),
        }
        self.cut.cancel();
        self.tracker.wait().await;
    }
}

/// What is written is sent at once; little is taken that cannot be sent.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    socket2::SockRef::from(stream).set_tcp_notsent_lowat(crate::line::MOST_UNSENT)
}

/// What is written is sent at once; how much is taken is the system's choice.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)
}

/// Completes when a connection has asked for nothing for `limit`; never when it has.
async fn silence(has_asked: &AtomicBool, limit: Duration) {
    sleep(limit).await;
    if has_asked.load(Ordering::Relaxed) {
        future::pending::<()>().await;
    }
}
