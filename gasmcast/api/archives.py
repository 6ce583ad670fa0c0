"""Label whole archives of videos: the function behind `gasmcast classify`; works without torch."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gasmcast import __version__
from gasmcast.archive.archive_run import label_videos, unfinished
from gasmcast.archive.input_list import list_inputs
from gasmcast.archive.label_task import LabelTask
from gasmcast.archive.output_folder import OutputFolder
from gasmcast.archive.parquet import import_pyarrow
from gasmcast.archive.worker_plan import available_cores, plan_workers
from gasmcast.files import sha256_of
from gasmcast.progress import Progress, silent
from gasmcast.runtime.bundle import Bundle
from gasmcast.runtime.engines import choose_backend
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.schema import check_settings
from gasmcast.video.container import printable

__all__ = ["ArchiveResult", "classify"]

_SHOWN = 3
"""Failures that the summary shows."""


@dataclass(frozen=True)
class ArchiveResult:
    """Outcome of a run over an archive; truthy when every input was labeled."""

    out: Path
    inputs: int
    """Different videos that were named."""
    labeled: int
    """Videos that this run labeled."""
    present: int
    """Videos whose records were there already, from an earlier run."""
    failed: int
    """Videos that could not be read to their end, of this run and earlier ones."""
    first_failures: tuple[tuple[str, str], ...]
    """Path and reason of the first few."""
    video_s: float
    """Seconds of video that this run labeled."""
    elapsed_s: float

    def __bool__(self) -> bool:
        return not self.failed

    def __str__(self) -> str:
        speed = self.video_s / max(self.elapsed_s, 1e-9)
        first = (
            f"{self.labeled} videos labeled, {self.present} were there already, {self.failed} "
            f"failed: {self.video_s / 3600:.2f} h of video in {self.elapsed_s / 3600:.2f} h "
            f"({speed:.1f} times real time)."
        )
        lines = [first]
        lines += [f"  {reason}" for _, reason in self.first_failures]
        if self.failed > len(self.first_failures):
            lines.append(f"  ... all of them: {self.out / 'failed.jsonl'}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `json.dumps`."""
        return asdict(self) | {"out": str(self.out)}


def classify(
    inputs: str | Path | Sequence[str | Path],
    *,
    bundle: str | Path,
    out: str | Path,
    engine: str = "auto",
    precision: str = "auto",
    workers: int | None = None,
    threads: int | None = None,
    settings: Mapping[str, Any] | None = None,
    ray: str | None = None,
    retry: bool = False,
    progress: Progress = silent,
) -> ArchiveResult:
    """Label videos, and write decisions and events of each as a Parquet file.

    The records are those of `gasmcast live` on the same file. A run that was ended, however that
    happened, continues with the same call: each input is in the output exactly once.

    Args:
        inputs: files, folders, patterns, and manifests (`.csv`, `.parquet`, `.jsonl`).
        bundle: folder that `gasmcast export` wrote.
        out: folder to write or continue.
        engine: "auto", "openvino", "onnxruntime" or "tensorrt".
        precision: "auto", or a precision of the bundle.
        workers: number of worker processes, each with an engine; None: as many as the machine, or
            the Ray cluster, has room for.
        threads: CPU threads of one worker; None: the cores of the machine split among them, or
            four.
        settings: keys of `live.yaml`.
        ray: address of a Ray cluster, or "local"; None: processes of this machine. Inputs, bundle
            and `out` must have the same paths on all its nodes.
        retry: label inputs again that failed in an earlier run.
        progress: called with finished and all inputs.

    Raises:
        UsageError: a wrong input, bundle, setting or manifest; an output folder of another bundle
            or other settings; a worker with another version or bundle.
        SourceError: a named file is missing, or a folder holds no video.
        MachineError: a package is missing, the cluster cannot be reached, the disk is full, or
            workers keep dying.

    Example:
        >>> import gasmcast
        >>> result = gasmcast.classify("clips/*.mp4", bundle="demo.gasm", out="labels")
        >>> print(result)
    """
    started = time.monotonic()
    import_pyarrow()
    config = check_settings(LiveConfig, dict(settings or {}), "settings")
    source = Path(bundle).absolute()
    Bundle.open(source)
    # An engine that this machine lacks may be one of the cluster's.
    on_gpu = engine == "tensorrt" if ray else choose_backend(engine)[0] == "tensorrt"
    videos = list_inputs([inputs] if isinstance(inputs, str | Path) else inputs)

    # What the records depend on: a folder never mixes two of these.
    facts = {
        "gasmcast": __version__,
        "bundle": sha256_of(source / "manifest.json"),
        "engine": engine,
        "precision": precision,
        "settings": config.model_dump(mode="json"),
    }
    folder = OutputFolder(Path(out))
    folder.open(facts)
    try:
        todo = unfinished(folder, videos, retry=retry)
        plan = plan_workers(
            cores=available_cores(),
            on_gpu=on_gpu,
            batch=config.batch,
            workers=workers,
            threads=threads,
            on_cluster=bool(ray) and ray != "local",
        )
        task = LabelTask(
            bundle=source,
            engine=engine,
            precision=precision,
            threads=plan.threads,
            batch=plan.batch,
            settings=config.model_dump(),
            out=folder.path,
            facts=facts,
        )
        present = len(videos) - len(todo)
        totals = label_videos(task, plan, folder, todo, present=present, ray=ray, progress=progress)
        failures = folder.list_failures()
    finally:
        folder.close()

    # The folder may hold failures of inputs that this call does not name.
    bad = [(video, failures[video]) for video in map(printable, videos) if video in failures]
    return ArchiveResult(
        out=folder.path,
        inputs=len(videos),
        labeled=totals.labeled,
        present=present,
        failed=len(bad),
        first_failures=tuple(bad[:_SHOWN]),
        video_s=round(totals.video_s, 3),
        elapsed_s=round(time.monotonic() - started, 3),
    )
