"""Law of the project: streaming equals training.

A file through `live` gives, window by window, the logits of the complete model on the same frames,
at the right times. A cached segment equals, to the bit, the segment encoded again.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest

from gasmcast.errors import SourceError
from gasmcast.files import sha256_of
from gasmcast.labels import Labels
from gasmcast.manifest import BundleFile, Manifest, Measured
from gasmcast.runtime.bundle import Bundle
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.pipeline import Pipeline
from gasmcast.runtime.records import Decision
from gasmcast.runtime.sources.file import FileSource
from gasmcast.runtime.streaming_model import open_model
from gasmcast.spec import nearest_frames
from gasmcast.video.clip import fit_frame, read_clip
from gasmcast.video.reader import read_frames

pytestmark = pytest.mark.timeout(
    900
)  # tracing the graphs takes a minute of CPU, and machines are shared
CLASSES = 12
FP32 = 1e-5  # for logits up to 0.6, whose rounding in FP32 was measured as 3e-7


@pytest.fixture(scope="module")
def model(one_thread_module):
    """Model of the `demo` preset with noise on all weights, so zero-initialized branches matter."""
    import torch

    from gasmcast.config import load_config
    from gasmcast.models.model import build_model

    torch.manual_seed(0)
    made = build_model(load_config("demo", {"model.classes": CLASSES})).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return made


@pytest.fixture(scope="module")
def one_thread_module():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def bundle(model, tmp_path_factory) -> Path:
    from gasmcast.export.graphs.trace import export_onnx

    folder = tmp_path_factory.mktemp("law") / "law.gasm"
    folder.mkdir()
    graphs = export_onnx(model, folder)
    files = {
        path.name: BundleFile(
            sha256=sha256_of(path), size=path.stat().st_size, graph=graph, precision="fp32"
        )
        for graph, path in graphs.items()
    }
    manifest = Manifest(
        gasmcast="0",
        created="2026-01-01T00:00:00Z",
        labels=Labels(f"class {i}" for i in range(CLASSES)).names,
        spec=model.spec,
        model=model.config.model_dump(mode="json"),
        checkpoint_sha256="0" * 64,
        files=files,
        precisions={"fp32": Measured(clips=0, temperature=1.0, no_action=None)},
    )
    (folder / "manifest.json").write_text(json.dumps(manifest.model_dump(mode="json")))
    return folder


@pytest.fixture(scope="module")
def engines(bundle, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield {name: open_model(bundle, name, "fp32", 1)[0] for name in ("onnxruntime", "openvino")}


def live(
    model, path: Path, name: str = "file", keep: list | None = None
) -> tuple[list[dict], list[Decision], list[dict]]:
    """Run one file; return its windows with logits, its decisions and its encoded segments.

    Args:
        model: engines to run.
        path: the file.
        name: name of the source.
        keep: gets the fitted frames with their stamps.
    """
    windows, decisions, segments = [], [], []
    kinds = {"window": windows, "segment": segments}
    pipeline = Pipeline(
        model,
        LiveConfig(smooth_s=0),
        lambda record: decisions.append(record) if isinstance(record, Decision) else None,
        trace=lambda kind, fields: kinds.get(kind, []).append(fields),
    )
    pipeline.start()
    lane = pipeline.add(name, live=False)

    def feed() -> None:
        try:
            for frame in FileSource(path, name).frames():
                if keep is not None:
                    keep.append(
                        (frame.stamp_s, fit_frame(frame.image, model.spec.pixels, model.spec.fit))
                    )
                lane.on_frame(frame)
        except SourceError as error:
            lane.on_end(error)
        else:
            lane.on_end(None)

    thread = threading.Thread(target=feed, daemon=True)
    thread.start()
    assert pipeline.wait(600)
    thread.join(10)
    pipeline.stop()
    assert not lane.drops
    return windows, decisions, segments


def fitted(path: Path, spec) -> list[tuple[float, np.ndarray]]:
    return [(stamp, fit_frame(image, spec.pixels, spec.fit)) for stamp, image in read_frames(path)]


def clips_of(frames: list[tuple[float, np.ndarray]], model) -> tuple[np.ndarray, np.ndarray]:
    """Return every clip at every hop by the definition, `(n, 1 + S, F, H, W, 3)`, and its start."""
    spec = model.spec
    stamps, images = [stamp for stamp, _ in frames], [image for _, image in frames]
    reached = int(np.floor(stamps[-1] * spec.fps)) // spec.motion_frames + 1
    starts = np.arange(max(reached - spec.segments, 0) + 1) * spec.segment_s
    chosen = [nearest_frames(np.array(stamps), spec.slot_times(start)) for start in starts]
    return np.stack(
        [np.stack([images[i] for i in row]).reshape(spec.clip_shape) for row in chosen]
    ), starts


def torch_logits(model, clips: np.ndarray) -> np.ndarray:
    import torch

    with torch.no_grad():
        return np.concatenate([model(torch.from_numpy(clip[None])).numpy() for clip in clips])


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    """Video of 5.2 s at 24 frames per second: every third slot is exactly between two frames."""
    import cv2

    path = tmp_path_factory.mktemp("video") / "law.mp4"
    rng = np.random.default_rng(3)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 24.0, (160, 120))
    ground = rng.integers(0, 255, (120, 160, 3), np.uint8)
    for i in range(125):
        frame = np.roll(ground, i * 3, axis=1)
        frame[40:80, i : i + 30] = (255 - i, 2 * i % 255, 40)
        writer.write(frame)
    writer.release()
    return path


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_live_equals_torch_forward_and_the_complete_graph(model, bundle, engines, video, backend):
    windows, decisions, _ = live(engines[backend], video)
    clips, starts = clips_of(fitted(video, model.spec), model)
    spec = model.spec
    assert [w["window"] for w in windows] == [(t, t + spec.window_s) for t in starts]
    assert [d.time_s for d in decisions] == [t + spec.window_s for t in starts]
    got = np.array([w["logits"] for w in windows], np.float32)
    want = torch_logits(model, clips)
    assert np.ptp(want, axis=0).max() > 0.01  # the windows differ
    np.testing.assert_allclose(got, want, rtol=0, atol=FP32)
    complete = Bundle.open(bundle).engine("complete", "fp32", backend, 1)
    np.testing.assert_allclose(
        got,
        np.concatenate([complete.run({"clip": clip[None]})["logits"] for clip in clips]),
        rtol=0,
        atol=FP32,
    )
    assert [d.label_id for d in decisions] == want.argmax(1).tolist()
    np.testing.assert_array_equal(clips[-1], read_clip(video, spec, float(starts[-1])))


def test_live_at_another_tempo_equals_torch_forward_on_shorter_windows(model, bundle, video):
    fast = open_model(bundle, "onnxruntime", "fp32", 1, tempo=2).model
    assert fast.reopen().spec == fast.spec == model.spec.at_tempo(2)
    windows, decisions, _ = live(fast, video)
    clips, starts = clips_of(fitted(video, fast.spec), fast)
    assert [d.time_s for d in decisions] == [t + model.spec.window_s / 2 for t in starts]
    got = np.array([w["logits"] for w in windows], np.float32)
    np.testing.assert_allclose(got, torch_logits(model, clips), rtol=0, atol=FP32)


def test_cached_equals_uncached_to_the_bit(engines, video):
    """Compare each window from the ring with one whose segments are all encoded again."""
    made = engines["onnxruntime"]
    windows, _, segments = live(made, video)
    assert len(segments) == len(windows) + made.spec.segments - 1  # no segment was encoded twice
    clips, _ = clips_of(fitted(video, made.spec), made)
    for window, clip in zip(windows, clips, strict=True):
        np.testing.assert_array_equal(np.array(window["logits"], np.float32), uncached(made, clip))


def uncached(made, clip: np.ndarray) -> np.ndarray:
    """Return the logits of a clip with all its segments encoded again."""
    encoded = [
        made.encoder.run({"segments": clip[None, i : i + 2]}) for i in range(made.spec.segments)
    ]
    features = {name: np.stack([one[name][0] for one in encoded])[None] for name in encoded[0]}
    return made.head.run(features)["logits"][0]


@pytest.mark.parametrize("seconds", [0.0, 0.3, 1.99])
def test_a_short_file_is_padded_as_training_pads_it(model, engines, tmp_path, seconds):
    import cv2

    path = tmp_path / "short.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 30.0, (64, 64))
    for i in range(max(1, round(seconds * 30))):
        writer.write(np.full((64, 64, 3), 3 * i, np.uint8))
    writer.release()
    windows, _, _ = live(engines["openvino"], path)
    want = torch_logits(model, read_clip(path, model.spec, 0.0)[None])
    assert [w["window"] for w in windows] == [(0.0, model.spec.window_s)]
    np.testing.assert_allclose(windows[0]["logits"], want[0], rtol=0, atol=FP32)


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_every_good_decoder_file(model, engines, real_data, backend):
    """For every codec, size and rate, each window equals torch's forward on the defined frames."""
    made = engines[backend]
    seen = 0
    for path in sorted((real_data / "decoders" / "good").iterdir()):
        first = next(read_frames(path), (0.0, np.empty((0, 0, 3))))[1]
        if (
            first.shape[0] * first.shape[1] > 1920 * 1088
        ):  # 4K takes minutes; smaller files have the same codecs
            continue
        kept: list[tuple[float, np.ndarray]] = []
        windows, _, _ = live(made, path, keep=kept)
        clips, starts = clips_of(kept, made)
        assert [w["window"] for w in windows] == [(t, t + made.spec.window_s) for t in starts], (
            path.name
        )
        for i in sorted({0, len(clips) // 2, len(clips) - 1}):
            got, where = np.array(windows[i]["logits"], np.float32), f"{path.name}, window {i}"
            np.testing.assert_allclose(
                got, torch_logits(model, clips[i : i + 1])[0], rtol=0, atol=FP32, err_msg=where
            )
            if backend == "onnxruntime":
                np.testing.assert_array_equal(got, uncached(made, clips[i]), err_msg=where)
        seen += kept[-1][0] >= made.spec.window_s
    assert seen >= 10  # files of at least one window; 13 in the set of 2026-11
