"""Install the wheel alone into a clean environment, run it, and measure it.

`make dist` runs it once per Python. It prints the installed size and the time of `--help` beside
their limits; with `--strict` a missed limit is a failure. It fails in any case if the wheel does
not install without extras, or if `gasmcast live` makes no decision on the given bundle.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["Limits", "Measured", "installed_sizes"]

HELP_RUNS = 7
LIVE_S = 8


@dataclass(frozen=True)
class Limits:
    """Limits of the size and start time of an installation."""

    size_mb: float
    """Installed size with all dependencies, without pip, in 10^6 bytes."""
    help_s: float
    """Wall time of `gasmcast --help`, in seconds."""


@dataclass(frozen=True)
class Measured:
    """Measured size and start time of an installation."""

    python: str
    size_mb: float
    largest: dict[str, float]
    """Sizes of the largest distributions, in 10^6 bytes."""
    help_s: float
    """Median wall time of several runs; the first, which fills the page cache, is not counted."""
    help_cpu_s: float
    """Mean processor time of these runs: what remains of the wall time on a quiet machine."""
    decisions: int
    """Decisions that `gasmcast live` made."""
    limits: Limits

    def missed(self) -> list[str]:
        """Return the limits that are exceeded."""
        exceeded = {
            "size_mb": self.size_mb > self.limits.size_mb,
            "help_s": self.help_s > self.limits.help_s,
        }
        return [name for name, over in exceeded.items() if over]

    def __str__(self) -> str:
        missed = self.missed()
        largest = ", ".join(f"{name} {size:.0f}" for name, size in self.largest.items())
        size, help_ = ("MISSED" if name in missed else "met" for name in ("size_mb", "help_s"))
        return (
            f"Python {self.python}: live made {self.decisions} decisions\n"
            f"  installed {self.size_mb:.0f} MB, limit {self.limits.size_mb:g}: {size}"
            f"  ({largest})\n"
            f"  --help {self.help_s:.2f} s, limit {self.limits.help_s:g}: {help_}"
            f"  ({self.help_cpu_s:.2f} s of processor time)"
        )


def main() -> None:
    """Check one Python."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("environment", type=Path, help="folder of the environment, emptied first")
    parser.add_argument("--python", default="python3", help="interpreter of the environment")
    parser.add_argument("--max-mb", type=float, default=500.0)
    parser.add_argument("--max-help-s", type=float, default=0.3)
    parser.add_argument("--strict", action="store_true", help="fail if a limit is missed")
    parser.add_argument("--json", type=Path, help="file to write the figures into")
    options = parser.parse_args()

    measured = check(
        options.wheel.resolve(),
        options.bundle.resolve(),
        options.environment.resolve(),
        python=options.python,
        limits=Limits(options.max_mb, options.max_help_s),
    )
    print(measured)
    if options.json:
        options.json.write_text(json.dumps(asdict(measured), indent=2) + "\n", encoding="utf-8")
    if options.strict and measured.missed():
        sys.exit(f"Missed: {', '.join(measured.missed())}")


def check(wheel: Path, bundle: Path, environment: Path, *, python: str, limits: Limits) -> Measured:
    """Install, run and measure the wheel.

    Raises:
        SystemExit: it does not install or does not run.
    """
    if shutil.which(python) is None:
        sys.exit(f"There is no {python}. Install it, or name others: make dist DIST_PYTHONS=...")
    shutil.rmtree(environment, ignore_errors=True)
    _run(python, "-m", "venv", environment)
    interpreter, command = environment / "bin" / "python", environment / "bin" / "gasmcast"
    _run(interpreter, "-m", "pip", "install", "--quiet", wheel)

    version = _run(interpreter, "-c", "import platform; print(platform.python_version())")
    paths = _run(interpreter, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
    sizes = installed_sizes(Path(paths))
    help_s, help_cpu_s = _help_times(command)
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:5]

    return Measured(
        python=version,
        size_mb=round(sum(sizes.values()), 1),
        largest={name: round(size, 1) for name, size in largest},
        help_s=round(help_s, 3),
        help_cpu_s=round(help_cpu_s, 3),
        decisions=_decisions(command, bundle, environment),
        limits=limits,
    )


def installed_sizes(site_packages: Path) -> dict[str, float]:
    """Return the size of every top-level entry but pip, in 10^6 bytes."""
    sizes: dict[str, float] = {}
    for entry in site_packages.iterdir():
        # Every environment has these; no dependency brings them.
        if entry.name.partition("-")[0] in {"pip", "setuptools", "_distutils_hack"}:
            continue
        files = [entry] if entry.is_file() else list(entry.rglob("*"))
        sizes[entry.name] = sum(path.lstat().st_size for path in files if path.is_file()) / 1e6
    return sizes


def _help_times(command: Path) -> tuple[float, float]:
    """Return the median wall time and the mean processor time of `--help`, in seconds."""
    _run(command, "--help")

    before, times = resource.getrusage(resource.RUSAGE_CHILDREN), []
    for _ in range(HELP_RUNS):
        start = time.perf_counter()
        _run(command, "--help")
        times.append(time.perf_counter() - start)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)

    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return statistics.median(times), cpu_s / HELP_RUNS


def _decisions(command: Path, bundle: Path, environment: Path) -> int:
    """Return how many decisions `live` makes on a synthetic scene."""
    records = environment / "records.jsonl"
    records.unlink(missing_ok=True)
    _run(
        *(command, "live", "demo:", "--bundle", bundle, "--jsonl", records),
        *("--quiet", "--duration", LIVE_S),
        environment={"XDG_CACHE_HOME": str(environment / "cache")},
    )

    kinds = [json.loads(line)["kind"] for line in records.read_text("utf-8").splitlines()]
    if "decision" not in kinds:
        sys.exit(f"`gasmcast live` made no decision in {LIVE_S} s; records: {kinds}")
    return kinds.count("decision")


def _run(*command: object, environment: dict[str, str] | None = None) -> str:
    # The wheel is tried, not the tree: neither the path nor the folder may lead to the sources.
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env=variables | (environment or {}),
    )
    if result.returncode:
        said = result.stdout[-2000:] + result.stderr[-2000:]
        sys.exit(f"{command[0]} {command[1]}: exit status {result.returncode}\n{said}")
    return result.stdout.strip()


if __name__ == "__main__":
    main()
