"""Prepare the precisions of a bundle: collect ranges once, then write any precision from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from onnx import ModelProto

from gasmcast.calibration.clip_store import CalibrationSet
from gasmcast.calibration.policy import Policy
from gasmcast.calibration.qdq import ALL_LEVELS, SAFE_LEVELS
from gasmcast.calibration.quantize import Calibrated, Recipe, collect_ranges
from gasmcast.errors import GateError
from gasmcast.export.checks.reference_engines import open_uncached
from gasmcast.export.checks.run_clips import pair_chunks
from gasmcast.export.graphs.compose import compose_complete
from gasmcast.export.graphs.fp16 import to_fp16
from gasmcast.export.graphs.graph_file import load_graph, remove_graph, save_graph
from gasmcast.export.graphs.largest import measure_largest
from gasmcast.export.graphs.rule_report import RuleReport
from gasmcast.export.graphs.rules import require_rules
from gasmcast.export.precisions.calibration_feeds import EncoderFeeds, FeatureStore
from gasmcast.precision import file_name
from gasmcast.progress import Progress, silent
from gasmcast.spec import ClipSpec

__all__ = ["GRAPHS", "Prepared", "prepare", "write_precision"]

GRAPHS = ("encoder", "head")
FP16_SEGMENTS = 16
"""Segments, spread over all clips, that show which tensors of the encoder are too large for FP16.
Each is a run of its own, because all tensors of a run are in memory at once."""


@dataclass(frozen=True)
class Prepared:
    """Graphs and ranges that every precision is written from."""

    spec: ClipSpec
    fp32: Mapping[str, Path]
    """FP32 files of encoder and head."""
    calibrated: Mapping[str, Calibrated]
    """Ranges for INT8 by graph; empty if INT8 was not prepared."""
    largest: Mapping[str, Mapping[str, float]]
    """Largest absolute value by graph and tensor; empty if FP16 was not prepared."""
    stored: CalibrationSet
    head_clips: int
    """Clips that the head's ranges were taken from."""
    segments: int
    """Segments that the encoder's ranges were taken from."""

    def base(self, name: str) -> ModelProto:
        """Return the FP32 graph that precisions are written from.

        It is the smoothed graph if INT8 was prepared, which has fewer outliers for FP16 too.
        """
        if name in self.calibrated:
            return self.calibrated[name].model
        return load_graph(self.fp32[name])

    def graph(self, name: str, precision: str, policy: Policy) -> ModelProto:
        """Return one component in one precision."""
        if precision == "fp16":
            return to_fp16(self.base(name), self.largest[name])

        # Plain INT8 is the file that CPUs run; INT8 with an FP16 rest is for GPUs.
        if precision == "int8":
            return self.calibrated[name].quantize(policy, SAFE_LEVELS)
        quantized = self.calibrated[name].quantize(policy, ALL_LEVELS)
        return to_fp16(quantized, self.largest[name])


@dataclass(frozen=True)
class _Settings:
    """Settings that both graphs are calibrated with."""

    recipe: Recipe | None
    policy: Policy | None
    threads: int
    progress: Progress


def prepare(
    fp32: Mapping[str, Path],
    stored: CalibrationSet,
    folder: Path,
    *,
    recipe: Recipe | None = None,
    policy: Policy | None = None,
    int8: bool = True,
    fp16: bool = True,
    progress: Progress = silent,
    threads: int = 0,
) -> Prepared:
    """Collect the ranges of encoder and head.

    One clip is decoded at a time. Histograms and sample rows stay in memory, and on disk the
    features of the few clips that are encoded whole (`calibration_feeds.HEAD_CLIPS`).

    Args:
        fp32: FP32 files of `encoder` and `head`.
        stored: calibration clips.
        folder: folder for features.
        recipe: how ranges are taken; the defaults of `Recipe` if None.
        policy: operators that may become INT8; the defaults of `Policy` if None.
        int8: prepare INT8.
        fp16: prepare FP16.
        progress: called after each run.
        threads: CPU threads; all cores if 0.

    Raises:
        UsageError: no clips, or activations that are not numbers.
    """
    feeds = EncoderFeeds(stored)
    features = FeatureStore(folder, len(feeds.whole), stored.index.spec.segments)

    # The encoder comes first: its outputs are what the head is calibrated on.
    calibrated: dict[str, Calibrated] = {}
    if int8:
        settings = _Settings(recipe, policy, threads, progress)
        calibrated["encoder"] = encoder_ranges(fp32["encoder"], feeds, features, settings)
        calibrated["head"] = head_ranges(fp32["head"], features, settings)
    else:
        encode_features(fp32["encoder"], feeds, features, threads)

    # FP16 is measured on the smoothed graphs, so it comes after INT8.
    largest: dict[str, Mapping[str, float]] = {}
    prepared = Prepared(
        spec=stored.index.spec,
        fp32=dict(fp32),
        calibrated=calibrated,
        largest=largest,
        stored=stored,
        head_clips=len(features),
        segments=feeds.segments,
    )
    if fp16:
        largest |= fp16_ranges(prepared, feeds, features, threads, progress)
    return prepared


def encoder_ranges(
    path: Path, feeds: EncoderFeeds, features: FeatureStore, settings: _Settings
) -> Calibrated:
    """Collect the encoder's INT8 ranges, and store the features of whole clips on the way."""
    # An error names its clip, so that a user can look at it.
    with feeds.name_clip_in_errors():
        return collect_ranges(
            load_graph(path),
            feeds.feeds,
            settings.recipe,
            settings.policy,
            progress=settings.progress,
            stage="encoder ranges",
            total=feeds.runs,
            keep=lambda run, values: features.append(values) if run >= feeds.single_runs else None,
            threads=settings.threads,
        )


def head_ranges(path: Path, features: FeatureStore, settings: _Settings) -> Calibrated:
    """Collect the head's INT8 ranges on the features of whole clips."""
    return collect_ranges(
        load_graph(path),
        features.feeds,
        settings.recipe,
        settings.policy,
        progress=settings.progress,
        stage="head ranges",
        total=len(features),
        threads=settings.threads,
    )


def encode_features(path: Path, feeds: EncoderFeeds, features: FeatureStore, threads: int) -> None:
    """Store the features of whole clips without collecting ranges."""
    # The head needs features although nothing is quantized.
    engine = open_uncached(path, threads or None)
    for clip in feeds.whole_clips():
        for pairs in pair_chunks(clip):
            features.append(dict(engine.run({"segments": pairs})))


def fp16_ranges(
    prepared: Prepared,
    feeds: EncoderFeeds,
    features: FeatureStore,
    threads: int,
    progress: Progress,
) -> dict[str, Mapping[str, float]]:
    """Measure the largest absolute value of every tensor of encoder and head, by graph."""
    progress("FP16 ranges", 0, 2)
    # All clips are sampled, because one large value decides.
    segments = feeds.spread(FP16_SEGMENTS)
    encoder = measure_largest(prepared.base("encoder"), segments, threads)

    progress("FP16 ranges", 1, 2)
    head = measure_largest(prepared.base("head"), features.feeds(), threads)

    progress("FP16 ranges", 2, 2)
    return {"encoder": encoder, "head": head}


def write_precision(
    prepared: Prepared,
    precision: str,
    folder: Path,
    policy: Policy | None = None,
    complete: bool = True,
) -> tuple[dict[str, Path], list[RuleReport]]:
    """Write the graphs of one precision and check them against TensorRT's rules.

    Args:
        prepared: graphs and ranges.
        precision: `int8`, `fp16` or `int8_fp16`.
        folder: folder of the files.
        policy: operators that may become INT8; the defaults of `Policy` if None.
        complete: write the complete graph beside encoder and head.

    Returns:
        Graph name -> file, and the reports of the rules.

    Raises:
        GateError: a graph breaks a rule, which is a defect of the converter; its files are removed.
    """
    policy = policy or Policy()
    graphs = {name: prepared.graph(name, precision, policy) for name in GRAPHS}
    # Composed of the same graphs, so that it equals the pair in this precision too.
    if complete:
        graphs["complete"] = compose_complete(graphs["encoder"], graphs["head"], prepared.spec)
    paths = {
        name: save_graph(graph, folder / file_name(name, precision))
        for name, graph in graphs.items()
    }

    try:
        reports = require_rules(paths.values(), "Leave this precision out, and report the model.")
    # Nothing that breaks a rule may stay in the bundle's folder.
    except GateError:
        for path in paths.values():
            remove_graph(path)
        raise
    return paths, reports
