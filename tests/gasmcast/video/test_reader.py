"""The video reader on intact, damaged and odd files."""

from __future__ import annotations

import csv
import gc
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from gasmcast.errors import SourceError
from gasmcast.spec import ClipSpec
from gasmcast.video.reader import duration_s, read_frames

SPEC = ClipSpec(segments=2, motion_frames=4, semantic_frames=1, pixels=32)


def gray(level: int, height: int = 48, width: int = 64) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def write_video(path: Path, frames: list[np.ndarray], fps: float = 10.0) -> Path:
    writer = cv2.VideoWriter(
        str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), fps, frames[0].shape[1::-1]
    )
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


def manifest(real_data: Path) -> list[dict[str, str]]:
    with (real_data / "decoders" / "MANIFEST.csv").open() as stream:
        return list(csv.DictReader(stream))


@pytest.mark.real
@pytest.mark.slow
def test_every_good_file_delivers_its_frames(real_data: Path) -> None:
    wrong = []
    for row in manifest(real_data):
        if row["file"].startswith("good/"):
            stamps, sizes = [], set()
            for stamp, frame in read_frames(real_data / "decoders" / row["file"]):
                stamps.append(stamp)
                sizes.add(frame.shape)
            size = (int(row["height"]), int(row["width"]), 3)
            with av.open(str(real_data / "decoders" / row["file"])) as container:
                aspect = container.streams.video[0].sample_aspect_ratio or 1
            size = (size[0], round(size[1] * aspect), 3)
            if int(row["rotation"]) % 180:
                size = (size[1], size[0], 3)
            length = float(row["duration_s"] or 0)
            whole = len(stamps) == int(row["frames_decoded"]) and sizes == {size}
            timed = (
                stamps[0] == 0
                and bool((np.diff(stamps) > 0).all())
                and (length == 0 or abs(length - stamps[-1]) < 0.15 + 0.1 * length)
            )
            if not (whole and timed):
                wrong.append((row["file"], len(stamps), sizes, stamps[-1]))
    assert not wrong


@pytest.mark.real
def test_every_bad_file_is_refused_in_one_sentence(real_data: Path) -> None:
    says = {}
    for row in manifest(real_data):
        # Only its last frame is damaged: a warning, as with ffmpeg, and no refusal.
        if row["file"].startswith("bad/") and row["file"] != "bad/corrupted.mp4":
            with pytest.raises(SourceError) as caught:
                list(read_frames(real_data / "decoders" / row["file"]))
            says[row["file"]] = caught.value.what
            assert "\n" not in str(caught.value)
            assert row["file"] in caught.value.what
    assert len(says) == 6
    assert "encrypted" in says["bad/sample_fragmented_clearkey.mp4"]
    assert "no video stream" in says["bad/bbb_mono_8kHz_12.2kbps_amrnb.3gp"]
    assert "no video frame" in says["bad/segment_init.mp4"]


@pytest.mark.real
def test_damage_at_the_end_is_reported(real_data: Path, caplog: pytest.LogCaptureFixture) -> None:
    frames = list(read_frames(real_data / "decoders" / "bad" / "corrupted.mp4"))
    assert len(frames) == 49  # as ffmpeg
    assert "2 damaged packets or pictures, 49 frames were decoded" in caplog.text


@pytest.mark.real
def test_rotation_is_applied(real_data: Path) -> None:
    """The frame rotated back by hand equals what FFmpeg decodes without rotation."""
    path = real_data / "decoders" / "good" / "nasa_13013_rotated.mp4"
    with av.open(str(path)) as container:
        raw = next(container.decode(video=0)).to_ndarray(format="rgb24")
    _, frame = next(read_frames(path))
    assert frame.shape == (480, 270, 3)
    assert np.array_equal(frame, np.rot90(raw, 1))


def test_stamps_and_colors(tmp_path: Path) -> None:
    red = np.zeros((48, 64, 3), np.uint8)
    red[..., 2] = 255  # BGR, as OpenCV writes
    stamps, frames = zip(*read_frames(write_video(tmp_path / "a.mp4", [red] * 5)), strict=True)
    assert stamps == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert frames[0][..., 0].mean() > 200
    assert frames[0][..., 2].mean() < 50
    assert duration_s(tmp_path / "a.mp4") == pytest.approx(0.5)


def test_no_picture_waits_for_the_collector_of_cycles(tmp_path: Path) -> None:
    """Decoded pictures are freed at once: only thumbnails may lie in a cycle, one for a file."""
    path = write_video(tmp_path / "a.mp4", [gray(9)] * 20)
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        assert len(list(read_frames(path))) == 20
        gc.collect()
        kept = [one for one in gc.garbage if isinstance(one, av.VideoFrame)]
        assert [(frame.width, frame.height) for frame in kept] in ([], [(16, 16)])
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def test_size_change_midstream(tmp_path: Path) -> None:
    """A raw JPEG stream may change its size at any frame: later frames are resized to the first."""
    pictures = []
    for height, width in [(48, 64)] * 4 + [(96, 80)] * 4:
        picture = gray(0, height, width)
        picture[: height // 2, : width // 2] = 255
        pictures.append(cv2.imencode(".jpg", picture)[1].tobytes())
    path = tmp_path / "a.mjpg"
    path.write_bytes(b"".join(pictures))
    frames = [frame for _, frame in read_frames(path)]
    assert len(frames) == 8
    for frame in frames:
        assert frame.shape == (48, 64, 3)
        assert [int(frame[y, x].mean() > 128) for y, x in ((5, 5), (5, -5), (-5, 5), (-5, -5))] == [
            1,
            0,
            0,
            0,
        ]


@pytest.mark.parametrize("content", [b"", b"not a video at all", bytes(4096)])
def test_no_video(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"is empty|no video stream"):
        next(read_frames(path))


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no video file"):
        next(read_frames(tmp_path / "a.mp4"))


def test_truncated(tmp_path: Path) -> None:
    """Half of the packets of an MJPEG AVI are missing; its header still states all of them."""
    rng = np.random.default_rng(0)
    whole = tmp_path / "a.avi"
    writer = cv2.VideoWriter(
        str(whole), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48)
    )
    for _ in range(40):
        writer.write(rng.integers(0, 256, (48, 64, 3), np.uint8))
    writer.release()
    cut = tmp_path / "b.avi"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert len(list(read_frames(whole))) == 40
    with pytest.raises(SourceError, match="cut short"):
        list(read_frames(cut))


@pytest.mark.parametrize(
    ("stamps_ms", "fps", "count", "expected"),
    [
        ([0, 40, 80], 25, 3, [0, 0.04, 0.08]),
        ([500, 540, 580], 25, 3, [0, 0.04, 0.08]),  # the first is not zero
        ([0, 0, 0], 25, 3, [0, 0.04, 0.08]),  # no stamps: index / fps
        ([0, 0, 0], 0, 3, [0, 1 / 30, 2 / 30]),  # nor a rate
        ([None, None, None], 25, -1, [0, 0.04, 0.08]),
        ([None, None, 80], 25, -1, [0, 0.04, 0.08]),
        ([0, 80, 40, 120], 25, 4, [0, 0.08, 0.12, 0.16]),  # out of order: stepped on from the last
        ([0, 40, 80, None], 25, 4, [0, 0.04, 0.08, 0.12]),  # flushed at the end without a stamp
        ([0, 40, 80], 1000, 120, [0, 0.04, 0.08]),  # a rate that counts milliseconds
        ([0, 40, 80], 25, 4, [0, 0.04, 0.08]),
    ],
)
def test_odd_headers_and_stamps(
    odd_video: type, stamps_ms: list[float | None], fps: float, count: float, expected: list[float]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        odd_video(stamps_ms, fps, count).install(patch)
        assert [stamp for stamp, _ in read_frames("odd")] == pytest.approx(expected)
