from __future__ import annotations

from gasmcast.stopwatch import alternate_ms, fastest_each_s, fastest_s, sample_ms


def test_the_warm_up_does_not_count() -> None:
    calls: list[int] = []
    assert fastest_s(lambda: calls.append(1), repeats=3) >= 0
    assert len(calls) == 4


def test_pieces_alternate_and_report_progress() -> None:
    order: list[str] = []
    stages: list[str] = []
    work = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    fastest = fastest_each_s(work, 2, stages.append)
    assert order == stages == ["a", "b", "a", "b"]
    assert set(fastest) == {"a", "b"}


def test_samples_stop_at_the_budget_but_not_below_the_minimum() -> None:
    now = [0.0]

    def work() -> None:
        now[0] += 1.0

    assert sample_ms(work, 5.0, (3, 30), lambda: now[0]) == [1000.0] * 5
    assert len(sample_ms(work, 0.0, (3, 30), lambda: now[0])) == 3
    assert len(sample_ms(work, 100.0, (3, 7), lambda: now[0])) == 7


def test_every_piece_runs_at_least_once_with_its_processor_time() -> None:
    samples = alternate_ms({"a": lambda: None, "b": lambda: sum(range(1000))}, budget_s=0.0)
    assert {name: len(ms) for name, ms in samples.items()} == {
        "a": 1,
        "a_cpu": 1,
        "b": 1,
        "b_cpu": 1,
    }
