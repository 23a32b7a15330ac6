//! The service without its ports, so that calls can be held up and cancelled where it hurts.

use std::{sync::atomic::Ordering, time::Duration};

use registry::Engine;

use super::{starting::aligned, *};
use crate::testing::{Gate, Source, by_hand};

const PATIENCE: Duration = Duration::from_secs(20);

async fn start(control: &Control, key: &str) -> Result<v1::Stream, Status> {
    let request = Request::new(by_hand(key, &Source::new(1)));
    let answer = tokio::time::timeout(PATIENCE, control.start_stream(request)).await;
    Ok(answer.expect("no answer")?.into_inner().stream.unwrap())
}

#[tokio::test]
async fn a_start_whose_caller_hangs_up_runs_to_its_end() {
    let gate = Gate::new().await;
    let control = gate.control();
    let call = tokio::spawn({
        let control = control.clone();
        async move { start(&control, "a").await }
    });
    gate.asked.acquire().await.unwrap().forget();
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    gate.let_through.add_permits(1);
    // The second call waits for the first, finds what it left, and needs no port.
    let stream = start(&control, "a").await.unwrap();
    let leases = gate.list_leases().await.unwrap();
    assert_eq!(leases.len(), 1);
    assert_eq!(stream.rtp_port, u32::from(leases[0].rtp_port));
    control.end_all().await;
    assert!(control.context.tasks.is_empty());
}

#[tokio::test]
async fn a_start_that_fails_after_its_caller_hung_up_leaves_nothing() {
    let gate = Gate::new().await;
    let control = gate.control();
    let call = tokio::spawn({
        let control = control.clone();
        async move { start(&control, "a").await }
    });
    gate.asked.acquire().await.unwrap().forget();
    call.abort();
    gate.away.store(true, Ordering::Relaxed);
    gate.let_through.add_permits(2);
    let status = start(&control, "b").await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert!(control.context.streams.list().is_empty());
    assert!(gate.list_leases().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_was_asked_for_before_the_drain_does_not_start_behind_it() {
    let gate = Gate::new().await;
    let control = gate.control();
    control.context.shutdown.start_drain();
    control.end_all().await;
    gate.let_through.add_permits(1);
    let status = start(&control, "a").await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert!(control.context.tasks.is_empty(), "a leg would hold up the drain");
    assert!(gate.list_leases().await.unwrap().is_empty());
}

#[test]
fn readers_go_on_where_the_tracks_that_they_know_are_still_there() {
    use media::{
        codec::{CodecConfig, aac, h264, h265},
        sdp::TrackDescription,
    };
    let track = |config| TrackDescription {
        config,
        payload_type: 96,
        ssrc: None,
        cname: None,
        nack: false,
    };
    let aac = |config: &'static [u8]| {
        track(CodecConfig::Aac(aac::Config::parse(bytes::Bytes::from_static(config)).unwrap()))
    };
    let h264 = |sps: &'static [u8]| {
        let sps = vec![bytes::Bytes::from_static(sps)];
        track(CodecConfig::H264(h264::Config { sps, pps: vec![] }))
    };
    let h265 = track(CodecConfig::H265(h265::Config::default()));
    let of = |tracks: &[&TrackDescription]| SessionDescription {
        name: "a".into(),
        source_address: None,
        crypto: None,
        tracks: tracks.iter().map(|&track| track.clone()).collect(),
    };
    let (one, two) = (h264(b"\x67\x4D"), h264(b"\x67\x64"));
    let (stereo, mono) = (aac(&[0x11, 0x90]), aac(&[0x11, 0x88]));
    let known = of(&[&stereo]);
    // Video comes late, and first in the new description.
    assert_eq!(aligned(&known, &of(&[&one, &stereo])), Some(of(&[&stereo, &one])));
    // Another resolution is told in-band.
    let both = of(&[&one, &stereo]);
    assert_eq!(aligned(&both, &of(&[&two, &stereo])), Some(of(&[&two, &stereo])));
    for other in [of(&[&h265, &stereo]), of(&[&one, &mono]), of(&[&one]), of(&[])] {
        assert_eq!(aligned(&both, &other), None, "{other:?}");
    }
}
