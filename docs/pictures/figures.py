"""The pictures of the documentation: their boxes and arrows, as text.

`python docs/pictures/figures.py` writes them as SVG beside this file; a test compares its output
with the committed files.
"""

from __future__ import annotations

import sys
from pathlib import Path

from svg import Arrow, Box, Picture, draw

__all__ = ["PICTURES"]

TRAINING_TO_BUNDLE = Picture(
    "From clips to a verified bundle",
    rows=(
        (
            Box("clips", ("clips and labels", "videos/, labels.json, train.json"), "data"),
            Box("weights", ("frozen backbones", "DINOv3 ViT-B/16, R3D-18"), "file"),
        ),
        (
            Box("loader", ("loader", "decode, sample, augment: gasmcast.data")),
            Box("cache", ("feature cache", "optional: gasmcast.features"), "file"),
        ),
        (Box("train", ("train", "fusion layers and read-out: gasmcast.training")),),
        (Box("run", ("run folder", "checkpoints, metrics.csv, curves.png"), "file"),),
        (
            Box("eval", ("eval", "accuracy, intervals, temperature: gasmcast.evaluation"), "check"),
            Box("trace", ("trace and rules", "ONNX encoder and head: export/graphs")),
        ),
        (Box("parity", ("parity", "torch, ONNX Runtime, OpenVINO: export/checks"), "check"),),
        (
            Box("calibrate", ("calibrate", "ranges, smoothing, Q/DQ: calibration/")),
            Box("precisions", ("precisions", "INT8, FP16, BF16: export/precisions")),
        ),
        (Box("gate", ("accuracy gate", "agreement, top-1 loss, ECE on held-out clips"), "check"),),
        (
            Box(
                "bundle",
                ("bundle mymodel.gasm", "manifest.json, ONNX files, report.html"),
                "file",
            ),
        ),
    ),
    arrows=(
        Arrow("clips", "loader"),
        Arrow("weights", "cache"),
        Arrow("loader", "cache", dashed=True),
        Arrow("loader", "train"),
        Arrow("cache", "train", dashed=True),
        Arrow("train", "run"),
        Arrow("run", "eval"),
        Arrow("run", "trace"),
        Arrow("trace", "parity"),
        Arrow("parity", "calibrate"),
        Arrow("calibrate", "precisions"),
        Arrow("precisions", "gate"),
        Arrow("gate", "bundle", "only what passes"),
    ),
)

CAMERA_TO_SINK = Picture(
    "From a camera to a sink",
    rows=(
        (Box("camera", ("camera, file, URL", "one thread each: runtime/sources"), "data"),),
        (Box("clock", ("segment clock", "fixed time grid: runtime/camera/clock.py")),),
        (Box("filter", ("still-scene filter", "optional: runtime/camera/still_filter.py")),),
        (
            Box(
                "backlog", ("segments that are ready", "of all cameras: runtime/camera/backlog.py")
            ),
            Box("bundle", ("bundle", "SHA-256 checked: runtime/bundle.py"), "file"),
        ),
        (
            Box("encoder", ("encoder", "one batch for all cameras: runtime/encode_stage.py")),
            Box("engine", ("engines", "one per graph: runtime/engines")),
        ),
        (Box("ring", ("feature ring", "last 8 encoded segments: runtime/camera/ring.py"), "data"),),
        (Box("head", ("head", "one batch for all cameras: runtime/fuse_stage.py")),),
        (
            Box(
                "decision",
                ("decision", "moving average, temperature, no action: runtime/camera/decisions.py"),
            ),
        ),
        (Box("events", ("event", "start, update, end: runtime/camera/events.py")),),
        (
            Box("queue", ("queue per sink", "runtime/sinks/queue.py")),
            Box(
                "sinks",
                ("sinks", "console, JSONL, MQTT, webhook, metrics, video, window"),
                "data",
            ),
        ),
    ),
    arrows=(
        Arrow("camera", "clock", "frames with time stamps"),
        Arrow("clock", "filter", "segments of 0.5 s"),
        Arrow("filter", "backlog"),
        Arrow("backlog", "encoder", "with the previous segment"),
        Arrow("bundle", "engine"),
        Arrow("engine", "encoder"),
        Arrow("encoder", "ring", "tap features"),
        Arrow("ring", "head", "8 segments"),
        Arrow("head", "decision", "logits"),
        Arrow("decision", "events"),
        Arrow("events", "queue", "decisions too"),
        Arrow("queue", "sinks"),
    ),
)

MODEL = Picture(
    "GASM-CAST",
    rows=(
        (Box("clip", ("clip", "lead-in and 8 segments, 8 frames each, 224 x 224"), "data"),),
        (
            Box("semantic", ("semantic stream", "DINOv3 ViT-B/16, frozen", "2 frames a segment")),
            Box("motion", ("motion stream", "R3D-18, frozen", "previous and current segment")),
        ),
        (
            Box(
                "stap",
                (
                    "taps of blocks 4, 8, 12",
                    "14 x 14 patches, 768 -> 512",
                    "graph attention, 16 edges a node",
                ),
            ),
            Box("mtap", ("taps of layers 2, 3, 4", "7 x 7 cells -> 512")),
        ),
        (
            Box(
                "fusion",
                (
                    "fusion layer, three times",
                    "add the taps of this layer",
                    "temporal adapter on the semantic stream",
                    "motion graph attention over 8 segments",
                    "bottleneck cross-attention, both directions",
                    "feed-forward",
                ),
            ),
        ),
        (Box("readout", ("read-out", "attention pooling, LayerNorm, linear")),),
        (Box("logits", ("logits", "174 classes"), "data"),),
    ),
    arrows=(
        Arrow("clip", "semantic"),
        Arrow("clip", "motion"),
        Arrow("semantic", "stap"),
        Arrow("motion", "mtap"),
        Arrow("stap", "fusion"),
        Arrow("mtap", "fusion"),
        Arrow("fusion", "readout"),
        Arrow("readout", "logits"),
    ),
)

PICTURES = {
    "training_to_bundle": TRAINING_TO_BUNDLE,
    "camera_to_sink": CAMERA_TO_SINK,
    "model": MODEL,
}

if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    for name, one in PICTURES.items():
        (folder / f"{name}.svg").write_text(draw(one), encoding="utf-8")
