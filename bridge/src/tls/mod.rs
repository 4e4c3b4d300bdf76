//! TLS: what each side shows and whom it believes, read from files at start and again when told.

mod client;
mod server;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    RootCertStore,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _},
};

pub use self::{
    client::{ClientFiles, ClientTls},
    server::{ClientCheck, ServerFiles, ServerTls},
};

/// A certificate and its key, both in PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate, followed by those that vouch for it but for the last.
    pub certificate: PathBuf,
    /// The certificate's key, not encrypted.
    pub key: PathBuf,
}

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFile {
    /// The certificate that is shown.
    Certificate,
    /// Its key.
    Key,
    /// The certificates that vouch for others.
    Ca,
}

/// A file that does not hold what it should.
#[derive(Debug, thiserror::Error)]
#[error("{} {fault}", path.display())]
pub struct TlsError {
    /// What the file is for.
    pub file: TlsFile,
    /// Where it is; empty for the certificates of the system.
    pub path: PathBuf,
    /// What is wrong with it.
    pub fault: String,
}

/// What new connections are made with, until the files are read again.
struct Current<F, C> {
    files: F,
    read: fn(&F) -> Result<C, TlsError>,
    config: RwLock<Arc<C>>,
}

impl<F, C> Current<F, C> {
    fn load(files: F, read: fn(&F) -> Result<C, TlsError>) -> Result<Self, TlsError> {
        let config = RwLock::new(Arc::new(read(&files)?));
        Ok(Self { files, read, config })
    }

    fn reload(&self) -> Result<(), TlsError> {
        let config = Arc::new((self.read)(&self.files)?);
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    fn get(&self) -> Arc<C> {
        // A panic elsewhere leaves it whole: it is held for single moves.
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Identity {
    fn read(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let chain = certificates(TlsFile::Certificate, &self.certificate)?;
        let wrong = |fault: String| TlsError { file: TlsFile::Key, path: self.key.clone(), fault };
        let text = fs::read(&self.key).map_err(|error| wrong(unreadable(&error)))?;
        let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
            pem::Error::NoItemsFound => wrong("must hold a private key in PEM that is not encrypted".to_owned()),
            error => wrong(format!("must hold a private key in PEM: {error}")),
        })?;
        Ok((chain, key))
    }

    /// Which of the two files it is that does not fit.
    fn misfit(&self, error: &rustls::Error) -> TlsError {
        match error {
            rustls::Error::InvalidCertificate(_) => TlsError {
                file: TlsFile::Certificate,
                path: self.certificate.clone(),
                fault: format!("must hold a certificate that can be read: {error}"),
            },
            rustls::Error::InconsistentKeys(_) => TlsError {
                file: TlsFile::Key,
                path: self.key.clone(),
                fault: format!("must be the key of the certificate {}", self.certificate.display()),
            },
            _ => TlsError {
                file: TlsFile::Key,
                path: self.key.clone(),
                fault: format!("must hold a key that can be used: {error}"),
            },
        }
    }
}

/// Those who vouch for others.
fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(TlsFile::Ca, path)? {
        roots.add(certificate).map_err(|error| TlsError {
            file: TlsFile::Ca,
            path: path.to_owned(),
            fault: format!("must hold certificates that can be read: {error}"),
        })?;
    }
    Ok(roots)
}

fn certificates(file: TlsFile, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |fault: String| TlsError { file, path: path.to_owned(), fault };
    let text = fs::read(path).map_err(|error| wrong(unreadable(&error)))?;
    let found = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    match found.map_err(|error| wrong(format!("must hold certificates in PEM: {error}")))? {
        found if found.is_empty() => Err(wrong("must hold certificates in PEM".to_owned())),
        found => Ok(found),
    }
}

fn unreadable(error: &std::io::Error) -> String {
    format!("must be a file that can be read: {error}")
}

/// The one cryptography library of all of Colloquy.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
