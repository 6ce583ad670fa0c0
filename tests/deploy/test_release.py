"""The release scripts measure and compare what they say; the metadata agree with each other."""

from __future__ import annotations

import importlib.util
import re
import sys
import zipfile
from pathlib import Path

import yaml

import gasmcast

ROOT = Path(__file__).resolve().parents[2]
RELEASE = ROOT / "deploy" / "release"


def load(name):
    spec = importlib.util.spec_from_file_location(f"release_{name}", RELEASE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_citation_and_package_have_one_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(citation["version"]) == gasmcast.__version__
    assert citation["license"] == "Apache-2.0"
    assert citation["cff-version"] == "1.2.0"


def test_limits_are_compared_and_a_missed_one_is_said():
    check = load("check_install")
    limits = check.Limits(size_mb=500, help_s=0.3)
    good = check.Measured("3.13.0", 499.0, {"openvino": 200.0}, 0.3, 0.2, 4, limits)
    bad = check.Measured("3.13.0", 501.0, {"openvino": 200.0}, 0.31, 0.2, 4, limits)
    assert (good.missed(), bad.missed()) == ([], ["size_mb", "help_s"])
    assert "MISSED" not in str(good)
    assert str(bad).count("MISSED") == 2


def test_the_installed_size_counts_files_but_not_pip(tmp_path):
    check = load("check_install")
    for name, size in (("cv2/a.so", 2_000_000), ("pip/b.py", 9_000), ("six.py", 1_000)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * size)
    (tmp_path / "cv2" / "link").symlink_to("a.so")
    sizes = check.installed_sizes(tmp_path)
    assert set(sizes) == {"cv2", "six.py"}
    assert 2.0 <= sizes["cv2"] < 2.001


def test_sources_are_copied_with_links_and_without_what_git_ignores(tmp_path):
    load("make_dist").copy_sources(tmp_path)
    assert (tmp_path / "gasmcast" / "runtime").is_symlink()
    assert (tmp_path / "runtime" / "live_settings.py").is_file()
    assert not (tmp_path / "build").exists()
    assert not list(tmp_path.rglob("__pycache__"))


def test_a_wheel_is_compared_by_content(tmp_path):
    dist = load("make_dist")
    for number, text in enumerate(("same", "same", "other")):
        with zipfile.ZipFile(tmp_path / f"{number}.whl", "w") as archive:
            archive.writestr("a.py", text)
    one, two, three = (dist.wheel_content(tmp_path / f"{number}.whl") for number in range(3))
    assert one == two != three


def test_a_license_that_is_not_plainly_permissive_is_pointed_out():
    unusual = load("list_dependencies").unusual
    licenses = {"a": "MIT License", "b": "Apache-2.0", "c": "LGPL-2.1", "d": "UNKNOWN"}
    assert unusual(licenses) == {"c": "LGPL-2.1", "d": "UNKNOWN"}


def test_the_release_workflow_builds_with_the_makefile_and_publishes_without_a_token():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())
    runs = [step.get("run", "") for step in workflow["jobs"]["build"]["steps"]]
    assert any(run.startswith("make dist") for run in runs)
    assert workflow["jobs"]["pypi"]["permissions"] == {"id-token": "write"}
    assert "secrets." not in str(workflow)
    makefile = (ROOT / "Makefile").read_text()
    for script in re.findall(r"deploy/release/\w+\.\w+", makefile):
        assert (ROOT / script).is_file(), script
