//! Session descriptions. Input: the text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use media::sdp::{SdpError, SessionDescription};

/// What is read at most.
const MAX_BYTES: usize = 64 << 10;

pub(crate) fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match SessionDescription::parse(&text) {
        Ok(description) => understood(&description),
        // Texts are quoted with what is not printable escaped, at most as `\u{10ffff}`.
        Err(error) => {
            assert!(error.to_string().len() <= 10 * text.len() + 200, "{error}");
            if let SdpError::UnsupportedCodec { section, .. } | SdpError::Section { section, .. } =
                error
            {
                assert!(section < 16);
            }
        }
    }
}

/// What has been read can be written, and then reads the same.
fn understood(description: &SessionDescription) {
    assert!((1..=16).contains(&description.tracks.len()));
    // The line may not be empty (RFC 8866, 5.3), but may be missing where others wrote it.
    let mut description = description.clone();
    if description.name.is_empty() {
        description.name = "-".to_owned();
    }
    let description = &description;
    for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
        let leg = description.to_leg_sdp(SocketAddr::new(ip, 5004));
        if leg.len() <= MAX_BYTES {
            assert_eq!(SessionDescription::parse(&leg).as_ref(), Ok(description), "{leg}");
        }
        reader(description, &description.to_reader_sdp(ip, 1, 2));
    }
}

/// Readers learn codecs and payload types, not where the stream comes from.
fn reader(description: &SessionDescription, written: &str) {
    let mut payload_types: Vec<_> = description.tracks.iter().map(|t| t.payload_type).collect();
    payload_types.sort_unstable();
    payload_types.dedup();
    // Only SSRCs tell tracks of one payload type apart.
    let told_apart = payload_types.len() == description.tracks.len();
    assert_eq!(written.matches("a=control:trackID=").count(), description.tracks.len());
    if written.len() > MAX_BYTES || !told_apart {
        return;
    }
    let read = SessionDescription::parse(written).expect("readers can read it");
    let of = |d: &SessionDescription| -> Vec<_> {
        d.tracks.iter().map(|track| (track.config.clone(), track.payload_type)).collect()
    };
    assert_eq!(of(&read), of(description), "{written}");
    assert_eq!((read.name, read.source_address), (description.name.clone(), None));
}
