"""The measuring process of every task but `naive`: `python -m gasmcast.runtime.bench.dispatch`.

It runs without torch; the naive row has its own module (`gasmcast.commands.bench.naive`).
"""

from __future__ import annotations

from gasmcast.runtime.bench.cameras import prepare_cameras
from gasmcast.runtime.bench.models import prepare_cached, prepare_complete
from gasmcast.runtime.bench.peak import prepare_peak, prepare_profile
from gasmcast.runtime.bench.process import serve
from gasmcast.runtime.bench.task import Task, Turn

__all__ = ["prepare"]


def prepare(task: Task) -> Turn:
    """Prepare a task of any kind but `naive`."""
    steps = {
        "complete": prepare_complete,
        "cached": prepare_cached,
        "cameras": prepare_cameras,
        "peak": prepare_peak,
        "profile": prepare_profile,
    }
    return steps[task.kind](task)


if __name__ == "__main__":
    serve(prepare)
