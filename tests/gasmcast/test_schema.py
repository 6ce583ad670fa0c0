from __future__ import annotations

import pytest
from pydantic import Field, model_validator

from gasmcast.errors import UsageError
from gasmcast.schema import Frozen, check_settings


class Inner(Frozen):
    depth: int = Field(default=1, ge=1)


class Outer(Frozen):
    name: str
    inner: Inner = Inner()

    @model_validator(mode="after")
    def _check(self):
        if self.name == "bad":
            raise ValueError("a bad name")
        return self


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        (
            {"nam": "x"},
            "f.yaml: unknown key 'nam'. Did you mean 'name'?",
        ),  # that `name` is missing only follows from it
        (
            {"name": "x", "inner": {"dept": 2}},
            "f.yaml: unknown key 'inner.dept'. Did you mean 'depth'?",
        ),
        ({"name": "x", "zzz": 1}, "f.yaml: unknown key 'zzz'. Known: name, inner."),
        ({}, "f.yaml: name: Field required."),
        (
            {"name": "x", "inner": {"depth": 0}},
            "f.yaml: inner.depth: Input should be greater than or equal to 1.",
        ),
        ({"name": "bad"}, "f.yaml: settings: a bad name."),
        (3.5, "f.yaml: settings: Input should be a valid dictionary or instance of Outer."),
    ],
)
def test_what_is_wrong_is_one_sentence(tree, says):
    with pytest.raises(UsageError) as error:
        check_settings(Outer, tree, "f.yaml")
    assert str(error.value) == says


def test_what_is_right_is_the_record():
    assert check_settings(Outer, {"name": "x", "inner": {"depth": 2}}, "f.yaml") == Outer(
        name="x", inner=Inner(depth=2)
    )
