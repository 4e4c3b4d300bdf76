//! Connections: each in a task of its own, until it ends, is asked to end, or is cut.

use std::{convert::Infallible, net::SocketAddr, pin::pin, time::Duration};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{net::TcpStream, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::{BoxError, Service, ServiceExt as _};

use crate::{config::Settings, edge::Peer};

/// How often an HTTP/2 connection is tried, used or not, and how long the client may take to answer.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How many requests an HTTP/2 connection may have underway.
const MAX_CONCURRENT_STREAMS: u32 = 256;

/// The connections of a listener.
pub(crate) struct Connections {
    builder: auto::Builder<TokioExecutor>,
    tracker: TaskTracker,
    /// Asks every connection to finish what is underway.
    stop: CancellationToken,
    /// Ends every connection.
    cut: CancellationToken,
}

impl Connections {
    pub(crate) fn new(settings: &Settings, stop: CancellationToken) -> Self {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(settings.handshake_timeout);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
            .keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
        Self { builder, tracker: TaskTracker::new(), stop, cut: CancellationToken::new() }
    }

    /// Serves the requests of one connection.
    pub(crate) fn serve<S, B>(&self, stream: TcpStream, peer: SocketAddr, service: S)
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
        B: hyper::body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection was lost before it was served");
            return;
        }
        let service = service.map_request(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            request
        });
        let service = TowerToHyperService::new(service);
        let connection = self.builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
        let (stop, cut) = (self.stop.clone(), self.cut.clone());
        // Boxed: a connection's state is large, and most of them only wait.
        self.tracker.spawn(Box::pin(async move {
            let mut connection = pin!(connection);
            let served = tokio::select! {
                served = connection.as_mut() => served,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    tokio::select! {
                        served = connection => served,
                        () = cut.cancelled() => Ok(()),
                    }
                }
            };
            if let Err(error) = served {
                tracing::debug!(error, "a connection ended badly");
            }
        }));
    }

    /// Waits for all connections, and for the sockets that they became; what lasts longer than `grace` is cut.
    pub(crate) async fn finish(self, sockets: &TaskTracker, grace: Duration) {
        self.tracker.close();
        sockets.close();
        let ended = timeout(grace, self.tracker.wait()).await;
        if ended.is_err() {
            tracing::warn!(connections = self.tracker.len(), "connections are cut");
        }
        self.cut.cancel();
        self.tracker.wait().await;
        // Sockets have the same grace and end by themselves.
        sockets.wait().await;
    }
}
