//! What the engine needs to know: where etcd is, and how it is spoken to.

use std::fmt;

use crate::MemoryConfig;

/// Text that is not shown.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text`.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// TLS to etcd, all PEM.
#[derive(Clone, Debug, Default)]
pub struct TlsConfig {
    /// Authorities that members are believed by; `None`: the system's.
    pub ca_pem: Option<String>,
    /// The certificate and key that this client shows.
    pub identity_pem: Option<(String, Secret)>,
}

/// Settings of the engine.
#[derive(Clone, Debug)]
pub struct EtcdConfig {
    /// The members: `http://host:port` or `https://host:port`.
    pub endpoints: Vec<String>,
    /// What all keys begin with; ends in `/`.
    pub prefix: String,
    /// User and password.
    pub user: Option<(String, Secret)>,
    /// Needed for `https`.
    pub tls: Option<TlsConfig>,
    /// TTL and rest, as of the in-memory engine.
    pub book: MemoryConfig,
}
