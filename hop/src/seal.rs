//! Runs of packets sealed for a leg with a key: in one buffer of the thread, so that a leg costs no memory for it.

use std::cell::RefCell;

use media::{
    rtp::SegmentRun,
    srtp::{SealError, Session, TAG_BYTES},
};

/// The most packets that one send carries sealed: the largest, of 1,456 bytes and a tag, are 64,768 bytes then, of the 65,507 of a datagram.
pub(crate) const MAX_SEALED_SEGMENTS: usize = 44;

thread_local! {
    static SEALED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Packets of one size, but for a smaller last one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segments<'a> {
    /// They, back to back.
    pub(crate) data: &'a [u8],
    /// The size of each but the last.
    pub(crate) segment_size: u16,
}

impl<'a> From<&'a SegmentRun> for Segments<'a> {
    fn from(run: &'a SegmentRun) -> Self {
        Self { data: &run.data, segment_size: run.segment_size }
    }
}

/// What `send` gives when it is handed a run as it goes on the wire: sealed where there is a session.
pub(crate) fn with_sealed<T>(
    session: Option<&mut Session>,
    run: &SegmentRun,
    send: impl FnOnce(Segments<'_>) -> T,
) -> Result<T, SealError> {
    let Some(session) = session else { return Ok(send(run.into())) };
    SEALED.with_borrow_mut(|sealed| {
        sealed.clear();
        for packet in run.data.chunks(run.segment_size.max(1).into()) {
            session.seal_rtp(packet, sealed)?;
        }
        let segment_size = run.segment_size + TAG_BYTES as u16;
        Ok(send(Segments { data: sealed, segment_size }))
    })
}
