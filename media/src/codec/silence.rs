//! A frame of silence in the codec of a track, made from its codec header alone: what is heard while there is nothing to hear.
//!
//! Left out: AC-3, whose smallest frame is a decoder's worth of side information and two checksums, AAC of another syntax
//! than the General Audio one, and AAC whose channels a program config element or a configuration above 6 tells.

use bytes::Bytes;

use super::{AudioHeader, aac, bits::BitWriter, g711, mp3};

/// How long a frame of samples without a frame structure lasts: 20 ms, as RTP has it by default (RFC 3551, 4.5.14).
const G711_SAMPLES: usize = g711::SAMPLE_RATE as usize / 50;
/// CELT, full band, one mono frame of 20 ms (RFC 6716, 3.1), of which the first bit that is decoded says silence (4.3, table 56).
/// A decoder of two channels takes it, too.
const OPUS: &[u8] = &[0xF8, 0xFF, 0xFE];
/// The bitrate_index of silent frames of MPEG audio: 64 kbit/s and 32 kbit/s, which hold the side information at every rate.
const MP3_BITRATES: [(u8, u32); 2] = [(5, 64_000), (4, 32_000)];

impl AudioHeader {
    /// A frame of silence; `None` of what has none (see the module).
    pub fn silence(&self) -> Option<Bytes> {
        match self {
            Self::Aac(config) => aac_frame(config),
            Self::Opus(_) => Some(Bytes::from_static(OPUS)),
            Self::Mp3(config) => mp3_frame(*config),
            Self::G711(config) => {
                // The sample of the smallest magnitude (ITU-T G.711, tables 1 and 2).
                let zero = match config.law {
                    g711::Law::A => 0xD5,
                    g711::Law::Mu => 0xFF,
                };
                Some(vec![zero; G711_SAMPLES * usize::from(config.channels)].into())
            }
            Self::Ac3(_) => None,
        }
    }
}

/// Syntactic elements of a raw data block (ISO/IEC 14496-3, table 4.85).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Element {
    SingleChannel = 0,
    ChannelPair = 1,
    LowFrequency = 3,
}

/// The id that ends a raw data block.
const END: u32 = 7;

/// A raw data block (ISO/IEC 14496-3, 4.4.2.1) without a scale factor band in any channel.
fn aac_frame(config: &aac::Config) -> Option<Bytes> {
    use Element::{ChannelPair as Pair, LowFrequency, SingleChannel as Single};
    // Main, LC, SSR and LTP share the syntax (table 1.17).
    if !matches!(config.object_type(), 1..=4) {
        return None;
    }
    // By channelConfiguration (table 1.19).
    let elements: &[Element] = match config.channels() {
        1 => &[Single],
        2 => &[Pair],
        3 => &[Single, Pair],
        4 => &[Single, Pair, Single],
        5 => &[Single, Pair, Pair],
        6 => &[Single, Pair, Pair, LowFrequency],
        _ => return None,
    };
    let mut bits = BitWriter::default();
    for (at, &element) in elements.iter().enumerate() {
        let tag = elements[..at].iter().filter(|&&before| before == element).count();
        bits.put(element as u32, 3);
        bits.put(tag as u32, 4);
        match element {
            Single | LowFrequency => individual_channel(&mut bits),
            Pair => {
                // common_window = 0: each has its own ics_info.
                bits.put(0, 1);
                individual_channel(&mut bits);
                individual_channel(&mut bits);
            }
        }
    }
    bits.put(END, 3);
    Some(bits.finish().into())
}

/// individual_channel_stream (table 4.50): global_gain; ics_info of one long window and max_sfb = 0, so that no section, scale factor
/// or spectral data follow; no pulse, TNS or gain control data.
fn individual_channel(bits: &mut BitWriter) {
    let (global_gain, ics_info, tools) = (8, 1 + 2 + 1 + 6 + 1, 3);
    bits.put(0, global_gain + ics_info + tools);
}

/// A frame of layer III (ISO/IEC 11172-3, 2.4.1) whose side information says that there is no data.
fn mp3_frame(config: mp3::Config) -> Option<Bytes> {
    let mpeg_1 = config.samples_per_frame == 1152;
    let factor = match (mpeg_1, config.sample_rate) {
        (true, _) => 1,
        (false, 16_000..) => 2,
        (false, _) => 4,
    };
    let rate = mp3::SAMPLE_RATES.iter().position(|rate| rate / factor == config.sample_rate)?;
    let version = match factor {
        1 => 0b11,
        2 => 0b10,
        _ => 0b00,
    };
    let (bitrate_index, bitrate) = MP3_BITRATES[usize::from(!mpeg_1)];
    let mono = u8::from(config.channels == 1);
    // The sync word, layer III, no checksum; no padding; stereo or one channel.
    let header = [
        0xFF,
        0b1110_0011 | version << 3,
        bitrate_index << 4 | (rate as u8) << 2,
        mono << 7 | mono << 6,
    ];
    let bytes = config.samples_per_frame / 8 * bitrate / config.sample_rate;
    let mut frame = header.to_vec();
    frame.resize(bytes as usize, 0);
    Some(frame.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::opus;

    fn aac(raw: &[u8]) -> AudioHeader {
        AudioHeader::Aac(aac::Config::parse(Bytes::copy_from_slice(raw)).unwrap())
    }

    #[test]
    fn a_silent_frame_of_aac_has_an_element_for_each_speaker_and_nothing_in_it() {
        // 48 kHz, LC. One channel: id and tag, 22 bits of nothing, END: 32 bits.
        assert_eq!(aac(&[0x11, 0x88]).silence().unwrap()[..], [0, 0, 0, 7]);
        // Two: 3 + 4 + 1 + 2 x 22 + 3 = 55 bits.
        assert_eq!(aac(&[0x11, 0x90]).silence().unwrap()[..], [0x20, 0, 0, 0, 0, 0, 0x0E]);
        // 5.1: 29 + 52 + 52 + 29 + 3 = 165 bits.
        let surround = aac(&[0x11, 0xB0]).silence().unwrap();
        assert_eq!((surround.len(), surround[20]), (21, 0b0011_1000));
    }

    #[test]
    fn aac_of_another_syntax_has_no_silence() {
        // ER AAC LD (23); LC with a program config element.
        assert_eq!(aac(&[0xB9, 0x90, 0x00]).silence(), None);
        assert_eq!(aac(&[0x11, 0x80]).silence(), None);
    }

    #[test]
    fn a_silent_frame_of_mpeg_audio_is_a_whole_one_of_the_same_rate_and_channels() {
        for (sample_rate, channels) in
            [44_100, 48_000, 32_000, 22_050, 24_000, 16_000, 11_025, 12_000, 8_000]
                .into_iter()
                .flat_map(|rate| [(rate, 1), (rate, 2)])
        {
            let samples_per_frame = if sample_rate >= 32_000 { 1152 } else { 576 };
            let config = mp3::Config { sample_rate, channels, samples_per_frame };
            let frame = AudioHeader::Mp3(config).silence().unwrap();
            assert_eq!(mp3::Config::of_frame(&frame), Ok(config));
            assert!(mp3::is_whole(&frame), "{config:?}");
            assert!(frame.len() >= 4 + 32, "{config:?}");
        }
    }

    #[test]
    fn silence_lasts_20_ms_where_frames_may_be_of_any_length() {
        let header = AudioHeader::Opus(opus::Config { channels: 2 });
        assert_eq!(header.samples(&header.silence().unwrap()), Ok(960));
        for (law, channels, zero) in [(g711::Law::A, 1, 0xD5), (g711::Law::Mu, 2, 0xFF)] {
            let header = AudioHeader::G711(g711::Config { law, channels });
            let frame = header.silence().unwrap();
            assert_eq!(header.samples(&frame), Ok(160));
            assert!(frame.iter().all(|&sample| sample == zero));
        }
    }
}
