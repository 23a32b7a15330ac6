//! FLV tags: which track each is of, and what its track makes of it.

use std::time::Instant;

use bytes::Bytes;
use media::{
    codec::{AudioHeader, CodecError, MediaKind},
    flv::{AudioCodec, AudioTag, FlvError, TrackTag, VideoCodec, VideoTag},
    rtmp::MediaMessage,
};

use super::{
    super::track::{AudioTrack, HeaderChange, VideoTrack},
    Pipeline,
};

/// Why a tag could not be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum TagError {
    #[error(transparent)]
    Flv(#[from] FlvError),
    #[error(transparent)]
    Codec(#[from] CodecError),
}

impl Pipeline {
    pub(super) fn handle_video(
        &mut self,
        message: &MediaMessage,
        now: Instant,
    ) -> Result<(), TagError> {
        match VideoTag::parse(&message.payload)? {
            VideoTag::Multitrack(tracks) => {
                for TrackTag { track_id, tag } in tracks {
                    if *self.video_track_id.get_or_insert(track_id) == track_id {
                        self.handle_video_tag(tag, message.timestamp_ms, now)?;
                    } else {
                        self.leave_out_track(MediaKind::Video, track_id);
                    }
                }
                Ok(())
            }
            tag => self.handle_video_tag(tag, message.timestamp_ms, now),
        }
    }

    fn handle_video_tag(
        &mut self,
        tag: VideoTag,
        timestamp_ms: u32,
        now: Instant,
    ) -> Result<(), TagError> {
        match tag {
            VideoTag::SequenceHeader { codec, record } => {
                self.handle_video_header(codec, &record, now)?;
            }
            VideoTag::Frame { codec, keyframe, composition_time_ms, payload } => {
                let Some(video) = self.video.as_mut().filter(|v| v.takes(codec, keyframe)) else {
                    self.dropped.unusable = self.dropped.unusable.wrapping_add(1);
                    return Ok(());
                };
                // What cannot be read must not move the timeline.
                let timeline = &mut self.timeline;
                let place = || timeline.place(MediaKind::Video, timestamp_ms, now);
                let unit = video.packetize(&payload, keyframe, composition_time_ms, place)?;
                if unit.keyframe {
                    self.picture.keep(&payload, composition_time_ms);
                }
                self.units.push_back(unit);
            }
            VideoTag::EndOfSequence
            | VideoTag::Command
            | VideoTag::Empty
            | VideoTag::Multitrack(_) => {}
            VideoTag::Unsupported(codec) => self.leave_out(codec),
        }
        Ok(())
    }

    fn handle_video_header(
        &mut self,
        codec: VideoCodec,
        record: &Bytes,
        now: Instant,
    ) -> Result<(), TagError> {
        match &mut self.video {
            Some(video) => {
                let change = video.set_record(codec, record)?;
                if change != HeaderChange::None {
                    self.picture.forget();
                }
                self.header_changed(change);
            }
            None => {
                let (max_packet_size, late) = (self.config.max_packet_size, self.announced > 0);
                let header = (codec, record);
                self.video =
                    Some(VideoTrack::new(header, self.config.video, max_packet_size, late)?);
                self.track_found(now);
            }
        }
        Ok(())
    }

    pub(super) fn handle_audio(
        &mut self,
        message: &MediaMessage,
        now: Instant,
    ) -> Result<(), TagError> {
        match AudioTag::parse(&message.payload)? {
            AudioTag::Multitrack(tracks) => {
                for TrackTag { track_id, tag } in tracks {
                    if *self.audio_track_id.get_or_insert(track_id) == track_id {
                        self.handle_audio_tag(tag, message.timestamp_ms, now)?;
                    } else {
                        self.leave_out_track(MediaKind::Audio, track_id);
                    }
                }
                Ok(())
            }
            tag => self.handle_audio_tag(tag, message.timestamp_ms, now),
        }
    }

    fn handle_audio_tag(
        &mut self,
        tag: AudioTag,
        timestamp_ms: u32,
        now: Instant,
    ) -> Result<(), TagError> {
        match tag {
            AudioTag::SequenceHeader { codec, header } => {
                if let Some(header) = AudioHeader::parse(codec, &header)? {
                    self.handle_audio_header(header, now);
                }
            }
            AudioTag::Frame { codec, payload } => {
                self.handle_audio_frame(codec, &payload, timestamp_ms, now)?;
            }
            AudioTag::Command | AudioTag::Empty | AudioTag::Multitrack(_) => {}
            AudioTag::Unsupported(codec) => self.leave_out(codec),
        }
        Ok(())
    }

    fn handle_audio_frame(
        &mut self,
        codec: AudioCodec,
        frame: &Bytes,
        timestamp_ms: u32,
        now: Instant,
    ) -> Result<(), TagError> {
        if frame.is_empty() {
            return Ok(());
        }
        let told = AudioHeader::of_frame(codec, frame)?;
        match (&self.audio, told) {
            (Some(audio), None) if audio.takes(codec) => {}
            (_, None) => {
                self.dropped.unusable = self.dropped.unusable.wrapping_add(1);
                return Ok(());
            }
            (Some(audio), Some(told)) if !audio.is_another(&told) => {}
            (_, Some(told)) => self.handle_audio_header(told, now),
        }
        let Some(audio) = &mut self.audio else { return Ok(()) };
        let timeline = &mut self.timeline;
        let place = || timeline.place(MediaKind::Audio, timestamp_ms, now);
        self.units.extend(audio.packetize(frame, place)?);
        Ok(())
    }

    fn handle_audio_header(&mut self, header: AudioHeader, now: Instant) {
        match &mut self.audio {
            Some(audio) => {
                let change = audio.set_header(header);
                self.header_changed(change);
            }
            None => {
                let (max_packet_size, late) = (self.config.max_packet_size, self.announced > 0);
                let audio = AudioTrack::new(header, self.config.audio, max_packet_size, late);
                self.audio = Some(audio);
                self.track_found(now);
            }
        }
    }
}
