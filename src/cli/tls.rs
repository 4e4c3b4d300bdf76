//! TLS of this process: made of files that the settings name, which are read again at SIGHUP.

use std::{
    io::{IsTerminal as _, stdin},
    path::PathBuf,
};

use colloquy_bridge::{ClientCheck, ClientFiles, ClientTls, Identity, ServerFiles, ServerTls, TlsError, TlsFile};
use http::Uri;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::spawn_blocking,
};

use crate::{
    config::{ClientAuth, SettingError, Settings},
    lifecycle::Lifecycle,
};

/// What a process speaks TLS with; plain text where there is nothing.
#[derive(Clone, Default)]
pub(super) struct Tls {
    pub(super) grpc: Option<ServerTls>,
    pub(super) http: Option<ServerTls>,
    pub(super) cores: Option<ClientTls>,
}

/// The settings that name the files of one side.
#[derive(Clone, Copy)]
struct Names {
    /// What log lines call the side.
    side: &'static str,
    certificate: &'static str,
    key: &'static str,
    ca: &'static str,
}

const GRPC: Names = Names { side: "gRPC", certificate: "grpc_tls_cert", key: "grpc_tls_key", ca: "grpc_tls_client_ca" };
const HTTP: Names = Names { side: "HTTP", certificate: "http_tls_cert", key: "http_tls_key", ca: "http_tls_client_ca" };
const CORES: Names = Names { side: "cores", certificate: "core_tls_cert", key: "core_tls_key", ca: "core_tls_ca" };

impl Tls {
    /// With that of gRPC, read for the first time.
    ///
    /// # Errors
    /// When a setting is missing, or its file does not hold what it should; so it is with the others.
    pub(super) fn with_grpc(self, settings: &Settings) -> Result<Self, SettingError> {
        let identity = GRPC.identity(&settings.grpc_tls_cert, &settings.grpc_tls_key)?;
        let grpc = GRPC.server(identity, &settings.grpc_tls_client_ca, settings.grpc_tls_client_auth)?;
        Ok(Self { grpc, ..self })
    }

    /// With that of HTTP.
    pub(super) fn with_http(self, settings: &Settings) -> Result<Self, SettingError> {
        let identity = HTTP.identity(&settings.http_tls_cert, &settings.http_tls_key)?;
        let http = HTTP.server(identity, &settings.http_tls_client_ca, settings.http_tls_client_auth)?;
        Ok(Self { http, ..self })
    }

    /// With that of a bridge's connections to these cores. That it is set and none of them speaks it is an error: what was meant
    /// to be secret would not be.
    pub(super) fn with_cores(self, settings: &Settings, cores: &[Uri]) -> Result<Self, SettingError> {
        let identity = CORES.identity(&settings.core_tls_cert, &settings.core_tls_key)?;
        if !cores.iter().any(|core| core.scheme_str() == Some("https")) {
            let set = identity.map(|identity| (CORES.certificate, identity.certificate));
            return match set.or_else(|| Some((CORES.ca, settings.core_tls_ca.clone()?))) {
                Some((name, path)) => {
                    Err(SettingError::of(name, path.display(), "no core has an address with https://"))
                }
                None => Ok(self),
            };
        }
        let files = ClientFiles { ca: settings.core_tls_ca.clone(), identity };
        let cores = ClientTls::load(files).map_err(|error| CORES.fault(&error))?;
        Ok(Self { cores: Some(cores), ..self })
    }

    /// Reads the files again whenever SIGHUP comes, until the process stops. Without TLS that does nothing; but for this the signal
    /// would end the process, as it goes on to do where a terminal takes along what was started in it.
    ///
    /// # Errors
    /// When signals cannot be listened for.
    pub(super) fn keep_fresh(&self, lifecycle: &Lifecycle) -> anyhow::Result<()> {
        if self.is_plain() && stdin().is_terminal() {
            return Ok(());
        }
        let hangups = signal(SignalKind::hangup())?;
        lifecycle.spawn_helper(lifecycle.stopped().clone().run_until_cancelled_owned(self.clone().reload_at(hangups)));
        Ok(())
    }

    fn is_plain(&self) -> bool {
        self.grpc.is_none() && self.http.is_none() && self.cores.is_none()
    }

    async fn reload_at(self, mut hangups: Signal) {
        while hangups.recv().await.is_some() {
            let tls = self.clone();
            // Files may be on a slow disk. A reload that panics has told so.
            let _ = spawn_blocking(move || tls.reload()).await;
        }
    }

    /// Reads each side anew, for connections from now on; where that fails it stays as it was.
    fn reload(&self) {
        let servers = [(GRPC, &self.grpc), (HTTP, &self.http)];
        let servers = servers.into_iter().filter_map(|(names, tls)| Some((names, tls.as_ref()?.reload())));
        let cores = self.cores.iter().map(|tls| (CORES, tls.reload()));
        let reloaded: Vec<_> = servers.chain(cores).collect();
        if reloaded.is_empty() {
            tracing::info!("nothing to reload: there is no tls");
        }
        for (names, reloaded) in reloaded {
            match reloaded {
                Ok(()) => tracing::info!(side = names.side, "certificates were reloaded"),
                Err(error) => {
                    tracing::error!(error = %names.fault(&error), "certificates stay as they were");
                }
            }
        }
    }
}

impl Names {
    fn identity(self, certificate: &Option<PathBuf>, key: &Option<PathBuf>) -> Result<Option<Identity>, SettingError> {
        let lacks = |name, path: &PathBuf, other| {
            Err(SettingError::of(name, path.display(), format!("needs {other}, the path of a file in PEM, beside it")))
        };
        match (certificate, key) {
            (Some(certificate), Some(key)) => Ok(Some(Identity { certificate: certificate.clone(), key: key.clone() })),
            (Some(certificate), None) => lacks(self.certificate, certificate, self.key),
            (None, Some(key)) => lacks(self.key, key, self.certificate),
            (None, None) => Ok(None),
        }
    }

    fn server(
        self,
        identity: Option<Identity>,
        client_ca: &Option<PathBuf>,
        client_auth: ClientAuth,
    ) -> Result<Option<ServerTls>, SettingError> {
        match (identity, client_ca) {
            (Some(identity), client_ca) => {
                let is_required = client_auth == ClientAuth::Required;
                let clients = client_ca.clone().map(|ca| ClientCheck { ca, is_required });
                let tls = ServerTls::load(ServerFiles { identity, clients });
                tls.map(Some).map_err(|error| self.fault(&error))
            }
            (None, Some(ca)) => {
                let wanted = format!("needs {} and {} beside it", self.certificate, self.key);
                Err(SettingError::of(self.ca, ca.display(), wanted))
            }
            (None, None) => Ok(None),
        }
    }

    /// The error as one of the setting that names the file.
    fn fault(self, error: &TlsError) -> SettingError {
        let name = match error.file {
            TlsFile::Certificate => self.certificate,
            TlsFile::Key => self.key,
            TlsFile::Ca => self.ca,
        };
        SettingError::of(name, error.path.display(), error.fault.clone())
    }
}
