//! What each command does (7.2).

use rml_amf0::Amf0Value;

use super::{
    Credentials, Event, Publish, PublishRequest, PublishRequestId, RtmpError, ServerSession, Stage,
    path::App,
};
use crate::rtmp::{amf0::Value, message::Command, output::Status};

/// Message streams of one connection: a publisher needs one, some clients make a second.
pub(super) const MAX_MESSAGE_STREAMS: u32 = 16;

/// The longest name that is worth keeping; stream keys have at most 128 bytes, tokens some hundreds.
const MAX_NAME_BYTES: usize = 4096;

/// `capsEx` of Enhanced RTMP v2: it can be asked to reconnect.
const RECONNECT: u32 = 1;

/// What `connect` said.
pub(super) struct Connected {
    /// It can be asked to reconnect.
    pub(super) reconnects: bool,
    app: App,
    tc_url: String,
    user_agent: String,
    /// Bit n is set while message stream n + 1 exists.
    streams: u16,
}

impl ServerSession {
    pub(super) fn handle_command(&mut self, command: Command) -> Result<(), RtmpError> {
        match command.name.as_str() {
            "connect" => self.handle_connect(&command),
            "createStream" => self.handle_create_stream(&command)?,
            // _checkbw asks for a measurement of bandwidth; encoders only want to be answered.
            "releaseStream" | "_checkbw" => self.answer(&command, Amf0Value::Undefined),
            "FCPublish" => self.handle_fc_publish(&command),
            "publish" => self.handle_publish(&command)?,
            "FCUnpublish" => {
                self.answer(&command, Amf0Value::Undefined);
                let description = name_argument(&command).unwrap_or_default();
                let code = "NetStream.Unpublish.Success";
                let status = Status { level: "status", code, description };
                self.output.status("onFCUnpublish", 0, status);
                self.unpublish(None);
            }
            "deleteStream" => self.handle_delete_stream(&command),
            "closeStream" => self.unpublish(Some(command.stream_id)),
            "getStreamLength" => self.answer(&command, Amf0Value::Number(0.0)),
            "play" | "play2" => {
                let code = "NetStream.Play.StreamNotFound";
                let description = "This server takes streams; play them by RTSP.";
                let status = Status { level: "error", code, description };
                self.output.status("onStatus", command.stream_id, status);
            }
            // FCSubscribe, receiveAudio, pause and whatever else there is.
            _ => {}
        }
        Ok(())
    }

    /// 7.2.1.1.
    fn handle_connect(&mut self, command: &Command) {
        let text = |name| command.object.property(name).and_then(Value::as_str).map(cut);
        if self.stage.connected_mut().is_some() {
            let code = "NetConnection.Connect.Rejected";
            let description = "Connected already.";
            let status = Status { level: "error", code, description };
            self.output.error(command.transaction, status);
            return;
        }
        let tc_url = text("tcUrl").unwrap_or_default();
        let app = App::parse(text("app").unwrap_or_default(), tc_url);
        if let Some(description) = self.config.adobe.refusal(tc_url, app.query()) {
            let code = "NetConnection.Connect.Rejected";
            let status = Status { level: "error", code, description: &description };
            self.output.error(command.transaction, status);
            return;
        }
        let capabilities = command.object.property("capsEx").and_then(Value::as_number);
        let reconnects = capabilities.unwrap_or_default() as u32 & RECONNECT != 0;
        let connected = Connected {
            reconnects,
            app,
            tc_url: tc_url.to_owned(),
            user_agent: text("flashVer").unwrap_or_default().to_owned(),
            streams: 0,
        };
        let object_encoding = command.object.property("objectEncoding");
        let object_encoding = object_encoding.and_then(Value::as_number).unwrap_or_default();
        self.output.window_ack_size(self.config.window_ack_size);
        self.output.peer_bandwidth(self.config.window_ack_size);
        self.output.set_chunk_size(self.config.chunk_size);
        // We are told what a client can, and say what of it we make use of.
        let capabilities = reconnects.then_some(RECONNECT);
        self.output.connect_result(command.transaction, object_encoding, capabilities);
        self.stage = Stage::Connected(connected);
    }

    /// 7.2.1.3. Gives the lowest free message stream id, which is 1 for the first.
    fn handle_create_stream(&mut self, command: &Command) -> Result<(), RtmpError> {
        let connected = self.connected("createStream before connect")?;
        let id = connected.streams.trailing_ones() + 1;
        if id > MAX_MESSAGE_STREAMS {
            let code = "NetConnection.Call.Failed";
            let description = "No more message streams on this connection.";
            let status = Status { level: "error", code, description };
            self.output.error(command.transaction, status);
            return Ok(());
        }
        connected.streams |= 1 << (id - 1);
        self.output.result(command.transaction, Amf0Value::Number(id.into()));
        Ok(())
    }

    /// Flash Media Live Encoder's announcement of what it is going to publish.
    fn handle_fc_publish(&mut self, command: &Command) {
        self.answer(command, Amf0Value::Undefined);
        let description = name_argument(command).unwrap_or_default();
        let code = "NetStream.Publish.Start";
        self.output.status("onFCPublish", 0, Status { level: "status", code, description });
    }

    /// 7.2.2.6. The publishing type (live, record, append, in any case or missing) makes no
    /// difference: every publish is live.
    fn handle_publish(&mut self, command: &Command) -> Result<(), RtmpError> {
        let stream_id = command.stream_id;
        let (busy, adobe) = (self.publish.is_some(), self.config.adobe);
        let connected = self.connected("publish before connect")?;
        let (stream_key, query) =
            connected.app.key_and_query(name_argument(command).unwrap_or_default());
        let refusal = if busy {
            Some(("NetStream.Publish.Failed", "This connection publishes already."))
        } else if stream_key.is_empty() {
            Some((
                "NetStream.Publish.Denied",
                "No stream key: publish to rtmp://host/app/stream_key.",
            ))
        } else {
            None
        };
        if let Some((code, description)) = refusal {
            let status = Status { level: "error", code, description };
            self.output.status("onStatus", stream_id, status);
            return Ok(());
        }
        let credentials = Credentials::of(&connected.tc_url, &query, &adobe);
        let (app, user_agent) = (connected.app.name.clone(), connected.user_agent.clone());
        self.last_request += 1;
        let id = PublishRequestId(self.last_request);
        self.publish =
            Some(Publish { id, stream_id, stream_key: stream_key.clone(), accepted: false });
        let request = PublishRequest { id, app, stream_key, query, credentials, user_agent };
        self.events.push_back(Event::PublishRequested(Box::new(request)));
        Ok(())
    }

    /// 7.2.2.3. The id stands in the arguments, not in the message header.
    fn handle_delete_stream(&mut self, command: &Command) {
        let id = command.arguments.first().and_then(Value::as_number).unwrap_or_default() as u32;
        if let Some(connected) = self.stage.connected_mut()
            && (1..=MAX_MESSAGE_STREAMS).contains(&id)
        {
            connected.streams &= !(1 << (id - 1));
        }
        self.unpublish(Some(id));
    }

    /// Ends the publish on the message stream, or on any. Some clients send `closeStream` on
    /// message stream 0, though it belongs to the one of the publish.
    fn unpublish(&mut self, stream_id: Option<u32>) {
        let ends =
            |publish: &mut Publish| stream_id.is_none_or(|id| id == 0 || id == publish.stream_id);
        if let Some(publish) = self.publish.take_if(ends)
            && publish.accepted
        {
            self.events.push_back(Event::PublishEnded);
        }
    }

    /// `_result`, where the peer wants an answer.
    fn answer(&mut self, command: &Command, value: Amf0Value) {
        if command.transaction != 0.0 {
            self.output.result(command.transaction, value);
        }
    }

    fn connected(&mut self, what: &'static str) -> Result<&mut Connected, RtmpError> {
        let at = self.position();
        self.stage.connected_mut().ok_or(RtmpError::Protocol { what, at })
    }
}

/// The stream's name: the first argument of most commands.
fn name_argument(command: &Command) -> Option<&str> {
    command.arguments.first().and_then(Value::as_str).map(cut)
}

/// Cuts what no honest client sends.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_NAME_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
