"""Recognize actions in a capture loop of your own: python examples/opencv_loop.py BUNDLE VIDEO."""

import sys

import cv2

import gasmcast

recognizer = gasmcast.load(sys.argv[1])
capture = cv2.VideoCapture(sys.argv[2])  # or 0 for a webcam
with recognizer.stream() as stream:
    while True:
        ok, frame_bgr = capture.read()
        if not ok:
            break
        timestamp_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000  # time.monotonic() for a webcam
        frame_rgb = cv2.cvtColor(frame_bgr, cv2.COLOR_BGR2RGB)
        for decision in stream.push(frame_rgb, timestamp_s):
            print(f"{decision.time_s:6.2f} s  {decision.p:4.2f}  {decision.label}")
