//! Multitrack messages (Enhanced RTMP v2, "Enhancing onMetaData" and the sections of the tags): one message, several tracks.

use bytes::Bytes;

use super::{FlvError, Reader, TrackTag};

/// AvMultitrackType.
const ONE_TRACK: u8 = 0;
const MANY_TRACKS_MANY_CODECS: u8 = 2;

/// Reads what follows the packet type Multitrack: `read` gets packet type, FourCC and body of each track.
pub(super) fn read_tracks<T>(
    reader: &mut Reader<'_>,
    read: impl Fn(u8, [u8; 4], &Bytes) -> Result<T, FlvError>,
) -> Result<Vec<TrackTag<T>>, FlvError> {
    let types = reader.u8()?;
    let (multitrack_type, packet_type) = (types >> 4, types & 0x0F);
    let mut four_cc = [0; 4];
    if multitrack_type != MANY_TRACKS_MANY_CODECS {
        four_cc = reader.take()?;
    }
    let mut tracks = Vec::new();
    // Each track takes two bytes at the least, so that the message bounds their number.
    while reader.at < reader.body.len() {
        if multitrack_type == MANY_TRACKS_MANY_CODECS {
            four_cc = reader.take()?;
        }
        let track_id = reader.u8()?;
        let body = if multitrack_type == ONE_TRACK {
            let body = reader.rest();
            reader.at = reader.body.len();
            body
        } else {
            let size = reader.u24()?;
            let from = reader.at;
            reader.skip(size)?;
            reader.body.slice(from..reader.at)
        };
        tracks.push(TrackTag { track_id, tag: read(packet_type, four_cc, &body)? });
    }
    Ok(tracks)
}
