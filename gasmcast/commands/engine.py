"""`gasmcast engine`: TensorRT engines of a bundle, and the cache that keeps them."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gasmcast.export.tensorrt.rtx_check import EngineCheck
    from gasmcast.manifest import Graph
    from gasmcast.runtime.engine_build import DeviceEngine
    from gasmcast.runtime.engines.trt.engine_cache import CachedEngine

__all__ = ["engine"]


class PrecisionChoice(str, Enum):
    """Values of `--precision`; Typer takes no list of literals."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8_FP16 = "int8_fp16"


Bundle = Annotated[Path, typer.Argument(help="Bundle of `gasmcast export`.")]
Cameras = Annotated[
    int, typer.Option("--cameras", min=1, help="Cameras at once: the largest batch.")
]
Precisions = Annotated[
    list[PrecisionChoice] | None,
    typer.Option("--precision", help="Precision, repeatable; all of the bundle by default."),
]
Complete = Annotated[
    bool, typer.Option("--complete", help="Include the complete graph, which only `eval` needs.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

engine = typer.Typer(
    no_args_is_help=True,
    help="Build TensorRT engines, check without a GPU that they build, list and clear the cache.",
)


@engine.command("build")
def build(
    bundle: Bundle,
    cameras: Cameras = 4,
    precision: Precisions = None,
    complete: Complete = False,
    workspace: Annotated[
        int | None,
        typer.Option("--workspace", min=64, help="Megabytes for kernels; implies --force."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Build engines that are in the cache too.")
    ] = False,
    compare: Annotated[
        bool,
        typer.Option("--compare/--no-compare", help="Compare each engine with the CPU."),
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Compile a bundle's graphs for this device and keep the engines in the user's cache.

    `live` and `bench` find them there. A TensorRT engine is native code, so it is never part of a
    bundle.

    Examples:
        gasmcast engine build gestures.gasm --cameras 4

        gasmcast engine build gestures.gasm --precision fp16 --force
    """
    import json

    from gasmcast.api.export import require_equal_outputs
    from gasmcast.runtime.engine_build import build_engines

    # Builds take minutes, so each engine is reported when it is ready.
    def print_engine(built: DeviceEngine) -> None:
        if not as_json:
            typer.echo(str(built))

    # The size of the workspace is not part of an engine's key, so a cached engine must not be
    # reused.
    workspace_bytes = None if workspace is None else workspace << 20
    engines = build_engines(
        bundle,
        cameras=cameras,
        precisions=_names(precision),
        graphs=_graphs(complete),
        workspace=workspace_bytes,
        force=force or workspace_bytes is not None,
        compare=compare,
        on_engine=print_engine,
    )

    if as_json:
        typer.echo(json.dumps([built.to_json() for built in engines], indent=1))
    require_equal_outputs(engines)
    if not as_json:
        typer.echo(
            f"{len(engines)} engines are ready. "
            f"Next: gasmcast live 0 --bundle {bundle} --engine tensorrt"
        )


@engine.command("check")
def check(
    bundle: Bundle,
    cameras: Cameras = 4,
    precision: Precisions = None,
    complete: Complete = False,
    as_json: AsJson = False,
) -> None:
    """Compile every graph with TensorRT-RTX, which needs no GPU, and report the precisions.

    Prints in which precision each convolution and matrix product is computed.

    Examples:
        gasmcast engine check gestures.gasm

        gasmcast engine check gestures.gasm --precision int8_fp16 --json
    """
    import json

    from gasmcast.errors import GateError
    from gasmcast.export.graphs.rules import require_rules

    names = _graph_files(bundle, _names(precision), complete)

    # The rules take a second and explain a refusal better than minutes of compiling.
    require_rules(
        (bundle / name for name in names),
        "TensorRT will not take it: export the bundle again with this version of gasmcast.",
    )

    checks = []
    for name in names:
        result = _check(bundle / name, cameras)
        checks.append(result)
        if not as_json:
            typer.echo(f"{'ok  ' if result else 'FAIL'} {result}")

    if as_json:
        typer.echo(json.dumps([result.to_json() for result in checks], indent=1))
    for result in checks:
        if not result:
            raise GateError(f"{result}.", "Export the bundle again with this version of gasmcast.")
    if not as_json:
        typer.echo(f"{len(checks)} graphs compile. On the device: gasmcast engine build {bundle}")


@engine.command("list")
def list_engines(as_json: AsJson = False) -> None:
    """List the engines in the user's cache with size, age and what they were built for.

    Examples:
        gasmcast engine list

        gasmcast engine list --json
    """
    import json
    from dataclasses import asdict

    from gasmcast.runtime.engines.trt.engine_cache import EngineCache

    cache = EngineCache()
    entries = cache.entries()
    if as_json:
        rows = [
            {
                **asdict(entry.key),
                "path": str(entry.path),
                "size": entry.size,
                "build_s": entry.build_s,
                "age_s": round(_age_s(entry)),
            }
            for entry in entries
        ]
        typer.echo(json.dumps(rows, indent=1))
        return

    for entry in entries:
        typer.echo(_describe(entry))
    typer.echo(f"{len(entries)} engines in {cache.folder}. Empty it with: gasmcast engine clear")


@engine.command("clear")
def clear(
    bundle: Annotated[
        Path | None,
        typer.Argument(help="Bundle whose engines are removed; all engines by default."),
    ] = None,
) -> None:
    """Remove engines from the user's cache: all of them, or those of one bundle.

    Examples:
        gasmcast engine clear

        gasmcast engine clear gestures.gasm
    """
    from gasmcast.runtime.engines.trt.engine_cache import EngineCache

    cache = EngineCache()
    freed = cache.clear() if bundle is None else _clear_bundle(bundle)
    typer.echo(f"Removed {freed / 1e6:.1f} MB from {cache.folder}.")


def _clear_bundle(bundle: Path) -> int:
    """Remove the engines of a bundle's graphs and return the bytes freed."""
    from gasmcast.manifest import read_manifest
    from gasmcast.runtime.engines.graph_files import graph_sha256
    from gasmcast.runtime.engines.trt.engine_cache import EngineCache

    # Engines are found by the content of their graph, so the bundle may have moved.
    files = read_manifest(bundle, verify=False).files
    digests = {graph_sha256(bundle / name) for name, entry in files.items() if entry.graph}

    cache = EngineCache()
    freed = 0
    for entry in cache.entries():
        if entry.key.graph_sha256 in digests:
            cache.discard(entry.key)
            freed += entry.size
    return freed


def _check(graph: Path, cameras: int) -> EngineCheck:
    """Check one graph, and show the phase of its compilation on the terminal meanwhile."""
    from rich.console import Console

    from gasmcast.export.tensorrt.rtx_check import check_engine

    title = f"compiling {graph.name}"
    with Console(stderr=True).status(title) as status:
        return check_engine(
            graph, cameras, progress=lambda phase, *_: status.update(f"{title}: {phase}")
        )


def _names(precision: list[PrecisionChoice] | None) -> tuple[str, ...]:
    return tuple(choice.value for choice in precision or ())


def _graphs(complete: bool) -> tuple[Graph, ...]:
    return ("encoder", "head", "complete") if complete else ("encoder", "head")


def _graph_files(bundle: Path, precisions: tuple[str, ...], complete: bool) -> list[str]:
    """Return the files of a bundle that TensorRT runs.

    Raises:
        UsageError: not a bundle, or it has no such graph.
    """
    from gasmcast.errors import UsageError
    from gasmcast.manifest import read_manifest
    from gasmcast.precision import TENSORRT_PRECISIONS

    wanted = precisions or TENSORRT_PRECISIONS
    names = [
        name
        for name, entry in read_manifest(bundle).files.items()
        if entry.graph in _graphs(complete) and entry.precision in wanted
    ]
    if not names:
        raise UsageError(
            f"{bundle} has no graph in {', '.join(wanted)}.", "Export it again with --precision."
        )
    return names


def _age_s(entry: CachedEngine) -> float:
    """Return the seconds since an engine was built."""
    import time

    return max(0.0, time.time() - entry.path.stat().st_mtime)


def _describe(entry: CachedEngine) -> str:
    key, age_s = entry.key, _age_s(entry)
    hours, days = age_s / 3600, age_s / 86400
    age = f"{days:.0f} days" if days >= 2 else f"{hours:.0f} hours"
    return (
        f"{key.graph} {key.precision}, batch {key.profiles}: {key.backend} {key.version} "
        f"on {key.device} (SM {key.sm}), {entry.size / 1e6:.0f} MB, "
        f"built in {entry.build_s:.0f} s, {age} old, graph {key.graph_sha256[:12]}"
    )
