//! What a leg gets first: the access units since the last keyframe, and, until a first leg is there, all since the beginning,
//! so that nothing of the beginning of a stream is lost while the control plane brings up the leg.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::Unit;

/// The most bytes of packets that are kept: 10 s of 12 Mbit/s, and the largest keyframes of 4K streams several times.
pub(crate) const MAX_BYTES: usize = 16 << 20;
/// The most media time that is kept: GOPs of 10 s are the longest that encoders for live streams make by default.
pub(crate) const MAX_DURATION: Duration = Duration::from_secs(12);

/// See the module.
#[derive(Debug)]
pub(crate) struct GopCache {
    units: VecDeque<Arc<Unit>>,
    bytes: usize,
    /// Everything since the beginning is kept, within the bounds.
    from_beginning: bool,
    /// A bound was hit: nothing is kept until the next keyframe.
    skipping: bool,
    overflows: u32,
}

impl GopCache {
    /// An empty cache that keeps all since the beginning.
    pub(crate) fn new() -> Self {
        Self {
            units: VecDeque::new(),
            bytes: 0,
            from_beginning: true,
            skipping: false,
            overflows: 0,
        }
    }

    /// Keeps a unit. `starts_gop`: a reader can begin with it.
    pub(crate) fn push(&mut self, unit: Arc<Unit>, starts_gop: bool) {
        if starts_gop {
            self.skipping = false;
            if !self.from_beginning {
                self.clear();
            }
        }
        if self.skipping {
            return;
        }
        self.bytes += unit.packets.data.len();
        self.units.push_back(unit);
        if self.is_over() {
            self.from_beginning = false;
            self.trim();
            if self.is_over() {
                self.clear();
                self.skipping = true;
                self.overflows = self.overflows.wrapping_add(1);
            }
        }
    }

    /// What is kept, in order.
    pub(crate) fn units(&self) -> Vec<Arc<Unit>> {
        self.units.iter().cloned().collect()
    }

    /// A leg has got it all: from now on only the last GOP is kept.
    pub(crate) fn settle(&mut self) {
        if std::mem::take(&mut self.from_beginning) {
            self.trim();
        }
    }

    /// A track became another one: what is kept is of no use any more.
    pub(crate) fn forget(&mut self) {
        self.clear();
        self.from_beginning = true;
        self.skipping = false;
    }

    /// How often a GOP was too large to be kept.
    pub(crate) fn overflows(&self) -> u32 {
        self.overflows
    }

    /// Leaves what begins with the last keyframe; all, if there is none.
    fn trim(&mut self) {
        let Some(keyframe) = self.units.iter().rposition(|unit| unit.keyframe) else { return };
        for unit in self.units.drain(..keyframe) {
            self.bytes -= unit.packets.data.len();
        }
    }

    fn is_over(&self) -> bool {
        let (Some(first), Some(last)) = (self.units.front(), self.units.back()) else {
            return false;
        };
        self.bytes > MAX_BYTES || last.time.nanos_since(first.time) > MAX_DURATION.as_nanos() as i64
    }

    fn clear(&mut self) {
        self.units.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use media::{MediaTime, codec::MediaKind, rtp::PacketBatch};

    use super::*;

    fn unit(ms: i64, keyframe: bool, bytes: usize) -> Arc<Unit> {
        let data = Bytes::from(vec![0; bytes]);
        let packets = PacketBatch { data, sizes: [bytes as u16].into_iter().collect() };
        Arc::new(Unit {
            kind: MediaKind::Video,
            keyframe,
            time: MediaTime::from_millis(ms),
            packets,
        })
    }

    fn push(cache: &mut GopCache, ms: i64, keyframe: bool, bytes: usize) {
        cache.push(unit(ms, keyframe, bytes), keyframe);
    }

    fn times(cache: &GopCache) -> Vec<i64> {
        cache.units().iter().map(|unit| unit.time.as_nanos() / 1_000_000).collect()
    }

    #[test]
    fn all_since_the_beginning_is_kept_until_a_leg_has_it_then_the_last_gop() {
        let mut cache = GopCache::new();
        for (ms, keyframe) in [(0, true), (40, false), (80, true), (120, false)] {
            push(&mut cache, ms, keyframe, 10);
        }
        assert_eq!(times(&cache), [0, 40, 80, 120]);
        cache.settle();
        assert_eq!(times(&cache), [80, 120]);
        push(&mut cache, 160, true, 10);
        assert_eq!(times(&cache), [160]);
    }

    #[test]
    fn over_a_bound_the_older_gops_go_first_then_all_until_the_next_keyframe() {
        let mut cache = GopCache::new();
        push(&mut cache, 0, true, 10);
        push(&mut cache, 40, true, 10);
        push(&mut cache, 80, false, MAX_BYTES - 15);
        assert_eq!(times(&cache), [40, 80]);
        push(&mut cache, 120, false, 10);
        assert_eq!(times(&cache), [0i64; 0]);
        push(&mut cache, 160, false, 10);
        assert_eq!((times(&cache), cache.overflows()), (vec![], 1));
        push(&mut cache, 200, true, 10);
        assert_eq!(times(&cache), [200]);
    }

    #[test]
    fn a_gop_that_lasts_too_long_is_given_up() {
        let mut cache = GopCache::new();
        push(&mut cache, 0, true, 10);
        push(&mut cache, MAX_DURATION.as_millis() as i64, false, 10);
        assert_eq!(cache.units().len(), 2);
        push(&mut cache, MAX_DURATION.as_millis() as i64 + 1, false, 10);
        assert_eq!(cache.units().len(), 0);
    }
}
