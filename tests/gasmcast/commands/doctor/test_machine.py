from collections import namedtuple

from gasmcast.commands.doctor import machine


def test_a_full_disk_is_a_warning(monkeypatch, tmp_path):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: usage(10**10, 10**10, 10**8))
    (found,) = machine.disk(tmp_path / "not there yet")
    assert (found.topic, found.state) == ("disk", "warn")
    assert found.remedy
