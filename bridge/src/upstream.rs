//! The way to the core: over HTTP/2 to one or several addresses, or straight into a service of the same process.

use std::{error::Error, fmt, time::Duration};

use http::{Request, Response, Uri};
use tonic::{
    Status,
    body::Body,
    transport::{Channel, Endpoint},
};
use tower::{BoxError, Service, ServiceExt as _, util::BoxCloneSyncService};

/// A core, wherever it is.
pub type Upstream = BoxCloneSyncService<Request<Body>, Response<Body>, Status>;

/// How long a connection attempt may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often an HTTP/2 connection is tried, used or not.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// How long a core may take to answer such a try.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// What one stream may have underway, in bytes: what a socket that stopped draining can hold up.
const STREAM_WINDOW: u32 = 64 * 1024;
/// What all streams of a connection may have underway: the protocol's maximum, so that sockets which stopped draining never
/// use up a window that they share with everybody else.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// No address of a core was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoAddress;

impl fmt::Display for NoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no address of a core was given")
    }
}

impl Error for NoAddress {}

/// Reaches the cores at `addresses`, one connection each, choosing the less busy for every call.
///
/// Nothing is connected before the first call, and a lost connection is made again by the next one. To be called inside a
/// tokio runtime.
pub fn remote(addresses: &[Uri]) -> Result<Upstream, NoAddress> {
    let channel = match addresses {
        [] => return Err(NoAddress),
        [address] => endpoint(address.clone()).connect_lazy(),
        _ => Channel::balance_list(addresses.iter().cloned().map(endpoint)),
    };
    Ok(local(channel))
}

/// Reaches a core in the same process, such as prepared `tonic` routes with their layers: no socket, no HTTP/2.
pub fn local<S>(service: S) -> Upstream
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    BoxCloneSyncService::new(service.map_err(|error| Status::from_error(error.into())))
}

fn endpoint(address: Uri) -> Endpoint {
    Channel::builder(address)
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
}
