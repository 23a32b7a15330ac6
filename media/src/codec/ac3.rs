//! AC-3 (ETSI TS 102 366): the header of a syncframe.

/// Hz by fscod (4.4.1.3).
const SAMPLE_RATES: [u32; 3] = [48_000, 44_100, 32_000];
/// Full bandwidth channels by acmod (table 4.3).
const CHANNELS: [u8; 8] = [2, 1, 2, 3, 3, 4, 4, 5];
/// Samples of a frame (4.1).
pub const SAMPLES_PER_FRAME: u32 = 1536;
/// bsid of AC-3 is 8 at the most, of its half and quarter rates 9 and 10; Enhanced AC-3 has 16.
const MAX_BSID: u8 = 8;

/// What the header of a frame says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// Hz: 48000, 44100 or 32000.
    pub sample_rate: u32,
    /// The low frequency channel included.
    pub channels: u8,
}

/// No syncframe of AC-3.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no AC-3 syncframe")]
pub struct Ac3Error;

impl Config {
    /// Reads syncinfo and bsi (4.3.1 and 4.3.2) of a syncframe.
    pub fn of_frame(frame: &[u8]) -> Result<Self, Ac3Error> {
        let &[0x0B, 0x77, _, _, sizes, bsid, c, d] = frame.first_chunk::<8>().ok_or(Ac3Error)?
        else {
            return Err(Ac3Error);
        };
        let sample_rate = *SAMPLE_RATES.get(usize::from(sizes >> 6)).ok_or(Ac3Error)?;
        if bsid >> 3 > MAX_BSID || sizes & 0b11_1111 > 37 {
            return Err(Ac3Error);
        }
        let acmod = c >> 5;
        // cmixlev, surmixlev and dsurmod stand between acmod and lfeon where the mode has them.
        let mut between = 0;
        if acmod & 1 == 1 && acmod != 1 {
            between += 2;
        }
        if acmod & 0b100 != 0 {
            between += 2;
        }
        if acmod == 0b010 {
            between += 2;
        }
        let bits = u16::from_be_bytes([c, d]);
        let lfe = (bits >> (12 - between) & 1) as u8;
        Ok(Self { sample_rate, channels: CHANNELS[usize::from(acmod)] + lfe })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_tells_rate_and_channels() {
        // 48 kHz, 3/2 with LFE; 44.1 kHz, 2/0 without; 32 kHz, mono with.
        let frame = |sizes, c, d| [0x0B, 0x77, 1, 2, sizes, 8 << 3, c, d];
        let config = Config::of_frame(&frame(0x1C, 0b1110_0001, 0)).unwrap();
        assert_eq!(config, Config { sample_rate: 48_000, channels: 6 });
        let config = Config::of_frame(&frame(0x54, 0b0100_0000, 0)).unwrap();
        assert_eq!(config, Config { sample_rate: 44_100, channels: 2 });
        let config = Config::of_frame(&frame(0x94, 0b0011_0000, 0)).unwrap();
        assert_eq!(config, Config { sample_rate: 32_000, channels: 2 });
    }

    #[test]
    fn what_is_no_syncframe_of_ac_3_is_refused() {
        let good = [0x0B, 0x77, 1, 2, 0x1C, 0x40, 0xE1, 0];
        assert!(Config::of_frame(&good).is_ok());
        assert_eq!(Config::of_frame(&good[..7]), Err(Ac3Error));
        for (at, byte) in [(1, 0x78), (4, 0xDC), (4, 0x26), (5, 0x80)] {
            let mut bad = good;
            bad[at] = byte;
            assert_eq!(Config::of_frame(&bad), Err(Ac3Error), "{at}");
        }
    }
}
