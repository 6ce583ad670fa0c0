"""`gasmcast demo-data` and `gasmcast demo-video`: write synthetic clips."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["demo_data", "demo_video"]

Seed = Annotated[
    int, typer.Option(help="Seed of everything drawn; the same seed, the same frames.")
]


def demo_data(
    folder: Annotated[Path, typer.Argument(help="Folder of the set; must not exist or be empty.")],
    clips: Annotated[
        int, typer.Option(help="Number of clips: 78 % train, 20 % validation, 2 % test.")
    ] = 900,
    seed: Seed = 0,
) -> None:
    """Write a small synthetic data set in the format of Something-Something-V2.

    Short videos of moving shapes show 15 of its classes, in pairs that differ only in the order of
    the frames.

    Examples:
        gasmcast demo-data data/demo --clips 900 --seed 0
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    from gasmcast.data.synthetic.clips import make_set

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeLeft())
    with Progress(*columns) as bar:
        # Invisible until the first clip, so that a refused folder shows no bar.
        task = bar.add_task("", visible=False)

        def show(stage: str, done: int = 0, total: int = 0) -> None:
            bar.update(task, description=stage, completed=done, total=total, visible=True)

        counts = make_set(folder, clips, seed, progress=show)

    parts = ", ".join(f"{count} {split}" for split, count in counts.items())
    typer.echo(f"Wrote {folder} ({parts}). Next: gasmcast train demo --data {folder} --out RUN")


def demo_video(
    path: Annotated[
        Path,
        typer.Argument(
            help="The .mp4 file to write; the true times of its actions are written beside it as"
            " .json."
        ),
    ],
    seed: Seed = 0,
    seconds: Annotated[
        float, typer.Option(min=1.0, help="Length of each action, plus or minus a fifth.")
    ] = 5.0,
) -> None:
    """Write one synthetic video of several actions in a row.

    Examples:
        gasmcast demo-video stream.mp4 --seed 3
    """
    from gasmcast.data.synthetic.scene_video import make_video, write_actions

    actions = make_video(path, seed, seconds=seconds)
    times = path.with_suffix(".json")
    write_actions(times, actions)
    typer.echo(
        f"Wrote {path} ({len(actions)} actions) and {times}."
        f" Next: gasmcast live {path} --bundle MODEL.gasm"
    )
