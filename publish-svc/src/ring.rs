//! The ring of one stream: access units ready to be written, shared by all its readers (docs/architecture.md). One producer;
//! a reader is a cursor, never a queue. Bounded in bytes and in time, by when what it holds came.
//!
//! Bounds: `ring.max_bytes` of packets always holds, but for the newest access unit, which is kept whatever its size. The
//! framed copies (made only where several read by TCP) at the most double it. `ring.max_duration` spares the newest
//! GOP, so that a reader can always start, up to [`LONGEST_GOP`] times that duration.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::{BufMut, Bytes, BytesMut};
use media::{
    codec::MediaKind,
    rtp::{PacketBatch, SegmentRun},
};
use smallvec::SmallVec;
use svc_core::config::RingConfig;
use tokio::sync::watch;

use crate::tally::SkipReason;

/// How many times `ring.max_duration` the newest GOP may last before its beginning goes: an encoder's usual GOP is 250 pictures, which is
/// just over the default of 10 s; what is four times as long has most likely lost its video.
const LONGEST_GOP: u32 = 4;

/// Bytes in front of each packet of interleaved framing (RFC 2326, 10.12).
pub(crate) const FRAMING_BYTES: usize = 4;

/// Packets that go to a reader by UDP in one call: 32 of 1200 bytes are less than half of a default socket buffer (212,992 bytes, each
/// packet counted with about 2,300).
pub(crate) const RUN_PACKETS: usize = 32;

/// One access unit in the ring.
#[derive(Debug)]
pub(crate) struct RingUnit {
    /// The index of its track in the stream's description.
    pub(crate) track: usize,
    /// Pictures or sound.
    pub(crate) kind: MediaKind,
    /// A reader can start here: an undamaged IDR.
    pub(crate) keyframe: bool,
    /// Its RTP timestamp as readers get it.
    pub(crate) rtp_timestamp: u32,
    /// The sequence number of its first packet as readers get it.
    pub(crate) first_sequence_number: u16,
    /// Its packets as readers get them.
    pub(crate) packets: PacketBatch,
    /// When its first packet came.
    pub(crate) received_at: Instant,
    /// The packets with interleaved framing (RFC 2326, 10.12) for the default channels 2·track, 2·track + 1; made once, by the second who asks:
    /// a copy for one reader alone would double the memory of its stream.
    framed: OnceLock<Bytes>,
    is_asked_for: AtomicBool,
    /// The packets in runs, as readers by UDP get them; made once, by the first who asks.
    runs: OnceLock<SmallVec<[SegmentRun; 2]>>,
}

/// A reader's place in the ring, and whether it has found a keyframe to go on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    next: u64,
    phase: Phase,
}

/// What a cursor does with what lies behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Has had nothing: takes everything from the next keyframe on.
    Fresh,
    /// Takes everything.
    Playing,
    /// Lost its place: takes everything from the next keyframe on, and counts what it misses.
    Skipping,
}

/// What a reader gets.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Access units in decode order.
    pub(crate) units: SmallVec<[Arc<RingUnit>; 4]>,
    /// How many access units were passed over since they were gone or too old; a skip ends at a keyframe.
    pub(crate) skipped: u32,
    /// Why, if a skip began.
    pub(crate) skip: Option<SkipReason>,
    /// Whether something lies behind them.
    pub(crate) more: bool,
}

/// The ring.
pub(crate) struct Ring {
    max_bytes: usize,
    max_duration: Duration,
    contents: Mutex<Contents>,
    /// The index behind the newest access unit.
    end: watch::Sender<u64>,
}

#[derive(Default)]
struct Contents {
    units: VecDeque<Arc<RingUnit>>,
    /// The index of the oldest unit; indices are never used twice.
    first: u64,
    bytes: usize,
    newest_keyframe: Option<u64>,
    /// Whether there has been video; then a reader starts at keyframes only.
    video: bool,
    /// Per track, the sequence number behind its newest packet.
    next_sequence_numbers: SmallVec<[Option<u16>; 2]>,
}

impl Contents {
    fn end(&self) -> u64 {
        self.first + self.units.len() as u64
    }
    fn at(&self, index: u64) -> Option<&Arc<RingUnit>> {
        self.units.get(usize::try_from(index.checked_sub(self.first)?).ok()?)
    }
    fn age(&self, unit: &RingUnit) -> Duration {
        let newest = self.units.back().map_or(unit.received_at, |newest| newest.received_at);
        newest.saturating_duration_since(unit.received_at)
    }
    fn pop(&mut self) {
        if let Some(unit) = self.units.pop_front() {
            self.bytes -= unit.packets.data.len();
            self.first += 1;
            self.newest_keyframe = self.newest_keyframe.filter(|&at| at >= self.first);
        }
    }
    /// The index of the first keyframe of video at or behind `index`.
    fn keyframe_from(&self, index: u64) -> Option<u64> {
        let newest = self.newest_keyframe.filter(|&newest| newest >= index)?;
        let from = index.max(self.first);
        let older = (from..newest).find(|&at| {
            self.at(at).is_some_and(|unit| unit.keyframe && unit.kind == MediaKind::Video)
        });
        Some(older.unwrap_or(newest))
    }
    /// Moves a cursor that lost its place, or is too old, to where it can go on.
    fn catch_up(&self, cursor: &mut Cursor, max_age: Duration) -> Batch {
        let mut batch = Batch::default();
        let gone = cursor.next < self.first;
        let too_old = cursor.phase == Phase::Playing
            && self.at(cursor.next).is_some_and(|unit| self.age(unit) > max_age);
        if !gone && !too_old {
            return batch;
        }
        let target = match (self.newest_keyframe, self.video) {
            (Some(keyframe), _) if keyframe > cursor.next => keyframe,
            // In the newest GOP already: what lies behind is whole, so old as it may be.
            (_, true) if !gone => return batch,
            (_, true) => self.first,
            (_, false) => self.end().saturating_sub(1).max(cursor.next),
        };
        if cursor.phase != Phase::Fresh && target > cursor.next {
            let reason = if gone { SkipReason::Overwritten } else { SkipReason::TooOld };
            batch.skip = (cursor.phase == Phase::Playing).then_some(reason);
            batch.skipped = u32::try_from(target - cursor.next).unwrap_or(u32::MAX);
            cursor.phase = Phase::Skipping;
        }
        cursor.next = target;
        batch
    }
}

impl Ring {
    /// An empty ring.
    pub(crate) fn new(config: &RingConfig) -> Self {
        Self {
            max_bytes: config.max_bytes,
            max_duration: config.max_duration,
            contents: Mutex::default(),
            end: watch::Sender::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Puts in the next access unit and wakes the readers.
    pub(crate) fn push(&self, unit: RingUnit) {
        let mut contents = self.lock();
        let contents = &mut *contents;
        let behind = unit.first_sequence_number.wrapping_add(unit.packets.sizes.len() as u16);
        if contents.next_sequence_numbers.len() <= unit.track {
            contents.next_sequence_numbers.resize(unit.track + 1, None);
        }
        contents.next_sequence_numbers[unit.track] = Some(behind);
        contents.video |= unit.kind == MediaKind::Video;
        if unit.keyframe && unit.kind == MediaKind::Video {
            contents.newest_keyframe = Some(contents.end());
        }
        contents.bytes += unit.packets.data.len();
        contents.units.push_back(Arc::new(unit));
        while contents.units.len() > 1 && contents.bytes > self.max_bytes {
            contents.pop();
        }
        while let Some(oldest) = contents.units.front() {
            let newest_gop = contents.newest_keyframe.is_some_and(|at| at <= contents.first);
            let most = if newest_gop { self.max_duration * LONGEST_GOP } else { self.max_duration };
            if contents.age(oldest) <= most {
                break;
            }
            contents.pop();
        }
        self.end.send_replace(contents.end());
    }

    /// Where a new reader starts: at the last keyframe of video, or (no video in the stream) at the live edge. `None` while there
    /// is neither; [`Self::live_edge`] then starts at what comes.
    pub(crate) fn last_keyframe(&self) -> Option<Cursor> {
        let contents = self.lock();
        let next = match contents.newest_keyframe {
            Some(at) => at,
            None if contents.video || contents.end() == 0 => return None,
            None => contents.end(),
        };
        Some(Cursor { next, phase: Phase::Fresh })
    }

    /// Behind the newest access unit; of a stream with video the first to come is a keyframe.
    pub(crate) fn live_edge(&self) -> Cursor {
        Cursor { next: self.lock().end(), phase: Phase::Fresh }
    }

    /// Where a reader starts that wants nothing old: at the first keyframe at or behind `edge`, or (no video in the stream) at the first
    /// access unit. `None` until it has come.
    pub(crate) fn next_keyframe(&self, edge: Cursor) -> Option<Cursor> {
        let contents = self.lock();
        let next = match contents.video {
            true => contents.keyframe_from(edge.next)?,
            false => (contents.end() > edge.next).then_some(edge.next)?,
        };
        Some(Cursor { next, phase: Phase::Fresh })
    }

    /// What lies behind `cursor`, at most `max_units`, and moves it. A cursor whose place is gone, or that is more than `max_age` behind the
    /// newest access unit, is moved to the newest keyframe, never backwards. If its place is gone and the ring has no
    /// keyframe, the next one is waited for.
    pub(crate) fn read(&self, cursor: &mut Cursor, max_units: usize, max_age: Duration) -> Batch {
        let contents = self.lock();
        let mut batch = contents.catch_up(cursor, max_age);
        while batch.units.len() < max_units {
            let Some(unit) = contents.at(cursor.next) else { break };
            cursor.next += 1;
            let start = match unit.kind {
                MediaKind::Video => unit.keyframe,
                // Each frame of sound is one to begin with, but not where there are pictures, which would begin in the middle.
                MediaKind::Audio => !contents.video,
            };
            match (cursor.phase, start) {
                (Phase::Playing, _) => batch.units.push(unit.clone()),
                (Phase::Fresh | Phase::Skipping, true) => {
                    // Sound that comes before the first picture does not tell where pictures start.
                    if contents.video || cursor.phase == Phase::Skipping {
                        cursor.phase = Phase::Playing;
                    }
                    batch.units.push(unit.clone());
                }
                (Phase::Skipping, false) => batch.skipped = batch.skipped.saturating_add(1),
                (Phase::Fresh, false) => {}
            }
        }
        batch.more = cursor.next < contents.end();
        batch
    }

    /// Tells when something new has come.
    pub(crate) fn news(&self) -> News {
        News(self.end.subscribe())
    }

    /// The sequence number and the timestamp of the first packet of `track` that a reader at `cursor` gets, for RTP-Info; `None` for
    /// what only what is still to come can tell.
    pub(crate) fn first_packet(&self, cursor: Cursor, track: usize) -> (Option<u16>, Option<u32>) {
        let contents = self.lock();
        let from = match cursor.phase {
            Phase::Fresh | Phase::Skipping if contents.video => contents.keyframe_from(cursor.next),
            Phase::Fresh | Phase::Skipping | Phase::Playing => Some(cursor.next),
        };
        let Some(from) = from else { return (None, None) };
        let from = usize::try_from(from.saturating_sub(contents.first)).unwrap_or(usize::MAX);
        match contents.units.iter().skip(from).find(|unit| unit.track == track) {
            Some(unit) => (Some(unit.first_sequence_number), Some(unit.rtp_timestamp)),
            // What comes next has the next number, unless some are lost.
            None => (contents.next_sequence_numbers.get(track).copied().flatten(), None),
        }
    }

    /// Completes when [`Self::first_packet`] of each of these tracks is known. Cancel safe.
    pub(crate) async fn first_packets(&self, cursor: Cursor, tracks: &[usize]) {
        let mut news = self.news();
        loop {
            // Taken first, so that no push in between is slept through.
            let seen = self.live_edge();
            if tracks.iter().all(|&track| self.first_packet(cursor, track).1.is_some()) {
                return;
            }
            news.wait(seen).await;
        }
    }

    /// Bytes of packets held now.
    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.lock().bytes
    }
}

/// Tells a reader when something new has come.
pub(crate) struct News(watch::Receiver<u64>);

impl News {
    /// Completes when something lies behind `cursor`; never if the ring is gone. Cancel safe.
    pub(crate) async fn wait(&mut self, cursor: Cursor) {
        if self.0.wait_for(|&end| end > cursor.next).await.is_err() {
            std::future::pending().await
        }
    }
}

impl RingUnit {
    /// A unit whose framing is not made yet.
    pub(crate) fn new(
        track: usize,
        kind: MediaKind,
        keyframe: bool,
        rtp_timestamp: u32,
        first_sequence_number: u16,
        packets: PacketBatch,
        received_at: Instant,
    ) -> Self {
        Self {
            track,
            kind,
            keyframe,
            rtp_timestamp,
            first_sequence_number,
            packets,
            received_at,
            framed: OnceLock::new(),
            is_asked_for: AtomicBool::new(false),
            runs: OnceLock::new(),
        }
    }

    /// Whether nobody has asked so before: who is the first may gather the packets with their framing instead of taking a copy.
    pub(crate) fn is_first_asked(&self) -> bool {
        !self.is_asked_for.swap(true, Ordering::Relaxed)
    }

    /// The packets in runs of at most [`RUN_PACKETS`].
    pub(crate) fn runs(&self) -> &[SegmentRun] {
        self.runs.get_or_init(|| self.packets.runs(RUN_PACKETS).collect())
    }

    /// The packets with interleaved framing on `channel`: shared by all readers on the default channel, else a copy.
    pub(crate) fn framed(&self, channel: u8) -> Bytes {
        if usize::from(channel) == 2 * self.track {
            return self.framed.get_or_init(|| frame(&self.packets, channel)).clone();
        }
        frame(&self.packets, channel)
    }
}

/// What stands in front of a packet (RFC 2326, 10.12).
pub(crate) fn framing(channel: u8, size: u16) -> [u8; FRAMING_BYTES] {
    let [high, low] = size.to_be_bytes();
    [b'$', channel, high, low]
}

/// Puts interleaved framing in front of each packet.
fn frame(packets: &PacketBatch, channel: u8) -> Bytes {
    let bytes = packets.data.len() + packets.sizes.len() * FRAMING_BYTES;
    let mut framed = BytesMut::with_capacity(bytes);
    let mut rest = packets.data.as_ref();
    for &size in &packets.sizes {
        let (packet, behind) = rest.split_at(usize::from(size).min(rest.len()));
        framed.put_slice(&framing(channel, size));
        framed.put_slice(packet);
        rest = behind;
    }
    framed.freeze()
}

#[cfg(test)]
mod tests;
