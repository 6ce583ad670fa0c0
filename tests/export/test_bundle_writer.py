import pytest

from gasmcast.errors import UsageError
from gasmcast.export.bundle_writer import check_target, draft_bundle

# Of any version: an old bundle may be replaced.
MANIFEST = '{"format_version": 0, "checkpoint_sha256": ""}'


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
        with draft_bundle(out) as draft:
            (draft / "manifest.json").write_text("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (out / "manifest.json").read_text() == MANIFEST
    assert [p.name for p in tmp_path.iterdir()] == ["m.gasm"]


def test_an_old_bundle_is_replaced_whole(tmp_path):
    out = tmp_path / "m.gasm"
    for name in ("first.onnx", "second.onnx"):
        with draft_bundle(out) as draft:
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
