//! Where a core is, and how a connection to it is made.

use std::{fmt, time::Duration};

use http::{
    Request, Uri,
    uri::{Authority, Scheme},
};
use hyper::client::conn::http2::{Builder, Connection, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use tonic::{Status, body::Body};
use tower::BoxError;

use crate::tls::ClientTls;

/// How often a connection is tried, used or not.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// How long a core may take to answer such a try.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// What one stream may have underway, in bytes: what a socket that stopped draining can hold up.
const STREAM_WINDOW: u32 = 64 * 1024;
/// What all streams of a connection may have underway: the protocol's maximum, so that sockets which stopped draining never
/// use up a window that they share with everybody else.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;
/// The ports of addresses that name none.
const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

/// Where a core is, and how it is spoken to there.
#[derive(Clone)]
pub(crate) struct Place {
    address: Authority,
    /// Plain text without it.
    tls: Option<ClientTls>,
}

type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;
/// What calls are made by, and what drives them.
pub(crate) type Opened = (SendRequest<Body>, Connection<TokioIo<Stream>, Body, TokioExecutor>);

impl Place {
    pub(crate) fn new(address: Authority, tls: Option<ClientTls>) -> Self {
        Self { address, tls }
    }

    /// Writes the place into a request.
    pub(crate) fn address(&self, request: &mut Request<Body>) -> Result<(), Status> {
        let scheme = if self.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        (parts.scheme, parts.authority) = (Some(scheme), Some(self.address.clone()));
        *request.uri_mut() = Uri::from_parts(parts).map_err(|error| Status::from_error(error.into()))?;
        Ok(())
    }

    /// Makes a connection, to be driven by whoever asked for it.
    pub(crate) async fn open(&self) -> Result<Opened, BoxError> {
        let host = self.address.host().trim_start_matches('[').trim_end_matches(']');
        let usual_port = if self.tls.is_some() { HTTPS_PORT } else { HTTP_PORT };
        let stream = TcpStream::connect((host, self.address.port_u16().unwrap_or(usual_port))).await?;
        stream.set_nodelay(true)?;
        let stream = match &self.tls {
            None => Either::Left(stream),
            Some(tls) => Either::Right(Box::new(tls.connect(host, stream).await?)),
        };
        let opened = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(stream))
            .await?;
        Ok(opened)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(formatter)
    }
}
