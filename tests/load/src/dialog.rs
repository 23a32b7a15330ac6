//! The reader's side of RTSP 1.0 (RFC 2326), as far as live video needs it, and of the floor's hello: text in, text out.

use crate::url::{Scheme, Url};

/// How packets come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// Interleaved with the RTSP messages.
    Tcp,
    /// To a port of the reader's.
    Udp,
}

/// What is to be done after an answer.
#[derive(PartialEq, Eq, Debug)]
pub enum Next {
    /// Send this.
    Send(String),
    /// The server has let us play.
    Play,
    /// Nothing.
    Wait,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Describe,
    Setup,
    Play,
    Playing,
}

/// One dialog.
#[derive(Debug)]
pub struct Dialog {
    url: Url,
    transport: Transport,
    client_port: u16,
    step: Step,
    sequence: u32,
    base: String,
    session: String,
}

impl Dialog {
    /// For packets by `transport`; `client_port` is that of RTP, where that is UDP.
    pub fn new(url: Url, transport: Transport, client_port: u16) -> Self {
        let (base, session) = (url.text.clone(), String::new());
        Self { url, transport, client_port, step: Step::Describe, sequence: 0, base, session }
    }

    /// What is sent first.
    pub fn first(&mut self) -> String {
        match (self.url.scheme, self.transport) {
            (Scheme::Raw, Transport::Tcp) => format!("SUB {}\n", self.url.path),
            (Scheme::Raw, Transport::Udp) => {
                format!("UDP {} {}\n", self.url.path, self.client_port)
            }
            (Scheme::Rtsp | Scheme::Rtmp, _) => {
                let url = self.url.text.clone();
                self.request("DESCRIBE", &url, "Accept: application/sdp\r\n")
            }
        }
    }

    /// What keeps the session.
    pub fn keep_alive(&mut self) -> Option<String> {
        let url = self.base.clone();
        (self.url.scheme == Scheme::Rtsp).then(|| self.request("OPTIONS", &url, ""))
    }

    /// What ends it.
    pub fn teardown(&mut self) -> Option<String> {
        let url = self.base.clone();
        (self.url.scheme == Scheme::Rtsp).then(|| self.request("TEARDOWN", &url, ""))
    }

    /// Takes an answer.
    pub fn answer(&mut self, message: &[u8]) -> Result<Next, String> {
        let text = String::from_utf8_lossy(message);
        let (header, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        if self.url.scheme == Scheme::Raw {
            return if header == "OK" {
                Ok(Next::Play)
            } else {
                Err(format!("the floor: {header}"))
            };
        }
        let status = header.lines().next().unwrap_or_default();
        if !status.starts_with("RTSP/1.0") || self.step == Step::Playing {
            return Ok(Next::Wait);
        }
        if status.split_whitespace().nth(1) != Some("200") {
            return Err(format!("{:?}: {status}", self.step));
        }
        match self.step {
            Step::Describe => {
                if let Some(base) = value(header, "content-base") {
                    self.base = base.to_owned();
                }
                let url = self.video_url(body)?;
                self.step = Step::Setup;
                let port = self.client_port;
                let transport = match self.transport {
                    Transport::Tcp => "RTP/AVP/TCP;unicast;interleaved=0-1".to_owned(),
                    Transport::Udp => {
                        format!("RTP/AVP;unicast;client_port={port}-{}", u32::from(port) + 1)
                    }
                };
                Ok(Next::Send(self.request("SETUP", &url, &format!("Transport: {transport}\r\n"))))
            }
            Step::Setup => {
                let session = value(header, "session").ok_or("SETUP: no session")?;
                self.session = session.split(';').next().unwrap_or_default().trim().to_owned();
                self.step = Step::Play;
                let base = self.base.clone();
                Ok(Next::Send(self.request("PLAY", &base, "Range: npt=0.000-\r\n")))
            }
            Step::Play => {
                self.step = Step::Playing;
                Ok(Next::Play)
            }
            Step::Playing => Ok(Next::Wait),
        }
    }

    /// Of the first video track of a session description.
    fn video_url(&self, description: &str) -> Result<String, String> {
        let mut lines = description.lines().skip_while(|line| !line.starts_with("m=video"));
        lines.next().ok_or("DESCRIBE: no video")?;
        let control = lines
            .take_while(|line| !line.starts_with("m="))
            .find_map(|line| line.strip_prefix("a=control:"))
            .map_or("", str::trim);
        Ok(match control {
            "" | "*" => self.base.clone(),
            url if url.starts_with("rtsp://") => url.to_owned(),
            part => format!("{}/{part}", self.base.trim_end_matches('/')),
        })
    }

    fn request(&mut self, method: &str, url: &str, headers: &str) -> String {
        self.sequence += 1;
        let session = match self.session.as_str() {
            "" => String::new(),
            session => format!("Session: {session}\r\n"),
        };
        let sequence = self.sequence;
        format!("{method} {url} RTSP/1.0\r\nCSeq: {sequence}\r\n{session}{headers}\r\n")
    }
}

fn value<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    header.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DESCRIBED: &[u8] = b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Base: rtsp://h/k/\r\n\r\n\
        v=0\r\na=control:*\r\nm=audio 0 RTP/AVP 97\r\na=control:track1\r\nm=video 0 RTP/AVP 96\r\n\
        a=control:track2\r\n";

    fn dialog(transport: Transport) -> Dialog {
        Dialog::new(Url::of("rtsp://127.0.0.1:1/{key}", "k").unwrap(), transport, 4000)
    }

    fn sent(next: Result<Next, String>) -> String {
        match next {
            Ok(Next::Send(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_video_track_is_set_up_and_played() {
        let mut dialog = dialog(Transport::Udp);
        assert!(
            dialog.first().starts_with("DESCRIBE rtsp://127.0.0.1:1/k RTSP/1.0\r\nCSeq: 1\r\n")
        );
        let setup = sent(dialog.answer(DESCRIBED));
        assert!(setup.starts_with("SETUP rtsp://h/k/track2 RTSP/1.0\r\n"), "{setup}");
        assert!(setup.contains("client_port=4000-4001\r\n"), "{setup}");
        let play = sent(dialog.answer(b"RTSP/1.0 200 OK\r\nSession: 12;timeout=60\r\n\r\n"));
        assert!(play.contains("\r\nSession: 12\r\n"), "{play}");
        assert_eq!(dialog.answer(b"RTSP/1.0 200 OK\r\n\r\n"), Ok(Next::Play));
        assert_eq!(dialog.answer(b"RTSP/1.0 200 OK\r\n\r\n"), Ok(Next::Wait));
    }

    #[test]
    fn a_refusal_is_an_error_that_tells_the_step() {
        let mut dialog = dialog(Transport::Tcp);
        dialog.first();
        let refused = dialog.answer(b"RTSP/1.0 404 Not Found\r\n\r\n");
        assert_eq!(refused, Err("Describe: RTSP/1.0 404 Not Found".to_owned()));
    }
}
