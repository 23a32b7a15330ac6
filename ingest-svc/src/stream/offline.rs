//! What readers get of a stream without a publisher (`offline_picture` of StartStream): its last keyframe again and again, and
//! silence, so that recorders do not take the camera for gone.
//!
//! The picture is one that the last publisher sent, so it has the codec, the size and the parameter sets that readers know. It
//! comes as if from a publisher that goes on after the last one: same SSRCs, sequence numbers and times without a break.

use std::time::{Duration, Instant};

use super::Pipeline;

/// Time between two pictures: a recorder that waits for a keyframe, or shows a camera as gone, waits for some seconds.
const PICTURE_INTERVAL: Duration = Duration::from_secs(1);
/// How often sound is made: frames of this time go out together, which players' buffers bear.
const TICK: Duration = Duration::from_millis(100);
/// After a pause of the whole process that was longer, what was missed is not made up for.
const MAX_LATE: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug)]
pub(super) struct Offline {
    began: Instant,
    /// When the next tick is due.
    due: Instant,
    pictures: u32,
    /// How much silence was made.
    sounded: Duration,
}

impl Offline {
    /// Begins now, in place of a publisher of `pipeline`.
    pub(super) fn begin(pipeline: &mut Pipeline, now: Instant) -> Self {
        pipeline.begin_publisher();
        Self { began: now, due: now, pictures: 0, sounded: Duration::ZERO }
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub(super) fn poll_timeout(&self) -> Instant {
        self.due
    }

    /// Puts what is due into the pipeline.
    pub(super) fn handle_timeout(&mut self, pipeline: &mut Pipeline, now: Instant) {
        if now < self.due {
            return;
        }
        if now - self.due > MAX_LATE {
            *self = Self::begin(pipeline, now);
        }
        let passed = now - self.began;
        while PICTURE_INTERVAL * self.pictures <= passed {
            pipeline.repeat_picture(millis(PICTURE_INTERVAL * self.pictures), now);
            self.pictures = self.pictures.wrapping_add(1);
        }
        while self.sounded <= passed {
            match pipeline.fall_silent(millis(self.sounded), now) {
                Some(lasted) => self.sounded += lasted,
                None => break,
            }
        }
        self.due += TICK;
    }
}

/// As publishers stamp it.
fn millis(time: Duration) -> u32 {
    time.as_millis() as u32
}
