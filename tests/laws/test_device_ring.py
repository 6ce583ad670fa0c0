"""Law: features that stay on the device give, to the bit, what features over the host give.

A fake device computes the graphs of the tiny bundle with ONNX Runtime, counts what is copied, and
does enqueued work only when somebody waits for its stream. Nothing here runs on a real device.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from gasmcast.errors import StageError
from gasmcast.runtime.capacity import measure
from gasmcast.runtime.frames import Frame
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.pipeline import Pipeline
from gasmcast.runtime.streaming_model import Model, open_model
from gasmcast.video.clip import read_clip
from gasmcast.video.reader import read_frames
from tests.runtime.engines.fake_tensorrt import Machine

pytest.importorskip("onnxruntime", reason="the fake device computes with it")

# Of the tiny bundle: a pair of segments of 4 frames, a row (2, 1, 4, 8) and (2, 1, 8) in FP32, a
# window of four rows, and logits of three classes.
PAIR = 2 * 4 * 32 * 32 * 3
ROW = 4 * (2 * 1 * 4 * 8 + 2 * 1 * 8)
WINDOW = 4 * ROW
LOGITS = 4 * 3
FPS = 8.0


class HostEngine:
    """Engine without the optional capability: its features travel over the host."""

    def __init__(self, engine) -> None:
        self.inputs, self.outputs = engine.inputs, engine.outputs
        self.run, self.describe = engine.run, engine.describe


@pytest.fixture
def machine(monkeypatch, tmp_path) -> Machine:
    fake = Machine()
    fake.trt.graphs = []
    fake.install(monkeypatch, tmp_path / "cache")
    return fake


@pytest.fixture
def model(machine, tiny_bundle) -> Model:
    opened = open_model(tiny_bundle, "tensorrt", "fp32").model
    opened.encoder.run({"segments": np.zeros((1, *opened.spec.pair_shape), np.uint8)})
    machine.allocated_before = len(machine.cuda.device)
    return opened


def over_the_host(model: Model) -> Model:
    return replace(model, encoder=HostEngine(model.encoder), head=HostEngine(model.head))


def rows_on(machine: Machine) -> int:
    """Number of encoded segments for which device memory is allocated."""
    return len(machine.cuda.device) - machine.allocated_before


class Stage:
    """Pipeline that a test drives frame by frame, with the logits of each camera's windows."""

    def __init__(self, model: Model, config: LiveConfig | None = None, on_window=None) -> None:
        self.windows: list[dict] = []
        self.pipeline = Pipeline(
            model,
            config or LiveConfig(smooth_s=0, degrade=False),
            lambda _: None,
            trace=lambda kind, fields: self.windows.append(fields) if kind == "window" else None,
            on_window=on_window,
        )

    def add(self, name: str):
        return self.pipeline.add(name, live=True)

    def push(self, time_s: float, images: dict) -> None:
        """Give every lane its frame, then encode and decide what is ready, in one batch."""
        for lane, image in images.items():
            lane.on_frame(Frame(time_s, 0.0, image))
        self.pipeline.run_pending()

    def logits(self, camera: str) -> np.ndarray:
        rows = [window["logits"] for window in self.windows if window["camera"] == camera]
        return np.array(rows, np.float32).reshape(-1, 3)


def picture(camera: int, step: int) -> np.ndarray:
    return np.random.default_rng((camera, step)).integers(0, 256, (32, 32, 3), np.uint8)


def play(model: Model, cameras: int, steps: int, script=lambda stage, lanes, step: None, **options):
    """Run cameras for a number of frames; `script` may act before each frame."""
    stage = Stage(model, **options)
    lanes = {f"camera{number}": stage.add(f"camera{number}") for number in range(cameras)}
    for step in range(steps):
        script(stage, lanes, step)
        images = {lane: picture(number, step) for number, lane in enumerate(lanes.values())}
        stage.push(step / FPS, images)
    return stage


def run_file(model: Model, path) -> np.ndarray:
    """Return the logits of every window of a file, by the threads of `live`."""
    windows: list[list[float]] = []
    pipeline = Pipeline(
        model,
        LiveConfig(smooth_s=0),
        lambda _: None,
        trace=lambda kind, fields: windows.append(fields["logits"]) if kind == "window" else None,
    )
    lane = pipeline.add("file", live=False)
    pipeline.start()
    for stamp, image in read_frames(path):
        lane.on_frame(Frame(stamp, 0.0, image))
    lane.on_end(None)
    assert pipeline.wait(60)
    pipeline.stop()
    assert not lane.drops
    return np.array(windows, np.float32)


def whole_clip(model: Model, clip: np.ndarray) -> np.ndarray:
    """Return the logits of a clip whose segments are all encoded in one batch, over the host."""
    pairs = np.stack([clip[i : i + 2] for i in range(model.spec.segments)])
    features = model.encoder.run({"segments": pairs})
    return model.head.run({name: value[None] for name, value in features.items()})["logits"][0]


def test_a_file_equals_the_host_path_and_the_whole_clip(machine, model, moving_video) -> None:
    got = run_file(model, moving_video)
    # 12 segments in a ring of 4: every place of it is used three times.
    assert got.shape == (9, 3)
    np.testing.assert_array_equal(got, run_file(over_the_host(model), moving_video))
    clips = [read_clip(moving_video, model.spec, 0.5 * index) for index in range(len(got))]
    np.testing.assert_array_equal(got, [whole_clip(model, clip) for clip in clips])
    assert np.ptp(got, axis=0).max() > 0.01  # the windows differ
    assert rows_on(machine) == 0


@pytest.mark.parametrize("cameras", [1, 3, 6])
def test_bytes_per_decision_are_frames_up_and_logits_down(machine, model, cameras: int) -> None:
    """At most four segments share a batch of this engine, so six cameras run in two parts."""
    config = LiveConfig(smooth_s=0, degrade=False, batch=8)
    steps = []
    for path in (model, over_the_host(model)):
        copied = []

        def count(stage, lanes, step, copied=copied):
            copied.append(Counter(machine.cuda.copied))

        stage = play(path, cameras, 29, count, config=config)
        assert len(stage.windows) == 4 * cameras
        # A segment is complete with its fourth frame.
        steps.append([copied[last + 1] - copied[last] for last in range(3, 28, 4)])

    device, host = steps
    frames, rows, windows, logits = (cameras * size for size in (PAIR, ROW, WINDOW, LOGITS))
    assert device[:3] == [Counter(up=frames, within=rows)] * 3
    assert device[3:] == [Counter(up=frames, within=rows + windows, down=logits)] * 4
    assert host[:3] == [Counter(up=frames, down=rows)] * 3
    assert host[3:] == [Counter(up=frames + windows, down=rows + logits)] * 4


@pytest.mark.parametrize("cameras", [2, 6])
def test_cameras_of_one_batch_keep_their_own_rows(model, cameras: int) -> None:
    config = LiveConfig(smooth_s=0, degrade=False, batch=8)
    together = play(model, cameras, 60, config=config)
    host = play(over_the_host(model), cameras, 60, config=config)
    for number in range(cameras):
        name = f"camera{number}"
        assert together.logits(name).shape == (12, 3)
        np.testing.assert_array_equal(together.logits(name), host.logits(name))
    assert not np.array_equal(together.logits("camera0"), together.logits("camera1"))


def test_a_gap_starts_a_new_window_and_takes_no_more_memory(machine, model) -> None:
    def gaps(stage, lanes, step):
        if step in (23, 50):
            lanes["camera0"].on_gap("a test")

    got = play(model, 2, 90, gaps)
    assert rows_on(machine) <= 2 * (model.spec.segments + 1)
    expected = play(over_the_host(model), 2, 90, gaps)
    assert 0 < len(got.logits("camera0")) < len(got.logits("camera1"))
    for name in ("camera0", "camera1"):
        np.testing.assert_array_equal(got.logits(name), expected.logits(name))


def test_a_still_segment_is_repeated_without_memory_or_copies_of_its_own(machine, model) -> None:
    """From the second segment on the picture stands still, and the same row is read again."""
    # No event is ever open, in which no segment is still.
    config = LiveConfig(smooth_s=0, degrade=False, still_filter=1.0, on=1.0)

    def run(path):
        stage = Stage(path, config)
        lane = stage.add("door")
        for step in range(41):
            stage.push(step / FPS, {lane: picture(0, min(step, 3))})
        return stage.logits("door"), lane.drops["still"]

    (got, still), (expected, still_on_host) = run(model), run(over_the_host(model))
    assert (still, still_on_host) == (7, 7)
    assert got.shape == (7, 3)
    np.testing.assert_array_equal(got, expected)
    # Three segments were encoded, and the ring of four holds the last one four times.
    assert rows_on(machine) == 3
    assert machine.cuda.copies["within"] == 2 * (3 + 7 * model.spec.segments)


def test_memory_goes_back_when_cameras_go(machine, model) -> None:
    stage = Stage(model)
    stays = stage.add("stays")
    step = 0
    for number in range(5):
        comes = stage.add(f"comes{number}")
        for _ in range(40):
            images = {stays: picture(0, step), comes: picture(1, step)}
            stage.push(step / FPS, images)
            step += 1
        # A ring of four segments each, and one that the encoder writes while all are in use.
        assert rows_on(machine) <= 2 * (model.spec.segments + 1)
        comes.on_end(None)
        stage.pipeline.run_pending()
        assert stage.pipeline.remove(f"comes{number}")
        assert rows_on(machine) == model.spec.segments

    stays.on_end(None)
    stage.pipeline.run_pending()
    assert rows_on(machine) == 0
    assert len(stage.windows) > 50

    model.encoder.close()
    model.head.close()
    assert (machine.cuda.memory, machine.cuda.graphs, machine.cuda.streams) == ({}, 0, 0)


def test_features_are_copied_to_the_host_only_when_somebody_reads_them(machine, model) -> None:
    """As the attention view does: the camera that somebody watches, and no other."""
    read: dict[str, list] = {"device": [], "host": []}

    def reader(kind):
        def on_window(camera, segment, features):
            if camera == "camera1":
                values = {name: np.array(value) for name, value in features.items()}
                read[kind].append(values)

        return on_window

    play(model, 3, 29, on_window=reader("device"))
    windows = 4
    assert machine.cuda.copied["down"] == windows * (3 * LOGITS + WINDOW) + 1 * ROW  # the fixture
    play(over_the_host(model), 3, 29, on_window=reader("host"))
    assert len(read["device"]) == len(read["host"]) == windows
    for one, other in zip(read["device"], read["host"], strict=True):
        assert {name: value.shape for name, value in one.items()} == {
            "semantic": (1, 4, 2, 1, 4, 8),
            "motion": (1, 4, 2, 1, 8),
        }
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def test_engines_that_are_replaced_leave_the_windows_whole(model) -> None:
    """After a hang the engines are opened again; rings still hold rows of the old encoder."""

    def reopen(stage, lanes, step):
        if step == 30:
            stage.pipeline.model = model.reopen()

    got = play(model, 2, 60, reopen)
    expected = play(model, 2, 60)
    for name in ("camera0", "camera1"):
        np.testing.assert_array_equal(got.logits(name), expected.logits(name))


def test_a_device_without_memory_ends_the_run_with_a_sentence(machine, model, moving_video) -> None:
    machine.cuda.limit = sum(map(len, machine.cuda.device.values())) + 3 * ROW
    with pytest.raises(StageError, match=r"CUDA could not take .* MB more for encoded") as caught:
        run_file(model, moving_video)
    assert "Use fewer cameras" in caught.value.hint


def test_the_pair_is_measured_on_the_path_that_live_takes(machine, model) -> None:
    before = Counter(machine.cuda.copied)
    measure(model, repeats=1)
    # Two runs of the encoder, the window for the head, and two runs of the head.
    assert machine.cuda.copied - before == Counter(
        up=3 * PAIR, within=3 * ROW + 2 * WINDOW, down=2 * LOGITS
    )


def test_what_a_camera_takes_is_reported(model, tiny_bundle) -> None:
    # The second tensor of a row begins at a multiple of 256 bytes, where the first one ends.
    assert model.device_bytes == WINDOW
    assert "MB of device memory per camera" in open_model(tiny_bundle, "tensorrt").description
    on_cpu, description = open_model(tiny_bundle, "openvino", "fp32", 1)
    assert (on_cpu.resident, on_cpu.device_bytes) == (None, 0)
    assert "device memory" not in description


def test_engines_of_other_types_pass_features_over_the_host(machine, model) -> None:
    """The head reads the bytes of the encoder: an encoder that writes FP16 goes the long way."""
    half = replace(model, encoder=HalfEncoder(model.encoder))
    assert half.resident is None
    np.testing.assert_array_equal(
        play(half, 1, 29).logits("camera0"), play(model, 1, 29).logits("camera0")
    )


class HalfEncoder(HostEngine):
    """Encoder that could keep rows on the device, in FP16."""

    def __init__(self, engine) -> None:
        super().__init__(engine)
        self.run_to_device, self.run_from_device = engine.run_to_device, engine.run_from_device
        tensors = engine.row_layout.tensors
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        self.row_layout = type(engine.row_layout)(shapes, dict.fromkeys(shapes, np.dtype("f2")))
