"""`gasmcast explain`: show why a model decides."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from gasmcast.explain.subject import Subject

__all__ = ["explain"]

CHECK = "Occlusion check"
FEATURES = "Features"


def explain(
    clip: Annotated[Path | None, typer.Argument(help="Video file to explain.")] = None,
    bundle: Annotated[
        Path | None,
        typer.Option("--bundle", "-b", help="Bundle of `gasmcast export --attention`."),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", "-c", help="Run folder or checkpoint.")
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the page, the video and pictures.")
    ] = Path("explain"),
    faithful: Annotated[
        Path | None,
        typer.Option(
            "--faithful", help="Instead of a clip: occlusion check on a set's validation clips."
        ),
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(
            "--features", help="Instead of a clip: what the frozen features of a set carry."
        ),
    ] = None,
    start_s: Annotated[
        float | None,
        typer.Option(
            "--start", min=0.0, help="Start of the window in seconds; the centered one by default."
        ),
    ] = None,
    engine: Annotated[
        Literal["auto", "openvino", "onnxruntime"],
        typer.Option("--engine", help="Backend that runs a bundle."),
    ] = "auto",
    orders: Annotated[
        int,
        typer.Option(
            "--orders",
            min=2,
            help="Random orders of patches to compare with.",
            rich_help_panel=CHECK,
        ),
    ] = 10,
    clips: Annotated[
        int | None,
        typer.Option(
            "--clips",
            min=8,
            help="Largest number of clips of a set; 64 for --faithful, 600 for --features.",
            rich_help_panel=CHECK,
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache", help="Folder of feature caches; --out by default.", rich_help_panel=FEATURES
        ),
    ] = None,
) -> None:
    """Show why a model decides: attention, occlusion, streams, layers, and its features.

    For a clip: where the model looks, which patches and segments listen to each other, what each
    stream and layer adds, whether hiding what it looks at changes the answer, and whether the order
    in time matters. With --faithful the occlusion check runs on a set. With --features probes,
    maps and similarities show what each tap of the backbones carries.

    Examples:
        gasmcast explain clip.mp4 --checkpoint runs/a --out why

        gasmcast explain clip.mp4 --bundle gestures.gasm --out why

        gasmcast explain --faithful ~/ssv2 --checkpoint runs/a --out faithful

        gasmcast explain --features ~/ssv2 --checkpoint runs/a --out features
    """
    from gasmcast.errors import UsageError
    from gasmcast.report.progress_bars import progress_bars

    # Typer cannot express which options exclude each other.
    if sum(choice is not None for choice in (clip, faithful, features)) != 1:
        raise UsageError("Nothing to explain.", "Give a CLIP, --faithful DATA or --features DATA.")
    if (bundle is None) == (checkpoint is None):
        raise UsageError("No model to explain.", "Give either --checkpoint or --bundle.")
    if features is not None and checkpoint is None:
        raise UsageError(
            "A bundle does not give the features of its backbones.", "Give --checkpoint."
        )
    page = out / "index.html"

    # Probes need features alone, which `explain_features` takes from the checkpoint or a cache.
    if features is not None:
        from gasmcast.explain.feature_report import explain_features

        assert checkpoint is not None
        with progress_bars() as progress:
            result = explain_features(
                checkpoint,
                features,
                out,
                cache=cache or out / "cache",
                clips=clips or 600,
                progress=progress,
            )
        typer.echo(str(result))
        typer.echo(f"Open {page}.")
        return

    # Both other pages ask the model itself.
    subject = _open(bundle, checkpoint, engine)
    for note in subject.notes:
        typer.echo(f"{note}.", err=True)

    if faithful is not None:
        from gasmcast.explain.faithfulness import measure_faithfulness
        from gasmcast.explain.set_report import write_faithfulness

        with progress_bars() as progress:
            check = measure_faithfulness(
                subject, faithful, clips=clips or 64, orders=orders, progress=progress
            )
        write_faithfulness(check, subject, faithful, out)
        typer.echo(str(check))
    else:
        from gasmcast.explain.clip_report import explain_clip

        assert clip is not None
        with progress_bars() as progress:
            report = explain_clip(
                subject, clip, out, start_s=start_s, orders=orders, progress=progress
            )
        typer.echo(str(report))
    typer.echo(f"Open {page}.")


def _open(bundle: Path | None, checkpoint: Path | None, engine: str) -> Subject:
    """Open the model that is explained."""
    from gasmcast.explain.subject import open_bundle, open_checkpoint

    if bundle is not None:
        return open_bundle(bundle, engine)
    assert checkpoint is not None
    return open_checkpoint(checkpoint)
