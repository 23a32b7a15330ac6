//! An FLV file (Adobe Flash Video File Format Specification 10.1, E.2 to E.4) as an endless loop of tags.

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use media::flv::{AudioTag, VideoTag};

/// What a tag holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// An audio tag: RTMP message type 8.
    Audio,
    /// A video tag: RTMP message type 9.
    Video,
}

/// One FLV tag, as it is sent in one RTMP message.
#[derive(Clone, Debug)]
pub struct Tag {
    /// What it holds.
    pub kind: Kind,
    /// Its decoding time in milliseconds; 64 bits, not wrapped.
    pub timestamp_ms: u64,
    /// Its body.
    pub body: Bytes,
    /// Whether the loop can be entered at it.
    keyframe: bool,
}

/// A clip that fits to its own beginning: its tracks are of one length.
#[derive(Debug)]
pub struct Clip {
    /// The sequence headers, to be sent first on each connection.
    pub headers: Vec<Tag>,
    /// All other tags in the order of their times, the first at 0 or later.
    tags: Vec<Tag>,
    /// How long one turn of the loop lasts.
    duration_ms: u64,
}

/// The endless loop.
#[derive(Debug)]
pub struct Tags<'a> {
    clip: &'a Clip,
    next: usize,
    turn: u64,
}

impl Clip {
    /// Reads an FLV file of H.264 and AAC.
    pub fn parse(file: &Bytes) -> anyhow::Result<Self> {
        ensure!(file.starts_with(b"FLV\x01"), "not an FLV file");
        let mut at = 9 + 4;
        let mut headers = Vec::new();
        let mut tags = Vec::new();
        while at < file.len() {
            let (tag, next) = read_tag(file, at).with_context(|| format!("tag at byte {at}"))?;
            at = next;
            match tag {
                None => {}
                Some((tag, true)) => headers.push(tag),
                Some((tag, false)) => tags.push(tag),
            }
        }
        // One turn is what the pictures take; the sound has to take the same (the test below proves it).
        let duration_ms = track_duration_ms(&tags, Kind::Video)?;
        // What ends late in one turn lies among the first tags of the next: both are played in the order of their times.
        let (mut wrapped, mut looped): (Vec<_>, Vec<_>) =
            tags.into_iter().partition(|tag| tag.timestamp_ms >= duration_ms);
        wrapped.iter_mut().for_each(|tag| tag.timestamp_ms -= duration_ms);
        looped.append(&mut wrapped);
        looped.sort_by_key(|tag| (tag.timestamp_ms, tag.kind == Kind::Audio));
        Ok(Self { headers, tags: looped, duration_ms })
    }

    /// The tags from the first keyframe at or after `from_ms` on, for ever.
    pub fn tags_from(&self, from_ms: u64) -> impl Iterator<Item = Tag> {
        Tags { clip: self, next: 0, turn: from_ms / self.duration_ms }
            .skip_while(move |tag| tag.timestamp_ms < from_ms || !tag.keyframe)
    }
}

impl Iterator for Tags<'_> {
    type Item = Tag;

    fn next(&mut self) -> Option<Tag> {
        let mut tag = self.clip.tags.get(self.next)?.clone();
        tag.timestamp_ms += self.turn * self.clip.duration_ms;
        self.next += 1;
        if self.next == self.clip.tags.len() {
            (self.next, self.turn) = (0, self.turn + 1);
        }
        Some(tag)
    }
}

/// The distance from the first picture to the one after the last.
fn track_duration_ms(tags: &[Tag], kind: Kind) -> anyhow::Result<u64> {
    let times: Vec<u64> = tags.iter().filter(|t| t.kind == kind).map(|t| t.timestamp_ms).collect();
    let [first, second, .., last] = times[..] else { bail!("no pictures") };
    Ok(last - first + (second - first))
}

/// The tag at `at`, whether it is a sequence header, and where the next one begins; no tag for script data.
fn read_tag(file: &Bytes, at: usize) -> anyhow::Result<(Option<(Tag, bool)>, usize)> {
    let header = file.get(at..at + 11).context("ends in its header")?;
    let [tag_type, s0, s1, s2, t0, t1, t2, t3, ..] = *header else { bail!("ends in its header") };
    let size = u32::from_be_bytes([0, s0, s1, s2]) as usize;
    let timestamp_ms = u64::from(u32::from_be_bytes([t3, t0, t1, t2]));
    let (begin, end) = (at + 11, at + 11 + size);
    ensure!(end <= file.len(), "ends in its body");
    let body = file.slice(begin..end);
    let next = end + 4;
    let (kind, keyframe, is_header) = match tag_type {
        8 => {
            (Kind::Audio, false, matches!(AudioTag::parse(&body)?, AudioTag::SequenceHeader { .. }))
        }
        9 => match VideoTag::parse(&body)? {
            VideoTag::SequenceHeader { .. } => (Kind::Video, false, true),
            VideoTag::Frame { keyframe, .. } => (Kind::Video, keyframe, false),
            VideoTag::EndOfSequence => return Ok((None, next)),
            VideoTag::Command
            | VideoTag::Empty
            | VideoTag::Multitrack(_)
            | VideoTag::Unsupported(_) => bail!("no picture"),
        },
        18 => return Ok((None, next)),
        other => bail!("type {other}"),
    };
    Ok((Some((Tag { kind, timestamp_ms, body, keyframe }, is_header)), next))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demo() -> Clip {
        Clip::parse(&Bytes::from_static(super::super::CLIP)).unwrap()
    }

    /// Presentation times of three turns in ms, in the order of decoding.
    fn presentation_times(kind: Kind) -> Vec<i64> {
        let clip = demo();
        let count = clip.tags.len() * 3;
        let tags = clip.tags_from(0).take(count).filter(|tag| tag.kind == kind);
        tags.map(|tag| match kind {
            Kind::Audio => tag.timestamp_ms as i64,
            Kind::Video => match VideoTag::parse(&tag.body).unwrap() {
                VideoTag::Frame { composition_time_ms, .. } => {
                    tag.timestamp_ms as i64 + i64::from(composition_time_ms)
                }
                other => panic!("{other:?}"),
            },
        })
        .collect()
    }

    #[test]
    fn each_picture_is_40_ms_after_the_one_before_over_the_loop() {
        let mut times = presentation_times(Kind::Video);
        times.sort_unstable();
        // The last B-frames of what was taken may be missing.
        let complete = &times[..times.len() - 3];
        assert!(complete.windows(2).all(|w| w[1] - w[0] == 40));
        assert!(complete.len() > 2 * 256);
    }

    #[test]
    fn each_audio_frame_is_1024_samples_after_the_one_before_over_the_loop() {
        let times = presentation_times(Kind::Audio);
        for (frame, time) in times.iter().enumerate() {
            let exact = times[0] as f64 + frame as f64 * 1024.0 / 48.0;
            assert!((*time as f64 - exact).abs() <= 1.0, "frame {frame} at {time} ms, not {exact}");
        }
        assert!(times.len() > 2 * 480);
    }

    #[test]
    fn decoding_times_never_run_backwards_over_the_loop() {
        let clip = demo();
        let times: Vec<_> =
            clip.tags_from(0).take(clip.tags.len() * 3).map(|tag| tag.timestamp_ms).collect();
        assert!(times.is_sorted());
    }

    #[test]
    fn the_loop_is_entered_at_a_keyframe_at_or_after_the_time_asked_for() {
        let clip = demo();
        for from in [0, 1, 9_999, 10_240, 123_456_789_012] {
            let first = clip.tags_from(from).next().unwrap();
            assert!(first.keyframe && first.timestamp_ms >= from, "{first:?}");
            assert!(first.timestamp_ms - from <= 1280);
        }
    }

    #[test]
    fn the_clip_has_one_header_for_each_track() {
        let kinds: Vec<_> = demo().headers.iter().map(|tag| tag.kind).collect();
        assert_eq!(kinds.len(), 2);
        assert!(kinds.contains(&Kind::Audio) && kinds.contains(&Kind::Video));
    }
}
