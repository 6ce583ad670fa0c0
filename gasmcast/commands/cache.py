"""`gasmcast cache`: encode a data set with the frozen backbones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from gasmcast.commands.data_options import AllowLeak, ContextSeconds, DataFormat, DataSet
from gasmcast.commands.model_options import MotionWeights, SemanticWeights, Settings

__all__ = ["cache"]

ENCODING = "Encoding"
LISTED_CLIPS = 10


def cache(
    source: Annotated[
        str, typer.Argument(help="Preset or YAML settings file; it names the backbones.")
    ],
    data: DataSet,
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
    settings: Settings = None,
    dtype: Annotated[
        Literal["float16", "float32"],
        typer.Option("--dtype", help="Type of the stored numbers.", rich_help_panel=ENCODING),
    ] = "float16",
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=0,
            help="Processes that decode, 1 if not given; with --ray, workers of the cluster.",
            rich_help_panel=ENCODING,
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            help="Encode on a Ray cluster: local, auto, host:6379 or ray://host:10001.",
            rich_help_panel=ENCODING,
        ),
    ] = None,
    batch_size: Annotated[
        int,
        typer.Option(
            "--batch-size", min=1, help="Clips that are encoded at once.", rich_help_panel=ENCODING
        ),
    ] = 4,
    semantic_weights: SemanticWeights = None,
    motion_weights: MotionWeights = None,
    data_format: DataFormat = None,
    allow_leak: AllowLeak = False,
    context: ContextSeconds = 0.0,
) -> None:
    """Encode a data set once, so that training skips decoding and both frozen backbones.

    Prints the size before it starts, and continues where it was stopped. A cache is never used for
    another model or data set. Crops and colors are augmented only in the views; mixup still works.

    Examples:
        gasmcast cache ssv2 --data ssv2 --out features --views 2

        gasmcast cache ssv2 --data /shared/ssv2 --out /shared/features --ray head:6379

        gasmcast train ssv2 --data ssv2 --out runs/cached --cache features
    """
    from gasmcast.commands.clean_exit import clean_end
    from gasmcast.commands.settings import parse_settings, repeat_options
    from gasmcast.data.reading import read_as
    from gasmcast.data.set_check import describe_data
    from gasmcast.report.progress_bars import progress_bars
    from gasmcast.training.inputs.cluster_fill import CacheTask, fill_on_ray
    from gasmcast.training.inputs.feature_caches import plan_caches
    from gasmcast.training.inputs.fill import fill_caches
    from gasmcast.training.inputs.training_set import open_training_set

    # What is wrong with the data set is shown before hours of work.
    read_as(data_format, allow_leak=allow_leak, context_s=context)
    overrides = parse_settings(
        settings, semantic_weights=semantic_weights, motion_weights=motion_weights
    )
    opened = open_training_set(source, data, overrides, preload=False)
    for warning in opened.warnings:
        typer.secho(warning, fg=typer.colors.YELLOW, bold=True, err=True)
    typer.echo(describe_data(data))

    # The size is known before anything is encoded.
    caches = plan_caches(opened.config, opened.samples(), out, views=views, dtype=dtype)
    typer.echo(caches.describe_size())

    # Workers of a cluster read the data set themselves, so they get absolute paths.
    if ray is None:
        undecodable = fill_caches(
            caches, opened.labels, batch_size=batch_size, workers=1 if workers is None else workers
        )
    else:
        task = CacheTask(
            source=source,
            data=data.absolute(),
            settings=overrides,
            out=out.absolute(),
            views=views,
            dtype=dtype,
            batch_size=batch_size,
            keys={split: part.plan.key for split, part in caches.parts.items()},
        )
        hint = "Shards that are complete are kept; the same command continues."
        with clean_end("Encoding", hint), progress_bars() as progress:
            undecodable = fill_on_ray(caches, task, ray, workers=workers or None, progress=progress)

    # A large set may have hundreds of such clips: a few names show which kind they are.
    if undecodable:
        names = ", ".join(undecodable[:LISTED_CLIPS])
        rest = ", ..." if len(undecodable) > LISTED_CLIPS else ""
        typer.echo(f"Left out {len(undecodable)} clips that do not decode: {names}{rest}.")

    # Training finds the cache only under the same settings.
    options = repeat_options(
        settings, {"--semantic-weights": semantic_weights, "--motion-weights": motion_weights}
    )
    typer.echo(
        f"Wrote {out}. Next: gasmcast train {source} --data {data} --out RUN --cache {out}{options}"
    )
