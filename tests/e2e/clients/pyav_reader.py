"""Decodes each track with PyAV until it has been given so many seconds of each; says what it got as a line of JSON.

    pyav_reader.py URL SECONDS TRANSPORT FILTER

FILTER are the bitstream filters that the packets of video go through before they are hashed. FFmpeg's errors go to stderr as FFmpeg
prints them.
"""

import hashlib
import json
import sys

import av

url, seconds, transport, video_filter = sys.argv[1:]
av.logging.set_level(av.logging.ERROR)
av.logging.set_skip_repeated(False)
av.logging.restore_default_callback()


class Track:
    def __init__(self, stream):
        self.is_audio = stream.type == "audio"
        self.filter = None if self.is_audio else av.BitStreamFilterContext(video_filter, stream)
        self.seconds = 0.0
        self.frames = 0
        self.hashes = []

    def take(self, packet):
        for frame in packet.decode():
            self.frames += 1
            self.seconds += frame.samples / frame.sample_rate if self.is_audio else 1 / 25
        for filtered in [packet] if self.is_audio else self.filter.filter(packet):
            self.hashes.append(hashlib.md5(bytes(filtered)).hexdigest())


with av.open(url, options={"rtsp_transport": transport}, timeout=60) as container:
    tracks = {stream.index: Track(stream) for stream in container.streams}
    for packet in container.demux():
        tracks[packet.stream.index].take(packet)
        if all(track.seconds >= float(seconds) for track in tracks.values()):
            break

print(
    json.dumps(
        {
            "audio" if track.is_audio else "video": {
                "frames": track.frames,
                "seconds": track.seconds,
                "hashes": track.hashes,
            }
            for track in tracks.values()
        }
    )
)
