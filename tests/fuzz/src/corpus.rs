//! The committed inputs.

use std::{fs, io, path::PathBuf};

/// An input and the name of its file.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Entry {
    /// The name of its file.
    pub name: String,
    /// Its bytes.
    pub data: Vec<u8>,
}

/// Where the inputs of a target lie.
pub fn folder(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

/// The inputs of a target in the order of their names.
pub fn read(target: &str) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for file in fs::read_dir(folder(target))? {
        let file = file?;
        let name = file.file_name().to_string_lossy().into_owned();
        entries.push(Entry { name, data: fs::read(file.path())? });
    }
    entries.sort();
    Ok(entries)
}
