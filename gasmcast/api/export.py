"""Export a checkpoint to a verified bundle: the function behind `gasmcast export`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gasmcast.errors import GateError
from gasmcast.precision import Precision
from gasmcast.progress import Progress, silent

if TYPE_CHECKING:  # the API is importable without torch and onnx
    from gasmcast.export.result import ExportResult
    from gasmcast.export.tensorrt.torch_tensorrt import TorchEngine
    from gasmcast.runtime.engine_build import DeviceEngine

    BuiltEngine = DeviceEngine | TorchEngine

__all__ = [
    "EngineRoute",
    "RangeMethod",
    "build_device_engines",
    "export",
    "require_equal_outputs",
]

EngineRoute = Literal["tensorrt", "torch-tensorrt"]
RangeMethod = Literal["max", "entropy", "percentile"]


def export(
    source: str | Path,
    out: str | Path = "model.gasm",
    *,
    data: str | Path | None = None,
    precisions: Sequence[Precision | Literal["all"]] = (),
    calibration: str | Path | None = None,
    calibration_clips: int = 64,
    held_out: int = 256,
    background: Sequence[str | Path] = (),
    method: RangeMethod = "max",
    agreement: float = 0.98,
    top1_loss: float = 0.01,
    search: bool = True,
    sensitivity: bool = False,
    measure: bool = True,
    attention: bool = False,
    build_engines: EngineRoute | None = None,
    cameras: int = 4,
    random_weights: bool = False,
    threads: int | None = None,
    seed: int = 0,
    force: bool = False,
    data_format: str | None = None,
    allow_leak: bool = False,
    context_s: float = 0.0,
    progress: Progress = silent,
) -> ExportResult:
    """Turn a checkpoint into a verified bundle: ONNX graphs, measured precisions, reports.

    FP32 is always exported and compared with torch. Every other precision must pass the accuracy
    gate on held-out clips, or it is not in the bundle.

    Args:
        source: run folder of `gasmcast train`, a checkpoint, or a preset with `random_weights`.
        out: bundle to write; a bundle that is there already is an error without `force`.
        data: data set in any format; its training split calibrates, its validation split judges.
        precisions: precisions beside FP32; `all` means all that can be judged on this machine.
        calibration: set of `gasmcast calibrate`, used instead of the training split.
        calibration_clips: number of clips to choose from the training split.
        held_out: largest number of validation clips that judge.
        background: videos and folders of videos in which no action happens. With the unlabeled time
            of long validation videos they raise the no-action threshold, until at most 5 % of their
            windows reach it.
        method: how INT8 ranges of activations are taken.
        agreement: smallest share of clips with the same class as FP32.
        top1_loss: largest loss of top-1 accuracy, as a share.
        search: move the worst blocks back to high precision when INT8 fails the gate.
        sensitivity: measure the loss of every block under INT8 even when the gate passes.
        measure: time each precision on this machine.
        attention: also write `encoder.attention.onnx` and `head.attention.onnx`, which give the
            same logits to the bit on ONNX Runtime, and the attention maps beside them.
        build_engines: also build engines for this device, by TensorRT or torch-tensorrt.
        cameras: cameras at once, for `build_engines`.
        random_weights: export an untrained preset, to try an export.
        threads: CPU threads; all cores if None.
        seed: seed of the choice of clips, and of random weights.
        force: replace a bundle in `out` when the export is complete.
        data_format: format of the annotations, as `--format` takes it; None: detected.
        allow_leak: accept sources in train and in another split; every report says so.
        context_s: seconds before and after an annotated span that its windows may show.
        progress: called with each stage.

    Returns:
        The result; truthy when no precision failed the gate. `notes` says when the model is hardly
        better than chance, when few clips judged, and which precision `live` uses.

    Raises:
        GateError: parity with torch does not hold, or engines differ; see `export_bundle`.
        UsageError: a wrong argument, checkpoint or data set, or a bundle in `out` without `force`.
        MachineError: this machine lacks disk space, BF16 that was named, or an engine's library.

    Example:
        >>> result = gasmcast.export("runs/demo", "new.gasm", data="demo-data", precisions=["int8"])
        >>> print(result)
    """
    from gasmcast.calibration.quantize import Recipe  # noqa: PLC0415 - heavy
    from gasmcast.data.reading import read_as  # noqa: PLC0415 - heavy
    from gasmcast.export.bundle_writer import check_target  # noqa: PLC0415 - heavy
    from gasmcast.export.checks.gate_verdict import GateRecipe  # noqa: PLC0415 - heavy
    from gasmcast.export.export_plan import (  # noqa: PLC0415 - heavy
        ExportPlan,
        left_out,
        wanted_precisions,
    )
    from gasmcast.export.source import open_source  # noqa: PLC0415 - heavy
    from gasmcast.export.stages import export_bundle  # noqa: PLC0415 - heavy

    # Wrong arguments are errors before the checkpoint is read.
    read_as(data_format, allow_leak=allow_leak, context_s=context_s)
    wanted = wanted_precisions(precisions)
    check_target(Path(out), force)
    plan = ExportPlan(
        precisions=wanted,
        left_out=left_out(precisions),
        calibration_clips=calibration_clips,
        held_out=held_out,
        seed=seed,
        threads=threads,
        recipe=Recipe(method=method),
        gate=GateRecipe(agreement=agreement, top1_loss=top1_loss),
        search=search,
        sensitivity=sensitivity,
        measure=measure,
        attention=attention,
        background=tuple(Path(place) for place in background),
    )

    # A signal or an error from here on leaves no half-written bundle.
    result = export_bundle(
        open_source(str(source), random_weights, seed),
        Path(out),
        plan,
        data=None if data is None else Path(data),
        calibration=None if calibration is None else Path(calibration),
        force=force,
        progress=progress,
    )

    # Engines of a bundle that lacks a requested precision would be of little use.
    if build_engines is not None and result:
        engines = build_device_engines(
            build_engines,
            source,
            Path(out),
            cameras=cameras,
            fp16="fp16" in wanted,
            random_weights=random_weights,
            seed=seed,
            progress=progress,
        )
        result = replace(result, engines=tuple(engines))
    return result


def build_device_engines(
    route: EngineRoute,
    source: str | Path,
    bundle: Path,
    *,
    cameras: int = 4,
    fp16: bool = False,
    random_weights: bool = False,
    seed: int = 0,
    on_engine: Callable[[BuiltEngine], None] = lambda _: None,
    progress: Progress = silent,
) -> Sequence[BuiltEngine]:
    """Build engines of an exported model for this device.

    TensorRT's engines go into the user's cache, where `live` finds them. The programs of
    torch-tensorrt go into the folder `<bundle>.torch-tensorrt`.

    Args:
        route: library that builds.
        source: model that the bundle was exported from; read for torch-tensorrt only.
        bundle: the bundle.
        cameras: cameras at once: the largest batch.
        fp16: precision of torch-tensorrt's programs: FP16 if True, else FP32.
        random_weights: as for `export`.
        seed: as for `export`.
        on_engine: called with each engine.
        progress: called before each graph.

    Raises:
        GateError: an engine does not compute what its reference computes.
        MachineError: the library or the device is missing.
    """
    if route == "tensorrt":
        from gasmcast.runtime.engine_build import build_engines  # noqa: PLC0415 - heavy

        engines = build_engines(bundle, cameras=cameras, on_engine=on_engine)
        require_equal_outputs(engines)
        return engines

    from gasmcast.export.source import open_source  # noqa: PLC0415 - heavy
    from gasmcast.export.tensorrt.torch_tensorrt import compile_graphs  # noqa: PLC0415 - heavy

    # Programs hold native code and pickles, so they stay outside the bundle.
    folder = bundle.with_name(f"{bundle.name}.torch-tensorrt")
    programs = compile_graphs(
        open_source(str(source), random_weights, seed).model,
        folder,
        cameras=cameras,
        precision="fp16" if fp16 else "fp32",
        progress=progress,
    )
    for program in programs:
        on_engine(program)
    if not all(programs):
        raise GateError(
            f"The programs in {folder} do not compute what PyTorch computes.",
            f"Do not use them; the ONNX files in {bundle} are sound.",
        )
    return programs


def require_equal_outputs(engines: Sequence[DeviceEngine]) -> None:
    """Refuse TensorRT engines whose outputs differ from those of the CPU.

    Raises:
        GateError: the first such engine.
    """
    for engine in engines:
        if not engine:
            raise GateError(
                f"{engine.file}: the engine's outputs are not those of the CPU "
                f"(cosine {engine.cosine:.4f}).",
                "Use another --precision, and report the device and its TensorRT version.",
            )
