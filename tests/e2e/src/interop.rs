//! Who reads what of whom: each cell of the matrices leaves a line in `target/interop/cells.tsv`, of which `scripts/interop` makes
//! docs/interop.md.

use std::{fs::OpenOptions, io::Write as _};

use crate::clips::repository;

/// What is read in a cell where nobody says otherwise.
const SECONDS: u32 = 3;

/// How well a reader read a codec.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Access unit by access unit, bit for bit; and decoded, where the reader decodes.
    Exact,
    /// Decoded.
    Decoded,
    /// All packets were read, and neither compared nor decoded.
    Read,
    /// Something was wrong.
    Failed,
}

/// What was seen.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Who published.
    pub publisher: &'static str,
    /// A codec of that.
    pub codec: &'static str,
    /// Who read.
    pub reader: &'static str,
    /// By which way.
    pub way: &'static str,
    /// How well.
    pub outcome: Outcome,
    /// How much of it, in seconds.
    pub seconds: u32,
}

/// How much of each codec each reader reads over each transport, in seconds: `INTEROP_SECONDS`, which `scripts/interop` sets to 60; else
/// as little as shows that it works.
pub fn seconds() -> u32 {
    match std::env::var("INTEROP_SECONDS") {
        Ok(seconds) => seconds.parse().expect("INTEROP_SECONDS is a number of seconds"),
        Err(_) => SECONDS,
    }
}

/// Whether this is the long form.
pub fn is_long() -> bool {
    seconds() > SECONDS
}

/// Writes a cell down.
pub fn record(cell: &Cell) {
    let outcome = match cell.outcome {
        Outcome::Exact => "exact",
        Outcome::Decoded => "decoded",
        Outcome::Read => "read",
        Outcome::Failed => "failed",
    };
    let Cell { publisher, codec, reader, way, seconds, .. } = cell;
    write(&format!("cell\t{publisher}\t{codec}\t{reader}\t{way}\t{outcome}\t{seconds}\n"));
}

/// Writes down why a reader is not tested with a codec.
pub fn record_lack(reader: &str, codec: &str, why: &str) {
    write(&format!("lack\t{reader}\t{codec}\t{why}\n"));
}

fn write(line: &str) {
    let directory = repository().join("target/interop");
    std::fs::create_dir_all(&directory).expect("a directory");
    // One write of a short line at the end is not torn by those of other tests.
    let file = OpenOptions::new().create(true).append(true).open(directory.join("cells.tsv"));
    file.and_then(|mut file| file.write_all(line.as_bytes())).expect("a line");
}
