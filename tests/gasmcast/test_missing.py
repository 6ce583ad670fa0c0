"""A base install, or a machine without a screen, names what to install in one line, exit code 3."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gasmcast.commands.doctor import diagnosis
from gasmcast.commands.doctor.video import opencv
from gasmcast.missing import missing_package

BLOCKED = (
    "import sys; sys.modules.update(dict.fromkeys({names})); sys.argv[1:] = {words}\n"
    "from gasmcast.cli import main; main()"
)


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (ModuleNotFoundError("No module named 'torch'", name="torch"), "gasmcast[export]"),
        (
            ModuleNotFoundError("No module named 'torchvision.ops'", name="torchvision.ops"),
            "gasmcast[export]",
        ),
        (
            ImportError(
                "libGL.so.1: cannot open shared object file: No such file or directory", name="cv2"
            ),
            "libgl1",
        ),
        (
            ImportError(
                "libgthread-2.0.so.0: cannot open shared object file: No such file or directory"
            ),
            "libglib2.0-0",
        ),
        (ModuleNotFoundError("No module named 'gasmcast.nowhere'", name="gasmcast.nowhere"), None),
        (ImportError("cannot import name 'x' from 'torch'", name="torch"), None),
        (
            ImportError(
                "libcudart.so.12: cannot open shared object file: No such file or directory"
            ),
            None,
        ),
    ],
)
def test_what_is_missing(error: ImportError, named: str | None) -> None:
    found = missing_package(error)
    assert (
        (found is None)
        if named is None
        else (found is not None and named in found.hint and found.exit_code == 3)
    )


@pytest.mark.parametrize(
    ("words", "package"),
    [
        (["demo", "d"], "onnx"),
        (["train", "demo", "--data", "d", "--out", "o"], "torch"),
        (["eval", "r", "--data", "d"], "torch"),
        (["export", "demo", "--random-weights", "--out", "o"], "onnx"),
        (["engine", "check", "m.gasm"], "onnx"),
    ],
)
def test_a_verb_of_the_base_install_says_what_it_needs(
    words: list[str], package: str, tmp_path
) -> None:
    code = BLOCKED.format(names=["torch", "onnx"], words=words)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 3
    # Warnings, as that of random weights, may come before.
    assert done.stderr.endswith(
        f"error: This needs the package {package}, which is not installed. "
        "pip install 'gasmcast[export]'\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("there", "first"), [(True, "gasmcast demo"), (False, "gasmcast live")])
def test_the_doctor_sends_nobody_where_the_install_does_not_reach(
    monkeypatch, there: bool, first: str
) -> None:
    monkeypatch.setattr(diagnosis, "version_of", lambda _: "1.0" if there else None)
    assert diagnosis.next_step().startswith(first)


def test_the_doctor_has_a_remedy_for_an_opencv_without_its_libraries(monkeypatch) -> None:
    class Blocked:
        def find_spec(self, name, *_):
            if name == "cv2":
                raise ImportError(
                    "libGL.so.1: cannot open shared object file: No such file or directory"
                )

    monkeypatch.delitem(sys.modules, "cv2", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Blocked(), *sys.meta_path])
    (found,) = opencv()
    assert (found.state, "libgl1" in found.remedy) == ("warn", True)
