"""Which file is a clip's video: sidecars never, two videos are an error, ids as sets write them."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gasmcast.data.annotations import Sample, read_labels, read_split
from gasmcast.data.reading import read_as
from gasmcast.data.set_check import describe_faults
from gasmcast.data.video_files import find_videos
from gasmcast.errors import GasmcastError, UsageError
from gasmcast.labels import Labels

NFC, NFD = "caf\u00e9", "cafe\u0301"


def make_files(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def write_set(
    root: Path, ids: list[Any], encoding: str = "utf-8", labels: Any = None, key: str = "template"
) -> Path:
    names = ["Lifting a", "Turning b"] if labels is None else labels
    root.mkdir(parents=True, exist_ok=True)
    table = {name: i for i, name in enumerate(names)}
    rows = [{"id": clip, key: names[i % 2]} for i, clip in enumerate(ids)]
    for name, tree in (("labels", table), ("train", rows)):
        text = json.dumps(tree, ensure_ascii=False)
        (root / f"{name}.json").write_text(text, encoding=encoding)
    return root


@pytest.mark.parametrize(
    "sidecar",
    ["a.THM", "a.jpg", "a.srt", "a.wav", "a.LRV", "a.json", "a.XMP", "a.png", "a.MP3", "a.part"],
)
@pytest.mark.parametrize("video", ["a.mp4", "a.MTS", "a.264"])
def test_a_sidecar_never_wins(tmp_path: Path, sidecar: str, video: str) -> None:
    for folder in ("videos", "."):
        root = make_files(tmp_path / folder.replace(".", "flat"), f"{folder}/{video}")
        make_files(root, f"{folder}/{sidecar}")
        assert Path(find_videos(root, ["a"])["a"]).name == video


@pytest.mark.parametrize("name", ["a.thm", "a.jpg", "a.wav", "a.srt"])
def test_what_is_no_video_is_none_without_one(tmp_path: Path, name: str) -> None:
    assert find_videos(make_files(tmp_path, name), ["a"]) == {}


def test_an_unknown_ending_may_be_a_video(tmp_path: Path) -> None:
    root = make_files(tmp_path, "a.divx", "b.LRV")
    assert len(find_videos(root, ["a", "b"])) == 2


@pytest.mark.parametrize(
    ("first", "second"),
    [("a.mp4", "a.avi"), ("a.mp4", "videos/a.mp4"), ("a.xyz", "a.divx"), ("a.mp4", "a.MP4")],
)
def test_two_videos_of_one_id_are_named(tmp_path: Path, first: str, second: str) -> None:
    root = make_files(tmp_path, first, second)
    with pytest.raises(UsageError, match="Clip a has two videos") as caught:
        find_videos(root, ["a"])
    assert str(root / first) in str(caught.value)
    assert str(root / second) in str(caught.value)


def test_an_id_with_its_ending_chooses(tmp_path: Path) -> None:
    root = make_files(tmp_path, "videos/a.mp4", "videos/a.avi")
    assert Path(find_videos(root, ["a.avi"])["a.avi"]).name == "a.avi"


def test_a_link_is_no_second_video(tmp_path: Path) -> None:
    root = make_files(tmp_path, "20bn-something-something-v2/a.webm")
    (root / "videos").symlink_to("20bn-something-something-v2")
    (root / "a.mp4").symlink_to("videos/a.webm")
    assert set(find_videos(root, ["a"])) == {"a"}


@pytest.mark.parametrize(
    ("clip", "file"),
    [
        ("a17.mp4", "videos/a17.mp4"),
        ("a17.MP4", "videos/a17.mp4"),
        ("sub/a17", "videos/sub/a17.mp4"),
        ("sub\\a17.mp4", "videos/sub/a17.mp4"),
        ("./a17", "videos/a17.mp4"),
        ("videos/a17.mp4", "videos/a17.mp4"),
        ("38.0", "videos/38.mp4"),
        (38.0, "videos/38.mp4"),
        (38, "videos/38.mp4"),
        ("38.0", "videos/38.0.mp4"),
        ("v1.5", "videos/v1.5.mp4"),
        (NFC, f"videos/{NFD}.mp4"),
        (NFD, f"videos/{NFC}.mp4"),
    ],
)
def test_ids_as_sets_write_them(tmp_path: Path, clip: Any, file: str) -> None:
    root = make_files(write_set(tmp_path, [clip]), file)
    (sample,) = read_split(root, "train")
    assert sample.path is not None
    assert sample.path.samefile(root / file)
    assert sample.id == unicodedata.normalize("NFC", sample.id)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8"])
def test_byte_order_marks(tmp_path: Path, encoding: str) -> None:
    root = make_files(write_set(tmp_path, ["a", "b"], encoding), "a.mp4", "b.mp4")
    assert [sample.label for sample in read_split(root, "train")] == [0, 1]


def test_class_names_are_composed(tmp_path: Path) -> None:
    root = make_files(write_set(tmp_path, ["a"], labels=[NFD, "x"]), "a.mp4")
    (root / "train.json").write_text(json.dumps([{"id": "a", "template": NFC}]))
    assert read_split(root, "train")[0].label == 0
    assert read_labels(root) == Labels([NFC, "x"])


@pytest.mark.parametrize(
    ("ids", "says"),
    [
        (["38", "a", "38"], r"lists clip 38 twice \(entries 1 and 3\)\."),
        (["38", "38"], r"twice \(entries 1 and 2\), as 'Lifting a' and as 'Turning b'"),
        ([38, "38.0"], "as clip 38 and as clip 38.0"),
        ([38, 38.0], "lists clip 38 twice"),
        (["38", "38.mp4"], "as clip 38 and as clip 38.mp4"),
    ],
)
def test_a_clip_that_is_listed_twice_is_named(tmp_path: Path, ids: list[Any], says: str) -> None:
    root = make_files(write_set(tmp_path, ids), "38.mp4", "a.mp4")
    with pytest.raises(UsageError, match=says):
        read_split(root, "train")


def test_folders_of_frames_are_named(tmp_path: Path) -> None:
    root = make_files(write_set(tmp_path, ["38"]), "videos/38/00001.jpg")
    with pytest.raises(UsageError, match="not folders of pictures"):
        read_split(root, "train")


def test_faults_that_do_not_stop_are_told() -> None:
    labels = Labels(["Lifting a", "Turning b"])
    train = [Sample("1", 0, "videos/1.mp4"), Sample("2", 0, "videos/2.mp4")]
    other = [Sample("3", 1, "videos/3.mp4")]
    (missing,) = describe_faults(train, other, labels)
    assert "1 of 2 class has no training clips (Turning b)" in missing
    assert describe_faults([*train, *other], [], labels) == ()


@pytest.mark.parametrize(
    "shared",
    [
        Sample("2.mp4", 0, "videos/2.mp4"),
        Sample("2", 0, "elsewhere/2.mp4"),
        Sample("9", 0, "videos/9.mp4", source="kitchen"),
    ],
)
def test_a_source_in_both_splits_is_an_error_unless_it_is_allowed(shared: Sample) -> None:
    labels = Labels(["Lifting a", "Turning b"])
    train = [Sample("2", 0, "videos/2.mp4"), Sample("4", 1, "videos/4.mp4", source="kitchen")]
    validation = [Sample("3", 1, "videos/3.mp4"), shared]
    with pytest.raises(UsageError, match="1 source is in both train and validation"):
        describe_faults(train, validation, labels)

    read_as(allow_leak=True)
    try:
        (warning,) = describe_faults(train, validation, labels)
    finally:
        read_as()
    assert warning.startswith("WARNING: LEAK ALLOWED")


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=10,
)
ROW = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from(["1", "sub/1", 1, 1.0, "1.mp4"]) | JSON,
        "template": st.sampled_from(["Lifting a", "[Turning] b"]) | JSON,
        "source": JSON,
    },
)
fuzz = settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def check_one_sentence(root: Path) -> None:
    said = ""
    try:
        read_split(root, "train")
    except GasmcastError as error:
        said = str(error)
    assert "\n" not in said
    said.encode()


@fuzz
@given(rows=st.lists(ROW, max_size=3) | JSON)
def test_any_annotations_are_read_or_one_sentence(tmp_path: Path, rows: Any) -> None:
    root = make_files(write_set(tmp_path, ["1"]), "videos/1.mp4")
    (root / "train.json").write_text(json.dumps(rows))
    check_one_sentence(root)


@fuzz
@given(table=st.dictionaries(st.text(max_size=9), st.integers(0, 2) | JSON, max_size=3) | JSON)
def test_any_labels_are_read_or_one_sentence(tmp_path: Path, table: Any) -> None:
    root = make_files(write_set(tmp_path, ["1"]), "videos/1.mp4")
    (root / "labels.json").write_text(json.dumps(table))
    check_one_sentence(root)


@fuzz
@given(content=st.binary(max_size=60), name=st.sampled_from(["labels", "train"]))
def test_any_bytes_are_read_or_one_sentence(tmp_path: Path, content: bytes, name: str) -> None:
    root = make_files(write_set(tmp_path, ["1"]), "videos/1.mp4")
    (root / f"{name}.json").write_bytes(content)
    check_one_sentence(root)
