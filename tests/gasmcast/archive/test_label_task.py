"""A worker on another machine: what it finds there must be what the main process has."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from gasmcast.archive.label_task import LabelTask
from gasmcast.archive.output_folder import OutputFolder
from gasmcast.errors import UsageError
from gasmcast.files import sha256_of
from gasmcast.runtime.live_settings import LiveConfig

pytest.importorskip("pyarrow")


@pytest.fixture
def task(tiny_bundle, tmp_path):
    bundle = tmp_path / "node.gasm"
    shutil.copytree(tiny_bundle, bundle)
    facts = {"bundle": sha256_of(bundle / "manifest.json")}
    folder = OutputFolder(tmp_path / "out")
    folder.open(facts)
    yield LabelTask(
        bundle=bundle,
        engine="auto",
        precision="auto",
        threads=1,
        batch=1,
        settings=LiveConfig().model_dump(),
        out=folder.path,
        facts=facts,
    )
    folder.close()


def test_a_worker_labels_where_all_is_as_in_the_main_process(task, tiny_archive, inputs_of):
    video = str(tiny_archive / "000.avi")
    assert not task()(video).reason
    assert inputs_of(task.out) == {video: 1}


def test_a_node_without_the_bundle_is_a_clear_error(task):
    shutil.rmtree(task.bundle)
    with pytest.raises(UsageError, match=r"node\.gasm"):
        task()


def test_a_node_with_another_bundle_is_a_clear_error(task):
    path = task.bundle / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"created": "2026-02-02T00:00:00Z"}))
    with pytest.raises(UsageError, match="is another bundle than that of the main process"):
        task()


def test_a_node_without_the_output_folder_is_a_clear_error(task, tmp_path):
    with pytest.raises(UsageError, match="is not the one of the main process"):
        replace(task, out=tmp_path / "elsewhere")()


def test_an_error_of_a_node_names_the_node(task, monkeypatch):
    from gasmcast import __version__
    from gasmcast.archive.ray_workers import WorkerActor

    monkeypatch.setattr("socket.gethostname", lambda: "node7")
    shutil.rmtree(task.bundle)
    with pytest.raises(UsageError, match="On the node node7: "):
        WorkerActor().start(task, __version__)
