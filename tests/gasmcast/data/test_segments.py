"""The law of segments: a clip of a long video is the clip of a file that was cut there."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from gasmcast.config import AugmentConfig
from gasmcast.data.clip_reader import clip_frames, clip_length_s, read_sample
from gasmcast.data.dataset import ClipDataset
from gasmcast.data.sample import Sample
from gasmcast.errors import SourceError
from gasmcast.features.fingerprints import clips_sha
from gasmcast.spec import ClipSpec
from gasmcast.video.frame_times import frame_times_s
from gasmcast.video.reader import read_frames
from gasmcast.video.stamp_clock import StampClock

SPEC = ClipSpec(segments=2, segment_s=0.5, motion_frames=4, semantic_frames=1, pixels=32)
FPS = 20
OPTIONS = {
    "mp4": ("libx264", {"g": "40", "bf": "2"}),
    "mkv": ("libx264", {"g": "50", "bf": "3", "x264-params": "open-gop=1"}),
    "webm": ("libvpx", {"g": "60"}),
    "mov": ("mpeg4", {"g": "12"}),
    "avi": ("mpeg4", {"g": "12"}),
    "ts": ("libx264", {"g": "40", "bf": "2"}),
}


def make_video(path: Path, frames: int = 400) -> Path:
    codec, options = OPTIONS[path.suffix[1:]]
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 60, (frames, 6, 8, 3)).repeat(8, 1).repeat(8, 2)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(frames):
            picture = (noise[i] + i % 190).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module", params=list(OPTIONS))
def video(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("long") / f"a.{request.param}")


@pytest.mark.parametrize("times", [(11.0, 13.0), (0.0, 1.0), (4.3, 4.8), (15.7, None)])
def test_frames_of_a_segment_are_those_of_the_whole_video(
    video: Path, times: tuple[float, float | None]
) -> None:
    start_s, end_s = times
    whole = list(read_frames(video))
    wanted = [
        (stamp, frame)
        for stamp, frame in whole
        if start_s - 1e-3 <= stamp < (np.inf if end_s is None else end_s - 1e-3)
    ]
    found = list(clip_frames(Sample("a", 0, str(video), start_s=start_s, end_s=end_s)))
    assert [stamp + start_s for stamp, _ in found] == pytest.approx([s for s, _ in wanted])
    for (_, frame), (_, other) in zip(found, wanted, strict=True):
        assert np.array_equal(frame, other)


def test_a_window_never_shows_what_is_outside_of_the_segment(video: Path) -> None:
    sample = Sample("a", 0, str(video), start_s=10.0, end_s=10.5)
    inside = [frame for _, frame in clip_frames(sample)]
    clip = read_sample(sample, SPEC, SPEC.centered_start(clip_length_s(sample)))
    means = {float(frame.mean().round(2)) for frame in inside}
    levels = [frame.mean() for frame in clip.reshape(-1, 32, 32, 3)]
    assert min(means) - 3 <= min(levels) <= max(levels) <= max(means) + 3
    # Lead-in: the first frame, repeated; after the end: the last one.
    flat = clip.reshape(-1, 32, 32, 3)
    assert all(np.array_equal(flat[0], frame) for frame in flat[:4])
    assert all(np.array_equal(flat[-1], frame) for frame in flat[-4:])


def test_a_stated_context_shows_more(video: Path) -> None:
    alone = Sample("a", 0, str(video), start_s=10.0, end_s=11.0)
    wide = Sample("a", 0, str(video), start_s=10.0, end_s=11.0, context_s=1.0)
    whole = Sample("a", 0, str(video))
    assert np.array_equal(read_sample(wide, SPEC, 0.0), read_sample(whole, SPEC, 10.0))
    assert not np.array_equal(read_sample(alone, SPEC, 0.0), read_sample(wide, SPEC, 0.0))
    assert clip_length_s(wide) == clip_length_s(alone) == 1.0


def test_training_preloads_the_same_frames(video: Path) -> None:
    samples = [Sample("a", 0, str(video), start_s=5.0, end_s=6.5)]
    clips = ClipDataset(samples, SPEC)
    before = clips[0][0]
    assert clips.preload(1 << 30)
    assert np.array_equal(before, clips[0][0])
    assert clips.length_s(0) == 1.5

    drawn = ClipDataset(samples, SPEC, AugmentConfig(time_jitter=True, crop_scale=(1.0, 1.0)))
    assert 0 <= drawn.start_s(0) <= 0.5


def test_a_jump_reads_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video(tmp_path / "a.mp4", 400)
    decoded = []
    stamp = StampClock.stamp
    monkeypatch.setattr(
        StampClock, "stamp", lambda clock, frame: decoded.append(1) or stamp(clock, frame)
    )
    read_sample(Sample("a", 0, str(path), start_s=17.0, end_s=18.0), SPEC, 0.0)
    # One group of pictures before the segment, its 20 frames, and the first frame of the file.
    assert len(decoded) <= 40 + 20 + 2


def test_a_segment_after_the_end_is_an_error(video: Path) -> None:
    with pytest.raises(SourceError, match="no frame between 50 and 51 s"):
        read_sample(Sample("a", 0, str(video), start_s=50.0, end_s=51.0), SPEC, 0.0)
    with pytest.raises(SourceError, match="ends before the annotated span"):
        clip_length_s(Sample("a", 0, str(video), start_s=50.0))


def test_times_of_frames(video: Path) -> None:
    times = [stamp for stamp, _ in read_frames(video)]
    assert frame_times_s(video).tolist() == pytest.approx(times, abs=2e-3)


def test_segments_of_one_file_have_caches_of_their_own(video: Path) -> None:
    keys = {
        clips_sha([Sample("a", 0, str(video), start_s=start, end_s=end, context_s=context)])
        for start, end, context in ((0, None, 0), (1, None, 0), (1, 2, 0), (1, 2, 1))
    }
    assert len(keys) == 4
