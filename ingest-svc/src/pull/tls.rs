//! Who is believed to be the server of an `rtmps://` URL.
//!
//! The system's authorities, as its package manager keeps them, and those of `ingest.pull_ca_file`. TLS 1.2 and 1.3.

use std::{
    fs::File,
    io::{self, BufReader},
    sync::Arc,
};

use tokio::{net::TcpStream, sync::OnceCell};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        CertificateError, ClientConfig, Error as TlsError, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};
use tracing::{info, warn};

use super::Failure;

/// Authorities, and the TLS that is made of them at the first use: most processes never pull over TLS.
pub(crate) struct Trust {
    own: Vec<CertificateDer<'static>>,
    connector: OnceCell<TlsConnector>,
}

impl Trust {
    /// With the authorities of a PEM file, if the path is not empty.
    pub(crate) fn read(path: &str) -> io::Result<Self> {
        let mut own = Vec::new();
        if !path.is_empty() {
            let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
            for certificate in CertificateDer::pem_reader_iter(BufReader::new(File::open(path)?)) {
                own.push(certificate.map_err(|error| invalid(error.to_string()))?);
            }
            if own.is_empty() {
                return Err(invalid("holds no certificate in PEM".to_owned()));
            }
            let mut store = RootCertStore::empty();
            if let (_, 1..) = store.add_parsable_certificates(own.iter().cloned()) {
                return Err(invalid("holds a certificate that cannot be an authority".to_owned()));
            }
        }
        Ok(Self { own, connector: OnceCell::new() })
    }

    /// Makes a connection one of TLS with `host`.
    pub(super) async fn secure(
        &self,
        host: &str,
        socket: TcpStream,
    ) -> Result<TlsStream<TcpStream>, Failure> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| Failure::Tls("certificates cannot name this host".to_owned()))?;
        let connector = self.connector.get_or_try_init(|| make(self.own.clone())).await?;
        connector.connect(name, socket).await.map_err(|error| Failure::Tls(in_words(&error)))
    }
}

/// Reads the system's authorities, which are files.
async fn make(own: Vec<CertificateDer<'static>>) -> Result<TlsConnector, Failure> {
    let made = tokio::task::spawn_blocking(move || {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(own);
        let system = rustls_native_certs::load_native_certs();
        if let Some(error) = system.errors.first() {
            warn!(%error, "some of the system's certificate authorities cannot be read");
        }
        store.add_parsable_certificates(system.certs);
        info!(
            authorities = store.len(),
            "servers of rtmps:// are believed by certificate authorities"
        );
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(store)
            .with_no_client_auth();
        Ok::<_, TlsError>(TlsConnector::from(Arc::new(config)))
    });
    match made.await {
        Ok(Ok(connector)) => Ok(connector),
        Ok(Err(error)) => Err(Failure::Tls(error.to_string())),
        Err(error) => Err(Failure::Tls(error.to_string())),
    }
}

/// What a person can do something with.
fn in_words(error: &io::Error) -> String {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>());
    match tls {
        Some(TlsError::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "the certificate is issued by nobody whom the system or ingest.pull_ca_file names"
                .to_owned()
        }
        Some(tls) => tls.to_string(),
        None => error.to_string(),
    }
}
