"""A base install, or a machine without a screen, names what to install in one line, exit code 3."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from gasmcast import missing
from gasmcast.commands.doctor import diagnosis
from gasmcast.commands.doctor.video import opencv
from gasmcast.missing import install_hint, missing_package

ROOT = Path(__file__).resolve().parents[2]
BLOCKED = (
    "import sys; sys.modules.update(dict.fromkeys({names})); sys.argv[1:] = {words}\n"
    "from gasmcast.cli import main; main()"
)


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (ModuleNotFoundError("No module named 'torch'", name="torch"), "[export]'"),
        (
            ModuleNotFoundError("No module named 'torchvision.ops'", name="torchvision.ops"),
            "[export]'",
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
    what = f"error: This needs the package {package}, which is not installed."
    assert done.stderr == f"{what} {install_hint('export')}\n"
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


def extras() -> dict[str, list[str]]:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    table = text.partition("[project.optional-dependencies]")[2].partition("\n[project")[0]
    table = re.sub(r"^\s*#.*$|\s#.*$", "", table, flags=re.MULTILINE)
    pairs = re.findall(r"^([\w-]+) = (\[.*?\])$", table, re.MULTILINE | re.DOTALL)
    return {name: ast.literal_eval(value) for name, value in pairs}


def test_the_packages_of_a_hint_are_those_of_the_extra() -> None:
    for extra, words in missing._PACKAGES.items():
        hinted = {re.split(r"[<>=]", word.strip("'"))[0] for word in words.split()}
        wanted = {re.split(r"[<>=;\[]", one)[0].strip() for one in extras()[extra]}
        assert hinted == wanted - {"gasmcast"}
        assert install_hint(extra) == f"pip install {words}"


def install(monkeypatch, tmp_path: Path, direct_url: dict | None) -> None:
    """Pretend that gasmcast lies in site-packages, with this origin."""

    class Installed:
        @staticmethod
        def read_text(_name: str) -> str | None:
            return None if direct_url is None else json.dumps(direct_url)

    monkeypatch.setattr(missing, "__file__", str(tmp_path / "gasmcast" / "missing.py"))
    monkeypatch.setattr(metadata, "distribution", lambda _: Installed)


@pytest.mark.parametrize(
    ("url", "requirement"),
    [
        (None, "gasmcast[export]"),
        ("file:///no/longer/there", ".[export]"),
        ("https://example.com/g-1-py3-none-any.whl", "gasmcast[export] @ https://example.com/g-1-"),
    ],
)
def test_many_packages_come_from_where_gasmcast_came_from(
    monkeypatch, tmp_path: Path, url: str | None, requirement: str
) -> None:
    install(monkeypatch, tmp_path, None if url is None else {"url": url})
    assert install_hint("export").startswith(f"pip install '{requirement}")


def test_a_clone_is_named_by_its_path(monkeypatch, tmp_path: Path) -> None:
    clone = tmp_path / "a clone"
    clone.mkdir()
    assert install_hint("export") == f"pip install '{ROOT}[export]'"
    install(monkeypatch, tmp_path, {"url": clone.as_uri(), "dir_info": {}})
    assert install_hint("export") == f"pip install '{clone}[export]'"


def test_no_message_names_a_package_that_is_not_published() -> None:
    """A release would make `gasmcast[mqtt]` right; until then only `install_hint` may say it."""
    folders = ("gasmcast", "runtime", "export", "calibration")
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    found = [
        f"{file.relative_to(ROOT)}: {node.value}"
        for file in files
        if file.name != "missing.py"
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if re.search(r"gasmcast\[", node.value)
    ]
    assert found == []
