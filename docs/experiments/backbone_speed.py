"""Time single backbones in INT8 on this CPU, a pair of segments at a time.

    python docs/experiments/backbone_speed.py

Each row is the encoder of `lite` with one stream, on the backbone and pixels of the row, in INT8
with a BF16 remainder where the CPU computes in it. Ranges and weights are arbitrary, which changes
the values, not the work. All rows take turns; printed are medians, and multiply-adds of the encoder
over the median.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import torch
from encoder_speed import write_int8
from torch import Tensor, nn

from gasmcast.config import load_config
from gasmcast.export.checks.reference_engines import open_uncached
from gasmcast.export.graphs.trace import trace
from gasmcast.models.counts import count
from gasmcast.models.model import build_model
from gasmcast.runtime.engines import missing_bf16
from gasmcast.video.noise import drifting_noise

ROUNDS, WARM_UP = 15, 3
ROWS = (
    ("semantic", "dinov3_s16", 224),
    ("semantic", "dinov2_s14", 224),
    ("semantic", "sup_t16", 224),
    ("semantic", "sup_t16", 128),
    ("motion", "s3d", 224),
    ("motion", "s3d", 160),
    ("motion", "s3d", 128),
    ("motion", "r3d_18", 224),
    ("motion", "mc3_18", 224),
    ("motion", "mc3_18", 160),
    ("motion", "r3d_18", 96),
)


class Stream(nn.Module):
    """The encoder of a model of one stream, without the empty output of the other."""

    def __init__(self, encoder: nn.Module, stream: str) -> None:
        super().__init__()
        self.encoder, self.stream = encoder, stream

    def forward(self, segments: Tensor) -> Tensor:
        """Return the features of the stream."""
        features: Tensor = getattr(self.encoder(segments), self.stream)
        return features


def main() -> None:
    """Trace and quantize every row, let them take turns, and print the figures."""
    bf16 = not missing_bf16("openvino")
    engines, macs = {}, {}
    for stream, backbone, pixels in ROWS:
        name = f"{backbone} at {pixels} px"
        settings = {
            "spec.pixels": pixels,
            "model.streams": stream,
            f"model.{stream}_backbone": backbone,
            f"model.{stream}_weights": "random",
        }
        config = load_config("lite", settings)
        model = build_model(config).eval()
        pair = torch.from_numpy(drifting_noise(2, config.spec.pair_shape, 0))
        with TemporaryDirectory() as scratch:
            fp32 = Path(scratch) / "fp32.onnx"
            onnx.save(
                trace(Stream(model.encoder, stream), {"segments": pair}, (stream,)), str(fp32)
            )
            engines[name] = open_uncached(write_int8(fp32, Path(scratch)), bf16=bf16)
        macs[name] = count(config).macs.encoder / 1e9 / config.spec.segments
        print(f"{name} is ready", flush=True)

    times: dict[str, list[float]] = {name: [] for name in engines}
    for number in range(WARM_UP + ROUNDS):
        for name, engine in engines.items():
            shape = (1, *engine.inputs["segments"].shape[1:])
            feed = {"segments": drifting_noise(1, shape[1:], 0)}
            started = time.perf_counter()
            engine.run(feed)
            if number >= WARM_UP:
                times[name].append(1e3 * (time.perf_counter() - started))
    for name, found in times.items():
        ms = statistics.median(found)
        rate = macs[name] / ms * 1e3
        print(f"{name}: {ms:.1f} ms, {macs[name]:.1f} G multiply-adds, {rate:.0f} G/s")


if __name__ == "__main__":
    main()
