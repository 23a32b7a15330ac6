//! MPEG audio (ISO/IEC 11172-3 and 13818-3): the header of a frame.

/// Bytes of the header.
const HEADER_BYTES: usize = 4;
/// kbit/s by bitrate_index 1 to 14 (ISO/IEC 11172-3, 2.4.2.3): layer III of MPEG-1, and of MPEG-2 and 2.5.
const BITRATES: [[u16; 14]; 2] = [
    [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
    [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];
/// Hz by sampling_frequency of MPEG-1; MPEG-2 has half of it, MPEG-2.5 a quarter.
pub(super) const SAMPLE_RATES: [u32; 3] = [44_100, 48_000, 32_000];

/// What the header of a frame says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// Hz.
    pub sample_rate: u32,
    /// 1 or 2.
    pub channels: u8,
    /// Samples of a frame: 1152 (MPEG-1) or 576.
    pub samples_per_frame: u32,
}

/// No frame of layer III.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no frame of MPEG audio, layer III")]
pub struct Mp3Error;

impl Config {
    /// Reads the header of a frame.
    pub fn of_frame(frame: &[u8]) -> Result<Self, Mp3Error> {
        read(frame).map(|(config, _)| config)
    }

    /// Samples of all frames in `frames`, which may be several. What ends early counts as whole.
    pub fn samples(self, frames: &[u8]) -> u32 {
        let configs = self::frames(frames).filter_map(|(_, config)| config);
        configs.map(|config| config.samples_per_frame).sum::<u32>().max(self.samples_per_frame)
    }

    /// How long a frame lasts on the clock of 90 kHz that RTP has for it (RFC 2250, 2).
    pub(crate) fn ticks_per_frame(self) -> u32 {
        let ticks = u64::from(self.samples_per_frame) * 90_000;
        (ticks / u64::from(self.sample_rate.max(1))) as u32
    }
}

/// The frames of `bytes` with what their headers say. The last one may end early; what has no header ends them, whole.
pub(crate) fn frames(bytes: &[u8]) -> impl Iterator<Item = (&[u8], Option<Config>)> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let header = read(rest).ok();
        let length = header.map_or(rest.len(), |(_, length)| length.min(rest.len()));
        let (frame, behind) = rest.split_at(length);
        rest = behind;
        (!frame.is_empty()).then_some((frame, header.map(|(config, _)| config)))
    })
}

/// Whether `bytes` are frames, and none of them ends early.
pub(crate) fn is_whole(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Ok((_, length)) = read(rest) {
        match rest.get(length..) {
            Some([]) => return true,
            Some(behind) => rest = behind,
            None => return false,
        }
    }
    false
}

/// The header of a frame, and how many bytes the frame has.
fn read(frame: &[u8]) -> Result<(Config, usize), Mp3Error> {
    let &[0xFF, b, c, d] = frame.first_chunk::<HEADER_BYTES>().ok_or(Mp3Error)? else {
        return Err(Mp3Error);
    };
    // MPEG-2.5, reserved, MPEG-2, MPEG-1; layer III is 0b01.
    let version = b >> 3 & 0b11;
    if b >> 5 != 0b111 || version == 0b01 || b >> 1 & 0b11 != 0b01 {
        return Err(Mp3Error);
    }
    let mpeg_1 = version == 0b11;
    let (bitrate, rate) = (usize::from(c >> 4), usize::from(c >> 2 & 0b11));
    let rate = *SAMPLE_RATES.get(rate).ok_or(Mp3Error)?;
    let sample_rate = match version {
        0b11 => rate,
        0b10 => rate / 2,
        _ => rate / 4,
    };
    let bitrates = BITRATES[usize::from(!mpeg_1)];
    let kbits = *bitrate.checked_sub(1).and_then(|at| bitrates.get(at)).ok_or(Mp3Error)?;
    let samples_per_frame = if mpeg_1 { 1152 } else { 576 };
    let padding = u32::from(c >> 1 & 1);
    let bytes = samples_per_frame / 8 * u32::from(kbits) * 1000 / sample_rate + padding;
    let channels = if d >> 6 == 0b11 { 1 } else { 2 };
    Ok((Config { sample_rate, channels, samples_per_frame }, bytes as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_tells_rate_channels_and_samples() {
        // MPEG-1, 128 kbit/s, 44.1 kHz, joint stereo; MPEG-2, 64 kbit/s, 24 kHz, mono; MPEG-2.5, 8 kHz.
        let one = Config::of_frame(&[0xFF, 0xFB, 0x90, 0x64]);
        assert_eq!(one, Ok(Config { sample_rate: 44_100, channels: 2, samples_per_frame: 1152 }));
        let two = Config::of_frame(&[0xFF, 0xF3, 0x84, 0xC4]);
        assert_eq!(two, Ok(Config { sample_rate: 24_000, channels: 1, samples_per_frame: 576 }));
        let half = Config::of_frame(&[0xFF, 0xE3, 0x18, 0xC4]).unwrap();
        assert_eq!(half.sample_rate, 8_000);
    }

    #[test]
    fn what_is_no_header_of_layer_iii_is_refused() {
        for frame in [
            &[0xFF, 0xFB, 0x90][..],
            &[0xFF, 0xFD, 0x90, 0x64],
            &[0xFF, 0xEB, 0x90, 0x64],
            &[0xFF, 0xFB, 0xF0, 0x64],
            &[0xFF, 0xFB, 0x00, 0x64],
            &[0xFF, 0xFB, 0x9C, 0x64],
            &[0xFE, 0xFB, 0x90, 0x64],
        ] {
            assert_eq!(Config::of_frame(frame), Err(Mp3Error), "{frame:?}");
        }
    }

    #[test]
    fn several_frames_in_one_tag_last_as_long_as_all_of_them() {
        let mut frame = vec![0xFF, 0xFB, 0x90, 0x64];
        frame.resize(417, 0);
        let config = Config::of_frame(&frame).unwrap();
        assert_eq!(config.samples(&frame), 1152);
        assert_eq!(config.samples(&[frame.clone(), frame.clone()].concat()), 2304);
        assert_eq!(config.samples(&frame[..9]), 1152);
    }
}
