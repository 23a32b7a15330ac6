"""Receives each track by a session of its own with aiortsp, which knows one track a session; says what it got as a line of JSON.

    aiortsp_reader.py URL SECONDS

aiortsp decodes nothing: it hands out RTP packets. They have to come in order and without a gap.
"""

import asyncio
import json
import sys
from urllib.parse import urlparse

from aiortsp.rtsp.connection import RTSPConnection
from aiortsp.rtsp.session import RTSPMediaSession
from aiortsp.transport import RTPTransportClient, transport_for_scheme


class Track(RTPTransportClient):
    def __init__(self, media, seconds):
        self.got = {"media": media, "packets": 0, "access_units": 0, "gaps": [], "seconds": 0.0}
        self.wanted = seconds
        self.last = self.first_time = self.rate = None
        self.reports = 0
        self.done = asyncio.get_running_loop().create_future()

    def handle_rtp(self, rtp):
        if self.last is not None and rtp.seq != (self.last + 1) % 65536:
            self.got["gaps"].append([self.last, rtp.seq])
        self.last = rtp.seq
        self.first_time = rtp.ts if self.first_time is None else self.first_time
        self.got["packets"] += 1
        self.got["access_units"] += rtp.m
        self.got["seconds"] = ((rtp.ts - self.first_time + 2**31) % 2**32 - 2**31) / self.rate
        if self.got["seconds"] >= self.wanted and not self.done.done():
            self.done.set_result(None)

    def handle_rtcp(self, rtcp):
        self.reports += 1

    def handle_closed(self, error):
        if not self.done.done():
            self.done.set_exception(error or ConnectionError("closed"))


def clock_rate(media):
    """Its parser takes the number of channels behind the rate for the rate."""
    rtpmap = media["attributes"]["rtpmap"]
    return int(rtpmap["encoding"].split("/")[1]) if "/" in rtpmap["encoding"] else rtpmap["clockRate"]


async def read(url, media, seconds):
    parsed = urlparse(url)
    track = Track(media, seconds)
    async with RTSPConnection(parsed.hostname, parsed.port) as connection:
        async with transport_for_scheme(parsed.scheme)(connection) as transport:
            async with RTSPMediaSession(connection, url, transport, media) as session:
                track.rate = clock_rate(session.sdp.get_media(media))
                transport.subscribe(track)
                await session.play()
                await track.done
    track.got["reports"] = track.reports
    return track.got


async def main():
    url, seconds = sys.argv[1], float(sys.argv[2])
    tracks = [read(url, media, seconds) for media in ("video", "audio")]
    print(json.dumps(await asyncio.gather(*tracks)))


asyncio.run(main())
