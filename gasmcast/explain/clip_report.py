"""Explain one clip: figures, pictures, a video and one page."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasmcast.evaluation.time_tests import reverse_clips, shuffle_clips
from gasmcast.explain.attention_pictures import png
from gasmcast.explain.attention_video import write_video
from gasmcast.explain.clip_page import render_page
from gasmcast.explain.clip_pictures import draw_pictures
from gasmcast.explain.curve_plots import draw_heat_maps, draw_occlusion
from gasmcast.explain.faithfulness import Faithfulness, of_clip
from gasmcast.explain.occlusion import occlude, patch_scores, segment_drops
from gasmcast.explain.subject import Clip, Explained, Subject
from gasmcast.files import write_atomic
from gasmcast.progress import Progress, silent
from gasmcast.runtime.attention_grids import layers_of
from gasmcast.video.clip import read_clip
from gasmcast.video.reader import duration_s

__all__ = ["ClipReport", "explain_clip"]

SHUFFLES = 8
"""Random orders of the frames, whose mean probability is reported."""
Probabilities = NDArray[np.float64]


@dataclass(frozen=True)
class ClipReport:
    """Explanation of one clip; truthy when its read-out attention is faithful."""

    subject: str
    clip: str
    window_s: tuple[float, float]
    labels: tuple[str, ...]
    whole: Probabilities
    """`(classes,)` probabilities of the clip."""
    streams: dict[str, Probabilities]
    """`(classes,)` probabilities of each read-out of the complete model."""
    cut: dict[str, Probabilities]
    """The same with the exchange between the streams cut; empty where that is not known."""
    independent: bool
    """Whether the read-out of a stream sees that stream alone, without any exchange."""
    depths: tuple[Probabilities, ...]
    """Probabilities read out after 1, 2, ... fusion layers; empty where they are not known."""
    reversed: Probabilities
    shuffled: Probabilities
    """Mean over several orders of the frames."""
    segment_attention: Probabilities
    """`(S,)` share of the read-out attention."""
    segment_drops: Probabilities
    """`(S,)` fall of the predicted class's probability when one segment is hidden."""
    faithfulness: Faithfulness
    notes: tuple[str, ...]
    """Sentences on what does not exist for this model."""

    def __bool__(self) -> bool:
        return bool(self.faithfulness)

    def __str__(self) -> str:
        share = self.whole[self.predicted]
        return f"{self.clip}: {self.labels[self.predicted]} ({share:.0%}). {self.faithfulness}"

    @property
    def predicted(self) -> int:
        """Predicted class."""
        return int(self.whole.argmax())

    def to_json(self) -> dict[str, Any]:
        """Return the content of `explain.json`."""
        return {
            "subject": self.subject,
            "clip": self.clip,
            "window_s": list(self.window_s),
            "predicted": self.labels[self.predicted],
            "probabilities": self.whole.tolist(),
            "streams": {name: values.tolist() for name, values in self.streams.items()},
            "streams_without_exchange": {name: row.tolist() for name, row in self.cut.items()},
            "streams_are_independent": self.independent,
            "after_layers": [values.tolist() for values in self.depths],
            "reversed": self.reversed.tolist(),
            "shuffled": self.shuffled.tolist(),
            "segment_attention": self.segment_attention.tolist(),
            "segment_drops": self.segment_drops.tolist(),
            "faithfulness": self.faithfulness.to_json(),
            "notes": list(self.notes),
        }


def explain_clip(
    subject: Subject,
    video: Path,
    out: Path,
    *,
    start_s: float | None = None,
    orders: int = 10,
    progress: Progress = silent,
) -> ClipReport:
    """Explain one window of a video, and write `index.html`, `attention.mp4`, PNGs and JSON.

    Args:
        subject: model.
        video: video file.
        out: folder; files of an earlier explanation there are replaced.
        start_s: start of the window in seconds; None: the centered window, as `gasmcast eval`.
        orders: random orders of the occlusion check.
        progress: called with each stage.

    Raises:
        SourceError: the video does not decode.
        MachineError: the disk is full.
    """
    progress("reading the clip")
    if start_s is None:
        start_s = subject.spec.centered_start(duration_s(video))
    clip = read_clip(video, subject.spec, start_s)
    progress("attention")
    explained = subject.explain(clip)
    scores = patch_scores(subject, explained)

    # Two more passes than random orders: most attended first and least attended first.
    done = 0

    def on_step() -> None:
        nonlocal done
        done += 1
        progress("hiding patches", done, orders + 2)

    occlusion = occlude(subject, clip, scores, orders=orders, on_step=on_step)
    report = _figures(subject, clip, explained, scores)
    result = ClipReport(
        subject=subject.name,
        clip=video.name,
        window_s=(start_s, start_s + subject.spec.window_s),
        labels=tuple(subject.labels.names),
        faithfulness=of_clip(occlusion),
        notes=subject.notes,
        independent=subject.independent,
        **report,
    )

    progress("writing pictures")
    _write(result, subject, clip, explained, scores=scores, out=out)
    return result


def _figures(
    subject: Subject, clip: Clip, explained: Explained, scores: Probabilities
) -> dict[str, Any]:
    """Return the figures of a clip that are not its occlusion curves."""
    shuffled = shuffle_clips(np.repeat(clip[None], SHUFFLES, axis=0))
    shares = [subject.probabilities(subject.logits(row[None]))[0] for row in shuffled]
    streams, cut = (
        {name: subject.probabilities(logits[None])[0] for name, logits in read_outs.items()}
        for read_outs in (explained.streams, explained.cut)
    )
    return {
        "whole": subject.probabilities(subject.logits(clip[None]))[0],
        "streams": streams,
        "cut": cut,
        "depths": tuple(subject.probabilities(row[None])[0] for row in explained.depths),
        "reversed": subject.probabilities(subject.logits(reverse_clips(clip[None])))[0],
        "shuffled": np.mean(shares, axis=0),
        "segment_attention": scores.sum((1, 2)),
        "segment_drops": segment_drops(subject, clip),
    }


def _write(
    result: ClipReport,
    subject: Subject,
    clip: Clip,
    explained: Explained,
    *,
    scores: Probabilities,
    out: Path,
) -> None:
    """Write every file of the explanation."""
    out.mkdir(parents=True, exist_ok=True)
    pictures = list(draw_pictures(clip, explained, scores))
    for picture in pictures:
        write_atomic(out / f"{picture.name}.png", png(picture.pixels))
    write_video(out / "attention.mp4", clip, explained, subject.spec.fps)

    check = result.faithfulness
    curves = draw_occlusion(check.most, check.least, check.random, "probability of the class")
    write_atomic(out / "explain.json", json.dumps(result.to_json(), indent=1))
    page = render_page(result, pictures, curves, _motion_graphs(explained))
    write_atomic(out / "index.html", page)


def _motion_graphs(explained: Explained) -> str:
    """Return the motion graphs of all layers as SVG; empty if the model has none."""
    layers = layers_of(explained.maps, "motion_graph")
    if not layers:
        return ""
    graphs = [explained.maps[f"motion_graph.{layer}"] for layer in layers]
    return draw_heat_maps(
        graphs,
        [f"layer {layer + 1}" for layer in layers],
        ticks=[str(i + 1) for i in range(len(graphs[0]))],
        rows="listening segment",
        cols="segment",
    )
