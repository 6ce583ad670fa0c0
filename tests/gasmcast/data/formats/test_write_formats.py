"""A data set that is converted and read again has the same clips."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from gasmcast.data.clip_index import ClipIndex
from gasmcast.data.formats.detect import detect_format
from gasmcast.data.formats.write_formats import TARGETS, write_index
from gasmcast.data.reading import open_any_index, open_index
from gasmcast.errors import UsageError

FORMAT_OF = {"csv": "table", "ssv2": "ssv2"}
NAMES = ("Öffnen, links", "Clôse; 'it' \"now\"")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Set of whole videos in two classes with unusual names, several sources each."""
    folder = tmp_path_factory.mktemp("set")
    for number, name in enumerate(NAMES):
        for i in range(5):
            path = folder / name / f"50%20 {number}{i}.mp4"
            path.parent.mkdir(exist_ok=True)
            with av.open(str(path), "w") as container:
                stream = container.add_stream("mpeg4", rate=10)
                stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
                for k in range(30):
                    picture = np.full((32, 32, 3), 5 * k + i, np.uint8)
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
                container.mux(stream.encode())
    return folder


@pytest.fixture
def segments(root: Path, tmp_path: Path) -> Path:
    rows = ["video,label,start,end,split,source"]
    for i in range(5):
        split = "train" if i else "val"
        video = root / NAMES[0] / f"50%20 0{i}.mp4"
        rows += [f'"{video}",a b,0.5,1,{split},day {i}', f'"{video}",c,1.2,2.5,{split},day {i}']
    path = tmp_path / "segments.csv"
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


def clips(index: ClipIndex) -> list[tuple[object, ...]]:
    return sorted(
        (
            str(Path(c.video).resolve()),
            c.label,
            round(c.start_s or 0.0, 3),
            None if c.end_s is None else round(c.end_s, 3),
            c.split,
        )
        for c in index.clips
    )


@pytest.mark.parametrize("target", list(TARGETS))
def test_whole_videos_survive_a_round_trip(root: Path, tmp_path: Path, target: str) -> None:
    index = open_index(root)
    out = tmp_path / (
        "set" if target == "ssv2" else f"new/out.{'csv' if target == 'csv' else 'json'}"
    )
    write_index(index, out, target)
    assert detect_format(out) == FORMAT_OF.get(target, target)
    again = open_any_index(out)
    assert again.classes == index.classes
    assert clips(again) == clips(index)
    assert not again.is_split


@pytest.mark.parametrize("target", ["csv", "activitynet", "labelstudio"])
def test_segments_survive_a_round_trip(segments: Path, tmp_path: Path, target: str) -> None:
    index = open_index(segments)
    out = tmp_path / f"out.{'csv' if target == 'csv' else 'json'}"
    write_index(index, out, target)
    again = open_any_index(out)
    assert clips(again) == clips(index)
    assert [c.origin for c in again.clips] == [c.origin for c in index.clips]
    assert not again.is_split


@pytest.mark.parametrize("target", ["activitynet", "labelstudio"])
def test_videos_without_a_class_are_written_without_annotation(
    root: Path, tmp_path: Path, target: str
) -> None:
    videos = [root / NAMES[0] / f"50%20 0{i}.mp4" for i in range(3)]
    rows = [f'"{videos[0]}",a,train', f'"{videos[1]}",a,val', f'"{videos[2]}",,test']
    path = tmp_path / "in.csv"
    path.write_text("\n".join(["video,label,split", *rows]), encoding="utf-8")
    out = tmp_path / "out.json"
    write_index(open_index(path), out, target)
    assert videos[2].name in out.read_text(encoding="utf-8")
    again = open_any_index(out)
    assert again.classes == ("a",)
    assert [c.split for c in again.clips] == ["train", "validation"]

    # Of a span, only its class says that it is one.
    path.write_text(f'video,label,split,start,end\n"{videos[2]}",,test,0,1\n', encoding="utf-8")
    with pytest.raises(UsageError, match=r"line 2: a span of .* has no class"):
        write_index(open_index(path), tmp_path / "spans.json", target)


def test_what_a_format_cannot_hold_is_an_error(segments: Path, tmp_path: Path) -> None:
    index = open_index(segments)
    with pytest.raises(UsageError, match=r"line 2: a span of .* no file of its own"):
        write_index(index, tmp_path / "set", "ssv2")
    with pytest.raises(UsageError, match="exists already"):
        write_index(index, segments, "csv")
