"""Annotated long videos: clips of every format by video, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gasmcast.cli import app
from gasmcast.data.reading import read_as
from gasmcast.data.timeline import read_timeline
from gasmcast.errors import UsageError
from tests.conftest import write_video

SMALL = {"fps": 10, "size": (64, 48)}


@pytest.fixture(autouse=True)
def options() -> Iterator[None]:
    read_as()
    yield
    read_as()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_video(tmp_path / "v_one.mp4", 6.0, **SMALL)
    return tmp_path


def write(folder: Path, annotations: list[list], **entry: object) -> Path:
    rows = [{"segment": [a, b], "label": label} for a, b, label in annotations]
    entry = {"subset": "validation", **entry}
    tree = {"version": "x", "database": {"one": {"annotations": rows, **entry}}}
    (folder / "long.json").write_text(json.dumps(tree))
    return folder / "long.json"


def found(data: Path, split="validation") -> list[tuple[str, list[tuple[float, float, str]]]]:
    """Return name and actions of each video, the times in tenths of a second."""
    return [
        (v.path.name, [(round(a.start_s, 1), round(a.end_s, 1), a.label) for a in v.actions])
        for v in read_timeline(data, split)
    ]


def test_activitynet_is_read_and_unlabeled_time_is_what_is_left(folder):
    file = write(folder, [[4, 5, "b"], [1, 2, "a"]], duration=6.0)
    (video,) = read_timeline(file)
    assert [(a.start_s, a.end_s, a.label) for a in video.actions] == [(1, 2, "a"), (4, 5, "b")]
    assert video.unlabeled() == ((0.0, 1.0), (2.0, 4.0), (5.0, pytest.approx(6.0, abs=0.1)))
    assert video.unlabeled(margin_s=0.5)[1] == (2.5, 3.5)


def as_csv(folder: Path) -> Path:
    rows = ["video,label,start,end,split", "v_one.mp4,b,4,5,val", "v_one.mp4,a,1,2,val"]
    (folder / "clips.csv").write_text("\n".join(rows))
    return folder / "clips.csv"


def as_activitynet(folder: Path) -> Path:
    return write(folder, [[4, 5, "b"], [1, 2, "a"]])


def as_folder_of_files(folder: Path) -> Path:
    as_csv(folder).rename(folder / "val.csv")
    write_video(folder / "v_two.mp4", 2.0, **SMALL)
    (folder / "train.csv").write_text("video,label,start,end\nv_two.mp4,a,0,1\nv_two.mp4,b,1,2\n")
    return folder


def as_jsonl(folder: Path) -> Path:
    rows = [("b", 4, 5), ("a", 1, 2)]
    lines = [
        json.dumps({"video": "v_one.mp4", "label": label, "start": s, "end": e, "split": "val"})
        for label, s, e in rows
    ]
    (folder / "clips.jsonl").write_text("\n".join(lines))
    return folder / "clips.jsonl"


def as_label_studio(folder: Path) -> Path:
    results = [
        {
            "type": "timelinelabels",
            "from_name": "timeline",
            "to_name": "video",
            "value": {"ranges": [{"start": first, "end": last}], "timelinelabels": [label]},
        }
        for first, last, label in ((41, 50, "b"), (11, 20, "a"))
    ]
    data = {"video": "v_one.mp4", "fps": 10}
    task = {"id": 1, "data": data, "annotations": [{"result": results}]}
    (folder / "tasks.json").write_text(json.dumps([task]))
    return folder / "tasks.json"


@pytest.mark.parametrize(
    "annotate", [as_csv, as_activitynet, as_folder_of_files, as_jsonl, as_label_studio]
)
def test_spans_of_every_format_are_the_actions_of_their_video(
    folder: Path, annotate: Callable[[Path], Path]
) -> None:
    assert found(annotate(folder)) == [("v_one.mp4", [(1, 2, "a"), (4, 5, "b")])]


def class_folders(root: Path) -> Path:
    for split in ("train", "val"):
        for name in ("nod", "wave"):
            (root / split / name).mkdir(parents=True)
            write_video(root / split / name / f"{split}.mp4", 3.0, **SMALL)
    return root


def ssv2_folder(root: Path) -> Path:
    (root / "videos").mkdir(parents=True)
    (root / "labels.json").write_text(json.dumps({"nod": "0", "wave": "1"}))
    for split, ids in (("train", "12"), ("validation", "34")):
        rows = [{"id": i, "template": t} for i, t in zip(ids, ("nod", "[wave]"), strict=True)]
        (root / f"{split}.json").write_text(json.dumps(rows))
        for name in ids:
            write_video(root / "videos" / f"{name}.mp4", 3.0, **SMALL)
    return root


def activitynet_of_whole_videos(root: Path) -> Path:
    out = root.parent / "whole.json"
    arguments = ["data", "convert", str(class_folders(root)), str(out), "--to", "activitynet"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return out


@pytest.mark.parametrize("make", [class_folders, ssv2_folder, activitynet_of_whole_videos])
def test_a_whole_video_is_an_action_over_all_of_it(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    actions = [actions for _, actions in found(make(tmp_path / "set"))]
    assert actions == [[(0, 3, "nod")], [(0, 3, "wave")]]


def test_a_stated_format_wins_over_the_detected_one(folder: Path) -> None:
    # Without a head that names a label, the file is taken for lines of `path label`.
    (folder / "spans.txt").write_text("video,name,start,end\nv_one.mp4,a,1,2\n")
    with pytest.raises(UsageError):
        read_timeline(folder / "spans.txt")
    as_csv(folder).rename(folder / "spans.txt")
    read_as("table")
    assert found(folder / "spans.txt") == [("v_one.mp4", [(1, 2, "a"), (4, 5, "b")])]
    read_as("jsonl")
    with pytest.raises(UsageError):
        read_timeline(folder / "spans.txt")


def test_videos_without_actions_are_kept_and_those_of_other_splits_are_not(folder: Path) -> None:
    for name in ("empty", "unseen"):
        write_video(folder / f"{name}.mp4", 2.0, **SMALL)
    database = {
        "one": {"subset": "validation", "annotations": [{"segment": [1, 2], "label": "a"}]},
        "empty": {"subset": "validation", "annotations": []},
        "unseen": {"subset": "testing", "annotations": []},
    }
    file = folder / "long.json"
    file.write_text(json.dumps({"database": database}))
    assert found(file) == [("v_one.mp4", [(1, 2, "a")]), ("empty.mp4", [])]

    # Missing videos without actions count as well.
    (folder / "empty.mp4").unlink()
    file.write_text(json.dumps({"database": database}) + "\n")
    with pytest.raises(UsageError, match="1 of 2 videos are not there"):
        read_timeline(file)


def test_a_set_of_one_video_without_splits_is_taken_whole(folder: Path) -> None:
    file = write(folder, [[1, 2, "a"], [4, 5, "b"]], subset="")
    assert found(file) == [("v_one.mp4", [(1, 2, "a"), (4, 5, "b")])]


def test_a_video_has_the_actions_of_all_splits(folder: Path) -> None:
    rows = ["video,label,start,end,split", "v_one.mp4,a,1,2,val", "v_one.mp4,b,4,5,train"]
    (folder / "clips.csv").write_text("\n".join(rows))
    with pytest.raises(UsageError, match="in both train and validation"):
        read_timeline(folder / "clips.csv")
    read_as(allow_leak=True)
    assert found(folder / "clips.csv") == [("v_one.mp4", [(1, 2, "a"), (4, 5, "b")])]


@pytest.mark.parametrize(
    ("annotations", "message"),
    [
        ([[2, 1, "a"]], "ends at 1 s, but starts at 2 s"),
        ([[2, 2, "a"]], "ends at 2 s, but starts at 2 s"),
        ([[-1, 1, "a"]], "starts at -1 s"),
        ([[1, 60, "a"]], r"ends at 60.00 s, but .*v_one.mp4 at 6.0"),
        ([[1, 3, "a"], [2, 4, "b"]], r"'b' overlaps 'a' .* by 1.00 s"),
        ([["x", 3, "a"]], "start"),
    ],
)
def test_times_that_cannot_be(folder, annotations, message):
    with pytest.raises(UsageError, match=message):
        read_timeline(write(folder, annotations))


def test_one_span_beyond_its_end_among_many_is_refused_as_well(folder: Path) -> None:
    spans = [[i / 50, (i + 1) / 50, "a"] for i in range(150)]
    with pytest.raises(UsageError, match=r"long.json, entry 1: .* ends at 9 s, and v_one.mp4"):
        read_timeline(write(folder, [*spans, [5, 9, "a"]]))


def test_files_that_are_not_this_format(folder):
    with pytest.raises(UsageError, match="There is no data set"):
        read_timeline(folder / "absent.json")
    (folder / "a.json").write_text("[]")
    with pytest.raises(UsageError, match="lists no clips"):
        read_timeline(folder / "a.json")
    with pytest.raises(UsageError, match="no clips of the split validation"):
        read_timeline(write(folder, [[1, 2, "a"]], subset="testing"))
    (folder / "v_one.mp4").unlink()
    with pytest.raises(UsageError, match=r"None of the 1 videos"):
        read_timeline(write(folder, [[1, 2, "a"]]))
