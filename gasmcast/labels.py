"""Class names in their order, and how a Something-Something-V2 template finds its class."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from gasmcast.errors import UsageError

_OTHER = {"left": "right", "right": "left"}
_SIDE = re.compile(r"(?<![a-z])(left|right)(?![a-z])")
_NO_SIDE = re.compile(
    r"(?<![a-z])(right (out|away)|left (over|behind))(?![a-z])"
)  # 'pulling it right out' is a class of the official set

__all__ = ["Labels", "class_name", "ssv2_labels"]


class Labels:
    """An ordered set of class names, without the brackets of templates; `names[i]` is class `i`."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(class_name(name) for name in names)
        self._index = {name: i for i, name in enumerate(self.names)}
        if not self.names or len(self._index) != len(self.names):
            raise UsageError(
                "The class names are empty or not unique.", "Give each class one name."
            )

    def __len__(self) -> int:
        return len(self.names)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Labels) and self.names == other.names

    def __hash__(self) -> int:
        return hash(self.names)

    def index(self, template: str) -> int:
        """The class of a template or class name; brackets of any kind of placeholder are dropped.

        Raises:
            KeyError: the name is not among the classes.
        """
        return self._index[class_name(template)]

    def left_right_swap(self) -> dict[int, int]:
        """Classes that a horizontal flip turns into each other, both ways: their names are the same but for left and right."""
        plain = {name.lower(): i for name, i in self._index.items()}
        mirrored = ((i, _SIDE.sub(lambda side: _OTHER[side[0]], name)) for name, i in plain.items())
        return {here: plain[name] for here, name in mirrored if plain.get(name, here) != here}

    def one_sided(self) -> list[str]:
        """Names that tell a side and have no partner: a flip makes such a clip one of no class."""
        swaps = self.left_right_swap()
        return [
            name
            for i, name in enumerate(self.names)
            if i not in swaps and _SIDE.search(_NO_SIDE.sub("", name.lower()))
        ]

    @classmethod
    def read(cls, path: Path) -> Labels:
        """From `labels.json` as distributed: class name -> index, the index a string or a number.

        Raises:
            UsageError: not such a file, or its indices are not 0..n-1.
        """
        try:
            table = json.loads(path.read_text(encoding="utf-8"))
            order = {int(index): str(name) for name, index in table.items()}
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise UsageError(
                f"{path} cannot be read as labels ({error}).",
                "It must be JSON: class name -> index.",
            ) from None
        if sorted(order) != list(range(len(table))):
            raise UsageError(
                f"{path}: the indices are not 0..{len(table) - 1}.",
                "Number the classes without gaps or repeats.",
            )
        return cls(order[i] for i in range(len(order)))


def class_name(template: str) -> str:
    """A template without the brackets of its placeholders."""
    return template.replace("[", "").replace("]", "")


def ssv2_labels() -> Labels:
    """The 174 official classes of Something-Something-V2, in the official order."""
    text = (
        resources.files("gasmcast").joinpath("presets/ssv2_labels.txt").read_text(encoding="utf-8")
    )
    return Labels(text.splitlines())
