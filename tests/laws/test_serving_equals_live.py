"""Law: a client that sends segments to `gasmcast serve` gets what `live` says of the same file."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest

from gasmcast.runtime.camera.clock import SegmentClock
from gasmcast.runtime.frames import Frame
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.records import Decision, Event
from gasmcast.runtime.session import Session
from gasmcast.runtime.sources.file import FileSource
from gasmcast.runtime.streaming_model import open_model
from gasmcast.serving.sequence_model import SequenceModel
from gasmcast.serving.served_engines import ServedEngines
from gasmcast.serving.v2_tensors import InferRequest
from gasmcast.video.clip import fit_frame
from gasmcast.video.reader import read_frames

SETTINGS = {"on": 0.4, "off": 0.35, "refractory_s": 0.0, "smooth_s": 0.2}


class Records:
    def __init__(self):
        self.records = []

    def write(self, record):
        self.records.append(record)

    def close(self):
        pass


def segments_of(video, spec):
    """Cut a file into segments as a client does."""
    clock = SegmentClock(spec, lambda image: fit_frame(image, spec.pixels, spec.fit))
    found = []
    for stamp_s, image in read_frames(video):
        found += clock.push(Frame(stamp_s=stamp_s, arrival=0.0, image=image))
    return np.stack([segment.pair[1] for segment in [*found, *clock.finish()]])


@pytest.mark.parametrize("together", [1, 3])
@pytest.mark.parametrize("hop", [1, 2])
def test_answers_equal_those_of_live(tiny_bundle, moving_video, together, hop):
    config = LiveConfig(**SETTINGS, hop=hop)
    model, _ = open_model(tiny_bundle, threads=1)
    sink = Records()
    session = Session(model, config, [sink])
    session.add(FileSource(moving_video, "file"))
    assert session.run() == []
    decisions = [record for record in sink.records if isinstance(record, Decision)]
    events = [record.to_json() for record in sink.records if isinstance(record, Event)]
    assert decisions
    assert events

    engines = ServedEngines(
        open_model(tiny_bundle, threads=1).model, max_batch=2, delay_s=0.0, name="x"
    )
    served = SequenceModel("s", engines, config, max_sequences=1, max_segments=8, idle_s=60.0)
    segments = segments_of(moving_video, model.spec)
    outputs = []
    for start in range(0, len(segments), together):
        parameters = {
            "sequence_id": "file",
            "sequence_start": start == 0,
            "sequence_end": start + together >= len(segments),
        }
        part = {"segments": segments[start : start + together]}
        outputs.append(asyncio.run(served.infer(InferRequest("", part, {}, True, parameters))))
    engines.close()

    rows = {name: np.concatenate([out[name] for out in outputs]) for name in outputs[0]}
    assert rows["time_s"].tolist() == [one.time_s for one in decisions]
    assert rows["label"].tolist() == [one.label for one in decisions]
    assert rows["label_id"].tolist() == [one.label_id for one in decisions]
    # Batches of other sizes round differently.
    np.testing.assert_allclose(rows["p"], [one.p for one in decisions], atol=1e-6)

    # Events are the same but for the time of day and the same rounding.
    answered = [json.loads(text) for text in rows["events"]]
    assert len(answered) == len(events)
    for ours, theirs in zip(answered, events, strict=True):
        assert ours.pop("p") == pytest.approx(theirs.pop("p"), abs=1e-6)
        ours.pop("ts"), theirs.pop("ts")
        assert ours == theirs


def test_over_http_with_tritons_client(tiny_bundle, moving_video, tmp_path):
    """The same through a real server and the client of Triton, in requests of one segment."""
    http = pytest.importorskip("tritonclient.http")
    pytest.importorskip("starlette")
    import re
    import subprocess
    import sys

    model, _ = open_model(tiny_bundle, threads=1)
    sink = Records()
    session = Session(model, LiveConfig(), [sink])
    session.add(FileSource(moving_video, "file"))
    session.run()
    decisions = [record for record in sink.records if isinstance(record, Decision)]

    words = ["serve", str(tiny_bundle), "--http", "127.0.0.1:0", "--threads", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "gasmcast", *words], stderr=subprocess.PIPE, text=True
    )
    try:
        for line in process.stderr:
            if match := re.search(r"at http://([\d.:]+)", line):
                break
        segments = segments_of(moving_video, model.spec)
        labels, p = [], []
        with http.InferenceServerClient(match[1]) as client:
            for number, segment in enumerate(segments):
                given = http.InferInput("segments", [1, *segment.shape], "UINT8")
                given.set_data_from_numpy(segment[None])
                result = client.infer(
                    "tiny_stream",
                    [given],
                    sequence_id=42,
                    sequence_start=number == 0,
                    sequence_end=number == len(segments) - 1,
                )
                labels += [text.decode() for text in result.as_numpy("label")]
                p += result.as_numpy("p").tolist()
    finally:
        process.terminate()
        process.communicate()
    assert process.returncode == 0
    assert labels == [one.label for one in decisions]
    np.testing.assert_allclose(p, [one.p for one in decisions], atol=1e-6)
