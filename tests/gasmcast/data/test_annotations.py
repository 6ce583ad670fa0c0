"""Annotation files as distributed, their older names, and defects of a set."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gasmcast.data.annotations import read_labels, read_split
from gasmcast.data.formats.ssv2 import read_frame_list
from gasmcast.data.sampler import RankBatches, epoch_order, shard
from gasmcast.errors import UsageError
from gasmcast.labels import Labels, ssv2_labels

BRACKETS = (  # the 14 kinds of the official files
    "[something]",
    "[Something]",
    "[part]",
    "[number of]",
    "[somewhere]",
    "[some substance]",
    "[something soft]",
    "[one of many similar things on the table]",
    "[something that cannot actually stand upright]",
    "[something else]",
    "[a few]",
    "[several]",
    "[some things]",
    "[stuff]",
)


def make_set(
    root: Path,
    prefix: str = "",
    labels: str = "labels",
    videos: str = "videos",
    extension: str = "webm",
) -> Path:
    rows = [
        {
            "id": "7",
            "label": "spinning cube",
            "template": "Spinning [something] quickly",
            "placeholders": ["cube"],
        },
        {
            "id": "12",
            "label": "holding pen",
            "template": "Holding [Something]",
            "placeholders": ["pen"],
            "source": "kitchen",
        },
    ]
    folder = root / labels
    folder.mkdir(parents=True, exist_ok=True)
    (root / videos).mkdir(exist_ok=True)
    (folder / f"{prefix}labels.json").write_text(
        json.dumps({"Holding Something": "0", "Spinning something quickly": "1"})
    )
    (folder / f"{prefix}train.json").write_text(json.dumps(rows))
    (folder / f"{prefix}test.json").write_text(json.dumps([{"id": "12"}]))
    for row in rows:
        (root / videos / f"{row['id']}.{extension}").write_bytes(b"x")
    return root


@pytest.mark.parametrize("prefix", ["", "something-something-v2-"])
@pytest.mark.parametrize("labels", [".", "labels"])
@pytest.mark.parametrize("videos", [".", "videos", "20bn-something-something-v2"])
@pytest.mark.parametrize("extension", ["webm", "MP4"])
def test_every_layout(
    tmp_path: Path, prefix: str, labels: str, videos: str, extension: str
) -> None:
    root = make_set(tmp_path, prefix, labels, videos, extension)
    spinning, holding = read_split(root, "train")
    assert (spinning.id, spinning.label, holding.id, holding.label, holding.source) == (
        "7",
        1,
        "12",
        0,
        "kitchen",
    )
    assert spinning.path is not None
    assert spinning.path.samefile(root / videos / f"7.{extension}")
    (test,) = read_split(root, "test")
    assert test.label is None
    assert test.path is not None


@pytest.mark.parametrize("bracket", BRACKETS)
def test_brackets(bracket: str) -> None:
    name = f"Putting {bracket[1:-1]} onto something"
    assert Labels(["Other", name]).index(f"Putting {bracket} onto [something]") == 1


def test_a_labels_file_may_keep_its_brackets(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text(
        '{"Holding [something]": "0", "Putting [something] onto [something]": "1"}'
    )
    labels = Labels.read(tmp_path / "labels.json")
    assert (
        labels.index("Putting [something] onto [something]")
        == labels.index("Putting something onto something")
        == 1
    )
    assert labels.names[0] == "Holding something"
    with pytest.raises(UsageError, match="not unique"):
        Labels(["Holding [something]", "Holding something"])


def test_all_official_names_match_with_brackets() -> None:
    labels = ssv2_labels()
    bracketed = [
        name.replace("something", "[something]").replace("Something", "[Something]")
        for name in labels.names
    ]
    assert [labels.index(name) for name in bracketed] == list(range(174))


def test_a_flip_swaps_three_pairs_of_the_official_classes_and_no_class_is_in_its_way() -> None:
    labels = ssv2_labels()
    pairs = [(86, 87), (93, 94), (166, 167)]
    assert labels.left_right_swap() == dict([*pairs, *((b, a) for a, b in pairs)])
    assert labels.names[86] == "Pulling something from left to right"
    assert labels.one_sided() == []  # nor is 'pulling it right out'


@pytest.mark.parametrize(
    "names",
    [
        ("Swiping Left", "Swiping Right"),
        ("Swiping LEFT", "swiping right"),
        ("Left hand", "Right hand"),
        ("swipe_left", "swipe_right"),
        ("left-to-right", "right-to-left"),
        ("Turning left, slowly", "Turning right, slowly"),
        ("to the left (2)", "to the right (2)"),
    ],
)
def test_sides_are_swapped_however_they_are_written(names: tuple[str, str]) -> None:
    labels = Labels(["Leftovers, upright", names[0], "Bright", names[1]])
    assert labels.left_right_swap() == {1: 3, 3: 1}
    assert labels.one_sided() == []
    assert Labels(["Other", names[0]]).one_sided() == [names[0]]


def test_missing_videos(tmp_path: Path) -> None:
    root = make_set(tmp_path)
    (root / "videos" / "7.webm").unlink()
    assert [sample.path is None for sample in read_split(root, "train")] == [True, False]
    (root / "videos" / "12.webm").unlink()
    with pytest.raises(UsageError, match="None of the 2 videos"):
        read_split(root, "train")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("train", "[]", "lists no clips"),
        ("train", "{", "is not JSON"),
        ("train", '{"id": "7"}', "not a list of clips"),
        ("train", '[{"template": "Holding Something"}]', "has no id"),
        (
            "train",
            '[{"id": "7", "template": "Juggling [something]"}]',
            "'Juggling \\[something\\]' of clip 7 is not in labels.json",
        ),
        ("train", '[{"id": "7"}]', "clip 7 has no key `template`"),
        (
            "train",
            '[{"id": "7", "label": "Holding [Something]"}]',
            "'label' holds a class name: rename that key to `template`",
        ),
        ("train", '[{"id": 38.5, "template": "Holding Something"}]', "has no id"),
        ("train", '[{"id": true, "template": "Holding Something"}]', "has no id"),
        ("train", '[{"id": "../7", "template": "Holding Something"}]', "cannot be the id"),
        ("train", '[{"id": "/7", "template": "Holding Something"}]', "cannot be the id"),
        ("train", '[{"id": "7\\n8", "template": "Holding Something"}]', "cannot be the id"),
        ("train", '[{"id": "\\ud800", "template": "Holding Something"}]', "is not JSON"),
        ("train", "[" * 100_000, "is not JSON"),
        ("labels", '{"a": Infinity, "b": 1}', "not a whole number"),
        ("labels", '{"a": 0.5, "b": 1}', "not a whole number"),
        ("labels", '{"a": true, "b": 1}', "not a whole number"),
        ("labels", '{"[]": 0, "b": 1}', "class 0 has no name"),
        ("labels", '{"a": "0", "b": "2"}', "indices are not 0"),
        ("labels", "[1]", "cannot be read as labels"),
    ],
)
def test_wrong_files(tmp_path: Path, name: str, content: str, says: str) -> None:
    root = make_set(tmp_path)
    (root / "labels" / f"{name}.json").write_text(content)
    with pytest.raises(UsageError, match=says) as caught:
        read_split(root, "train")
    assert "\n" not in str(caught.value)


def test_no_set(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no data set at"):
        read_split(tmp_path / "none", "train")
    with pytest.raises(UsageError, match=r"no validation\.json"):
        read_split(make_set(tmp_path / "set"), "validation")
    with pytest.raises(UsageError, match=r"no labels\.json"):
        read_labels(tmp_path)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 220847), st.integers(1, 500), st.integers(0, 173)),
        min_size=1,
        max_size=20,
    )
)
def test_frame_lists(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, int]]
) -> None:
    file = tmp_path_factory.getbasetemp() / "frames.txt"
    file.write_text("\n".join(" ".join(map(str, row)) for row in rows))
    samples = read_frame_list(file, ssv2_labels())
    assert [(int(s.id), s.frames, s.label) for s in samples] == rows


@settings(deadline=None)
@given(st.text(alphabet="0123456789 -x\n", max_size=40))
def test_a_broken_frame_list_is_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    file = tmp_path_factory.getbasetemp() / "broken.txt"
    file.write_text(text)
    said = ""
    samples = []
    try:
        samples = read_frame_list(file, ssv2_labels())
    except UsageError as error:
        said = str(error)
    assert bool(said) != bool(samples)
    assert "\n" not in said
    assert all(sample.label is not None and 0 <= sample.label < 174 for sample in samples)


def test_full_scale(real_data: Path) -> None:
    """193,690 clips: under 2 s of CPU time and 300 MB, in a separate process."""
    root = real_data.parent / "ssv2"
    if not root.is_dir():
        pytest.skip(f"no frame lists at {root}")
    code = f"""
import time
from pathlib import Path
from gasmcast.data.annotations import read_split
before = time.process_time()
sizes = [len(read_split(Path({str(root)!r}), split)) for split in ("train", "validation")]
lines = Path("/proc/self/status").read_text().splitlines()
peak = next(line for line in lines if line.startswith("VmHWM"))
print(*sizes, time.process_time() - before, int(peak.split()[1]) / 1024)
"""
    out = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert out[:2] == ["168913", "24777"]
    assert float(out[2]) < 2
    assert float(out[3]) < 300


def test_orders_at_full_scale(real_data: Path) -> None:
    """Eight processes share every epoch of the real index without overlap.

    Balanced, the rarest class occurs as often as the most frequent one.
    """
    root = real_data.parent / "ssv2"
    if not root.is_dir():
        pytest.skip(f"no frame lists at {root}")
    labels = np.array([sample.label for sample in read_split(root, "train")])
    counts = np.bincount(labels, minlength=174)
    assert (counts.min(), counts.max()) == (91, 3284)
    order = epoch_order(labels, seed=0, epoch=3)
    assert np.array_equal(np.sort(order), np.arange(len(labels)))
    seen = np.concatenate(
        [np.concatenate(list(RankBatches(order, 8, rank, 8))) for rank in range(8)]
    )
    assert len(np.unique(seen)) == len(seen) == len(labels) // 64 * 64
    drawn = np.bincount(labels[epoch_order(labels, seed=0, epoch=3, balanced=True)], minlength=174)
    assert drawn.max() - drawn.min() <= 1
    assert sorted(np.concatenate([shard(24777, rank, 7) for rank in range(7)]).tolist()) == list(
        range(24777)
    )
