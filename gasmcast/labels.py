"""Ordered class names, and the mapping from Something-Something-V2 templates to classes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from gasmcast.errors import UsageError
from gasmcast.files import load_json

_OTHER = {"left": "right", "right": "left"}
_SIDE = re.compile(r"(?<![a-z])(left|right)(?![a-z])")
# "Pulling [something] right out" is an official class that names no side.
_NO_SIDE = re.compile(r"(?<![a-z])(right (out|away)|left (over|behind))(?![a-z])")

__all__ = ["Labels", "class_name", "ssv2_labels"]


class Labels:
    """Ordered set of class names; `names[i]` is class `i`.

    Names are stored without the brackets that templates have around placeholders, and in composed
    form (Unicode NFC).

    Raises:
        UsageError: no names, two equal ones, or one that is not Unicode.

    Example:
        >>> Labels(["Pushing [something]", "Nothing"]).index("Pushing something")
        0
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(class_name(name) for name in names)
        self._index = {name: i for i, name in enumerate(self.names)}
        if not self.names or len(self._index) != len(self.names):
            raise UsageError(
                "The class names are empty or not unique.", "Give each class one name."
            )

        # A lone surrogate could be written to no file, socket or terminal.
        for name in self.names:
            if re.search("[\ud800-\udfff]", name):
                raise UsageError(
                    f"The class name {name[:80]!a} is not Unicode.", "Write it in UTF-8."
                )

    def __repr__(self) -> str:
        return f"Labels({len(self.names)} classes: {', '.join(self.names[:3])}, ...)"

    def __len__(self) -> int:
        return len(self.names)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Labels) and self.names == other.names

    def __hash__(self) -> int:
        return hash(self.names)

    def index(self, template: str) -> int:
        """Return the class index of a template or class name; brackets are ignored.

        Raises:
            KeyError: the name is not among the classes.
        """
        return self._index[class_name(template)]

    def left_right_swap(self) -> dict[int, int]:
        """Return pairs of classes that a horizontal flip exchanges, in both directions.

        The names of such classes differ only in "left" and "right".
        """
        plain = {name.lower(): i for name, i in self._index.items()}
        swaps: dict[int, int] = {}
        for name, index in plain.items():
            mirrored = _SIDE.sub(lambda side: _OTHER[side[0]], name)
            if plain.get(mirrored, index) != index:
                swaps[index] = plain[mirrored]

        return swaps

    def one_sided(self) -> list[str]:
        """Return names that contain a side but have no mirrored class.

        A flipped clip of such a class belongs to no class.
        """
        swaps = self.left_right_swap()
        return [
            name
            for i, name in enumerate(self.names)
            if i not in swaps and _SIDE.search(_NO_SIDE.sub("", name.lower()))
        ]

    @classmethod
    def read(cls, path: Path) -> Labels:
        """Read `labels.json` as distributed: class name -> index, as a string or a number.

        Raises:
            UsageError: the file cannot be read as labels, or its indices are not 0..n-1.
        """
        try:
            table = load_json(path.read_bytes())
            order = {_class_index(index): name for name, index in table.items()}
        except (OSError, ValueError, AttributeError) as error:
            raise UsageError(
                f"{path} cannot be read as labels ({error}).",
                "It must be JSON: class name -> index.",
            ) from None

        # A gap would shift the names of all classes after it.
        if sorted(order) != list(range(len(table))):
            raise UsageError(
                f"{path}: the indices are not 0..{len(table) - 1}.",
                "Number the classes without gaps or repeats.",
            )
        if blank := [index for index, name in order.items() if not class_name(name).strip()]:
            raise UsageError(f"{path}: class {blank[0]} has no name.", "Give each class one name.")
        return cls(order[i] for i in range(len(order)))


def class_name(template: str) -> str:
    """Return a template without the brackets around its placeholders, composed (Unicode NFC).

    macOS and some editors write accented letters as two characters, which look the same.
    """
    return unicodedata.normalize("NFC", template.replace("[", "").replace("]", ""))


def _class_index(value: object) -> int:
    """Return the index of a class, which may be text or a number such as 3.0.

    Raises:
        ValueError: it is no whole number.
    """
    is_whole = isinstance(value, str | int) and not isinstance(value, bool)
    if is_whole or (isinstance(value, float) and value.is_integer()):
        return int(value)  # type: ignore[call-overload, no-any-return] # narrowed by is_whole
    raise ValueError(f"the index {str(value)[:40]!r} is not a whole number")


def ssv2_labels() -> Labels:
    """Return the 174 official classes of Something-Something-V2, in the official order."""
    file = resources.files("gasmcast").joinpath("presets/ssv2_labels.txt")
    return Labels(file.read_text(encoding="utf-8").splitlines())
