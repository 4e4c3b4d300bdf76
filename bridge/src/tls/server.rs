//! TLS of a listener.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use rustls::{ServerConfig, server::WebPkiClientVerifier};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{Current, Identity, TlsError, TlsFile, provider, roots};
use crate::line::{Line, MOST_UNSENT};

/// What may be spoken on a connection; a client that offers nothing is understood by how it begins.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What TLS of a listener is made of.
#[derive(Clone, Debug)]
pub struct ServerFiles {
    /// What clients are shown.
    pub identity: Identity,
    /// What clients are to show; nothing without it.
    pub clients: Option<ClientCheck>,
}

/// What clients are to show.
#[derive(Clone, Debug)]
pub struct ClientCheck {
    /// The certificates that vouch for those of clients, in PEM.
    pub ca: PathBuf,
    /// Whether a client without a certificate is refused; one with a wrong certificate always is.
    pub is_required: bool,
}

/// TLS of a listener. Cheap to clone: what one clone reads anew all of them use.
#[derive(Clone)]
pub struct ServerTls(Arc<Current<ServerFiles, ServerConfig>>);

impl ServerTls {
    /// Reads the files.
    ///
    /// # Errors
    /// When one of them does not hold what it should.
    pub fn load(files: ServerFiles) -> Result<Self, TlsError> {
        Ok(Self(Arc::new(Current::load(files, read)?)))
    }

    /// Reads the files again, for connections from now on.
    ///
    /// # Errors
    /// When one of them does not hold what it should: then nothing changes.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.0.reload()
    }

    /// Shakes hands with a client, which has `limit` for it; `None` when that fails. TLS holds back but a little of what the client
    /// does not take: it is to wait where that is noticed.
    pub(crate) async fn accept(&self, line: Line, peer: SocketAddr, limit: Duration) -> Option<TlsStream<Line>> {
        let acceptor = TlsAcceptor::from(self.0.get());
        let accept = acceptor.accept_with(line, |connection| connection.set_buffer_limit(Some(MOST_UNSENT as usize)));
        let failed = match timeout(limit, accept).await {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(error)) => error,
            Err(late) => late.into(),
        };
        let reason = reason(&failed);
        metrics::counter!("colloquy_tls_handshake_failures_total", "reason" => reason).increment(1);
        tracing::debug!(client.address = %peer, reason, error = %failed, "a handshake failed");
        None
    }
}

/// Why a handshake failed, for metrics: nothing was said in time, the client went, or one side did not like the other's word.
fn reason(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::TimedOut => "timeout",
        io::ErrorKind::InvalidData => "refused",
        _ => "lost",
    }
}

/// Sessions are resumed by what the configuration itself remembers, so that one whose client is not believed any more ends with
/// the configuration that believed it.
fn read(files: &ServerFiles) -> Result<ServerConfig, TlsError> {
    let (chain, key) = files.identity.read()?;
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| files.identity.misfit(&error))?;
    let builder = match &files.clients {
        None => builder.with_no_client_auth(),
        Some(ClientCheck { ca, is_required }) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca)?), provider());
            let verifier = if *is_required { verifier } else { verifier.allow_unauthenticated() };
            let verifier = verifier.build().map_err(|error| TlsError {
                file: TlsFile::Ca,
                path: ca.clone(),
                fault: format!("must hold certificates that vouch for others: {error}"),
            })?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| files.identity.misfit(&error))?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    Ok(config)
}
