"""The engine cache: private, keyed by everything an engine depends on, checked when read."""

from __future__ import annotations

import json
import os
import stat
import threading
import time
from dataclasses import fields, replace
from pathlib import Path

import pytest

from gasmcast.errors import MachineError
from gasmcast.runtime.engines.graph_files import graph_sha256
from gasmcast.runtime.engines.trt.engine_cache import EngineCache
from gasmcast.runtime.engines.trt.engine_key import EngineKey
from gasmcast.runtime.engines.user_cache import user_cache

KEY = EngineKey(
    "encoder", "ab" * 32, "tensorrt", "10.3.0", "Orin", "8.7", "fp16", "1/1/1 2/4/4", "recipe 1"
)
PLAN = b"native code"


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "cache" / "engines")


def test_what_is_stored_is_found(cache: EngineCache) -> None:
    path = cache.store(KEY, PLAN, 12.34)
    assert cache.load(KEY).plan == PLAN
    assert path.name.startswith("encoder-")
    [entry] = cache.entries()
    assert (entry.key, entry.size, entry.build_s, entry.path) == (KEY, len(PLAN), 12.3, path)


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o000])
def test_folder_and_files_are_the_users_alone(cache: EngineCache, mask: int) -> None:
    before = os.umask(mask)
    try:
        path = cache.store(KEY, PLAN, 0)
    finally:
        os.umask(before)
    assert stat.S_IMODE(cache.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert cache.load(KEY)


@pytest.mark.parametrize("name", [f.name for f in fields(EngineKey)])
def test_every_ingredient_is_in_the_key(cache: EngineCache, name: str) -> None:
    cache.store(KEY, PLAN, 0)
    other = replace(KEY, **{name: "other"})
    assert other.stem != KEY.stem
    assert not cache.load(other)


def test_why_an_engine_does_not_serve(cache: EngineCache) -> None:
    assert cache.load(KEY).why == "not built yet"
    cache.store(replace(KEY, version="11.4.0", device="RTX 4090", sm="8.9"), PLAN, 0)
    cache.store(replace(KEY, version="10.13.3"), PLAN, 0)
    assert cache.load(KEY).why == "the cached engine has version 10.13.3, not 10.3.0"
    cache.store(replace(KEY, graph_sha256="cd" * 32), PLAN, 0)
    assert "another graph file" in cache.load(replace(KEY, graph_sha256="ef" * 32)).why


def test_an_altered_engine_is_refused(cache: EngineCache) -> None:
    path = cache.store(KEY, PLAN, 0)
    path.write_bytes(PLAN + b"!")
    assert "checksum" in cache.load(KEY).why
    assert not cache.load(KEY)


def test_an_engine_of_another_machine_under_this_name_is_refused(cache: EngineCache) -> None:
    foreign = EngineCache(cache.folder.parent / "foreign")
    theirs = foreign.store(replace(KEY, device="RTX 5090"), b"theirs", 0)
    path = cache.store(KEY, PLAN, 0)
    path.write_bytes(theirs.read_bytes())
    path.with_suffix(".json").write_bytes(theirs.with_suffix(".json").read_bytes())
    assert cache.load(KEY).why == f"{path.name} is the engine of something else"


@pytest.mark.parametrize("sidecar", ["", "[]", "{}", '{"key": 1}', "\x00"])
def test_a_damaged_sidecar_is_a_miss(cache: EngineCache, sidecar: str) -> None:
    cache.store(KEY, PLAN, 0).with_suffix(".json").write_text(sidecar)
    assert not cache.load(KEY)
    assert cache.entries() == []


def test_half_a_store_is_no_engine(cache: EngineCache) -> None:
    cache.store(KEY, PLAN, 0).with_suffix(".json").unlink()
    assert cache.load(KEY).why == "not built yet"


def test_a_link_is_not_followed(cache: EngineCache, tmp_path: Path) -> None:
    path = cache.store(KEY, PLAN, 0)
    (tmp_path / "elsewhere").write_bytes(PLAN)
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    assert "not a sound engine" in cache.load(KEY).why


def test_a_file_that_others_may_write_is_refused(cache: EngineCache) -> None:
    cache.store(KEY, PLAN, 0).chmod(0o666)
    assert "others may write it" in cache.load(KEY).why


def test_an_open_folder_is_refused(cache: EngineCache) -> None:
    cache.store(KEY, PLAN, 0)
    cache.folder.chmod(0o755)
    with pytest.raises(
        MachineError, match=r"Others may read or write the engine cache .* chmod 700"
    ):
        cache.load(KEY)


def test_a_folder_of_another_user_is_refused(
    cache: EngineCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.store(KEY, PLAN, 0)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(MachineError, match=r"belongs to another user.*XDG_CACHE_HOME"):
        cache.load(KEY)


def test_a_linked_folder_is_refused(cache: EngineCache, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    cache.folder.parent.mkdir(parents=True)
    cache.folder.symlink_to(tmp_path / "real")
    with pytest.raises(MachineError, match="is a link"):
        cache.open()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="cannot be used"):
        EngineCache(tmp_path / "file" / "engines").open()


def test_clear(cache: EngineCache) -> None:
    cache.store(KEY, PLAN, 0)
    cache.timing_path(KEY).write_bytes(b"12345")
    (cache.folder / ".build-killed").mkdir()
    (cache.folder / ".build-killed" / "plan").write_bytes(b"half")
    (cache.folder / "notes.txt").write_text("not ours")
    assert cache.clear() > len(PLAN) + 5
    assert [path.name for path in cache.folder.iterdir()] == ["notes.txt"]


def test_timings_are_shared_by_graphs_and_not_by_versions(cache: EngineCache) -> None:
    assert cache.timing_path(KEY) == cache.timing_path(
        replace(KEY, graph="head", precision="int8_fp16")
    )
    assert cache.timing_path(KEY) != cache.timing_path(replace(KEY, version="11.4.0"))


def test_where_the_folder_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_cache("engines") == tmp_path / "gasmcast" / "engines"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert user_cache("engines") == Path.home() / ".cache" / "gasmcast" / "engines"


def test_weights_beside_the_graph_are_in_its_checksum(tmp_path: Path) -> None:
    from gasmcast.files import sha256_of

    graph = tmp_path / "complete.onnx"
    graph.write_bytes(b"graph")
    alone = graph_sha256(graph)
    assert alone == sha256_of(graph)
    (tmp_path / "complete.onnx.data").write_bytes(b"weights")
    assert graph_sha256(graph) != alone


def test_two_builders_take_turns(cache: EngineCache) -> None:
    order = []

    def build(name: str) -> None:
        with cache.building(KEY):
            order.append(name)
            time.sleep(0.05)
            order.append(name)

    threads = [threading.Thread(target=build, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert order in (["a", "a", "b", "b"], ["b", "b", "a", "a"])


def test_the_sidecar_says_what_it_is(cache: EngineCache) -> None:
    record = json.loads(cache.store(KEY, PLAN, 0).with_suffix(".json").read_text())
    assert record["key"]["device"] == "Orin"
    assert record["size"] == len(PLAN)
