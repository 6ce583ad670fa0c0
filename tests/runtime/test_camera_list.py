from __future__ import annotations

import errno
import threading
from pathlib import Path

import pytest

from gasmcast.errors import UsageError
from gasmcast.runtime.camera_list import CameraList
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.runtime.records import Decision
from gasmcast.runtime.session import Session
from gasmcast.runtime.streaming_model import open_model

START = """
cameras:
  - {name: stays, source: 'demo:1'}
  - {name: goes, source: 'demo:2'}
  - {name: changes, source: 'demo:3'}
"""
AFTER = """
cameras:
  - {name: comes, source: 'demo:4', settings: {hop: 2}}
  - {name: changes, source: 'demo:3', region: [0, 0, 0.5, 0.5]}
  - {name: stays, source: 'demo:1'}
"""


@pytest.fixture
def model(tiny_bundle):
    return open_model(tiny_bundle, "onnxruntime", threads=1)[0]


@pytest.fixture
def _forbidden(monkeypatch):
    """Paths with `forbidden` in them may not be entered; root may enter every real folder."""

    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    for name in ("exists", "is_dir", "is_file"):
        real = getattr(Path, name)
        monkeypatch.setattr(
            Path,
            name,
            lambda path, real=real: refuse(path) if "forbidden" in str(path) else real(path),
        )


class RecordedCalls:
    """Calls that a session got."""

    def __init__(self, pipeline=None):
        self.calls, self.pipeline, self.name_is_taken = [], pipeline, True

    def add(self, source, config, recorded_as, crop):
        if source.name == "waiting" and self.name_is_taken:
            raise UsageError("There are two sources called 'waiting'.")
        self.calls.append(("add", source.name, config, recorded_as))

    def remove(self, name):
        self.calls.append(("remove", name))
        return True


def test_a_list_that_changed_is_followed_and_what_stays_is_not_touched(tmp_path, model):
    path = tmp_path / "cameras.yaml"
    path.write_text(START)
    cameras = CameraList([f"@{path}"], LiveConfig())
    assert cameras.reloadable
    session = Session(model, LiveConfig(), [])
    cameras.fill(session)
    lanes = dict(session.pipeline.lanes)
    session.pipeline.start()
    path.write_text(AFTER)
    cameras.reload(session)
    assert set(session.pipeline.lanes) == {"stays", "changes", "comes"}
    assert session.pipeline.lanes["stays"] is lanes["stays"]
    assert session.pipeline.lanes["changes"] is not lanes["changes"]
    assert session.pipeline.lanes["comes"].config.hop == 2
    assert [lanes[name].ended for name in ("goes", "changes", "stays")] == [True, True, False]
    assert [entry.source.name for entry in cameras.entries] == ["stays", "comes", "changes"]
    session.close()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cameras: [", "not YAML"),
        ("cameras: []", "no cameras"),
        ("cameras: [{name: stays, source: 'demo:1', hops: 2}]", "unknown key 'hops'"),
        ("cameras: [{name: stays, source: 'demo:1', settings: {hops: 2}}]", "unknown key 'hops'"),
        (
            "cameras: [{name: stays, source: 'demo:1', settings: {only: [nothing]}}]",
            "no label 'nothing'",
        ),
        ("cameras: [{name: clip, source: no.mp4}]", "no file 'no.mp4'"),
        ("cameras: [{name: bad, source: 'demo:1'}]", "it may not be called bad"),
        ("cameras: [{name: !!int x, source: 'demo:1'}]", "not YAML"),
        ("cameras: [{name: " + "9" * 5000 + ", source: 'demo:1'}]", "not YAML"),
        ("[" * 5000, "nested too deeply"),
        (START + START, "'cameras' is there twice"),
        (f"cameras: [{{name: clip, source: {'x' * 300}}}]", "cannot be opened"),
        ("cameras: [{name: clip, source: 'demo:" + "9" * 5000 + "'}]", "cannot be opened"),
        ("cameras: [{name: clip, source: 'forbidden/x.mp4'}]", "cannot be opened (Permission"),
        ("cameras: [{name: clip, source: 'forbidden'}]", "cannot be opened (Permission"),
        ("cameras: [{name: bug, source: 'demo:1'}]", "ZeroDivisionError"),
        (None, "cannot be read"),
    ],
)
@pytest.mark.usefixtures("_forbidden")
def test_a_wrong_list_changes_nothing_and_is_logged(tmp_path, model, caplog, text, says):
    def check(entries):
        if any(entry.source.name == "bug" for entry in entries):
            raise ZeroDivisionError
        if any(entry.source.name == "bad" for entry in entries):
            raise UsageError("it may not be called bad")

    path = tmp_path / "cameras.yaml"
    path.write_text(START)
    cameras = CameraList([f"@{path}"], LiveConfig(), check=check)
    before = cameras.entries
    path.unlink() if text is None else path.write_text(text)
    session = RecordedCalls(Session(model, LiveConfig(), []).pipeline)
    cameras.reload(session)
    assert session.calls == []
    assert cameras.entries is before
    assert says in caplog.text


def test_the_same_list_is_no_change_and_a_camera_that_cannot_come_yet_comes_next_time(
    tmp_path, moving_video, caplog
):
    path = tmp_path / "cameras.yaml"
    path.write_text(START)
    cameras = CameraList(["demo:9", f"@{path}"], LiveConfig())
    session = RecordedCalls()
    cameras.reload(session)
    assert session.calls == []
    assert "0 removed, 0 added, 4 unchanged" in caplog.text
    path.write_text(
        START
        + f"  - {{name: waiting, source: 'demo:5'}}\n  - {{name: clip, source: {moving_video}}}\n"
    )
    files = cameras.files
    cameras.reload(session)
    assert session.calls == [("add", "clip", None, str(moving_video))]
    assert "two sources called 'waiting'" in caplog.text
    assert files == ["clip"], "who holds the list of files sees it change"
    session.name_is_taken = False
    cameras.reload(session)
    assert session.calls[1:] == [("add", "waiting", None, "demo:5")]


def test_a_date_is_a_name(tmp_path):
    path = tmp_path / "cameras.yaml"
    path.write_text("- {name: 2024-02-30, source: 'demo:2'}")
    cameras = CameraList([f"@{path}"], LiveConfig())
    assert [entry.source.name for entry in cameras.entries] == ["2024-02-30"]


def test_a_camera_whose_thread_cannot_be_started_comes_next_time(
    tmp_path, model, monkeypatch, caplog
):
    path = tmp_path / "cameras.yaml"
    path.write_text(START)
    cameras = CameraList([f"@{path}"], LiveConfig())
    session = Session(model, LiveConfig(), [])
    cameras.fill(session)
    session.pipeline.start()
    path.write_text(START + "  - {name: comes, source: 'demo:4'}\n")

    def no_thread(*_):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(session.cameras, "add", no_thread)
        cameras.reload(session)
    assert "comes is not added: can't start new thread" in caplog.text
    assert set(session.pipeline.lanes) == {"stays", "goes", "changes"}
    cameras.reload(session)
    assert set(session.pipeline.lanes) == {"stays", "goes", "changes", "comes"}
    session.close()


def test_no_list_no_change():
    assert not CameraList(["demo:", "demo:2"], LiveConfig()).reloadable


def test_a_session_reloads_on_its_own_thread_between_two_looks(model):
    class Ends:
        def write(self, record):
            if isinstance(record, Decision) and record.camera == "demo-2":
                session.stop()

        def close(self):
            pass

    threads = []
    session = Session(model, LiveConfig(), [Ends()])
    CameraList(["demo:1"], LiveConfig()).fill(session)

    def reload():
        threads.append(threading.current_thread())
        CameraList(["demo:2"], LiveConfig()).fill(session)
        session.remove("demo-1")

    session.request_reload()
    assert session.run(20.0, reload=reload) == []
    assert threads == [threading.current_thread()]
    assert session.stopped
