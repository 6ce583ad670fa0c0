import pytest

from gasmcast.commands.doctor import nvidia
from gasmcast.commands.doctor.finding import Finding
from gasmcast.errors import MachineError


@pytest.mark.parametrize(
    ("version", "state"),
    [("10.3.0", "ok"), ("8.6.1", "warn")],
)
def test_tensorrt_versions(monkeypatch, version, state):
    monkeypatch.setattr(nvidia, "find_spec", lambda _: object())
    monkeypatch.setattr(nvidia, "version_of", lambda name: version if name == "tensorrt" else None)
    monkeypatch.setattr(nvidia, "find_device", lambda: None)
    assert nvidia.tensorrt()[0].state == state


def test_tensorrt_without_a_card_is_a_warning(monkeypatch):
    monkeypatch.setattr(nvidia, "find_spec", lambda name: True)
    monkeypatch.setattr(nvidia, "version_of", lambda name: "10.13.2")

    def none():
        raise MachineError("There is no NVIDIA GPU.", "Use a machine with one.")

    monkeypatch.setattr(nvidia, "find_device", none)
    (found,) = nvidia.tensorrt()
    assert (found.state, found.remedy) == ("warn", "Use a machine with one.")
    assert "no NVIDIA GPU" in found.text


def test_nvidia_smi_is_read(monkeypatch):
    monkeypatch.setattr(
        nvidia, "_output_of", lambda *_: "NVIDIA RTX A2000, 560.35.03, 12282 MiB, 8.6"
    )
    (found,) = nvidia.gpu()
    assert found == Finding("GPU", "ok", "NVIDIA RTX A2000; driver 560.35.03, 12282 MiB, SM 8.6")
