//! `rtmp2rtsp healthcheck`: whether what runs on this host is ready, for containers whose image has neither a shell nor curl.
//!
//! One GET by HTTP/1.0 each, of which the status line alone is read. No TLS, as the HTTP ports have none.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream, ToSocketAddrs as _},
    time::{Duration, Instant},
};

use svc_core::config::Config;

use crate::run::reachable;

/// How long one answer may take, connecting included. Below the 5 s that the image's HEALTHCHECK gives for both services.
const PATIENCE: Duration = Duration::from_secs(2);
/// Of an answer no more is read: `HTTP/1.1 503 Service Unavailable` is 32 bytes.
const MAX_STATUS_BYTES: usize = 128;
/// What is asked for where a URL has no path.
const PATH: &str = "/readyz";

/// Why the check fails.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// A URL that cannot be asked.
    #[error("{url:?} is not allowed; allowed is http://host:port, with or without a path")]
    Url {
        /// What was given.
        url: String,
    },
    /// No connection, or no answer in time.
    #[error("{url} does not answer: {source}")]
    Silent {
        /// What was asked.
        url: String,
        /// What the system said.
        source: io::Error,
    },
    /// An answer other than 200.
    #[error("{url} is not ready: {answer:?}")]
    NotReady {
        /// What was asked.
        url: String,
        /// The status line.
        answer: String,
    },
    /// Neither service listens.
    #[error("nothing runs: nobody listens on {0} and {1}, the HTTP ports of the configuration")]
    NothingRuns(SocketAddr, SocketAddr),
}

/// Asks each of `urls`, all of which have to answer 200. Without any, the HTTP ports of both services as `config` has them: one of
/// them at least has to answer, and what nobody listens on counts as not run here (a process whose service fails ends).
pub fn check(urls: &[String], config: &Config) -> Result<(), HealthError> {
    if !urls.is_empty() {
        return urls.iter().try_for_each(|url| ask(url, PATIENCE));
    }
    let ports = [config.ingest.http_listen, config.publish.http_listen].map(reachable);
    let mut running = 0;
    for port in ports {
        match ask(&format!("http://{port}{PATH}"), PATIENCE) {
            Ok(()) => running += 1,
            Err(HealthError::Silent { source, .. })
                if source.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error),
        }
    }
    match running {
        0 => Err(HealthError::NothingRuns(ports[0], ports[1])),
        _ => Ok(()),
    }
}

fn ask(url: &str, patience: Duration) -> Result<(), HealthError> {
    let bad = || HealthError::Url { url: url.to_owned() };
    let rest = url.strip_prefix("http://").ok_or_else(bad)?;
    if rest.contains(|c: char| c.is_control() || c == ' ') {
        return Err(bad());
    }
    let (host, path) = match rest.split_once('/') {
        Some((host, path)) => (host, format!("/{path}")),
        None => (rest, PATH.to_owned()),
    };
    if host
        .rsplit_once(':')
        .is_none_or(|(name, port)| name.is_empty() || port.parse::<u16>().is_err())
    {
        return Err(bad());
    }
    let silent = |source: io::Error| {
        // A read that takes too long is told as one that would block.
        let is_late = source.kind() == io::ErrorKind::WouldBlock;
        let source = if is_late { io::ErrorKind::TimedOut.into() } else { source };
        HealthError::Silent { url: url.to_owned(), source }
    };
    let answer = status_line(host, &path, Instant::now() + patience).map_err(silent)?;
    match answer.split(' ').nth(1) {
        Some("200") if answer.starts_with("HTTP/1.") => Ok(()),
        _ => Err(HealthError::NotReady { url: url.to_owned(), answer }),
    }
}

/// The first line of what `host` answers to a GET of `path` before `until`, without its end.
fn status_line(host: &str, path: &str, until: Instant) -> io::Result<String> {
    let mut stream = connect(host, until)?;
    stream.set_write_timeout(Some(left(until)?))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n")?;
    let mut answer = [0; MAX_STATUS_BYTES];
    let mut filled = 0;
    while filled < answer.len() && !answer[..filled].contains(&b'\n') {
        stream.set_read_timeout(Some(left(until)?))?;
        match stream.read(&mut answer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    let text = String::from_utf8_lossy(&answer[..filled]);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// To the first address of `host` that takes the connection.
fn connect(host: &str, until: Instant) -> io::Result<TcpStream> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in host.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, left(until)?) {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// The time until `until`; an error where there is none.
fn left(until: Instant) -> io::Result<Duration> {
    match until.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A server that gives one answer to each connection and closes it; its address. With `None` it never answers.
    fn server(answer: Option<&'static str>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut silent = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                match answer {
                    Some(answer) => {
                        let mut request = Vec::new();
                        let mut byte = [0];
                        while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() > 0
                        {
                            request.push(byte[0]);
                        }
                        assert!(request.starts_with(b"GET /readyz HTTP/1.0\r\nHost: "));
                        let _ = stream.write_all(answer.as_bytes());
                    }
                    None => silent.push(stream),
                }
            }
        });
        address
    }

    /// An address on which nobody listens.
    fn nobody() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    const READY: &str = "HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nok\n";
    const DRAINING: &str = "HTTP/1.0 503 Service Unavailable\r\n\r\ndraining\n";

    fn config(ingest: SocketAddr, publish: SocketAddr) -> Config {
        let mut config = Config::default();
        config.ingest.http_listen = ingest;
        config.publish.http_listen = publish;
        config
    }

    #[test]
    fn what_runs_is_asked_and_what_nobody_listens_on_is_not_run_here() {
        let (ready, other) = (server(Some(READY)), server(Some(READY)));
        for config in [config(ready, other), config(ready, nobody()), config(nobody(), ready)] {
            check(&[], &config).unwrap();
        }
        let (ingest, publish) = (nobody(), nobody());
        let error = check(&[], &config(ingest, publish)).unwrap_err();
        assert!(matches!(error, HealthError::NothingRuns(a, b) if (a, b) == (ingest, publish)));
    }

    #[test]
    fn one_service_that_is_not_ready_fails_the_check() {
        let (ready, draining) = (server(Some(READY)), server(Some(DRAINING)));
        for config in [config(ready, draining), config(draining, ready)] {
            let error = check(&[], &config).unwrap_err().to_string();
            assert!(
                error.ends_with("is not ready: \"HTTP/1.0 503 Service Unavailable\""),
                "{error}"
            );
        }
    }

    #[test]
    fn an_unspecified_address_is_asked_by_loopback() {
        let ready = server(Some(READY));
        let any = SocketAddr::new("0.0.0.0".parse().unwrap(), ready.port());
        check(&[], &config(any, nobody())).unwrap();
    }

    #[test]
    fn every_url_that_is_given_has_to_be_ready() {
        let ready = format!("http://{}/readyz", server(Some(READY)));
        let without_path = format!("http://{}", server(Some(READY)));
        check(&[ready.clone(), without_path], &Config::default()).unwrap();
        let gone = format!("http://{}/readyz", nobody());
        let error = check(&[ready, gone.clone()], &Config::default()).unwrap_err();
        assert!(matches!(error, HealthError::Silent { url, .. } if url == gone));
    }

    #[test]
    fn what_is_no_http_or_ends_at_once_is_not_ready() {
        for answer in ["", "RTSP/1.0 200 OK\r\n", "HTTP/1.1\r\n", "200"] {
            let url = format!("http://{}/readyz", server(Some(answer)));
            let error = check(&[url], &Config::default()).unwrap_err();
            assert!(matches!(error, HealthError::NotReady { .. }), "{answer:?}: {error}");
        }
    }

    #[test]
    fn a_server_that_never_answers_is_not_waited_for_beyond_the_patience() {
        let (url, patience) = (format!("http://{}", server(None)), Duration::from_millis(20));
        let began = Instant::now();
        let error = ask(&url, patience).unwrap_err();
        assert_eq!(error.to_string(), format!("{url} does not answer: timed out"));
        assert!(began.elapsed() >= patience);
    }

    #[test]
    fn a_url_that_cannot_be_asked_is_refused() {
        for url in
            ["", "https://a:1/", "http://a/readyz", "http://:80", "http://a:b", "http://a:1/ b"]
        {
            let error = check(&[url.to_owned()], &Config::default()).unwrap_err();
            assert!(matches!(error, HealthError::Url { .. }), "{url}: {error}");
        }
    }
}
