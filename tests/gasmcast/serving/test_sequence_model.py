"""Sequences are bounded, forgotten when idle, and refused when they were never started."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from gasmcast.errors import UsageError
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.streaming_model import open_model
from gasmcast.serving.sequence_model import BusyError, SequenceModel
from gasmcast.serving.served_engines import ServedEngines
from gasmcast.serving.v2_tensors import InferRequest

SEGMENT = (4, 32, 32, 3)


@pytest.fixture(scope="module")
def engines(tiny_bundle):
    made = ServedEngines(
        open_model(tiny_bundle, threads=1).model, max_batch=4, delay_s=0.0, name="tiny"
    )
    yield made
    made.close()


@pytest.fixture
def now():
    return [100.0]


@pytest.fixture
def model(engines, now):
    return SequenceModel(
        "s",
        engines,
        LiveConfig(),
        max_sequences=2,
        max_segments=6,
        idle_s=60.0,
        clock=lambda: now[0],
    )


def send(model, name, count=1, **flags):
    segments = np.zeros((count, *SEGMENT), np.uint8)
    parameters = {"sequence_id": name, **{f"sequence_{key}": True for key in flags}}
    return asyncio.run(model.infer(InferRequest("", {"segments": segments}, {}, True, parameters)))


def test_decisions_come_with_the_first_complete_window(model):
    assert len(send(model, 1, 3, start=True)["logits"]) == 0
    assert len(send(model, 1, 1)["logits"]) == 1
    out = send(model, 1, 6)
    assert out["logits"].shape == (6, 3)
    assert out["time_s"].tolist() == [2.5, 3.0, 3.5, 4.0, 4.5, 5.0]
    send(model, 1, 1, end=True)
    assert model.counts() == {"sequences": 0}


def test_a_short_sequence_is_padded_as_a_short_file_is(model):
    out = send(model, "short", 1, start=True, end=True)
    assert out["time_s"].tolist() == [2.0]


def test_an_unknown_sequence_is_refused(model):
    with pytest.raises(UsageError, match="never started"):
        send(model, 7)
    send(model, 7, start=True, end=True)
    with pytest.raises(UsageError, match="has ended"):
        send(model, 7)


@pytest.mark.parametrize("name", [None, 0, "", 1.5, True, "x" * 65, [1]])
def test_a_bad_id_is_refused(model, name):
    with pytest.raises(UsageError, match="no sequence_id"):
        send(model, name, start=True)


def test_their_number_is_bounded_and_idle_ones_make_room(model, now):
    send(model, 1, start=True)
    send(model, 2, start=True)
    with pytest.raises(BusyError, match="2 sequences already"):
        send(model, 3, start=True)
    # A restart of a known one is no new one.
    send(model, 2, start=True)
    now[0] += 40
    send(model, 2)
    now[0] += 40
    send(model, 3, start=True)
    with pytest.raises(UsageError, match="idle for more than 60 s"):
        send(model, 1)
    assert len(send(model, 2, 2)["logits"]) == 1


def test_too_many_segments_are_refused(model):
    with pytest.raises(UsageError, match="may hold 6 segments"):
        send(model, 1, 7, start=True)
    assert model.counts() == {"sequences": 0}


def test_two_requests_at_once_are_worked_on_in_turn(model):
    def request(count, **flags):
        segments = np.zeros((count, *SEGMENT), np.uint8)
        parameters = {"sequence_id": 5, **{f"sequence_{key}": True for key in flags}}
        return InferRequest("", {"segments": segments}, {}, True, parameters)

    async def run():
        await model.infer(request(1, start=True))
        return await asyncio.gather(*(model.infer(request(2)) for _ in range(3)))

    times = [out["time_s"].tolist() for out in asyncio.run(run())]
    assert times == [[], [2.0, 2.5], [3.0, 3.5]]
