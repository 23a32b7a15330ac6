//! What is said to the server, and what its commands do (7.2).

use rml_amf0::Amf0Value;

use super::{BUFFER_MS, ClientSession, PlayEnded, Reason, Stage};
use crate::rtmp::{
    amf0::Value,
    message::Command,
    output::{object, text},
};

/// Transactions of the two calls that are answered, and of those that are not.
const CONNECT: f64 = 1.0;
const CREATE_STREAM: f64 = 2.0;
const NO_ANSWER: f64 = 0.0;
/// What ffmpeg calls itself when it plays. Servers are known that serve nobody but Flash Player's kind.
const FLASH_VERSION: &str = "LNX 9,0,124,2";
/// `start` of `play`: only a live stream. -1 in the specification; servers take milliseconds, as ffmpeg and librtmp send them.
const LIVE: f64 = -1000.0;
/// The codecs of Enhanced RTMP that are carried (its `fourCcList` of `connect`).
const FOUR_CCS: [&str; 8] = ["avc1", "hvc1", "av01", "vp09", "mp4a", "Opus", "ac-3", ".mp3"];
/// `capsEx` of Enhanced RTMP v2: multitrack (2) and ModEx (4) can be read; no reconnect requests (1).
const CAPABILITIES: f64 = 6.0;
/// The code of a stream that is not there.
const NOT_FOUND: &str = "NetStream.Play.StreamNotFound";
/// What is kept of a code and of a description, in bytes: a line for a person.
pub(super) const MAX_CODE_BYTES: usize = 128;
pub(super) const MAX_DESCRIPTION_BYTES: usize = 512;

impl ClientSession {
    /// 7.2.1.1. The numbers are those of ffmpeg and librtmp: all codecs and functions that Flash Player has.
    pub(super) fn connect(&mut self) {
        let four_ccs = FOUR_CCS.map(text).to_vec();
        let parameters = object([
            ("app", text(self.url.app())),
            ("flashVer", text(FLASH_VERSION)),
            ("tcUrl", text(&self.url.tc_url())),
            ("fpad", Amf0Value::Boolean(false)),
            ("capabilities", Amf0Value::Number(15.0)),
            ("audioCodecs", Amf0Value::Number(4071.0)),
            ("videoCodecs", Amf0Value::Number(252.0)),
            ("videoFunction", Amf0Value::Number(1.0)),
            ("objectEncoding", Amf0Value::Number(0.0)),
            ("fourCcList", Amf0Value::StrictArray(four_ccs)),
            ("capsEx", Amf0Value::Number(CAPABILITIES)),
        ]);
        self.output.window_ack_size(self.window_ack_size);
        self.output.command("connect", CONNECT, parameters, vec![], 0);
        self.stage = Stage::Connecting;
    }

    /// 7.2.2.1. It has no answer of its own: `onStatus` comes.
    fn play(&mut self, stream_id: u32) {
        let arguments = vec![text(&self.url.playing_name()), Amf0Value::Number(LIVE)];
        self.output.command("play", NO_ANSWER, Amf0Value::Null, arguments, stream_id);
        self.output.set_buffer_length(stream_id, BUFFER_MS);
        self.stage = Stage::Starting { stream_id };
    }

    /// 7.2.2.3.
    pub(super) fn delete_stream(&mut self, stream_id: u32) {
        let arguments = vec![Amf0Value::Number(stream_id.into())];
        self.output.command("deleteStream", NO_ANSWER, Amf0Value::Null, arguments, 0);
    }

    pub(super) fn handle_command(&mut self, command: &Command) {
        match command.name.as_str() {
            "_result" => self.handle_result(command),
            "_error" => self.handle_error(command),
            "onStatus" | "onPlayStatus" => self.handle_status(command),
            "close" => self.ended(PlayEnded::Closed),
            // onBWDone, onFCSubscribe and whatever else there is.
            _ => {}
        }
    }

    fn handle_result(&mut self, command: &Command) {
        match self.stage {
            Stage::Connecting if command.transaction == CONNECT => {
                let no_arguments = Amf0Value::Null;
                self.output.command("createStream", CREATE_STREAM, no_arguments, vec![], 0);
                self.stage = Stage::Creating;
            }
            Stage::Creating if command.transaction == CREATE_STREAM => {
                // Servers are known that leave the id out; it is 1 with all others.
                let id = command.arguments.first().and_then(Value::as_number).unwrap_or(1.0);
                self.play(id as u32);
            }
            Stage::Handshake(_)
            | Stage::Connecting
            | Stage::Creating
            | Stage::Starting { .. }
            | Stage::Playing { .. }
            | Stage::Closed => {}
        }
    }

    fn handle_error(&mut self, command: &Command) {
        let awaited = match self.stage {
            Stage::Connecting => CONNECT,
            Stage::Creating => CREATE_STREAM,
            // Servers are known (those on rml_rtmp) that refuse `play` so.
            Stage::Starting { .. } => NO_ANSWER,
            Stage::Handshake(_) | Stage::Playing { .. } | Stage::Closed => return,
        };
        if command.transaction == awaited {
            let reason = reason(command);
            self.ended(match reason.code.as_str() {
                NOT_FOUND => PlayEnded::NotFound(reason),
                _ => PlayEnded::Rejected(reason),
            });
        }
    }

    /// 7.2.2. Codes of other things than the end (Play.Reset, PublishNotify, Data.Start, InsufficientBW) are passed over.
    fn handle_status(&mut self, command: &Command) {
        let reason = reason(command);
        let plays = self.stage.stream_id().is_some();
        match reason.code.as_str() {
            "NetStream.Play.Start" => self.playing(),
            NOT_FOUND if plays => self.ended(PlayEnded::NotFound(reason)),
            "NetStream.Play.UnpublishNotify" if plays => self.ended(PlayEnded::Unpublished),
            "NetStream.Play.Stop" | "NetStream.Play.Complete" if plays => {
                self.ended(PlayEnded::Stopped);
            }
            _ if property(command, "level") == Some("error") => {
                self.ended(PlayEnded::Failed(reason));
            }
            _ => {}
        }
    }
}

/// A property of the info object, which stands in the arguments (7.2.1.1, 7.2.2), or with some servers in their place.
fn property<'a>(command: &'a Command, name: &str) -> Option<&'a str> {
    let objects = command.arguments.iter().chain([&command.object]);
    objects.filter_map(|object| object.property(name)).find_map(Value::as_str)
}

fn reason(command: &Command) -> Reason {
    let text = |name, max| clean(property(command, name).unwrap_or_default(), max);
    Reason {
        code: text("code", MAX_CODE_BYTES),
        description: text("description", MAX_DESCRIPTION_BYTES),
    }
}

/// Cut, on one line, and without what could move a terminal.
fn clean(text: &str, max_bytes: usize) -> String {
    let mut end = text.len().min(max_bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].trim().replace(char::is_control, " ")
}
