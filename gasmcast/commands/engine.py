"""`gasmcast engine`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["engine"]

ACTIONS = ("build", "check", "list", "clear")


def engine(
    action: Annotated[str, typer.Argument(help="build, check, list or clear.")],
    bundle: Annotated[Path | None, typer.Argument(help="The bundle, for build and check.")] = None,
    streams: Annotated[int, typer.Option(min=1, help="Cameras at once: the largest batch.")] = 4,
    precision: Annotated[
        list[str] | None,
        typer.Option(help="fp32, fp16 or int8_fp16; repeat for several. Else all there are."),
    ] = None,
    complete: Annotated[
        bool, typer.Option(help="The complete graph too, which only `eval` needs.")
    ] = False,
    workspace: Annotated[
        int | None, typer.Option(min=64, help="Megabytes that kernels may take; builds anew.")
    ] = None,
    force: Annotated[bool, typer.Option(help="Build even what is there.")] = False,
    compare: Annotated[
        bool, typer.Option("--compare/--no-compare", help="Compare each engine with the CPU.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """TensorRT engines: build them on the device that runs them, or check without a GPU that they will build.

    `build` compiles a bundle's graphs for this device and keeps the engines in this user's cache, outside the bundle; `live`
    and `bench` find them there. `check` compiles every graph with TensorRT-RTX, which needs no GPU, and says in which precision each
    convolution and matrix product comes out. `list` and `clear` show and empty the cache.

        gasmcast engine build gestures.gasm --streams 4

        gasmcast engine check gestures.gasm --precision int8_fp16

        gasmcast engine list
    """
    from gasmcast.errors import UsageError

    if action not in ACTIONS:
        raise UsageError(f"No action {action!r}.", f"Actions: {', '.join(ACTIONS)}.")
    if action in {"build", "check"} and bundle is None:
        raise UsageError(
            f"`gasmcast engine {action}` needs a bundle.", f"gasmcast engine {action} BUNDLE"
        )
    chosen = tuple(precision or ())
    if action == "list":
        _list(as_json)
    elif action == "clear":
        from gasmcast.runtime.engines.trt.engine_cache import EngineCache

        cache = EngineCache()
        typer.echo(f"Removed {cache.clear() / 1e6:.1f} MB from {cache.folder}.")
    elif action == "check":
        assert bundle is not None
        _check(bundle, streams, chosen, complete, as_json)
    else:
        assert bundle is not None
        room = None if workspace is None else workspace << 20
        build(
            bundle,
            streams,
            chosen,
            complete=complete,
            workspace=room,
            force=force or room is not None,
            compare=compare,
            as_json=as_json,
        )


def build(
    bundle: Path,
    streams: int = 4,
    precisions: tuple[str, ...] = (),
    *,
    complete: bool = False,
    workspace: int | None = None,
    force: bool = False,
    compare: bool = True,
    as_json: bool = False,
    quiet: bool = False,
) -> None:
    """Build a bundle's engines and say so; `quiet` prints nothing.

    Raises:
        GateError: an engine's outputs are not those of the CPU.
        MachineError: something is missing on this machine, or a build failed.
    """
    import json

    from gasmcast.errors import GateError
    from gasmcast.runtime.engine_build import build_engines

    done = build_engines(
        bundle,
        cameras=streams,
        precisions=precisions,
        graphs=("encoder", "head", "complete") if complete else ("encoder", "head"),
        workspace=workspace,
        force=force,
        compare=compare,
        on_engine=lambda record: None if as_json or quiet else typer.echo(str(record)),
    )
    if as_json:
        typer.echo(json.dumps([record.to_json() for record in done], indent=1))
    wrong = [record for record in done if not record]
    if wrong:
        raise GateError(
            f"{wrong[0].file}: the engine's outputs are not those of the CPU (cosine {wrong[0].cosine:.4f}).",
            "Use another --precision, and report the device and its TensorRT version.",
        )
    if not as_json and not quiet:
        typer.echo(
            f"{len(done)} engines are ready. Next: gasmcast live 0 --bundle {bundle} --engine tensorrt"
        )


def _check(
    bundle: Path, streams: int, precisions: tuple[str, ...], complete: bool, as_json: bool
) -> None:
    import json

    from rich.console import Console

    from gasmcast.errors import GateError, UsageError
    from gasmcast.export.graphs.rules import check_rules
    from gasmcast.export.tensorrt.rtx_check import check_engine
    from gasmcast.manifest import read_manifest
    from gasmcast.runtime.engine_build import PRECISIONS

    wanted, graphs = (
        precisions or PRECISIONS,
        {"encoder", "head"} | ({"complete"} if complete else set()),
    )
    files = [
        name
        for name, entry in read_manifest(bundle).files.items()
        if entry.graph in graphs and entry.precision in wanted
    ]
    if not files:
        raise UsageError(
            f"{bundle} has no graph in {', '.join(wanted)}.", "Export it again with --precision."
        )
    for name in files:  # before minutes of compiling, and said as clearly as can be
        rules = check_rules(bundle / name)
        if not rules:
            raise GateError(
                f"{rules}.",
                "TensorRT will not take it: export the bundle again with this version of gasmcast.",
            )
    checks = []
    for name in files:
        with Console(stderr=True).status(f"compiling {name}"):
            checks.append(check_engine(bundle / name, streams))
        if not as_json:
            typer.echo(f"{'ok  ' if checks[-1] else 'FAIL'} {checks[-1]}")
    if as_json:
        typer.echo(json.dumps([check.to_json() for check in checks], indent=1))
    failed = next((check for check in checks if not check), None)
    if failed is not None:
        raise GateError(f"{failed}.", "Export the bundle again with this version of gasmcast.")
    if not as_json:
        typer.echo(f"{len(checks)} graphs compile. On the device: gasmcast engine build {bundle}")


def _list(as_json: bool) -> None:
    import json
    from dataclasses import asdict

    from gasmcast.runtime.engines.trt.engine_cache import EngineCache

    cache = EngineCache()
    entries = cache.entries()
    if as_json:
        typer.echo(
            json.dumps(
                [
                    asdict(entry.key) | {"path": str(entry.path), "size": entry.size}
                    for entry in entries
                ],
                indent=1,
            )
        )
        return
    for entry in entries:
        key = entry.key
        typer.echo(
            f"{key.graph} {key.precision}, batch {key.profiles}: {key.backend} {key.version} on {key.device} (SM {key.sm}), "
            f"{entry.size / 1e6:.0f} MB, built in {entry.build_s:.0f} s"
        )
    typer.echo(f"{len(entries)} engines in {cache.folder}. Empty it with: gasmcast engine clear")
