"""The package list of pyproject.toml names all folders; mapped names stay off the top level."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {
    "gasmcast": "gasmcast",
    "export": "gasmcast.export",
    "runtime": "gasmcast.runtime",
    "calibration": "gasmcast.calibration",
}


def test_every_folder_of_code_is_listed():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = set()
    for top, package in FOLDERS.items():
        for init in (ROOT / top).rglob("__init__.py"):
            found.add(".".join([package, *init.parent.relative_to(ROOT / top).parts]))
    assert found == set(listed)


def test_mapped_folders_are_not_top_level_modules():
    code = (
        "import gasmcast.runtime, gasmcast.export, gasmcast.calibration, sys;"
        "print({'runtime','export','calibration'} & set(sys.modules))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/"
    )
    assert out.stdout.strip() == "set()"


def test_help_is_torch_free():
    code = (
        "import sys, runpy; sys.argv=['gasmcast','--help']\n"
        "try: runpy.run_module('gasmcast.cli', run_name='x')['app']()\n"
        "except SystemExit as e: assert not e.code\n"
        "heavy = {'torch','timm','onnx','cv2','openvino','numpy.random','matplotlib'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)


def test_the_extras_bring_what_their_verbs_import():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert any(
        one.startswith("onnx>") for one in extras["engines-check"]
    )  # `engine check` reads the graphs
    assert "gasmcast[export]" in extras["torch-tensorrt"]  # it is a flag of `export`
