"""`gasmcast cache`."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import typer

__all__ = ["cache"]


def cache(
    source: str = typer.Argument(help="A preset or YAML file; the backbones are what it says."),
    data: Path = typer.Option(
        ..., "--data", "-d", help="Folder of a set in Something-Something-V2's format."
    ),
    out: Path = typer.Option(
        ...,
        "--out",
        "-o",
        help="Folder of caches; each is named by its key, so several fit beside each other.",
    ),
    views: int = typer.Option(
        1,
        min=1,
        help="Of each training clip: the first as in evaluation, the others augmented. Validation has one.",
    ),
    dtype: str = typer.Option("float16", help="float16 or float32."),
    workers: int = typer.Option(1, min=0, help="Processes that decode."),
    batch_size: int = typer.Option(4, min=1, help="Clips encoded at once."),
    settings: Optional[list[str]] = typer.Option(
        None, "--set", help="A setting of gasmcast/config.py, as section.name=value; repeatable."
    ),  # noqa: UP045
    semantic_weights: Optional[str] = typer.Option(
        None, help="File of semantic backbone weights, 'pretrained' or 'random'."
    ),  # noqa: UP045
    motion_weights: Optional[str] = typer.Option(
        None, help="File of motion backbone weights, 'pretrained' or 'random'."
    ),  # noqa: UP045
) -> None:
    """Encode a set with the frozen backbones once, so that training skips decoding and both of them.

    Says how large it will be before it starts, goes on where it was stopped, and is never used for another model or set.
    Augmentation by crops and colors is only in the views; mixup still works.

    Examples:
        gasmcast cache ssv2 --data ssv2 --out features --views 2

        gasmcast train ssv2 --data ssv2 --out runs/cached --cache features
    """
    from gasmcast.commands.settings import parse_settings, repeat_options
    from gasmcast.errors import UsageError
    from gasmcast.training.inputs.cached import open_cached
    from gasmcast.training.inputs.fill import encode_parts

    if dtype not in ("float16", "float32"):
        raise UsageError(f"--dtype {dtype!r} is not known.", "Use float16 or float32.")
    overrides = parse_settings(
        settings, semantic_weights=semantic_weights, motion_weights=motion_weights
    )
    opened = open_cached(
        source,
        data,
        overrides,
        out,
        views=views,
        dtype="float16" if dtype == "float16" else "float32",
    )
    for loud in opened.run.warnings:
        typer.secho(loud, fg=typer.colors.YELLOW, bold=True, err=True)
    typer.echo(opened.size())
    bad = encode_parts(opened, batch_size=batch_size, workers=workers)
    if bad:
        typer.echo(
            f"Left out {len(bad)} clips that do not decode: {', '.join(bad[:10])}{', ...' if len(bad) > 10 else ''}."
        )
    given = repeat_options(
        settings, {"--semantic-weights": semantic_weights, "--motion-weights": motion_weights}
    )
    typer.echo(
        f"Wrote {out}. Next: gasmcast train {source} --data {data} --out RUN --cache {out}{given}"
    )
