//! Our values as the messages of the API.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use proto::v1;

use crate::{
    leg::{Counters, LegState},
    reception::Reception,
    stream::{ReaderEntry, Transport},
    tally::{DropReason, Dropped, SkipReason, Tally},
};

/// A stream's state.
pub(crate) fn state(state: LegState) -> v1::StreamState {
    match state {
        LegState::Waiting => v1::StreamState::Waiting,
        LegState::Live => v1::StreamState::Live,
        LegState::Held => v1::StreamState::Held,
    }
}

/// A stream's counters.
pub(crate) fn counters(counters: &Counters) -> v1::StreamCounters {
    let load = |counter: &AtomicU32| counter.load(Ordering::Relaxed);
    v1::StreamCounters {
        video_access_units: load(&counters.video_access_units),
        audio_access_units: load(&counters.audio_access_units),
        keyframes: load(&counters.keyframes),
        packets: load(&counters.packets),
        packets_lost: load(&counters.packets_lost),
        packets_refused: counters.refused(),
        packets_discarded: load(&counters.packets_discarded),
        malformed: load(&counters.malformed).wrapping_add(load(&counters.oversized)),
        bitrate: load(&counters.bitrate),
        live_for: Some(proto::duration(Duration::from_millis(load(&counters.live_ms).into()))),
        // Ingest repairs what publishers stamp.
        timestamps_repaired: 0,
    }
}

/// A reader.
pub(crate) fn reader(reader: &ReaderEntry) -> v1::Reader {
    let skips = reader.sent.skips();
    let playing = reader.playing.load(Ordering::Relaxed);
    let state = if playing { v1::ReaderState::Playing } else { v1::ReaderState::Ready };
    v1::Reader {
        reader_id: reader_id(reader.id),
        peer_address: reader.peer.to_string(),
        user_agent: reader.user_agent.clone(),
        transport: transport(reader.by).into(),
        state: state.into(),
        connected_at: Some(proto::timestamp(reader.connected_at)),
        packets_sent: reader.sent.packets.load(Ordering::Relaxed),
        skips: skips.count,
        access_units_skipped: skips.access_units,
        receptions: reader.receptions.list().iter().map(reception).collect(),
        last_skip_reason: skips.last.map(skip_reason).unwrap_or_default().into(),
    }
}

fn reader_id(id: u64) -> String {
    format!("{id:016x}")
}

fn transport(by: Transport) -> v1::ReaderTransport {
    match by {
        Transport::Tcp => v1::ReaderTransport::Tcp,
        Transport::Udp => v1::ReaderTransport::Udp,
        Transport::Multicast => v1::ReaderTransport::Multicast,
    }
}

fn skip_reason(reason: SkipReason) -> v1::SkipReason {
    match reason {
        SkipReason::TooOld => v1::SkipReason::TooOld,
        SkipReason::Overwritten => v1::SkipReason::Overwritten,
    }
}

fn reception(reception: &Reception) -> v1::ReaderReception {
    v1::ReaderReception {
        track: u32::try_from(reception.track).unwrap_or(u32::MAX),
        fraction_lost: reception.fraction_lost.into(),
        packets_lost: reception.packets_lost,
        jitter: Some(proto::duration(reception.jitter)),
        round_trip_time: reception.round_trip.map(proto::duration),
        reported_at: Some(proto::timestamp(reception.at)),
    }
}

/// What became of a stream's readers.
pub(crate) fn reader_counters(tally: Tally) -> v1::ReaderCounters {
    v1::ReaderCounters {
        readers: tally.readers,
        skips_too_old: tally.too_old,
        skips_overwritten: tally.overwritten,
        access_units_skipped: tally.access_units_skipped,
        dropped_stuck: tally.stuck,
        dropped_silent: tally.silent,
        dropped_protocol: tally.protocol,
        last_dropped: tally.last_dropped.map(dropped),
    }
}

fn dropped(dropped: Dropped) -> v1::DroppedReader {
    let reason = match dropped.reason {
        DropReason::Stuck => v1::ReaderDropReason::Stuck,
        DropReason::Silent => v1::ReaderDropReason::Silent,
        DropReason::Protocol => v1::ReaderDropReason::Protocol,
    };
    v1::DroppedReader {
        reader_id: reader_id(dropped.id),
        peer_address: dropped.peer.to_string(),
        transport: transport(dropped.by).into(),
        reason: reason.into(),
        dropped_at: Some(proto::timestamp(dropped.at)),
        skips: dropped.skips,
    }
}
