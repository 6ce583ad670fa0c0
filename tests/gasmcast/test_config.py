"""Settings that do not fit get one sentence."""

import pytest

from gasmcast.config import load_config
from gasmcast.errors import UsageError


@pytest.mark.parametrize(
    ("text", "setting", "sentence"),
    [
        ("train:\n", "train.lr", "train is no section"),
        ("train: 3\n", "train.lr", "train is no section"),
        ("train: {lr: 1.0}\n", "train.lr.x", r"train\.lr is no section"),
        ("- train\n", "train.lr", "not a mapping"),
        ("", "trane.lr", "Did you mean 'train'"),
    ],
)
def test_a_setting_of_what_is_no_section(tmp_path, text, setting, sentence):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=sentence):
        load_config(path, {setting: 1e-3})


def test_a_setting_of_a_section_that_the_file_has_not(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("model: {width: 64}\n")
    assert load_config(path, {"train.lr": 1e-3}).train.lr == 1e-3
