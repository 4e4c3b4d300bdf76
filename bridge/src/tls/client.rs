//! TLS of the bridge's own connections to cores.

use std::{io, path::PathBuf, sync::Arc};

use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{Current, Identity, TlsError, TlsFile, provider, roots};

/// What TLS to cores is made of.
#[derive(Clone, Debug, Default)]
pub struct ClientFiles {
    /// The certificates that vouch for those of cores, in PEM; those of the system without it.
    pub ca: Option<PathBuf>,
    /// What cores are shown; nothing without it.
    pub identity: Option<Identity>,
}

/// TLS to cores. Cheap to clone: what one clone reads anew all of them use.
#[derive(Clone)]
pub struct ClientTls(Arc<Current<ClientFiles, ClientConfig>>);

impl ClientTls {
    /// Reads the files.
    ///
    /// # Errors
    /// When one of them does not hold what it should.
    pub fn load(files: ClientFiles) -> Result<Self, TlsError> {
        Ok(Self(Arc::new(Current::load(files, read)?)))
    }

    /// Reads the files again, for connections from now on.
    ///
    /// # Errors
    /// When one of them does not hold what it should: then nothing changes.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.0.reload()
    }

    /// Shakes hands with the core of this name or address.
    pub(crate) async fn connect(&self, host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        TlsConnector::from(self.0.get()).connect(name, stream).await
    }
}

fn read(files: &ClientFiles) -> Result<ClientConfig, TlsError> {
    let believed = files.ca.as_deref().map_or_else(of_the_system, roots)?;
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| unusable(&error))?.with_root_certificates(believed);
    let mut config = match &files.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let (chain, key) = identity.read()?;
            builder.with_client_auth_cert(chain, key).map_err(|error| identity.misfit(&error))?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// Those whom the system believes. One that cannot be read is passed over: there are always some that are strange.
fn of_the_system() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        return Err(unusable(&"the system believes no certificate"));
    }
    Ok(roots)
}

fn unusable(fault: &dyn std::fmt::Display) -> TlsError {
    TlsError { file: TlsFile::Ca, path: PathBuf::new(), fault: fault.to_string() }
}
