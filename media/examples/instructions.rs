//! Runs one of the paths of `benches/stream` over some GOPs, so that callgrind can count its instructions: `scripts/instructions`.
//!
//! `cargo run --release -p media --example instructions -- chunk-reader|packetizer|node`

#[path = "../benches/stream/mod.rs"]
mod stream;

use std::hint::black_box;

use stream::{ChunkPath, Gop, NodePath, PICTURES, PacketizerPath, Sent};

/// As OBS has it.
const CHUNK_SIZE: u32 = 4096;
const GOPS: usize = 20;

fn main() {
    let gop = Gop::new();
    match std::env::args().nth(1).as_deref() {
        Some("chunk-reader") => {
            let sent = Sent::new(&gop, CHUNK_SIZE);
            let mut path = ChunkPath::new(CHUNK_SIZE);
            repeat(sent.bytes(), || sent.reads(), |reads| path.run(reads));
        }
        Some("packetizer") => {
            let mut path = PacketizerPath::new(&gop);
            repeat(gop.bytes(), || (), |()| path.run());
        }
        Some("node") => {
            let mut path = NodePath::new(&gop);
            repeat(path.bytes(), || (), |()| path.run());
        }
        _ => {
            eprintln!("usage: instructions chunk-reader|packetizer|node");
            std::process::exit(2);
        }
    }
}

/// Tells how many access units and bytes are counted. The first GOP is not: in it grows what is kept from one to the next.
fn repeat<T>(gop_bytes: u64, mut prepare: impl FnMut() -> T, mut run: impl FnMut(T)) {
    run(prepare());
    for _ in 0..GOPS {
        let input = prepare();
        counted_by_callgrind(|| run(input));
    }
    println!("{} {}", GOPS * PICTURES, GOPS as u64 * gop_bytes);
}

/// callgrind counts from where this is called to where it returns, whatever it calls.
#[inline(never)]
fn counted_by_callgrind(run: impl FnOnce()) {
    run();
    // Else the call above would be a jump, and this function without an end.
    black_box(());
}
