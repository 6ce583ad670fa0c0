"""What the command line makes of errors."""

from __future__ import annotations

import errno

import pytest

from gasmcast import cli
from gasmcast.errors import GateError


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
    told = capsys.readouterr().err
    assert told.startswith(line)
    assert told.count("\n") == 1


@pytest.mark.parametrize("error", [OSError("could not get source code"), KeyError("int8")])
def test_a_bug_keeps_its_traceback(error: Exception, monkeypatch) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(type(error)):
        cli.main()


def test_a_folder_where_nothing_can_be_made_is_named(tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(
        "sys.argv", ["gasmcast", "demo-data", str(tmp_path / "file" / "set"), "--clips", "150"]
    )
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 3
    assert str(tmp_path / "file") in capsys.readouterr().err
