"""Dockerfiles and their lock files keep the promises of deploy/README.md."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "deploy" / "docker"
IMAGES = sorted(path.name for path in DOCKER.glob("*.Dockerfile"))
LIVE = [name for name in IMAGES if name != "train.Dockerfile"]


def load(name):
    spec = importlib.util.spec_from_file_location(f"deploy_{name}", DOCKER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def parse():
    return load("try_in_root").instructions


def last_stage(steps):
    starts = [i for i, step in enumerate(steps) if step.name == "FROM"]
    return steps[starts[-1] :]


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_runs_as_a_numbered_user_without_a_shell(image, parse):
    stage = last_stage(parse(DOCKER / image))
    users = [step.text for step in stage if step.name == "USER"]
    assert users[-1:] == ["10001:10001"]
    assert "--shell /usr/sbin/nologin" in " ".join(s.text for s in stage if s.name == "RUN")
    for step in stage:
        if step.name in {"ENTRYPOINT", "CMD"}:
            assert step.text.startswith("["), "a shell would not pass SIGTERM on"


@pytest.mark.parametrize("image", LIVE)
def test_an_image_of_live_has_a_health_check_and_volumes_for_what_it_writes(image, parse):
    by_name = {step.name: step for step in last_stage(parse(DOCKER / image))}
    assert "/health" in by_name["HEALTHCHECK"].text
    assert by_name["VOLUME"].words() == ["/var/lib/gasmcast", "/var/cache/gasmcast"]
    assert "XDG_CACHE_HOME=/var/cache/gasmcast" in by_name["ENV"].text
    assert by_name["CMD"].words()[:2] == ["live", "@/etc/gasmcast/cameras.yaml"]


@pytest.mark.parametrize("image", IMAGES)
def test_a_base_image_is_pinned(image, parse):
    bases = [step.text.split()[0] for step in parse(DOCKER / image) if step.name == "FROM"]
    if image == "jetson.Dockerfile":
        # By tag only; the README says so.
        assert set(bases) == {"${BASE}"}
        text = (DOCKER / image).read_text()
        assert re.search(r"^ARG BASE=\S+:r10\.3\.0-runtime$", text, re.MULTILINE)
    else:
        assert all(re.search(r"@sha256:[0-9a-f]{64}$", base) for base in bases)
        assert len(set(bases)) == 1


@pytest.mark.parametrize("image", LIVE)
def test_dependencies_are_installed_by_hash_and_the_wheel_without_any(image, parse):
    runs = " ".join(step.text for step in parse(DOCKER / image) if step.name == "RUN")
    assert "--require-hashes -r" in runs
    assert re.search(r"--no-deps \./\*\.whl", runs)
    for lock in re.findall(r"[a-z0-9]+\.lock", (DOCKER / image).read_text()):
        assert (DOCKER / lock).is_file()


def test_a_lock_names_every_direct_dependency_with_hashes():
    lock = load("lock")
    for name, image in lock.IMAGES.items():
        text = (DOCKER / f"{name}.lock").read_text()
        locked = dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", text, re.MULTILINE))
        wanted = {re.match(r"[A-Za-z0-9.-]+", one)[0].lower() for one in lock.requirements(image)}
        assert wanted <= set(locked), name
        assert "opencv-python" not in locked
        blocks = re.split(r"^(?=\S)", text, flags=re.MULTILINE)
        assert all("--hash=sha256:" in block for block in blocks if "==" in block), name
        assert "://" not in text  # no registry is named


def test_continued_lines_and_lists_are_parsed(tmp_path, parse):
    path = tmp_path / "Dockerfile"
    path.write_text('# a comment\nFROM a AS b\nRUN one \\\n && two\n# another\nCMD ["x", "y z"]\n')
    steps = parse(path)
    assert [(s.name, s.text) for s in steps[:2]] == [("FROM", "a AS b"), ("RUN", "one && two")]
    assert steps[2].words() == ["x", "y z"]
