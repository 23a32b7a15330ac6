//! The seeds of the corpora: what `corpus/` holds beside crashes. `corpus/README.md` says where each comes from.

mod codec;
mod enhanced;
mod rtmp;
mod rtp;
mod sei;
mod text;

use std::{fs, io, path::PathBuf};

use crate::corpus::Entry;

/// The seeds of all targets: the target's name and its inputs.
pub fn all() -> io::Result<Vec<(&'static str, Vec<Entry>)>> {
    let demo = codec::Demo::read(&file("gateway/assets/demo.flv")?);
    Ok(vec![
        ("rtmp_chunk", rtmp::chunk()?),
        ("rtmp_amf0", rtmp::amf0()?),
        ("rtmp_session", rtmp::session()?),
        ("rtmp_client", rtmp::client()?),
        ("flv", codec::flv(&demo)),
        ("avcc", codec::avcc(&demo)),
        ("aac_config", codec::aac_config(&demo)),
        ("hevc", enhanced::hevc()),
        ("av1", enhanced::av1()),
        ("vp9", enhanced::vp9()),
        ("sei", sei::seeds()),
        ("sound", enhanced::sound()),
        ("h264_inspect", rtp::h264_inspect(&demo)),
        ("rtp_header", rtp::header()),
        ("rtp_receive", rtp::receive()),
        ("rtcp", rtp::rtcp()),
        ("sdp", text::sdp()),
        ("rtsp_connection", text::rtsp()),
    ])
}

/// Writes all seeds into `corpus/`; leaves other files there as they are.
pub fn write() -> io::Result<()> {
    for (target, seeds) in all()? {
        let folder = crate::corpus::folder(target);
        fs::create_dir_all(&folder)?;
        for seed in seeds {
            fs::write(folder.join(seed.name), seed.data)?;
        }
    }
    Ok(())
}

/// A file of the repository.
fn file(path: &str) -> io::Result<Vec<u8>> {
    fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(path))
}

fn seed(name: &str, parts: &[&[u8]]) -> Entry {
    Entry { name: name.to_owned(), data: parts.concat() }
}
