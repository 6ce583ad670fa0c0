"""`gasmcast.enough`: judge whether a data set is large enough, from the features of its clips."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gasmcast.errors import UsageError
from gasmcast.files import write_atomic
from gasmcast.progress import Progress, silent
from gasmcast.report.percent import percent

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gasmcast.data.sample import Sample
    from gasmcast.studies.enough.enough_answer import Enough
    from gasmcast.training.inputs.training_set import TrainingSet

__all__ = ["EnoughResult", "enough"]

PRESET = "small-data"
MAX_CLIPS = 2000


@dataclass(frozen=True, kw_only=True)
class EnoughResult:
    """Answer to the question whether a data set is large enough."""

    study: Enough
    """Curves, forecasts, confused classes and suspicious clips."""
    samples: tuple[Sample, ...]
    """The clips, in the order of the study."""
    names: tuple[str, ...]
    """Class names."""
    page: Path
    """HTML page."""
    leak: str = ""
    """Warning of sources that are in train and in another split; empty without any."""

    @property
    def verdict(self) -> tuple[str, ...]:
        """Answer in a few sentences, after the warning of a leak."""
        overall = self.study.overall
        more = overall.more_sources
        low, high = (100 * bound for bound in more.interval)
        reached = (
            f"{overall.clips} clips from {overall.sources} sources reach"
            f" {percent(overall.accuracy[-1])} on sources that were held out; the curve is"
            f" {overall.trend}."
        )
        forecast = (
            f"3 more sources of each class would bring about {percent(more.accuracy)}"
            f" ({low:.0f} to {high:.0f} %). Record {self.study.next_class!r} next."
        )
        sentences = [self.leak, reached, forecast] if self.leak else [reached, forecast]
        if suspects := len(self.study.suspects):
            sentences.append(f"Look at {suspects} clips that other clips contradict.")
        return tuple(sentences)

    def __str__(self) -> str:
        return " ".join(self.verdict)

    def to_json(self) -> dict[str, Any]:
        """Return the study as JSON data, with the names of clips and classes."""
        record = self.study.to_json()
        for clip in record["harm"]:
            sample = self.samples[clip["clip"]]
            clip.update(
                id=sample.id,
                video=sample.video,
                start_s=sample.start_s,
                end_s=sample.end_s,
                source=sample.origin,
                label=None if sample.label is None else self.names[sample.label],
                predicted=self.names[clip["predicted"]],
            )
        return {"verdict": list(self.verdict), "page": str(self.page), **record}


def enough(
    run: str | Path | None = None,
    *,
    data: str | Path | None = None,
    out: str | Path,
    preset: str | Path = PRESET,
    cache: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    draws: int = 10,
    max_clips: int = MAX_CLIPS,
    progress: Progress = silent,
) -> EnoughResult:
    """Judge whether a data set is large enough, and write `enough.html` and `enough.json`.

    All clips with a class count, whatever their split. They are encoded once, into `out/features`,
    unless a cache has them.

    Args:
        run: run folder, whose settings and feature caches are used.
        data: data set; the default is the one that the run was trained on.
        out: folder to write.
        preset: preset or YAML file of the backbones, where no run is given.
        cache: folder of feature caches.
        settings: dotted settings that replace those of the preset.
        draws: random draws of sources.
        max_clips: largest number of clips; of a larger set whole sources are drawn at random.
        progress: called as clips are encoded and refits are done.

    Raises:
        UsageError: no data set, backbones that train, or too few classes or sources.
        MachineError: pretrained weights are not available, or no space is left.
        SourceError: too many clips do not decode.

    Example:
        >>> result = gasmcast.enough(data="clips", out="enough")
        >>> print(result.study.next_class)
    """
    from gasmcast.data.set_check import check_data  # noqa: PLC0415 - imports numpy and PyAV
    from gasmcast.studies.enough.enough_answer import (  # noqa: PLC0415 - imports numpy
        study_features,
    )
    from gasmcast.studies.enough.enough_page import (  # noqa: PLC0415 - imports matplotlib
        render_enough,
    )

    out = Path(out)
    run = None if run is None else Path(run)
    source = preset if run is None else run / "config.yaml"
    folder = _find_data(run, data)
    opened = _open(source, folder, settings or {}, run=run, cache=cache, out=out)
    blocks, samples = _read_features(opened, max_clips, progress)

    # The refits take seconds; encoding takes minutes.
    names = opened.labels.names
    study = study_features(
        blocks,
        _classes(samples),
        [sample.origin for sample in samples],
        names,
        draws=draws,
        progress=progress,
    )
    page = out / "enough.html"
    result = EnoughResult(
        study=study,
        samples=samples,
        names=tuple(names),
        page=page,
        leak=check_data(folder),
    )
    html = render_enough(
        study,
        samples,
        names,
        title=f"Is {folder} enough?",
        verdict=result.verdict,
        progress=progress,
    )
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(page, html)
    text = json.dumps(result.to_json(), ensure_ascii=False, indent=1)
    write_atomic(out / "enough.json", text)
    return result


def _find_data(run: Path | None, data: str | Path | None) -> Path:
    """Return the data set that is given, or the one that a run was trained or evaluated on."""
    from gasmcast.data.set_place import read_data_place  # noqa: PLC0415 - imports numpy
    from gasmcast.evaluation.predictions import (  # noqa: PLC0415 - imports numpy
        FILE_NAME,
        read_predictions,
    )

    if data is not None:
        return Path(data)
    if run is None:
        raise UsageError("No data set to judge.", "Give a RUN, or --data DATA.")
    if not (run / "config.yaml").is_file():
        raise UsageError(f"{run} is no run folder.", "Give the folder of `gasmcast train`.")

    if (trained_on := read_data_place(run)) is not None:
        return trained_on
    # Older runs do not say it, but their evaluation does.
    predictions = run / "eval" / FILE_NAME
    if not predictions.is_file():
        raise UsageError(f"{run} does not say where its data set is.", "Give --data DATA.")
    return Path(read_predictions(predictions).data)


def _open(
    source: str | Path,
    data: Path,
    settings: Mapping[str, Any],
    *,
    run: Path | None,
    cache: str | Path | None,
    out: Path,
) -> TrainingSet:
    """Open the set with features in place of clips; they are encoded unless a cache has them."""
    from gasmcast.training.inputs.training_set import (  # noqa: PLC0415 - imports torch
        open_training_set,
    )

    # A teacher does not change what the features carry.
    settings = {"train.teacher": "", "train.unlabelled": "", "train.background": "", **settings}
    if cache is not None:
        return open_training_set(source, data, settings, cache=Path(cache))

    # The features of the run itself, as long as they are of these clips.
    if run is not None and (run / "features").is_dir():
        try:
            return open_training_set(source, data, settings, cache=run / "features")
        except UsageError:
            pass  # a wrong setting is reported below, by the other way in
    return open_training_set(source, data, {**settings, "train.cache_views": 1}, run_folder=out)


def _read_features(
    opened: TrainingSet, max_clips: int, progress: Progress
) -> tuple[list[NDArray[np.float32]], tuple[Sample, ...]]:
    """Return the pooled taps `(N, X)` of the labeled clips of both splits, and the clips."""
    import numpy as np  # noqa: PLC0415 - not needed for the verb's help

    from gasmcast.features.feature_dataset import FeatureDataset  # noqa: PLC0415 - imports torch
    from gasmcast.features.pooling import pool_taps  # noqa: PLC0415 - as above
    from gasmcast.models.model import GasmCast  # noqa: PLC0415 - as above

    shapes = GasmCast(opened.config.model, opened.config.spec).encoder.tap_shapes()
    taps = [*shapes.semantic, *shapes.motion]
    splits = (opened.clips, opened.validation)
    parts = [part for part in splits if isinstance(part, FeatureDataset)]
    samples = [sample for part in parts for sample in part.samples]
    chosen = _choose([sample.origin for sample in samples], max_clips)
    blocks: list[list[NDArray[np.float32]]] = [[] for _ in taps]
    first = 0
    for part in parts:
        rows = chosen[(chosen >= first) & (chosen < first + len(part))] - first
        first += len(part)
        if len(rows):
            for block, pooled in zip(blocks, pool_taps(part, taps, rows, progress), strict=True):
                block.append(pooled)
    return [np.concatenate(block) for block in blocks], tuple(samples[i] for i in chosen)


def _choose(sources: Sequence[str], max_clips: int) -> NDArray[np.int64]:
    """Return the positions of the clips of as many random sources as `max_clips` allows."""
    import numpy as np  # noqa: PLC0415 - not needed for the verb's help

    if len(sources) <= max_clips:
        return np.arange(len(sources))
    groups = np.unique(np.asarray(sources), return_inverse=True)[1]
    order = np.random.default_rng(0).permutation(groups.max() + 1)
    sizes = np.bincount(groups)[order]
    kept = order[np.cumsum(sizes) <= max_clips]
    return np.flatnonzero(np.isin(groups, kept))


def _classes(samples: Sequence[Sample]) -> NDArray[np.int64]:
    import numpy as np  # noqa: PLC0415 - not needed for the verb's help

    return np.array([sample.label for sample in samples], np.int64)
