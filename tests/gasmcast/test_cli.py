"""What the command line makes of errors."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gasmcast import cli
from gasmcast.errors import GateError, UsageError
from gasmcast.runtime.service.secrets import fill_secrets


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied", "/data/run"),
            3,
            "error: /data/run: Permission denied. Check that the path",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            3,
            "error: No space left on device. Check that the path",
        ),
        (
            GateError("INT8 failed.", "More clips may help."),
            4,
            "error: INT8 failed. More clips may help.",
        ),
    ],
)
def test_what_is_refused_is_one_line(
    error: Exception, code: int, line: str, monkeypatch, capsys
) -> None:
    def refuse() -> None:
        raise error

    monkeypatch.setattr(cli, "app", refuse)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == code
    printed = capsys.readouterr().err
    assert printed.startswith(line)
    assert printed.count("\n") == 1


@pytest.mark.parametrize("error", [OSError("could not get source code"), KeyError("int8")])
def test_a_bug_keeps_its_traceback(error: Exception, monkeypatch, capsys) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 1
    text = capsys.readouterr().err
    assert text.startswith("Traceback (most recent call last):\n")
    assert type(error).__name__ in text.splitlines()[-1]


def test_a_traceback_shows_no_secret_and_no_control_character(monkeypatch, capsys) -> None:
    def fail() -> None:
        url = fill_secrets("rtsp://u:${CAM_PASS}@h/x", {"CAM_PASS": "hunter2secret"})
        raise ValueError(f"{url} and hunter2secret\x1b[2J")

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit):
        cli.main()
    text = capsys.readouterr().err
    assert "hunter2" not in text
    assert "\x1b[2J" not in text
    assert "rtsp://***@h/x" in text


def test_an_error_that_quotes_a_hostile_name_is_one_line(monkeypatch, capsys) -> None:
    def refuse() -> None:
        raise UsageError("There is no a\x1b]0;x\x07\nerror: forged.")

    monkeypatch.setattr(cli, "app", refuse)
    with pytest.raises(SystemExit):
        cli.main()
    text = capsys.readouterr().err
    assert text == "error: There is no a\\x1b]0;x\\x07\\x0aerror: forged.\n"


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=False,
        timeout=60,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_no_letter_of_an_output_ends_a_verb(encoding: str) -> None:
    code = """
import sys, typer
from gasmcast import cli
def app():
    typer.echo("倒す \\udce9")
    typer.echo("倒す", err=True)
    from rich.console import Console
    Console().print("倒す")
cli.app = app
cli.main()
"""
    done = run_python(code, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1] == rb"\u5012\u3059"
    # Click takes ASCII for a mistake and writes UTF-8.
    if encoding != "ascii":
        assert done.stdout.splitlines()[0] == rb"\u5012\u3059 \udce9"
        assert done.stderr.strip() == rb"\u5012\u3059"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_standard_error_on_a_full_disk_does_not_end_a_verb() -> None:
    code = """
import typer
from gasmcast import cli
def app():
    for _ in range(3):
        typer.echo("a status line", err=True)
    typer.echo("the result")
cli.app = app
cli.main()
"""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=full, check=False
        )
    assert (done.returncode, done.stdout.strip()) == (0, b"the result")


def test_a_folder_where_nothing_can_be_made_is_named(tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(
        "sys.argv", ["gasmcast", "demo-data", str(tmp_path / "file" / "set"), "--clips", "150"]
    )
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 3
    assert str(tmp_path / "file") in capsys.readouterr().err
