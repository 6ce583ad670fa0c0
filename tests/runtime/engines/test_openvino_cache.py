"""The cache of compiled networks: private, checked, and done without where it cannot be trusted."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gasmcast.errors import MachineError
from gasmcast.runtime.engines import open_engine, openvino_cache
from gasmcast.runtime.engines.openvino_cache import compiled_cache
from gasmcast.runtime.engines.user_cache import private_folder, user_cache

pytestmark = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="owners and modes of POSIX")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Use a fresh cache, and report every reason again."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(openvino_cache, "_reported", set())
    return tmp_path / "cache"


def fill(cache, key="key", content=b"compiled"):
    with compiled_cache(key) as folder:
        (folder / "1.blob").write_bytes(content)
    return cache / "gasmcast" / "openvino" / key


def test_what_was_compiled_is_found_again(cache):
    folder = fill(cache)
    with compiled_cache("key") as again:
        assert (again / "1.blob").read_bytes() == b"compiled"
    for path in (folder, *folder.parents[:3]):
        assert path.stat().st_mode & 0o077 == 0, "folders that are made belong to the user alone"


@pytest.mark.parametrize("damage", ["bit", "cut", "unknown", "link", "no record", "record"])
def test_a_file_that_is_not_as_recorded_is_removed(cache, damage, caplog):
    folder = fill(cache)
    blob = folder / "1.blob"
    if damage == "bit":
        blob.write_bytes(b"bompiled")
    elif damage == "cut":
        blob.write_bytes(b"comp")
    elif damage == "unknown":
        blob = folder / "2.blob"
        blob.write_bytes(b"of somebody else")
    elif damage == "link":
        other = cache / "elsewhere"
        blob.rename(other)
        blob.symlink_to(other)
    elif damage == "no record":
        (folder / "digests.json").unlink()
    else:
        (folder / "digests.json").write_text("[" * 100_000)
    with caplog.at_level(logging.WARNING), compiled_cache("key") as again:
        assert not (again / blob.name).exists()
    if damage in ("bit", "cut", "link"):
        assert "is not the file that was compiled: compiling again" in caplog.text


@pytest.mark.parametrize("place", ["key", "openvino", "gasmcast", "root"])
@pytest.mark.parametrize("mode", [0o770, 0o777, 0o722])
def test_a_folder_that_others_may_write_is_done_without(cache, place, mode, caplog):
    folder = fill(cache)
    {"key": folder, "openvino": folder.parent, "gasmcast": folder.parents[1], "root": cache}[
        place
    ].chmod(mode)
    with caplog.at_level(logging.WARNING), compiled_cache("key") as again:
        assert again is None
    assert "OpenVINO compiles without a cache" in caplog.text
    assert "others may write into" in caplog.text


def test_a_sticky_folder_above_is_trusted(cache):
    cache.parent.chmod(0o1777)
    with compiled_cache("key") as folder:
        assert folder is not None
    folder.chmod(0o1777)
    with compiled_cache("key") as folder:
        assert folder is None, "in a sticky folder of ours others may still add files"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can give files away")
def test_a_folder_of_another_user_is_done_without(cache, caplog):
    folder = fill(cache)
    os.chown(folder, 12345, 12345)
    with caplog.at_level(logging.WARNING), compiled_cache("key") as again:
        assert again is None
    assert "belongs to another user" in caplog.text


def test_a_link_in_the_place_of_the_folder_is_done_without(cache, tmp_path):
    folder = fill(cache)
    folder.rename(tmp_path / "away")
    folder.symlink_to(tmp_path / "away")
    with compiled_cache("key") as again:
        assert again is None


def test_another_process_that_compiles_too_long_is_not_waited_for(cache, monkeypatch):
    monkeypatch.setattr(openvino_cache, "_PATIENCE_S", 0.2)
    with compiled_cache("key") as first, compiled_cache("key") as second:
        assert first is not None
        assert second is None


def test_a_poisoned_cache_decides_nothing(cache, tiny_bundle, tmp_path):
    """Somebody puts what was compiled from other weights in the place of ours."""
    import shutil

    onnx = pytest.importorskip("onnx")
    model = onnx.load(tiny_bundle / "head.onnx")
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            values = 7 * onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(model, tmp_path / "head.onnx")

    spec = open_engine(tiny_bundle / "head.onnx", "openvino", 1).inputs
    feeds = {name: np.ones((1, *port.shape[1:]), np.float32) for name, port in spec.items()}
    want = open_engine(tiny_bundle / "head.onnx", "openvino", 1).run(feeds)["logits"]
    (ours,) = (cache / "gasmcast" / "openvino").iterdir()
    evil = open_engine(tmp_path / "head.onnx", "openvino", 1).run(feeds)["logits"]
    assert np.abs(evil - want).max() > 0.1

    (theirs,) = set((cache / "gasmcast" / "openvino").iterdir()) - {ours}
    shutil.copy(next(theirs.glob("*.blob")), next(ours.glob("*.blob")))
    got = open_engine(tiny_bundle / "head.onnx", "openvino", 1).run(feeds)["logits"]
    np.testing.assert_array_equal(got, want)


def test_without_a_home_there_is_no_cache(monkeypatch, caplog):
    def none():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", none)
    monkeypatch.setattr(openvino_cache, "_reported", set())
    with pytest.raises(MachineError, match=r"no home\. Set XDG_CACHE_HOME"):
        user_cache("engines")
    with caplog.at_level(logging.WARNING), compiled_cache("key") as folder:
        assert folder is None
    assert "OpenVINO compiles without a cache. There is no cache folder" in caplog.text


NO_PASSWD = """
import pwd, sys
def unknown(_):
    raise KeyError("uid not found")
pwd.getpwuid = unknown
from gasmcast.cli import main
main()
"""


@pytest.mark.parametrize(
    ("words", "code"), [(["engine", "list"], 3), (["doctor", "--no-cameras"], 0)]
)
def test_a_user_without_an_entry_in_passwd(words, code, tmp_path):
    """A uid without a home, as in many containers (bugs.md, row 16)."""
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", NO_PASSWD, *words],
        env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == code, done.stderr
    assert "could not be" not in done.stdout, done.stdout


def test_a_private_folder_below_a_file_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="cannot be used"):
        private_folder(tmp_path / "file" / "cache")


records = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(st.sampled_from(["1.blob", "x"]), children, max_size=2)
    ),
    max_leaves=6,
)


@given(tree=records, damage=st.binary(max_size=20))
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_record_gives_a_traceback(cache, tree, damage):
    folder = fill(cache)
    (folder / "digests.json").write_bytes(json.dumps(tree).encode() + damage)
    with compiled_cache("key") as again:
        assert again is not None
        assert not (again / "1.blob").exists()
