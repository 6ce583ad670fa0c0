"""Write the report of a training run, a bundle or a live recording, for `gasmcast report`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from gasmcast.errors import UsageError
from gasmcast.files import read_json, write_atomic

__all__ = ["ReportKind", "report_kind", "write_report"]

ReportKind = Literal["run", "bundle", "recording"]


def report_kind(target: Path) -> ReportKind:
    """Return what a path is: a training run, a bundle or a recording.

    Raises:
        UsageError: it is none of them, or does not exist.
    """
    if (target / "manifest.json").is_file():
        return "bundle"
    if (target / "config.yaml").is_file() and (target / "environment.json").is_file():
        return "run"
    if target.is_file():
        return "recording"
    problem = "is none of these" if target.exists() else "does not exist"
    raise UsageError(
        f"{target} {problem}.",
        "Give the folder of `gasmcast train`, a bundle, or the file of `gasmcast live --record`.",
    )


def write_report(target: Path | str, out: Path | str, *, data: Path | str | None = None) -> Path:
    """Write the report of a run, a bundle or a recording as one HTML page, and return the page.

    The page needs no other file, no script and no network. A run and a recording need matplotlib.

    Args:
        target: run folder, bundle, or recording.
        out: page to write.
        data: data set with the clips of a run's evaluation, for their frames. The default is the
            set that was evaluated, if it is still there.

    Raises:
        UsageError: `target` is none of these or damaged, or `data` does not fit.
    """
    target, out = Path(target), Path(out)
    kind = report_kind(target)
    if data is not None and kind != "run":
        raise UsageError(
            f"{target} is a {kind}, whose report shows no clips of a data set.", "Leave out --data."
        )
    if out.is_dir():
        raise UsageError(f"{out} is a folder.", "Give --out the name of a file, such as page.html.")
    if out.resolve() == target.resolve():
        raise UsageError(f"{out} would overwrite the recording.", "Give --out another name.")

    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(out, _render(kind, target, None if data is None else Path(data)))
    return out


def _render(kind: ReportKind, target: Path, data: Path | None) -> str:
    # Each page imports only what it needs: a recording is read on a box without torch.
    if kind == "recording":
        from gasmcast.api.recording_page import (  # noqa: PLC0415 - see above
            render_recording,
        )

        return render_recording(target)
    if kind == "run":
        from gasmcast.training.logs.run_page import render_run  # noqa: PLC0415 - see above

        return render_run(target, data)
    return _render_bundle(target)


def _render_bundle(bundle: Path) -> str:
    from gasmcast.export.report.export_page import render_page  # noqa: PLC0415 - imports the export
    from gasmcast.labels import Labels  # noqa: PLC0415 - as above
    from gasmcast.manifest import read_manifest  # noqa: PLC0415 - as above

    manifest = read_manifest(bundle)
    file = bundle / "report.json"
    if not file.is_file():
        raise UsageError(f"{bundle} has no report.json.", "Export the bundle again.")
    # The file may be of another version, and lack what this page shows.
    try:
        return render_page(read_json(file, dict), Labels(manifest.labels), None)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise UsageError(
            f"{file} is damaged or of another version ({type(error).__name__}: {error}).",
            "Export the bundle again.",
        ) from None
