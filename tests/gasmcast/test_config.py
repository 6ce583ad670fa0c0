"""Settings that do not fit get one sentence."""

import pytest

from gasmcast.config import load_config
from gasmcast.errors import UsageError
from gasmcast.studies.study import read_study


@pytest.mark.parametrize(
    ("text", "setting", "sentence"),
    [
        ("train:\n", "train.lr", "train is not a section"),
        ("train: 3\n", "train.lr", "train is not a section"),
        ("train: {lr: 1.0}\n", "train.lr.x", r"train\.lr is not a section"),
        ("- train\n", "train.lr", "not a mapping"),
        ("", "trane.lr", "Did you mean 'train'"),
    ],
)
def test_a_setting_of_what_is_no_section(tmp_path, text, setting, sentence):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=sentence):
        load_config(path, {setting: 1e-3})


@pytest.mark.parametrize("read", [load_config, read_study])
@pytest.mark.parametrize(
    "content", [b"\x80\x01\x00\x00{", b"train: [", '"\u00e9"'.encode("latin-1")]
)
def test_what_is_not_yaml_is_one_sentence(tmp_path, read, content):
    path = tmp_path / "best.safetensors"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"best\.safetensors is not YAML") as caught:
        read(str(path))
    assert "\n" not in str(caught.value)


def test_a_setting_of_a_section_that_the_file_has_not(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("model: {width: 64}\n")
    assert load_config(path, {"train.lr": 1e-3}).train.lr == 1e-3
