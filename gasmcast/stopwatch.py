"""Timing of repeated work: the fastest run, samples within a budget, several pieces in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from gasmcast.progress import Progress, silent

__all__ = ["alternate_ms", "fastest_each_s", "fastest_s", "sample_ms"]


def fastest_s(work: Callable[[], object], repeats: int) -> float:
    """Return the seconds of the fastest of `repeats` runs, after one warm-up run."""
    # The first run allocates memory and fills caches.
    work()
    return fastest_each_s({"work": work}, repeats)["work"]


def fastest_each_s(
    work: Mapping[str, Callable[[], object]], rounds: int, progress: Progress = silent
) -> dict[str, float]:
    """Run every piece of work once per round and return each one's fastest run in seconds.

    Pieces alternate, so that a disturbance of the machine does not fall on one of them alone.

    Args:
        work: name -> function to time.
        rounds: runs of each piece.
        progress: called with the name of each piece before it runs.
    """
    fastest = dict.fromkeys(work, float("inf"))

    for _ in range(rounds):
        for name, run in work.items():
            progress(name)
            started = time.perf_counter()
            run()
            fastest[name] = min(fastest[name], time.perf_counter() - started)
    return fastest


def sample_ms(
    work: Callable[[], object],
    budget_s: float,
    runs: tuple[int, int],
    clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """Time single runs until the budget is spent, and return them in milliseconds.

    Args:
        work: function to time; warm it up before.
        budget_s: no run starts after this many seconds, except to reach the minimum.
        runs: minimum and maximum number of runs.
        clock: seconds.
    """
    minimum, maximum = runs

    samples: list[float] = []
    started = clock()
    while len(samples) < minimum or (len(samples) < maximum and clock() - started < budget_s):
        before = clock()
        work()
        samples.append(1000.0 * (clock() - before))
    return samples


def alternate_ms(
    work: Mapping[str, Callable[[], object]], budget_s: float
) -> dict[str, list[float]]:
    """Run pieces of work in turn for `budget_s` seconds, at least once each.

    Returns:
        For each name the milliseconds of wall clock of every run, and under `<name>_cpu` the
        milliseconds of processor time over all threads of this process.
    """
    samples: dict[str, list[float]] = {}
    for name in work:
        samples[name] = []
        samples[f"{name}_cpu"] = []

    # Processor time shows the cost even if other programs use the machine.
    until = time.perf_counter() + budget_s
    while True:
        for name, run in work.items():
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            samples[name].append(1000.0 * (time.perf_counter() - wall))
            samples[f"{name}_cpu"].append(1000.0 * (time.process_time() - cpu))
        if time.perf_counter() >= until:
            return samples
