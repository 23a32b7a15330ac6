//! Blind mutations of corpus inputs: what links, disks and hostile peers do to a format.

use crate::random::Random;

/// The longest input that is made. Twice the largest header block, so that bounds are hit; larger ones only
/// repeat themselves and are left to libFuzzer.
const MAX_BYTES: usize = 40_000;

/// One of `corpus`, mutated by one to four steps.
pub fn mutated(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut data = corpus.get(random.below(corpus.len())).cloned().unwrap_or_default();
    for _ in 0..1 + random.below(4) {
        step(&mut data, corpus, random);
    }
    data.truncate(MAX_BYTES);
    data
}

fn step(data: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    let at = random.below(data.len());
    match random.below(9) {
        0 => flip_bit(data, at, random),
        1 => set_byte(data, at, random),
        2 => data.truncate(at),
        3 => drop(data.drain(at..(at + length(random)).min(data.len()))),
        4 => tweak_field(data, at, random),
        5 => duplicate(data, at, random),
        6 => swap(data, at, random),
        7 => splice(data, at, corpus, random),
        _ => {
            let noise: Vec<u8> = (0..length(random)).map(|_| random.bits() as u8).collect();
            data.splice(at..at, noise);
        }
    }
}

/// Mostly short, now and then long.
fn length(random: &mut Random) -> usize {
    let most = [4, 16, 64, 1024][random.below(4)];
    1 + random.below(most)
}

fn flip_bit(data: &mut [u8], at: usize, random: &mut Random) {
    if let Some(byte) = data.get_mut(at) {
        *byte ^= 1 << random.below(8);
    }
}

/// Puts in a value at which fields of one byte turn, text ends or lists go on.
fn set_byte(data: &mut [u8], at: usize, random: &mut Random) {
    const TURNS: [u8; 16] = *b"\0\x01\x7f\x80\xff\xfe\r\n ;=:,/$%";
    if let Some(byte) = data.get_mut(at) {
        *byte = TURNS[random.below(TURNS.len())];
    }
}

/// Takes 1 to 4 bytes for a big-endian length, and says a little or far too much or too little.
fn tweak_field(data: &mut [u8], at: usize, random: &mut Random) {
    let left = data.len() - at;
    let width = (1 + random.below(4)).min(left);
    let field = &mut data[at..at + width];
    let value = field.iter().fold(0_u64, |value, &byte| value << 8 | u64::from(byte));
    let value = match random.below(6) {
        0 => value.wrapping_add(1),
        1 => value.wrapping_sub(1),
        2 => 0,
        3 => u64::MAX,
        4 => left as u64,
        _ => value << random.below(8),
    };
    for (byte, new) in field.iter_mut().rev().zip(value.to_le_bytes()) {
        *byte = new;
    }
}

/// Repeats a block in place, up to hundreds of times.
fn duplicate(data: &mut Vec<u8>, at: usize, random: &mut Random) {
    let block = data[at..(at + length(random)).min(data.len())].to_vec();
    let times = [1, 2, 40, 400][random.below(4)];
    let room = MAX_BYTES.saturating_sub(data.len()) / block.len().max(1);
    let blocks = block.repeat(times.min(room));
    data.splice(at..at, blocks);
}

/// Swaps two blocks that follow each other.
fn swap(data: &mut [u8], at: usize, random: &mut Random) {
    let end = (at + 2 * length(random)).min(data.len());
    let block = &mut data[at..end];
    block.rotate_left(block.len() / 2);
}

/// Puts in a piece of another input, or goes on with its end.
fn splice(data: &mut Vec<u8>, at: usize, corpus: &[Vec<u8>], random: &mut Random) {
    let Some(other) = corpus.get(random.below(corpus.len())) else { return };
    let from = random.below(other.len());
    if random.below(2) == 0 {
        data.truncate(at);
        data.extend_from_slice(&other[from..]);
    } else {
        let to = (from + length(random)).min(other.len());
        data.splice(at..at, other[from..to].iter().copied());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_gives_the_same_input_and_other_seeds_give_others() {
        let corpus = vec![vec![7; 40], b"OPTIONS * RTSP/1.0".to_vec()];
        let make = |seed| mutated(&corpus, &mut Random::named("x", seed));
        let all: std::collections::BTreeSet<_> = (0..200).map(make).collect();
        assert!((0..200).map(make).all(|input| all.contains(&input)));
        assert!(all.len() > 150, "{} of 200 differ", all.len());
        assert!(all.iter().all(|input| input.len() <= MAX_BYTES));
    }

    #[test]
    fn an_empty_corpus_and_empty_inputs_can_be_mutated() {
        for seed in 0..500 {
            mutated(&[], &mut Random::new(seed));
            mutated(&[vec![]], &mut Random::new(seed));
        }
    }
}
