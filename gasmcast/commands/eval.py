"""`gasmcast eval`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from gasmcast.evaluation.scores import Scores

__all__ = ["eval"]


def eval(  # noqa: A001  # the verb's name; the builtin has no use here
    target: Annotated[
        Path, typer.Argument(help="A run folder, a checkpoint, or a bundle of `gasmcast export`.")
    ],
    data: Annotated[
        Path,
        typer.Option("--data", "-d", help="Folder of a set in Something-Something-V2's format."),
    ],
    split: Annotated[str, typer.Option(help="validation or train.")] = "validation",
    precision: Annotated[
        str, typer.Option(help="Of a checkpoint: fp32, bf16, fp16. Of a bundle: one that it has.")
    ] = "fp32",
    backend: Annotated[
        str, typer.Option(help="Of a bundle: auto, openvino, onnxruntime or tensorrt.")
    ] = "auto",
    views: Annotated[
        str, typer.Option(help="Windows x crops whose softmax is averaged: 1x1, 1x3 or 2x3.")
    ] = "1x1",
    backwards: Annotated[
        bool, typer.Option("--reversed", help="Also play every clip backwards.")
    ] = False,
    shuffled: Annotated[
        bool, typer.Option("--shuffled", help="Also shuffle every clip's frames.")
    ] = False,
    analyze: Annotated[
        Path | None, typer.Option(help="Write an error analysis (one HTML page) into this folder.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of pictures and scores.json; default: eval/ beside a checkpoint."
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Clips at a time.")] = 8,
    workers: Annotated[int, typer.Option(min=0, help="Processes that decode.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Top-1, top-5 and mean-class accuracy with intervals, calibration, confusions: of a checkpoint or of a bundle.

    Beside a checkpoint it leaves temperature.json: what fits these validation logits best. `gasmcast export` gives it to FP32 when it has
    no --data; with clips of its own it fits a temperature for each precision.

    Examples:
        gasmcast eval runs/demo --data demo-data --reversed --shuffled

        gasmcast eval model.gasm --data demo-data --precision int8 --json

        gasmcast eval runs/ssv2 --data ssv2 --views 2x3 --analyze runs/ssv2/errors
    """
    from gasmcast.errors import UsageError

    if split not in ("train", "validation"):
        raise UsageError(
            f"--split {split!r} has no labels to evaluate with.", "Use validation or train."
        )

    from gasmcast.evaluation.classifier import open_subject
    from gasmcast.evaluation.evaluate import Examination, write_pictures

    subject = open_subject(target, precision, backend)
    tests = {
        "backwards": backwards or analyze is not None,
        "shuffled": shuffled or analyze is not None,
    }
    exam = Examination(
        subject,
        data,
        split,
        views=views,
        batch_size=batch_size,
        workers=workers,
        quiet=as_json,
        **tests,
    )
    scores = exam.scores
    result: dict[str, Any] = {
        "target": str(target),
        "subject": subject.name,
        "split": split,
        "views": views,
        **scores.to_json(),
    }
    if unreadable := exam.clips.failures():
        result["unreadable"] = unreadable
    if exam.reversal is not None:
        result["reversed"] = exam.reversal.to_json()
    if exam.shuffle is not None:
        result["shuffled"] = exam.shuffle.to_json()
    written: list[Path] = []
    folder = out or (subject.checkpoint.parent / "eval" if subject.checkpoint else None)
    if folder is not None:
        written += write_pictures(folder, exam.logits, exam.labels, subject.labels, scores)
        result["files"] = str(folder)
        from gasmcast.files import write_atomic

        write_atomic(folder / "scores.json", json.dumps(result, indent=1))
    if (
        subject.checkpoint is not None
        and split == "validation"
        and precision == "fp32"
        and views == "1x1"
    ):
        from gasmcast.evaluation.temperature import write_temperature

        written.append(write_temperature(subject.checkpoint, scores, split))
    if analyze is not None:
        written.append(exam.analysis(analyze))
    if as_json:
        typer.echo(json.dumps(result))
        return
    _show(scores, result)
    if written:
        typer.echo(f"Wrote {', '.join(map(str, written))}.")
    typer.echo(
        f"Next: gasmcast export {target} --data {data}"
        if subject.checkpoint
        else f"Next: gasmcast live VIDEO --bundle {target}"
    )


def _percent(value: float, interval: Sequence[float] | None = None) -> str:
    return f"{100 * value:.1f} %" + (
        f"  [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]" if interval else ""
    )


def _figures(scores: Scores, result: dict[str, Any]) -> list[tuple[str, str]]:
    """Name and text of every figure."""
    rows = [
        ("top-1", _percent(scores.top1, scores.top1_interval)),
        ("top-5", _percent(scores.top5, scores.top5_interval)),
        ("mean-class", _percent(scores.mean_class, scores.mean_class_interval)),
        ("most frequent class", _percent(scores.chance)),
        ("ECE", _percent(scores.ece)),
        (f"ECE at temperature {scores.temperature:.2f}", _percent(scores.ece_calibrated)),
    ]
    if found := result.get("reversed"):
        rows.append(("backwards: another class", _percent(found["changed"])))
        if found["reversed_top1"] is not None:
            rows.append(
                (
                    "backwards: the reversed class",
                    _percent(found["reversed_top1"], found["reversed_interval"]),
                )
            )
            rows.append(("paired classes that follow", _percent(found["classes_followed"])))
    if found := result.get("shuffled"):
        rows.append(
            ("frames shuffled: top-1", _percent(found["shuffled_top1"], found["shuffled_interval"]))
        )
        if found["blind_ceiling"] is not None:
            rows.append(("ceiling without order", _percent(found["blind_ceiling"])))
    return rows


def _show(scores: Scores, result: dict[str, Any]) -> None:
    """The figures as tables."""
    from rich.console import Console
    from rich.table import Table

    def table(
        title: str, head: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str]
    ) -> Table:
        made = Table(title=title, title_justify="left")
        for name in head:
            made.add_column(name, justify="right" if name in right else "left")
        for row in rows:
            made.add_row(*row)
        return made

    console = Console()
    value = "value  [95 % interval]"
    title = (
        f"{result['subject']} on {scores.clips} clips of {result['split']}, views {result['views']}"
    )
    console.print(table(title, ("figure", value), _figures(scores, result), (value,)))
    worst = sorted(scores.classes, key=lambda row: row.accuracy)[:30]
    classes = [
        (row.name, str(row.clips), _percent(row.accuracy), row.mistaken_for) for row in worst
    ]
    console.print(
        table(
            "classes, the worst first",
            ("class", "clips", "accuracy", "mostly mistaken for"),
            classes,
            ("clips", "accuracy"),
        )
    )
    pairs = [
        (pair.first, pair.second, str(pair.first_as_second), str(pair.second_as_first))
        for pair in scores.confused
    ]
    if pairs:
        ways = ("first as second", "second as first")
        console.print(table("most confused pairs", ("first", "second", *ways), pairs, ways))
    for name in result.get("unreadable", []):
        console.print(f"Not counted, it does not decode: {name}.")
