"""`gasmcast cache`: encode a data set with the frozen backbones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

__all__ = ["cache"]

BACKBONES = "Backbones"
ENCODING = "Encoding"
LISTED_CLIPS = 10


def cache(
    source: Annotated[
        str, typer.Argument(help="Preset or YAML settings file; it names the backbones.")
    ],
    data: Annotated[
        Path,
        typer.Option("--data", "-d", help="Folder of a data set in the format of SSv2."),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Folder of caches; each is named by its key."),
    ],
    views: Annotated[
        int,
        typer.Option(
            "--views",
            min=1,
            help="Views per training clip: the first is not augmented. Validation clips have one.",
        ),
    ] = 1,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting, as section.name=value; repeatable."),
    ] = None,
    dtype: Annotated[
        Literal["float16", "float32"],
        typer.Option("--dtype", help="Type of the stored numbers.", rich_help_panel=ENCODING),
    ] = "float16",
    workers: Annotated[
        int,
        typer.Option("--workers", min=0, help="Processes that decode.", rich_help_panel=ENCODING),
    ] = 1,
    batch_size: Annotated[
        int,
        typer.Option(
            "--batch-size", min=1, help="Clips that are encoded at once.", rich_help_panel=ENCODING
        ),
    ] = 4,
    semantic_weights: Annotated[
        str | None,
        typer.Option(
            "--semantic-weights",
            help="Semantic backbone weights: a file, 'pretrained' or 'random'.",
            rich_help_panel=BACKBONES,
        ),
    ] = None,
    motion_weights: Annotated[
        str | None,
        typer.Option(
            "--motion-weights",
            help="Motion backbone weights: a file, 'pretrained' or 'random'.",
            rich_help_panel=BACKBONES,
        ),
    ] = None,
) -> None:
    """Encode a data set once, so that training skips decoding and both frozen backbones.

    Prints the size before it starts, and continues where it was stopped. A cache is never used for
    another model or data set. Crops and colors are augmented only in the views; mixup still works.

    Examples:
        gasmcast cache ssv2 --data ssv2 --out features --views 2

        gasmcast train ssv2 --data ssv2 --out runs/cached --cache features
    """
    from gasmcast.commands.settings import parse_settings, repeat_options
    from gasmcast.training.inputs.feature_caches import plan_caches
    from gasmcast.training.inputs.fill import fill_caches
    from gasmcast.training.inputs.training_set import open_training_set

    overrides = parse_settings(
        settings, semantic_weights=semantic_weights, motion_weights=motion_weights
    )
    opened = open_training_set(source, data, overrides, preload=False)
    for warning in opened.warnings:
        typer.secho(warning, fg=typer.colors.YELLOW, bold=True, err=True)

    # The size is known before anything is encoded.
    caches = plan_caches(opened.config, opened.samples(), out, views=views, dtype=dtype)
    typer.echo(caches.describe_size())
    undecodable = fill_caches(caches, opened.labels, batch_size=batch_size, workers=workers)

    if undecodable:
        names = ", ".join(undecodable[:LISTED_CLIPS])
        rest = ", ..." if len(undecodable) > LISTED_CLIPS else ""
        typer.echo(f"Left out {len(undecodable)} clips that do not decode: {names}{rest}.")

    options = repeat_options(
        settings, {"--semantic-weights": semantic_weights, "--motion-weights": motion_weights}
    )
    typer.echo(
        f"Wrote {out}. Next: gasmcast train {source} --data {data} --out RUN --cache {out}{options}"
    )
