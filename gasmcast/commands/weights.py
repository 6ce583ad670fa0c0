"""`gasmcast weights`: fetch and convert the weights of frozen backbones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gasmcast.commands.model_options import Preset, Settings

__all__ = ["weights"]

weights = typer.Typer(
    no_args_is_help=True, help="Fetch or convert pretrained weights of the backbones."
)


@weights.command()
def fetch(
    preset: Preset,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to fill.")],
    settings: Settings = None,
) -> None:
    """Download the pretrained weights that a preset needs, to train without a network.

    Size, source and license are printed first. A download that broke off continues, and each file
    is verified by its published SHA-256. A second call only checks the files.

    Examples:
        gasmcast weights fetch small-data --out weights

        gasmcast weights fetch ssv2 --out weights --set model.semantic_backbone=dinov3_s16
    """
    import shlex

    from gasmcast.commands.settings import parse_settings, repeat_options
    from gasmcast.config import load_config
    from gasmcast.models.backbones.offline import prepare_weights

    # Standard output gets the result alone: the next command.
    config = load_config(preset, parse_settings(settings))
    prepared = prepare_weights(config, out, lambda line: typer.echo(line, err=True))
    if not prepared:
        typer.echo(f"{preset} starts from random weights: there is nothing to download.")

    # Options of the next command: the paths that were written here.
    flags = repeat_options(settings, {entry.option: entry.path for entry in prepared})
    typer.echo(f"Next: gasmcast train {shlex.quote(preset)} --data DATA --out RUN{flags}")


@weights.command()
def convert(
    source: Annotated[
        Path,
        typer.Argument(
            help="model.ckpt of deepmind/kinetics-i3d (RGB), its folder, or rgb_imagenet.pt of "
            "the PyTorch port."
        ),
    ],
    out: Annotated[Path, typer.Argument(help="The .safetensors file to write.")],
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Convert a public I3D checkpoint to the file that `--motion-weights` takes.

    Examples:
        gasmcast weights convert rgb_imagenet/model.ckpt i3d_k400.safetensors

        gasmcast weights convert rgb_imagenet.pt i3d_k400.safetensors
    """
    import shlex

    from gasmcast.models.backbones.i3d_convert import write_i3d

    converted = write_i3d(source, out, force=force)
    typer.echo(f"Wrote {out}: {converted}.")
    typer.echo(
        "Next: gasmcast train small-data --data DATA --out RUN --set model.motion_backbone=i3d "
        f"--motion-weights {shlex.quote(str(out))}"
    )
