//! URLs with `{key}` in them, and what they say.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};

use anyhow::{Context as _, bail};

/// How a server is spoken to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheme {
    /// `rtmp://`
    Rtmp,
    /// `rtsp://`
    Rtsp,
    /// `raw://`: the floor.
    Raw,
}

/// A URL of one stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Url {
    /// How it is spoken to.
    pub scheme: Scheme,
    /// Host and port as they stand there.
    pub authority: String,
    /// Where that is.
    pub address: SocketAddr,
    /// Without its leading slash.
    pub path: String,
    /// All of it.
    pub text: String,
}

impl Url {
    /// The URL that `template` gives for `key`.
    pub fn of(template: &str, key: &str) -> anyhow::Result<Self> {
        let text = template.replace("{key}", key);
        let (scheme, rest) = text.split_once("://").with_context(|| format!("no URL: {text}"))?;
        let (scheme, port) = match scheme {
            "rtmp" => (Scheme::Rtmp, 1935),
            "rtsp" => (Scheme::Rtsp, 554),
            "raw" => (Scheme::Raw, 0),
            other => bail!("{other} is not rtmp, rtsp or raw"),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let host = match authority.rsplit_once(':') {
            Some(_) => authority.to_owned(),
            None => format!("{authority}:{port}"),
        };
        let mut addresses =
            host.to_socket_addrs().with_context(|| format!("no address: {host}"))?;
        let address = addresses.next().context("no address")?;
        let (authority, path) = (authority.to_owned(), path.to_owned());
        Ok(Self { scheme, authority, address, path, text })
    }

    /// Connects, blocking.
    pub fn connect(&self) -> anyhow::Result<TcpStream> {
        TcpStream::connect(self.address).with_context(|| format!("connect to {}", self.address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_gives_the_url_of_a_key() {
        let url = Url::of("rtsp://127.0.0.1/live/{key}", "k1").unwrap();
        assert_eq!((url.scheme, url.path.as_str()), (Scheme::Rtsp, "live/k1"));
        assert_eq!(url.address.to_string(), "127.0.0.1:554");
        assert_eq!(url.text, "rtsp://127.0.0.1/live/k1");
    }
}
