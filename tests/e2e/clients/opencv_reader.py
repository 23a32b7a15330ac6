"""Decodes so many pictures with OpenCV; says what it got as a line of JSON.

    opencv_reader.py URL PICTURES TRANSPORT

FFmpeg's errors go to stderr as OpenCV prints them.
"""

import json
import os
import sys

url, pictures, transport = sys.argv[1:]
os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = f"rtsp_transport;{transport}"
# AV_LOG_ERROR; both are read when it is loaded.
os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "16"
import cv2

capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG)
if not capture.isOpened():
    sys.exit(f"{url} cannot be opened")

decoded, sizes = 0, set()
while decoded < int(pictures):
    read, picture = capture.read()
    if not read:
        break
    decoded += 1
    sizes.add(picture.shape[:2])
print(json.dumps({"pictures": decoded, "sizes": sorted(sizes)}))
