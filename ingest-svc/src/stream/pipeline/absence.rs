//! What there is to send while there is no publisher: the last keyframe, and silence.

use std::time::{Duration, Instant};

use bytes::Bytes;
use media::codec::MediaKind;
use tracing::debug;

use super::Pipeline;

/// The last keyframe that goes with the codec header, if it is wanted.
#[derive(Default)]
pub(super) struct KeptPicture {
    wanted: bool,
    last: Option<Picture>,
}

/// A keyframe as its tag had it.
struct Picture {
    payload: Bytes,
    composition_time_ms: i32,
}

impl KeptPicture {
    /// A keyframe was sent.
    pub(super) fn keep(&mut self, payload: &[u8], composition_time_ms: i32) {
        if self.wanted {
            // A copy, which must not keep the buffer that it came in.
            let payload = Bytes::copy_from_slice(payload);
            self.last = Some(Picture { payload, composition_time_ms });
        }
    }

    /// The codec header changed.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }
}

impl Pipeline {
    /// From now on the last keyframe is kept, for [`Self::repeat_picture`].
    pub(crate) fn keep_picture(&mut self) {
        self.picture.wanted = true;
    }

    /// Whether there is something to show or to hear while there is no publisher.
    pub(crate) fn can_be_offline(&self) -> bool {
        let silence = self.video.is_none() && self.silence().is_some();
        self.announced > 0 && (self.picture.last.is_some() || silence)
    }

    /// Sends the last keyframe once more, if there is one.
    pub(crate) fn repeat_picture(&mut self, timestamp_ms: u32, now: Instant) {
        let (Some(video), Some(picture)) = (&mut self.video, &self.picture.last) else { return };
        let Picture { payload, composition_time_ms } = picture;
        let place = || self.timeline.place(MediaKind::Video, timestamp_ms, now);
        match video.packetize(payload, true, *composition_time_ms, place) {
            Ok(unit) => self.units.push_back(unit),
            Err(error) => debug!(%error, "a picture that was sent cannot be sent again"),
        }
    }

    /// Sends a frame of silence, and says how long it lasts; `None` where there is none.
    pub(crate) fn fall_silent(&mut self, timestamp_ms: u32, now: Instant) -> Option<Duration> {
        let (frame, lasts) = self.silence()?;
        let place = || self.timeline.place(MediaKind::Audio, timestamp_ms, now);
        self.units.extend(self.audio.as_mut()?.packetize(&frame, place).ok()?);
        Some(lasts)
    }

    fn silence(&self) -> Option<(Bytes, Duration)> {
        self.audio.as_ref()?.silence()
    }
}
