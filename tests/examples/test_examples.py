"""Every file of examples/ runs as its first line says."""

from __future__ import annotations

import json

import numpy as np
import onnxruntime

from gasmcast.spec import ClipSpec
from gasmcast.video.clip import read_clip


def test_opencv_loop(run_example, tiny_bundle, moving_video):
    lines = run_example("opencv_loop.py", tiny_bundle, moving_video)
    assert len(lines) == 9
    assert lines[0].startswith("  2.00 s")


def test_on_event(run_example, tiny_bundle, moving_video):
    lines = run_example("on_event.py", tiny_bundle, moving_video)
    assert lines[0].startswith("moving: Pushing something")
    assert "ended after" in lines[-1]


def test_train_own_clips(trained):
    manifest = json.loads((trained.folder / "model.gasm" / "manifest.json").read_text())
    assert trained.lines[-3] == "best epoch 1"
    assert trained.lines[-2].startswith("top-1 ")
    assert trained.lines[-1].endswith(f"precisions: {', '.join(manifest['precisions'])}")


def test_plain_onnxruntime_equals_the_reader_and_the_complete_graph(
    run_example, trained, moving_video
):
    bundle = trained.folder / "model.gasm"
    manifest = json.loads((bundle / "manifest.json").read_text())
    # The video needs no resizing, so both ways must feed the same pixels.
    clip = read_clip(moving_video, ClipSpec(**manifest["spec"]))
    session = onnxruntime.InferenceSession(str(bundle / "complete.onnx"))
    (logits,) = session.run(["logits"], {session.get_inputs()[0].name: clip[np.newaxis]})

    scores = logits[0] / manifest["precisions"]["fp32"]["temperature"]
    p = np.exp(scores) / np.exp(scores).sum()
    expected = f"{manifest['labels'][int(p.argmax())]}: {p.max():.3f}"
    assert run_example("plain_onnxruntime.py", bundle, moving_video) == [expected]
