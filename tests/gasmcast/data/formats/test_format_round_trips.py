"""`gasmcast data convert` keeps clips, classes, times and splits of every format that it reads.

The exports of CVAT and Label Studio are made as the tools write them: CVAT's by
`dump_as_cvat_annotation` and `dump_as_cvat_interpolation` of a task that starts at frame 8 of the
file and takes every third frame, Label Studio's with regions that hold no more than their ranges.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gasmcast.cli import app
from gasmcast.data.formats.detect import detect_format
from gasmcast.data.reading import open_any_index
from tests.conftest import write_video

FPS = 20
FRAMES = 100
NAMES = ("a.mp4", "b.mp4")
SPANS = (("open", 1.0, 1.6), ("close", 2.2, 3.1))
"""Spans of each video in seconds: from frames 20 and 44 on, of 12 and 18 frames."""
START, STEP = 8, 3
TASK_FRAMES = (FRAMES - START - 1) // STEP + 1
TASK_STOP = START + (TASK_FRAMES - 1) * STEP


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of two videos of 5 s at 20 frames per second."""
    folder = tmp_path_factory.mktemp("set") / "videos"
    folder.mkdir()
    for seed, name in enumerate(NAMES):
        write_video(folder / name, FRAMES / FPS, FPS, seed=seed)
    return folder


def task_frames(start_s: float, end_s: float) -> list[int]:
    """Return the numbers that CVAT's export gives to the frames of a span."""
    return [
        relative * STEP + START
        for relative in range(TASK_FRAMES)
        if round(start_s * FPS) <= relative * STEP + START < round(end_s * FPS)
    ]


def cvat(body: str) -> str:
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n  <meta>'
        f"<task><id>4</id><name>door</name><size>{TASK_FRAMES}</size><mode>interpolation</mode>"
        "<overlap>5</overlap><bugtracker></bugtracker><created>2026-01-01 10:00:00</created>"
        "<updated>2026-01-01 10:00:00</updated><subset>default</subset>"
        f"<start_frame>{START}</start_frame><stop_frame>{TASK_STOP}</stop_frame>"
        f"<frame_filter>step={STEP}</frame_filter><segments><segment><id>3</id><start>0</start>"
        f"<stop>{TASK_FRAMES - 1}</stop><url>http://x/api/jobs/3</url></segment></segments>"
        "<original_size><width>96</width><height>64</height></original_size>"
        f"<source>a.mp4</source></task><dumped>2026-01-01</dumped></meta>{body}</annotations>\n"
    )


def cvat_images() -> str:
    images = ""
    for frame in range(START, TASK_STOP + 1, STEP):
        tags = "".join(
            f'<tag label="{label}" source="manual"></tag>'
            for label, start_s, end_s in SPANS
            if frame in task_frames(start_s, end_s)
        )
        images += (
            f'<image id="{frame}" name="frame_{frame:06d}" width="96" height="64">{tags}</image>'
        )
    return cvat(images)


def cvat_tracks() -> str:
    tracks = ""
    for number, (label, start_s, end_s) in enumerate(SPANS):
        frames = task_frames(start_s, end_s)
        boxes = "".join(
            f'<box frame="{frame}" keyframe="1" outside="{int(frame > frames[-1])}" occluded="0"'
            ' xtl="1.00" ytl="1.00" xbr="9.00" ybr="9.00" z_order="0"></box>'
            for frame in (*frames, frames[-1] + STEP)
        )
        tracks += f'<track id="{number}" label="{label}" source="manual">{boxes}</track>'
    return cvat(tracks)


def label_studio() -> list[dict[str, object]]:
    return [
        {
            "id": number,
            "data": {"video": f"/data/upload/1/3d3ad63e-{name}", "fps": FPS},
            "annotations": [
                {
                    "id": number,
                    "was_cancelled": False,
                    "result": [
                        {
                            "id": label,
                            "from_name": "timeline",
                            "to_name": "video",
                            "type": "timelinelabels",
                            "origin": "manual",
                            "value": {
                                "ranges": [
                                    {
                                        "start": round(start_s * FPS) + 1,
                                        "end": round(end_s * FPS),
                                    }
                                ],
                                "timelinelabels": [label],
                            },
                        }
                        for label, start_s, end_s in SPANS
                    ],
                }
            ],
            "predictions": [],
        }
        for number, name in enumerate(NAMES, 1)
    ]


def label_studio_min() -> list[dict[str, object]]:
    return [
        {
            "video": f"/data/upload/1/3d3ad63e-{name}",
            "fps": FPS,
            "id": number,
            "timeline": [
                {
                    "ranges": [{"start": round(start_s * FPS) + 1, "end": round(end_s * FPS)}],
                    "timelinelabels": [label],
                }
                for label, start_s, end_s in SPANS
            ],
            "annotator": 1,
        }
        for number, name in enumerate(NAMES, 1)
    ]


def activitynet() -> dict[str, object]:
    segments = [{"label": label, "segment": [start, end]} for label, start, end in SPANS]
    subsets = ("training", "validation")
    entries = {
        name.removesuffix(".mp4"): {"duration": 5.0, "subset": subset, "annotations": segments}
        for name, subset in zip(NAMES, subsets, strict=True)
    }
    return {"version": "1.3", "taxonomy": [], "database": entries}


def via() -> dict[str, object]:
    numbered = list(enumerate(NAMES, 1))
    return {
        "project": {"pid": "__VIA_PROJECT_ID__", "pname": "door", "vid_list": ["1", "2"]},
        "config": {"file": {"loc_prefix": {"1": ""}}},
        "attribute": {"1": {"aname": "action", "type": 4, "options": {"0": "open", "1": "close"}}},
        "file": {str(i): {"fid": str(i), "fname": name, "src": name} for i, name in numbered},
        "metadata": {
            f"{i}_{value}": {"vid": str(i), "z": [start, end], "xy": [], "av": {"1": str(value)}}
            for i, _ in numbered
            for value, (_, start, end) in enumerate(SPANS)
        },
        "view": {str(i): {"fid_list": [str(i)]} for i, _ in numbered},
    }


def objects(**names: str) -> list[dict[str, object]]:
    """Return one object for each span; `names` are those of its keys."""
    return [
        {names["video"]: name, "label": label, names["start"]: start, names["end"]: end}
        for name in NAMES
        for label, start, end in SPANS
    ]


def table() -> str:
    lines = [f"{name},{label},{start},{end}" for name in NAMES for label, start, end in SPANS]
    return "\n".join(["video,label,start,end", *lines])


def jsonl() -> str:
    return "\n".join(json.dumps(row) for row in objects(video="video", start="start", end="end"))


def create_ml() -> list[dict[str, object]]:
    return objects(video="videoPath", start="startTime", end="endTime")


SPAN_SOURCES: dict[str, tuple[str, str, Callable[[], object]]] = {
    "table": ("table", "in.csv", table),
    "jsonl": ("jsonl", "in.jsonl", jsonl),
    "createml": ("createml", "in.json", create_ml),
    "activitynet": ("activitynet", "in.json", activitynet),
    "labelstudio": ("labelstudio", "in.json", label_studio),
    "labelstudio JSON-MIN": ("labelstudio", "in.json", label_studio_min),
    "via": ("via", "in.json", via),
    "cvat images": ("cvat", "in.xml", cvat_images),
    "cvat tracks": ("cvat", "in.xml", cvat_tracks),
}
"""Format, file and content of each source of annotated spans."""


def convert(source: Path, out: Path, target: str) -> None:
    result = CliRunner().invoke(app, ["data", "convert", str(source), str(out), "--to", target])
    assert result.exit_code == 0, result.output


def clips(path: Path) -> list[tuple[object, ...]]:
    """Return what a conversion keeps of the clips of a data set."""
    return [
        (
            Path(clip.video).resolve(),
            clip.label,
            None if clip.start_s is None else round(clip.start_s, 3),
            None if clip.end_s is None else round(clip.end_s, 3),
            clip.split,
        )
        for clip in open_any_index(path).clips
    ]


def save(path: Path, content: object) -> Path:
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("target", ["csv", "activitynet", "labelstudio"])
@pytest.mark.parametrize("name", list(SPAN_SOURCES))
def test_spans_survive_the_conversion(videos: Path, tmp_path: Path, name: str, target: str) -> None:
    (tmp_path / "videos").symlink_to(videos)
    data_format, file, content = SPAN_SOURCES[name]
    source = save(tmp_path / file, content())
    assert detect_format(source) == data_format

    # The times are those of the annotation: to the frame of the task, in a task of CVAT.
    before = clips(source)
    names = NAMES[:1] if data_format == "cvat" else NAMES
    tolerance_s = STEP / FPS if data_format == "cvat" else 1e-3
    expected = [(videos / file, *span) for file in names for span in SPANS]
    assert [row[:2] for row in before] == [row[:2] for row in expected]
    for row, (_, _, start_s, end_s) in zip(before, expected, strict=True):
        assert row[2:4] == pytest.approx((start_s, end_s), abs=tolerance_s)
    if data_format == "cvat":
        frames = [task_frames(start_s, end_s) for _, start_s, end_s in SPANS]
        edges = [(first / FPS, (last + STEP) / FPS) for first, *_, last in frames]
        assert [row[2:4] for row in before] == [pytest.approx(edge, abs=1e-3) for edge in edges]

    out = tmp_path / ("out.csv" if target == "csv" else "out.json")
    convert(source, out, target)
    assert clips(out) == before


@pytest.mark.parametrize("target", ["csv", "ssv2", "activitynet", "labelstudio"])
@pytest.mark.parametrize("name", ["lines", "jsonl", "labelstudio"])
def test_whole_videos_survive_the_conversion(
    videos: Path, tmp_path: Path, name: str, target: str
) -> None:
    (tmp_path / "videos").symlink_to(videos)
    labels = dict(zip(NAMES, ("open", "close"), strict=True))
    lines = "".join(f"{file} {label}\n" for file, label in labels.items())
    rows = "".join(
        json.dumps({"video": file, "label": label}) + "\n" for file, label in labels.items()
    )
    tasks = [
        {
            "data": {"video": f"/data/upload/1/3d3ad63e-{file}"},
            "annotations": [{"result": [{"type": "choices", "value": {"choices": [label]}}]}],
        }
        for file, label in labels.items()
    ]
    file, content = {
        "lines": ("in.txt", lines),
        "jsonl": ("in.jsonl", rows),
        "labelstudio": ("in.json", tasks),
    }[name]
    source = save(tmp_path / file, content)
    assert detect_format(source) == name

    out = tmp_path / {"csv": "out.csv", "ssv2": "out"}.get(target, "out.json")
    convert(source, out, target)
    assert sorted(clips(out), key=str) == sorted(clips(source), key=str)
