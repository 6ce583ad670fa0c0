"""The files in deploy/ fit together: following its README gives a service that starts."""

from __future__ import annotations

import re
from pathlib import Path

from gasmcast.runtime.live_settings import LiveConfig, load_live_config, with_settings
from gasmcast.runtime.sources.camera_spec import read_cameras

DEPLOY = Path(__file__).parents[2] / "deploy"


def test_the_settings_that_are_shipped_load_and_are_the_defaults():
    assert load_live_config(DEPLOY / "live.yaml") == LiveConfig()


def test_the_cameras_that_are_shipped_have_good_settings():
    own = {
        c.name: with_settings(LiveConfig(), c.settings, c.name)
        for c in read_cameras(DEPLOY / "cameras.yaml")
    }
    assert own["door"] == LiveConfig(on=0.6, refractory_s=5)
    assert own["hall"] is None  # it has no settings of its own


def test_every_file_that_the_unit_names_is_in_the_readme_and_shipped_or_yours():
    named = set(re.findall(r"/etc/gasmcast/[\w.]+", (DEPLOY / "gasmcast.service").read_text()))
    rows = dict(
        re.findall(
            r"^\| (.+?) \| `(/etc/gasmcast/[^`]+)` \|$",
            (DEPLOY / "README.md").read_text(),
            re.MULTILINE,
        )
    )
    assert named == set(rows.values())
    for what, place in rows.items():
        assert "yours:" in what or (DEPLOY / Path(place).name).exists(), f"{place} is not shipped"


def test_systemd_waits_for_engines_and_a_bundle_is_never_put_into_the_old_one():
    unit, readme = (DEPLOY / "gasmcast.service").read_text(), (DEPLOY / "README.md").read_text()
    assert int(re.search(r"^TimeoutStartSec=(\d+)$", unit, re.MULTILINE)[1]) >= 1800
    assert "cp -rT mymodel.gasm" in readme
