from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest

from gasmcast.runtime.bundle import Bundle
from gasmcast.runtime.frames import Frame
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.pipeline import Pipeline
from gasmcast.runtime.records import Decision, Event
from gasmcast.runtime.streaming_model import Model
from gasmcast.video.clip import read_clip
from gasmcast.video.reader import read_frames


def open_model(folder, backend="onnxruntime"):
    bundle = Bundle.open(folder)
    return Model(
        bundle.engine("encoder", "fp32", backend, 1),
        bundle.engine("head", "fp32", backend, 1),
        bundle.manifest.spec,
        bundle.labels,
    )


def feed(lane, path):
    for stamp, image in read_frames(path, 1):
        lane.on_frame(Frame(stamp, 0.0, image))
    lane.on_end(None)


def run_files(model, paths, config=None):
    records, windows = [], []
    pipeline = Pipeline(
        model,
        config or LiveConfig(),
        records.append,
        trace=lambda kind, fields: windows.append(fields) if kind == "window" else None,
    )
    pipeline.start()
    threads = [
        threading.Thread(target=feed, args=(pipeline.add(name, live=False), path), daemon=True)
        for name, path in paths.items()
    ]
    for thread in threads:
        thread.start()
    assert pipeline.wait(60)
    pipeline.stop()
    return records, windows, pipeline


def test_frames_out_of_order_are_counted_and_traced(tiny_bundle):
    traced = []
    pipeline = Pipeline(
        open_model(tiny_bundle),
        LiveConfig(),
        lambda _: None,
        trace=lambda kind, fields: traced.append((kind, fields)),
    )
    lane = pipeline.add("a", live=False)
    for stamp in (0.0, 0.2, 0.1, 0.3, 0.25):
        lane.on_frame(Frame(stamp, 0.0, np.zeros((8, 8, 3), np.uint8)))
    assert lane.stats().drops == {"disorder": 2}
    assert traced == [("drop", {"camera": "a", "cause": "disorder", "segments": 1})] * 2


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_every_window_of_a_file_is_decided_once_and_equals_the_clip(
    tiny_bundle, moving_video, backend
):
    model = open_model(tiny_bundle, backend)
    records, windows, _ = run_files(model, {"a": moving_video})
    decisions = [r for r in records if isinstance(r, Decision)]
    assert [d.time_s for d in decisions] == [
        2.0 + 0.5 * i for i in range(9)
    ]  # 12 segments, windows of 4
    assert all(d.window == (d.time_s - 2.0, d.time_s) for d in decisions)
    for window in windows:
        clip = read_clip(moving_video, model.spec, window["window"][0])
        pairs = np.stack([clip[i : i + 2] for i in range(model.spec.segments)])
        features = model.encoder.run({"segments": pairs})
        whole = model.head.run({name: value[None] for name, value in features.items()})["logits"][0]
        np.testing.assert_allclose(window["logits"], whole, atol=1e-4)


def test_files_together_give_what_they_give_alone(tiny_bundle, moving_video):
    model = open_model(tiny_bundle)
    _, alone, _ = run_files(model, {"a": moving_video})
    _, together, pipeline = run_files(
        model, {"a": moving_video, "b": moving_video, "c": moving_video}
    )
    assert len(together) == 3 * len(alone)
    for name in "abc":
        mine = [w for w in together if w["camera"] == name]
        assert [w["window"] for w in mine] == [w["window"] for w in alone]
        for one, other in zip(mine, alone, strict=True):
            np.testing.assert_allclose(one["logits"], other["logits"], atol=1e-5)
        assert pipeline.lanes[name].drops == {}


def test_events_begin_and_end(tiny_bundle, moving_video):
    records, _, _ = run_files(
        open_model(tiny_bundle), {"a": moving_video}, LiveConfig(on=0.2, off=0.1)
    )
    events = [r for r in records if isinstance(r, Event)]
    assert events[0].phase == "start"
    assert events[-1].phase == "end"


def memory_of(ring) -> int:
    return sum(array.nbytes for array in ring._memory.values())


class Screen:
    """View that holds only weak references to its frames."""

    def __init__(self):
        self.got = []

    def frame(self, camera, time_s, image):
        self.got.append(weakref.ref(image))


def test_a_file_that_has_ended_holds_no_memory(tiny_bundle, moving_video):
    screen, taken = Screen(), []
    pipeline = Pipeline(open_model(tiny_bundle), LiveConfig(), lambda record: None, views=[screen])
    lanes = [pipeline.add(name, live=False) for name in "ab"]
    pipeline.start()
    for lane in lanes:
        for stamp, image in read_frames(moving_video, 1):
            taken.append(weakref.ref(image))
            lane.on_frame(Frame(stamp, 0.0, image))
            clock = weakref.ref(lane._clock)
        assert memory_of(lane.ring)
        lane.on_end(None)
        del image
    assert pipeline.wait(60)
    pipeline.stop()
    gc.collect()
    assert len(screen.got) == len(taken) == 360
    assert [memory_of(lane.ring) for lane in lanes] == [0, 0]
    assert not [ref for ref in (*screen.got, *taken, clock) if ref() is not None]
    assert [lane.stats().decisions for lane in lanes] == [9, 9]  # counters stay


def test_a_reader_that_was_given_up_adds_nothing_behind_the_end(tiny_bundle):
    pipeline = Pipeline(open_model(tiny_bundle), LiveConfig(pending=1), lambda record: None)
    lane = pipeline.add("a", live=False)

    def read():
        for number in range(200):
            lane.on_frame(Frame(number / 30, 0.0, np.zeros((48, 64, 3), np.uint8)))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(0.5)
    assert thread.is_alive()  # it waits for room
    lane.on_state("ended", "stopped")
    lane.on_end(None)
    thread.join(5.0)
    assert not thread.is_alive()
    assert len(lane.pending) == 2
    assert lane.pending[-1].item.what == "end"


def test_a_source_has_a_hop_of_its_own(tiny_bundle, moving_video):
    records: list = []
    pipeline = Pipeline(open_model(tiny_bundle), LiveConfig(), records.append)
    pipeline.start()
    lanes = {
        "every": pipeline.add("every", live=False),
        "third": pipeline.add("third", live=False, config=LiveConfig(hop=3)),
    }
    threads = [
        threading.Thread(target=feed, args=(lane, moving_video), daemon=True)
        for lane in lanes.values()
    ]
    for thread in threads:
        thread.start()
    assert pipeline.wait(60)
    pipeline.stop()
    times = {
        name: [r.time_s for r in records if isinstance(r, Decision) and r.camera == name]
        for name in lanes
    }
    assert times["third"] == times["every"][::3]
    assert lanes["third"].drops["hop"] == len(times["every"]) - len(times["third"])


def test_a_caller_with_its_own_loop_gets_the_same_decisions_without_threads(
    tiny_bundle, moving_video
):
    model = open_model(tiny_bundle)
    _, threaded, _ = run_files(model, {"a": moving_video})
    windows, records = [], []
    pipeline = Pipeline(
        model,
        LiveConfig(),
        records.append,
        trace=lambda kind, fields: windows.append(fields) if kind == "window" else None,
    )
    lane = pipeline.add("a", live=False)
    for stamp, image in read_frames(moving_video, 1):
        lane.on_frame(Frame(stamp, 0.0, image))
        pipeline.run_pending()
    lane.on_end(None)
    pipeline.run_pending()
    assert lane.ended
    assert [w["window"] for w in windows] == [w["window"] for w in threaded]
    assert [w["logits"] for w in windows] == [w["logits"] for w in threaded]
    assert sum(isinstance(record, Decision) for record in records) == len(threaded)
