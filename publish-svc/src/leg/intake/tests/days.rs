//! A leg that lasts for days, in made-up time.

use super::*;

/// All that the tests' 32 bits of milliseconds have: 49 days and 17 h, over 88 wraps of RTP's clock of 90 kHz (each 13 h 14 m) and 48
/// of 48 kHz.
const END_MS: u32 = 49 * 86_400_000;
/// How often something comes. In between the leg falls silent, which its timeline is not to notice.
const STEP_MS: u32 = 60_000;
/// How much is played at 25 pictures a second around each wrap of the pictures' clock.
const DENSE_MS: u32 = 2_000;

fn play(bench: &mut Bench, source: &mut Source, ms: u32) {
    bench.rtcp(ms, &source.report(Track::Video, ms));
    bench.rtcp(ms, &source.report(Track::Audio, ms));
    bench.rtp(ms, source.keyframe(ms));
    bench.rtp(ms, source.sound(ms));
}

#[test]
fn forty_nine_days_go_over_every_wrap_without_a_trace() {
    let mut source = Source::new(1);
    let mut bench = Bench::new(&source);
    let (mut ms, mut next_wrap) = (0u32, 0u64);
    let mut last: [Option<(u32, u16, u32)>; 2] = [None; 2];
    while ms < END_MS {
        play(&mut bench, &mut source, ms);
        for unit in std::mem::take(&mut bench.units) {
            let header = headers(&unit)[0].clone();
            let ticks_per_ms = [90, 48][unit.track];
            if let Some((before_ms, number, timestamp)) = last[unit.track] {
                assert_eq!(header.sequence_number, number.wrapping_add(1), "{ms} ms");
                let passed = (ms - before_ms).wrapping_mul(ticks_per_ms);
                assert_eq!(header.timestamp.wrapping_sub(timestamp), passed, "{ms} ms");
            }
            last[unit.track] = Some((ms, header.sequence_number, header.timestamp));
            let off = bench.wall(&unit).nanos_since(ntp(ms, Duration::ZERO));
            assert!(off.abs() < 1_000_000, "{off} ns off at {ms} ms");
        }
        // Where the pictures' clock wraps on the leg.
        let base = u64::from(source.timestamp(Track::Video, 0));
        let window = ((next_wrap + 1) * (1 << 32) - base) / 90;
        let (from, to) = (window - u64::from(DENSE_MS), window + u64::from(DENSE_MS));
        ms += match u64::from(ms) {
            at if at < from => STEP_MS.min((from - at) as u32),
            at if at < to => 40,
            _ => {
                next_wrap += 1;
                STEP_MS
            }
        };
    }
    assert_eq!(next_wrap, 88);
    assert_eq!(bench.count(|c| &c.packets_lost), 0);
    assert_eq!(bench.count(|c| &c.packets_discarded), 0);
}
