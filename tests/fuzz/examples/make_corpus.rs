//! Writes the seeds of all corpora: `cargo run -p fuzz --example make_corpus`.

fn main() -> std::io::Result<()> {
    fuzz::seeds::write()
}
