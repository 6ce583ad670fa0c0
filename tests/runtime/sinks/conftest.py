from __future__ import annotations

import pytest

from gasmcast.runtime.records import CameraStats, Decision, Event, Notice, Stats


class Records:
    """Short makers of records."""

    @staticmethod
    def decision(time_s=1.0, camera="cam", label="Pushing", p=0.9):
        return Decision(
            camera=camera,
            time_s=time_s,
            wall_s=1.7e9,
            window=(time_s - 4, time_s),
            label=label,
            label_id=1,
            p=p,
            best=label,
            best_p=p,
            top=((label, p),),
            latency_ms={"total": 42.0},
        )

    @staticmethod
    def event(phase="start", number=1, camera="cam", label="Pushing"):
        return Event(camera, 2.0, 1.7e9, phase, label, 1, 0.9, 0.25, 1.5, 0.5, 0.5, number)

    @staticmethod
    def notice(text="it stalled", camera="cam"):
        return Notice(camera, 1.0, 1.7e9, "state", text)

    @staticmethod
    def stats(state="live", camera="cam"):
        one = CameraStats(
            camera,
            state,
            100,
            9,
            8,
            {"late": 2},
            25.0,
            1.0,
            {"p50": 40.0, "p95": 80.0, "p99": 90.0},
        )
        return Stats(
            "",
            0.0,
            1.7e9,
            (one,),
            {"encode": {"p50": 12.5, "p95": 20.0, "p99": 30.0}},
            1,
            0.25,
            {"jsonl": {"written": 3}},
        )


@pytest.fixture
def make() -> Records:
    return Records()
