"""Every format that labeling tools write becomes the same index of clips."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import av
import numpy as np
import pytest

from gasmcast.data.annotations import has_split, read_labels, read_split, usable
from gasmcast.data.clip_index import ClipIndex
from gasmcast.data.formats.detect import FORMATS, detect_format, read_annotations
from gasmcast.data.reading import open_index, read_as
from gasmcast.errors import UsageError

FPS = 10


def make_video(path: Path, frames: int = 100, fps: int = FPS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(frames):
            picture = np.full((48, 64, 3), 2 * i % 256, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of two videos of 10 s at 10 frames per second."""
    folder = tmp_path_factory.mktemp("set") / "videos"
    for name in ("a.mp4", "b c%20é.mp4"):
        make_video(folder / name)
    return folder


@pytest.fixture
def root(videos: Path, tmp_path: Path) -> Path:
    (tmp_path / "videos").symlink_to(videos)
    return tmp_path


def write(path: Path, content: object) -> Path:
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return path


def rows(index: ClipIndex) -> list[tuple[str, str | None, float | None, float | None]]:
    return [(Path(c.video).name, c.label, c.start_s, c.end_s) for c in index.clips]


TIMED = [("a.mp4", "open", 1.0, 3.0), ("a.mp4", "close", 4.0, 6.0)]
ACTIVITYNET = {
    "version": "1.3",
    "taxonomy": [],
    "database": {
        "a": {
            "duration": 10.0,
            "subset": "training",
            "url": "https://example.org/watch?v=a",
            "annotations": [
                {"label": "open", "segment": [1.0, 3.0]},
                {"label": "close", "segment": [4.0, 6.0]},
            ],
        },
        "unlabeled": {"duration": 5.0, "subset": "testing", "annotations": []},
    },
}


def label_studio(data: dict[str, object] | None = None, **value: object) -> list[dict[str, object]]:
    """Export of Label Studio: regions have no more than their ranges, as the editor writes them."""
    results = []
    for label, first, last in (("open", 11, 30), ("close", 41, 60)):
        region = {"ranges": [{"start": first, "end": last}], "timelinelabels": [label], **value}
        results.append(
            {
                "id": label,
                "from_name": "timeline",
                "to_name": "video",
                "type": "timelinelabels",
                "origin": "manual",
                "value": region,
            }
        )
    return [
        {
            "id": 1,
            "data": {"video": "/data/upload/1/3d3ad63e-a.mp4", **(data or {})},
            "annotations": [{"id": 7, "was_cancelled": False, "result": results}],
            "predictions": [],
        },
        {"id": 2, "data": {"video": "/data/upload/1/b.mp4"}, "annotations": []},
    ]


CVAT_TAGS = "".join(
    f'<image id="{i}" name="frame_{i:06d}" width="64" height="48">'
    f'<tag label="{"open" if i < 35 else "close"}" source="manual"></tag></image>'
    for i in (*range(10, 30), *range(40, 60))
)
CVAT_HEAD = (
    '<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version><meta><task>'
    "<id>4</id><name>door</name><size>{size}</size><mode>annotation</mode>"
    "<start_frame>0</start_frame><stop_frame>{stop}</stop_frame><frame_filter></frame_filter>"
    "<source>a.mp4</source></task><dumped>2026-01-01</dumped></meta>"
)


def cvat_track(label: str, frames: range, value: str = "") -> str:
    attribute = f'<attribute name="action">{value}</attribute>' if value else ""
    boxes = "".join(
        f'<box frame="{i}" keyframe="1" outside="{int(i == frames.stop)}" occluded="0" xtl="1"'
        f' ytl="1" xbr="9" ybr="9" z_order="0">{attribute}</box>'
        for i in (*frames, frames.stop)
    )
    return f'<track id="0" label="{label}" source="manual">{boxes}</track>'


CVAT_PROJECT = (
    '<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version><meta><project>'
    "<id>2</id><name>doors</name><tasks><task><id>4</id><name>door</name><size>100</size>"
    "<source>a.mp4</source></task></tasks></project></meta>"
    '<image id="10" name="frame_000010" subset="default" task_id="4"><tag label="open"/></image>'
    "</annotations>"
)


def cvat_video(start: int, step: int, count: int, frames: dict[str, tuple[int, ...]]) -> str:
    """Return an export "CVAT for images" of a video task, as CVAT's `dump_as_cvat_annotation`.

    Args:
        start: first frame of the task in the file.
        step: frame filter.
        count: number of frames of the task.
        frames: frames of the task with each tag, counted from 0 as CVAT's player does.
    """
    images = ""
    for relative in range(count):
        absolute = relative * step + start
        tags = "".join(
            f'<tag label="{label}" source="manual"></tag>'
            for label, numbers in frames.items()
            if relative in numbers
        )
        name = f"frame_{absolute:06d}"
        images += f'<image id="{absolute}" name="{name}" width="64" height="48">{tags}</image>'
    return (
        '<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version><meta><task>'
        f"<id>4</id><name>door</name><size>{count}</size><mode>interpolation</mode>"
        f"<overlap>5</overlap><start_frame>{start}</start_frame>"
        f"<stop_frame>{start + (count - 1) * step}</stop_frame>"
        f"<frame_filter>{f'step={step}' if step > 1 else ''}</frame_filter>"
        "<original_size><width>64</width><height>48</height></original_size>"
        "<source>a.mp4</source></task><dumped>2026-01-01</dumped></meta>"
        f"{images}</annotations>"
    )


VIA = {
    "project": {"pid": "__VIA_PROJECT_ID__", "pname": "door", "vid_list": ["1"]},
    "config": {"file": {"loc_prefix": {"1": ""}}},
    "attribute": {
        "1": {
            "aname": "TEMPORAL-SEGMENTS",
            "anchor_id": "FILE1_Z2_XY0",
            "type": 4,
            "options": {"0": "open", "1": "close"},
            "default_option_id": "0",
        }
    },
    "file": {"1": {"fid": "1", "fname": "a.mp4", "type": 4, "loc": 1, "src": "a.mp4"}},
    "metadata": {
        "1_x": {"vid": "1", "flg": 0, "z": [1.0, 3.0], "xy": [], "av": {"1": "0"}},
        "1_y": {"vid": "1", "flg": 0, "z": [4.0, 6.0], "xy": [], "av": {"1": "1"}},
    },
    "view": {"1": {"fid_list": ["1"]}},
}
LABEL_STUDIO_CSV = (
    '"annotation_id","annotator","choice","created_at","id","lead_time","updated_at","video"\n'
    '7,"a@b.c","open","2026-01-01T10:00:00.5Z",1,3.2,"2026-01-01T10:00:00.5Z","/data/a.mp4"\n'
)
JSON_MIN = [
    {
        "video": "/data/upload/1/3d3ad63e-a.mp4",
        "fps": 10,
        "id": 1,
        "timeline": [
            {"ranges": [{"start": 11, "end": 30}], "timelinelabels": ["open"]},
            {"ranges": [{"start": 41, "end": 60}], "timelinelabels": ["close"]},
        ],
        "annotator": 1,
        "annotation_id": 7,
        "created_at": "2026-01-01T10:00:00.5Z",
    },
    {"video": "/data/upload/1/b.mp4", "id": 2, "annotator": 1, "annotation_id": 8},
]
JSONL = """{"video": "a.mp4", "label": "open", "start": 1, "end": 3}

{"video": "a.mp4", "label": "close", "start": 4, "end": 6}
"""
CREATE_ML = [
    {"videoPath": "a.mp4", "label": "open", "startTime": 1, "endTime": 3},
    {"videoPath": "a.mp4", "label": "close", "startTime": 4, "endTime": "0:06"},
]


@pytest.mark.parametrize(
    ("name", "file", "content"),
    [
        ("table", "x.csv", "video,label,start,end\na.mp4,open,1,3\na.mp4,close,4,6\n"),
        ("table", "x.csv", "\ufeffvideo;label;start;end\r\na.mp4;open;1;3\r\na.mp4;close;4;6\r\n"),
        (
            "table",
            "x.tsv",
            "label\tpath\tt_start\tt_end\nopen\ta\t00:01\t3\nclose\ta\t4\t0:00:06\n",
        ),
        (
            "table",
            "x.csv",
            'Label,File Name,"Start",End\n"open",videos/a.mp4,1,3\nclose,a.mp4,4,6\n',
        ),
        (
            "table",
            "x.csv",
            "video,label,start_frame,end_frame,fps\na,open,10,29,10\na,close,40,59,\n",
        ),
        ("jsonl", "x.jsonl", JSONL),
        ("activitynet", "x.json", ACTIVITYNET),
        ("labelstudio", "x.json", label_studio({"fps": 10})),
        ("labelstudio", "x.json", label_studio({"frameRate": "0.1"})),
        ("labelstudio", "x.json", JSON_MIN),
        ("labelstudio", "x.json", label_studio(framesCount=100, duration=10.0)),
        ("cvat", "x.xml", CVAT_HEAD.format(size=100, stop=99) + CVAT_TAGS + "</annotations>"),
        (
            "cvat",
            "x.xml",
            CVAT_HEAD.format(size=100, stop=99)
            + cvat_track("open", range(10, 30))
            + cvat_track("door", range(40, 60), "close")
            + "</annotations>",
        ),
        ("createml", "x.json", CREATE_ML),
        ("via", "x.json", VIA),
    ],
)
def test_segments_of_every_format(root: Path, name: str, file: str, content: object) -> None:
    path = write(root / file, content)
    assert detect_format(path) == name
    index = open_index(path)
    assert index.format == name
    assert name in str(index)
    assert [(v, label) for v, label, *_ in rows(index)] == [row[:2] for row in TIMED]
    for (_, _, start_s, end_s), (_, _, start, end) in zip(rows(index), TIMED, strict=True):
        assert start_s == pytest.approx(start, abs=1e-3)
        assert end_s == pytest.approx(end, abs=1e-3)


def test_whole_videos(root: Path) -> None:
    lines = write(root / "list.txt", "a.mp4 0\nvideos/b c%20é.mp4 1\n")
    assert detect_format(lines) == "lines"
    assert rows(open_index(lines)) == [
        ("a.mp4", "0", None, None),
        ("b c%20é.mp4", "1", None, None),
    ]
    choices = [
        {
            "data": {"video": "/data/local-files/?d=videos%2Fa.mp4"},
            "annotations": [{"result": [{"type": "choices", "value": {"choices": ["open"]}}]}],
        }
    ]
    assert rows(open_index(write(root / "ls.json", choices))) == [("a.mp4", "open", None, None)]


def test_heads_are_known_by_all_names_of_the_columns(root: Path) -> None:
    for head in ("video,target", "Path;Label Name", "video,label-name", '"id","choice"'):
        path = write(root / "x.csv", f"{head}\na.mp4,open\n")
        assert detect_format(path) == "table", head
    path = write(root / "labels.csv", LABEL_STUDIO_CSV)
    assert detect_format(path) == "table"
    assert rows(open_index(path)) == [("a.mp4", "open", None, None)]
    assert detect_format(write(root / "list.csv", "a.mp4,open\n")) == "lines"


@pytest.mark.parametrize("mark", [" ", ",", ";", "\t"])
def test_paths_of_lines_may_hold_separators(tmp_path: Path, mark: str) -> None:
    make_video(tmp_path / "a.mp4", 20)
    make_video(tmp_path / "a, b; c.mp4", 20)
    path = write(tmp_path / "list.txt", f"a, b; c.mp4{mark}0\na.mp4{mark}1\n")
    assert rows(open_index(path)) == [
        ("a, b; c.mp4", "0", None, None),
        ("a.mp4", "1", None, None),
    ]


@pytest.mark.parametrize(("start", "step", "count"), [(20, 1, 80), (5, 3, 32), (7, 10, 10)])
def test_frames_of_cvat_are_those_of_the_file(
    root: Path, start: int, step: int, count: int
) -> None:
    spans = {"open": range(2, 5), "close": range(6, 10 if count == 10 else 8)}
    tags = {label: tuple(numbers) for label, numbers in spans.items()}
    index = open_index(write(root / "x.xml", cvat_video(start, step, count, tags)))
    expected = []
    for label, numbers in spans.items():
        first, stop = start + numbers.start * step, start + numbers.stop * step
        last = start + (count - 1) * step
        expected.append((label, first / FPS, min(stop, last + 1) / FPS))
    found = [(label, start_s, end_s) for _, label, start_s, end_s in rows(index)]
    assert found == [(n, pytest.approx(s, abs=1e-3), pytest.approx(e, abs=1e-3))
                     for n, s, e in expected]  # fmt: skip


def test_tracks_of_a_stepped_task_are_one_span(root: Path) -> None:
    head = CVAT_HEAD.format(size=32, stop=98).replace(
        "<frame_filter></frame_filter>", "<frame_filter>step = 3</frame_filter>"
    )
    boxes = "".join(
        f'<box frame="{i}" keyframe="1" outside="{int(i == 35)}" occluded="0" xtl="1.00" ytl="1.00"'
        ' xbr="9.00" ybr="9.00" z_order="0"></box>'
        for i in range(5, 38, 3)
        if i <= 35
    )
    track = f'<track id="0" label="open" source="manual">{boxes}</track>'
    index = open_index(write(root / "x.xml", f"{head}{track}</annotations>"))
    assert rows(index) == [("a.mp4", "open", pytest.approx(0.5), pytest.approx(3.5))]


def test_an_archive_of_cvat_is_read_as_downloaded(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = root / "task_4_dataset.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("annotations.xml", cvat_video(5, 3, 32, {"open": (0, 1, 2)}))
    assert detect_format(path) == "cvat"
    assert rows(open_index(path)) == [("a.mp4", "open", pytest.approx(0.5), pytest.approx(1.4))]

    # The limit is that of the content, not of the archive.
    monkeypatch.setattr("gasmcast.data.formats.cvat.MAX_BYTES", path.stat().st_size + 100)
    with pytest.raises(UsageError, match=r"annotations\.xml is larger than"):
        read_annotations(path, "cvat")


@pytest.mark.parametrize("content", [b"PK\x05\x06" + bytes(18), b"PK\x03\x04 and more"])
def test_other_archives_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"without annotations\.xml|is not XML"):
        open_index(path)


def test_a_damaged_archive_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("annotations.xml", "<annotations></annotations>" * 9)
        archive.writestr("é.xml", "")
    content = path.read_bytes()

    # A name that is not UTF-8, and compressed data that is wrong.
    path.write_bytes(content.replace("é".encode(), b"\xff\xff"))
    with pytest.raises(UsageError, match="cannot be unpacked"):
        open_index(path)
    path.write_bytes(content[:45] + bytes(9) + content[54:])
    with pytest.raises(UsageError, match="cannot be unpacked"):
        open_index(path)


def test_a_split_of_label_studio_is_read(root: Path) -> None:
    index = open_index(write(root / "x.json", label_studio({"fps": 10, "split": "val"})))
    assert {clip.split for clip in index.clips} == {"validation"}
    assert not index.is_split


def test_kinetics_is_found_in_folders_of_classes(tmp_path: Path) -> None:
    make_video(tmp_path / "air drumming/abc_000005_000015.mp4", 20)
    make_video(tmp_path / "bee_keeping/def_000001_000011.mp4", 20)
    head = "label,youtube_id,time_start,time_end,split\n"
    lines = "air drumming,abc,5,15,train\nbee keeping,def,1,11,val\n"
    assert rows(open_index(write(tmp_path / "k.csv", head + lines))) == [
        ("abc_000005_000015.mp4", "air drumming", None, None),
        ("def_000001_000011.mp4", "bee keeping", None, None),
    ]


def test_kinetics_names_cut_and_whole_videos(tmp_path: Path) -> None:
    make_video(tmp_path / "abc_000005_000015.mp4", 20)
    make_video(tmp_path / "d-e_.mp4", 100)
    path = write(
        tmp_path / "k.csv",
        "label,youtube_id,time_start,time_end,split\nopen,abc,5,15,train\nclose,d-e_,2,8,val\n",
    )
    assert rows(open_index(path)) == [
        ("abc_000005_000015.mp4", "open", None, None),
        ("d-e_.mp4", "close", 2.0, 8.0),
    ]


@pytest.mark.parametrize("split", ["val", "valid", "validation"])
def test_folders_per_class_with_and_without_splits(tmp_path: Path, split: str) -> None:
    for place in ("train/open", "train/close", f"{split}/open", f"{split}/close"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "1.mp4").write_bytes(b"x")
    assert detect_format(tmp_path) == "folders"
    assert read_labels(tmp_path).names == ("close", "open")
    assert [s.id for s in read_split(tmp_path, "validation")] == [
        f"{split}/close/1.mp4",
        f"{split}/open/1.mp4",
    ]
    assert not has_split(tmp_path, "test")

    # One level deeper the same folders are classes without a split: one is made.
    made = open_index(tmp_path / "train")
    assert made.is_split
    assert {clip.label for clip in made.clips} == {"close", "open"}


def test_a_file_per_split(root: Path) -> None:
    write(root / "train.csv", "video,label\na.mp4,open\n")
    write(root / "my_val.csv", "video,label\nb c%20é.mp4,open\n")
    assert [s.id for s in read_split(root, "train")] == ["videos/a.mp4"]
    assert [s.id for s in read_split(root, "validation")] == ["videos/b c%20é.mp4"]


def test_a_format_can_be_forced(root: Path) -> None:
    path = write(root / "x.csv", "a.mp4,label\n")
    assert detect_format(path) == "table"
    read_as("lines")
    try:
        assert rows(open_index(path)) == [("a.mp4", "label", None, None)]
    finally:
        read_as()
    with pytest.raises(UsageError, match="no format 'csv'"):
        read_as("csv")


BIG = "video,label,start,end\n"


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("x.csv", "video,label\na.mp4,Open\nb c%20é,open\n", r"line 3: .*'open' differs .*'Open'"),
        ("x.csv", BIG + "a.mp4,open,1,3\na.mp4,open,5,4\n", r"line 3: .* ends at 4 s"),
        ("x.csv", BIG + "a.mp4,open,-1,3\n", r"line 2: .* starts at -1 s"),
        ("x.csv", BIG + "a.mp4,open,nan,3\n", r"line 2: .* no time in the file"),
        ("x.csv", BIG + "a.mp4,open,one,3\n", r"line 2: start 'one' is no time"),
        ("x.csv", BIG + "a.mp4,open,1,4\na.mp4,close,3,6\n", r"line 3: 'close' overlaps 'open'"),
        ("x.csv", BIG + "a.mp4,open,1,3\na.mp4,open,1,3\n", r"line 3: .* listed twice .*line 2"),
        ("x.csv", "video,label\na.mp4,open\na.mp4,close\n", r"line 3: .*'close' here and 'open'"),
        ("x.csv", "video,label\na.mp4\n", r"line 2: 1 cells, but the head has 2"),
        ("x.csv", "video,label\na.mp4,\n", r"line 2: the label is empty"),
        ("x.csv", "video,label\n", "lists no clips"),
        ("x.csv", "", "is empty"),
        ("x.csv", "videos,label\na.mp4,open\n", "no column 'video' among videos, label"),
        ("x.csv", "video,label,split\na.mp4,open,tain\n", r"line 2: 'tain' is no split"),
        ("x.csv", "video,label,split\na.mp4,open,train\nb c%20é,open,\n", "line 3: .* no split"),
        ("x.csv", "video,label\nnone.mp4,open\nno.mp4,close\n", "None of the . videos"),
        ("x.jsonl", '{"video": "a", "label": ["x", "y"]}\n', r"line 1: label \['x', 'y'\]"),
        ("x.jsonl", '{"video": "a", "label": "x"}\n{"video"\n', "line 2: not JSON"),
        ("x.json", "[]", "lists no clips"),
        ("x.json", [{"id": "1", "label": "a", "template": "b"}], "one split of a set"),
        ("x.json", '{"a": 1, "b": \n2}', "no format that is known"),
        ("x.json", '[{"a": 1}]', "no column 'video'"),
        ("x.json", '{"database": {"a": {"annotations": [{"segment": [1, 2]}]}}}', "has no label"),
        (
            "x.json",
            label_studio(framesCount=300, duration=10.0),
            r"counts 30\.00 frames",
        ),
        ("x.json", label_studio({"fps": 24}), r"counts 24\.00 frames"),
        ("x.json", label_studio(), r'Label Studio is 24\.00 .* has 10\.00\. .* put "fps": 10 into'),
        ("x.json", label_studio({"fps": "fast"}), "entry 1: fps 'fast' is no number"),
        ("x.json", label_studio({"fps": 0}), "entry 1: fps is 0"),
        ("x.json", label_studio({"fps": 10, "split": "tain"}), "entry 1: 'tain' is no split"),
        ("x.json", label_studio({"fps": 10}, timelinelabels=[None]), "entry 1: .* has no class"),
        ("x.json", label_studio(timelinelabels=["x", "y"]), "several at a time"),
        (
            "x.xml",
            CVAT_HEAD.format(size=900, stop=899) + CVAT_TAGS + "</annotations>",
            "has 900 frames, but",
        ),
        ("x.xml", CVAT_HEAD.format(size=100, stop=99) + "</annotations>", "lists no clips"),
        ("x.xml", CVAT_PROJECT, "is the export of a CVAT project"),
        ("x.csv", LABEL_STUDIO_CSV.replace("choice", "timeline"), "no column 'label'"),
        ("x.csv", LABEL_STUDIO_CSV.replace('"open"', '"[{""ranges"": []}]"'), "line 2: .* is JSON"),
        ("x.xml", "<annotations><meta>", "is not XML"),
        ("x.xml", '<!DOCTYPE a [<!ENTITY b "c">]><annotations/>', "defines a document type"),
    ],
)
def test_what_is_wrong_is_one_sentence_with_its_place(
    root: Path, file: str, content: object, says: str
) -> None:
    path = write(root / file, content)
    with pytest.raises(UsageError, match=says) as caught:
        read_split(path, "train")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("head", ["video,label\n", "", '{"video": "a", "label": "b"}\n'])
def test_other_encodings_are_named_by_line(root: Path, head: str) -> None:
    path = root / "x.csv"
    path.write_bytes((head + "a.mp4,open\n" * 9000 + "a.mp4,\xd6ffnen\n").encode("latin-1"))
    line = 9001 + bool(head)
    with pytest.raises(UsageError, match=rf"line {line}: not text in UTF-8|line 2: not JSON"):
        open_index(path)


def test_wrong_folders(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    with pytest.raises(UsageError, match=r"class folder .*open has no videos"):
        read_labels(tmp_path)
    (tmp_path / "x.csv").write_text("video,label\n")
    (tmp_path / "y.csv").write_text("video,label\n")
    with pytest.raises(UsageError, match=r"several annotation files: x\.csv, y\.csv"):
        read_labels(tmp_path)


def test_a_large_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    with path.open("wb") as stream:
        stream.write(b'{"database": {}}')
        stream.truncate(2 << 30)
    with pytest.raises(UsageError, match=r"has 2\.1 GB"):
        open_index(path)


def test_missing_videos_are_counted_and_named(root: Path) -> None:
    path = write(root / "x.csv", "video,label\na.mp4,open\nnone.mp4,close\n")
    samples = read_split(path, "train")
    with pytest.raises(UsageError, match=r"1 of 2 videos .* none\.mp4 \(.*x\.csv, line 3\)"):
        usable(samples, path)


def test_segments_beyond_the_end_are_named(root: Path) -> None:
    path = write(root / "x.csv", BIG + "a.mp4,open,1,3\na.mp4,open,9,60\n")
    found = r"line 3: the annotated span ends at 60\.00 s, but .* 10\.00 s"
    with pytest.raises(UsageError, match=found):
        usable(read_split(path, "train"), path)


def test_names_of_all_formats_are_known() -> None:
    assert FORMATS[0] == "ssv2"
    assert len(set(FORMATS)) == len(FORMATS) == 10


def test_folders_in_class_folders_are_sources(tmp_path: Path) -> None:
    for name in ("open", "close"):
        for day in ("monday", "tuesday", "friday"):
            for number in range(2):
                path = tmp_path / name / day / f"{number}.mp4"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"x")
        (tmp_path / name / "alone.mp4").write_bytes(b"x")
    index = open_index(tmp_path)
    sources = {clip.origin for clip in index.clips}
    alone = {str(tmp_path / name / "alone.mp4") for name in ("open", "close")}
    assert sources == {"monday", "tuesday", "friday"} | alone


def test_a_test_split_may_lack_labels(root: Path) -> None:
    path = write(root / "x.csv", "video,label,split\na.mp4,open,train\nb c%20é.mp4,,test\n")
    assert read_split(path, "test")[0].label is None
    assert read_labels(path).names == ("open",)
