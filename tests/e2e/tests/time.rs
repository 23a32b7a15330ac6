//! What readers are told of time: A/V offsets, where a reader joins, and how the demo goes on over its loop. By packets, not by
//! a clock.

use e2e::{
    clients::{Publisher, Running, Transport},
    clips::{Units, clip, place},
    control::until_live,
    process::{Gateway, Setup},
    reader::{AccessUnit, Clock, Depacketizer, Packet, Reader},
};
use media::codec::{MediaKind, h264::nal_type};

/// What a reader was sent: access units in the order in which they ended, and the last report of each track.
struct Seen {
    units: Vec<AccessUnit>,
    clocks: Vec<Option<Clock>>,
    /// How many packets of media came before the first report of each track.
    before_report: Vec<Option<usize>>,
    video: usize,
    audio: usize,
}

impl Seen {
    /// Reads until `enough`.
    async fn read(reader: &mut Reader, enough: impl Fn(&Self) -> bool) -> Self {
        let tracks = reader.description.tracks.clone();
        let track_of = |kind| tracks.iter().position(|t| t.config.kind() == kind).expect("a track");
        let mut seen = Self {
            units: Vec::new(),
            clocks: vec![None; tracks.len()],
            before_report: vec![None; tracks.len()],
            video: track_of(MediaKind::Video),
            audio: track_of(MediaKind::Audio),
        };
        let kinds = tracks.iter().map(|track| track.config.kind()).enumerate();
        let mut inputs: Vec<_> =
            kinds.map(|(track, kind)| Depacketizer::new(kind, track)).collect();
        let mut packets_read = 0;
        while !enough(&seen) {
            match reader.next().await.unwrap().expect("the server closed the connection") {
                Packet::Rtp { track, header, bytes } => {
                    packets_read += 1;
                    seen.units.extend(inputs[track].push(&header, &bytes).unwrap());
                }
                Packet::Rtcp { track, packets } => {
                    if let Some(clock) = Clock::of(&packets, tracks[track].config.clock_rate().hz())
                    {
                        seen.clocks[track] = Some(clock);
                        seen.before_report[track].get_or_insert(packets_read);
                    }
                }
            }
        }
        seen
    }

    fn of(&self, track: usize) -> impl Iterator<Item = &AccessUnit> {
        self.units.iter().filter(move |unit| unit.track == track)
    }

    /// Wall-clock times of a track's access units by its report, in seconds after that of the video's.
    fn seconds(&self, track: usize) -> Vec<f64> {
        let origin = self.clocks[self.video].expect("a Sender Report").ntp();
        let clock = self.clocks[track].expect("a Sender Report");
        self.of(track).map(|unit| clock.seconds_after(origin, unit.timestamp)).collect()
    }
}

async fn publish(clip_name: &str, key: &str) -> (Gateway, Running) {
    let clip = clip(clip_name);
    let gateway = Setup::both().start().await;
    let publisher = Publisher::Ffmpeg.start(&clip, &gateway.rtmp_url(key));
    until_live(&gateway.publish_grpc(), key).await;
    (gateway, publisher)
}

/// The beep of the clip is 250 ms behind the flash. Access units are known by their bytes, so that it is known when each was published,
/// and not only those with a flash or a beep are compared.
#[tokio::test]
async fn a_flash_and_a_beep_keep_their_distance_within_a_millisecond() {
    let published = Units::of_clip(&clip("flash"));
    let (gateway, _publisher) = publish("flash", "flash").await;
    for transport in [Transport::Tcp, Transport::Udp] {
        let mut reader = Reader::play(&gateway.rtsp_url("flash"), transport).await.unwrap();
        let seen = Seen::read(&mut reader, |seen| seen.of(seen.audio).count() > 140).await;
        let pictures: Vec<_> = seen.of(seen.video).map(AccessUnit::pictured).collect();
        let sounds: Vec<_> = seen.of(seen.audio).map(|unit| unit.parts[0].clone()).collect();
        let picture = place(&published.video, &pictures).expect("the pictures");
        let sound = place(&published.audio, &sounds).expect("the sound");
        let moved = |published: &[f64], read: Vec<f64>| -> Vec<f64> {
            published.iter().zip(read).map(|(published, read)| read - published).collect()
        };
        let video = moved(&published.video_times[picture..], seen.seconds(seen.video));
        let audio = moved(&published.audio_times[sound..], seen.seconds(seen.audio));
        let range = |times: &[f64]| {
            times.iter().fold((f64::MAX, f64::MIN), |(a, b), t| (a.min(*t), b.max(*t)))
        };
        let ((v0, v1), (a0, a1)) = (range(&video), range(&audio));
        let worst = (a1 - v0).abs().max((a0 - v1).abs());
        println!(
            "{transport:?}: {} pictures and {} frames, A/V offset kept within {:.3} ms",
            video.len(),
            audio.len(),
            worst * 1e3
        );
        assert!(worst <= 0.001, "{transport:?}: {worst} s");
        assert!(video.len() > 60 && audio.len() > 130);
    }
}

#[tokio::test]
async fn a_reader_in_mid_gop_of_four_seconds_gets_a_keyframe_first_and_sound_with_it() {
    let (gateway, _publisher) = publish("gop4", "gop4").await;
    let url = gateway.rtsp_url("gop4");
    // More than half a GOP has to be there, and its end must not be near.
    let mut ahead = Reader::play(&url, Transport::Tcp).await.unwrap();
    Seen::read(&mut ahead, |seen| seen.of(seen.video).count() >= 60).await;
    for transport in [Transport::Tcp, Transport::Udp] {
        let mut reader = Reader::play(&url, transport).await.unwrap();
        let seen = Seen::read(&mut reader, |seen| seen.of(seen.video).count() >= 60).await;
        let first = seen.of(seen.video).next().unwrap();
        let types = first.nal_types();
        assert!(types.starts_with(&[nal_type::SPS, nal_type::PPS]), "{types:?}");
        assert!(types.contains(&nal_type::IDR), "no picture comes before the keyframe: {types:?}");
        // What was announced is what came first.
        let sound = seen.of(seen.audio).next().unwrap();
        let announced = |unit: &AccessUnit| (unit.first_sequence_number, unit.timestamp);
        assert_eq!(reader.rtp_info[seen.video], announced(first));
        assert_eq!(reader.rtp_info[seen.audio], announced(sound));
        // The first sound is of the time of the first picture: AAC frames last 21 ms, RTMP interleaves by DTS, and the picture
        // is shown two pictures of 40 ms after its DTS.
        let apart = seen.seconds(seen.audio)[0] - seen.seconds(seen.video)[0];
        assert!((-0.12..0.04).contains(&apart), "sound begins {apart} s from the picture");
        // Reports come at once: by TCP before the first packet, by UDP on a port of their own.
        if transport == Transport::Tcp {
            assert_eq!(seen.before_report, [Some(0), Some(0)]);
        }
        println!("{transport:?}: {types:?} first, sound {:.1} ms from it", apart * 1e3);
    }
}

#[tokio::test]
async fn the_demo_goes_on_over_its_loop_as_if_it_had_no_end() {
    let gateway = Setup::both().arg("--demo").start().await;
    until_live(&gateway.publish_grpc(), "demo").await;
    let mut reader = Reader::play(&gateway.rtsp_url("demo"), Transport::Tcp).await.unwrap();
    // 256 pictures of 40 ms are one turn.
    let seen = Seen::read(&mut reader, |seen| seen.of(seen.video).count() >= 280).await;
    let audio: Vec<_> = seen.of(seen.audio).map(|unit| unit.timestamp).collect();
    for pair in audio.windows(2) {
        assert_eq!(pair[1].wrapping_sub(pair[0]), 1024, "sound is on its sample clock");
    }
    let first = seen.of(seen.video).next().unwrap().timestamp;
    let mut video: Vec<_> = seen.of(seen.video).map(|u| u.timestamp.wrapping_sub(first)).collect();
    video.sort_unstable();
    // The last pictures wait for those that are shown before them.
    for (n, timestamp) in video[..270].iter().enumerate() {
        assert_eq!(*timestamp, 3600 * n as u32, "picture {n}");
    }
}
