"""Files of real cameras, recorders and browsers: each kind is made by ffmpeg within the test."""

from __future__ import annotations

import json
import os
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from gasmcast.errors import SourceError
from gasmcast.runtime.sources.file import FileSource
from gasmcast.spec import ClipSpec
from gasmcast.video.clip import read_clip
from gasmcast.video.container import printable
from gasmcast.video.picture import MAX_PIXELS
from gasmcast.video.reader import duration_s, read_frames

SPEC = ClipSpec(segments=2, motion_frames=4, semantic_frames=1, pixels=32)


def scene(seconds: float, size: str = "160x120", rate: int = 25) -> tuple[str, ...]:
    return ("-f", "lavfi", "-i", f"testsrc2=size={size}:rate={rate}:duration={seconds}")


def shown_by_ffmpeg(ffmpeg, path: Path, *options: object) -> np.ndarray:
    """Return all pictures that ffmpeg shows, `(n, bytes)`."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        size = stream.width * stream.height * 3
    raw = ffmpeg("-i", path, *options, "-vsync", "passthrough", "-f", "rawvideo", "-pix_fmt",
                 "rgb24", "-")  # fmt: skip
    return np.frombuffer(raw, np.uint8).reshape(-1, size)


@pytest.mark.parametrize(
    ("codec", "name"),
    [
        (("-c:v", "libx264", "-flags", "+ildct+ilme", "-x264opts", "tff=1"), "a.mp4"),
        (("-c:v", "mpeg2video", "-flags", "+ildct+ilme", "-b:v", "2M"), "a.mpg"),
        (("-c:v", "ffv1", "-field_order", "tt"), "a.mkv"),
    ],
)
def test_interlaced_video_is_woven(ffmpeg, tmp_path, codec, name):
    """A decoder that refuses interlaced pictures and reports success would show black."""
    path = tmp_path / name
    ffmpeg(*scene(1, "320x240", 50), "-vf", "tinterlace=interleave_top,setfield=tff", *codec, path)
    frames = [frame for _, frame in read_frames(path)]
    assert len(frames) == 25
    expected = shown_by_ffmpeg(ffmpeg, path)
    for frame, wanted in zip(frames, expected, strict=True):
        assert frame.mean() > 60
        # Two versions of FFmpeg convert colors with small differences.
        assert np.abs(frame.ravel().astype(int) - wanted).mean() < 3


def test_pixel_aspect_ratio_is_applied(ffmpeg, tmp_path):
    path = tmp_path / "a.mp4"
    ffmpeg(*scene(0.2, "720x576"), "-vf", "setsar=64/45", path)
    _, frame = next(read_frames(path))
    assert frame.shape == (576, 1024, 3)


@pytest.mark.parametrize("cut_s", [1.3, 2.5, 3.8])
def test_clips_that_were_cut_without_decoding_are_whole(ffmpeg, tmp_path, cut_s, caplog):
    """`-c copy` hides the frames before the cut behind an edit list."""
    whole, clip = tmp_path / "whole.mp4", tmp_path / "clip.mp4"
    ffmpeg(*scene(8), "-c:v", "libx264", "-g", "250", "-bf", "2", whole)
    ffmpeg("-ss", cut_s, "-i", whole, "-t", 2, "-c", "copy", clip)
    stamps = [stamp for stamp, _ in read_frames(clip)]
    assert stamps[-1] == pytest.approx(2.0, abs=0.1)
    assert len(stamps) == pytest.approx(50, abs=3)
    assert duration_s(clip) == pytest.approx(2.0, abs=0.13)
    assert not caplog.records


@pytest.mark.parametrize("name", ["a.webm", "a.mkv", "a.ts", "a.flv", "a.mp4", "a.avi"])
def test_audio_that_is_longer_than_the_video_is_no_damage(ffmpeg, tmp_path, name):
    path = tmp_path / name
    sound = ("-f", "lavfi", "-i", "sine=duration=9")
    ffmpeg(*scene(2), *sound, "-b:v", "300k", path)
    assert len(list(read_frames(path))) == 50
    assert duration_s(path) == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (("-c:v", "libvpx", "-b:v", "300k", "-f", "webm"), "recording.webm"),
        (("-c:v", "libx264", "-f", "matroska"), "recording.mkv"),
        (("-c:v", "libx264", "-f", "h264"), "raw.h264"),
    ],
)
def test_the_length_of_a_file_without_one_comes_from_its_packets(ffmpeg, tmp_path, options, name):
    """A browser's MediaRecorder cannot seek back to write the duration; nor can a pipe."""
    path = tmp_path / name
    path.write_bytes(ffmpeg(*scene(4), *options, "pipe:1"))
    stamps = [stamp for stamp, _ in read_frames(path)]
    assert len(stamps) == 100
    assert duration_s(path) == pytest.approx(stamps[-1] + 0.04, abs=0.05)
    assert duration_s(path) > 3.0


def test_a_screen_recording_lasts_until_its_last_frame(ffmpeg, tmp_path):
    """Variable rate: one second of motion, then a single frame at the end."""
    path = tmp_path / "screen.mp4"
    vary = "select='lt(t,1)+gte(t,7.9)',setpts=PTS"
    ffmpeg(*scene(8, rate=30), "-vf", vary, "-vsync", "vfr", path)
    stamps = [stamp for stamp, _ in read_frames(path)]
    assert stamps[-1] == pytest.approx(7.9, abs=0.1)
    assert duration_s(path) == pytest.approx(8.0, abs=0.15)


@pytest.mark.parametrize("codec", ["mjpeg", "png"])
def test_a_cover_picture_is_not_the_video(ffmpeg, tmp_path, codec):
    path, cover = tmp_path / "a.mkv", tmp_path / f"cover.{'jpg' if codec == 'mjpeg' else 'png'}"
    ffmpeg(*scene(0.1, "64x64"), "-frames:v", 1, cover)
    ffmpeg("-i", cover, *scene(2), "-map", "0:v", "-map", "1:v", "-c:v:0", "copy", "-c:v:1",
           "libx264", path)  # fmt: skip
    frames = list(read_frames(path))
    assert len(frames) == 50
    assert frames[0][1].shape == (120, 160, 3)


def test_a_damaged_packet_in_the_middle_costs_its_frame_and_not_the_rest(ffmpeg, tmp_path, caplog):
    path = tmp_path / "a.mp4"
    ffmpeg(*scene(4), "-c:v", "libx264", "-g", "25", path)
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        place, size = packets[40].pos, packets[40].size
    # The length of the first unit is kept absurd, so that the packet cannot be decoded.
    data[place : place + size] = b"\xff" * size
    path.write_bytes(data)
    stamps = [stamp for stamp, _ in read_frames(path)]
    assert len(stamps) >= 98
    assert stamps[-1] == pytest.approx(3.96)
    assert "damaged packets or pictures" in caplog.text


def test_damage_in_the_last_fifth_is_reported(ffmpeg, tmp_path, caplog):
    path = tmp_path / "a.mkv"
    ffmpeg(*scene(4), "-c:v", "mjpeg", path)
    data = path.read_bytes()
    path.write_bytes(data[: int(0.93 * len(data))])
    assert 85 < len(list(read_frames(path))) < 97
    assert "ends early: at 3." in caplog.text


def small_video(path: Path) -> bytes:
    writer = cv2.VideoWriter(
        str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48)
    )
    for level in range(0, 200, 10):
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()
    return path.read_bytes()


@pytest.mark.parametrize(
    "name",
    [
        b"caf\xe9.mp4",
        b" lead.mp4",
        b"new\nline.mp4",
        b"100%.mp4",
        b"%03d.mp4",
        b"a:b.mp4",
        b"concat:x.mp4",
        b"-dash.mp4",
        b"file?.mp4",
        "ü [1].mp4".encode(),
    ],
)
def test_any_file_name_is_read_by_training_and_runtime_alike(tmp_path, monkeypatch, name):
    data = small_video(tmp_path / "plain.mp4")
    path = Path(os.fsdecode(name))
    monkeypatch.chdir(tmp_path)
    path.write_bytes(data)
    expected = [frame for _, frame in read_frames("plain.mp4")]
    for frames in (
        [frame for _, frame in read_frames(path)],
        [frame.image for frame in FileSource(path, "x").frames()],
    ):
        assert len(frames) == 20
        assert all(np.array_equal(a, b) for a, b in zip(frames, expected, strict=True))
    assert duration_s(path) == pytest.approx(2.0)
    assert np.array_equal(read_clip(path, SPEC), read_clip("plain.mp4", SPEC))
    json.dumps(printable(path)).encode()
    printable(path).encode()


@pytest.mark.parametrize("name", [b"caf\xe9.mp4", b"plain.mp4"])
def test_what_is_wrong_with_a_file_of_any_name_is_one_sentence(tmp_path, name):
    path = tmp_path / os.fsdecode(name)
    with pytest.raises(SourceError) as missing:
        next(read_frames(path))
    path.write_bytes(b"no video")
    with pytest.raises(SourceError) as broken:
        next(read_frames(path))
    for error in (missing.value, broken.value):
        str(error).encode()
        assert "\n" not in str(error)


@pytest.mark.parametrize("name", ["a.jpg", "a.mkv"])
def test_pictures_beyond_8k_are_refused_before_they_are_decoded(tmp_path, name):
    """A hostile file must not exhaust the memory of the service."""
    import resource

    side = 12_000
    assert side * side > MAX_PIXELS
    picture = cv2.imencode(".jpg", np.zeros((side, side), np.uint8))[1].tobytes()
    path = tmp_path / name
    if name == "a.jpg":
        path.write_bytes(picture)
    else:
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mjpeg", rate=10)
            stream.width = stream.height = 64
            stream.pix_fmt = "yuvj420p"
            for number in range(3):
                packet = av.Packet(picture)
                packet.stream, packet.pts, packet.dts = stream, number * 100, number * 100
                container.mux(packet)
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(SourceError, match=r"larger than 8192 x 4320|has pictures of|no video st"):
        list(read_frames(path))
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb) / 1024
    assert grown_mb < 150, "a decoded picture has 216 MB"
