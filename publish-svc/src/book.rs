//! Which lease book the node works with, and serves: its own in memory, one in etcd, or that of another registry.

use std::{fmt, sync::Arc};

use registry::{Client, Engine, MemoryConfig, MemoryEngine};
use svc_core::config::Config;

use crate::StartError;

/// Where the lease book is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Book {
    /// In this process.
    Memory,
    /// In etcd, at these endpoints.
    Etcd(String),
    /// Behind another registry, at these URLs.
    Remote(String),
}

impl fmt::Display for Book {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => {
                f.write_str("in the memory of this process, for others by registry.url")
            }
            Self::Etcd(endpoints) => write!(f, "in etcd at {endpoints}"),
            Self::Remote(urls) => write!(f, "at {urls}"),
        }
    }
}

impl Book {
    /// Where `config` says it is. etcd goes before another registry, so that one configuration can serve both services.
    pub(crate) fn of(config: &Config) -> Self {
        match (config.etcd.endpoints.as_str(), config.registry.url.as_str()) {
            ("", "") => Self::Memory,
            ("", urls) => Self::Remote(urls.to_owned()),
            (endpoints, _) => Self::Etcd(endpoints.to_owned()),
        }
    }

    /// Where it is reached; `None` where it is here.
    pub(crate) fn urls(&self) -> Option<&str> {
        match self {
            Self::Memory => None,
            Self::Etcd(urls) | Self::Remote(urls) => Some(urls),
        }
    }

    pub(crate) fn engine(&self, config: &Config) -> Result<Arc<dyn Engine>, StartError> {
        let settings = MemoryConfig {
            ttl: config.registry.ttl,
            rejected_port_rest: config.registry.rejected_port_rest,
        };
        match self {
            Self::Memory => Ok(MemoryEngine::new(settings)),
            Self::Etcd(_) => etcd(&config.etcd, settings),
            Self::Remote(urls) => match Client::new(urls) {
                Ok(client) => Ok(Arc::new(client)),
                Err(source) => Err(StartError::Registry { url: urls.clone(), source }),
            },
        }
    }
}

#[cfg(not(feature = "etcd"))]
fn etcd(
    config: &svc_core::config::EtcdConfig,
    _settings: MemoryConfig,
) -> Result<Arc<dyn Engine>, StartError> {
    Err(StartError::BuiltWithoutEtcd { endpoints: config.endpoints.clone() })
}

#[cfg(feature = "etcd")]
fn etcd(
    config: &svc_core::config::EtcdConfig,
    settings: MemoryConfig,
) -> Result<Arc<dyn Engine>, StartError> {
    use registry::{EtcdConfig, EtcdEngine, Secret, TlsConfig};

    let read = |key: &'static str, path: &str| match path {
        "" => Ok(None),
        path => std::fs::read_to_string(path).map(Some).map_err(|source| StartError::File {
            key,
            path: path.to_owned(),
            source,
        }),
    };
    let certificate = read("etcd.cert_file", &config.cert_file)?;
    let key = read("etcd.key_file", &config.key_file)?.map(Secret::new);
    let identity_pem = match (certificate, key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => return Err(StartError::HalfAnIdentity),
    };
    let password = read("etcd.password_file", &config.password_file)?.unwrap_or_default();
    let password = Secret::new(password.trim_end_matches(['\r', '\n']).to_owned());
    let tls = TlsConfig { ca_pem: read("etcd.ca_file", &config.ca_file)?, identity_pem };
    let uses_tls = config.endpoints.contains("https://");
    Ok(Arc::new(EtcdEngine::new(EtcdConfig {
        endpoints: config.endpoints.split(',').map(|url| url.trim().to_owned()).collect(),
        prefix: config.prefix.clone(),
        user: (!config.user.is_empty()).then(|| (config.user.clone(), password)),
        tls: uses_tls.then_some(tls),
        book: settings,
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(endpoints: &str, url: &str) -> Config {
        let mut config = Config::default();
        config.etcd.endpoints = endpoints.into();
        config.registry.url = url.into();
        config
    }

    #[test]
    fn etcd_goes_before_another_registry_and_that_before_memory() {
        let of = |endpoints, url| Book::of(&config(endpoints, url));
        assert_eq!(of("", ""), Book::Memory);
        assert_eq!(of("", "http://a:1"), Book::Remote("http://a:1".into()));
        assert_eq!(of("http://e:2379", "http://a:1"), Book::Etcd("http://e:2379".into()));
    }

    #[cfg(not(feature = "etcd"))]
    #[test]
    fn a_binary_without_etcd_says_so_when_etcd_is_configured() {
        let config = config("http://e:2379", "");
        let refused = Book::of(&config).engine(&config).err().unwrap().to_string();
        let said = "etcd.endpoints = \"http://e:2379\": this binary was built without etcd \
                    (cargo build --features etcd)";
        assert_eq!(refused, said);
    }

    #[cfg(feature = "etcd")]
    #[tokio::test]
    async fn a_file_that_cannot_be_read_is_told_with_its_key() {
        let mut config = config("https://e:2379", "");
        config.etcd.key_file = "/nowhere/key.pem".into();
        let refused = Book::of(&config).engine(&config).err().unwrap().to_string();
        assert!(refused.starts_with("etcd.key_file = \"/nowhere/key.pem\": "), "{refused}");
        config.etcd.key_file = "Cargo.toml".into();
        let refused = Book::of(&config).engine(&config).err().unwrap().to_string();
        assert_eq!(refused, "etcd.cert_file and etcd.key_file: one needs the other");
    }
}
