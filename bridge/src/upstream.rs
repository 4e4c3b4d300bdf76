//! The way to the core: over HTTP/2 to one or several addresses, or straight into a service of the same process.

use http::{Request, Response, Uri};
use tonic::{Status, body::Body};
use tower::{BoxError, Service, ServiceExt as _, service_fn, util::BoxCloneSyncService};

use crate::{cores::Cores, place::Place, tls::ClientTls};

/// A core, wherever it is.
pub type Upstream = BoxCloneSyncService<Request<Body>, Response<Body>, Status>;

/// What is wrong with the addresses of cores.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is none.
    #[error("no address of a core was given")]
    Missing,
    /// It is neither `http://HOST:PORT` nor `https://HOST:PORT`.
    #[error("{0} is not the address of a core, such as http://10.0.0.1:50051")]
    Malformed(Uri),
    /// It is `https://HOST:PORT`, and there is nothing to speak TLS with.
    #[error("{0} is the address of a core with TLS, and there is none here")]
    WithoutTls(Uri),
}

/// Reaches the cores at `addresses`, one connection each, choosing the least busy of those that answer for every call. Those at
/// `https://` addresses are reached over `tls`.
///
/// Nothing is connected before the first call. A core that is lost is left alone for a short while, and a call that could not
/// be sent to it goes to another. To be called inside a tokio runtime.
///
/// # Errors
/// When there is no address, or one that is not of a core.
pub fn remote(addresses: &[Uri], tls: Option<&ClientTls>) -> Result<Upstream, AddressError> {
    if addresses.is_empty() {
        return Err(AddressError::Missing);
    }
    let places = addresses.iter().map(|address| match (address.scheme_str(), address.authority(), tls) {
        (Some("http"), Some(host), _) => Ok(Place::new(host.clone(), None)),
        (Some("https"), Some(host), Some(tls)) => Ok(Place::new(host.clone(), Some(tls.clone()))),
        (Some("https"), Some(_), None) => Err(AddressError::WithoutTls(address.clone())),
        _ => Err(AddressError::Malformed(address.clone())),
    });
    let cores = Cores::new(places.collect::<Result<Vec<_>, _>>()?);
    Ok(local(service_fn(move |request| cores.clone().call(request))))
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
