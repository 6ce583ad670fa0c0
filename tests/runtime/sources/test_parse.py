from __future__ import annotations

import contextlib
import json
import os
import time

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gasmcast.errors import GasmcastError, SourceError, UsageError
from gasmcast.runtime.sources.camera_spec import CameraSpec
from gasmcast.runtime.sources.file import FileSource
from gasmcast.runtime.sources.network import NetworkSource
from gasmcast.runtime.sources.open_sources import open_sources, open_spec
from gasmcast.runtime.sources.webcam import AbsentError, WebcamSource


def open_source(text, **settings):
    ((_, source),) = open_sources([text], **settings)
    return source


@pytest.mark.parametrize(
    ("text", "kind", "name", "live"),
    [
        ("0", WebcamSource, "camera0", True),
        ("/dev/video12", WebcamSource, "video12", True),
        ("rtsp://10.0.0.5/stream1", NetworkSource, "10.0.0.5-stream1", True),
        ("rtsps://u:p@cam:322/a/b?x=1", NetworkSource, "cam-a-b", True),
        ("HTTP://cam/video.mjpg", NetworkSource, "cam-video.mjpg", True),
        ("rtsp://${USER_1}:${CAM1_PASS}@[::1]:554/", NetworkSource, "1", True),
    ],
)
def test_what_a_text_stands_for(text, kind, name, live):
    source = open_source(text)
    assert (type(source), source.name, source.live) == (kind, name, live)


@pytest.mark.parametrize(
    "text",
    [
        "concat:/etc/passwd|/etc/hosts",
        "subfile,,start,0,end,9,,:/etc/passwd",
        "pipe:0",
        "data:video/mp4;base64,AAAA",
        "exec:rm",
        "file:///etc/passwd",
        "ftp://host/x.mp4",
        "udp://239.0.0.1:1234",
        "rtmp://host/live",
        "rtsp:host",
        "crypto:file:x",
        "gopher://x",
        "",
        "  ",
        "a\nb",
        "rtsp:///nohost",
        "http://host:99999/",
        "http://ho st/",
        "demo:x",
    ],
)
def test_other_schemes_and_broken_addresses_are_refused_in_one_sentence(text):
    with pytest.raises(UsageError) as error:
        open_source(text)
    assert error.value.exit_code == 2
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["clip.mp4", "demo:", "replay:run.jsonl"])
def test_max_fps_is_for_cameras(text):
    with pytest.raises(UsageError, match="max_fps is for cameras"):
        open_spec(CameraSpec(source=text, max_fps=5))


@pytest.mark.parametrize("text", ["nothing.mp4", "C:\\clip.mp4", "no/such/dir/*.mp4", "/dev/null"])
def test_what_is_not_there_is_a_source_error(text):
    with pytest.raises(SourceError) as error:
        open_sources([text])
    assert error.value.exit_code == 5


@pytest.mark.parametrize(
    ("texts", "fatal"), [(["7"], True), (["7", "demo:"], False), (["7", "8"], False)]
)
def test_a_webcam_that_is_not_there_is_fatal_only_where_it_is_all_there_is(texts, fatal):
    with pytest.raises(SourceError, match="/dev/video7") as error:
        next(open_sources(texts)[0][1].frames())
    assert isinstance(error.value, AbsentError) == fatal


def test_folders_patterns_and_unique_names(tmp_path):
    for name in ("b.mp4", "a.MKV", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "b.mp4").touch()
    folder = [source.name for _, source in open_sources([str(tmp_path)])]
    assert folder == ["a", "b"]
    assert [s.name for _, s in open_sources([str(tmp_path), f"{tmp_path}/**/*.mp4"])] == [
        "a",
        "b",
        "b-2",
        "b-3",
    ]
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="no videos"):
        open_sources([str(tmp_path / "empty")])


def test_a_file_whose_name_is_a_protocol_is_only_ever_a_file(tmp_path, monkeypatch):
    (tmp_path / "concat:a|b").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="not allowed"):
        open_source("concat:a|b")
    source = open_source("./concat:a|b")
    assert isinstance(source, FileSource)
    assert str(source.path).startswith("/")
    with pytest.raises(SourceError, match="no video stream"):
        next(source.frames())


def test_cameras_of_a_list(tmp_path):
    file = tmp_path / "cameras.yaml"
    file.write_text(
        "cameras:\n"
        "- {name: door, source: 'rtsp://u:${P}@h/x', region: [0, 0, 0.5, 1], settings: {on: 0.6}}\n"
        "- {source: 0, max_fps: 15}\n"
        "- 'demo:3'\n"
    )
    (door, door_source), (cam, _), (_, demo) = open_sources([f"@{file}"])
    assert (door.name, door.region, door.settings) == ("door", (0, 0, 0.5, 1), {"on": 0.6})
    assert (door_source.name, door_source.live) == ("door", True)
    assert (cam.name, cam.max_fps, demo.name) == ("camera0", 15, "demo-3")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cameras: []", "no cameras"),
        ("cameras: [{name: a, sorce: 0}]", "Did you mean 'source'"),
        ("cameras: [{name: a/b, source: 0}]", "name"),
        ("cameras: [{name: a, source: 0}, {name: a, source: 1}]", "two cameras named 'a'"),
        ("cameras: [{source: 0, region: [0.5, 0, 0.6, 1]}]", "inside the picture"),
        ("cameras: [{source: 0, mask: [[[0, 0], [1, 1]]]}]", "3 points"),
        ("cameras: [{name: a}]", "source"),
        ("cameras: [3.5]", "camera 1"),
        ("a: [", "not YAML"),
        ("just text", "no cameras"),
        ("\x00", "not YAML"),
    ],
)
def test_bad_lists_are_refused_in_one_sentence(tmp_path, text, says):
    file = tmp_path / "cameras.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=says) as error:
        open_sources([f"@{file}"])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "warns"),
    [
        ("rtsp://u:hunter2@h/x", True),
        ("rtsp://u:${P}@h/x", False),
        ("rtsp://u@h/x:1", False),
        ("http://h/x?size=2&token=hunter2", True),
        ("http://h/x?api_key=${K}&size=2", False),
    ],
)
def test_a_password_on_the_command_line_is_warned_of_and_not_repeated(text, warns, caplog):
    open_sources([text])
    assert ("`ps` shows it" in caplog.text) == warns
    assert "hunter2" not in caplog.text


def test_a_list_that_is_not_there():
    with pytest.raises(UsageError, match="cannot be read"):
        open_sources(["@none.yaml"])


def test_the_example_in_deploy_is_good():
    from pathlib import Path

    example = Path(__file__).parents[3] / "deploy" / "cameras.yaml"
    assert [source.name for _, source in open_sources([f"@{example}"])] == ["door", "hall", "desk"]


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.text(max_size=60).filter(lambda text: not text.startswith("/")))
@example("@\0")
def test_any_text_gives_sources_or_one_sentence(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    with contextlib.suppress(GasmcastError):  # anything else is the failure
        assert len(open_sources([text])) > 0


ODD_NAMES = [
    b"caf\xe9.mp4",
    b" lead.mp4",
    b"new\nline.mp4",
    b"concat:x.mp4",
    b"100%.mp4",
    b"-a.mp4",
]


def test_a_folder_may_hold_files_of_any_name(tmp_path, monkeypatch):
    for name in ODD_NAMES:
        (tmp_path / os.fsdecode(name)).touch()
    monkeypatch.chdir(tmp_path)
    for text in (".", "*.mp4", str(tmp_path), "**/*.mp4"):
        sources = open_sources([text])
        assert len(sources) == len(ODD_NAMES), text
        assert {os.fsencode(source.path.name) for _, source in sources} == set(ODD_NAMES)
        for spec, source in sources:
            json.dumps(source.name, ensure_ascii=False).encode()
            assert spec.source.startswith("/")


@pytest.mark.parametrize("name", [b"caf\xe9.mp4", b" lead.mp4", b"new\nline.mp4", b"100%.mp4"])
def test_a_file_of_any_name_is_opened_by_it(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    text = os.fsdecode(name)
    (tmp_path / text).touch()
    assert open_source(text).path == tmp_path / text


@pytest.mark.parametrize("suffix", ["264", "265", "dav", "mxf", "mjpeg", "H264"])
def test_files_of_recorders_are_found_in_a_folder(tmp_path, suffix):
    (tmp_path / f"ch1.{suffix}").touch()
    assert open_source(str(tmp_path)).name == "ch1"


def test_a_pattern_does_not_follow_links_in_circles(tmp_path, monkeypatch):
    (tmp_path / "d" / "deep").mkdir(parents=True)
    (tmp_path / "d" / "deep" / "a.mp4").touch()
    (tmp_path / "d" / ".part.mp4").touch()
    for link in ("x", "y"):
        (tmp_path / "d" / link).symlink_to(tmp_path / "d")
    monkeypatch.chdir(tmp_path)
    started = time.monotonic()
    for text in ("d/**/*.mp4", f"{tmp_path}/d/**/*.mp4"):
        assert [source.name for _, source in open_sources([text])] == ["a"]
    assert time.monotonic() - started < 2.0


@pytest.mark.parametrize(
    "text",
    [
        "rtsp:/u:hunter2@h/x",
        "rtsp//u:hunter2@h/x",
        "u:hunter2@h",
        "rtsp://u:hunter2 @h/x",
        "rtsp://u:a hunter2 b@h/x",
        '"rtsp://u:hunter2@h/x"',
        " 'rtsp://u:hunter2@h/x'",
        "rtps://u:hunter2@h/x",
        "rtsp://u:hun@ter2#hunter2@h/x",
        "rtsp://admin:abc@hunter2#x@host/",
        "rtsp://u:hunter2/x@host/",
        "rtsp://u:hunter2?x@host/",
        "http://u:hunter2@h:99999/",
        "u:hunter2@h/*.mp4",
    ],
)
def test_a_mistyped_address_does_not_show_its_password(text, caplog):
    with pytest.raises(GasmcastError) as error:
        open_sources([text])
    assert "hunter2" not in str(error.value)
    assert "hunter2" not in caplog.text


def test_a_password_in_the_path_is_not_a_name():
    source = open_source("rtsp://cam:554/user=admin_password=hunter22_channel=1_stream=0.sdp")
    assert source.name == "cam"
    assert "hunter22" not in source.where


def test_connection_settings_of_a_list(tmp_path):
    file = tmp_path / "cameras.yaml"
    file.write_text(
        "cameras:\n"
        "- {source: 'rtsps://h/x', rtsp: udp, tls_ca: ca.pem, tls_name: IPC, hwaccel: cuda}\n"
    )
    ((spec, _),) = open_sources([f"@{file}"])
    assert (spec.rtsp, spec.tls_name, spec.tls_insecure, spec.hwaccel) == (
        "udp",
        "IPC",
        False,
        "cuda",
    )
    file.write_text("cameras: [{source: 'rtsp://h/x', rtsp: multicast}]\n")
    with pytest.raises(UsageError, match="rtsp"):
        open_sources([f"@{file}"])


def test_a_run_over_a_file_of_any_name_is_recorded_and_replays(
    tiny_bundle, short_video, tmp_path, monkeypatch
):
    """The name is not UTF-8: neither the records nor the recording are lost."""
    from gasmcast.cli import main

    path = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    path.write_bytes(short_video.read_bytes())
    recording = tmp_path / "run.jsonl"
    live = ["live", str(path), "--bundle", str(tiny_bundle), "--engine", "onnxruntime", "--quiet"]
    for words in (
        [*live, "--record", str(recording), "--jsonl", str(tmp_path / "out.jsonl")],
        ["replay", str(recording)],
        ["live", f"replay:{recording}", *live[2:]],
    ):
        monkeypatch.setattr("sys.argv", ["gasmcast", *words])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 0, words
    kinds = [json.loads(line)["is"] for line in recording.read_bytes().splitlines()]
    assert len(kinds) > 5
    assert (tmp_path / "out.jsonl").read_bytes().count(b'"decision"') > 0
