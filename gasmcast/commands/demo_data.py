"""`gasmcast demo-data`."""

from __future__ import annotations

from pathlib import Path

import typer

__all__ = ["demo_data", "demo_video"]


def demo_data(
    folder: Path = typer.Argument(help="Where to put the set; must not exist yet."),
    clips: int = typer.Option(900, help="Clips in all: 78 % train, 20 % validation, 2 % test."),
    seed: int = typer.Option(0, help="The same seed gives the same pictures."),
) -> None:
    """Make up a small data set in Something-Something-V2's format.

    15 of its classes as short videos of moving shapes, in pairs that only the order of the frames tells apart.

    Example: `gasmcast demo-data data/demo --clips 900 --seed 0`
    """
    from gasmcast.data.synthetic.clips import make_set

    counts = make_set(folder, clips, seed)
    parts = ", ".join(f"{count} {split}" for split, count in counts.items())
    typer.echo(f"Wrote {folder} ({parts}). Next: gasmcast train demo --data {folder} --out RUN")


def demo_video(
    path: Path = typer.Argument(
        help="The .mp4 to write; the true times of its actions go beside it as .json."
    ),
    seed: int = typer.Option(0, help="The same seed gives the same video."),
    seconds: float = typer.Option(5.0, min=1.0, help="Each action's length, give or take a fifth."),
) -> None:
    """Make up one video of several actions, one after the other.

    Example: `gasmcast demo-video stream.mp4 --seed 3`
    """
    from gasmcast.data.synthetic.clips import make_stream, write_actions

    actions = make_stream(path, seed, seconds=seconds)
    times = path.with_suffix(".json")
    write_actions(times, actions)
    typer.echo(
        f"Wrote {path} ({len(actions)} actions) and {times}. Next: gasmcast live {path} --bundle MODEL.gasm"
    )
