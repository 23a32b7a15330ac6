//! Who reads what of whom: each cell of the matrices leaves a line in `target/interop/cells.tsv`, of which `scripts/interop` makes
//! docs/interop.md.

use std::{fs::OpenOptions, io::Write as _};

use crate::{clients::Transport, clips::repository};

/// How well a reader read a codec, which is known when nothing panicked before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Access unit by access unit, bit for bit.
    Exact,
    /// Decoded.
    Decoded,
    /// All tracks were read, and neither compared nor decoded.
    Read,
}

/// Writes down that `reader` read `codec` as `publisher` sent it.
pub fn record(publisher: &str, codec: &str, reader: &str, transport: Transport, outcome: Outcome) {
    let directory = repository().join("target/interop");
    std::fs::create_dir_all(&directory).expect("a directory");
    let outcome = match outcome {
        Outcome::Exact => "exact",
        Outcome::Decoded => "decoded",
        Outcome::Read => "read",
    };
    let transport = transport.name();
    let line = format!("{publisher}\t{codec}\t{reader}\t{transport}\t{outcome}\n");
    // One write of a short line at the end is not torn by those of other tests.
    let file = OpenOptions::new().create(true).append(true).open(directory.join("cells.tsv"));
    file.and_then(|mut file| file.write_all(line.as_bytes())).expect("a line");
}
