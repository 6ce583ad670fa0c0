import json
import threading
from collections.abc import Mapping

import numpy as np
import pytest

from gasmcast.errors import MachineError, UsageError
from gasmcast.runtime.attention_grids import graph_grid, patches_heard, segments_heard, to_json
from gasmcast.runtime.attention_view import AttentionView
from gasmcast.runtime.bundle import Bundle
from gasmcast.runtime.camera.clock import Segment


@pytest.fixture(scope="module")
def attention_bundle(attention_folder):
    return Bundle.open(attention_folder)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def make_view(bundle):
    clock = Clock()
    return AttentionView(bundle, backend="onnxruntime", clock=clock), clock


def make_window(bundle, seed=0):
    """Return a segment and the features of a window, from the plain encoder."""
    spec = bundle.manifest.spec
    rng = np.random.default_rng(seed)
    clip = rng.integers(0, 256, spec.clip_shape, np.uint8)
    encoder = bundle.engine("encoder", "fp32", "onnxruntime", 1)
    rows = [encoder.run({"segments": clip[None, i : i + 2]}) for i in range(spec.segments)]
    features = {name: np.stack([row[name] for row in rows], 1) for name in rows[0]}
    segment = Segment(0, spec.segments - 1, 0.5, 1.0, clip[-2:], (), 0.0, 0.0)
    return segment, features


class Window(Mapping):
    """Features on a device: every value that is read is a copy, which is counted."""

    def __init__(self, features):
        self.features, self.reads = features, 0

    def __getitem__(self, name):
        self.reads += 1
        return self.features[name].copy()

    def __iter__(self):
        return iter(self.features)

    def __len__(self):
        return len(self.features)


class Counted:
    """Engine that notes its runs."""

    def __init__(self, engine, name, runs):
        self.engine, self.name, self.runs = engine, name, runs
        self.inputs = engine.inputs

    def run(self, feeds):
        self.runs.append(self.name)
        return self.engine.run(feeds)


def ask(view, camera="door", **options):
    """Ask in a thread, as a viewer does, and return a function that waits for the answer."""
    box = {}

    def run():
        box["answer"] = view.answer(camera, **options)

    thread = threading.Thread(target=run)
    thread.start()

    def wait():
        thread.join(30)
        return box["answer"]  # a KeyError if the request failed

    while camera not in view._watched and thread.is_alive():
        thread.join(0.01)
    return wait


def test_an_answer_has_every_grid_of_the_last_decided_window(attention_bundle):
    view, _ = make_view(attention_bundle)
    wait = ask(view, patch=5)
    segment, features = make_window(attention_bundle)
    view.offer("door", segment, features)
    answer = wait()
    json.dumps(answer, allow_nan=False)

    spec = attention_bundle.manifest.spec
    assert answer["window_s"] == [0.0, 1.0]
    assert len(answer["read_out"]["semantic"]) == spec.segments * spec.semantic_frames
    assert len(answer["read_out"]["motion"]) == spec.segments
    total = sum(sum(grid["values"]) for grid in answer["read_out"]["semantic"])
    assert total == pytest.approx(1, abs=1e-3)
    assert [g["rows"] * g["cols"] for g in answer["segments_heard"]] == [16] * spec.segments
    heard = np.sum([grid["values"] for grid in answer["segments_heard"]], axis=0)
    np.testing.assert_allclose(heard, 1, atol=1e-3)
    assert [sum(g["values"]) for g in answer["patches_heard"]] == pytest.approx([1, 1], abs=1e-3)

    # A patch keeps its k edges and no more.
    (graph,) = answer["patch"]["listens_to"]
    assert np.count_nonzero(graph["values"]) <= attention_bundle.manifest.model["k"]
    assert sum(graph["values"]) == pytest.approx(1, abs=1e-3)
    assert answer["cost_ms"].keys() == {"head", "encoder"}
    assert sum(answer["probabilities"]) == pytest.approx(1, abs=1e-3)


def test_the_logits_are_those_of_the_running_head(attention_bundle):
    view, _ = make_view(attention_bundle)
    wait = ask(view)
    segment, features = make_window(attention_bundle, seed=1)
    view.offer("door", segment, features)
    head = attention_bundle.engine("head", "fp32", "onnxruntime", 1)
    logits = head.run(features)["logits"][0].astype(float)
    shares = np.exp(logits - logits.max())
    np.testing.assert_allclose(wait()["probabilities"], shares / shares.sum(), atol=1e-5)


def test_nothing_is_kept_of_a_camera_that_nobody_watches(attention_bundle):
    view, clock = make_view(attention_bundle)
    segment, features = make_window(attention_bundle)
    view.offer("door", segment, features)
    assert not view._watched
    assert not view._engines

    # Another camera is watched: this one stays unpaid.
    wait = ask(view, "yard")
    view.offer("door", segment, features)
    view.offer("yard", segment, features)
    assert wait()["camera"] == "yard"
    assert list(view._watched) == ["yard"]

    # Some seconds after the last request, the copy is given back.
    clock.now = 1000.0
    view.offer("yard", segment, features)
    assert not view._watched


def test_the_window_is_a_copy(attention_bundle):
    view, _ = make_view(attention_bundle)
    wait = ask(view)
    segment, features = make_window(attention_bundle)
    view.offer("door", segment, features)
    first = wait()
    for value in features.values():
        value[...] = 0
    assert ask(view)()["read_out"] == first["read_out"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch": 16}, "no patch 16"),
        ({"patch": -1}, "no patch -1"),
        ({"layer": 1}, "no layer 1"),
    ],
)
def test_a_wrong_request_is_refused_and_watches_nothing(attention_bundle, options, message):
    view, _ = make_view(attention_bundle)
    with pytest.raises(UsageError, match=message):
        view.answer("door", **options)
    assert not view._watched


def test_two_viewers_of_two_cameras_both_get_maps(attention_bundle):
    view, _ = make_view(attention_bundle)
    waits = [ask(view, name) for name in ("door", "yard")]
    segment, features = make_window(attention_bundle)
    for name in ("yard", "door"):
        view.offer(name, segment, features)
    assert [wait()["camera"] for wait in waits] == ["door", "yard"]


def test_of_too_many_cameras_the_oldest_gets_its_message_at_once(attention_bundle):
    view, clock = make_view(attention_bundle)
    errors = []

    def look():
        with pytest.raises(MachineError) as caught:
            view.answer("door", timeout_s=60)
        errors.append(str(caught.value))

    first = threading.Thread(target=look)
    first.start()
    while "door" not in view._watched:
        first.join(0.01)

    # The others ask later, so theirs are the newest requests.
    clock.now = 65.0
    for k in range(4):
        with pytest.raises(MachineError, match="not decided"):
            view.answer(f"camera {k}", timeout_s=0.01)
    first.join(10)
    assert "too many cameras" in errors[0]
    assert len(view._watched) == 4


def test_a_window_is_computed_once(attention_bundle):
    view, _ = make_view(attention_bundle)
    wait = ask(view, patch=5)
    segment, features = make_window(attention_bundle)
    view.offer("door", segment, features)
    first = wait()
    runs = []
    for name, engine in view._engines.items():
        view._engines[name] = Counted(engine, name, runs)
    assert view.answer("door", patch=5) == first
    assert view.answer("door", patch=3)["patch"]["index"] == 3
    assert view.answer("door")["patch"] is None
    assert runs == []
    view.offer("door", segment, features)
    view.answer("door")
    assert runs == ["head_attention"]


def test_a_camera_without_decisions_is_an_error_in_time(attention_bundle):
    view, _ = make_view(attention_bundle)
    with pytest.raises(MachineError, match="door has not decided a window"):
        view.answer("door", timeout_s=0.05)


def test_a_bundle_without_twins_is_refused(tiny_bundle):
    with pytest.raises(UsageError, match="no attention graphs"):
        AttentionView(Bundle.open(tiny_bundle))


def test_a_twin_with_other_maps_than_the_manifest_is_refused(attention_bundle):
    files = dict(attention_bundle.manifest.files)
    entry = files["head.attention.onnx"]
    files["head.attention.onnx"] = entry.model_copy(update={"maps": {"read_out.other": (1, 2)}})
    manifest = attention_bundle.manifest.model_copy(update={"files": files})
    other = Bundle(attention_bundle.path, manifest)
    with pytest.raises(UsageError, match=r"gives no 'read_out.other' of shape \(B, 1, 2\)"):
        other.engine("head_attention", "fp32", "onnxruntime", 1)


def test_grids_of_attention_over_the_whole_clip():
    rng = np.random.default_rng(0)
    wide = rng.random((2, 4, 3, 4))  # (T, P, S, C)
    heard = segments_heard({"semantic_from_motion.0": wide}, 0)
    assert heard.shape == (3, 2, 2, 2)
    np.testing.assert_allclose(heard[1, 0, 1, 0], wide[0, 2, 1].sum())

    cells = rng.random((3, 4, 2, 4))  # (S, C, f, P)
    patches = patches_heard({"motion_from_semantic.0": cells}, 0)
    assert patches.shape == (3, 2, 2)
    np.testing.assert_allclose(patches[2, 1, 1], cells[2, :, :, 3].mean(0).sum())

    graph = rng.random((2, 4, 4))
    np.testing.assert_allclose(
        graph_grid({"semantic_graph.0": graph}, 0, -1, 2), graph[-1, 2].reshape(2, 2)
    )
    assert segments_heard({}, 0) is None
    assert to_json(np.array([[0.5, 0.25]])) == {"rows": 1, "cols": 2, "values": [0.5, 0.25]}


def test_features_on_a_device_are_read_once_and_only_while_somebody_watches(attention_bundle):
    view, _ = make_view(attention_bundle)
    segment, features = make_window(attention_bundle)
    window = Window(features)
    view.offer("door", segment, window)
    assert window.reads == 0

    wait = ask(view)
    view.offer("yard", segment, window)
    assert window.reads == 0
    view.offer("door", segment, window)
    assert wait()["camera"] == "door"
    assert window.reads == len(features)
