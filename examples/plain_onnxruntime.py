"""Run a bundle with ONNX Runtime alone: python examples/plain_onnxruntime.py BUNDLE VIDEO.

The manifest says what to feed: `spec` has the sampling grid, `labels` the class names, and
`precisions` the temperature that turns logits into calibrated probabilities.
"""

import json
import os
import sys
from pathlib import Path

import cv2
import numpy as np

# ONNX Runtime reports its use unless this is set before the import.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime

bundle = Path(sys.argv[1])
manifest = json.loads((bundle / "manifest.json").read_text())
spec = manifest["spec"]
segments, slots, pixels = spec["segments"], spec["motion_frames"], spec["pixels"]

# Decode the first window: on a grid of `slots` frames per `segment_s` seconds, the nearest frame.
capture = cv2.VideoCapture(sys.argv[2])
frames, times = [], []
while len(times) == 0 or times[-1] < segments * spec["segment_s"]:
    time_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
    ok, frame = capture.read()
    if not ok:
        break
    side = min(frame.shape[:2])
    top, left = (frame.shape[0] - side) // 2, (frame.shape[1] - side) // 2
    square = frame[top : top + side, left : left + side]
    frames.append(cv2.resize(square, (pixels, pixels), interpolation=cv2.INTER_AREA)[..., ::-1])
    times.append(time_s)
grid = np.arange(segments * slots) * spec["segment_s"] / slots
window = [frames[int(np.abs(np.array(times) - t).argmin())] for t in grid]

# The lead-in before a video repeats its first frame. (1, 1+S, F, H, W, 3) uint8 RGB.
clip = np.stack([frames[0]] * slots + window).reshape(1, 1 + segments, slots, pixels, pixels, 3)

session = onnxruntime.InferenceSession(str(bundle / "complete.onnx"))
(logits,) = session.run(["logits"], {session.get_inputs()[0].name: clip})
scores = logits[0] / manifest["precisions"]["fp32"]["temperature"]
p = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
print(f"{manifest['labels'][int(p.argmax())]}: {p.max():.3f}")
