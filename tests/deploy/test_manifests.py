"""Compose files and Kubernetes manifests: hardened, and in step with the images and the command."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main
import yaml

from gasmcast.cli import app
from gasmcast.runtime.live_settings import LiveConfig
from gasmcast.yamlfile import read_yaml

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())
OBJECTS = {
    (tree["kind"], tree["metadata"]["name"]): tree
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    for tree in yaml.safe_load_all(path.read_text())
}
PODS = {
    name: tree["spec"]["template"]["spec"]
    for (kind, name), tree in OBJECTS.items()
    if kind in {"Deployment", "Job"}
}


def flags_of(verb):
    command = typer.main.get_command(app).commands[verb]
    return {option for one in command.params for option in one.opts}


def commands() -> list[tuple[str, list[str]]]:
    compose = COMPOSE["services"]["gasmcast"]["command"]
    return [
        ("compose", compose),
        *((name, pod["containers"][0]["args"]) for name, pod in PODS.items()),
    ]


@pytest.mark.parametrize(("where", "words"), commands())
def test_every_flag_exists(where, words):
    used = {word for word in words if word.startswith("--")}
    assert used <= flags_of(words[0]), where


@pytest.mark.parametrize("name", sorted(COMPOSE["services"]))
def test_a_service_of_compose_is_hardened_and_local(name):
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert re.search(r":(?!latest)[\w.]+$", service["image"])


def test_files_and_volumes_that_compose_mounts_exist():
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.rsplit(":", 2)[0] if volume.endswith(":ro") else volume.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / "compose" / source).exists(), source
            elif not source.startswith("$"):
                assert source in COMPOSE["volumes"], source


@pytest.mark.parametrize("name", sorted(PODS))
def test_a_pod_is_hardened_and_finds_its_volumes(name):
    pod = PODS[name]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"]
    assert {m["name"] for m in container["volumeMounts"]} == {v["name"] for v in pod["volumes"]}
    for volume in pod["volumes"]:
        if "persistentVolumeClaim" in volume:
            claim = volume["persistentVolumeClaim"]["claimName"]
            assert ("PersistentVolumeClaim", claim) in OBJECTS
        if "configMap" in volume:
            assert ("ConfigMap", volume["configMap"]["name"]) in OBJECTS


def test_live_is_started_probed_and_stopped_as_the_process_wants():
    tree = OBJECTS["Deployment", "gasmcast-live"]
    assert (tree["spec"]["replicas"], tree["spec"]["strategy"]["type"]) == (1, "Recreate")
    container = PODS["gasmcast-live"]["containers"][0]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": "/health", "port": "metrics"}
    # `live` takes at most 40 s to stop.
    assert PODS["gasmcast-live"]["terminationGracePeriodSeconds"] > 40
    assert COMPOSE["services"]["gasmcast"]["stop_grace_period"] == "45s"


def test_serve_is_probed_where_it_answers_and_has_time_to_drain():
    container = PODS["gasmcast-serve"]["containers"][0]
    assert container["startupProbe"]["httpGet"] == {"path": "/v2/health/ready", "port": "http"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/v2/health/ready", "port": "http"}
    assert container["livenessProbe"]["httpGet"] == {"path": "/v2/health/live", "port": "http"}
    # `serve` takes at most 30 s to answer what it has.
    assert PODS["gasmcast-serve"]["terminationGracePeriodSeconds"] > 30
    service = OBJECTS["Service", "gasmcast-serve"]["spec"]
    assert service["sessionAffinity"] == "ClientIP"
    # The image that it takes has the extra that it needs.
    assert container["image"] == "gasmcast:cpu"
    assert "starlette==" in (DEPLOY / "docker" / "cpu.lock").read_text()


def test_the_settings_of_the_config_map_are_valid(tmp_path):
    data = OBJECTS["ConfigMap", "gasmcast-live"]["data"]
    (tmp_path / "live.yaml").write_text(data["live.yaml"])
    tree = read_yaml(tmp_path / "live.yaml", "live.yaml")
    assert LiveConfig.model_validate(tree).on == 0.5
    cameras = yaml.safe_load(data["cameras.yaml"])["cameras"]
    assert all("${" in camera["source"] for camera in cameras)


def test_a_training_pod_that_is_evicted_resumes():
    job = OBJECTS["Job", "gasmcast-train"]["spec"]
    assert "--resume" in PODS["gasmcast-train"]["containers"][0]["args"]
    rules = job["podFailurePolicy"]["rules"]
    assert rules[0]["onExitCodes"]["values"] == [2, 3]
    assert rules[1]["onPodConditions"][0]["type"] == "DisruptionTarget"
