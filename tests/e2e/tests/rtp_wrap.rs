//! The RTP clocks wrap under real readers, as they do after 13 h 14 m of pictures: a source of our own, whose timestamps begin some seconds
//! before the wrap, feeds a stream that is started by hand, and a node passes on what it gets.

use std::{net::SocketAddr, time::Duration};

use e2e::{
    clients::{Transport, ffmpeg, newest_ffmpeg},
    clips::clip,
    control::{stream_control, until_live},
    frames::{self, Filter, Reading},
    process::Setup,
    tags::{self, Tag},
};
use gateway::demo::Kind;
use media::{
    NtpTime,
    codec::{AudioHeader, CodecConfig, VideoHeader},
    flv::{AudioTag, VideoTag},
    rtcp::{self, SenderReport},
    rtp::{PacketBatch, Packetizer, PacketizerConfig},
    sdp::{SessionDescription, TrackDescription},
};
use proto::v1::StartStreamRequest;
use tokio::{
    net::UdpSocket,
    time::{Instant, sleep_until},
};

/// How long before the wrap of both clocks the first access unit is.
const BEFORE_WRAP_MS: u32 = 4_000;
/// How much is read.
const SECONDS: u32 = 8;
/// Ticks of a millisecond.
const TICKS: [u32; 2] = [90, 48];

/// One track of the source.
struct Track {
    config: CodecConfig,
    packetizer: Packetizer,
    ssrc: u32,
}

/// A source of H.264 and AAC at 48 kHz.
struct Source {
    tracks: [Track; 2],
    video: VideoHeader,
    audio: AudioHeader,
}

impl Source {
    fn new(tags: &[Tag]) -> Self {
        let video = tags.iter().find_map(|tag| match VideoTag::parse(&tag.body) {
            Ok(VideoTag::SequenceHeader { codec, record }) if tag.kind == Kind::Video => {
                VideoHeader::parse(codec, &record).ok()
            }
            _ => None,
        });
        let audio = tags.iter().find_map(|tag| match AudioTag::parse(&tag.body) {
            Ok(AudioTag::SequenceHeader { codec, header }) if tag.kind == Kind::Audio => {
                AudioHeader::parse(codec, &header).ok()?
            }
            _ => None,
        });
        let (video, audio) = (video.expect("video"), audio.expect("audio"));
        let track = |config, payload_type, ssrc| {
            // Sequence numbers wrap on the way, too.
            let (first_sequence_number, max_packet_size) = (65_400, 1200);
            let packetizer = Packetizer::new(PacketizerConfig {
                ssrc,
                payload_type,
                first_sequence_number,
                max_packet_size,
            });
            Track { config, packetizer, ssrc }
        };
        let tracks = [track(video.config(), 96, 7), track(audio.config(), 97, 8)];
        Self { tracks, video, audio }
    }

    fn description(&self) -> SessionDescription {
        let tracks = self.tracks.iter().zip([96, 97]).map(|(track, payload_type)| {
            let (config, ssrc) = (track.config.clone(), Some(track.ssrc));
            TrackDescription {
                config,
                payload_type,
                ssrc,
                cname: Some("source".into()),
                nack: false,
            }
        });
        let tracks = tracks.collect();
        SessionDescription { name: "wrap".into(), source_address: None, crypto: None, tracks }
    }

    fn packets(&mut self, tag: &Tag) -> Option<PacketBatch> {
        if tag.kind == Kind::Audio {
            let Ok(AudioTag::Frame { payload, .. }) = AudioTag::parse(&tag.body) else {
                return None;
            };
            let timestamp = timestamp(1, tag.timestamp_ms);
            return self.tracks[1].packetizer.audio(&self.audio, &payload, timestamp).ok();
        }
        let Ok(VideoTag::Frame { keyframe, composition_time_ms, payload, .. }) =
            VideoTag::parse(&tag.body)
        else {
            return None;
        };
        let timestamp = timestamp(0, tag.timestamp_ms.wrapping_add_signed(composition_time_ms));
        self.tracks[0].packetizer.video(&self.video, &payload, keyframe, timestamp).ok()
    }

    /// Both tracks' Sender Reports of the time `ms`.
    fn reports(&self, begin: NtpTime, ms: u32) -> [bytes::Bytes; 2] {
        [0, 1].map(|at| {
            let (packets, octets) = self.tracks[at].packetizer.sent();
            let ntp = begin.offset_by_nanos(i64::from(ms) * 1_000_000);
            let (ssrc, rtp_timestamp) = (self.tracks[at].ssrc, timestamp(at, ms));
            let report = SenderReport { ssrc, ntp, rtp_timestamp, packets, octets };
            rtcp::sender_report(&report, "source")
        })
    }
}

/// The RTP timestamp of a track at `ms`.
fn timestamp(track: usize, ms: u32) -> u32 {
    ms.wrapping_sub(BEFORE_WRAP_MS).wrapping_mul(TICKS[track])
}

/// Sends the tags at the pace of real time, with a Sender Report before each keyframe or so.
async fn send(mut source: Source, tags: Vec<Tag>, to: SocketAddr) -> std::io::Result<()> {
    let rtp = UdpSocket::bind("127.0.0.1:0").await?;
    let rtcp = UdpSocket::bind("127.0.0.1:0").await?;
    let rtcp_to = SocketAddr::new(to.ip(), to.port() + 1);
    let (begin, ntp) = (Instant::now(), NtpTime::from_unix(Duration::from_secs(1_800_000_000)));
    let mut reported_ms = None;
    for tag in tags {
        sleep_until(begin + Duration::from_millis(tag.timestamp_ms.into())).await;
        if reported_ms.is_none_or(|ms| tag.timestamp_ms >= ms + 1_000) {
            reported_ms = Some(tag.timestamp_ms);
            for report in source.reports(ntp, tag.timestamp_ms) {
                rtcp.send_to(&report, rtcp_to).await?;
            }
        }
        if let Some(batch) = source.packets(&tag) {
            for packet in batch.packets() {
                rtp.send_to(&packet, to).await?;
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn readers_go_on_over_the_wrap_of_both_rtp_clocks() {
    let gateway = Setup::both().start().await;
    let path = clip("small");
    let published = frames::of_clip(&path).await;
    let tags = tags::until(&tags::of_clip(&path).await, 20_000);
    let source = Source::new(&tags);
    let session_description = source.description().to_leg_sdp(([127, 0, 0, 1], 5004).into());
    let request =
        StartStreamRequest { stream_key: "wrap".into(), session_description, ..Default::default() };
    let mut control = stream_control(&gateway.publish_grpc()).await;
    let started = control.start_stream(request).await.expect("StartStream").into_inner();
    let port = started.stream.expect("a stream").rtp_port as u16;
    let sending = tokio::spawn(send(source, tags, ([127, 0, 0, 1], port).into()));
    until_live(&gateway.publish_grpc(), "wrap").await;
    let url = gateway.rtsp_url("wrap");
    let readings: Vec<_> = [Transport::Tcp, Transport::Udp]
        .into_iter()
        .flat_map(|by| [("ffmpeg 5.1", ffmpeg(), by), ("FFmpeg 9", newest_ffmpeg(), by)])
        .map(|(name, ffmpeg, by)| {
            let name = format!("{name} over {}", by.name());
            (name, Reading::in_codec(ffmpeg, Filter::H264, &url, by, Some(SECONDS)))
        })
        .collect();
    for (name, reading) in readings {
        frames::compare(&name, &published, &reading.frames().await, 0);
    }
    sending.abort();
}
