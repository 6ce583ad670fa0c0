"""Files, the built-in scene, regions, and the lock of FFmpeg's options."""

from __future__ import annotations

import itertools
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from gasmcast.errors import SourceError
from gasmcast.runtime.frames import Frame
from gasmcast.runtime.sources.camera_spec import CameraSpec
from gasmcast.runtime.sources.demo import DemoSource
from gasmcast.runtime.sources.file import FileSource
from gasmcast.runtime.sources.open_sources import open_sources, open_spec
from gasmcast.runtime.sources.options import OptionsLock, ffmpeg_options
from gasmcast.runtime.sources.region import RegionSource
from gasmcast.video.reader import read_frames


def open_source(text, **settings):
    ((_, source),) = open_sources([text], **settings)
    return source


def test_a_file_gives_the_frames_that_training_reads(moving_video):
    frames = list(open_source(str(moving_video)).frames())
    expected = list(read_frames(moving_video))
    assert [f.stamp_s for f in frames] == [stamp for stamp, _ in expected]
    for frame, (_, image) in zip(frames, expected, strict=True):
        np.testing.assert_array_equal(frame.image, image)


def test_realtime_plays_a_file_at_its_own_pace(moving_video):
    now = [10.0]
    source = FileSource(
        moving_video,
        "f",
        realtime=True,
        clock=lambda: now[0],
        sleep=lambda s: now.__setitem__(0, now[0] + s),
    )
    frames = list(source.frames())
    assert source.live
    assert not source.reconnects
    assert frames[-1].arrival - frames[0].arrival == pytest.approx(frames[-1].stamp_s)


def test_a_playlist_on_disk_cannot_reach_the_network(tmp_path):
    """The protocol whitelist: a file that names a URL cannot be read, and no request is sent."""
    import socket

    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(1)
    server.settimeout(0.3)
    playlist = tmp_path / "clip.m3u8"
    playlist.write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n"
        f"http://127.0.0.1:{server.getsockname()[1]}/a.ts\n#EXT-X-ENDLIST\n"
    )
    with pytest.raises(SourceError):
        next(open_source(str(playlist)).frames())
    with pytest.raises(TimeoutError):
        server.accept()
    server.close()


def test_the_scene_is_the_same_for_the_same_seed_and_moves():
    def take(seed):
        now = [0.0]
        source = DemoSource(
            "d",
            seed=seed,
            fps=10,
            seconds=8,
            clock=lambda: now[0],
            sleep=lambda s: now.__setitem__(0, now[0] + s),
        )
        return [frame.image for frame in source.frames()]

    first, again, other = take(1), take(1), take(2)
    assert len(first) == 80
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])
    moves = [np.abs(a.astype(int) - b).max() > 0 for a, b in itertools.pairwise(first)]
    assert not any(moves[:28])  # the first act is still
    assert sum(moves[31:58]) > 20  # the second is not


def test_a_slow_reader_of_the_scene_gets_fewer_pictures_not_later_ones():
    now = [0.0]
    source = DemoSource(
        "d", fps=10, seconds=4, clock=lambda: now[0], sleep=lambda s: now.__setitem__(0, now[0] + s)
    )
    stamps = []
    for frame in source.frames():
        stamps.append(frame.stamp_s)
        assert now[0] - frame.stamp_s < 0.31
        now[0] += 0.3
    assert np.diff(stamps) == pytest.approx(0.3, abs=0.11)


def test_region_and_mask_are_shares_of_any_size():
    class Still:
        name, live, reconnects = "s", True, True
        released = False

        def frames(self):
            try:
                for size in ((100, 200), (50, 100)):
                    yield Frame(0.0, 0.0, np.full((*size, 3), 9, np.uint8))
            finally:
                self.released = True

    still = Still()
    spec = CameraSpec(
        source="0",
        region=(0.5, 0.0, 0.5, 0.5),
        mask=(((0.5, 0.0), (0.75, 0.0), (0.75, 1.0), (0.5, 1.0)),),
    )
    large, small = (frame.image for frame in RegionSource(still, spec).frames())
    assert (large.shape, small.shape) == ((50, 100, 3), (25, 50, 3))
    for image in (large, small):
        assert not image[:, : image.shape[1] // 2].any()
        assert (image[:, image.shape[1] // 2 + 2 :] == 9).all()
    frames = RegionSource(still, spec).frames()
    still.released = False
    next(frames)
    frames.close()
    assert still.released
    assert isinstance(open_spec(spec), RegionSource)


def test_captures_of_one_kind_open_together_those_of_another_wait():
    lock, log, inside = OptionsLock(), [], threading.Event()
    leave = threading.Event()

    def go(value, name):
        with lock.holding(value):
            log.append(name)
            inside.set()
            leave.wait(5)

    threads = [
        threading.Thread(target=go, args=args) for args in (("a", 1), ("a", 2), ("b", 3), ("a", 4))
    ]
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    assert log == [1, 2]  # the fourth does not overtake the third
    leave.set()
    for thread in threads:
        thread.join(5)
    assert sorted(log) == [1, 2, 3, 4]


def test_a_hanging_capture_is_waited_for_no_longer_than_the_patience_and_keeps_its_options():
    lock, hangs, let_go = OptionsLock(patience_s=0.3), threading.Event(), threading.Event()
    variable = "OPENCV_FFMPEG_CAPTURE_OPTIONS"

    def hang():
        with lock.holding("a"):
            hangs.set()
            let_go.wait(10)

    thread = threading.Thread(target=hang)
    thread.start()
    assert hangs.wait(5)
    started = time.monotonic()
    with lock.holding("b"):
        assert 0.2 < time.monotonic() - started < 2.0
        assert os.environ[variable] == "b"
    assert os.environ[variable] == "b", "whoever hangs would find no options"
    started = time.monotonic()
    with lock.holding("c"), lock.holding("c"):
        assert time.monotonic() - started < 0.2, "it is not waited for again"
    let_go.set()
    thread.join(5)
    assert variable not in os.environ


def test_options_are_set_while_a_capture_opens():
    with ffmpeg_options("rtsp"):
        assert "rtsp_transport;tcp" in os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"]
        assert "file" not in os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"]
    with ffmpeg_options("file"):
        assert os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] == "protocol_whitelist;file"


@pytest.mark.real
def test_real_clips_of_every_container_open_under_the_whitelist_and_bad_ones_are_one_sentence(
    real_data,
):
    smallest: dict[str, Path] = {}
    for clip in sorted(
        (real_data / "decoders" / "good").iterdir(), key=lambda clip: -clip.stat().st_size
    ):
        if (
            "av1" not in clip.name
        ):  # 3 s of a core to its first frame, and the reader's own tests have it
            smallest[clip.suffix.lower()] = clip
    assert len(smallest) >= 9
    for clip in smallest.values():
        frames = open_source(str(clip)).frames()
        assert next(frames).image.ndim == 3, clip.name
        frames.close()
    for clip in (real_data / "decoders" / "bad").iterdir():
        if clip.stat().st_size < 200_000:
            with pytest.raises(SourceError) as error:
                list(open_source(str(clip)).frames())
            assert "\n" not in str(error.value)
