"""Files, folders, patterns and manifests become paths, each once."""

from __future__ import annotations

import json
import os

import pytest

from gasmcast.archive.input_list import list_inputs
from gasmcast.errors import SourceError, UsageError


@pytest.fixture
def folder(tmp_path):
    for name in ("a.mp4", "sub/b.MKV", "sub/.hidden.mp4", "note.txt", ".h/c.mp4"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    return tmp_path


def write_parquet(path, column):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"label": [0, 0], column: ["a.mp4", "sub/b.MKV"]}), path)


WRITERS = {
    "list.csv": lambda path: path.write_text("label,path\n0,a.mp4\n0,sub/b.MKV\n"),
    "excel.csv": lambda path: path.write_bytes(b"\xef\xbb\xbffile\r\na.mp4\r\nsub/b.MKV\r\n"),
    "objects.jsonl": lambda path: path.write_text('{"input": "a.mp4"}\n{"input": "sub/b.MKV"}\n'),
    "texts.jsonl": lambda path: path.write_text('"a.mp4"\n\n"sub/b.MKV"\n'),
    "list.parquet": lambda path: write_parquet(path, "video"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_manifests_name_paths_from_their_own_folder(folder, name):
    WRITERS[name](folder / name)
    assert list_inputs([folder / name]) == [str(folder / "a.mp4"), str(folder / "sub/b.MKV")]


def test_a_folder_is_searched_with_its_subfolders_but_not_hidden_ones(folder):
    assert list_inputs([folder]) == [str(folder / "a.mp4"), str(folder / "sub/b.MKV")]


def test_patterns_and_repetitions_give_each_path_once(folder, monkeypatch):
    monkeypatch.chdir(folder)
    found = list_inputs(["a.mp4", "**/*.mp4", str(folder / "a.mp4"), "./a.mp4"])
    assert found == [str(folder / "a.mp4")]


def test_a_missing_file_in_a_manifest_is_no_error_yet(folder):
    (folder / "list.csv").write_text("path\ngone.mp4\n")
    assert list_inputs([folder / "list.csv"]) == [str(folder / "gone.mp4")]


def test_a_million_paths_are_listed_quickly(folder):
    (folder / "big.csv").write_text("path\n" + "".join(f"v/{i}.mp4\n" for i in range(100_000)))
    assert len(list_inputs([folder / "big.csv"])) == 100_000


BAD = [
    ("gone.mp4", None, SourceError, "There is no gone.mp4"),
    ("*.avi", None, SourceError, "has no videos"),
    ("empty.csv", "", UsageError, "no column of paths"),
    ("head.csv", "path\n", SourceError, "has no videos"),
    ("other.csv", "name,label\na,b\n", UsageError, r"columns: name, label"),
    ("row.csv", "path,x\na.mp4,1\n,2\n", UsageError, "row 2 has no path"),
    ("bytes.csv", b"path\n\xff\xfe\n", UsageError, "not a CSV file in UTF-8"),
    ("bad.jsonl", '{"path": "a.mp4"\n', UsageError, "line 1 is not JSON"),
    ("type.jsonl", "[1]\n", UsageError, "row 1 has no path"),
    ("half.parquet", b"PAR1\x00\x01half", UsageError, "not a complete Parquet file"),
]


@pytest.mark.parametrize("case", BAD, ids=lambda case: case[0])
def test_bad_inputs_are_clear_errors(folder, monkeypatch, case):
    name, content, error, text = case
    monkeypatch.chdir(folder)
    if content is not None:
        if name.endswith("parquet"):
            pytest.importorskip("pyarrow")
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(error, match=text):
        list_inputs([name])


def test_names_that_are_not_unicode_survive(folder):
    name = os.fsdecode(b"\xe9.mp4")
    try:
        (folder / name).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    assert str(folder / name) in list_inputs([folder])
    assert json.dumps(list_inputs([folder]))
