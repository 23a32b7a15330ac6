//! What bounds the age of what a reader over UDP is sent, whose socket takes all.

use std::{
    net::UdpSocket,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant, SystemTime},
};

use media::{
    codec::MediaKind,
    rtp::Header,
    rtsp::{Start, TrackTransport},
    sdp::SessionDescription,
};
use svc_core::config::RingConfig;

use super::{Playback, UNITS};
use crate::{
    ring::RingUnit,
    rtsp::{connection::place, output::Output, udp},
    stream::{PublishedStream, ReaderDescription, ReaderEntry, Transport},
    tally::{SkipReason, Skips},
    testing::{PATIENCE, Source},
};

/// Pictures of a GOP.
const GOP: u32 = 30;

/// Puts pictures into a stream's ring, marked by their numbers, 40 ms apart, that come as fast as that.
struct Film {
    source: Source,
    begin: Instant,
    next: u32,
}

impl Film {
    fn show(&mut self, stream: &PublishedStream, pictures: u32) {
        for _ in 0..pictures {
            let (ms, keyframe) = (40 * self.next, self.next.is_multiple_of(GOP));
            let [number, _] = self.source.next_numbers();
            let packets = self.source.picture_of(ms, keyframe, 5000, self.next);
            let at = self.begin + Duration::from_millis(ms.into());
            let unit = RingUnit::new(0, MediaKind::Video, keyframe, ms, number, packets, at);
            stream.ring.push(unit);
            self.next += 1;
        }
    }
}

fn reader(peer: std::net::SocketAddr) -> ReaderEntry {
    ReaderEntry {
        id: 1,
        peer,
        user_agent: String::new(),
        by: Transport::Udp,
        connected_at: SystemTime::now(),
        playing: AtomicBool::new(true),
        sent: Default::default(),
        receptions: Default::default(),
    }
}

#[tokio::test]
async fn what_became_too_old_behind_the_pace_of_udp_is_skipped_by_whole_gops() {
    let shared = udp::tests::shared();
    let key = media::StreamKey::parse("a").unwrap();
    let config = RingConfig { max_duration: Duration::from_secs(60), ..Default::default() };
    let stream = std::sync::Arc::new(PublishedStream::new(key, &config, 1));
    let description = ReaderDescription {
        description: SessionDescription { tracks: vec![], ..Source::new(1).description() },
        cname: String::new(),
        session_id: 0,
        version: 0,
    };
    let mut film = Film { source: Source::new(1), begin: Instant::now(), next: 0 };
    film.show(&stream, 2 * GOP);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    // It is not read until all is sent.
    socket2::SockRef::from(&socket).set_recv_buffer_size(1 << 20).unwrap();
    let rtp = socket.local_addr().unwrap();
    let tracks = [(0, TrackTransport::Udp { rtp, rtcp: rtp })];
    let cursor = place(&shared, &stream, Start::LastKeyframe).await;
    let (reader, mut output) = (reader(rtp), Output::plain());
    let start = (&tracks[..], cursor);
    let mut playback = Playback::new(shared, stream.clone(), description.into(), start, &reader);
    // The first burst of the first of its units; the stream runs on meanwhile, for longer than the 5 s of `rtsp.max_reader_age`.
    playback.advance(&reader, &mut output);
    assert!(!playback.paced.is_empty());
    film.show(&stream, 7 * GOP);
    let sent_on = async {
        while reader.sent.skips() == Skips::default() || !playback.paced.is_empty() {
            tokio::time::sleep_until(playback.due().into()).await;
            playback.advance(&reader, &mut output);
        }
    };
    tokio::time::timeout(PATIENCE, sent_on).await.expect("nothing is skipped");
    let taken = UNITS as u32;
    let missed = 7 * GOP - taken;
    let skips = Skips { count: 1, access_units: missed, last: Some(SkipReason::TooOld) };
    assert_eq!(reader.sent.skips(), skips);
    assert_eq!(stream.readers.tally().too_old, 1);
    assert!(output.is_empty(), "nothing waits in the RTSP connection");
    let mut marks = vec![];
    let mut buffer = [0; 2048];
    for _ in 0..reader.sent.packets.load(Ordering::Relaxed) {
        let read = socket.recv(&mut buffer).unwrap();
        if Header::parse(&buffer[..read]).unwrap().marker {
            marks.push(u32::from_be_bytes(*buffer[..read].last_chunk().unwrap()));
        }
    }
    let expected: Vec<_> = (GOP..GOP + taken).chain(8 * GOP..8 * GOP + taken).collect();
    assert_eq!(marks, expected);
}
