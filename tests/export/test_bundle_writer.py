import os
import subprocess
import sys

import pytest

from gasmcast.errors import UsageError
from gasmcast.export.bundle_writer import check_target, draft_bundle

# Of any version: an old bundle may be replaced.
MANIFEST = '{"format_version": 0, "checkpoint_sha256": "", "files": {"first.onnx": {}}}'


def test_a_draft_becomes_the_bundle_at_once(tmp_path):
    out = tmp_path / "m.gasm"
    with draft_bundle(out) as draft:
        (draft / "manifest.json").write_text(MANIFEST)
        assert not out.exists()
    assert (out / "manifest.json").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["m.gasm"]


def test_a_failure_leaves_what_was_there(tmp_path):
    out = tmp_path / "m.gasm"
    out.mkdir()
    (out / "manifest.json").write_text(MANIFEST)

    def fail():
        with draft_bundle(out, force=True) as draft:
            (draft / "manifest.json").write_text("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (out / "manifest.json").read_text() == MANIFEST
    assert [p.name for p in tmp_path.iterdir()] == ["m.gasm"]


def test_an_old_bundle_is_replaced_whole(tmp_path):
    out = tmp_path / "m.gasm"
    for name in ("first.onnx", "second.onnx"):
        with draft_bundle(out, force=True) as draft:
            (draft / "manifest.json").write_text(MANIFEST)
            (draft / name).write_text(name)
    assert sorted(p.name for p in out.iterdir()) == ["manifest.json", "second.onnx"]


@pytest.mark.parametrize("kind", ["folder", "file", "a browser's extension"])
def test_what_is_not_a_bundle_is_not_touched(kind, tmp_path):
    out = tmp_path / "m.gasm"
    if kind == "file":
        out.write_text("mine")
    elif kind == "a browser's extension":
        out.mkdir()
        (out / "manifest.json").write_text('{"manifest_version": 3, "name": "mine"}')
    else:
        out.mkdir()
        (out / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="not a bundle"):
        check_target(out)


def test_an_empty_folder_may_be_filled(tmp_path):
    check_target(tmp_path)


def write_bundle(folder, *files):
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(MANIFEST)
    for name in files:
        (folder / name).write_text(name)


def test_a_bundle_is_not_replaced_without_force(tmp_path):
    write_bundle(tmp_path / "m.gasm")
    with pytest.raises(UsageError, match=r"is a bundle already\. .*--force"):
        check_target(tmp_path / "m.gasm")
    assert check_target(tmp_path / "m.gasm", force=True) == tmp_path / "m.gasm"


def test_files_of_the_user_in_a_bundle_are_not_lost(tmp_path):
    out = tmp_path / "m.gasm"
    write_bundle(out, "first.onnx", "notes.txt", ".DS_Store")
    with pytest.raises(UsageError, match=r"not of the bundle, such as notes\.txt"):
        check_target(out, force=True)
    (out / "notes.txt").unlink()
    check_target(out, force=True)


def test_files_that_appear_during_an_export_are_not_lost(tmp_path):
    out = tmp_path / "m.gasm"
    write_bundle(out)

    def export():
        with draft_bundle(out, force=True):
            (out / "notes.txt").write_text("mine")

    with pytest.raises(UsageError, match=r"notes\.txt"):
        export()
    assert (out / "notes.txt").read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["m.gasm"]


def test_a_link_stays_a_link_and_the_bundle_behind_it_is_replaced(tmp_path):
    write_bundle(tmp_path / "v1.gasm", "first.onnx")
    link = tmp_path / "current.gasm"
    link.symlink_to("v1.gasm")
    with draft_bundle(link, force=True) as draft:
        (draft / "manifest.json").write_text(MANIFEST)
    assert link.is_symlink()
    assert [p.name for p in (tmp_path / "v1.gasm").iterdir()] == ["manifest.json"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["current.gasm", "v1.gasm"]


def test_a_link_to_nothing_is_filled_and_a_loop_is_one_sentence(tmp_path):
    link = tmp_path / "new.gasm"
    link.symlink_to("v2.gasm")
    with draft_bundle(link) as draft:
        (draft / "manifest.json").write_text(MANIFEST)
    assert (tmp_path / "v2.gasm" / "manifest.json").is_file()

    loop = tmp_path / "loop.gasm"
    loop.symlink_to(loop)
    with pytest.raises(UsageError, match=r"loop\.gasm"):
        check_target(loop)


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot lock folders")
def test_what_killed_exports_left_is_swept(tmp_path):
    out = tmp_path / "m.gasm"
    write_bundle(tmp_path / ".m.gasm.1.draft", "half.onnx")
    write_bundle(tmp_path / ".m.gasm.2.old", "first.onnx")
    write_bundle(tmp_path / ".other.gasm.3.draft")
    with draft_bundle(out, force=True) as draft:
        assert (out / "first.onnx").is_file(), "the bundle that a killed export had moved is back"
        (draft / "manifest.json").write_text(MANIFEST)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".other.gasm.3.draft", "m.gasm"]


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot lock folders")
def test_the_draft_of_an_export_that_runs_stays(tmp_path):
    code = (
        "import sys, pathlib\n"
        "from gasmcast.export.bundle_writer import draft_bundle\n"
        "with draft_bundle(pathlib.Path(sys.argv[1])):\n"
        "    print('ready', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "m.gasm"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout.readline() == b"ready\n"
        with draft_bundle(tmp_path / "m.gasm") as draft:
            (draft / "manifest.json").write_text(MANIFEST)
            assert len(list(tmp_path.glob(".m.gasm.*.draft"))) == 2
        other.kill()
        other.wait()
    with draft_bundle(tmp_path / "m.gasm", force=True) as draft:
        (draft / "manifest.json").write_text(MANIFEST)
    assert [p.name for p in tmp_path.iterdir()] == ["m.gasm"]
