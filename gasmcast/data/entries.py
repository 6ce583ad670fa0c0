"""Read the entries of an annotation file: ids, templates, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, cast
from unicodedata import category

from gasmcast.data.video_files import composed
from gasmcast.errors import UsageError
from gasmcast.files import load_json
from gasmcast.labels import Labels

__all__ = ["check_ids", "clip_id", "find_label", "read_rows", "template_of"]

_LONGEST_NAME = 250  # bytes; a file name has at most 255, its ending included


def read_rows(file: Path) -> list[dict[str, Any]]:
    """Return the entries of an annotation file, at least one."""
    try:
        rows = load_json(file.read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{file} is not JSON ({error}).", "Take it from the label package again."
        ) from None

    # A wrong file is more likely than a broken one: say what was expected.
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UsageError(
            f"{file} is not a list of clips.", 'Each must be {"id": ..., "template": ...}.'
        )
    if not rows:
        raise UsageError(f"{file} lists no clips.", "Take it from the label package again.")
    return cast("list[dict[str, Any]]", rows)


def clip_id(row: dict[str, Any], file: Path) -> str:
    """Return the id of an entry as text; some packages write it as a number, pandas as 38.0."""
    clip = row.get("id")
    if isinstance(clip, float) and clip.is_integer():
        clip = int(clip)
    if isinstance(clip, bool) or not isinstance(clip, str | int) or not str(clip):
        raise UsageError(
            f"{file}: a clip has no id ({str(row)[:80]}).",
            'Give each one a key "id" with text or a whole number.',
        )

    # An id is a part of a path: it stays within the folder, and can be a file name.
    name = composed(str(clip))
    parts = PurePosixPath(name.replace("\\", "/")).parts
    is_outside = not parts or ".." in parts or parts[0] == "/"
    is_too_long = any(len(part.encode()) > _LONGEST_NAME for part in parts) or len(parts) > 8
    if is_outside or is_too_long or any(category(c) == "Cc" for c in name):
        raise UsageError(
            f"{file}: {name[:80]!r} cannot be the id of a clip.",
            "An id is the name of a video below the folder of the videos.",
        )
    return name


def check_ids(ids: Sequence[str], rows: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Check that no clip is listed twice.

    Raises:
        UsageError: one is; the error says whether it has two classes.
    """
    if len(set(ids)) == len(ids):
        return
    first: dict[str, int] = {}
    for place, clip in enumerate(ids):
        before = first.setdefault(clip, place)
        if before == place:
            continue

        ours, theirs = rows[place].get("template"), rows[before].get("template")
        classes = f", as {str(theirs)[:80]!r} and as {str(ours)[:80]!r}" if ours != theirs else ""
        raise UsageError(
            f"{file} lists clip {clip} twice (entries {before + 1} and {place + 1}){classes}.",
            "Remove one of them.",
        )


def template_of(row: Mapping[str, Any], clip: str, labels: Labels, file: Path) -> str:
    """Return the template of an entry.

    Raises:
        UsageError: it has none; the error names a key that holds a class name, if there is one.
    """
    template = row.get("template")
    if isinstance(template, str) and template:
        return template

    # Sets of other origin name the class under another key, often `label`.
    hint = 'Each clip needs {"id": ..., "template": class name}.'
    for key, value in row.items():
        if key not in ("id", "template") and isinstance(value, str) and _has_class(labels, value):
            hint = f"Its key {key!r} holds a class name: rename that key to `template`."
    raise UsageError(f"{file}: clip {clip} has no key `template`.", hint)


def _has_class(labels: Labels, name: str) -> bool:
    """Return whether the text is a class name or template."""
    try:
        labels.index(name)
    except KeyError:
        return False
    return True


def find_label(labels: Labels, template: str, clip: str, file: Path) -> int:
    """Return the class of a template."""
    try:
        return labels.index(template)
    except KeyError:
        raise UsageError(
            f"{file}: the template {template[:200]!r} of clip {clip} is not in labels.json.",
            "Use the labels of the same set.",
        ) from None
