from __future__ import annotations

import sys
import threading

import numpy as np
import pytest

from gasmcast.labels import Labels
from gasmcast.runtime.camera.backlog import PendingItem
from gasmcast.runtime.camera.clock import Segment
from gasmcast.runtime.camera.lane import LaneItem
from gasmcast.runtime.camera.still_filter import StillFilter
from gasmcast.runtime.capacity import Capacity
from gasmcast.runtime.encode_stage import encode, pick
from gasmcast.runtime.engine_load import EngineLoad
from gasmcast.runtime.engines import TensorSpec
from gasmcast.runtime.frames import Frame
from gasmcast.runtime.fuse_stage import fuse
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.pipeline import Pipeline
from gasmcast.runtime.records import Decision, Notice
from gasmcast.runtime.streaming_model import Model
from gasmcast.spec import ClipSpec

SPEC = ClipSpec(segments=4, segment_s=0.5, motion_frames=4, semantic_frames=1, pixels=32)


class FakeClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeEngine:
    """Engine that takes `seconds` of the fake clock per run, for any batch; records batch sizes."""

    def __init__(self, clock: FakeClock, seconds: float, outputs) -> None:
        self._clock, self.seconds, self._make, self.batches = clock, seconds, outputs, []
        self.inputs = {"semantic": TensorSpec((None, 1), np.dtype("f4"))}
        self.outputs = {"logits": TensorSpec((None, 3), np.dtype("f4"))}

    def run(self, feeds):
        size = len(next(iter(feeds.values())))
        self.batches.append(size)
        self._clock.now += self.seconds
        return self._make(size)

    def describe(self) -> str:
        return "fake"


def world(
    config: LiveConfig,
    cameras: int,
    encode_s: float,
    fuse_s: float = 0.0,
    capacity: Capacity | None = None,
):
    clock = FakeClock()
    encoder = FakeEngine(
        clock,
        encode_s,
        lambda n: {
            "semantic": np.zeros((n, 2), np.float32),
            "motion": np.zeros((n, 2), np.float32),
        },
    )
    head = FakeEngine(clock, fuse_s, lambda n: {"logits": np.zeros((n, 3), np.float32)})
    records = []
    model = Model(encoder, head, SPEC, Labels(["a", "b", "c"]))
    pipeline = Pipeline(model, config, records.append, clock=clock, wall=clock, capacity=capacity)
    lanes = [pipeline.add(f"cam{i}", live=True) for i in range(cameras)]
    for lane in lanes:
        lane.on_state("live")
    return clock, pipeline, lanes, records, encoder, head


def play(clock, pipeline, lanes, seconds: float, *, fps: float = 16.0, moving: bool = True):
    """Play cameras that deliver on time to one thread that computes whenever something is ready."""
    start, count = clock.now, 0
    while count < seconds * fps:
        while (
            start + count / fps <= clock.now and count < seconds * fps
        ):  # frames that arrived while the engine computed
            image = np.full((32, 32, 3), count * 37 % 256 if moving else 9, np.uint8)
            for lane in lanes:
                lane.on_frame(Frame(None, start + count / fps, image))
            count += 1
        picked = pick(lanes, pipeline.config.batch)
        if picked:
            batch = encode(pipeline.model, pipeline._context, pipeline.governor, picked)
            fuse(pipeline.model, pipeline._context, pipeline.governor, pipeline.latencies, batch)
        else:
            clock.now = start + count / fps
        pipeline.tick()


def test_a_machine_that_is_fast_enough_loses_nothing_and_stays_at_full_service():
    clock, pipeline, lanes, records, encoder, _ = world(LiveConfig(), 4, 0.1)
    play(clock, pipeline, lanes, 20)
    assert pipeline.governor.level == 0
    assert all(not lane.drops for lane in lanes)
    assert max(encoder.batches) == 4  # all cameras that are ready, in one batch
    assert max(r.latency_ms["total"] for r in records if isinstance(r, Decision)) < 500
    assert [lane.segments for lane in lanes] == pytest.approx([40] * 4, abs=1)


def test_a_machine_that_is_too_slow_degrades_in_the_declared_order_and_says_so():
    clock, pipeline, lanes, records, _, _ = world(
        LiveConfig(batch=1), 6, 0.2, capacity=Capacity(0.2, 0.0)
    )
    play(clock, pipeline, lanes, 60)
    steps = [r.text for r in records if isinstance(r, Notice) and r.what == "degrade"]
    assert [text.rpartition("level ")[2][0] for text in steps[:3]] == ["1", "2", "3"]
    assert "every second hop" in steps[0]
    assert "still scenes" in steps[1]
    assert "take turns" in steps[2]
    late = sum(lane.drops["late"] for lane in lanes)
    assert late
    assert all(lane.drops["turn"] for lane in lanes)  # every camera waits for a turn
    decisions = {lane.name: lane.decisions for lane in lanes}
    assert all(decisions.values()), decisions  # and every camera gets one
    assert max(r.latency_ms["total"] for r in records if isinstance(r, Decision)) < 3000  # bounded


@pytest.mark.parametrize(("cameras", "levels"), [(1, ["1", "2", "4"]), (3, ["1", "2", "3", "4"])])
def test_a_camera_slower_than_real_time_is_decided_in_whole_windows(cameras, levels):
    encode_s = 1.6 * SPEC.segment_s
    clock, pipeline, lanes, records, _, _ = world(
        LiveConfig(batch=1), cameras, encode_s, capacity=Capacity(encode_s, 0.0)
    )
    play(clock, pipeline, lanes, 40)  # passes all levels
    assert [r.text[-3] for r in records if isinstance(r, Notice) and r.what == "degrade"] == levels
    before = {lane.name: (lane.decisions, lane.segments, dict(lane.drops)) for lane in lanes}
    records.clear()
    play(clock, pipeline, lanes, 80)
    assert pipeline.governor.level == 4
    decided = [r for r in records if isinstance(r, Decision)]
    assert len(decided) >= 80 / (SPEC.segments * encode_s + 2 * SPEC.segment_s), (
        "one for each window that the machine has time for"
    )
    for lane in lanes:
        mine = [r for r in decided if r.camera == lane.name]
        assert mine, "every camera has its share"
        gaps = np.diff([r.wall_s for r in mine])
        assert gaps.max() < cameras * 2 * SPEC.segments * encode_s + 5, "at a bounded pace"
        assert lane.drops["skip"] > before[lane.name][2].get("skip", 0)
        new = {
            cause: count - before[lane.name][2].get(cause, 0) for cause, count in lane.drops.items()
        }
        counted = len(mine) + new.get("hop", 0) + new.get("hole", 0)
        assert counted <= lane.segments - before[lane.name][1], "a window is decided, or counted"
    late = max(r.latency_ms["total"] for r in decided)
    assert late <= 1000 * cameras * SPEC.segments * encode_s, (
        "no decision is older than its window takes"
    )
    for decision in decided:
        last_frame = 1000.0 + decision.time_s - 1 / SPEC.fps  # on the fake clock
        assert decision.latency_ms["total"] == pytest.approx(
            1000 * (decision.wall_s - last_frame), abs=1000 / 16
        ), "as late as it says"


def test_every_segment_of_a_slow_camera_is_done_or_counted():
    clock, pipeline, lanes, _, _, _ = world(LiveConfig(batch=1), 1, 0.8)
    play(clock, pipeline, lanes, 60)
    lane = lanes[0]
    lost = lane.drops["late"] + lane.drops["skip"]
    assert lane.segments + lost + len(lane.pending) == pytest.approx(60 / SPEC.segment_s, abs=1)
    whole = lane.decisions + lane.drops["hop"] + lane.drops["hole"]
    assert whole == lane.segments - (SPEC.segments - 1), "each but the first three ends a window"
    assert len(lane.pending) <= SPEC.segments


def test_the_first_window_after_a_hole_is_decided_whatever_the_hop():
    _, pipeline, (lane,), _, _, _ = world(LiveConfig(hop=2), 1, 0.01)
    decided = []
    for index in (0, 1, 2, 3, 5, 6, 7, 8, 9):
        batch = encode(
            pipeline.model,
            pipeline._context,
            pipeline.governor,
            [LaneItem(lane, PendingItem(segment(index, index), 0.0))],
        )
        fuse(pipeline.model, pipeline._context, pipeline.governor, pipeline.latencies, batch)
        decided += [index] * (lane.decisions - len(decided))
    assert (decided, lane.drops) == ([3, 8], {"hop": 1, "hole": 3})


def test_cameras_that_give_nothing_take_no_turns():
    clock, pipeline, lanes, _, _, _ = world(LiveConfig(max_cameras=1), 4, 0.01)
    for lane, state in zip(lanes, ("reconnecting", "live", "failed", "stalled"), strict=True):
        lane.on_state(state)
    served = set()
    for _ in range(100):
        clock.now += 0.25
        pipeline.tick()
        served.add(tuple(lane.paused for lane in lanes))
    assert served == {(False, False, False, True), (False, True, False, False)}


def test_a_camera_that_is_taken_in_again_is_no_reason_to_give_way():
    clock, pipeline, lanes, _, _, _ = world(LiveConfig(), 1, 0.01)
    pipeline.tick()
    lanes[0].drops["late"] = 7
    with pipeline.governor.load.working("encode"):
        clock.now += 2.5
    pipeline.tick()
    assert pipeline.governor.level == 1
    lanes[0].ended = True
    assert pipeline.remove("cam0")
    pipeline.add("cam0", live=True).on_state("live")
    with pipeline.governor.load.working("encode"):
        clock.now += 2.5
    pipeline.tick()
    assert pipeline.governor.level == 1
    assert len(pipeline.governor._counts) == 1


def give(lane, clock, seconds: float, fps: float = 16.0):
    for _ in range(round(seconds * fps)):
        clock.now += 1 / fps
        lane.on_frame(Frame(None, clock.now, np.zeros((32, 32, 3), np.uint8)))


def test_the_readers_own_thread_begins_the_new_run_when_its_turn_comes():
    clock, _, (lane,), _, _, _ = world(LiveConfig(), 1, 0.01)
    give(lane, clock, 1.2)
    lane.paused = True
    give(lane, clock, 3.0)
    lane.paused = False
    assert lane._clock.run == 0
    give(lane, clock, 0.1)
    assert lane._clock.run == 1
    assert lane.drops["turn"] == 6
    lane.on_gap("reconnect")
    assert lane.drops["gap"] == 1


def test_a_camera_that_gives_nothing_has_no_rates():
    clock, _, (lane,), _, _, _ = world(LiveConfig(), 1, 0.01)
    give(lane, clock, 3.0)
    lane.latencies.add({"total": 40.0})
    seen = lane.stats()
    assert (seen.fps, seen.delivery, seen.latency_ms["p50"]) == (16.0, 1.0, 40.0)
    for state in ("stalled", "reconnecting", "failed"):
        lane.on_state(state)
        seen = lane.stats()
        assert (seen.fps, seen.delivery, seen.latency_ms) == (0.0, 0.0, {})
    clock.now += 600.0
    lane.on_state("live")
    give(lane, clock, 1.0, fps=8.0)
    assert lane.stats().fps == 8.0  # the outage is not averaged in


def test_counting_and_reading_at_once_breaks_nothing(caplog):
    clock, pipeline, (lane,), _, _, _ = world(LiveConfig(), 1, 0.01)
    over = threading.Event()

    def count():
        number = 0
        while not over.is_set():
            number += 1
            lane._count(f"cause {number}")
            lane.latencies.add({f"stage {min(number // 500, 40)}": 1.0})

    thread, before = threading.Thread(target=count), sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    thread.start()
    try:
        for _ in range(10):
            lane.stats()
    finally:
        sys.setswitchinterval(before)
        over.set()
        thread.join()

    def broken():
        raise ZeroDivisionError

    lane.stats = broken
    clock.now += 60
    pipeline.tick()  # is not fatal
    assert "the statistics failed" in caplog.text


def test_service_recovers_when_it_is_calm():
    clock, pipeline, lanes, records, encoder, _ = world(LiveConfig(batch=1), 2, 0.4)
    play(clock, pipeline, lanes, 6)
    assert pipeline.governor.level >= 1
    encoder.seconds = 0.01
    play(clock, pipeline, lanes, 60)
    assert pipeline.governor.level == 0
    assert any(r.what == "recover" for r in records if isinstance(r, Notice))


def test_a_budget_below_the_latency_is_seen():
    clock, pipeline, lanes, records, _, _ = world(LiveConfig(budget_s=0.05), 1, 0.45)
    play(clock, pipeline, lanes, 10)
    assert any(
        "latency" in r.text and "of 50 ms" in r.text
        for r in records
        if isinstance(r, Notice) and r.what == "degrade"
    )


def test_degrade_false_only_counts():
    clock, pipeline, lanes, _, _, _ = world(LiveConfig(batch=1, degrade=False), 6, 0.2)
    play(clock, pipeline, lanes, 20)
    assert pipeline.governor.level == 0
    assert sum(lane.drops["late"] for lane in lanes)


def test_max_cameras_auto_serves_what_was_measured_and_turns_go_round():
    clock, pipeline, lanes, _, _, _ = world(
        LiveConfig(max_cameras="auto", batch=1), 4, 0.2, capacity=Capacity(0.2, 0.0)
    )
    assert Capacity(0.2, 0.0).cameras(SPEC) == 2
    pipeline.tick()
    assert [lane.paused for lane in lanes] == [False, False, True, True]
    play(clock, pipeline, lanes, 30)
    assert pipeline.governor.level == 0
    assert all(lane.decisions for lane in lanes)
    assert all(set(lane.drops) <= {"turn", "late", "hole"} for lane in lanes)


def test_the_hop_halves_only_decisions():
    clock, pipeline, lanes, _, encoder, head = world(LiveConfig(hop=2), 1, 0.01)
    play(clock, pipeline, lanes, 20)
    assert len(head.batches) == pytest.approx(len(encoder.batches) / 2, abs=2)


def test_the_still_filter_skips_still_segments_counts_them_and_decides_all_the_same():
    clock, pipeline, lanes, _, encoder, head = world(LiveConfig(still_filter=4.0), 1, 0.01)
    play(clock, pipeline, lanes, 20, moving=False)
    assert len(encoder.batches) == 1
    assert lanes[0].drops["still"] == pytest.approx(38, abs=1)
    assert len(head.batches) == pytest.approx(36, abs=1)


def segment(index: int, value: int, spot: int = 0) -> Segment:
    pair = np.full(SPEC.pair_shape, value, np.uint8)
    pair[1, -1, 8:12, 8:12] += spot
    return Segment(0, index, 0.0, 0.5, pair, (0.0,) * 4, 0.0, 0.0)


def test_the_still_filter_sees_small_things_and_slow_drifts():
    still_filter = StillFilter()
    assert not still_filter.is_still(segment(0, 100), 6.0, busy=False)
    assert still_filter.is_still(segment(1, 100), 6.0, busy=False)
    assert not still_filter.is_still(segment(2, 100, spot=40), 6.0, busy=False)
    drift = StillFilter()
    skipped = [drift.is_still(segment(i, 100 + i), 6.0, busy=False) for i in range(13)]
    assert skipped == [False, *[True] * 5, False, *[True] * 5, False]


def test_the_still_filter_never_skips_after_a_hole_or_in_an_event():
    still_filter = StillFilter()
    still_filter.is_still(segment(0, 100), 6.0, busy=False)
    assert not still_filter.is_still(segment(1, 100), 6.0, busy=True)
    assert not still_filter.is_still(segment(3, 100), 6.0, busy=False)
    still_filter.reset()
    assert not still_filter.is_still(segment(4, 100), 6.0, busy=False)


def test_what_was_encoded_may_be_forgotten_while_the_still_filter_looks():
    """The head stage resets the filter while the encoder stage uses it, without a lock."""

    class Forgotten(StillFilter):
        _looks = 0

        @property
        def _high(self):
            self._looks += 1
            return self._kept if self._looks == 1 else None

        @_high.setter
        def _high(self, value):
            self._kept, self._looks = value, 0

    still_filter = Forgotten()
    still_filter.is_still(segment(0, 100), 6.0, busy=False)
    assert still_filter.is_still(segment(1, 100), 6.0, busy=False)


def test_under_delivery_is_told_once_and_shown():
    clock, pipeline, lanes, records, _, _ = world(LiveConfig(), 1, 0.01)
    play(clock, pipeline, lanes, 10, fps=5.0)
    notices = [r for r in records if isinstance(r, Notice) and r.what == "under_delivery"]
    assert len(notices) == 1
    assert "of the 8 frames a second" in notices[0].text
    assert lanes[0].stats().delivery == pytest.approx(0.625, abs=0.05)
    assert lanes[0].stats().fps == pytest.approx(5.0)


def play_each(clock, pipeline, lanes, seconds: float, rates):
    """Play cameras of different rates to one thread that computes whenever something is ready."""
    start = clock.now
    arrivals = sorted(
        (start + (number + 0.5 * index) / rate, index)
        for index, rate in enumerate(rates)
        for number in range(int(seconds * rate))
    )
    count = 0
    while count < len(arrivals):
        while count < len(arrivals) and arrivals[count][0] <= clock.now:
            arrival, index = arrivals[count]
            image = np.full((32, 32, 3), count * 37 % 256, np.uint8)
            lanes[index].on_frame(Frame(None, arrival, image))
            count += 1
        picked = pick(lanes, pipeline.config.batch)
        if picked:
            batch = encode(pipeline.model, pipeline._context, pipeline.governor, picked)
            fuse(pipeline.model, pipeline._context, pipeline.governor, pipeline.latencies, batch)
        elif count < len(arrivals):
            clock.now = arrivals[count][0]
        pipeline.tick()


@pytest.mark.parametrize("encode_s", [0.001, 0.08])
def test_slow_cameras_are_not_taken_for_a_slow_machine(encode_s):
    """A camera that delivers 0.7 frames a second waits for its own next frame."""
    clock, pipeline, lanes, records, _, _ = world(LiveConfig(), 3, encode_s, 0.002)
    play_each(clock, pipeline, lanes, 120, (25.0, 0.7, 1.0))
    assert pipeline.governor.level == 0
    assert not [r for r in records if isinstance(r, Notice) and r.what == "degrade"]
    fast = lanes[0]
    assert not {"late", "skip", "turn", "hop", "hole"} & set(fast.drops)
    assert fast.decisions == pytest.approx(120 / SPEC.segment_s - SPEC.segments, abs=2)

    # One frame of a slow camera completes several segments, and none of them is lost either.
    for lane in lanes[1:]:
        assert not lane.drops
        assert lane.decisions == pytest.approx(120 / SPEC.segment_s - SPEC.segments, abs=6)

    # The records still say how long ago the last frame of a slow camera came.
    slow = [r.latency_ms for r in records if isinstance(r, Decision) and r.camera == "cam2"]
    assert max(latency["total"] for latency in slow) > 500


def test_a_camera_that_completes_a_window_with_one_frame_degrades_nobody():
    """At a frame every 2 s a window of segments waits, each for the ones before it."""
    clock, pipeline, lanes, _, _, _ = world(LiveConfig(gap_s=10.0), 2, 0.15)
    for lane in lanes:
        lane._clock._gap_s = 10.0
    play_each(clock, pipeline, lanes, 120, (25.0, 0.55))
    assert pipeline.governor.level == 0
    assert not lanes[0].drops
    assert not lanes[1].drops
    assert lanes[1].decisions > 200


def test_a_slow_machine_is_seen_beside_a_slow_camera():
    clock, pipeline, lanes, records, _, _ = world(LiveConfig(batch=1), 2, 0.7)
    play_each(clock, pipeline, lanes, 30, (25.0, 0.7))
    assert any(r.what == "degrade" for r in records if isinstance(r, Notice))


def test_a_burst_after_a_stall_of_the_network_is_no_slow_machine():
    """Frames of several segments arrive at once, which overruns the backlog of an idle machine."""
    clock, pipeline, (lane,), _, _, _ = world(LiveConfig(gap_s=5.0), 1, 0.001)
    give(lane, clock, 1.0)
    pipeline.run_pending()
    for _ in range(8):
        clock.now += 4.0
        for number in range(64):
            frame = Frame(clock.now + number / 16 - 4.0, clock.now, np.zeros((32, 32, 3), np.uint8))
            lane.on_frame(frame)
        pipeline.run_pending()
        for _ in range(16):
            clock.now += 0.25
            pipeline.tick()
    assert lane.drops["late"], "the backlog holds two segments"
    assert pipeline.governor.level == 0


def test_a_process_that_was_stopped_does_not_degrade_when_it_goes_on():
    clock, pipeline, (lane,), _, encoder, _ = world(LiveConfig(), 1, 0.2)
    play(clock, pipeline, [lane], 6)
    encoder.seconds = 60.2  # SIGSTOP while a segment was encoded
    give(lane, clock, 0.6)
    pipeline.run_pending()
    encoder.seconds = 0.2
    pipeline.tick()
    play(clock, pipeline, [lane], 10)
    assert pipeline.governor.level == 0


def test_live_cameras_with_a_free_phase_fall_due_one_after_the_other():
    clock, pipeline, _, _, _, _ = world(LiveConfig(), 0, 0.1)
    lanes = [pipeline.add(f"cam{i}", live=True, free_phase=True) for i in range(4)]
    file = pipeline.add("played", live=True)
    completed: dict[str, list[float]] = {}
    for count in range(64):
        clock.now = 1000.0 + count / 16
        for lane in [*lanes, file]:
            lane.on_frame(Frame(None, clock.now, np.zeros((32, 32, 3), np.uint8)))
            while lane.pending:
                segment = lane.pending.popleft().item
                completed.setdefault(lane.name, []).append(segment.completed)
    assert completed["played"][0] == 1000.0 + 6 / 16, (
        "the grid of a file begins with its first frame"
    )
    firsts = [completed[lane.name][0] for lane in lanes]
    assert sorted(first % 0.5 for first in firsts) == pytest.approx([0.0, 0.125, 0.25, 0.375])
    for lane in lanes:
        assert not lane.drops
        assert np.diff(completed[lane.name]) == pytest.approx(0.5, abs=1e-9)


def test_a_run_after_a_gap_takes_a_free_phase_again():
    clock, pipeline, _, _, _, _ = world(LiveConfig(), 0, 0.1)
    first, second = (pipeline.add(name, live=True, free_phase=True) for name in "ab")
    image = np.zeros((32, 32, 3), np.uint8)
    for count in range(16):
        clock.now = 1000.0 + count / 16
        first.on_frame(Frame(None, clock.now, image))
        second.on_frame(Frame(None, clock.now, image))
    second.on_gap("reconnect")
    starts = []
    for count in range(40):
        clock.now = 1010.0 + count / 16
        first.on_frame(Frame(None, clock.now, image))
        second.on_frame(Frame(None, clock.now, image))
        starts += [p.item.completed for p in second.pending if hasattr(p.item, "completed")]
    assert starts
    assert (starts[0] - (1010.0 + 6 / 16)) % 0.5 == pytest.approx(0.25, abs=0.07)


@pytest.mark.parametrize(("each_s", "batch"), [(None, 4), (0.1, 1), (0.095, 1), (0.06, 4)])
def test_segments_run_alone_where_a_batch_saves_nothing(each_s, batch):
    clock, pipeline, lanes, _, encoder, _ = world(
        LiveConfig(batch=4), 4, 0.1, capacity=Capacity(0.1, 0.0, each_s)
    )
    for _ in range(8):
        clock.now += 1 / 16
        for lane in lanes:
            lane.on_frame(Frame(None, clock.now, np.zeros((32, 32, 3), np.uint8)))
    pipeline.run_pending()
    assert max(encoder.batches) == batch


@pytest.mark.parametrize(("busy_s", "level"), [(1.5, 0), (1.9, 1)])
def test_an_engine_that_is_idle_for_a_fifth_of_the_time_is_no_reason_to_reduce(busy_s, level):
    clock, pipeline, lanes, _, _, _ = world(LiveConfig(), 2, 0.01)
    pipeline.tick()
    lanes[0].drops["late"] = 7
    with pipeline.governor.load.working("encode"):
        clock.now += busy_s
    clock.now += 2.1 - busy_s
    pipeline.tick()
    assert pipeline.governor.level == level


def test_load_counts_stages_that_overlap_once():
    clock = FakeClock()
    load = EngineLoad(clock)
    with load.working("encode"):
        clock.now += 1.0
        with load.working("fuse"):
            clock.now += 1.0
        clock.now += 1.0
    clock.now += 1.0
    assert load.share() == pytest.approx(0.75)
    with load.working("fuse"):
        clock.now += 1.0
        assert load.share() == pytest.approx(1.0)
    clock.now += 1.0
    assert load.share() == 0.0
