//! Opus (RFC 6716): the identification header (RFC 7845, 5.1) and how long a packet lasts.

/// Samples of a second: Opus is always told at 48 kHz (RFC 7587, 4.1).
pub const SAMPLE_RATE: u32 = 48_000;
/// The longest packet lasts 120 ms (RFC 6716, 3.2.5).
const MAX_SAMPLES: u32 = SAMPLE_RATE * 120 / 1000;

/// What an identification header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// 1 or 2: more are not carried by RTP (RFC 7587).
    pub channels: u8,
}

/// What could not be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OpusError {
    /// No identification header, or one of another major version.
    #[error("no Opus identification header")]
    Header,
    /// More channels than RTP carries.
    #[error("Opus of {0} channels, RTP carries one or two")]
    Channels(u8),
    /// A packet without a frame, or longer than 120 ms.
    #[error("no Opus packet")]
    Packet,
}

impl Default for Config {
    fn default() -> Self {
        Self { channels: 2 }
    }
}

impl Config {
    /// Reads an identification header.
    pub fn parse(header: &[u8]) -> Result<Self, OpusError> {
        let Some((b"OpusHead", fields)) = header.split_first_chunk::<8>() else {
            return Err(OpusError::Header);
        };
        match *fields {
            [version, channels @ (1 | 2), ..] if version >> 4 == 0 => Ok(Self { channels }),
            [version, channels, ..] if version >> 4 == 0 => Err(OpusError::Channels(channels)),
            _ => Err(OpusError::Header),
        }
    }
}

/// Samples at 48 kHz of a packet (RFC 6716, 3.1 and 3.2).
pub fn samples(packet: &[u8]) -> Result<u32, OpusError> {
    let toc = *packet.first().ok_or(OpusError::Packet)?;
    let config = toc >> 3;
    // In units of 2.5 ms: SILK 10, 20, 40, 60; hybrid 10, 20; CELT 2.5, 5, 10, 20.
    let units = match config {
        0..=11 => [4, 8, 16, 24][usize::from(config % 4)],
        12..=15 => [4, 8][usize::from(config % 2)],
        _ => [1, 2, 4, 8][usize::from(config % 4)],
    };
    let frames = match toc & 0b11 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(packet.get(1).ok_or(OpusError::Packet)? & 0b11_1111),
    };
    match frames * units * (SAMPLE_RATE / 400) {
        samples @ 1..=MAX_SAMPLES => Ok(samples),
        _ => Err(OpusError::Packet),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_tells_one_or_two_channels() {
        let header = |version, channels| {
            [b"OpusHead".as_slice(), &[version, channels, 0x38, 1, 0x80, 0xBB, 0, 0, 0, 0, 0]]
                .concat()
        };
        assert_eq!(Config::parse(&header(1, 1)), Ok(Config { channels: 1 }));
        assert_eq!(Config::parse(&header(15, 2)), Ok(Config { channels: 2 }));
        assert_eq!(Config::parse(&header(1, 6)), Err(OpusError::Channels(6)));
        assert_eq!(Config::parse(&header(0x10, 2)), Err(OpusError::Header));
        assert_eq!(Config::parse(b"OpusTags"), Err(OpusError::Header));
    }

    #[test]
    fn packets_last_as_their_toc_says() {
        // CELT 20 ms, one frame; SILK 60 ms, two frames; hybrid 10 ms; CELT 2.5 ms, 48 frames.
        assert_eq!(samples(&[31 << 3, 9]), Ok(960));
        assert_eq!(samples(&[3 << 3 | 1, 9]), Ok(5760));
        assert_eq!(samples(&[12 << 3, 9]), Ok(480));
        assert_eq!(samples(&[16 << 3 | 3, 48, 9]), Ok(5760));
        for none in [&[][..], &[31 << 3 | 3], &[31 << 3 | 3, 0], &[31 << 3 | 3, 63]] {
            assert_eq!(samples(none), Err(OpusError::Packet), "{none:?}");
        }
    }
}
